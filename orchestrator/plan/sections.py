"""The sections of a plan. Defaults are the contract's; a Python user may build them directly, with the same rules."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.plan import rules
from orchestrator.plan.fields import (
    Allowance,
    Count,
    Duration,
    Endpoint,
    ExpectedTargets,
    Group,
    Line,
    Moment,
    RampStep,
    Rate,
    Section,
    SystemTag,
    Tag,
    Tally,
    Uuid,
    Variable,
)

StopType = Literal["grace", "cold"]
Fallback = Literal["cold", "none"]
FallbackReason = Literal["timeout", "error"]
Appliances = Literal["skip", "include"]
AtEnd = Literal["finish", "cold", "abandon"]
VmsOnHosts = Literal["stop", "migrate_then_stop", "migrate"]
HostsAfter = Literal["disable", "maintain", "leave"]
ReportFormat = Literal["json", "html", "markdown", "csv", "junit"]

Occasion = Literal["started", "wave_ended", "budget_crossed", "past_window", "finished"]
OCCASIONS: tuple[Occasion, ...] = ("started", "wave_ended", "budget_crossed", "past_window", "finished")

BREACH = "plan_rule"
"""The type of the pydantic error that a broken rule raises."""


def refuse(breaches: Iterator[rules.Breach], info: ValidationInfo) -> None:
    """Raise the first breach, if there is one, as the error of a whole section.

    A caller that gives a context looks for breaches itself, so that it finds all of them, each at its key.
    """
    if info.context is not None:
        return
    for breach in breaches:
        raise PydanticCustomError(BREACH, "{message}", {"message": breach.message})


class Selectors(Section):
    """The three ways to name VMs."""

    uuids: tuple[Uuid, ...] = ()
    """UUIDs of VMs: 32 hex digits each. Upper case and dashes are accepted and normalised."""
    uuid_files: tuple[Line, ...] = ()
    """Files, relative to the plan, with one UUID a line and # comments, or CSV (by extension) with a uuid column."""
    where: tuple[Group, ...] = Field(default=(), min_length=1)
    """Groups of ZStack query conditions. Groups are OR-ed, the conditions in a group are AND-ed."""


class Selection(Selectors):
    """Which VMs: the union of the three ways to name them. At least one of them is not empty."""

    may_be_empty: bool = False
    """Whether matching nothing on the node is fine. Only in exclude and guard.protect; false, as a selector that
    protects nothing is most often misspelt."""

    @model_validator(mode="after")
    def _selects(self, info: ValidationInfo) -> Self:
        refuse(rules.selection_breaches(self), info)
        return self


class HostSelection(Section):
    """Which hosts: the union of the three ways to name them. At least one of them is not empty."""

    uuids: tuple[Uuid, ...] = ()
    """UUIDs of hosts: 32 hex digits each. Upper case and dashes are accepted and normalised."""
    names: tuple[Line, ...] = ()
    """Names of hosts, to the letter; a name that two hosts have is refused when the plan is resolved."""
    where: tuple[Group, ...] = Field(default=(), min_length=1)
    """Groups of ZStack query conditions on hosts. Groups are OR-ed, the conditions in a group are AND-ed."""

    @model_validator(mode="after")
    def _selects(self, info: ValidationInfo) -> Self:
        refuse(rules.host_selection_breaches(self), info)
        return self


class Targets(Selectors):
    """What a run is about: VMs, as the union of three ways to name them, or else hosts with all VMs on them."""

    hosts: HostSelection | None = None
    """Hosts that are emptied: the targets are the VMs found on them. Stands beside evacuate, and alone in targets; absent
    (None) is none."""

    @model_validator(mode="after")
    def _selects(self, info: ValidationInfo) -> Self:
        named = [key for key in type(self).model_fields if getattr(self, key)]
        refuse((rules.Breach(keys[:1], message) for keys, message in rules.targets_breaches(named)), info)
        return self


