"""What waves, budgets, the window and operators order, carried out: VMs that never have their turn, waves that open."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import anyio

from orchestrator.engine.chronicle import Chronicle
from orchestrator.engine.clock import Clock
from orchestrator.engine.course import Course, Drop, Order
from orchestrator.engine.dispatch import Dispatcher
from orchestrator.engine.forecast import Outlook
from orchestrator.engine.halt import Halt
from orchestrator.engine.ledger import Ledger
from orchestrator.engine.waves import Finished, Opened
from orchestrator.journal.interface import JournalWriteError
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import Evidence, VmRecord


class Orders:
    """An outcome is durable before it opens a wave. What is begun here is not cut off half done: see `rest`."""

    def __init__(
        self,
        course: Course,
        dispatcher: Dispatcher,
        ledger: Ledger,
        *,
        chronicle: Chronicle,
        outlook: Outlook,
        halt: Halt,
        clock: Clock,
    ) -> None:
        self._course = course
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._chronicle = chronicle
        self._outlook = outlook
        self._halt = halt
        self._clock = clock
        self._at_work = 0
        self._rested = anyio.Event()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Something is carried out beside the flights."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._rested.set()

    async def rest(self) -> None:
        """Until nothing is carried out any more."""
        while self._at_work:
            self._rested = anyio.Event()
            await self._rested.wait()

    async def never_reached(self, uuids: Sequence[str], reason: Reason) -> None:
        """Their turn does not come any more."""
        for uuid in uuids:
            self._outlook.ends(uuid)
        await self._ledger.settle_all([self._ledger.not_reached(uuid, reason) for uuid in uuids])

    async def obey(self, orders: Sequence[Order]) -> None:
        """Whatever they say, in their order."""
        tell = self._ledger.tell
        for order in orders:
            match order:
                case Drop(reason=reason, vms=vms, stop=stop):
                    self._dispatcher.drop(frozenset(vms))
                    if stop is not None:
                        kind, scope, count, limit = stop
                        self._chronicle.stop(kind, scope, count=count, limit=limit)
                        data = {"kind": kind, "scope": scope, "count": count, "limit": limit, "vms": len(vms)}
                        tell("budget.crossed", None, data)
                    await self.never_reached(vms, reason)
                case Opened(wave=name):
                    self._chronicle.wave(name, "started_at")
                    tell("wave.opened", None, {"wave": name})
                case Finished(wave=name):
                    self._chronicle.wave(name, "finished_at")
                    tell("wave.finished", None, {"wave": name})
        self._dispatcher.wake()

    async def close_window(self) -> None:
        """The window takes nobody any more; what waits is not reached. Where sending has ended, that decides."""
        if self._halt:
            return
        with self.working():
            try:
                orders = self._course.close()
                vms = sum(len(order.vms) for order in orders if isinstance(order, Drop))
                if vms:
                    self._chronicle.window_left_out()
                if vms or self._outlook.in_flight:
                    data = {"not_reached": vms, "in_flight": self._outlook.in_flight}
                    self._ledger.tell("window.closed", None, data)
                await self.obey(orders)
            except JournalWriteError as error:
                self._ledger.lose(error)

    async def skip(self, uuid: str, who: str) -> str:
        """A VM is taken out by an operator, where its turn has not come; what became of that. Raises JournalWriteError."""
        record = self._ledger.records.get(uuid)
        if not isinstance(record, VmRecord) or record.outcome is not None:
            return "it is no target of this run" if record is None else f"too late: it is {record.outcome}"
        orders = None if self._halt else self._course.skip(uuid)
        if orders is None:
            return "the run is over" if self._halt else "too late: it has begun with it"
        with self.working():
            self._dispatcher.drop(frozenset({uuid}))
            self._outlook.ends(uuid)
            taken_out = replace(
                record,
                outcome=Outcome.SKIPPED,
                reason=Reason.OPERATOR,
                evidence=Evidence(text=f"{who} took it out of the run; nothing was sent", basis="none"),
                finished_at=self._clock.wall(),
            )
            await self._ledger.settle(taken_out)
            await self.obey(orders)
        return "skipped"
