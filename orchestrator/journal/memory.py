"""The journal in memory: the same tables without a file or a thread, for tests and trials."""

from collections.abc import Mapping, Sequence

from orchestrator.journal import store
from orchestrator.journal.interface import JournalEvent
from orchestrator.journal.report import build_report
from orchestrator.model.report import AttemptRecord, HostRecord, RunRecord, RunReport, VmRecord, WaveRecord


class MemoryJournal:
    """Forgets all when it is closed."""

    def __init__(self) -> None:
        self._connection = store.open_database(":memory:")

    async def begin(self, run: RunRecord, vms: Sequence[VmRecord], plan_file: Mapping[str, str]) -> None:
        """A run with its targets."""
        for write in store.begin_writes(run, vms, plan_file):
            write.apply(self._connection)

    async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord) -> None:
        """An attempt before it is sent."""
        store.attempt_write(run_id, vm_uuid, number, attempt).apply(self._connection)

    def note(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord) -> None:
        """What became of it."""
        store.attempt_write(run_id, vm_uuid, number, attempt).apply(self._connection)

    def event(self, run_id: str, event: JournalEvent) -> None:
        """One event."""
        store.event_write(run_id, event).apply(self._connection)

    async def settle(self, run_id: str, vm: VmRecord) -> None:
        """A VM's outcome."""
        store.settle_write(run_id, vm).apply(self._connection)

    async def finish(self, run: RunRecord, hosts: Sequence[HostRecord], waves: Sequence[WaveRecord]) -> None:
        """The run's last word."""
        store.finish_write(run, hosts, waves).apply(self._connection)

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        return store.read_runs(self._connection)

    def report(self, run_id: str) -> RunReport:
        """A run's report."""
        return build_report(self._connection, run_id)

    def vm(self, run_id: str, vm_uuid: str) -> tuple[VmRecord, list[JournalEvent]]:
        """One VM and its events."""
        return store.read_vm(self._connection, run_id, vm_uuid), store.read_events(self._connection, run_id, vm_uuid)

    async def close(self) -> None:
        """Forget."""
        self._connection.close()
