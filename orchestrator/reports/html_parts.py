"""Pieces of the HTML report that its sections share; whatever comes from outside is escaped here."""

import html
from collections.abc import Iterable, Iterator
from itertools import islice

from orchestrator.model.safe import clip

LONGEST_LIST = 200
"""Rows of any table but the VMs'; the rest is counted."""


def show(kind: str, value: str, text: str, limit: int) -> str:
    """Words that a click turns into a filter of the table."""
    return f'<button type="button" class="show" data-{kind}="{data(value, limit)}">{text}</button>'


def table(title: str, aside: str, columns: tuple[str, ...], rows: Iterable[str], total: int) -> Iterator[str]:
    """A section that is a table; nothing where it has no row."""
    if total:
        yield f"<h2>{title}" + (f" <small>{data(aside, 300)}</small>" if aside else "") + "</h2>"
        yield from rows_of(columns, rows, total)


def rows_of(columns: tuple[str, ...], rows: Iterable[str], total: int) -> Iterator[str]:
    """A table's rows beneath their columns, as many as are shown."""
    if not total:
        return
    yield '<div class="scroll"><table><thead><tr>' + "".join(f"<th>{column}</th>" for column in columns)
    yield "</tr></thead><tbody>"
    yield from islice(rows, LONGEST_LIST)
    yield "</tbody></table></div>"
    if total > LONGEST_LIST:
        yield f'<p class="more">and {total - LONGEST_LIST} more</p>'


def bullets(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A section that is a list; nothing where it has no line."""
    items = list(lines)
    if items:
        yield f"<h2>{title}</h2>\n<ul>"
        yield from (f"<li>{data(line, 500)}</li>" for line in items[:LONGEST_LIST])
        if len(items) > LONGEST_LIST:
            yield f"<li>and {len(items) - LONGEST_LIST} more</li>"
        yield "</ul>"


def some(words: tuple[str, ...]) -> str:
    """The first of them, and how many more."""
    more = f", and {len(words) - 20} more" if len(words) > 20 else ""
    return ", ".join(clip(word, 80) for word in words[:20]) + more


def data(text: str | None, limit: int = 120) -> str:
    """Text from outside, cut and escaped."""
    return html.escape(clip(text, limit)) if text else ""
