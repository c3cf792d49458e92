"""Faults: what goes wrong on the wire, with jobs, and around the node, and when."""

import fnmatch
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.simulator.spread import Seconds

WireKind = Literal[
    "drop_before",
    "drop_after",
    "close_after_headers",
    "slow",
    "overloaded",
    "truncated",
    "html",
    "empty",
    "text",
    "trickle",
    "too_many_requests",
    "error_500",
    "verdict",
    "garbage",
]
JobKind = Literal["never_ends", "result_gone", "slow_start", "vm_action"]
TimedKind = Literal["restart", "expire_sessions", "host_disconnect", "host_reconnect", "vm_action"]
WIRE = frozenset(WireKind.__args__)  # type: ignore[attr-defined]
JOB = frozenset(JobKind.__args__)  # type: ignore[attr-defined]
TIMED = frozenset(TimedKind.__args__)  # type: ignore[attr-defined]
DELAYS = frozenset({"slow", "overloaded"})
ANSWERED_INSTEAD = frozenset({"html", "empty", "text", "too_many_requests", "error_500", "verdict", "garbage"})

RequestKind = Literal["stop", "start", "migrate", "host", "candidates", "put", "poll", "query", "login", "any"]
"""migrate: a MigrateVm. host: a change of a host's state, or its reconnect. candidates: where a VM may migrate to."""
VmAct = Literal["stop", "start", "destroy", "migrate", "crash", "pause"]


class Fault(BaseModel):
    """One fault and which requests, jobs or moments it strikes. Everything that is set must hold.

    Counting (`skip`, `every`, `first`) is over the requests that the selectors let through. `seconds` are real for what
    happens on the client's socket (`slow`, `overloaded`, `trickle`), simulated for the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: WireKind | JobKind | TimedKind
    on: RequestKind | None = None
    """None: `stop` for a drop or what befalls a job, `query` for garbage, `start` for slow_start, else `any`."""
    vms: tuple[str, ...] = ()
    """Globs over VM names and UUIDs; empty is every VM. For a poll it is the job's VM."""
    hosts: tuple[str, ...] = ()
    """Globs over host names and UUIDs: whom host_disconnect and host_reconnect strike. For a request it is the host that it
    is about, or the one that its VM is on; for a poll that of the job."""
    paths: tuple[str, ...] = ()
    """Globs over the path after the context path; empty is every path."""
    skip: Annotated[int, Field(ge=0)] = 0
    every: Annotated[int, Field(ge=1)] = 1
    first: Annotated[int, Field(ge=1)] | None = None
    """Strikes so often at most; None has no end."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    since: Seconds = 0.0
    until: Seconds | None = None
    at: Seconds | None = None
    """Simulated seconds after the node came up: when a timed fault happens."""
    seconds: Seconds = 5.0
    """How long: the delay, the downtime, the gap between trickled bytes, a slow start; for result_gone the age."""
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """HTTP status of html (default 200), text and empty (default 200)."""
    per_second: Annotated[float, Field(gt=0)] = 20.0
    """How many requests an overloaded node answers in a real second, one after the other. One that would wait longer than
    `seconds` is answered 429 at once."""
    handled: bool = False
    """Whether the request is carried out before the wrong answer is given instead of the right one."""
    act: VmAct = "stop"
    """What somebody else does to the VM (vm_action)."""
    host: str | None = None
    """Glob over host names and UUIDs: the first host that it takes is where vm_action starts the VM or migrates it to, in
    whatever state that host is. None: where it was, or the node's choice. If it takes none, nothing happens."""

    @model_validator(mode="after")
    def _timed_needs_at(self) -> Self:
        if self.kind in TIMED - JOB and self.at is None:
            raise ValueError(f"a {self.kind} fault needs `at`, in simulated seconds after the node came up")
        if self.at is not None and self.kind not in TIMED:
            raise ValueError(f"a {self.kind} fault strikes requests: write `since` and `until` instead of `at`")
        if self.host is not None and (self.kind != "vm_action" or self.act not in {"start", "migrate"}):
            raise ValueError("`host` is where a vm_action with `act` start or migrate leads: leave it out, or write `hosts`")
        return self

    @property
    def strikes(self) -> RequestKind:
        """Which requests are looked at."""
        if self.on is not None:
            return self.on
        match self.kind:
            case "drop_before" | "drop_after" | "never_ends" | "result_gone" | "vm_action":
                return "stop"
            case "slow_start":
                return "start"
            case "garbage":
                return "query"
            case _:
                return "any"


def matches(globs: tuple[str, ...], *names: str | None) -> bool:
    """True if a glob takes one of the names, or there is no glob."""
    return not globs or any(fnmatch.fnmatchcase(name, glob) for name in names if name for glob in globs)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    rng: random.Random
    seen: int = 0
    struck: int = 0


@dataclass(slots=True)
class Faults:
    """The faults in force. `add` and `remove` work while the node runs; a removed fault stops at once."""

    seed: int = 0
    when_added: Callable[[Fault], None] | None = None
    """Called with a fault added while the node runs; None while it doesn't."""
    _armed: list[_Armed] = field(default_factory=list)

    def __iter__(self) -> Iterator[Fault]:
        return (armed.fault for armed in self._armed)

    def __len__(self) -> int:
        return len(self._armed)

    def add(self, fault: Fault) -> Fault:
        """Arm a fault; the same object removes it. `at` counts from when the node came up, past is at once."""
        self._armed.append(_Armed(fault, random.Random(f"{self.seed}:fault:{len(self._armed)}:{fault.kind}")))
        if self.when_added is not None:
            self.when_added(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Disarm it; a fault that isn't there is no error."""
        self._armed = [armed for armed in self._armed if armed.fault is not fault]

    def clear(self) -> None:
        """Disarm all."""
        self._armed = []

    def struck(self, fault: Fault) -> int:
        """How often it struck so far."""
        return sum(armed.struck for armed in self._armed if armed.fault is fault)

    def strike(
        self,
        among: frozenset[str],
        kinds: frozenset[str],
        path: str,
        names: tuple[str | None, ...],
        age: float,
        *,
        hosts: tuple[str | None, ...] = (),
    ) -> list[Fault]:
        """The faults of the kinds `among` that strike a request which is of all `kinds`, `age` simulated seconds in.

        `names` are its VM's, `hosts` its host's.
        """
        found = []
        for armed in self._armed:
            fault = armed.fault
            if fault.kind not in among or fault.at is not None or fault.strikes not in kinds:
                continue
            if age < fault.since or (fault.until is not None and age >= fault.until):
                continue
            if not matches(fault.paths, path) or not matches(fault.vms, *names) or not matches(fault.hosts, *hosts):
                continue
            armed.seen += 1
            if armed.seen <= fault.skip or (armed.seen - fault.skip - 1) % fault.every:
                continue
            if fault.first is not None and armed.struck >= fault.first:
                continue
            if fault.probability < 1 and armed.rng.random() >= fault.probability:
                continue
            armed.struck += 1
            found.append(fault)
        return found
