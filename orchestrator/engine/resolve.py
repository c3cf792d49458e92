"""A plan and a cloud become a list of targets, in the plan's order, with what each selector matched."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from orchestrator.clouds.interface import VM_CHUNK, Cloud, NodeAwayError, NodeFacts, QueryRefusedError
from orchestrator.engine.aside import Aside
from orchestrator.engine.names import host_names
from orchestrator.engine.ourselves import Ourselves, find_ourselves
from orchestrator.errors import NodeUnreachableError, UsageError
from orchestrator.model.report import Excluded, SelectorCount
from orchestrator.model.safe import one_line
from orchestrator.model.target import HostRow, Seen, VmRow
from orchestrator.plan.load import PlanFile, Selected
from orchestrator.plan.model import HostSelection, Plan

_TOGETHER = 1000
"""UUIDs that are read in one go, and whose inventories are in memory together."""
_PAUSES = (0.5, 2.0)
"""Seconds between the tries to resolve: one odd moment of the node refuses nobody."""


@dataclass(frozen=True, slots=True)
class Target:
    """One VM the plan means; `row` is None where the node does not know the UUID. `aside`: where its inventory is kept,
    None where nobody keeps them.
    """

    uuid: str
    row: VmRow | None
    aside: int | None = None
    ours: str = ""
    """Why it must never be stopped, whatever the plan says: a clause; empty where it may be."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the plan's selectors mean on this node, now. `protected`: UUID and the selector that protects it."""

    facts: NodeFacts
    targets: tuple[Target, ...]
    excluded: tuple[Excluded, ...]
    selectors: tuple[SelectorCount, ...]
    protected: dict[str, str]
    ha_levels: dict[str, str]
    warnings: tuple[str, ...]
    empty_selectors: tuple[str, ...]
    """Selectors of `exclude` and `protect` that matched nothing and do not say that they may."""
    waves: Mapping[str, str] = field(default_factory=dict)
    """The wave of each target, by UUID; empty where the plan has none."""
    host_names: Mapping[str, str] = field(default_factory=dict)
    """Names of the targets' hosts, as far as this account may read them."""
    wave_problems: tuple[str, ...] = ()
    """Targets in two waves, or in none."""
    aside: Aside | None = None
    """Where the targets' inventories are, None where they were dropped."""
    ha_unreadable: str | None = None
    """In the node's words why it does not tell HA levels; None if it does."""
    hosts: tuple[HostRow, ...] = ()
    """Hosts to be emptied; none where the plan names VMs."""
    host_problems: tuple[str, ...] = ()
    """What is wrong with the selection of hosts."""
    spared_on: Mapping[str, int] = field(default_factory=dict)
    """Of hosts to be emptied, how many VMs the plan excludes there."""
    ours: Ourselves | None = None
    """Who must stay up whatever the plan says; None where it was not asked."""


async def resolve(plan_file: PlanFile, cloud: Cloud, aside: Aside | None = None) -> Resolution:
    """Ask the node. `aside` takes the inventories; None drops them.

    Raises NodeUnreachableError, UsageError for a filter it refuses, LoginError.
    """
    for pause in (*_PAUSES, None):
        try:
            return await _resolve(plan_file, cloud, aside)
        except NodeAwayError as error:
            if pause is None:
                raise NodeUnreachableError(
                    f"the plan cannot be resolved, for the node gives no list of VMs ({error.detail}): "
                    "see that it is up and not overloaded, and try again"
                ) from None
        await anyio.sleep(pause)
    raise AssertionError


