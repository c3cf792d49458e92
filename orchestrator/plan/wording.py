"""How a value from a file is shown in a message, and how a better word is suggested."""

import difflib
from collections.abc import Iterable

LONGEST_SHOWN = 60
"""Characters of a value that a message shows; longer ones lose their middle, since both ends help to find them."""


def shown(text: str) -> str:
    """The text in double quotes, shortened when long, with control and invisible characters made visible."""
    return f'"{visible(text)}"'


def visible(text: str, longest: int = LONGEST_SHOWN) -> str:
    """The same without quotes, for text that a message suggests; `longest` counts characters."""
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[-longest // 4 :]}"
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, or None where none is near. Case does not count."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    wanted = word.strip().lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(wanted[:100], list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def listed(words: Iterable[str]) -> str:
    """The words as a message lists them: `grace` or `cold`."""
    quoted = [f"`{word}`" for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"
