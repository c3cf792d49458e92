"""What a run looks like now, gathered from its events: the one count that lines, screen and metrics show."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.model.event import Event
from orchestrator.model.outcome import BAD, HOST_GOOD, HostOutcome, Outcome

_SENDS = frozenset({"cold", "stop"})
"""Steps with which something is sent."""
_SLOW = 1.5
"""So many times its usual time, and a VM is named: slow, or never?"""


@dataclass(slots=True)
class Flight:
    """One VM in flight; times are seconds since 1970, None while nothing of it has left."""

    uuid: str
    name: str | None
    host: str | None
    wave: str
    since: float
    usual_seconds: float | None
    assumed: bool = False
    """Nobody has measured what it usually takes."""
    phase: str = "read"
    """`read`, `waiting` (for its turn to be sent), or what was sent: `grace`, `cold`, `start`, `migrate`."""
    sent: float | None = None
    steps: tuple[tuple[float, str], ...] = ()
    """What happens next by itself, and when: `power_cut`, `cold`, `stop`, `give_up`."""

    def next_step(self, now: float) -> tuple[float, str] | None:
        """The next of its steps; None where none is to come."""
        return next(((at, what) for at, what in self.steps if at > now), None)

    def slow(self, now: float) -> bool:
        """Is it past its usual time?"""
        return self.usual_seconds is not None and now - self.since > _SLOW * self.usual_seconds


@dataclass(slots=True)
class Tally:
    """One wave or host: how many VMs are to be done, in flight and done."""

    to_do: int = 0
    in_flight: int = 0
    done: int = 0
    finished: bool = False


@dataclass(slots=True)
class Outlook:
    """The end as it was forecast last, RFC 3339."""

    low: str
    likely: str
    high: str


@dataclass(slots=True)
class Picture:
    """A listener; everything in it is as of the last event. It keeps an outcome a VM and no text of its own for each."""

    plan: str = ""
    targets: int = 0
    to_come: int = 0
    """Of these, the outcomes that are told: a run that is carried on does not tell again what it had."""
    starts: bool = False
    hosts_to_empty: int = 0
    """Hosts that the run is to empty; 0 where it is to empty none."""
    host_deeds: dict[str, dict[str, HostOutcome | None]] = field(default_factory=dict)
    """By a host's UUID: what was done to it, in the order of its beginning, and what became of that; None: under way."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    flights: dict[str, Flight] = field(default_factory=dict)
    waves: dict[str, Tally] = field(default_factory=dict)
    hosts: dict[str, Tally] = field(default_factory=dict)
    """By the name to show."""
    causes: dict[str, Counter[str]] = field(default_factory=dict)
    """Of failures: how many, by the host to show."""
    outlook: Outlook | None = None
    closes: str | None = None
    """When the run's window closes, RFC 3339; None without one."""
    braked: float | None = None
    """Requests a second while the brake is on."""
    away: bool = False
    paused: bool = False
    halted: str | None = None
    """The reason once nothing more is sent."""
    verifying: bool = False
    status: str | None = None
    """How the run ended; None while it goes on."""
    resumed: bool = False
    done: int = 0
    """Of those to come, the VMs with an outcome."""
    _of: dict[str, Outcome] = field(default_factory=dict)
    _failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    _shown: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Is the run over?"""
        return self.status is not None

    def slow(self, now: float) -> list[Flight]:
        """VMs past their usual time, those longest in flight first. `now`: seconds since 1970."""
        return sorted((flight for flight in self.flights.values() if flight.slow(now)), key=lambda flight: flight.since)

    def host_name(self, uuid: str | None) -> str:
        """The name to show for a host."""
        return "no host" if uuid is None else self._shown.get(uuid, uuid)

    def host_counts(self) -> dict[str, Counter[HostOutcome]]:
        """What was done to hosts, and on how many it had which outcome."""
        found: dict[str, Counter[HostOutcome]] = {}
        for deeds in self.host_deeds.values():
            for action, outcome in deeds.items():
                counter = found.setdefault(action, Counter())
                if outcome is not None:
                    counter[outcome] += 1
        return found

    def hosts_missed(self) -> list[tuple[str, str, HostOutcome]]:
        """Hosts to which something was not done: the name to show, what, and its outcome."""
        return [
            (self.host_name(uuid), action, outcome)
            for uuid, deeds in self.host_deeds.items()
            for action, outcome in deeds.items()
            if outcome is not None and outcome not in HOST_GOOD
        ]

    def __call__(self, event: Event) -> None:
        """Take one event."""
        data = event.data
        match event.kind:
            case "run.started" | "run.resumed":
                self._begin(data, resumed=event.kind == "run.resumed")
            case "vm.started":
                self._start(event)
            case "vm.sending" if (flight := self.flights.get(str(event.vm_uuid))) is not None:
                flight.phase = "waiting"
            case "vm.sent" if (flight := self.flights.get(str(event.vm_uuid))) is not None:
                self._sent(flight, data, event.at)
            case "run.hosts":
                self._shown |= data["names"]
            case "host.sent" | "host.outcome":
                self._host(data)
            case "vms.found":
                self._found(data)
            case "vm.outcome":
                self._outcome(event)
            case "wave.finished":
                self.waves.setdefault(data["wave"], Tally()).finished = True
            case "run.forecast":
                self.outlook = Outlook(data["low"], data["likely"], data["high"])
            case "brake.lowered" | "brake.raised":
                self.braked = data["requests_per_second"]
            case "brake.released":
                self.braked = None
            case "node.away" | "node.back":
                self.away = event.kind == "node.away"
            case "run.paused" | "run.continued":
                self.paused = event.kind == "run.paused"
            case "run.halted":
                self.halted = data["reason"]
                for flight in self.flights.values():  # nothing is sent any more, a cold stop neither
                    flight.steps = _give_up(flight.steps)
            case "window.ended" if data["at_end"] != "finish":
                for flight in self.flights.values():  # which is cut short now, in a way of its own
                    followed = data["at_end"] == "cold" and flight.phase == "migrate"
                    flight.steps = _give_up(flight.steps) if followed else ()
            case "run.verifying":
                self.verifying = True
            case "run.finished":
                self.status = data["status"]
                self.flights.clear()
            case _:
                pass

    def _begin(self, data: Mapping[str, Any], *, resumed: bool) -> None:
        self.plan, self.resumed, self.starts = data["plan"], resumed, data.get("to_start") is not None
        self.hosts_to_empty = data.get("hosts") or 0
        self.targets, self.to_come = data["targets"], to_come(data) if resumed else data["targets"]
        self.closes = data["closes"]
        for host, actions in (data.get("host_actions") or {}).items():
            known = {action: None if outcome is None else HostOutcome(outcome) for action, outcome in actions.items()}
            self.host_deeds[host] = known
        self.waves = {name: Tally(to_do=count) for name, count in data["waves"].items()}

    def _host(self, data: Mapping[str, Any]) -> None:
        if data["name"] is not None:
            self._shown[data["host"]] = data["name"]
        outcome = data.get("outcome")
        self.host_deeds.setdefault(data["host"], {})[data["action"]] = None if outcome is None else HostOutcome(outcome)

    def _found(self, data: Mapping[str, Any]) -> None:
        self.targets += data["vms"]
        self.to_come += data["vms"]
        for wave, count in data["waves"].items():
            tally = self.waves.setdefault(wave, Tally())
            tally.to_do += count
            tally.finished = False

    def _start(self, event: Event) -> None:
        data, uuid = event.data, str(event.vm_uuid)
        if data["host"] is not None and data["host_name"] is not None:
            self._shown[data["host"]] = data["host_name"]
        host = self.host_name(data["host"])
        since = moment(data.get("since") or event.at)
        usual, assumed = data["usual_seconds"], bool(data.get("assumed"))
        flight = Flight(uuid, data["name"], host, data["wave"], since, usual, assumed=assumed)
        self.flights[uuid] = flight
        if data.get("sent_at") is not None:  # by the process before this one
            self._sent(flight, data, data["sent_at"])
        for tally in (self.waves.setdefault(data["wave"], Tally()), self.hosts.setdefault(host, Tally())):
            tally.in_flight += 1

    def _sent(self, flight: Flight, data: Mapping[str, Any], at: str) -> None:
        flight.phase, flight.sent, flight.steps = data["type"], moment(at), _steps(data)
        if self.halted is not None:
            flight.steps = ()

    def _outcome(self, event: Event) -> None:
        uuid, outcome = str(event.vm_uuid), Outcome(event.data["outcome"])
        earlier, flight = self._of.get(uuid), self.flights.pop(uuid, None)
        self._of[uuid] = outcome
        self.outcomes[outcome] += 1
        if earlier is not None:
            self.outcomes[earlier] -= 1
        elif flight is not None or not self.resumed or outcome in {Outcome.NOT_REACHED, Outcome.SKIPPED}:
            self.done += 1  # else an earlier process had it, and it was found otherwise now
        if flight is not None:
            for tally in (self.waves[flight.wave], self.hosts[flight.host or ""]):
                tally.in_flight -= 1
                tally.done += 1
        self._blame(uuid, outcome, event.data, flight)

    def _blame(self, uuid: str, outcome: Outcome, data: Mapping[str, Any], flight: Flight | None) -> None:
        """Causes by host, as of the VM's last outcome: one that is judged again leaves the old one."""
        if (before := self._failed.pop(uuid, None)) is not None:
            cause, host = before
            self.causes[cause][host] -= 1
            if not self.causes[cause].total():
                del self.causes[cause]
        if outcome in BAD:
            cause = data["cause"] or str(outcome)
            host = self.host_name(data["host"]) if flight is None else flight.host or ""
            self._failed[uuid] = cause, host
            self.causes.setdefault(cause, Counter())[host] += 1


def to_come(data: Mapping[str, Any]) -> int:
    """How many VMs a run's first event says are to be started, or stopped and migrated."""
    return sum(data.get(f"to_{verb}") or 0 for verb in ("start", "stop", "migrate"))


def moment(at: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(at).timestamp()


def _give_up(steps: tuple[tuple[float, str], ...]) -> tuple[tuple[float, str], ...]:
    """The same where nothing is sent any more."""
    return tuple((at, "give_up" if what in _SENDS else what) for at, what in steps)


def _steps(data: Mapping[str, Any]) -> tuple[tuple[float, str], ...]:
    cut, until = data["power_cut_at"], moment(data["until"])
    last = until, data["then"] if data["then"] in _SENDS else "give_up"
    return (last,) if cut is None else ((moment(cut), "power_cut"), last)
