"""A file as a tree whose every key and value knows its place. YAML and JSON are both read into this one form."""

import bisect
import math
import re
from dataclasses import dataclass, field
from typing import TypeAlias

DEEPEST = 64
"""Levels of nesting that are followed. A plan needs six; anything deeper is an accident or an attack."""

Path: TypeAlias = tuple[str | int, ...]
"""Where a value sits: keys and positions from the root."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column of one file, both counting from 1."""

    line: int
    column: int


class Lines:
    """Turns a position in a text into a place, with the line ends editors know: LF, CRLF and CR."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", text))]

    def place(self, position: int) -> Place:
        """The place of the character at `position`, which counts from 0."""
        line = bisect.bisect_right(self._starts, position)
        return Place(line, position - self._starts[line - 1] + 1)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `text` is as written, without quotes; `quoted` says whether it had some."""

    value: str | int | float | bool | None
    text: str
    quoted: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Listing:
    """A list. `flow` says that it was written in brackets."""

    items: "list[Node]"
    flow: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, with its place and its value."""

    key: str
    place: Place
    node: "Node"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping whose keys are all texts, in the order of the file."""

    entries: list[Entry]
    flow: bool
    place: Place

    def get(self, key: str) -> "Node | None":
        """The value of a key, or None where the mapping lacks it."""
        return next((entry.node for entry in self.entries if entry.key == key), None)


Node: TypeAlias = Scalar | Listing | Mapping


@dataclass(slots=True)
class Parsed:
    """What a parser made of a text: the tree, None where there is none, and what was wrong, each at its place.

    A problem without a place is about the whole file.
    """

    root: Node | None = None
    problems: list[tuple[Place | None, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Located:
    """One value on its path: the place of its key (its own, in a list) and the value."""

    key_place: Place
    node: Node


def located(root: Node) -> dict[Path, Located]:
    """Every value of the tree by its path."""
    found: dict[Path, Located] = {(): Located(root.place, root)}
    waiting: list[tuple[Path, Node]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        children: list[tuple[str | int, Place, Node]] = []
        match node:
            case Mapping():
                children = [(entry.key, entry.place, entry.node) for entry in node.entries]
            case Listing():
                children = [(index, item.place, item) for index, item in enumerate(node.items)]
            case Scalar():
                pass
        for step, key_place, child in children:
            found[*path, step] = Located(key_place, child)
            waiting.append(((*path, step), child))
    return found


def plain(node: Node) -> object:
    """The values alone, lists as tuples. Safe to recurse: parsers bound the depth."""
    match node:
        case Scalar():
            return node.value
        case Listing():
            return tuple(plain(item) for item in node.items)
        case Mapping():
            return {entry.key: plain(entry.node) for entry in node.entries}


def number_problem(value: object) -> str | None:
    """Why a number is refused wherever it stands, or None."""
    if isinstance(value, float) and not math.isfinite(value):
        return "found a number that is not finite; write an ordinary number"
    return None


def text_problem(value: object) -> str | None:
    """Why a text is refused wherever it stands, or None. Half a surrogate pair could not be written to any file."""
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return "found half of a surrogate pair, which is no character; write the character itself"
    return None
