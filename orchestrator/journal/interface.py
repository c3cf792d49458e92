"""What a run writes down, and what is read back of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.model.report import AttemptRecord, HostRecord, RunRecord, RunReport, VmRecord, WaveRecord


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One thing that happened; `vm_uuid` is None for the run itself. `at` is RFC 3339 in UTC."""

    at: str
    kind: str
    vm_uuid: str | None = None
    data: Mapping[str, Any] | None = None


class JournalWriteError(Exception):
    """The journal cannot be written any more: all sending stops at once."""


class Journal(Protocol):
    """A run's memory. What is awaited is durable when it returns; what is posted becomes durable soon after."""

    async def begin(self, run: RunRecord, vms: Sequence[VmRecord], plan_file: Mapping[str, str]) -> None:
        """A run with all its targets in the plan's order. Awaited."""
        ...

    async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord) -> None:
        """Attempt `number` (from 0) of a VM is about to be sent. Awaited: durable before the PUT leaves."""
        ...

    def note(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord) -> None:
        """What became of an attempt so far. Posted."""
        ...

    def event(self, run_id: str, event: JournalEvent) -> None:
        """One event. Posted."""
        ...

    async def settle(self, run_id: str, vm: VmRecord) -> None:
        """A VM's outcome, the first or a later one. Awaited. `attempts` in it are not read; they have their rows."""
        ...

    async def finish(self, run: RunRecord, hosts: Sequence[HostRecord], waves: Sequence[WaveRecord]) -> None:
        """The run's last word, or an interim one. Awaited."""
        ...

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        ...

    def report(self, run_id: str) -> RunReport:
        """A run's report, its VMs streamed from the journal. Raises KeyError for an unknown run."""
        ...

    def vm(self, run_id: str, vm_uuid: str) -> tuple[VmRecord, list[JournalEvent]]:
        """One VM and every event of it. Raises KeyError."""
        ...

    async def close(self) -> None:
        """Write what was posted and let go."""
        ...
