"""A plan file, and the UUID files it names, read and judged. The only module of this package that reads files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import PlanError, Problem
from orchestrator.plan.check import Checked, check_plan
from orchestrator.plan.explain import dotted
from orchestrator.plan.json_tree import parse_json
from orchestrator.plan.model import Plan, Selection
from orchestrator.plan.order import overlap_message, taken_twice
from orchestrator.plan.sections import Selectors
from orchestrator.plan.selected import Selected
from orchestrator.plan.tree import Lines, Listing, Parsed, Place, Scalar
from orchestrator.plan.tree import Path as TreePath
from orchestrator.plan.uuid_files import UuidList, parse_uuid_file
from orchestrator.plan.uuids import normalise_uuid
from orchestrator.plan.warn import plan_warnings
from orchestrator.plan.wording import shown
from orchestrator.plan.yaml_tree import parse_yaml

__all__ = ["PlanFile", "Selected", "load_plan", "plan_from_text"]

LARGEST = 16 * 1024 * 1024
"""Bytes read of a plan or a UUID file: half a million UUIDs. A larger file is a slip of the path."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_MOST_FORBIDDEN = 20
_SELECTIONS: tuple[TreePath, ...] = (("targets",), ("exclude",), ("guard", "protect"))


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan that has no problems, as read.

    `text` is the exact text of the file, a byte order mark included, so that it can be kept and read again.
    `exclude` and `protect` are None where the plan has none. `waves` are in the plan's order, each None where the wave
    has no selector; empty without waves. `warnings` are refused by `--strict`. `known_hosts`: names by UUID of hosts that an
    earlier run knew, of which any may be gone since; empty for a plan as read.
    """

    path: Path
    text: str
    plan: Plan
    targets: Selected
    exclude: Selected | None
    protect: Selected | None
    warnings: tuple[Problem, ...]
    waves: tuple[Selected | None, ...] = ()
    known_hosts: Mapping[str, str | None] = field(default_factory=dict)


def load_plan(path: str | Path) -> PlanFile:
    """Read a plan: JSON where its name ends in .json, YAML otherwise.

    Raises PlanError with every problem of the plan and of its UUID files at once.
    """
    path = Path(path)
    text = _read(path)
    if isinstance(text, Problem):
        raise PlanError([text])
    return plan_from_text(text, name=str(path), folder=path.parent, json=path.suffix.lower() == ".json")


def plan_from_text(text: str, *, name: str, folder: Path, json: bool = False, read_uuid_files: bool = True) -> PlanFile:
    """Judge a plan's text. `name` stands for the file in messages; UUID files are relative to `folder`.

    `read_uuid_files=False` leaves the files alone, for a run whose targets are already resolved: they may have changed
    or gone since. Raises PlanError.
    """
    content = text.removeprefix("\ufeff")
    parsed = _parse(content, json=json)
    checked = Checked(problems=parsed.problems) if parsed.root is None else check_plan(parsed.root, parsed.problems)
    files = _UuidFiles(name, folder)
    if read_uuid_files:
        for selection in (*_SELECTIONS, *_wave_paths(checked)):
            files.read_all(selection, checked)
    checked.problems += files.overlaps(checked)
    # Places come from a set of rules each with its own order: sorting makes one list, as a reader goes down the file.
    at_top = Place(0, 0)
    ordered = sorted(dict.fromkeys(checked.problems), key=lambda problem: (problem[0] or at_top, problem[1]))
    problems = [_problem(name, place, message) for place, message in ordered]
    problems += dict.fromkeys(files.problems)
    if problems or checked.plan is None:
        raise PlanError(problems)
    plan = checked.plan
    warned = sorted([*plan_warnings(plan, checked.places), *files.odd_names])
    warnings = [_problem(name, place, message) for place, message in warned]
    return PlanFile(
        path=Path(name),
        text=text,
        plan=plan,
        targets=files.selected(("targets",), plan.targets),
        exclude=files.selected(("exclude",), plan.exclude) if plan.exclude else None,
        protect=files.selected(("guard", "protect"), plan.guard.protect) if plan.guard.protect else None,
        warnings=(*warnings, *dict.fromkeys(files.warnings)),
        waves=tuple(
            None if wave.takes_the_rest else files.selected(("waves", index), wave) for index, wave in enumerate(plan.waves)
        ),
    )


@dataclass(slots=True)
class _UuidFiles:
    """The UUID files of one plan, each read once, with what is wrong in them."""

    plan_name: str
    folder: Path
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    odd_names: list[tuple[Place, str]] = field(default_factory=list)
    _lists: dict[str, UuidList] = field(default_factory=dict)
    _names: dict[TreePath, list[str]] = field(default_factory=dict)

    def read_all(self, selection: TreePath, checked: Checked) -> None:
        """Read the files that a selection names, even where other parts of the plan are wrong."""
        spot = checked.places.get((*selection, "uuid_files"))
        if spot is None or not isinstance(spot.node, Listing):
            return
        names = self._names.setdefault(selection, [])
        for item in spot.node.items:
            if not isinstance(item, Scalar) or not isinstance(item.value, str) or not item.value.strip():
                continue
            if item.value in names:
                self.odd_names.append((item.place, f"the file {shown(item.value)} is already named; once is enough"))
                continue
            names.append(item.value)
            if item.value not in self._lists:
                self._read(item.value, item.place, checked)

    def _read(self, name: str, place: Place, checked: Checked) -> None:
        path = self.folder / name
        text = _read(path)
        if isinstance(text, Problem):
            if text.line is None:  # the file itself cannot be read, so the place to mend is the plan
                checked.problems.append((place, f"the UUID file {shown(str(path))} {text.message}"))
            else:
                self.problems.append(text)
            return
        listed = parse_uuid_file(text.removeprefix("\ufeff"), is_csv=path.suffix.lower() == ".csv")
        self._lists[name] = listed
        self.problems += [_problem(str(path), where, message) for where, message in listed.problems]
        self.warnings += [_problem(str(path), where, message) for where, message in listed.warnings]

    def overlaps(self, checked: Checked) -> Iterator[tuple[Place, str]]:
        """UUIDs, written out or in files, that more than one wave names."""
        named: list[tuple[int, TreePath, list[str]]] = []
        for path in _wave_paths(checked):
            for key in ("uuids", "uuid_files"):
                spot = checked.places.get((*path, key))
                items = spot.node.items if spot is not None and isinstance(spot.node, Listing) else []
                named += [
                    (int(path[1]), (*path, key, at), self._uuids(key, item))
                    for at, item in enumerate(items)
                    if isinstance(item, Scalar)
                ]
        for entry, owner, uuid, count in taken_twice(named):
            called = checked.places.get(("waves", owner, "name"))
            name = called.node.text if called is not None and isinstance(called.node, Scalar) else str(owner + 1)
            yield checked.places[entry].node.place, f"`{dotted(entry)}`: {overlap_message(uuid, count, name)}"

    def _uuids(self, key: str, item: Scalar) -> list[str]:
        """What an entry of `uuids` or `uuid_files` names; nothing where it is wrong, which is told elsewhere."""
        if key == "uuid_files":
            return self._lists[item.text].uuids if item.text in self._lists else []
        try:
            return [normalise_uuid(item.text)]
        except ValueError:
            return []

    def selected(self, path: TreePath, selection: Selectors) -> Selected:
        """The selection with its files' UUIDs; of a plan without problems. Those of a wave pick among the targets."""
        sources = [("uuids", tuple(dict.fromkeys(selection.uuids)))] if selection.uuids else []
        sources += [(name, tuple(self._lists[name].uuids)) for name in self._names.get(path, [])]
        return Selected(
            uuids=tuple(dict.fromkeys(uuid for _, uuids in sources for uuid in uuids)),
            where=selection.where,
            may_be_empty=isinstance(selection, Selection) and selection.may_be_empty,
            sources=tuple(sources),
        )


