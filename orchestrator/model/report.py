"""The report as data: `report.json`'s shape (`interface.md` 7), streamed VM by VM.

Times are RFC 3339 text in UTC with a `Z`. A key whose value is not known is null, never absent, except inside
`inventory` and `error`, which are what the node sent.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from orchestrator.model.fault import fault_of
from orchestrator.model.outcome import BAD, AttemptReason, AttemptResult, AttemptType, HostOutcome, Outcome, Reason

_STRICT = ConfigDict(extra="forbid")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# Evidence, attempts and VMs are no models: a run holds one or more a target and changes them at every step, and a model
# takes ten times the memory.

HostAction = Literal["disable", "empty", "maintain", "enable"]

Basis = Literal["job", "state", "none"]
"""Where something was seen: in a job's word, in the VM's state, or nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an outcome rests on: a sentence, the seconds that decided (None without), and where it was seen."""

    __pydantic_config__ = _STRICT

    text: str
    seconds: float | None = None
    basis: Basis = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One PUT: what, why, under which job, and how it ended. `error` is the whole chain as the node sent it.

    `host_uuid`: where a migration was to go; None for all else.
    """

    __pydantic_config__ = _STRICT

    type: AttemptType
    reason: AttemptReason
    job_uuid: str
    api_timeout_seconds: int
    sent_at: str | None = None
    ended_at: str | None = None
    result: AttemptResult
    error: dict[str, Any] | None = None
    host_uuid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VmRecord:
    """One target and its outcome; `outcome` is None only in the report of an unfinished run.

    `host_uuid` is the host it was last read on before anything was sent; `migrated_to` the one it is on instead, None where
    it was not migrated.
    """

    __pydantic_config__ = _STRICT

    uuid: str
    name: str | None = None
    type: str | None = None
    host_uuid: str | None = None
    cluster_uuid: str | None = None
    wave: str | None = None
    ha_level: str | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    evidence: Evidence | None = None
    state_before: str | None = None
    state: str | None = None
    late: bool = False
    verified_at: str | None = None
    check_after_start: bool = False
    started_at: str | None = None
    finished_at: str | None = None
    elapsed_seconds: float | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    migrated_to: str | None = None
    inventory: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def cause_of_failure(vm: VmRecord) -> str | None:
    """What a report groups it by: the chain of codes where the node gave one, else the outcome with its reason.

    None of a VM that is where it should be, or whose turn never came.
    """
    if vm.outcome not in BAD:
        return None
    if vm.error is not None and vm.outcome in {Outcome.FAILED, Outcome.UNKNOWN}:
        return fault_of(vm.error).chain()
    return f"{vm.outcome} ({vm.reason})" if vm.reason is not None else str(vm.outcome)


@cache
def vm_adapter() -> TypeAdapter[VmRecord]:
    """Reads and writes VMs as JSON; made when it is first needed."""
    return TypeAdapter(VmRecord)


@cache
def attempt_adapter() -> TypeAdapter[AttemptRecord]:
    """The same of attempts."""
    return TypeAdapter(AttemptRecord)


class Cause(_Record):
    """Equal failures: the chain of codes, how many VMs, and the hosts (names, or UUIDs where unnamed) and VM UUIDs."""

    cause: str
    count: int
    hosts: tuple[str, ...]
    vms: tuple[str, ...]


class WaveRecord(_Record):
    """One wave with its times and totals; a run without waves has one, named `all`."""

    name: str
    started_at: str | None
    finished_at: str | None
    totals: dict[str, int]


class LeftOnHost(_Record):
    """One VM that is still on a host after the run.

    `why`: its outcome's word, `appliance`, `excluded`, `protected` or `not_a_target`. `cause`: of one that was to be
    migrated or stopped and was not, the codes of its error or its reason; None without, and in a run that empties no hosts.
    """

    uuid: str
    name: str | None
    type: str | None
    state: str | None
    why: str
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostActionRecord:
    """One thing that was to be done to a host, in the order in which they were begun.

    `outcome` is None only while the run goes on. `evidence` is a sentence; the states are the node's words, None where they
    could not be read; `error` is the last attempt's, whole.
    """

    __pydantic_config__ = _STRICT

    action: HostAction
    outcome: HostOutcome | None = None
    evidence: str | None = None
    state_before: str | None = None
    state: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    error: dict[str, Any] | None = None