class WaveStop(Section):
    """Keys of `stop` that a wave overrides: only the written ones count (`model_fields_set`), see `Plan.stop_of`.

    No rule between keys is checked here: the rules hold for what follows from the plan's keys and these together.
    """

    type: StopType = "grace"
    """grace asks the guest to shut down; cold cuts its power at once."""
    grace_timeout: Duration = timedelta(minutes=4)
    """How long we wait for grace: at least 1.25 times power_cut_after, so that the node's own power cut is still seen.
    It does not bound the guest's time. Never zero."""
    fallback: Fallback = "cold"
    """What follows a grace that did not work: one cold stop, or nothing. Must not be written beside type cold."""
    fallback_on: tuple[FallbackReason, ...] = ("timeout", "error")
    """The ends of grace that lead to the fallback: no answer in time, or an error. Both, so that a VM is off at the
    end of a run; never empty."""
    cold_timeout: Duration = timedelta(minutes=3)
    """How long we wait for a cold stop, which may queue behind a running grace. Never zero."""
    power_cut_after: Duration = timedelta(seconds=60)
    """When this node's grace turns into a power cut: 60s unless the node was configured otherwise. Never zero."""
    stop_ha: bool = True
    """Whether HA VMs are told to stay off. Otherwise the node starts them again."""
    system_tags: tuple[SystemTag, ...] = ()
    """System tags sent with each stop; none unless written. validationOnly is refused: it stops nothing."""
    user_tags: tuple[Tag, ...] = ()
    """User tags sent with each stop; none unless written."""
    appliances: Appliances = "skip"
    """Whether routers and other appliance VMs among the targets are stopped. skip, since others depend on them; where hosts
    are emptied, they are migrated then, and never stopped."""


class StopOptions(WaveStop):
    """How a VM is stopped, and what follows when grace does not work."""

    @model_validator(mode="after")
    def _holds(self, info: ValidationInfo) -> Self:
        refuse(rules.stop_breaches(self), info)
        return self


class WaveLimits(Section):
    """Keys of `limits` that a wave overrides; only the written ones count. They hold in addition to the run's."""

    concurrency: Count = 50
    """VMs in flight in the whole run, or in the wave that writes it; at least 1."""
    per_host: Count = 5
    """VMs in flight on one host, at least 1: more make a host's storage and agent answer late."""
    per_cluster: Count | None = None
    """VMs in flight in one cluster, at least 1; absent (None) is no limit."""
    per_primary_storage: Count | None = None
    """VMs in flight with a volume on one primary storage, at least 1; absent (None) is no limit, and spares the
    reading of volumes."""
    ramp: tuple[RampStep, ...] = Field(default=(), min_length=1)
    """How many of a wave's VMs are let through step by step: counts or shares of them, each including the steps before
    it. A step opens when all VMs let through have ended well enough. Absent is one step with all of them."""

    @model_validator(mode="after")
    def _climbs(self, info: ValidationInfo) -> Self:
        refuse(rules.limits_breaches(self), info)
        return self


class Limits(WaveLimits):
    """How much happens at once, and how fast. Limits hold together: the tightest decides."""

    requests_per_second: Rate = 50.0
    """Requests sent to the node a second in total: what a small node answers without falling behind. At least 0.1, as a
    stop rests on a read that is not older than 30 s."""
    node_outage: Duration = timedelta(minutes=10)
    """How long the node may be away in mid-run before the run stops early; 0s stops at the first failure to reach it."""


class WaveBudget(Section):
    """The key of `budget` that a wave may write; the others count over the run."""

    per_wave: Allowance | None = None
    """How many VMs of one wave may fail, end unknown or not be reached before its followers stay shut, and of those that
    a ramp let through may fail or end unknown before its next step does: a count, or a share rounded down. 0 takes a
    clean wave, and so does its absence (None)."""


class Budget(WaveBudget):
    """How much may go wrong. A budget is crossed by one more than it says; after that nothing more is started."""

    failures: Allowance | None = None
    """How many VMs of the run may fail or end unknown: a count, or a share rounded down, so that 5% of fewer than 20 is
    none. 0 stops at the first; absent (None) is any number."""
    per_host: Tally | None = None
    """How many VMs of one host may fail or end unknown before nothing more is started there; a count. 0 closes it at the
    first; absent (None) is any number."""
    same_cause: Tally | None = None
    """How many VMs may fail for one cause, an equal chain of error codes, before nothing more is started; a count. 0 stops
    at the first; absent (None) is any number."""
    power_cuts: Allowance | None = None
    """How many VMs may lose their power, by force or by a cold stop that the plan did not ask for, before nothing more is
    started: a count, or a share rounded down. 0 stops at the first; absent (None) is any number."""


