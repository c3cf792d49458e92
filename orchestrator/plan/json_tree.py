"""JSON into a tree with places. The standard parser judges the syntax; a second pass only finds the places."""

import json
import re
from typing import NoReturn

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
from orchestrator.plan.wording import shown
from orchestrator.plan.yaml_scalars import LONGEST_NUMBER

_BLANKS = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"[-+.0-9A-Za-z]+")
_STRINGS = json.JSONDecoder()
_WORDS = {"true": True, "false": False, "null": None}


def parse_json(text: str) -> Parsed:
    """The tree of `text`, and everything that is wrong with its form."""
    parsed = Parsed()
    lines = Lines(text)
    if not text.strip(" \t\r\n"):
        return parsed
    try:
        # Numbers are not converted: a whole number of a million digits would take minutes.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
        _Scanner(text, lines, parsed).read()
    except json.JSONDecodeError as error:
        parsed.problems.append((lines.place(error.pos), f"not valid JSON: {error.msg}"))
    except _ConstantError as error:
        position = re.search(rf"(?<![\w\"]){re.escape(error.word)}(?![\w\"])", text)
        place = lines.place(position.start()) if position else None
        parsed.problems.append((place, f"found {error.word}, which is not JSON; write an ordinary number"))
    except (RecursionError, _TooDeepError):
        parsed.problems.append((None, f"nested more than {DEEPEST} levels deep; a plan needs six"))
        parsed.root = None
    return parsed


class _ConstantError(Exception):
    """NaN or an infinity, which the standard parser would take."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class _TooDeepError(Exception):
    """More levels than are followed."""


def _no_constant(word: str) -> NoReturn:
    raise _ConstantError(word)


class _Scanner:
    """Walks over a text already known to be JSON."""

    def __init__(self, text: str, lines: Lines, parsed: Parsed) -> None:
        self._text = text
        self._lines = lines
        self._parsed = parsed

    def read(self) -> None:
        """Fill in the tree."""
        self._parsed.root, _ = self._value(self._skip(0), 0)

    def _skip(self, position: int) -> int:
        match = _BLANKS.match(self._text, position)
        return match.end() if match else position

    def _value(self, position: int, depth: int) -> tuple[Node, int]:
        if depth > DEEPEST:
            raise _TooDeepError
        match self._text[position]:
            case "{":
                return self._mapping(position, depth)
            case "[":
                return self._listing(position, depth)
            case '"':
                place = self._lines.place(position)
                text, end = _STRINGS.raw_decode(self._text, position)
                return Scalar(self._sound(text, place), text, True, place), end
            case _:
                return self._word(position)

    def _word(self, position: int) -> tuple[Node, int]:
        place = self._lines.place(position)
        match = _WORD.match(self._text, position)
        assert match is not None, "the standard parser has judged this text"
        word = match[0]
        value: int | float | bool | None
        if word in _WORDS:
            value = _WORDS[word]
        elif re.fullmatch(r"-?[0-9]+", word):
            value = int(word) if len(word) <= LONGEST_NUMBER else float("inf")
        else:
            value = float(word)
        problem = number_problem(value)
        if problem:
            self._parsed.problems.append((place, problem))
            value = None
        return Scalar(value, word, False, place), match.end()

    def _listing(self, position: int, depth: int) -> tuple[Node, int]:
        listing = Listing([], True, self._lines.place(position))
        position = self._skip(position + 1)
        while self._text[position] != "]":
            item, position = self._value(position, depth + 1)
            listing.items.append(item)
            position = self._after_comma(position)
        return listing, position + 1

    def _mapping(self, position: int, depth: int) -> tuple[Node, int]:
        mapping = Mapping([], True, self._lines.place(position))
        seen: dict[str, Place] = {}
        position = self._skip(position + 1)
        while self._text[position] != "}":
            place = self._lines.place(position)
            key, position = _STRINGS.raw_decode(self._text, position)
            colon = self._skip(position)
            node, position = self._value(self._skip(colon + 1), depth + 1)
            position = self._after_comma(position)
            if key in seen:
                message = f"the key {shown(key)} is already in line {seen[key].line}; write each key once"
                self._parsed.problems.append((place, message))
                continue
            seen[key] = place
            mapping.entries.append(Entry(self._sound(key, place), place, node))
        return mapping, position + 1

    def _after_comma(self, position: int) -> int:
        position = self._skip(position)
        return self._skip(position + 1) if self._text[position] == "," else position

    def _sound(self, text: str, place: Place) -> str:
        """The text, or "?" in its stead after saying why it is refused."""
        problem = text_problem(text)
        if problem is None:
            return text
        self._parsed.problems.append((place, problem))
        return "?"
