"""The journal, opened to be read by a command."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from orchestrator import app
from orchestrator.errors import UnknownRunError
from orchestrator.journal.interface import Journal
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.report import RunRecord


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


def vm_named(journal: Journal, run: RunRecord, name: str, *, what: str = "target") -> str:
    """A run's VM by UUID or by a unique name. Raises UnknownRunError; `what` is the word there for what it should be."""
    plain = name.replace("-", "").lower()
    found = [uuid for uuid in journal.uuids(run.id) if uuid == plain]
    found = found or [vm.uuid for vm in journal.vms(run.id) if vm.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownRunError(f"{len(found)} targets of run {run.id} are called {name!r}: give the UUID of one")
    raise UnknownRunError(
        f"{name!r} is no {what} of run {run.id}: give a UUID or a name from 'orchestrator report {run.id} --format csv'"
    )


@contextmanager
def reading_if_any(url: str | None) -> Iterator[SqliteJournal | None]:
    """The journal, read-only, closed afterwards; None where none was made yet."""
    if not app.journal_path(url).exists():
        yield None
        return
    with reading(url) as journal:
        yield journal
