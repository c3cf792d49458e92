"""Journals of other versions: an older one is brought up to date and loses nothing, a newer one is left alone."""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal import store
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.outcome import STOPPED, Outcome
from tests.cli.support import Cli, refused
from tests.contract.journals import ME

VERSION_1 = (Path(__file__).parents[2] / "data" / "journal-v1.sql").read_text("utf-8")
FINISHED, KILLED, UNSENT = "20261028T140000Z-0a1b", "20261028T150000Z-2c3d", "20261028T160000Z-4e5f"
TABLES = {"run": 3, "vm": 6, "attempt": 4, "event": 19}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal that the first version wrote."""
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.executescript(VERSION_1)
    return path


def version(path: Path) -> int:
    """The schema's version in the file."""
    with closing(sqlite3.connect(path)) as other:
        found = other.execute("PRAGMA user_version").fetchone()[0]
        assert isinstance(found, int)
        return found


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the first version's tables."""
    with closing(sqlite3.connect(path)) as other:
        return {table: other.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


def schema(path: Path) -> set[tuple[str, str]]:
    """Every table and index, as written."""
    with closing(sqlite3.connect(path)) as other:
        return set(other.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())


def check_readable(journal: SqliteJournal) -> None:
    """All that the first version wrote can be read."""
    assert [run.id for run in journal.runs()] == [UNSENT, KILLED, FINISHED]
    report = journal.report(FINISHED).document()
    assert (report.run.status, report.run.exit_code, report.run.reference) == ("finished", 1, "CHG-20417")
    assert (report.totals["targets"], report.totals["stopped_clean"], report.totals["failed"]) == (3, 2, 1)
    assert [cause.cause for cause in report.causes] == ["VM.1002 <- HOST.1006"]
    assert len(report.hosts) == 2
    failed = next(vm for vm in report.vms if vm.outcome is Outcome.FAILED)
    vm, events = journal.vm(FINISHED, failed.uuid)
    assert vm == failed
    assert [attempt.result for attempt in vm.attempts] == ["failed"]
    assert [event.kind for event in events] == ["vm.started", "vm.sending", "vm.sent", "vm.outcome"]
    under_way = journal.report(KILLED).document()
    assert (under_way.run.status, under_way.totals["targets"]) == ("running", 2)
    assert [len(vm.attempts) for vm in under_way.vms] == [1, 0]
    assert journal.lock(KILLED) is None
    assert journal.states(KILLED) == {}
    assert json.loads(journal.plan_file(KILLED)["text"])["name"] == "rack-13-power"


async def test_an_old_journal_is_brought_up_to_date(path: Path) -> None:
    """Opened for writing it gets the new tables, no row changes, and all of it is readable."""
    before = content(path)
    assert {table: len(rows) for table, rows in before.items()} == TABLES
    journal = SqliteJournal(path)
    check_readable(journal)
    await journal.close()
    assert version(path) == store.SCHEMA_VERSION
    assert content(path) == before


async def test_an_old_journal_knows_how_long_vms_take(path: Path) -> None:
    """The stops of before its migration count for forecasts."""
    journal = SqliteJournal(path)
    vms = journal.report(FINISHED).document().vms
    stopped = {vm.uuid: (vm.elapsed_seconds,) for vm in vms if vm.outcome in STOPPED and vm.elapsed_seconds}
    assert stopped
    assert journal.took("stop", [vm.uuid for vm in vms]) == stopped
    await journal.close()


async def test_an_old_journal_becomes_what_a_new_one_is(path: Path, tmp_path: Path) -> None:
    """Tables and indexes of a migrated journal are those of one made today, to the letter."""
    new = tmp_path / "new.sqlite"
    for each in (path, new):
        await SqliteJournal(each).close()
    assert schema(path) == schema(new)


async def test_an_old_journal_serves_new_runs(path: Path) -> None:
    """A run of the first version can be locked and carried on in its journal."""
    journal = SqliteJournal(path)
    assert await journal.take_over(UNSENT, ME) is None
    run = journal.report(UNSENT).run
    await journal.carry_on(run.model_copy(update={"resumed_at": ("2026-10-28T17:00:00Z",)}))
    assert journal.report(UNSENT).run.resumed_at == ("2026-10-28T17:00:00Z",)
    await journal.close()


async def test_reading_an_old_journal_changes_nothing(path: Path) -> None:
    """Opened read-only it is readable, not a byte of it changes, and it stays a journal of its version."""
    before = path.read_bytes()
    journal = SqliteJournal(path, read_only=True)
    check_readable(journal)
    await journal.close()
    assert path.read_bytes() == before
    assert version(path) == 1


async def test_a_reader_does_not_mind_a_migration(path: Path) -> None:
    """Who reads an old journal while another brings it up to date reads on."""
    reader = SqliteJournal(path, read_only=True)
    await SqliteJournal(path).close()
    check_readable(reader)
    await reader.close()


def test_several_who_open_it_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that come to an old journal at the same moment all get it, and it is brought up to date once."""
    statements: list[str] = []
    many, real = 6, store._migrate
    barrier = threading.Barrier(many)

    def traced(connection: sqlite3.Connection) -> None:
        barrier.wait(30)  # each has seen version 1 by now
        connection.set_trace_callback(statements.append)
        real(connection)

    monkeypatch.setattr(store, "_migrate", traced)
    before = content(path)
    with ThreadPoolExecutor(many) as threads:
        for connection in threads.map(lambda _: store.open_database(str(path)), range(many)):
            connection.close()
    assert sum("CREATE TABLE lock" in statement for statement in statements) == 1
    assert statements.count("COMMIT") == many
    assert version(path) == store.SCHEMA_VERSION
    assert content(path) == before


@pytest.mark.parametrize("broken", ["CREATE TABLE run (id)", "INSERT INTO run VALUES (1, 2)", "nonsense"])
async def test_a_migration_that_fails_leaves_all_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """One sentence, version 1 with every row and without half a schema; the next try brings it up to date."""
    before = content(path), schema(path)
    with monkeypatch.context() as failing:
        failing.setattr(store, "_STEPS", (*store._STEPS[:-1], f"{store._STEPS[-1]}{broken};"))
        with pytest.raises(JournalError, match="--journal PATH"):
            SqliteJournal(path)
    assert version(path) == 1
    assert (content(path), schema(path)) == before
    journal = SqliteJournal(path)
    check_readable(journal)
    await journal.close()


async def test_a_disk_that_is_full_during_a_migration(path: Path) -> None:
    """Where there is no room for the new tables, the old journal stays whole and readable."""
    before = content(path)
    real = store._prepare

    def cramped(connection: sqlite3.Connection, *, read_only: bool) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
        real(connection, read_only=read_only)

    with pytest.MonkeyPatch.context() as full:
        full.setattr(store, "_prepare", cramped)
        with pytest.raises(JournalError, match=r"full.*--journal PATH"):
            SqliteJournal(path)
    assert version(path) == 1
    assert content(path) == before


@pytest.mark.parametrize(
    "command", [("runs",), ("show", "last"), ("report", "last", "--format", "csv"), ("resume", "last", "--yes")]
)
def test_a_newer_journal_is_left_alone(path: Path, command: tuple[str, ...]) -> None:
    """Every command refuses a journal of a later version with one sentence, and not a byte of it changes."""
    with closing(sqlite3.connect(path)) as made:
        made.execute(f"PRAGMA user_version={store.SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    refused(Cli(path.parent).inside(*command), 3, "newer version", "--journal PATH")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("runs",), KILLED),
        (("show", FINISHED), "VM.1002 <- HOST.1006"),
        (("show", FINISHED, "d519a45d6e1af15a6ac237647f24bd7d"), "vm.sent"),
        (("report", KILLED, "--format", "markdown"), "not finished"),
        (("report", FINISHED, "--format", "html"), "rack-12-power"),
    ],
)
def test_commands_read_an_old_journal(path: Path, command: tuple[str, ...], word: str) -> None:
    """`runs`, `show` and `report` tell of the first version's runs, and leave the file as it is."""
    before = path.read_bytes()
    done = Cli(path.parent).inside(*command)
    assert done.code == 0, done
    assert word in done.out
    assert path.read_bytes() == before
