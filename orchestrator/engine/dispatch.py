"""One dispatcher over the queues of all waves: a VM starts when its wave lets it and every slot it counts on is free."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from orchestrator.engine.halt import Halt
from orchestrator.engine.queues import Queue
from orchestrator.engine.schedule import Slots
from orchestrator.model.target import VmRow


class Gate(Protocol):
    """Who says how many more VMs of a wave may start now."""

    def allowance(self, wave: str) -> int:
        """0 while the wave is not open, or its step is used up."""
        ...

    def let_through(self, uuid: str) -> None:
        """A VM starts."""
        ...


@dataclass(slots=True, eq=False)
class Place:
    """Where a VM in flight holds its slots. `lane`: the host it was queued on; `began`: the loop's second at which it took
    them; `placed`: False while it changes hosts.
    """

    queue: Queue
    slots: Slots
    row: VmRow
    lane: str | None
    began: float
    placed: bool = True


@dataclass(slots=True, eq=False)
class _Mover:
    place: Place
    row: VmRow
    ready: anyio.Event = field(default_factory=anyio.Event)


class Dispatcher:
    """Starts VMs, and takes their slots back. `queues` stand in the order of the plan's waves."""

    def __init__(self, queues: Sequence[Queue], gate: Gate, halt: Halt) -> None:
        self._queues = list(queues)
        self._gate = gate
        self._halt = halt
        self.paused = False
        """An operator wants a pause: nobody starts; what is in flight goes on."""
        self.flying = 0
        """VMs in flight."""
        self.expecting = False
        """More VMs may come, though none waits now."""
        self._most: float = math.inf
        self._changed = anyio.Event()
        self._movers: list[_Mover] = []

    async def run(self, start: Callable[[Place], None], under_way: Iterable[tuple[Queue, VmRow]] = ()) -> list[VmRow]:
        """Start everything that waits, as slots come free; returns what a halt has left in the queues.

        `under_way`: VMs, by queue, whose stop goes on at the node already. They count first, even where limits are full.
        """
        for queue, going in under_way:
            self.flying += 1
            start(Place(queue, queue.slots, going, going.host_uuid, queue.lanes.carry_on(going, anyio.current_time())))
        while True:
            if self._halt:
                return [row for queue in self._queues for row in queue.lanes.drain()]
            self._serve_movers()
            # One of each wave after the other: waves side by side share the run's slots.
            while sum(self._start_one(queue, start) for queue in self._queues):
                continue
            if not self.expecting and not any(len(queue.lanes) for queue in self._queues):
                return []
            self._changed = anyio.Event()
            await self._changed.wait()

    def drop(self, uuids: Collection[str]) -> None:
        """These never have their turn; whoever says so gives them their outcome."""
        for queue in self._queues:
            queue.lanes.drop(uuids)
        self.wake()

    def wake(self) -> None:
        """Something changed that the dispatcher should know: a slot, a wave, or the halt."""
        self._changed.set()

    def hold_to(self, most: int) -> None:
        """Nobody starts while as many as this are in flight, whatever slots are free."""
        self._most = most
        self.wake()

    def release(self, place: Place, *, telling: bool) -> None:
        """A VM has its outcome: its slots are free. `telling`: for how long it held them says how long others take."""
        self.flying -= 1
        if place.placed:
            place.slots.give_back(place.row)
        else:
            place.slots.count(-1)
        place.queue.lanes.done(place.lane, place.began, anyio.current_time(), telling=telling)
        self._freed(place.row.host_uuid)

    async def move(self, place: Place, row: VmRow) -> None:
        """The VM was read elsewhere: give up its slots there, and wait for one on the new host, before all newcomers."""
        if row.host_uuid == place.row.host_uuid and row.storages == place.row.storages:
            return
        place.slots.take_place(place.row, -1)
        place.placed = False
        mover = _Mover(place, row)
        self._movers.append(mover)
        self._freed(place.row.host_uuid)
        try:
            await mover.ready.wait()
        finally:
            if not mover.ready.is_set():
                self._movers.remove(mover)

    def widen(self, place: Place) -> None:
        """What was done to it first is over: it counts no longer where that does, and goes on in the slots around."""
        place.slots = place.slots.leave(place.row)
        self._freed(place.row.host_uuid)

    def _start_one(self, queue: Queue, start: Callable[[Place], None]) -> bool:
        now = anyio.current_time()
        if self._halt or self.paused or self.flying >= self._most or not self._gate.allowance(queue.wave):
            return False
        row = queue.lanes.take(now)
        if row is None:
            return False
        self.flying += 1
        self._gate.let_through(row.uuid)
        start(Place(queue, queue.slots, row, row.host_uuid, now))
        return True

    def _freed(self, host: str | None) -> None:
        for queue in self._queues:
            queue.lanes.wake(host)
        self._serve_movers()
        self.wake()

    def _serve_movers(self) -> None:
        for mover in list(self._movers):
            slots = mover.place.slots
            if slots.place_free(mover.row):
                slots.take_place(mover.row)
                mover.place.row = mover.row
                mover.place.placed = True
                self._movers.remove(mover)
                mover.ready.set()
