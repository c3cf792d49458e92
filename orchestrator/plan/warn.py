"""What a plan may say but hardly means. Warnings are only looked for in plans without problems."""

from collections.abc import Iterator

from orchestrator.plan.conditions import condition_warnings, parse_condition, picks_running_only
from orchestrator.plan.explain import dotted
from orchestrator.plan.model import HostSelection, Limits, Plan, StopOptions, Wave, WaveBudget, WaveLimits, WaveStop
from orchestrator.plan.sections import Selectors
from orchestrator.plan.tree import Located, Path, Place


def plan_warnings(plan: Plan, places: dict[Path, Located]) -> Iterator[tuple[Place, str]]:
    """Every oddity of the plan with its place."""
    for path, selection in selections(plan):
        yield from _selection_warnings(path, selection, places)
    yield from _stop_warnings((), plan.stop, plan.stop, places)
    yield from _limit_warnings((), plan.limits, plan.limits, places)
    for index, wave in enumerate(plan.waves):
        at: Path = ("waves", index)
        yield from _stop_warnings(at, wave.stop, plan.stop_of(wave), places)
        yield from _limit_warnings(at, wave.limits, plan.limits_of(wave), places)
        yield from _beyond_the_run(at, wave, plan, places)


def _stop_warnings(
    path: Path, written: WaveStop, stop: StopOptions, places: dict[Path, Located]
) -> Iterator[tuple[Place, str]]:
    if "fallback_on" in written.model_fields_set and (stop.type == "cold" or stop.fallback == "none"):
        why = "`type: cold`" if stop.type == "cold" else "`fallback: none`"
        spot = (*path, "stop", "fallback_on")
        yield places[spot].key_place, f"`{dotted(spot)}`: has no effect beside {why}; remove it"


def _limit_warnings(
    path: Path, written: WaveLimits, limits: Limits, places: dict[Path, Located]
) -> Iterator[tuple[Place, str]]:
    for key in ("per_host", "per_cluster", "per_primary_storage"):
        limit = getattr(limits, key)
        if key in written.model_fields_set and limit is not None and limit > limits.concurrency:
            spot = (*path, "limits", key)
            yield (
                places[spot].key_place,
                f"`{dotted(spot)}`: {limit} is never reached, as `concurrency` is {limits.concurrency}",
            )


def _beyond_the_run(path: Path, wave: Wave, plan: Plan, places: dict[Path, Located]) -> Iterator[tuple[Place, str]]:
    """A wave's own limits hold in addition to the run's, so that larger ones change nothing."""
    pairs: tuple[tuple[str, WaveLimits | WaveBudget, WaveLimits | WaveBudget, tuple[str, ...]], ...] = (
        ("limits", wave.limits, plan.limits, ("concurrency", "per_host", "per_cluster", "per_primary_storage")),
    )
    for section, mine, whole, keys in pairs:
        for key in keys:
            own, run = getattr(mine, key), getattr(whole, key)
            if key in mine.model_fields_set and run is not None and own > run:
                spot = (*path, section, key)
                yield places[spot].key_place, f"`{dotted(spot)}`: {own} is never reached, as the run's own `{key}` is {run}"


def selections(plan: Plan) -> Iterator[tuple[Path, Selectors | HostSelection]]:
    """The selections that the plan makes, with their paths."""
    yield ("targets",), plan.targets
    if plan.targets.hosts is not None:
        yield ("targets", "hosts"), plan.targets.hosts
    if plan.exclude is not None:
        yield ("exclude",), plan.exclude
    if plan.guard.protect is not None:
        yield ("guard", "protect"), plan.guard.protect
    for index, wave in enumerate(plan.waves):
        yield ("waves", index), wave


def _selection_warnings(
    path: Path, selection: Selectors | HostSelection, places: dict[Path, Located]
) -> Iterator[tuple[Place, str]]:
    first_seen: dict[str, int] = {}
    for index, uuid in enumerate(selection.uuids):
        spot = (*path, "uuids", index)
        if uuid in first_seen:
            first = dotted((*path, "uuids", first_seen[uuid]))
            yield places[spot].node.place, f"`{dotted(spot)}`: {uuid} is already `{first}`; it counts once"
        first_seen.setdefault(uuid, index)
    for index, group in enumerate(selection.where):
        if group in selection.where[:index]:
            spot = (*path, "where", index)
            yield places[spot].node.place, f"`{dotted(spot)}`: the same group is already written; one is enough"
        for position, text in enumerate(group):
            spot = (*path, "where", index, position)
            condition = parse_condition(text)
            for message in condition_warnings(condition):
                yield places[spot].node.place, f"`{dotted(spot)}`: {message}"
            if path == ("targets",) and picks_running_only(condition):
                message = "Paused and Unknown VMs would be missed; leave it out: Stopped ones get no call anyway"
                yield places[spot].node.place, f"`{dotted(spot)}`: {message}"
