"""YAML 1.2 into a tree with places.

Built from the parser's events, not by a constructor: no tag is ever acted upon, nesting costs no stack, aliases are
counted before they multiply, and every problem keeps its place.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
)

from orchestrator.plan.tree import (
    DEEPEST,
    Entry,
    Lines,
    Listing,
    Mapping,
    Node,
    Parsed,
    Place,
    Scalar,
    number_problem,
    text_problem,
)
from orchestrator.plan.wording import shown, visible
from orchestrator.plan.yaml_scalars import plain_value

MOST_ALIASED = 10_000
"""Values that aliases may repeat in one file. Nested aliases double with each level; this stops them early."""


_TOO_DEEP = f"nested more than {DEEPEST} levels deep; a plan needs six"


class _Anchored(NamedTuple):
    """What an alias repeats: `size` values on `height` levels."""

    node: Node
    size: int
    height: int


class _GiveUpError(Exception):
    """The file cannot be read any further."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet.

    `size` counts its values, `height` its levels so far; `key` is the mapping's key that waits for its value.
    """

    node: Listing | Mapping
    anchor: str | None
    size: int = 1
    height: int = 1
    key: tuple[str | None, Place] | None = None
    seen: dict[str, Place] = field(default_factory=dict)


def parse_yaml(text: str) -> Parsed:
    """The tree of the one document in `text`, and everything that is wrong with its form."""
    builder = _Builder(text)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except _GiveUpError as error:
        builder.parsed.problems.append((error.place, error.message))
        builder.parsed.root = None
    except MarkedYAMLError as error:
        builder.parsed.problems.append(_syntax_problem(error, text, builder.lines))
        builder.parsed.root = None
    except Exception as error:  # the parser lets ValueError, OverflowError and such through for odd escapes
        builder.parsed.problems.append((builder.last, f"not valid YAML near here: {visible(str(error), 200)}"))
        builder.parsed.root = None
    return builder.parsed


class _Builder:
    """Takes the parser's events one by one and grows the tree."""

    def __init__(self, text: str) -> None:
        self.lines = Lines(text)
        self.parsed = Parsed()
        self.last = Place(1, 1)
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._aliased = 0
        self._documents = 0

    def take(self, event: Event) -> None:
        """One event, in the order of the file."""
        place = self.last = self.lines.place(event.start_mark.index)
        match event:
            case DocumentStartEvent():
                self._begin(event, place)
            case ScalarEvent():
                self._refuse_tag(event, place)
                scalar = self._scalar(event, place)
                if event.anchor:
                    self._anchors[event.anchor] = _Anchored(scalar, 1, 0)
                self._add(scalar, 1, 0)
            case AliasEvent():
                self._alias(str(event.anchor), place)
            case CollectionStartEvent():
                self._refuse_tag(event, place)
                self._descend(event, place)
            case CollectionEndEvent():
                done = self._open.pop()
                if done.anchor:
                    self._anchors[done.anchor] = _Anchored(done.node, done.size, done.height)
                self._add(done.node, done.size, done.height)
            case _:
                pass

    def _begin(self, event: DocumentStartEvent, place: Place) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _GiveUpError(place, "a second document begins; a plan is one document, so remove this `---`")
        if event.version is not None and tuple(event.version) != (1, 2):
            raise _GiveUpError(place, "a plan is YAML 1.2; remove the `%YAML` line")

    def _refuse_tag(self, event: ScalarEvent | CollectionStartEvent, place: Place) -> None:
        if event.tag is not None:
            self.parsed.problems.append((place, f"found the YAML tag {shown(str(event.tag))}; plans have none, remove it"))

    def _scalar(self, event: ScalarEvent, place: Place) -> Scalar:
        text = str(event.value)
        quoted = event.style is not None
        value = text if quoted or event.tag is not None else plain_value(text)
        problem = number_problem(value) or text_problem(value)
        if problem:
            self.parsed.problems.append((place, problem))
            value = None if text_problem(value) is None else "?"
        return Scalar(value, text, quoted, place)

    def _alias(self, name: str, place: Place) -> None:
        if name not in self._anchors:
            raise _GiveUpError(
                place,
                f"found the alias {shown('*' + name)}, and no anchor of that name before it; quote the "
                "text if it begins with `*`",
            )
        known = self._anchors[name]
        if known is None:
            raise _GiveUpError(place, f"the alias {shown('*' + name)} stands inside what it repeats; write the values out")
        node, size, height = known
        self._aliased += size
        if len(self._open) + height > DEEPEST:
            raise _GiveUpError(place, _TOO_DEEP)
        if self._aliased > MOST_ALIASED:
            raise _GiveUpError(place, f"aliases repeat more than {MOST_ALIASED} values; write the values out")
        self._add(node if not isinstance(node, Scalar) else Scalar(node.value, node.text, node.quoted, place), size, height)

    def _descend(self, event: CollectionStartEvent, place: Place) -> None:
        if len(self._open) >= DEEPEST:
            raise _GiveUpError(place, _TOO_DEEP)
        flow = bool(event.flow_style)
        node = Mapping([], flow, place) if isinstance(event, MappingStartEvent) else Listing([], flow, place)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(node, event.anchor))

    def _add(self, node: Node, size: int, height: int) -> None:
        if not self._open:
            self.parsed.root = node
            return
        parent = self._open[-1]
        parent.size += size
        parent.height = max(parent.height, height + 1)
        if isinstance(parent.node, Listing):
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = (self._key(parent, node), self.last if isinstance(node, Scalar) else node.place)
        else:
            key, place = parent.key
            parent.key = None
            if key is not None:
                parent.node.entries.append(Entry(key, place, node))

    def _key(self, parent: _Open, node: Node) -> str | None:
        """The key as a text, or None after saying why its entry is left out."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            found = shown(node.text) if isinstance(node, Scalar) else "a list or mapping"
            self.parsed.problems.append((node.place, f"found {found} as a key; keys are texts"))
            return None
        if node.value in parent.seen:
            first = parent.seen[node.value]
            self.parsed.problems.append(
                (node.place, f"the key {shown(node.value)} is already in line {first.line}; write each key once")
            )
            return None
        parent.seen[node.value] = node.place
        return node.value


def _syntax_problem(error: MarkedYAMLError, text: str, lines: Lines) -> tuple[Place | None, str]:
    mark = error.problem_mark or error.context_mark
    position = min(mark.index, len(text)) if mark else 0
    if text[position : position + 1] == "\t":
        return lines.place(position), "found a tab; YAML is indented with spaces"
    what = ", ".join(str(part) for part in (error.problem, error.context) if part)
    hint = _remedy(what)
    return lines.place(position), f"not valid YAML: {visible(what, 200)}{hint}"


def _remedy(problem: str) -> str:
    if "cannot start any token" in problem or "mapping values are not allowed" in problem:
        return "; put the text into quotes"
    if "flow" in problem:
        return "; inside brackets, put a text that holds `{`, `[`, `,` or `: ` into quotes"
    return ""
