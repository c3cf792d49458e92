"""What a plan may say but hardly means. Warnings are only looked for in plans without problems."""

from collections.abc import Iterator

from orchestrator.plan.conditions import condition_warnings, parse_condition, picks_running_only
from orchestrator.plan.explain import dotted
from orchestrator.plan.model import Plan, Selection
from orchestrator.plan.tree import Located, Path, Place


def plan_warnings(plan: Plan, places: dict[Path, Located]) -> Iterator[tuple[Place, str]]:
    """Every oddity of the plan with its place."""
    for path, selection in selections(plan):
        yield from _selection_warnings(path, selection, places)
    stop, limits = plan.stop, plan.limits
    if "fallback_on" in stop.model_fields_set and (stop.type == "cold" or stop.fallback == "none"):
        why = "`type: cold`" if stop.type == "cold" else "`fallback: none`"
        yield places["stop", "fallback_on"].key_place, f"`stop.fallback_on`: has no effect beside {why}; remove it"
    for key in ("per_host", "per_cluster", "per_primary_storage"):
        limit = getattr(limits, key)
        if key in limits.model_fields_set and limit is not None and limit > limits.concurrency:
            message = f"`limits.{key}`: {limit} is never reached, as `concurrency` is {limits.concurrency}"
            yield places["limits", key].key_place, message


def selections(plan: Plan) -> Iterator[tuple[Path, Selection]]:
    """The selections that the plan makes, with their paths."""
    yield ("targets",), plan.targets
    if plan.exclude is not None:
        yield ("exclude",), plan.exclude
    if plan.guard.protect is not None:
        yield ("guard", "protect"), plan.guard.protect


def _selection_warnings(path: Path, selection: Selection, places: dict[Path, Located]) -> Iterator[tuple[Place, str]]:
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
