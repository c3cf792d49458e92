"""The journal, opened to be read by a command."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from orchestrator import app
from orchestrator.errors import UnknownRunError
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
        yield journal
    finally:
        anyio.run(journal.close)


@contextmanager
def reading_if_any(url: str | None) -> Iterator[SqliteJournal | None]:
    """The journal, read-only, closed afterwards; None where none was made yet."""
    if not app.journal_path(url).exists():
        yield None
        return
    with reading(url) as journal:
        yield journal
