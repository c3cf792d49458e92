"""One dispatcher over the lanes: a VM starts only when every slot it counts on is free."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import anyio

from orchestrator.engine.halt import Halt
from orchestrator.engine.schedule import Lanes, Slots
from orchestrator.model.target import VmRow


@dataclass(slots=True, eq=False)
class Place:
    """Where a VM in flight holds its slots. `lane`: the host it was queued on; `placed`: False while it changes hosts."""

    row: VmRow
    lane: str | None
    placed: bool = True


@dataclass(slots=True, eq=False)
class _Mover:
    place: Place
    row: VmRow
    ready: anyio.Event = field(default_factory=anyio.Event)


class Dispatcher:
    """Starts VMs, and takes their slots back."""

    def __init__(self, lanes: Lanes, slots: Slots, halt: Halt) -> None:
        self._lanes = lanes
        self._slots = slots
        self._halt = halt
        self._changed = anyio.Event()
        self._movers: list[_Mover] = []

    async def run(self, start: Callable[[Place], None], under_way: Iterable[VmRow] = ()) -> list[VmRow]:
        """Start everything that waits, as slots come free; returns what a halt has left in the queues.

        `under_way`: VMs whose stop goes on at the node already. They count first, even where limits are full.
        """
        for going in under_way:
            self._slots.total += 1
            self._slots.take_place(going)
            start(Place(going, going.host_uuid))
        while True:
            if self._halt:
                return self._lanes.drain()
            self._serve_movers()
            while (row := self._lanes.take()) is not None:
                start(Place(row, row.host_uuid))
            if not len(self._lanes):
                return []
            self._changed = anyio.Event()
            await self._changed.wait()

    def wake(self) -> None:
        """Something changed that the dispatcher should know: a slot, or the halt."""
        self._changed.set()

    def release(self, place: Place, seconds: float) -> None:
        """A VM has its outcome: its slots are free."""
        self._slots.total -= 1
        if place.placed:
            self._slots.take_place(place.row, -1)
        self._lanes.done(place.lane, seconds)
        self._lanes.wake(place.row.host_uuid)
        self._serve_movers()
        self.wake()

    async def move(self, place: Place, row: VmRow) -> None:
        """The VM was read elsewhere: give up its slots there, and wait for one on the new host, before all newcomers."""
        if row.host_uuid == place.row.host_uuid and row.storages == place.row.storages:
            return
        self._slots.take_place(place.row, -1)
        place.placed = False
        self._lanes.wake(place.row.host_uuid)
        mover = _Mover(place, row)
        self._movers.append(mover)
        self._serve_movers()
        self.wake()
        try:
            await mover.ready.wait()
        finally:
            if not mover.ready.is_set():
                self._movers.remove(mover)

    def _serve_movers(self) -> None:
        for mover in list(self._movers):
            if self._slots.place_free(mover.row):
                self._slots.take_place(mover.row)
                mover.place.row = mover.row
                mover.place.placed = True
                self._movers.remove(mover)
                mover.ready.set()
