"""A scripted cloud in memory, for tests: a VM's own script decides what its stop does, in the loop's own time."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from orchestrator.clouds.interface import HaLevels, NodeAwayError, NodeFacts
from orchestrator.model.fault import NodeError, own_error
from orchestrator.model.target import (
    Accepted,
    HostRow,
    JobAnswer,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    Lost,
    Seen,
    SendResult,
    StopRequest,
    VmRow,
)


@dataclass(slots=True)
class Guest:
    """A VM and what a stop does to it: takes `seconds` (None: for ever), and ends in success or `error`."""

    row: VmRow
    seconds: float | None = 5.0
    cold_seconds: float | None = 1.0
    error: NodeError | None = None
    answers: list[SendResult] = field(default_factory=list)
    """Answers to the first PUTs instead of accepting them."""


@dataclass(slots=True)
class _Job:
    vm_uuid: str
    ends_at: float | None
    error: NodeError | None


class MemoryCloud:
    """Conditions match by `field=value` on a row's own fields alone. `sent` keeps every PUT; `away` cuts the line."""

    def __init__(self, guests: Sequence[Guest]) -> None:
        self.guests = {guest.row.uuid: guest for guest in guests}
        self.sent: list[tuple[float, StopRequest]] = []
        self.in_flight: dict[str, str] = {}
        self.peak = 0
        self.away = False
        self._jobs: dict[str, _Job] = {}

    async def facts(self) -> NodeFacts:
        """A node whose clock is ours."""
        self._line()
        return NodeFacts("memory://cloud", "5.2.1", 0.0, "UTC")

    async def permission(self) -> str | None:
        """Always permitted."""
        return None

    async def learn_stop_ha(self) -> None:
        """Nothing to learn."""

    async def select(self, conditions: Sequence[str]) -> AsyncIterator[list[Seen]]:
        """Every VM that meets all conditions, in one page."""
        self._line()
        wanted = [condition.split("=", 1) for condition in conditions]
        yield [
            self._seen(guest)
            for guest in self.guests.values()
            if all(str(getattr(guest.row, name, None)) == value for name, value in wanted)
        ]

    async def read(self, uuids: Sequence[str]) -> Mapping[str, Seen]:
        """The rows as they are now."""
        self._line()
        return {uuid: self._seen(self.guests[uuid]) for uuid in uuids if uuid in self.guests}

    def row_of(self, inventory: Mapping[str, Any]) -> VmRow | None:
        """The VM of that UUID, where it was last."""
        guest = self.guests.get(inventory["uuid"])
        return None if guest is None else replace(guest.row, host_uuid=inventory["hostUuid"])

    async def states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
        """The states as they are now."""
        self._line()
        self._settle()
        return {uuid: self.guests[uuid].row.state for uuid in uuids if uuid in self.guests}

    async def send(self, request: StopRequest, leaving: Callable[[], bool]) -> SendResult:
        """Start the guest's script."""
        guest = self.guests[request.vm_uuid]
        if not leaving():
            return Lost(own_error("http.unsent", "held back before it left"))
        now = anyio.current_time()
        self.sent.append((now, request))
        if guest.answers:
            return guest.answers.pop(0)
        seconds = guest.seconds if request.type == "grace" else guest.cold_seconds
        error = guest.error if request.type == "grace" else None
        self._jobs[request.job_uuid] = _Job(request.vm_uuid, None if seconds is None else now + seconds, error)
        guest.row = replace(guest.row, state="Stopping")
        self.in_flight[request.vm_uuid] = request.job_uuid
        self.peak = max(self.peak, len(self.in_flight))
        return Accepted()

    async def look(self, job_uuid: str) -> JobAnswer:
        """The job's answer now."""
        self._line()
        self._settle()
        job = self._jobs.get(job_uuid)
        if job is None:
            return JobMissing()
        if job.ends_at is None or job.ends_at > anyio.current_time():
            return JobRunning()
        return JobFailed(job.error) if job.error is not None else JobSucceeded(self._seen(self.guests[job.vm_uuid]))

    async def hosts(self, uuids: Sequence[str]) -> Mapping[str, HostRow]:
        """Every host, Connected."""
        self._line()
        return {uuid: HostRow(uuid, f"host-{uuid[:4]}", "Connected", "Enabled") for uuid in uuids}

    async def running_on(self, host_uuids: Sequence[str]) -> Mapping[str, list[Seen]]:
        """What is on them now and not Stopped."""
        self._settle()
        return {
            host: [
                self._seen(guest)
                for guest in self.guests.values()
                if guest.row.host_uuid == host and guest.row.state != "Stopped"
            ]
            for host in host_uuids
        }

    async def ha_levels(self, uuids: Sequence[str]) -> HaLevels:
        """None has one."""
        return HaLevels()

    def _line(self) -> None:
        if self.away:
            raise NodeAwayError("the line is cut")

    def _settle(self) -> None:
        now = anyio.current_time()
        for job_uuid, job in self._jobs.items():
            guest = self.guests[job.vm_uuid]
            if self.in_flight.get(job.vm_uuid) == job_uuid and job.ends_at is not None and job.ends_at <= now:
                guest.row = replace(guest.row, state="Running" if job.error is not None else "Stopped")
                del self.in_flight[job.vm_uuid]

    def _seen(self, guest: Guest) -> Seen:
        self._settle()
        row = replace(guest.row, read_at=anyio.current_time())
        return Seen(row, {"uuid": row.uuid, "name": row.name, "state": row.state, "hostUuid": row.host_uuid})
