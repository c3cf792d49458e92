"""The journal in memory: the same tables without a file or a thread, for tests and trials."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.journal import store
from orchestrator.journal.interface import HostKept, JournalEvent, Word
from orchestrator.journal.owner import Held, Owner
from orchestrator.journal.report import build_report
from orchestrator.model.report import (
    AttemptRecord,
    HostActionRecord,
    HostRecord,
    RunRecord,
    RunReport,
    VmRecord,
    WaveRecord,
)


class MemoryJournal:
    """Forgets all when it is closed."""

    def __init__(self) -> None:
        self._connection = store.open_database(":memory:")
        self._held: dict[str, Owner] = {}

    @property
    def folder(self) -> None:
        """Nowhere."""
        return

    async def begin(
        self,
        run: RunRecord,
        vms: Iterable[VmRecord],
        plan_file: Mapping[str, Any],
        owner: Owner,
        hosts: Sequence[HostKept] = (),
    ) -> None:
        """A run with its targets, its hosts and its lock."""
        self._connection.execute("BEGIN")
        try:
            store.Claim(run.id, owner, store.begin_writes(run, vms, plan_file, hosts)).apply(self._connection)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        self._held[run.id] = owner

    async def take_over(self, run_id: str, owner: Owner) -> Held | None:
        """The lock of a run."""
        before = self.lock(run_id)
        store.Claim(run_id, owner, []).apply(self._connection)
        self._held[run_id] = owner
        return before

    async def carry_on(self, run: RunRecord) -> None:
        """The record of a run that is carried on."""
        store.run_write(run).apply(self._connection)

    def beat(self, run_id: str) -> None:
        """The holder lives."""
        store.beat_write(run_id, self._held[run_id].token).apply(self._connection)

    async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """An attempt before it is sent."""
        self.note(run_id, vm_uuid, number, attempt, state)

    def note(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """What became of it."""
        for write in store.attempt_writes(run_id, vm_uuid, number, attempt, state):
            write.apply(self._connection)

    async def join(self, run_id: str, vms: Sequence[VmRecord]) -> Mapping[str, str]:
        """More targets."""
        join = store.Join(run_id, vms)
        join.apply(self._connection)
        return join.theirs

    async def act(self, run_id: str, host_uuid: str, number: int, action: HostActionRecord, state: str | None) -> None:
        """What is done to a host."""
        self.note_act(run_id, host_uuid, number, action, state)

    def note_act(self, run_id: str, host_uuid: str, number: int, action: HostActionRecord, state: str | None) -> None:
        """What became of it."""
        store.host_action_write(run_id, host_uuid, number, action, state).apply(self._connection)

    def hosts(self, run_id: str) -> list[HostKept]:
        """The hosts that a run changes."""
        return store.read_hosts(self._connection, run_id)

    def event(self, run_id: str, event: JournalEvent) -> None:
        """One event."""
        store.event_write(run_id, event).apply(self._connection)

    async def settle(self, run_id: str, vm: VmRecord, took_seconds: float | None = None) -> None:
        """A VM's outcome."""
        for write in store.settle_writes(run_id, vm, took_seconds):
            write.apply(self._connection)

    async def finish(self, run: RunRecord, hosts: Sequence[HostRecord], waves: Sequence[WaveRecord]) -> None:
        """The run's last word."""
        store.finish_write(run, hosts, waves).apply(self._connection)
        if run.id in self._held:
            store.Release(run.id, self._held.pop(run.id).token).apply(self._connection)

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        return store.read_runs(self._connection)

    def origin(self, run_id: str) -> str:
        """The run that it takes up in the end."""
        return store.read_origin(self._connection, run_id)

    def report(self, run_id: str) -> RunReport:
        """A run's report."""
        return build_report(self._connection, run_id)

    def run(self, run_id: str) -> RunRecord:
        """A run's record alone."""
        return store.read_run(self._connection, run_id)[0]

    def vms(self, run_id: str, uuids: Sequence[str] | None = None) -> Iterator[VmRecord]:
        """A run's VMs, one by one."""
        return store.read_vms(self._connection, run_id, uuids=uuids)

    def uuids(self, run_id: str) -> list[str]:
        """A run's targets, in the plan's order."""
        return store.read_uuids(self._connection, run_id)

    def vm(self, run_id: str, vm_uuid: str) -> tuple[VmRecord, list[JournalEvent]]:
        """One VM and its events."""
        return store.read_vm(self._connection, run_id, vm_uuid), store.read_events(self._connection, run_id, vm_uuid)

    def lock(self, run_id: str) -> Held | None:
        """Who holds a run's lock."""
        return store.read_lock(self._connection, run_id)

    def was_reported(self, run_id: str) -> bool:
        """Were the run's reports written?"""
        return store.was_reported(self._connection, run_id)

    def plan_file(self, run_id: str) -> Mapping[str, Any]:
        """What `begin` was given."""
        return store.read_plan_file(self._connection, run_id)

    def states(self, run_id: str) -> Mapping[str, str]:
        """The states of actions under way."""
        return store.read_states(self._connection, run_id)

    async def tell(self, run_id: str, word: Word) -> None:
        """A word to a run."""
        store.word_write(run_id, word).apply(self._connection)

    def answer(self, number: int, answer: str) -> None:
        """What a run made of a word."""
        store.answer_write(number, answer).apply(self._connection)

    def words(self, run_id: str, after: int = 0) -> list[Word]:
        """The words to a run."""
        return store.read_words(self._connection, run_id, after)

    def took(self, action: str, uuids: Sequence[str]) -> Mapping[str, tuple[float, ...]]:
        """What these VMs took in earlier runs."""
        return store.read_took(self._connection, action, uuids)

    async def close(self) -> None:
        """Forget."""
        self._connection.close()
