"""What a run would do, as data that can be kept and compared (`interface.md` 6). Pure."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.engine.admit import Kind, Verdict
from orchestrator.engine.course import Known, forecast_of, migrate_limits
from orchestrator.engine.forecast import Forecast
from orchestrator.engine.legs import Legs, waves_of
from orchestrator.engine.resolve import Resolution
from orchestrator.engine.window import Times, in_words, times_of
from orchestrator.model.counts import counted
from orchestrator.model.moment import rfc3339
from orchestrator.model.report import EvacuationRecord, Excluded, SelectorCount, WindowRecord
from orchestrator.model.safe import one_line
from orchestrator.model.states import TRANSITIONAL_STATES, Verb
from orchestrator.plan.load import PlanFile
from orchestrator.plan.model import Plan

_STAY = "stay"
"""What is done to a VM that cannot be migrated, and is not to be stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewVm:
    """One target as previewed."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    uuid: str
    name: str | None
    wave: str
    verdict: str
    why: str
    state: str | None
    type: str | None
    host_uuid: str | None
    ha_level: str | None = None
    action: str | None = None
    """`stop`, `migrate`, or `stay` for one that cannot be migrated, and is not stopped then; None where nothing is done."""


class PreviewHost(BaseModel):
    """One host: how many VMs would be sent there, and the longest it could take, in seconds.

    Where hosts are emptied: how many of its VMs move, are stopped, or stay there, and the host's state and status; None
    otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    uuid: str
    name: str | None = None
    vms: int
    worst_case_seconds: float
    moves: int | None = None
    stops: int | None = None
    stays: int | None = None
    state: str | None = None
    status: str | None = None


class PreviewWave(BaseModel):
    """One wave: what it comes after, and how many VMs would be sent in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    after: tuple[str, ...]
    vms: int


class PreviewForecast(BaseModel):
    """Seconds from the beginning until the last VM is off: at best, most likely, at worst; and what that rests on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low_seconds: float
    likely_seconds: float
    high_seconds: float
    rests_on: str


class Preview(BaseModel):
    """A preview file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    plan: str
    plan_digest: str
    endpoint: str
    digest: str
    totals: Mapping[str, int]
    hosts: tuple[PreviewHost, ...]
    waves: tuple[PreviewWave, ...] = ()
    forecast: PreviewForecast | None = None
    window: WindowRecord | None = None
    selectors: tuple[SelectorCount, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    vms: tuple[PreviewVm, ...]
    evacuate: EvacuationRecord | None = None


def plan_digest(text: str) -> str:
    """The plan's text, to the letter."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8')).hexdigest()}"


def digest(text: str, endpoint: str, vms: Sequence[PreviewVm], hosts: Sequence[str] = ()) -> str:
    """Plan, endpoint, and each VM's UUID, wave and verdict; the order of the VMs does not count. `hosts`: to be emptied, and
    then what is done to each VM counts too.
    """
    rows = sorted((vm.uuid, vm.wave, vm.verdict) for vm in vms)
    covered: list[Any] = [text, endpoint, rows]
    if hosts:
        covered += [sorted(hosts), sorted((vm.uuid, vm.action or "") for vm in vms)]
    return f"sha256:{hashlib.sha256(json.dumps(covered).encode('utf-8')).hexdigest()}"


def make_preview(
    plan_file: PlanFile,
    resolution: Resolution,
    verdicts: Sequence[Verdict],
    *,
    legs: Legs,
    known: Known,
    now: float,
    movable: Mapping[str, bool],
) -> Preview:
    """Everything about a run but the run, and but what would refuse it.

    `known`: what VMs took in earlier runs. `now`: seconds since 1970. `movable`: for which VMs the node offers a host.
    """
    plan = plan_file.plan
    vms = tuple(_vm(verdict, resolution.ha_levels, legs, movable) for verdict in verdicts)
    staying = {vm.uuid for vm in vms if vm.action == _STAY}
    tried = [verdict for verdict in verdicts if verdict.target.uuid not in staying]
    forecast, window = _forecast(plan, legs, tried, known), times_of(plan.window)
    worst = _worst_cases(plan, legs, vms)
    endpoint = resolution.facts.endpoint
    return Preview(
        plan=plan.name,
        plan_digest=plan_digest(plan_file.text),
        endpoint=endpoint,
        digest=digest(plan_file.text, endpoint, vms, [host.uuid for host in resolution.hosts]),
        totals={"targets": len(vms), **Counter(vm.verdict for vm in vms)},
        hosts=_hosts(resolution, vms, worst),
        waves=tuple(
            PreviewWave(
                name=wave.name,
                after=wave.after,
                vms=sum(vm.wave == wave.name and vm.verdict == Kind.OK for vm in vms),
            )
            for wave in plan.waves
        ),
        forecast=PreviewForecast(
            low_seconds=round(forecast.low, 1),
            likely_seconds=round(forecast.likely, 1),
            high_seconds=round(forecast.high, 1),
            rests_on=forecast.rests_on,
        ),
        window=window.record() if window is not None else None,
        selectors=resolution.selectors,
        excluded=resolution.excluded,
        warnings=(
            *resolution.warnings,
            *_ha_warnings(plan, vms, resolution.ha_unreadable),
            *_window_warnings(window, forecast, now),
            *_evacuation_warnings(resolution, vms),
        ),
        problems=(),
        vms=vms,
        evacuate=evacuation_of(plan),
    )


