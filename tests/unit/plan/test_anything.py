"""Whatever a file holds, it loads or is refused as a plan: nothing else ever escapes."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import PlanError, Problem
from orchestrator.plan.load import load_plan
from orchestrator.plan.tree import plain
from orchestrator.plan.yaml_tree import parse_yaml
from tests.unit.plan.examples import FULL, GOOD, MAINTENANCE, load

EVERY = GOOD | {"maintenance": MAINTENANCE}
TREES = [plain(root) for text in (FULL, MAINTENANCE) if (root := parse_yaml(text).root) is not None]
PIECES = [
    "- ",
    ": ",
    "\n",
    "  ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!",
    "|",
    ">",
    '"',
    "'",
    "#",
    "? ",
    "<<",
    "---\n",
    "\t",
    "%",
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["90s", "a=b", ""])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def outcome(load_it: Callable[[], object]) -> tuple[Problem, ...]:
    """The problems of a plan, none if it loads. Any other exception escapes and fails the test."""
    try:
        load_it()
    except PlanError as error:
        return error.problems or (Problem("", 0, 0, ""),)
    return ()


def loads_or_is_refused(text: str, *, json: bool) -> None:
    """Either a plan, or at least one problem, with a printable sentence and a place in the file."""
    for problem in outcome(lambda: load(text, json=json)):
        assert problem.message
        assert problem.message.isprintable()
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + text.count("\r") + 1


@pytest.mark.parametrize("as_json", [False, True])
@given(text=st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join))
def test_any_text(text: str, as_json: bool) -> None:
    """Any text loads or is refused."""
    loads_or_is_refused(text, json=as_json)


@given(data=st.binary(max_size=200), suffix=st.sampled_from([".yaml", ".json"]))
def test_any_bytes(data: bytes, suffix: str) -> None:
    """Any bytes load or are refused, in the plan and in its UUID files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"plan{suffix}"
        path.write_bytes(data)
        (Path(folder) / "a.csv").write_bytes(b"uuid,b\n" + data)
        (Path(folder) / "a.txt").write_bytes(data)
        good = Path(folder) / "good.yaml"
        good.write_text("version: 1\nname: a\ntargets: {uuid_files: [a.csv, a.txt]}\n")
        for each in (path, good):
            assert all(problem.message for problem in outcome(lambda each=each: load_plan(each)))  # type: ignore[misc]


@settings(max_examples=80)
@given(
    name=st.sampled_from(sorted(EVERY)),
    start=st.integers(0, 1200),
    length=st.integers(0, 30),
    piece=st.sampled_from(PIECES) | st.text(max_size=4),
)
def test_damaged_text(name: str, start: int, length: int, piece: str) -> None:
    """A good plan with a piece cut out and another put in loads or is refused."""
    text = EVERY[name]
    loads_or_is_refused(text[:start] + piece + text[start + length :], json=False)


@settings(max_examples=120)
@given(st.data())
def test_damaged_structure(data: st.DataObject) -> None:
    """A good plan whose keys are dropped, renamed, retyped or doubled loads or is refused."""
    tree = json.loads(json.dumps(data.draw(st.sampled_from(TREES))))
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and data.draw(st.booleans()):
                node = node[key]
                continue
            match data.draw(st.sampled_from(["drop", "rename", "retype", "double"])):
                case "drop":
                    del node[key]
                case "rename" if isinstance(node, dict):
                    node[str(key) + data.draw(st.text(max_size=2))] = node.pop(key)
                case "double" if isinstance(node, list):
                    node.append(node[key])
                case _:
                    node[key] = data.draw(VALUES)
            break
    text = json.dumps(tree)
    for as_json in (True, False):
        loads_or_is_refused(text, json=as_json)
