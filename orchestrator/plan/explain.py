"""A pydantic error as a sentence for the person who wrote the plan: what was found, and what would be right."""

import re
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from orchestrator.plan.conditions import OPERATORS, ConditionError
from orchestrator.plan.model import (
    Budget,
    Evacuate,
    Guard,
    HostSelection,
    Limits,
    Migrate,
    Notify,
    Plan,
    ReportOptions,
    Selection,
    StopOptions,
    Targets,
    Verify,
    Wave,
    WaveBudget,
    WaveLimits,
    WaveStop,
    Window,
)
from orchestrator.plan.tree import Listing, Located, Mapping, Node, Path, Place, Scalar
from orchestrator.plan.wording import closest, listed, shown, visible

SECTIONS: dict[Path, type[BaseModel]] = {
    (): Plan,
    ("targets",): Targets,
    ("targets", "hosts"): HostSelection,
    ("exclude",): Selection,
    ("stop",): StopOptions,
    ("limits",): Limits,
    ("guard",): Guard,
    ("guard", "protect"): Selection,
    ("verify",): Verify,
    ("report",): ReportOptions,
    ("budget",): Budget,
    ("window",): Window,
    ("evacuate",): Evacuate,
    ("evacuate", "migrate"): Migrate,
    ("notify", 0): Notify,
    ("waves", 0): Wave,
    ("waves", 0, "stop"): WaveStop,
    ("waves", 0, "limits"): WaveLimits,
    ("waves", 0, "budget"): WaveBudget,
}
"""The model behind each mapping of a plan; 0 stands for every entry of a list."""


def section_at(path: Path) -> type[BaseModel] | None:
    """The model of the mapping at a path, or None where the plan has none there."""
    return SECTIONS.get(tuple(0 if isinstance(step, int) else step for step in path))


def explain(error: ErrorDetails, places: dict[Path, Located]) -> tuple[Place, str]:
    """The place of the error and its sentence, which begins with the path of the value."""
    path: Path = error["loc"]
    if error["type"] == "missing":
        where = places[path[:-1]].node.place
        return where, f"{_inside(path[:-1])}the key `{path[-1]}` is missing; it is required"
    if error["type"] == "extra_forbidden":
        return places[path].key_place, _inside(path[:-1]) + _unknown_key(path)
    node = places[path].node
    return node.place, f"`{dotted(path)}`: {_sentence(error, node, path)}{_split_hint(error, node, path, places)}"