def evacuation_of(plan: Plan) -> EvacuationRecord | None:
    """What the plan does with hosts; None where it empties none."""
    return None if plan.evacuate is None else EvacuationRecord(vms=plan.evacuate.vms, hosts=plan.evacuate.hosts)


def _hosts(resolution: Resolution, vms: Sequence[PreviewVm], worst: Mapping[str, float]) -> tuple[PreviewHost, ...]:
    """Those with something to do, the most first; all of those that are emptied."""
    per_host = Counter(vm.host_uuid for vm in vms if vm.verdict == Kind.OK and vm.host_uuid is not None)
    rows = {host.uuid: host for host in resolution.hosts}
    made = []
    for uuid in [*(uuid for uuid, _ in per_host.most_common()), *(uuid for uuid in rows if uuid not in per_host)]:
        host = PreviewHost(
            uuid=uuid, name=resolution.host_names.get(uuid), vms=per_host[uuid], worst_case_seconds=worst.get(uuid, 0.0)
        )
        if uuid in rows:
            there = Counter(vm.action or _STAY for vm in vms if vm.host_uuid == uuid)
            spared = resolution.spared_on.get(uuid, 0)
            host = host.model_copy(
                update={
                    "moves": there["migrate"],
                    "stops": there["stop"],
                    "stays": there[_STAY] + spared,
                    "state": rows[uuid].state,
                    "status": rows[uuid].status,
                }
            )
        made.append(host)
    return tuple(made)


_MOST_STAYING = 20


def _evacuation_warnings(resolution: Resolution, vms: Sequence[PreviewVm]) -> list[str]:
    """Which hosts will not be empty, as far as that is known beforehand, and why."""
    warnings = []
    for host in resolution.hosts:
        name = one_line(host.name or host.uuid, 100)
        if host.status != "Connected":
            warnings.append(f"host {name} is {host.status}: nothing on it can be stopped or migrated until it is connected")
        if host.state == "PreMaintenance":
            warnings.append(f"host {name} is PreMaintenance: somebody else is putting it into maintenance")
        staying = [vm for vm in vms if vm.host_uuid == host.uuid and vm.action in {None, _STAY}]
        spared = resolution.spared_on.get(host.uuid, 0)
        if staying or spared:
            names = [one_line(vm.name or vm.uuid, 60) for vm in staying[:_MOST_STAYING]]
            names += [f"{spared} that the plan excludes"] if spared else []
            count = len(staying) + spared
            stay = "stays" if count == 1 else "stay"
            warnings.append(f"host {name} will not be empty: {counted(count)} {stay} ({', '.join(names)})")
    return warnings