@cache
def host_action_adapter() -> TypeAdapter[HostActionRecord]:
    """The same of what is done to hosts."""
    return TypeAdapter(HostActionRecord)


class HostRecord(_Record):
    """One host with its targets' totals; `left_on_host` is None where it could not be read, empty when it is empty.

    `actions`: what was done to the host itself, by a plan that empties it or by a restore; empty otherwise.
    """

    uuid: str
    name: str | None
    status: str | None
    state: str | None
    totals: dict[str, int]
    left_on_host: tuple[LeftOnHost, ...] | None
    actions: tuple[HostActionRecord, ...] = ()


class Excluded(_Record):
    """A VM that `exclude` removed, and by which selector."""

    uuid: str
    name: str | None = None
    selector: str


class SelectorCount(_Record):
    """How many VMs one selector of `targets` matched."""

    where: str
    matched: int


class StopRecord(_Record):
    """What ended a run or a host early, with the count that crossed and its limit (None where there is none)."""

    kind: str
    scope: str
    at: str
    count: int | None = None
    limit: int | None = None


class WindowRecord(_Record):
    """The window that a run kept to; `start` None where it had none. It is closed `reserve_seconds` before its end."""

    start: str | None
    end: str
    at_end: Literal["finish", "cold", "abandon"]
    reserve_seconds: float


RunStatus = Literal["running", "finished", "stopped_early", "interrupted", "refused"]
EndedBy = Literal["budget", "ramp", "window", "operator", "node", "journal", "host"]


class EvacuationRecord(_Record):
    """What a run that empties hosts was to do with the VMs on them and with the hosts."""

    vms: Literal["stop", "migrate_then_stop", "migrate"]
    hosts: Literal["disable", "maintain", "leave"]


class RunRecord(_Record):
    """The run itself; `evacuate` is None where it empties no hosts."""

    id: str
    plan: str
    reference: str | None = None
    plan_digest: str
    plan_text: str
    action: Literal["stop", "start"] = "stop"
    endpoint: str
    node_version: str | None = None
    tool_version: str
    started_by: str
    parent_run: str | None = None
    resumed_at: tuple[str, ...] = ()
    started_at: str
    finished_at: str | None = None
    status: RunStatus = "running"
    ended_by: EndedBy | None = None
    exit_code: int | None = None
    stops: tuple[StopRecord, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    selectors: tuple[SelectorCount, ...] = ()
    warnings: tuple[str, ...] = ()
    window: WindowRecord | None = None
    evacuate: EvacuationRecord | None = None
    destinations: dict[str, str] = Field(
        default_factory=dict, description="Names by UUID of hosts that VMs were migrated to, or were to be."
    )


class ReportDocument(_Record):
    """The whole of `report.json`, for its JSON Schema and for consumers; the program itself streams `RunReport`."""

    schema_version: Literal[1] = 1
    run: RunRecord
    totals: dict[str, int] = Field(description="`targets` and every outcome; the outcomes sum to `targets`.")
    causes: tuple[Cause, ...]
    waves: tuple[WaveRecord, ...]
    hosts: tuple[HostRecord, ...]
    vms: tuple[VmRecord, ...]


@dataclass(frozen=True, slots=True)
class Worker:
    """The process that works on a run: who, its id, and the seconds since its last heartbeat."""

    who: str
    pid: int
    silent_seconds: float

    def __str__(self) -> str:
        """`ops@jump1, process 4711`."""
        return f"{self.who}, process {self.pid}"


@dataclass(frozen=True, slots=True)
class RunReport:
    """A report whose VMs are read one by one: `vms()` starts a fresh pass each time it is called, in the plan's order.

    `worker` is the living process that works on the run, None where there is none. `first`: of a retry or a restore the id
    of the run that it takes up in the end, as far as the journal has it; its own of any other.
    """

    run: RunRecord
    totals: dict[str, int]
    causes: tuple[Cause, ...]
    waves: tuple[WaveRecord, ...]
    hosts: tuple[HostRecord, ...]
    vms: Callable[[], Iterator[VmRecord]] = field(repr=False)
    worker: Worker | None = None
    first: str | None = None

    def document(self) -> ReportDocument:
        """Everything in memory at once; for small runs and for tests."""
        return ReportDocument(
            run=self.run,
            totals=self.totals,
            causes=self.causes,
            waves=self.waves,
            hosts=self.hosts,
            vms=tuple(self.vms()),
        )
