"""What a run writes down, and what is read back of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.journal.owner import Held, Owner
from orchestrator.model.report import (
    AttemptRecord,
    HostActionRecord,
    HostRecord,
    RunRecord,
    RunReport,
    VmRecord,
    WaveRecord,
)
from orchestrator.model.target import HostRow


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One thing that happened; `vm_uuid` is None for the run itself. `at` is RFC 3339 in UTC."""

    at: str
    kind: str
    vm_uuid: str | None = None
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word to a run from elsewhere: `pause`, `go` or `skip` with a VM. `at` is RFC 3339 in UTC, `who` is `user@host`.

    `number` is the journal's, 0 before it has it; `answer` is what the run made of it, None until it has heard it.
    """

    at: str
    who: str
    what: str
    vm_uuid: str | None = None
    number: int = 0
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class HostKept:
    """A host that a run changes: as it was found, what was done to it, and the state of the last of that as text (None
    where it ended before it began).
    """

    row: HostRow
    actions: tuple[HostActionRecord, ...]
    state: str | None


REPORTED = "run.reported"
"""The event that says that a run's reports are written."""


class JournalWriteError(Exception):
    """The journal cannot be written any more, or the run's lock was lost: all sending stops at once."""


class LockLostError(JournalWriteError):
    """Another process has taken over the run."""


class Journal(Protocol):
    """A run's memory. What is awaited is durable when it returns; what is posted becomes durable soon after."""

    @property
    def folder(self) -> Path | None:
        """Where it lies; None where it is in memory."""
        ...

    async def begin(
        self,
        run: RunRecord,
        vms: Iterable[VmRecord],
        plan_file: Mapping[str, Any],
        owner: Owner,
        hosts: Sequence[HostKept] = (),
    ) -> None:
        """A run with all its targets in the plan's order, the hosts that it changes, and its lock. Awaited. Raises
        RunLockedError.

        `vms` is gone through once, by another thread maybe, and no more of it is in memory than must be.
        """
        ...

    async def take_over(self, run_id: str, owner: Owner) -> Held | None:
        """The lock of a run that nobody living works on; returns who held it, None where nobody did.

        Awaited. Raises RunLockedError.
        """
        ...

    async def carry_on(self, run: RunRecord) -> None:
        """The record of a run that is carried on. Awaited."""
        ...

    def beat(self, run_id: str) -> None:
        """The holder of the lock lives. Posted."""
        ...

    async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """Attempt `number` (from 0) of a VM is about to be sent; `state` is its action's. Awaited: before the PUT leaves."""
        ...

    async def join(self, run_id: str, vms: Sequence[VmRecord]) -> Mapping[str, str]:
        """More targets, behind those that there are; one that is there already is left as it is. Awaited.

        Returns, by UUID, those that another run has which a living process works on, and that run: they have not joined.
        """
        ...

    async def act(self, run_id: str, host_uuid: str, number: int, action: HostActionRecord, state: str | None) -> None:
        """Thing `number` (from 0) that is done to a host: begun, about to be sent, or ended. Awaited."""
        ...

    def note_act(self, run_id: str, host_uuid: str, number: int, action: HostActionRecord, state: str | None) -> None:
        """The same, posted: what became of it so far."""
        ...

    def hosts(self, run_id: str) -> list[HostKept]:
        """The hosts that a run changes, in its order."""
        ...

    def note(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """What became of an attempt so far. Posted."""
        ...

    def event(self, run_id: str, event: JournalEvent) -> None:
        """One event. Posted."""
        ...

    async def settle(self, run_id: str, vm: VmRecord, took_seconds: float | None = None) -> None:
        """A VM's outcome, the first or a later one. Awaited. `attempts` in it are not read; they have their rows.

        Where its inventory is None, the one that is there stays. `took_seconds`: for how long it held its slots, where that
        says how long it takes; None where it says nothing.
        """
        ...

    async def finish(self, run: RunRecord, hosts: Sequence[HostRecord], waves: Sequence[WaveRecord]) -> None:
        """The run's last word; its lock is free afterwards. Awaited."""
        ...

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        ...

    def origin(self, run_id: str) -> str:
        """The run that a retry or restore, or one of one, takes up, as far as the journal has it; of any other itself."""
        ...

    def report(self, run_id: str) -> RunReport:
        """A run's report, its VMs streamed from the journal. Raises KeyError for an unknown run."""
        ...

    def run(self, run_id: str) -> RunRecord:
        """A run's record alone. Raises KeyError for an unknown run."""
        ...

    def vms(self, run_id: str, uuids: Sequence[str] | None = None) -> Iterator[VmRecord]:
        """A run's VMs in the plan's order, one by one: all, or those of `uuids`."""
        ...

    def uuids(self, run_id: str) -> list[str]:
        """A run's targets in the plan's order."""
        ...

    def vm(self, run_id: str, vm_uuid: str) -> tuple[VmRecord, list[JournalEvent]]:
        """One VM and every event of it. Raises KeyError."""
        ...

    def lock(self, run_id: str) -> Held | None:
        """Who holds a run's lock; None where nobody does."""
        ...

    def was_reported(self, run_id: str) -> bool:
        """Were the run's reports written after its end?"""
        ...

    def plan_file(self, run_id: str) -> Mapping[str, Any]:
        """What `begin` was given. Raises KeyError."""
        ...

    def states(self, run_id: str) -> Mapping[str, str]:
        """The states of actions that are under way, or that ended `failed` or `unknown`, by VM."""
        ...

    def took(self, action: str, uuids: Sequence[str]) -> Mapping[str, tuple[float, ...]]:
        """Seconds for which these VMs held their slots in earlier runs of this action (`stop`, `start`) that ended well,
        the newest first, at most five; VMs without such a run are left out.
        """
        ...

    async def tell(self, run_id: str, word: Word) -> None:
        """A word to a run, whoever works on it. Awaited."""
        ...

    def answer(self, number: int, answer: str) -> None:
        """What a run made of a word. Posted."""
        ...

    def words(self, run_id: str, after: int = 0) -> list[Word]:
        """The words to a run that came after that number, the oldest first."""
        ...

    async def close(self) -> None:
        """Write what was posted, and let go of every lock."""
        ...