async def _resolve(plan_file: PlanFile, cloud: Cloud, aside: Aside | None) -> Resolution:
    if aside is not None:
        aside.clear()
    facts = await cloud.facts()
    ours = await find_ourselves(facts.endpoint)
    whole = aside is not None or _storages_matter(plan_file.plan)
    if not whole:
        try:
            ours = await ours.ask(cloud)
        except QueryRefusedError:
            whole = True  # then every VM's own addresses tell

    def target(seen: Seen) -> Target:
        at = None if aside is None else aside.put(seen.inventory)
        return Target(seen.row.uuid, seen.row, at, ours.clause(seen.row.uuid, cloud.addresses_of(seen.inventory)))

    hosts, host_problems = list[HostRow](), list[str]()
    if plan_file.plan.targets.hosts is None:
        found, counts = await _select(plan_file.targets, cloud, "targets", target, whole=whole)
    else:
        hosts, counts, host_problems = await _hosts(plan_file.plan.targets.hosts, cloud, plan_file.known_hosts)
        found = await _on_hosts([host.uuid for host in hosts], cloud, target, whole=whole)
    if aside is not None:
        aside.flush()
    excluded, empty = await _names_of(plan_file.exclude, cloud, "exclude", found)
    protected, unprotected = await _names_of(plan_file.protect, cloud, "guard.protect", found)
    targets = tuple(target for uuid, target in found.items() if uuid not in excluded)
    spared_on = Counter(
        target.row.host_uuid
        for uuid, target in found.items()
        if uuid in excluded and target.row is not None and target.row.host_uuid is not None
    )
    gone = [
        Excluded(uuid=uuid, name=target.row.name if target.row is not None else None, selector=excluded[uuid])
        for uuid, target in found.items()
        if uuid in excluded
    ]
    waves, wave_problems = await _waves(plan_file, cloud, {target.uuid: target for target in targets})
    ha = await cloud.ha_levels([target.uuid for target in targets if target.row is not None])
    warnings = [str(problem) for problem in plan_file.warnings]
    found_hosts = {host.uuid for host in hosts}
    if plan_file.known_hosts and not hosts:
        host_problems.append("the node knows none of the hosts any more that are left to be emptied: run a plan of your own")
    warnings += [
        f"host {one_line(name or uuid, 100)} is left out: the node does not know it any more"
        for uuid, name in plan_file.known_hosts.items()
        if uuid not in found_hosts
    ]
    if plan_file.plan.targets.hosts is None:  # a selector of hosts that matches none refuses the run
        warnings += [f"the selector {count.where!r} matches nothing" for count in counts if not count.matched]
    warnings += [f"{selector} matches nothing on the node" for selector in (*empty, *unprotected)]
    return Resolution(
        facts=facts,
        targets=targets,
        excluded=tuple(gone),
        selectors=tuple(counts),
        protected={uuid: name for uuid, name in protected.items() if uuid in found and uuid not in excluded},
        ha_levels=dict(ha.levels),
        ha_unreadable=ha.unreadable,
        warnings=tuple(warnings),
        empty_selectors=(*empty, *unprotected),
        waves=waves,
        aside=aside,
        wave_problems=wave_problems,
        host_names=_names(hosts) if hosts else await host_names(cloud, _hosts_under(targets)),
        hosts=tuple(hosts),
        host_problems=tuple(host_problems),
        spared_on=spared_on if hosts else {},
        ours=await _known_by_uuid(ours, cloud) if hosts else None,
    )


async def _known_by_uuid(ours: Ourselves, cloud: Cloud) -> Ourselves | None:
    """The same with UUIDs, for rows without addresses; None where the node does not tell."""
    try:
        return ours if ours.machine or ours.node else await ours.ask(cloud)
    except QueryRefusedError:
        return None


def _names(hosts: Sequence[HostRow]) -> dict[str, str]:
    return {host.uuid: host.name for host in hosts if host.name is not None}


def _hosts_under(targets: Sequence[Target]) -> set[str | None]:
    return {target.row.host_uuid for target in targets if target.row is not None}


async def _hosts(
    selection: HostSelection, cloud: Cloud, known: Collection[str]
) -> tuple[list[HostRow], list[SelectorCount], list[str]]:
    """The hosts that are named, what each selector matched, and what is wrong with that. `known`: they may be gone."""
    found: dict[str, HostRow] = {}
    counts, problems = list[SelectorCount](), list[str]()
    asked = "uuids"

    def keep(name: str, rows: Iterable[HostRow]) -> int:
        matched = {row.uuid: row for row in rows}
        found.update(matched)
        counts.append(SelectorCount(where=f"hosts: {name}", matched=len(matched)))
        return len(matched)

    try:
        if selection.uuids:
            rows = await cloud.hosts(selection.uuids)
            keep("uuids", [rows[uuid] for uuid in selection.uuids if uuid in rows])
            problems += [
                f"the node knows no host {uuid}: correct targets.hosts.uuids, or take it out"
                for uuid in dict.fromkeys(selection.uuids)
                if uuid not in rows and uuid not in known
            ]
        for name in dict.fromkeys(selection.names):
            asked = f"name={name}"
            matched = keep(f"name={name}", await cloud.select_hosts([f"name={name}"]))
            if matched != 1:
                known = "no host" if not matched else f"{matched} hosts"
                said = f"the node knows {known} named {one_line(name, 100)}"
                problems.append(f"{said}: correct targets.hosts.names, or name it under uuids")
        for group in selection.where:
            asked = " and ".join(group)
            if not keep(asked, await cloud.select_hosts(group)):
                problems.append(f"no host matches {asked!r} of targets.hosts.where: correct it, or take it out")
    except QueryRefusedError as error:
        raise _refused("targets.hosts", asked, error) from None
    return list(found.values()), counts, problems