def _wave_paths(checked: Checked) -> list[TreePath]:
    """Where the waves of a plan are."""
    spot = checked.places.get(("waves",))
    if spot is None or not isinstance(spot.node, Listing):
        return []
    return [("waves", index) for index in range(len(spot.node.items))]


def _parse(content: str, *, json: bool) -> Parsed:
    forbidden = list(_FORBIDDEN.finditer(content))[:_MOST_FORBIDDEN]
    if forbidden:
        lines = Lines(content)
        message = "found the control character {}; a plan is plain text, remove it"
        return Parsed(problems=[(lines.place(at.start()), message.format(shown(at[0]))) for at in forbidden])
    parsed = parse_json(content) if json else parse_yaml(content)
    empty = parsed.root is None or (isinstance(parsed.root, Scalar) and parsed.root.value is None)
    if empty and not parsed.problems:
        return Parsed(problems=[(None, "the file is empty; a plan begins with `version: 1`")])
    return parsed


def _read(path: Path) -> str | Problem:
    """The file's text, or why there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        # ValueError is what Python makes of a path that holds a NUL.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Problem(str(path), None, None, f"cannot be read: {reason}; name an existing, readable file")
    if len(data) > LARGEST:
        return Problem(str(path), None, None, f"is larger than {LARGEST // 1024 // 1024} MiB; is it the right file?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        place = Lines(before).place(len(before))
        message = f"found the byte 0x{data[error.start]:02x}, which is not UTF-8; save the file as UTF-8"
        return Problem(str(path), place.line, place.column, message)


def _problem(file: str, place: Place | None, message: str) -> Problem:
    return Problem(file, place.line if place else None, place.column if place else None, message)
