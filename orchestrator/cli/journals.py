"""The journal, opened to be read by a command."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path

import anyio
from pydantic import ValidationError

from orchestrator import app
from orchestrator.errors import JournalError, UnknownRunError
from orchestrator.journal.sqlite import SqliteJournal


@contextmanager
def reading(url: str | None, run: str | None = None) -> Iterator[SqliteJournal]:
    """The journal, read-only, closed afterwards. Where none is, a `run` asked for is not known."""
    path = app.journal_path(url)
    if run is not None and not path.exists():
        raise UnknownRunError(
            f"no run is called {run!r}, there is no journal at {path}: no run was made yet, or give --journal PATH"
        )
    journal = app.open_journal(url, read_only=True)
    try:
        with told_if_damaged(path):
            yield journal
    finally:
        anyio.run(journal.close)


@contextmanager
def told_if_damaged(path: Path) -> Iterator[None]:
    """What a damaged journal does to a reader becomes one sentence."""
    try:
        yield
    except (sqlite3.Error, ValidationError, JSONDecodeError) as error:
        words = "a row of it makes no sense" if isinstance(error, ValueError) else str(error)
        raise JournalError(
            f"the journal {path} cannot be read ({words}): it is damaged or no journal of this program; "
            "keep a copy, and give another one with --journal PATH"
        ) from None
