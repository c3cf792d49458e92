"""What truly happened: every change of a VM's state and every request, to judge a client's report by."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Transition:
    """A VM's row went from one state to another. `at` is real monotonic seconds, `wall` the node's wall clock.

    `by` is "job <id>", "ha", "other" or "agent" (the row was corrected after the host's truth). `type` is grace or cold
    where a stop caused it; `forced` tells that the power was cut. `job` is the job behind it, None where there is none.
    """

    vm_uuid: str
    at: float
    wall: datetime
    before: str
    after: str
    by: str
    job: str | None = None
    type: str | None = None
    forced: bool = False


@dataclass(frozen=True, slots=True)
class HostTransition:
    """A host's row went from one state to another. `at`, `wall`, `by` and `job` as for a Transition."""

    host_uuid: str
    at: float
    wall: datetime
    before: str
    after: str
    by: str
    job: str | None = None


@dataclass(slots=True)
class Request:
    """A request as it came in. `status` None: no answer was given. `session` None: none was sent.

    `job` is the id in `X-Job-UUID`, the node's own for a PUT without one, or the id polled. `api_timeout` is the
    header's text. `action` is the key of a PUT's body, `body` what stood under it. `fault` names what struck it.
    """

    at: float
    method: str
    path: str
    query: str
    job: str | None
    api_timeout: str | None
    session: str | None
    action: str | None
    body: Any
    vm_uuid: str | None = None
    status: int | None = None
    fault: str | None = None
    host_uuid: str | None = None


@dataclass(slots=True)
class StopJob:
    """A stop between its acceptance and its end; `ended` None: it never ended."""

    job: str
    vm_uuid: str
    host_uuid: str | None
    type: str
    accepted: float
    ended: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A VM's row went from one host straight to another one. `at`, `wall`, `by` and `job` as for a Transition."""

    vm_uuid: str
    at: float
    wall: datetime
    source: str
    target: str
    by: str
    job: str | None = None


@dataclass(slots=True)
class Migration:
    """A migration between its acceptance and its end, by a MigrateVm or a maintenance; `ended` None: it never ended.

    Maintenance accepts one when its turn among those of the host has come, and `job` is the maintenance's then. `source`
    and `target` are UUIDs of hosts; `target` None: the node was to choose, and hasn't. `started` is when the VM became
    Migrating; None: it was refused before that.
    """

    job: str
    vm_uuid: str
    source: str | None
    target: str | None
    accepted: float
    started: float | None = None
    ended: float | None = None
    error: str | None = None


@dataclass(slots=True)
class Record:
    """All of it, in order of time."""

    transitions: list[Transition] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    stops: list[StopJob] = field(default_factory=list)
    migrations: list[Migration] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    host_transitions: list[HostTransition] = field(default_factory=list)
    _of_vm: dict[str, list[Transition]] = field(default_factory=dict)
    _puts: dict[tuple[str, str], list[Request]] = field(default_factory=dict)
    sessions: dict[str, bool] = field(default_factory=dict)
    """Every session ever opened: True while nobody has logged it out, whether it expired or not."""

    def transitions_of(self, uuid: str) -> list[Transition]:
        """What happened to one VM."""
        return list(self._of_vm.get(uuid, ()))

    def add_transition(self, step: Transition) -> None:
        """Note a change of state."""
        self.transitions.append(step)
        self._of_vm.setdefault(step.vm_uuid, []).append(step)

    def add_put(self, request: Request) -> None:
        """Note that a request is an action on the VM or the host that it names."""
        self._puts.setdefault((request.action or "", request.vm_uuid or request.host_uuid or ""), []).append(request)

    def running_to_stopped(self, uuid: str) -> int:
        """How often API jobs brought this VM down, late successes included."""
        return sum(
            step.after == "Stopped" and step.before != "Stopped" and step.by.startswith(("job", "agent"))
            for step in self.transitions_of(uuid)
        )

    def peak_in_flight(self) -> int:
        """Most stop jobs at one time between acceptance and job end. One that never ends counts for ever."""
        return _peak(self.stops)

    def peak_per_host(self, uuid: str) -> int:
        """The same for the VMs of one host, by where they were when the stop was accepted."""
        return _peak([stop for stop in self.stops if stop.host_uuid == uuid])

    def peak_migrations(self) -> int:
        """Most migrations at one time between acceptance and end. One that never ends counts for ever."""
        return _peak(self.migrations)

    def peak_migrations_per_host(self, uuid: str) -> int:
        """The same for those that left this host or came to it, together."""
        return _peak([move for move in self.migrations if uuid in (move.source, move.target)])

    def migrate_puts(self, uuid: str) -> int:
        """How many MigrateVm were sent for this VM, accepted or not."""
        return len(self._puts.get(("migrateVm", uuid), ()))

    def host_puts(self, uuid: str, event: str | None = None) -> int:
        """How many changes of this host's state were sent, accepted or not; with `event` only those to enable, and so on."""
        sent = self._puts.get(("changeHostState", uuid), ())
        return sum(event in (None, request.body.get("stateEvent")) for request in sent)

    def host_transitions_of(self, uuid: str) -> list[HostTransition]:
        """What happened to one host's state."""
        return [step for step in self.host_transitions if step.host_uuid == uuid]

    def stop_puts(self, uuid: str) -> int:
        """How many stops were sent for this VM, accepted or not."""
        return len(self._puts.get(("stopVmInstance", uuid), ()))

    def cold_puts(self, uuid: str) -> int:
        """How many of those were cold."""
        return sum(
            isinstance(request.body, dict) and request.body.get("type") == "cold"
            for request in self._puts.get(("stopVmInstance", uuid), ())
        )

    def open_sessions(self) -> list[str]:
        """Sessions that nobody logged out."""
        return [session for session, is_open in self.sessions.items() if is_open]

    def as_json(self) -> dict[str, Any]:
        """What `GET /simulator/record` answers; dates are ISO 8601."""
        return {
            "transitions": _dated(self.transitions),
            "moves": _dated(self.moves),
            "host_transitions": _dated(self.host_transitions),
            "requests": [asdict(request) for request in self.requests],
            "stops": [asdict(stop) for stop in self.stops],
            "migrations": [asdict(move) for move in self.migrations],
            "open_sessions": self.open_sessions(),
        }

    def summary(self, states: Counter[str]) -> dict[str, Any]:
        """What `GET /simulator/summary` answers: counts, for a look in passing."""
        per_host: dict[str, list[StopJob]] = defaultdict(list)
        for stop in self.stops:
            per_host[stop.host_uuid or ""].append(stop)
        return {
            "states": dict(states),
            "requests": len(self.requests),
            "statuses": dict(Counter(str(request.status) for request in self.requests)),
            "stop_puts": sum(request.action == "stopVmInstance" for request in self.requests),
            "stops_accepted": len(self.stops),
            "stops_failed": sum(stop.error is not None for stop in self.stops),
            "stops_unfinished": sum(stop.ended is None for stop in self.stops),
            "stopped_by_jobs": sum(
                step.after == "Stopped" and step.by.startswith(("job", "agent")) for step in self.transitions
            ),
            "forced": sum(step.after == "Stopped" and step.forced for step in self.transitions),
            "peak_in_flight": self.peak_in_flight(),
            "peak_per_host": max((_peak(stops) for stops in per_host.values()), default=0),
            "host_puts": sum(request.action == "changeHostState" for request in self.requests),
            "host_transitions": len(self.host_transitions),
            "migrate_puts": sum(request.action == "migrateVm" for request in self.requests),
            "migrations": len(self.migrations),
            "migrations_failed": sum(move.error is not None for move in self.migrations),
            "migrations_unfinished": sum(move.ended is None for move in self.migrations),
            "peak_migrations": self.peak_migrations(),
            "peak_migrations_per_host": self._peak_of_any_host(),
            "open_sessions": len(self.open_sessions()),
        }

    def _peak_of_any_host(self) -> int:
        hosts = {uuid for move in self.migrations for uuid in (move.source, move.target) if uuid is not None}
        return max(map(self.peak_migrations_per_host, hosts), default=0)


def _dated(steps: Sequence[Transition | Move | HostTransition]) -> list[dict[str, Any]]:
    return [{**asdict(step), "wall": step.wall.isoformat()} for step in steps]


def _peak(jobs: Sequence[StopJob | Migration]) -> int:
    # At one moment an end is counted before a beginning: a client that waits for the end never seems to overlap.
    moments = [(job.accepted, 1) for job in jobs] + [(job.ended, -1) for job in jobs if job.ended is not None]
    peak = now = 0
    for _, step in sorted(moments):
        now += step
        peak = max(peak, now)
    return peak