async def _on_hosts(
    hosts: Sequence[str], cloud: Cloud, target: Callable[[Seen], Target], *, whole: bool
) -> dict[str, Target]:
    """Every VM that is on one of them; one that is Stopped is on no host."""
    found: dict[str, Target] = {}
    for start in range(0, len(hosts), VM_CHUNK):
        async for page in cloud.select([f"hostUuid?={','.join(hosts[start : start + VM_CHUNK])}"], whole=whole):
            for seen in page:
                if seen.row.uuid not in found:
                    found[seen.row.uuid] = target(seen)
    return found


async def resolve_found(
    plan_file: PlanFile, cloud: Cloud, seen: Sequence[Seen], facts: NodeFacts, ours: Ourselves
) -> Resolution:
    """What the plan says of VMs that have turned up on hosts that are being emptied: whom it spares, and their waves.

    Raises NodeAwayError, UsageError for a filter that the node refuses.
    """
    uuids = [vm.row.uuid for vm in seen]
    targets = {
        vm.row.uuid: Target(vm.row.uuid, vm.row, None, ours.clause(vm.row.uuid, cloud.addresses_of(vm.inventory)))
        for vm in seen
    }
    excluded, _ = await _names_of(plan_file.exclude, cloud, "exclude", targets, within=uuids)
    protected, _ = await _names_of(plan_file.protect, cloud, "guard.protect", targets, within=uuids)
    kept = {uuid: target for uuid, target in targets.items() if uuid not in excluded}
    waves, _ = await _waves(plan_file, cloud, kept, within=uuids)
    if plan_file.plan.waves:  # one that no wave takes must have its turn all the same: the host is to be empty
        waves = {uuid: waves.get(uuid, plan_file.plan.waves[-1].name) for uuid in kept}
    return Resolution(
        facts=facts,
        targets=tuple(kept.values()),
        excluded=tuple(
            Excluded(uuid=uuid, name=vm.row.name, selector=excluded[uuid])
            for vm in seen
            if (uuid := vm.row.uuid) in excluded
        ),
        selectors=(),
        protected={uuid: name for uuid, name in protected.items() if uuid in kept},
        ha_levels=dict((await cloud.ha_levels(list(kept))).levels),
        warnings=(),
        empty_selectors=(),
        waves=waves,
    )


def _storages_matter(plan: Plan) -> bool:
    """Does a limit count VMs by their primary storage?"""
    limits = [plan.limits, *(plan.limits_of(wave) for wave in plan.waves)]
    return any(one.per_primary_storage is not None for one in limits)


_MOST_NAMED = 10


