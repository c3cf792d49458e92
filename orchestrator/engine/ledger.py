"""What becomes of each VM of a run: in memory without inventories, in the journal whole, and told to whoever listens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from orchestrator.engine.clock import Clock
from orchestrator.engine.records import Settled
from orchestrator.journal.interface import Journal, JournalEvent, JournalWriteError
from orchestrator.model.event import Event, Listener
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import Evidence, VmRecord, cause_of_failure

_TOGETHER = 500
"""VMs that are written in one go."""


class Ledger:
    """`lost` is called once, when the journal cannot be written any more; `error` says why then."""

    def __init__(
        self, run_id: str, journal: Journal, clock: Clock, listeners: Sequence[Listener], lost: Callable[[], None]
    ) -> None:
        self.records: dict[str, VmRecord | Settled] = {}
        """Every target by its UUID."""
        self._settled: dict[Settled, Settled] = {}
        self.at_node: set[str] = set()
        """VMs whose PUT has left and that have no outcome yet."""
        self.error: JournalWriteError | None = None
        self._run_id = run_id
        self._journal = journal
        self._clock = clock
        self._listeners = listeners
        self._lost = lost

    def keep(self, records: Iterable[VmRecord]) -> None:
        """What a run begins with. They are in the journal; a run of many thousands keeps no inventories in memory."""
        self.records = {record.uuid: _slim(record) for record in records}

    def join(self, records: Iterable[VmRecord]) -> None:
        """More targets, which are in the journal already."""
        self.records |= {record.uuid: _slim(record) for record in records}

    def unsettled(self, uuid: str) -> VmRecord:
        """The record of a VM that has not been given an outcome here."""
        record = self.records[uuid]
        assert isinstance(record, VmRecord), f"{uuid} has its outcome"
        return record

    def tell(self, kind: str, vm_uuid: str | None = None, data: Mapping[str, Any] | None = None) -> None:
        """One event, to journal and listeners."""
        if kind == "vm.sent" and vm_uuid is not None:
            self.at_node.add(vm_uuid)
        event = Event(kind, self._clock.wall(), vm_uuid, data or {})
        try:
            self._journal.event(self._run_id, JournalEvent(event.at, kind, vm_uuid, data))
        except JournalWriteError as error:
            self.lose(error)
        for listener in self._listeners:
            listener(event)

    def lose(self, error: JournalWriteError) -> None:
        """The journal cannot be written; the first error stands."""
        if self.error is None:
            self.error = error
            self._lost()

    async def settle(self, record: VmRecord, *, tell: bool = True, took_seconds: float | None = None) -> None:
        """The outcome is durable when this returns. A record without an inventory keeps the journalled one.

        `took_seconds`: what it says of how long this VM takes; None says nothing.
        """
        settled = Settled(record.host_uuid, record.wave, record.outcome, record.reason, record.verified_at)
        self.records[record.uuid] = self._settled.setdefault(settled, settled)
        try:
            await self._journal.settle(self._run_id, record, took_seconds)
        except JournalWriteError as error:
            self.lose(error)
            return
        if tell:
            self.tell_outcome(record)

    async def settle_all(self, records: Sequence[VmRecord]) -> None:
        """Many at once share the journal's commits; an outcome that is the earlier one is not told again."""
        for start in range(0, len(records), _TOGETHER):
            async with anyio.create_task_group() as writes:
                for record in records[start : start + _TOGETHER]:
                    earlier = self.records[record.uuid].outcome
                    writes.start_soon(partial(self.settle, record, tell=record.outcome != earlier))

    def not_reached(self, uuid: str, reason: Reason, text: str = "its turn never came; nothing was sent") -> VmRecord:
        """The record of a VM that nothing is sent to, not yet settled."""
        return replace(
            self.unsettled(uuid),
            outcome=Outcome.NOT_REACHED,
            reason=reason,
            evidence=Evidence(text=text, basis="none"),
            finished_at=self._clock.wall(),
        )

    def tell_outcome(self, record: VmRecord) -> None:
        """The event of an outcome."""
        self.tell(
            "vm.outcome",
            record.uuid,
            {
                "name": record.name,
                "host": record.host_uuid,
                "wave": record.wave,
                "outcome": record.outcome,
                "reason": record.reason,
                "evidence": record.evidence.text if record.evidence else None,
                "cause": cause_of_failure(record),
            },
        )


def _slim(record: VmRecord) -> VmRecord:
    return record if record.inventory is None else replace(record, inventory=None)