class Window(Section):
    """When the run may work."""

    start: Moment | None = None
    """The run waits until then, in RFC 3339 with an offset; absent (None) starts at once."""
    end: Moment
    """After this nothing more is started, in RFC 3339 with an offset; later than start."""
    at_end: AtEnd = "finish"
    """What becomes of VMs in flight at the end: finish lets them end by the plan's rules, cold cuts their power, abandon
    reads each once and leaves."""
    reserve: Duration = timedelta(0)
    """Nothing is started that is forecast to end inside this last part of the window; shorter than the window. 0s keeps
    none back."""

    @model_validator(mode="after")
    def _holds(self, info: ValidationInfo) -> Self:
        refuse(rules.window_breaches(self), info)
        return self


class Migrate(Section):
    """How VMs are migrated off the hosts that are emptied."""

    timeout: Duration = timedelta(minutes=30)
    """How long we wait for one migration, and the node too. Never zero."""
    per_host: Count = 2
    """Migrations that one host takes part in, as the one that is left or the one that is gone to; at least 1."""
    concurrency: Count = 8
    """Migrations at once in the whole run; at least 1. They count as VMs in flight as well."""

    @model_validator(mode="after")
    def _holds(self, info: ValidationInfo) -> Self:
        refuse(rules.positive_breaches(self, "timeout"), info)
        return self


class Evacuate(Section):
    """What becomes of the hosts under targets.hosts and of the VMs on them."""

    vms: VmsOnHosts = "stop"
    """What is done to the VMs: stop; migrate, and leave what cannot be migrated; migrate_then_stop stops that."""
    hosts: HostsAfter = "maintain"
    """What is done to the hosts: disable before anything else, so that nothing new is placed there; maintain does that and
    puts each into maintenance once it is empty; leave does nothing to them."""
    migrate: Migrate = Migrate()
    """How VMs are migrated."""
    host_timeout: Duration = timedelta(minutes=10)
    """How long we wait for one change of a host's state, and after a restore for the host to be connected. Never zero."""

    @model_validator(mode="after")
    def _holds(self, info: ValidationInfo) -> Self:
        refuse(rules.positive_breaches(self, "host_timeout"), info)
        return self


class Guard(Section):
    """What refuses a run before its first change. Everything absent (None) guards nothing."""

    endpoint: Endpoint | None = None
    """The only node this plan may run against, as its whole base URL; absent is any node."""
    max_targets: Count | None = None
    """The most targets a run may have, at least 1; absent is any number."""
    expect_targets: ExpectedTargets | None = None
    """How many targets are expected: a range, both ends included, or one number; absent is any number."""
    protect: Selection | None = None
    """VMs that must not be among the targets: one that is refuses the run. Absent protects none but our own."""

    @model_validator(mode="after")
    def _holds(self, info: ValidationInfo) -> Self:
        refuse(rules.guard_breaches(self), info)
        return self


class Verify(Section):
    """The second look at what was stopped."""

    after: Duration = timedelta(minutes=2)
    """How long after the last stop every VM is read again; long enough for HA to have started it. 0s is off."""


class ReportOptions(Section):
    """What is written when the run ends."""

    formats: tuple[ReportFormat, ...] = ("json", "html", "markdown", "csv", "junit")
    """The forms of the report; json is written even when it is not listed, so the list may be empty."""
    directory: Line = "reports"
    """The folder that receives a folder for each run, relative to the working directory."""

    @model_validator(mode="after")
    def _holds(self, info: ValidationInfo) -> Self:
        refuse(rules.report_breaches(self), info)
        return self


class Notify(Section):
    """Who is told, and of what. What is secret stands elsewhere: the plan is journalled."""

    on: tuple[Occasion, ...] = Field(default=OCCASIONS, min_length=1)
    """What is told: all of it unless written."""
    url_env: Variable | None = None
    """The environment variable that holds a webhook's address: it is sent {"text": ...}, as Slack takes it."""
    url_file: Line | None = None
    """The file, relative to the plan, that holds a webhook's address."""
    token_env: Variable | None = None
    """The environment variable that holds a token for the webhook, sent as Authorization: Bearer; absent (None) is none."""
    token_file: Line | None = None
    """The file, relative to the plan, that holds such a token; absent (None) is none."""
    command: tuple[Line, ...] | None = Field(default=None, min_length=1)
    """A program and its arguments, run without a shell, with the event as JSON on its standard input; only with
    --allow-commands, for at most 10 s."""

    @model_validator(mode="after")
    def _holds(self, info: ValidationInfo) -> Self:
        refuse(rules.notify_breaches(self), info)
        return self
