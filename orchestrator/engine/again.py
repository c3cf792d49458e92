"""Runs that follow from another: one that is carried on, and one over what another left."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.actions.rules import Rules, host_rules
from orchestrator.actions.saved import Saved, load
from orchestrator.clouds.interface import Cloud
from orchestrator.engine.clock import Clock
from orchestrator.engine.legs import WAVE, Legs
from orchestrator.engine.prepare import known_from
from orchestrator.engine.records import HostBefore, Opening
from orchestrator.engine.window import ending_at
from orchestrator.errors import JournalError, RefusedError
from orchestrator.journal.interface import HostKept, Journal
from orchestrator.model.moment import rfc3339
from orchestrator.model.outcome import HOST_GOOD, RETRIED, Outcome, Reason
from orchestrator.model.report import RunRecord, VmRecord, WaveRecord, WindowRecord
from orchestrator.model.states import Verb
from orchestrator.model.target import VmRow
from orchestrator.plan.load import PlanFile, Selected, plan_from_text
from orchestrator.plan.model import Evacuate, HostSelection, Plan, Targets, WaveLimits

_JUDGED_ANEW = frozenset({None, Outcome.FAILED, Outcome.UNKNOWN})
"""Outcomes that a job's end or verification may still change."""


def kept_plan(kept: Mapping[str, Any]) -> PlanFile:
    """The plan as the journal keeps it, without a look at its files."""
    if not isinstance(kept.get("path"), str) or not isinstance(kept.get("text"), str):
        raise JournalError("the journal cannot be read (it holds no plan of this run): it is damaged; keep a copy of it")
    path = Path(kept["path"])
    plan_file = plan_from_text(
        kept["text"], name=kept["path"], folder=path.parent, json=path.suffix.lower() == ".json", read_uuid_files=False
    )
    files = kept.get("uuid_files", {})  # the journal's first version has none

    def with_files(selected: Selected | None, key: str) -> Selected | None:
        if selected is None:
            return None
        if key not in files:
            return selected
        sources = tuple((str(name), tuple(uuids)) for name, uuids in files[key])
        uuids = tuple(dict.fromkeys(uuid for _, listed in sources for uuid in listed))
        return replace(selected, sources=sources, uuids=uuids)

    return replace(
        plan_file,
        exclude=with_files(plan_file.exclude, "exclude"),
        protect=with_files(plan_file.protect, "protect"),
        waves=tuple(with_files(selected, f"wave {at}") for at, selected in enumerate(plan_file.waves)),
    )


def is_unfinished(run: RunRecord) -> bool:
    """Is there something to carry on?"""
    return run.status in {"running", "interrupted"}


