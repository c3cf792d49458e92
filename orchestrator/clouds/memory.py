"""A scripted cloud in memory, for tests: a VM's own script decides what its stop does, in the loop's own time."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from orchestrator.clouds.interface import HaLevels, Heard, NodeAwayError, NodeFacts
from orchestrator.model.fault import NodeError, own_error
from orchestrator.model.states import Verb
from orchestrator.model.target import (
    HELD_BACK,
    Accepted,
    Addresses,
    HostRow,
    JobAnswer,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    Lost,
    Request,
    Seen,
    SendResult,
    StartRequest,
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
    start_seconds: float | None = 3.0
    start_errors: list[NodeError | None] = field(default_factory=list)
    """How its starts end, one after the other; success where the list is at its end."""
    came_from: str | None = None
    """The host it was on before it was stopped; a start without a host goes there."""


@dataclass(slots=True)
class _Job:
    vm_uuid: str
    ends_at: float | None
    error: NodeError | None
    ends_in: str = "Stopped"
    host: str | None = None


class MemoryCloud:
    """Conditions match by `field=value` on a row's own fields alone. `sent` keeps every PUT; `away` cuts the line."""

    def __init__(self, guests: Sequence[Guest]) -> None:
        self.guests = {guest.row.uuid: guest for guest in guests}
        self.sent: list[tuple[float, StopRequest]] = []
        self.started: list[tuple[float, StartRequest]] = []
        self.in_flight: dict[str, str] = {}
        self.peak = 0
        self.away = False
        self.epoch: float | None = None
        """The node's clock at the loop's zero: each change of a VM is its `last_op` then; None leaves that as it is."""
        self._jobs: dict[str, _Job] = {}
        self.heard: Heard | None = None
        self.paces: list[float] = []

    def heed(self, heard: Heard | None) -> None:
        """Kept; a test calls it with what it likes."""
        self.heard = heard

    def pace(self, requests_per_second: float) -> None:
        """Kept; nothing here is slow."""
        self.paces.append(requests_per_second)

    async def facts(self) -> NodeFacts:
        """A node whose clock is ours."""
        self._line()
        return NodeFacts("memory://cloud", "5.2.1", 0.0, "UTC")

    async def permission(self, verb: Verb = Verb.STOP) -> str | None:
        """Always permitted."""
        return None

    async def learn_stop_ha(self) -> None:
        """Nothing to learn."""

    async def select(self, conditions: Sequence[str], *, whole: bool = True) -> AsyncIterator[list[Seen]]:
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
        if guest is None:
            return None
        return replace(guest.row, host_uuid=inventory["hostUuid"], last_op=inventory.get("lastOp"))

    async def holders(self, addresses: Addresses) -> frozenset[str]:
        """Nobody."""
        return frozenset()

    def addresses_of(self, inventory: Mapping[str, Any]) -> Addresses:
        """None has any."""
        return Addresses()

    async def states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
        """The states as they are now."""
        self._line()
        self._settle()
        return {uuid: self.guests[uuid].row.state for uuid in uuids if uuid in self.guests}

    async def send(self, request: Request, leaving: Callable[[], bool]) -> SendResult:
        """Start the guest's script."""
        guest = self.guests[request.vm_uuid]
        if not leaving():
            return Lost(own_error(HELD_BACK, "held back before it left"))
        now = anyio.current_time()
        if isinstance(request, StartRequest):
            return self._boot(guest, request, now)
        self.sent.append((now, request))
        if guest.answers:
            return guest.answers.pop(0)
        seconds = guest.seconds if request.type == "grace" else guest.cold_seconds
        error = guest.error if request.type == "grace" else None
        self._begin(guest, request, _Job(request.vm_uuid, None if seconds is None else now + seconds, error), "Stopping")
        return Accepted()

    def _boot(self, guest: Guest, request: StartRequest, now: float) -> SendResult:
        self.started.append((now, request))
        if guest.answers:
            return guest.answers.pop(0)
        error = guest.start_errors.pop(0) if guest.start_errors else None
        ends = None if guest.start_seconds is None else now + guest.start_seconds
        job = _Job(request.vm_uuid, ends, error, "Running", request.host_uuid or guest.came_from)
        self._begin(guest, request, job, "Starting")
        return Accepted()

    def _begin(self, guest: Guest, request: Request, job: _Job, word: str) -> None:
        self._jobs[request.job_uuid] = job
        self._change(guest, state=word)
        self.in_flight[request.vm_uuid] = request.job_uuid
        self.peak = max(self.peak, len(self.in_flight))

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
            guest = self.guests.get(job.vm_uuid)
            if (
                guest is not None
                and self.in_flight.get(job.vm_uuid) == job_uuid
                and job.ends_at is not None
                and job.ends_at <= now
            ):
                self._end(guest, job)
                del self.in_flight[job.vm_uuid]

    def _end(self, guest: Guest, job: _Job) -> None:
        back = "Running" if job.ends_in == "Stopped" else "Stopped"
        word = back if job.error is not None else job.ends_in
        if word == "Stopped" and guest.row.host_uuid is not None:
            guest.came_from = guest.row.host_uuid
        # As on a node, a VM that is off is on no host.
        host = job.host if job.ends_in == "Running" and word == "Running" else guest.row.host_uuid
        self._change(guest, state=word, host_uuid=None if word == "Stopped" else host)

    def _change(self, guest: Guest, **changes: str | None) -> None:
        last_op = guest.row.last_op if self.epoch is None else float(int(self.epoch + anyio.current_time()))
        guest.row = replace(guest.row, last_op=last_op, **changes)  # type: ignore[arg-type]

    def _seen(self, guest: Guest) -> Seen:
        self._settle()
        row = replace(guest.row, read_at=anyio.current_time())
        return Seen(row, _inventory(row))


def _inventory(row: VmRow) -> dict[str, Any]:
    return {"uuid": row.uuid, "name": row.name, "state": row.state, "hostUuid": row.host_uuid, "lastOp": row.last_op}
