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
    HostRequest,
    HostRow,
    JobAnswer,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    Lost,
    MigrateRequest,
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
    migrate_seconds: float | None = 10.0
    migrate_error: NodeError | None = None
    candidates: list[str] | None = None
    """Hosts that it can be migrated to; None is every other host."""


@dataclass(slots=True)
class Machine:
    """A host and what a change of its state does: takes `seconds` (None: for ever), and ends in success or `error`."""

    row: HostRow
    seconds: float | None = 1.0
    error: NodeError | None = None
    answers: list[SendResult] = field(default_factory=list)
    """Answers to the first PUTs instead of accepting them."""


@dataclass(slots=True)
class _Job:
    vm_uuid: str
    ends_at: float | None
    error: NodeError | None
    ends_in: str = "Stopped"
    host: str | None = None
    of_host: bool = False


class MemoryCloud:
    """Conditions match by `field=value` or `field?=one,other` on a row's own fields alone.

    `sent` keeps every PUT; `away` cuts the line.

    Hosts that are not given are there all the same, Connected and Enabled.
    """

    def __init__(self, guests: Sequence[Guest], machines: Sequence[Machine] = ()) -> None:
        self.guests = {guest.row.uuid: guest for guest in guests}
        self.machines = {machine.row.uuid: machine for machine in machines}
        self.migrated: list[tuple[float, MigrateRequest]] = []
        self.changed: list[tuple[float, HostRequest]] = []
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
        self._settle()
        yield [self._seen(guest) for guest in self.guests.values() if all(_meets(guest.row, one) for one in conditions)]

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
        if isinstance(request, MigrateRequest):
            return self._move(guest, request, now)
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

    def _move(self, guest: Guest, request: MigrateRequest, now: float) -> SendResult:
        self.migrated.append((now, request))
        if guest.answers:
            return guest.answers.pop(0)
        ends = None if guest.migrate_seconds is None else now + guest.migrate_seconds
        job = _Job(request.vm_uuid, ends, guest.migrate_error, "Running", request.host_uuid)
        self._begin(guest, request, job, "Migrating")
        return Accepted()

    async def change_host(self, request: HostRequest, leaving: Callable[[], bool]) -> SendResult:
        """Start the host's script."""
        machine = self._machine(request.host_uuid)
        if not leaving():
            return Lost(own_error(HELD_BACK, "held back before it left"))
        now = anyio.current_time()
        self.changed.append((now, request))
        if machine.answers:
            return machine.answers.pop(0)
        word = {"disable": "Disabled", "maintain": "Maintenance", "enable": "Enabled"}[request.event]
        ends = None if machine.seconds is None else now + machine.seconds
        self._jobs[request.job_uuid] = _Job(request.host_uuid, ends, machine.error, word, of_host=True)
        return Accepted()

    def _machine(self, uuid: str) -> Machine:
        return self.machines.setdefault(uuid, Machine(HostRow(uuid, f"host-{uuid[:4]}", "Connected", "Enabled")))

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
        if job.error is not None:
            return JobFailed(job.error)
        if job.of_host:
            row = self.machines[job.vm_uuid].row
            as_vm = VmRow(row.uuid, row.name, None, row.state, None, None, None)
            return JobSucceeded(Seen(as_vm, {"uuid": row.uuid, "state": row.state}))
        return JobSucceeded(self._seen(self.guests[job.vm_uuid]))

    async def hosts(self, uuids: Sequence[str]) -> Mapping[str, HostRow]:
        """Every host, as it is now."""
        self._line()
        self._settle()
        return {uuid: self._machine(uuid).row for uuid in uuids}

    async def select_hosts(self, conditions: Sequence[str]) -> list[HostRow]:
        """Every known host that meets all conditions."""
        self._line()
        self._settle()
        return [machine.row for machine in self.machines.values() if all(_meets(machine.row, one) for one in conditions)]

    async def host_states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
        """The states as they are now."""
        return {uuid: row.state for uuid, row in (await self.hosts(uuids)).items()}

    async def candidates(self, vm_uuid: str) -> list[HostRow]:
        """The guest's own list, or every known host but its own that is Connected and Enabled."""
        self._line()
        self._settle()
        guest = self.guests[vm_uuid]
        names = guest.candidates if guest.candidates is not None else list(self.machines)
        rows = [self._machine(uuid).row for uuid in names if uuid != guest.row.host_uuid]
        return [row for row in rows if (row.status, row.state) == ("Connected", "Enabled")]

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
        for job_uuid, job in list(self._jobs.items()):
            if job.of_host and job.ends_at is not None and job.ends_at <= now:
                machine = self.machines[job.vm_uuid]
                if job.error is None and not job.host:
                    machine.row, job.host = replace(machine.row, state=job.ends_in), "done"
                continue
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
        back = "Stopped" if job.ends_in == "Running" and guest.row.state == "Starting" else "Running"
        word = back if job.error is not None else job.ends_in
        if word == "Stopped" and guest.row.host_uuid is not None:
            guest.came_from = guest.row.host_uuid
        # As on a node, a VM that is off is on no host.
        host = job.host if job.ends_in == "Running" and word == "Running" and job.error is None else guest.row.host_uuid
        self._change(guest, state=word, host_uuid=None if word == "Stopped" else host)

    def _change(self, guest: Guest, **changes: str | None) -> None:
        last_op = guest.row.last_op if self.epoch is None else float(int(self.epoch + anyio.current_time()))
        guest.row = replace(guest.row, last_op=last_op, **changes)  # type: ignore[arg-type]

    def _seen(self, guest: Guest) -> Seen:
        self._settle()
        row = replace(guest.row, read_at=anyio.current_time())
        return Seen(row, _inventory(row))


def _meets(row: VmRow | HostRow, condition: str) -> bool:
    name, among, values = condition.partition("?=")
    if not among:
        name, _, values = condition.partition("=")
    name = {"hostUuid": "host_uuid"}.get(name, name)
    return str(getattr(row, name, None)) in (values.split(",") if among else [values])


def _inventory(row: VmRow) -> dict[str, Any]:
    return {"uuid": row.uuid, "name": row.name, "state": row.state, "hostUuid": row.host_uuid, "lastOp": row.last_op}