def dotted(path: Path) -> str:
    """The path as people write it: `targets.where[0][1]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{_key_name(step)}" for step in path)
    return text.removeprefix(".")


def _key_name(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", key) else shown(key)


_MAPPINGS: dict[Path, str] = {
    ("targets", "hosts"): ", as in `hosts: {names: [rack-12-host-01]}`",
    ("evacuate",): ", as in `evacuate: {vms: stop}`",
}
"""What is most likely meant, where something else stands than a mapping."""


def found(node: Node) -> str:
    """What stands there, for a message about its kind."""
    match node:
        case Mapping():
            return "found a mapping"
        case Listing():
            return "found a list"
        case Scalar(value=bool()):
            return f"found {shown(node.text)}, which is true or false"
        case Scalar(value=int() | float()):
            return f"found {shown(node.text)}, a number"
        case Scalar(quoted=True):
            return f"found {shown(node.text)} in quotes, a text"
        case _:
            return f"found {shown(node.text)}"


def _inside(path: Path) -> str:
    return f"`{dotted(path)}`: " if path else ""


def _sentence(error: ErrorDetails, node: Node, path: Path) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "value_error":
            message = str(context["error"])
            return message if message.startswith("found") else f"{found(node)}; {message}"
        case "literal_error":
            return _enumeration(node, re.findall(r"'([^']*)'", context["expected"]))
        case "string_type":
            if isinstance(node, Scalar):
                return f'{found(node)}; a text is expected, so quote it: "{visible(node.text)}"'
            return f"{found(node)}; a text is expected"
        case "bool_type":
            return f"{found(node)}; `true` or `false` is expected, without quotes"
        case "int_type" | "int_from_float":
            return f"{found(node)}; a whole number is expected, without quotes"
        case "float_type":
            return f"{found(node)}; a number is expected, without quotes"
        case "tuple_type":
            group = isinstance(node, Scalar) and path[-2:-1] == ("where",)
            shape = "a group in brackets of its own is expected" if group else "a list is expected"
            quote = "" if path[-1:] == ("ramp",) else '"'
            shape += f": [{quote}{visible(node.text)}{quote}]" if isinstance(node, Scalar) and node.text else ""
            return f"{found(node)}; {shape}"
        case "too_short":
            return f"found an empty list; {_first_item(path)} is expected"
        case "greater_than_equal":
            return f"{found(node)}; it must be at least {context['ge']}"
        case "less_than_equal":
            return f"{found(node)}; it must be at most {context['le']}"
        case "model_type" | "dict_type":
            return f"{found(node)}; a mapping with keys is expected{_MAPPINGS.get(path, '')}"
        case _:
            return f"{found(node)}; {error['msg']}"


def _first_item(path: Path) -> str:
    """What a list that must not be empty begins with."""
    match path[-1]:
        case "waves":
            return "a wave like `{name: app}`"
        case "notify":
            return "an entry like `{url_env: CHAT_URL}`"
        case "on":
            return "an occasion like `finished`"
        case "command":
            return "a program like `/usr/local/bin/page`"
        case "ramp":
            return "a step like `1` or `5%`"
        case int():
            return "a condition like `cluster.name=rack-12`"
        case _:
            return "a group of conditions like `cluster.name=rack-12`"


def _enumeration(node: Node, words: list[str]) -> str:
    better = closest(node.text, words) if isinstance(node, Scalar) else None
    hint = f"did you mean `{better}`? " if better else ""
    return f"{found(node)}; {hint}{listed(words)} is expected"


def _unknown_key(path: Path) -> str:
    key = str(path[-1])
    model = section_at(path[:-1])
    known = list(model.model_fields) if model is not None else []
    if key == "<<":
        return "found the merge key `<<`, which YAML 1.2 does not have; write the keys out"
    better = closest(key, known)
    if better:
        return f"unknown key {shown(key)}; did you mean `{better}`?"
    home = _home(key, path[:-1])
    if home:
        return f"unknown key {shown(key)} here; it belongs under `{dotted(home)}`"
    return f"unknown key {shown(key)}; known here: {', '.join(known)}"


def _home(key: str, here: Path) -> Path | None:
    """The section that knows the key: one inside that where it stands, or else the first of the plan."""
    if here[:1] == ("waves",) and len(here) == 2:
        for name in ("stop", "limits", "budget"):
            model = section_at((*here, name))
            if model is not None and key in model.model_fields:
                return (*here, name)
    of_plan = sorted(
        ((path, model) for path, model in SECTIONS.items() if path and path[0] != "waves"),
        key=lambda found: found[0][: len(here)] != here,
    )
    return next((path for path, model in of_plan if key in model.model_fields), None)


def _split_hint(error: ErrorDetails, node: Node, path: Path, places: dict[Path, Located]) -> str:
    """Brackets split `[a?=1,2]` at its comma: a piece without an operator after one that has some gives it away."""
    if len(path) < 3 or path[-3] != "where" or not isinstance(path[-1], int):
        return ""
    group = places[path[:-1]].node
    cause = error.get("ctx", {}).get("error")
    is_piece = error["type"] == "string_type" or (isinstance(cause, ConditionError) and cause.no_operator)
    if not is_piece or not isinstance(group, Listing) or not group.flow:
        return ""
    pieces: list[str] = []
    for item in reversed(group.items[: path[-1] + 1]):
        if not isinstance(item, Scalar) or (item.quoted and item is not node):
            break
        pieces.insert(0, item.text)
        if item is not node and any(operator in item.text for operator in OPERATORS):
            return f'. It looks split off from the condition before it: quote the condition: "{visible(",".join(pieces))}"'
    return "" if isinstance(node, Scalar) else ". Signs such as `{`, `[` and `: ` have a meaning here: quote the condition"
