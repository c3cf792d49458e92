"""A journal that cannot be written: before a run nothing is sent, in mid-run nothing more; one sentence and the code."""

import resource
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.run import JournalLostError
from orchestrator.journal.interface import JournalWriteError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.report import ReportDocument
from orchestrator.simulator import VmGroup
from tests.cli.support import Cli, Node, quick, refused
from tests.faults.trials import FaultTrial, group, start_with, stops
from tests.integration.conftest import Trial

Trials = Callable[..., FaultTrial]
Break = Callable[[Path, SqliteJournal], None]


# ── in mid-run ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def fill_the_disk(path: Path, journal: SqliteJournal) -> None:
    """No file of this process may grow any more: SQLite's own writes fail, and it has to make of that what it can."""
    size = max(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def connections(journal: SqliteJournal) -> list[sqlite3.Connection]:
    """The journal's connections."""
    return [value for value in vars(journal).values() if isinstance(value, sqlite3.Connection)]


def no_more_pages(path: Path, journal: SqliteJournal) -> None:
    """The database may not take one page more."""
    for connection in connections(journal):
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")


def make_read_only(path: Path, journal: SqliteJournal) -> None:
    """SQLite answers every write as it does on a medium that became read-only."""
    for connection in connections(journal):
        connection.execute("PRAGMA query_only = ON")


@contextmanager
def limits_kept() -> Iterator[None]:
    """What a test takes from this process, it gets back."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def lose_journal(run: FaultTrial, monkeypatch: pytest.MonkeyPatch, break_it: Break, after: int) -> JournalLostError:
    """Break the journal once so many stops are at the node; returns what the run says of it."""
    opened: list[SqliteJournal] = []

    def open_journal(path: Path) -> SqliteJournal:
        opened.append(SqliteJournal(path))
        return opened[0]

    monkeypatch.setattr(sys.modules[Trial.__module__], "SqliteJournal", open_journal)
    run.moments = [(stops(after), lambda run: break_it(opened[0].path, opened[0]))]
    with limits_kept(), pytest.RaisesGroup(pytest.RaisesExc(JournalLostError), flatten_subgroups=True) as caught:
        await run.go()
    assert run.came == 1
    error = caught.value.exceptions[0]
    assert isinstance(error, JournalLostError)
    return error


def journalled(run: FaultTrial) -> ReportDocument:
    """What the journal holds of the run."""
    journal = SqliteJournal(run.folder / "journal.sqlite", read_only=True)
    try:
        return journal.report(journal.runs()[0].id).document()
    finally:
        for connection in connections(journal):
            connection.close()


def hold_journal(run: FaultTrial) -> ReportDocument:
    """Every stop at the node has its intent in the journal, every outcome there is true, and nobody stopped a VM twice."""
    report = journalled(run)
    asked = run.node.record.requests
    for vm in report.vms:
        intents = {attempt.job_uuid for attempt in vm.attempts}
        sent = {r.job for r in asked if r.vm_uuid == vm.uuid and r.action == "stopVmInstance"}
        assert sent <= intents, f"{vm.name} was sent without an intent"
        assert len(sent) <= 1
        if vm.outcome is not None:
            assert vm.outcome == "stopped_clean"
            assert run.node.vms[vm.uuid].state == "Stopped"
        downs = [step for step in run.node.record.transitions_of(vm.uuid) if step.after == "Stopped"]
        assert len(downs) <= 1
    return report


BREAKS = [fill_the_disk, no_more_pages, make_read_only]


@pytest.mark.parametrize("break_it", BREAKS, ids=["file size", "pages", "read-only"])
@pytest.mark.parametrize("after", [1, 6])
async def test_a_journal_lost_in_mid_run(
    trial: Trials, monkeypatch: pytest.MonkeyPatch, break_it: Break, after: int
) -> None:
    """Disk full or read-only: all sending stops, what was sent has its intent, no outcome is invented, and the code is 4."""
    run = trial({"vms": [group("vm-{n}", {"shutdown": [3, 9]}, 30)]}, plan={"limits": {"concurrency": 3}})
    error = await lose_journal(run, monkeypatch, break_it, after=4)
    assert error.exit_code == 4
    assert str(error).count("\n") == 0
    assert "all sending has stopped" in str(error)
    report = hold_journal(run)
    sent = run.arrived().total()
    assert 4 <= sent < 30
    assert report.run.status == "running"
    assert run.node.record.open_sessions() == []


class Breaking(SqliteJournal):
    """A journal whose writes fail from one event on."""

    kind = ""

    def event(self, run_id: str, event: Any) -> None:
        """Fails from then on."""
        if event.kind == self.kind:
            self.lost = True
        if getattr(self, "lost", False):
            raise JournalWriteError("the journal cannot be written (planted)")
        super().event(run_id, event)

    async def intend(self, *args: Any, **more: Any) -> None:
        """Fails as well."""
        if getattr(self, "lost", False):
            raise JournalWriteError("the journal cannot be written (planted)")
        await super().intend(*args, **more)


@pytest.mark.parametrize("kind", ["vm.started", "vm.sending", "vm.sent"])
async def test_nothing_leaves_after_a_failing_write(trial: Trials, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whichever write it is that fails, the very next PUT stays here."""
    monkeypatch.setattr(Breaking, "kind", kind)
    monkeypatch.setattr(sys.modules[Trial.__module__], "SqliteJournal", Breaking)
    run = trial({"vms": [group("vm-{n}", count=6)]}, plan={"limits": {"concurrency": 2}})
    with pytest.RaisesGroup(JournalLostError, flatten_subgroups=True):
        await run.go()
    assert run.kinds("run.started")
    assert run.arrived().total() == 0


# ── the command ────────────────────────────────────────────────────────────────────────────────────────────────────────
FLEET = (VmGroup(name="app-{n}", count=30, guest=quick()),)
GROW_NO_FURTHER = "resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
POWERLESS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for power in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root write where nobody may
    if os.geteuid() == 0 and libc.prctl(24, power, 0, 0, 0):
        sys.exit(77)
"""


@pytest.mark.parametrize("node", [FLEET], indirect=True)
def test_a_disk_that_fills_up_under_a_command(cli: Cli, node: Node) -> None:
    """The disk is full in mid-run: one sentence, code 4, and no stop without its intent."""
    plan = cli.plan(limits={"requests_per_second": 500, "concurrency": 2}, report={"formats": []})
    done = start_with(cli, GROW_NO_FURTHER.format(300_000), "run", plan, "--yes", "--quiet").wait()
    refused(done, 4, "all sending has stopped", "cannot be written")
    assert 0 < node.stops < 30
    journal = SqliteJournal(cli.folder / "journal.sqlite", read_only=True)
    vms = journal.report(journal.runs()[0].id).document().vms
    intents = {attempt.job_uuid for vm in vms for attempt in vm.attempts}
    assert node.ask(lambda: {stop.job for stop in node.sim.record.stops}) <= intents
    for connection in connections(journal):
        connection.close()


def test_a_disk_that_is_full_before_a_command(cli: Cli, node: Node) -> None:
    """No room for a journal: refused with 3 and the way out, and the node is not even asked."""
    done = start_with(cli, GROW_NO_FURTHER.format(2000), "run", cli.plan(), "--yes").wait()
    refused(done, 3, "journal.sqlite", "--journal PATH")
    assert node.asked == 0


@pytest.mark.skipif(sys.platform != "linux", reason="takes away a capability of Linux")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_journal_that_is_read_only_before_a_command(cli: Cli, node: Node, what: str) -> None:
    """A journal, or a place for one, that may not be written: 3 and the way out, and the node is not even asked."""
    place = cli.folder / "kept"
    place.mkdir()
    journal = place / "journal.sqlite"
    if what == "file":
        for connection in connections(SqliteJournal(journal)):
            connection.close()
        journal.chmod(0o444)
    else:
        place.chmod(0o555)
    done = start_with(cli, POWERLESS, "run", cli.plan(), "--yes", "--journal", journal).wait()
    if done.code == 77:
        pytest.skip("this root may not give up its powers")
    refused(done, 3, str(journal), "--journal PATH")
    assert node.asked == 0