async def _waves(
    plan_file: PlanFile, cloud: Cloud, targets: Mapping[str, Target], within: Sequence[str] | None = None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Each target's wave, and what is wrong with that: each must be in exactly one. `within`: see `_names_of`."""
    waves: dict[str, str] = {}
    twice: dict[str, list[str]] = {}
    rest: str | None = None
    for wave, selected in zip(plan_file.plan.waves, plan_file.waves, strict=True):
        if selected is None:
            rest = wave.name
            continue
        names, _ = await _names_of(selected, cloud, f"wave {wave.name}", targets, within)
        for uuid in names:
            if uuid in targets and waves.setdefault(uuid, wave.name) != wave.name:
                twice.setdefault(f"{waves[uuid]} and {wave.name}", []).append(uuid)
    problems = [
        f"{len(uuids)} VMs are in both waves {pair} ({_some(uuids, targets)}): let their selectors take different ones"
        for pair, uuids in twice.items()
    ]
    left = [uuid for uuid in targets if uuid not in waves] if plan_file.plan.waves else []
    if rest is not None:
        waves |= dict.fromkeys(left, rest)
    elif left:
        problems.append(
            f"{len(left)} VMs are in no wave ({_some(left, targets)}): add a wave without a selector, which takes the rest"
        )
    return waves, tuple(problems)


def _some(uuids: Sequence[str], targets: Mapping[str, Target]) -> str:
    names = [(row.name if (row := targets[uuid].row) is not None else None) or uuid for uuid in uuids[:_MOST_NAMED]]
    return ", ".join(one_line(name, 60) for name in names) + (" and more" if len(uuids) > _MOST_NAMED else "")


async def _select(
    selected: Selected, cloud: Cloud, key: str, target: Callable[[Seen], Target], *, whole: bool
) -> tuple[dict[str, Target], list[SelectorCount]]:
    found = {uuid: Target(uuid, None) for uuid in selected.uuids}
    counts: list[SelectorCount] = []

    def keep(seen: Seen) -> None:
        if not _known(found, seen.row.uuid):
            found[seen.row.uuid] = target(seen)

    for start in range(0, len(selected.uuids), _TOGETHER):
        for seen in (await _read(cloud, selected.uuids[start : start + _TOGETHER], key)).values():
            keep(seen)
    for name, uuids in selected.sources:
        counts.append(SelectorCount(where=name, matched=sum(_known(found, uuid) for uuid in uuids)))
    for group in selected.where:
        matched = set[str]()
        try:
            async for page in cloud.select(group, whole=whole):
                matched.update(seen.row.uuid for seen in page)
                for seen in page:
                    keep(seen)
        except QueryRefusedError as error:
            raise _refused(key, " and ".join(group), error) from None
        counts.append(SelectorCount(where=" and ".join(group), matched=len(matched)))
    return found, counts


def _known(targets: Mapping[str, Target], uuid: str) -> bool:
    """Is it a target that the node knows?"""
    return (target := targets.get(uuid)) is not None and target.row is not None


async def _names_of(
    selected: Selected | None,
    cloud: Cloud,
    key: str,
    targets: Mapping[str, Target],
    within: Sequence[str] | None = None,
) -> tuple[dict[str, str], list[str]]:
    """UUID → the selector that names it, and the selectors that matched nothing on the node.

    `within`: the only VMs of interest, so that the node is asked for no others; None for all.
    """
    if selected is None:
        return {}, []
    names: dict[str, str] = {}
    empty: list[str] = []
    unknown = [uuid for uuid in selected.uuids if not _known(targets, uuid)]
    known = set(await _read(cloud, unknown, key)) if unknown else set()
    for name, uuids in selected.sources:
        for uuid in uuids:
            names.setdefault(uuid, name)
        if not any(uuid in known or _known(targets, uuid) for uuid in uuids):
            empty.append(f"{key}: {name}")
    for group in selected.where:
        name, matched = " and ".join(group), 0
        try:
            for conditions in _narrowed(group, within):
                async for page in cloud.select(conditions, whole=False):
                    for seen in page:
                        names.setdefault(seen.row.uuid, name)
                        matched += 1
        except QueryRefusedError as error:
            raise _refused(key, name, error) from None
        if not matched:
            empty.append(f"{key}: {name}")
    return names, [] if selected.may_be_empty else empty


def _narrowed(group: Sequence[str], within: Sequence[str] | None) -> list[list[str]]:
    if within is None:
        return [list(group)]
    starts = range(0, len(within), VM_CHUNK)
    return [[*group, f"uuid?={','.join(within[start : start + VM_CHUNK])}"] for start in starts]


async def _read(cloud: Cloud, uuids: Sequence[str], key: str) -> Mapping[str, Seen]:
    try:
        return await cloud.read(uuids)
    except QueryRefusedError as error:
        raise _refused(key, "uuids", error) from None


def _refused(key: str, where: str, error: QueryRefusedError) -> UsageError:
    return UsageError(
        f"the node does not take the selector {where!r} of {key} ({' '.join(error.detail.split())[:300]}): "
        "check its field names and its operator against the node's own query conditions"
    )