def take_up(
    run: RunRecord,
    kept: PlanFile,
    journal: Journal,
    cloud: Cloud,
    *,
    ahead_seconds: float | None,
    clock: Clock | None = None,
    window_end: datetime | None = None,
) -> Opening:
    """The opening of a run whose lock is ours; outcomes stay as they are. `ahead_seconds`: the node's clock minus ours.

    `window_end`: another end of the window than the one kept; None leaves that.

    Raises RefusedError where an earlier version kept too little.
    """
    clock, plan = clock or Clock(), kept.plan
    now = clock.now()
    verb = Verb(run.action)
    hosts = journal.hosts(run.id)
    legs = Legs(plan, verb, frozenset(host.row.uuid for host in hosts))
    ahead = clock.unix() - now
    node_ahead = None if ahead_seconds is None else ahead + ahead_seconds
    states, saved = journal.states(run.id), dict[str, Saved]()
    records: list[VmRecord] = []
    rows: dict[str, VmRow] = {}
    for vm in journal.vms(run.id):
        if vm.uuid in states:
            try:
                saved[vm.uuid] = load(states[vm.uuid], partial(legs.rules, vm.wave or WAVE), ahead, now, node_ahead)
            except (ValueError, KeyError, TypeError):
                raise JournalError(
                    f"the journal cannot be read (a state of run {run.id} makes no sense): it is damaged; keep a copy, "
                    "and run the plan again when its jobs have ended"
                ) from None
        if vm.attempts and vm.outcome in _JUDGED_ANEW and vm.uuid not in saved:
            raise RefusedError(
                f"run {run.id} was begun by an earlier version, which kept too little to carry it on: "
                f"see 'orchestrator show {run.id}', and run its plan again when its jobs have ended"
            )
        if vm.outcome is None:
            last = cloud.row_of(vm.inventory) if vm.inventory is not None else None
            row = last or VmRow(vm.uuid, vm.name, vm.type, vm.state, vm.host_uuid, vm.cluster_uuid, None)
            # A VM that is off has no host: a start counts on the one it goes to.
            rows[vm.uuid] = row if verb is Verb.STOP else replace(row, host_uuid=vm.host_uuid)
        records.append(replace(vm, inventory=None))
    run = run.model_copy(
        update={
            "status": "running",
            "ended_by": None,
            "exit_code": None,
            "finished_at": None,
            "resumed_at": (*run.resumed_at, clock.wall()),
            "window": window_kept(run, window_end),
        }
    )
    begun: dict[str, str] = {}
    for vm in records:
        started = vm.started_at or (saved[vm.uuid].started_at if vm.uuid in saved else None)
        if started is not None and vm.wave is not None:
            begun[vm.wave] = min(started, begun.get(vm.wave, started))
    waves = [WaveRecord(name=name, started_at=at, finished_at=None, totals={}) for name, at in begun.items()]
    known = known_from(journal.took, legs.verbs, list(rows))
    return Opening(
        plan, run, records, rows, ahead_seconds, None, saved, waves, known,
        hosts=[HostBefore(host.row, host.actions, _host_state(host, plan, ahead, now, node_ahead)) for host in hosts],
        source=kept,
    )  # fmt: skip


def _host_state(host: HostKept, plan: Plan, ahead: float, now: float, node_ahead: float | None) -> Saved | None:
    """What is under way of a host; None where nothing is."""
    if host.state is None or not host.actions or host.actions[-1].outcome is not None:
        return None
    evacuate, outage = plan.evacuate or Evacuate(), plan.limits.node_outage.total_seconds()

    def rules_of(verb: Verb | None) -> Rules:
        return host_rules(plan.stop, evacuate, outage, verb or Verb(host.actions[-1].action))

    return load(host.state, rules_of, ahead, now, node_ahead)


def window_kept(run: RunRecord, window_end: datetime | None) -> WindowRecord | None:
    """The window that a run goes on with: its own, or that with another end."""
    if window_end is None:
        return run.window
    end = rfc3339(window_end.timestamp())
    if run.window is None:
        return WindowRecord(start=None, end=end, at_end="finish", reserve_seconds=0.0)
    return run.window.model_copy(update={"end": end})


def end_kept(run: RunRecord) -> datetime | None:
    """The end that a run was given in place of its plan's, which its retry keeps to; None where it has no window."""
    return None if run.window is None else datetime.fromisoformat(run.window.end)


def with_window_end(plan_file: PlanFile, window_end: datetime | None) -> PlanFile:
    """The plan with another end of its window, which is open already; None changes nothing."""
    if window_end is None:
        return plan_file
    window = ending_at(plan_file.plan.window, window_end)
    return replace(plan_file, plan=plan_file.plan.model_copy(update={"window": window}))


def left_over(run: RunRecord, journal: Journal) -> dict[str, str | None]:
    """The VMs that a retry of this run takes up, in the plan's order, with the wave of each."""
    return {vm.uuid: vm.wave for vm in journal.vms(run.id) if vm.outcome in RETRIED}


_TAKEN_OUT = "taken out"


