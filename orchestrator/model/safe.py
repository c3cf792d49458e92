"""Text from outside, made safe to show: names and errors are data and may hold anything."""

import re
import unicodedata

# What a reader cannot see or what changes what he sees: control characters, line and paragraph separators,
# bidi controls, characters without width, lone surrogates, noncharacters and tags. The joiners U+200C and
# U+200D stay: several scripts are misspelt without them.
UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    r"\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def visible(text: str) -> str:
    r"""The text on one line with everything unseen written out: an escape becomes `\x1b`, a newline `\n`.

    The result encodes as UTF-8 and holds no character that XML forbids. A backslash that was there stays
    single: this is for reading, not for parsing back.
    """
    return UNSEEN.sub(_escape, text)


def columns(text: str) -> int:
    """How many terminal columns the text takes: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def clip(text: str, limit: int) -> str:
    """The text made visible and cut to `limit` columns, an ellipsis standing for the rest."""
    # No character shrinks when made visible, so more of the text than this cannot be needed.
    shown = visible(text[: limit + 1])
    if columns(shown) <= limit and len(text) <= limit:
        return shown
    kept, used = [], 0
    for character in shown:
        used += _width(character)
        if used > limit - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def one_line(text: str, limit: int = 300) -> str:
    """A name or words from outside within a line of our own: clipped, and every run of white space one space."""
    return clip(" ".join(text.split()), limit)


def wrap(text: str, *, width: int, first: str = "", rest: str = "") -> str:
    """The text in lines of at most `width` columns, with indents for the first line and for the others."""
    lines: list[str] = []
    line, bare = first, True
    for word in text.split(" "):
        todo = word
        if not bare and columns(line) + 1 + columns(todo) > width:
            lines.append(line)
            line, bare = rest, True
        while columns(line) + columns(todo) + (not bare) > width and len(todo) > 1:
            room = _room(todo, width - columns(line))
            lines.append(line + todo[:room])
            line, todo = rest, todo[room:]
        line += todo if bare else f" {todo}"
        bare = False
    lines.append(line)
    return "\n".join(lines)


def _room(word: str, limit: int) -> int:
    used = 0
    for index, character in enumerate(word):
        used += _width(character)
        if used > limit:
            return max(index, 1)
    return len(word)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
