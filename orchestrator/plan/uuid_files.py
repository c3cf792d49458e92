"""Files of UUIDs: one a line with `#` comments, or CSV with a `uuid` column."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.plan.tree import Place
from orchestrator.plan.uuids import normalise_uuid
from orchestrator.plan.wording import shown, visible

MOST_PROBLEMS = 1_000
"""Bad lines that are told one by one; a picture given as a list of UUIDs has millions."""

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(slots=True)
class UuidList:
    """What a file of UUIDs holds: each once and in its order, what is wrong with it and what is odd, with places."""

    uuids: list[str] = field(default_factory=list)
    problems: list[tuple[Place | None, str]] = field(default_factory=list)
    warnings: list[tuple[Place | None, str]] = field(default_factory=list)


def parse_uuid_file(text: str, *, is_csv: bool) -> UuidList:
    """The UUIDs in `text`. A file without any is a problem, as it was surely meant to hold some."""
    found = UuidList()
    first_seen: dict[str, int] = {}
    cells = _csv_cells(text, found) if is_csv else _words(text)
    for place, word in cells:
        try:
            uuid = normalise_uuid(word)
        except ValueError as error:
            found.problems.append((place, str(error)))
            if len(found.problems) > MOST_PROBLEMS:
                found.problems[-1] = (place, "more bad lines follow; is this a list of UUIDs?")
                break
            continue
        if uuid in first_seen:
            found.warnings.append((place, f"{uuid} is already in line {first_seen[uuid]}; it counts once"))
        else:
            first_seen[uuid] = place.line
    found.uuids = list(first_seen)
    if not found.uuids and not found.problems:
        found.problems.append((None, "the file names no UUID; write one a line, or leave the file out of the plan"))
    return found


def _words(text: str) -> Iterator[tuple[Place, str]]:
    """What stands in each line before its comment."""
    for number, line in enumerate(_LINE_END.split(text), start=1):
        content = line.partition("#")[0]
        word = content.strip()
        if word:
            yield Place(number, content.index(word) + 1), word


def _csv_cells(text: str, found: UuidList) -> Iterator[tuple[Place, str]]:
    """The cells of the `uuid` column."""
    lines = text.splitlines(keepends=True)
    header_at = next((index for index, line in enumerate(lines) if line.strip()), None)
    if header_at is None:
        return
    delimiter = _delimiter(lines[header_at])
    rows = csv.reader(lines[header_at:], delimiter=delimiter, strict=True)
    column: int | None = None
    number = header_at + 1
    try:
        for row in rows:
            if column is None:
                column = _uuid_column(row, Place(number, 1), found)
                if column is None:
                    return
            elif any(cell.strip() for cell in row):
                cell = row[column] if column < len(row) else ""
                position = lines[number - 1].find(cell.strip()) if cell.strip() else 0
                yield Place(number, max(position, 0) + 1), cell
            number = header_at + rows.line_num + 1
    except csv.Error as error:
        found.problems.append((Place(min(number, len(lines)), 1), f"not valid CSV: {visible(str(error))}"))


def _delimiter(header: str) -> str:
    """The sign between the columns: the one that leaves a `uuid` column, or else the most frequent."""
    for sign in ",;\t":
        if any(_is_uuid(cell) for cell in header.split(sign)):
            return sign
    return max(",;\t", key=header.count)


def _is_uuid(cell: str) -> bool:
    return cell.strip().strip('"').strip().lower() == "uuid"


def _uuid_column(header: list[str], place: Place, found: UuidList) -> int | None:
    columns = [index for index, cell in enumerate(header) if _is_uuid(cell)]
    if len(columns) == 1:
        return columns[0]
    if columns:
        found.problems.append((place, f"the header has {len(columns)} columns called `uuid`; leave one"))
    else:
        found.problems.append(
            (
                place,
                f"the header has no column called `uuid`; found {shown(', '.join(header))}. Name the column, or "
                "end the file's name in .txt if it has one UUID a line",
            )
        )
    return None