def _worst_cases(plan: Plan, legs: Legs, vms: Sequence[PreviewVm]) -> dict[str, float]:
    """By host, how long its VMs may hold its slots at the most, wave after wave, each to its last deadline."""
    waves = waves_of(plan)
    counts = Counter(
        (vm.host_uuid, vm.wave, legs.verbs_of(vm.type, vm.wave))
        for vm in vms
        if vm.verdict == Kind.OK and vm.action != _STAY and vm.wave in waves
    )
    worst: dict[str, float] = {}
    for (host, wave, verbs), count in counts.items():
        if host is not None:
            own = plan.limits_of(waves[wave])
            slots = min(own.per_host, own.concurrency, plan.limits.per_host, plan.limits.concurrency)
            if Verb.MIGRATE in verbs:
                narrow = migrate_limits(plan)
                slots = min(slots, narrow.per_host, narrow.total)
            longest = sum(legs.rules(wave, verb).worst_seconds for verb in verbs)
            worst[host] = worst.get(host, 0.0) + -(-count // slots) * longest
    return worst


def _forecast(plan: Plan, legs: Legs, verdicts: Sequence[Verdict], known: Known) -> Forecast:
    """Of a run that begins now."""
    waiting = [
        (verdict.target.row, verdict.wave)
        for verdict in verdicts
        if verdict.kind is Kind.OK and verdict.target.row is not None and verdict.wave in waves_of(plan)
    ]
    return forecast_of(plan, legs, waiting, known)


def _window_warnings(window: Times | None, forecast: Forecast, now: float) -> list[str]:
    if window is None or forecast.high <= (left := window.left(now)) or not left:
        return []
    room = f"the window has room for {in_words(left)} of work, until {rfc3339(window.closes)}"
    if forecast.likely <= left:
        return [f"the forecast may cross the window: up to {in_words(forecast.high)}, and {room}"]
    return [
        f"the forecast crosses the window: most likely {in_words(forecast.likely)}, and {room}; what has not begun by "
        "then is not reached"
    ]


def _vm(verdict: Verdict, ha_levels: Mapping[str, str], legs: Legs, movable: Mapping[str, bool]) -> PreviewVm:
    row = verdict.target.row
    verbs = legs.verbs_of(row.type if row else None, verdict.wave) if verdict.kind is Kind.OK else ()
    action, why = None if not verbs else verbs[0].value, verdict.why
    if row is not None and verbs and verbs[0] is Verb.MIGRATE:
        why = _cannot_move(row.state, movable=movable.get(row.uuid, True))
        if why:
            action = Verb.STOP.value if Verb.STOP in verbs else _STAY
    return PreviewVm(
        uuid=verdict.target.uuid,
        name=row.name if row else None,
        wave=verdict.wave,
        verdict=verdict.kind.value,
        why=why,
        state=row.state if row else None,
        type=row.type if row else None,
        host_uuid=row.host_uuid if row else None,
        ha_level=ha_levels.get(verdict.target.uuid),
        action=action,
    )


def _cannot_move(state: str | None, *, movable: bool) -> str:
    """Why it would not be migrated if the run began now; empty where nothing speaks against it."""
    if state is not None and state != "Running" and state not in TRANSITIONAL_STATES:
        return f"its state reads {one_line(state, 30)}, from where no VM is migrated"
    return "" if movable else "the node offers no host for it outside those that are emptied"


_BRINGS_BACK = "NeverStop"
"""The level at which the node starts a VM again that has stopped (zstack-rest.md 4.4)."""
_MOST_HA = 100
"""Guests that are warned of one by one."""


def _ha_warnings(plan: Plan, vms: Sequence[PreviewVm], unreadable: str | None) -> list[str]:
    """One for each guest that HA would bring back, where the plan leaves HA alone."""
    left_alone = {name for name, wave in waves_of(plan).items() if not plan.stop_of(wave).stop_ha}
    touched = [vm for vm in vms if vm.verdict == Kind.OK and vm.wave in left_alone]
    again = [vm for vm in touched if vm.ha_level == _BRINGS_BACK]
    level = f"its level is {_BRINGS_BACK}: stop.stop_ha is false"
    warnings = [f"HA would bring back {one_line(vm.name or 'VM', 100)} ({vm.uuid}), {level}" for vm in again[:_MOST_HA]]
    if len(again) > _MOST_HA:
        warnings.append(f"HA would bring back {len(again) - _MOST_HA} more; ha_level of each is in the preview's file")
    if touched and unreadable is not None:
        warnings.append(
            f"which of {len(touched)} VMs HA would bring back cannot be read ({' '.join(unreadable.split())[:200]}), "
            "and stop.stop_ha is false"
        )
    return warnings


def _to_do(action: str | None) -> str:
    words = {"stop": "be stopped", "migrate": "be migrated", _STAY: "stay, for it cannot be migrated"}
    return words.get(action or "", "be left")


def drift(before: Mapping[str, Any] | Preview, now: Preview) -> tuple[list[str], list[str]]:
    """What changed since: changes that refuse the run, and those that are only worth a warning."""
    old = before if isinstance(before, Preview) else Preview.model_validate(before)
    refusals: list[str] = []
    warnings: list[str] = []
    known = {vm.uuid: vm for vm in old.vms}
    for vm in now.vms:
        was = known.pop(vm.uuid, None)
        label = f"{one_line(vm.name or 'VM', 100)} ({vm.uuid})"
        if was is None:
            refusals.append(f"{label} appeared")
            continue
        if was.wave != vm.wave:
            refusals.append(f"{label} moved from wave {was.wave} to {vm.wave}")
        if was.verdict != vm.verdict:
            words = f"{label} was {was.verdict}, is now {vm.verdict}"
            (warnings if vm.verdict == Kind.ALREADY_STOPPED else refusals).append(words)
        elif was.action != vm.action and now.evacuate is not None:
            words = f"{label} was to {_to_do(was.action)}, is now to {_to_do(vm.action)}"
            (refusals if vm.action == Verb.STOP else warnings).append(words)
        if was.host_uuid != vm.host_uuid and vm.host_uuid is not None:
            warnings.append(f"{label} moved from host {was.host_uuid} to {vm.host_uuid}")
    gone = "vanished" if now.evacuate is None else "is on none of the hosts any more"
    refusals += [f"{one_line(vm.name or 'VM', 100)} ({vm.uuid}) {gone}" for vm in known.values()]
    if now.evacuate is not None:
        before_hosts, now_hosts = ({host.uuid: host for host in one.hosts} for one in (old, now))
        for word, one, other in (("appeared", now_hosts, before_hosts), ("vanished", before_hosts, now_hosts)):
            refusals += [
                f"host {one_line(host.name or uuid, 100)} {word}" for uuid, host in one.items() if uuid not in other
            ]
    return refusals, warnings