def taken_out(run: RunRecord, journal: Journal) -> list[str]:
    """VMs that an operator took out of this run, or of one that it takes up: a retry leaves them alone."""
    here = [vm.uuid for vm in journal.vms(run.id) if vm.outcome is Outcome.SKIPPED and vm.reason is Reason.OPERATOR]
    before = [vm.uuid for vm in run.excluded if vm.selector.startswith(_TAKEN_OUT)]
    return list(dict.fromkeys((*before, *here)))


def hosts_left_over(run: RunRecord, journal: Journal) -> dict[str, str | None]:
    """The hosts that were to be emptied and did not come to where they should be, or hold a VM that a retry takes up, with
    the name of each.
    """
    holding = {vm.host_uuid for vm in journal.vms(run.id) if vm.outcome in RETRIED}
    return {
        host.row.uuid: host.row.name
        for host in journal.hosts(run.id)
        if host.row.uuid in holding or not host.actions or any(act.outcome not in HOST_GOOD for act in host.actions)
    }


def narrowed_to_hosts(
    plan_file: PlanFile, run: RunRecord, hosts: Mapping[str, str | None], spared: Sequence[str]
) -> PlanFile:
    """The plan over these hosts alone, as far as they are still there, and whatever is on them now but for those that are
    `spared`; as `narrowed` for all else.
    """
    plan = without_ramps(plan_file.plan)
    targets = Targets(hosts=HostSelection(uuids=tuple(hosts)))
    guard = plan.guard.model_copy(update={"expect_targets": None})
    exclude = plan_file.exclude
    if spared:
        before = exclude or Selected(uuids=(), where=(), may_be_empty=True, sources=())
        sources = (*before.sources, (f"{_TAKEN_OUT} of {run.id}", tuple(spared)))
        uuids = tuple(dict.fromkeys((*before.uuids, *spared)))
        exclude = replace(before, uuids=uuids, sources=sources, may_be_empty=True)
    plan = plan.model_copy(update={"targets": targets, "guard": guard})
    return replace(plan_file, plan=plan, exclude=exclude, known_hosts=hosts)


def check_files_kept(kept: Mapping[str, Any], run: RunRecord) -> None:
    """A retry must know whom the plan's files spare. Raises RefusedError where an earlier version did not keep that."""
    plan = kept_plan(kept).plan
    named = any(selection is not None and selection.uuid_files for selection in (plan.exclude, plan.guard.protect))
    if named and "uuid_files" not in kept:
        raise RefusedError(f"an earlier version kept too little of the UUID files of run {run.id}: run its plan again")


def narrowed(plan_file: PlanFile, run: RunRecord, vms: Mapping[str, str | None]) -> PlanFile:
    """The plan over these VMs alone, each in the wave it had: what it excludes and protects stays, how many it expects
    and its ramp do not.
    """
    uuids = tuple(vms)
    plan = without_ramps(plan_file.plan)
    plan = plan.model_copy(update={"guard": plan.guard.model_copy(update={"expect_targets": None})})
    members = [tuple(uuid for uuid, wave in vms.items() if wave == known.name) for known in plan.waves]
    targets = Selected(uuids=uuids, where=(), may_be_empty=False, sources=((f"left by {run.id}", uuids),))
    of_waves = tuple(Selected(uuids=some, where=(), may_be_empty=True, sources=(("", some),)) for some in members)
    return replace(plan_file, plan=plan, targets=targets, waves=of_waves)


def without_ramps(plan: Plan) -> Plan:
    """The plan of a retry: its first run has tried the ramp."""
    waves = tuple(wave.model_copy(update={"limits": _without_ramp(wave.limits)}) for wave in plan.waves)
    changes: dict[str, object] = {"limits": _without_ramp(plan.limits)}
    return plan.model_copy(update=changes | ({"waves": waves} if waves else {}))


_Limits = TypeVar("_Limits", bound=WaveLimits)


def _without_ramp(limits: _Limits) -> _Limits:
    if not limits.ramp:
        return limits
    copied = limits.model_copy(update={"ramp": ()})
    copied.model_fields_set.discard("ramp")  # as if it had never been written
    return copied
