"""A tree judged as a plan: every problem at its place, or the plan."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.plan import rules
from orchestrator.plan.check_waves import WrongKeys, check_waves
from orchestrator.plan.explain import dotted, explain, found, section_at
from orchestrator.plan.model import (
    Evacuate,
    Guard,
    HostSelection,
    Migrate,
    Notify,
    Plan,
    ReportOptions,
    Selection,
    StopOptions,
    Targets,
    WaveLimits,
    Window,
)
from orchestrator.plan.tree import Listing, Located, Mapping, Node, Path, Place, Scalar, located

_PLACED = {"placed": True}
"""The validation context that leaves the rules between keys to `_breaches`, which knows the places."""


@dataclass(slots=True)
class Checked:
    """The plan, None where it has problems, with the places of all its values."""

    plan: Plan | None = None
    problems: list[tuple[Place | None, str]] = field(default_factory=list)
    places: dict[Path, Located] = field(default_factory=dict)


def check_plan(root: Node, known: list[tuple[Place | None, str]]) -> Checked:
    """Judge the tree. `known` is what the parser already found wrong; nothing at those places is told twice."""
    checked = Checked(problems=list(known), places=located(root))
    if not isinstance(root, Mapping):
        checked.problems.append((root.place, f"{found(root)}; a plan is a mapping that begins with `version: 1`"))
        return checked
    told = {place for place, _ in known}
    bad: set[Path] = set()
    for path, problem in _misplaced(checked.places):
        bad.add(path)
        if problem[0] not in told:
            checked.problems.append(problem)
    data = _data(root, ())
    plan = None
    try:
        plan = Plan.model_validate(data, context=_PLACED)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = detail["loc"]
            if _refused(path, bad) or _only_follows(detail["type"], path, checked.places):
                continue
            bad.add(path)
            problem = explain(detail, checked.places)
            if problem[0] not in told or detail["type"] in ("missing", "extra_forbidden"):
                checked.problems.append(problem)
    wrong = _wrong_keys(bad)
    for section, spot in checked.places.items():
        if isinstance(spot.node, Mapping) and section_at(section) and not _refused(section, bad):
            checked.problems.extend(_breaches(section, spot.node, wrong.get(section, set()), checked.places))
    checked.problems.extend(_about_targets(data, wrong, checked.places))
    if ("waves",) not in bad:
        checked.problems.extend(check_waves(data, wrong, checked.places))
    if not checked.problems:
        checked.plan = plan
    return checked


def _misplaced(places: dict[Path, Located]) -> Iterator[tuple[Path, tuple[Place, str]]]:
    """Keys that are refused whatever their value, and keys without one."""
    for path, spot in places.items():
        if path == ("targets", "may_be_empty"):
            yield (
                path,
                (
                    spot.key_place,
                    "`may_be_empty` belongs to `exclude` and `guard.protect`: a run without targets is always refused",
                ),
            )
        elif isinstance(spot.node, Scalar) and spot.node.value is None:
            yield (
                path,
                (
                    # An empty value begins where the parser stopped looking for it, which may be lines further down.
                    spot.node.place if spot.node.text else spot.key_place,
                    f"`{dotted(path)}`: found nothing; write a value, or leave the key out",
                ),
            )


def _refused(path: Path, bad: set[Path]) -> bool:
    """Whether the value, or one that it stands in, is refused already."""
    return any(path[:length] in bad for length in range(len(path) + 1))


def _only_follows(kind: str, path: Path, places: dict[Path, Located]) -> bool:
    """Whether a list is only called too short because its items are wrong, which is told of each."""
    if kind != "too_short":
        return False
    node = places[path].node
    return isinstance(node, Listing) and bool(node.items)


def _data(node: Node, path: Path) -> Any:
    """The values alone, as the models take them: lists as tuples, without what is refused anyway."""
    match node:
        case Mapping():
            return {entry.key: _data(entry.node, (*path, entry.key)) for entry in node.entries}
        case Listing():
            return tuple(_data(item, (*path, index)) for index, item in enumerate(node.items))
        case Scalar():
            if path[-2:-1] == ("uuids",) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
                return node.text  # 32 digits, or digits around one `e`, are a UUID here and not a number
            return node.value


def _wrong_keys(bad: set[Path]) -> WrongKeys:
    """The refused values by each list and mapping that they stand in."""
    wrong: WrongKeys = {}
    for path in bad:
        for length, step in enumerate(path):
            wrong.setdefault(path[:length], set()).add(step)
    return wrong


def _breaches(
    section: Path, node: Mapping, wrong: set[str | int], places: dict[Path, Located]
) -> Iterator[tuple[Place, str]]:
    """The broken rules of one section, looked for among the keys whose values are sound: not in `wrong`."""
    written = {entry.key: entry for entry in node.entries}
    model = section_at(section)
    assert model is not None, "only the mappings of a plan are judged"
    sound = {
        key: _data(entry.node, (*section, key))
        for key, entry in written.items()
        if key not in wrong and key in model.model_fields and section_at((*section, key)) is None
    }
    if model in {Selection, HostSelection, Notify} and wrong:
        return
    for breach in _broken(model, sound):
        if wrong.isdisjoint(breach.keys):
            key = next((key for key in breach.keys if key in written), None)
            path = section if key is None else (*section, key)
            if breach.index is not None:
                path = (*path, breach.index)
            place = places[path].node.place if key is None or breach.index is not None else places[path].key_place
            yield place, f"`{dotted(path)}`: {breach.message}"


def _broken(model: type[BaseModel], sound: dict[str, Any]) -> Iterator[rules.Breach]:
    """The broken rules of one section by itself; those of a wave's `stop` depend on the plan's."""
    if not issubclass(
        model,
        StopOptions | Guard | Notify | ReportOptions | Selection | HostSelection | WaveLimits | Window | Migrate | Evacuate,
    ):
        return
    if any(field.is_required() and key not in sound for key, field in model.model_fields.items()):
        return
    match model.model_validate(sound, context=_PLACED):
        case StopOptions() as stop:
            yield from rules.stop_breaches(stop)
        case WaveLimits() as limits:
            yield from rules.limits_breaches(limits)
        case Window() as window:
            yield from rules.window_breaches(window)
        case Guard() as guard:
            yield from rules.guard_breaches(guard)
        case Notify() as notify:
            yield from rules.notify_breaches(notify)
        case ReportOptions() as report:
            yield from rules.report_breaches(report)
        case Selection() as selection:
            yield from rules.selection_breaches(selection)
        case HostSelection() as hosts:
            yield from rules.host_selection_breaches(hosts)
        case Migrate() as migrate:
            yield from rules.positive_breaches(migrate, "timeout")
        case Evacuate() as evacuate:
            yield from rules.positive_breaches(evacuate, "host_timeout")


def _about_targets(
    data: dict[str, Any], wrong: dict[Path, set[str | int]], places: dict[Path, Located]
) -> Iterator[tuple[Place, str]]:
    """VMs or hosts, and what becomes of hosts; nothing of it where the keys themselves are wrong."""
    targets = data.get("targets")
    if not isinstance(targets, dict) or wrong.get((), set()) & {"targets", "evacuate"} or wrong.get(("targets",)):
        return
    named = [key for key in targets if (targets[key] or key == "hosts") and key in Targets.model_fields]
    for keys, message in rules.targets_breaches(named):
        path: Path = ("targets", *keys)
        yield places[path].key_place if keys else places[path].node.place, f"`{dotted(path)}`: {message}"
    for path, message in rules.evacuation_breaches(named, evacuates="evacuate" in data):
        yield places[path].key_place, f"`{dotted(path)}`: {message}"
