"""Every journal keeps the same promises."""

import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal.interface import Journal, JournalEvent, JournalWriteError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.owner import this_process
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.outcome import AttemptReason, AttemptResult, AttemptType, Outcome
from orchestrator.model.report import AttemptRecord, RunRecord, VmRecord

ME = this_process("ops@jump1")


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    """Each implementation in turn."""
    made: Journal = MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path / "state" / "journal.sqlite")
    yield made
    await made.close()


def a_run(run_id: str = "20261128T220000Z-7f3a", started_at: str = "2026-11-28T22:00:00Z") -> RunRecord:
    """A run's record."""
    return RunRecord(
        id=run_id, plan="p", plan_digest="sha256:0", plan_text="x", endpoint="http://n", tool_version="0",
        started_by="a@b", started_at=started_at,
    )  # fmt: skip


def an_attempt(result: AttemptResult = AttemptResult.RUNNING) -> AttemptRecord:
    """A grace attempt."""
    return AttemptRecord(
        type=AttemptType.GRACE, reason=AttemptReason.PLAN, job_uuid="f" * 32, api_timeout_seconds=240, result=result
    )


async def test_a_report_reads_back_what_was_written(journal: Journal) -> None:
    """Targets in their order, attempts under their VM, outcomes, inventories and causes: all as written."""
    run = a_run()
    vms = [VmRecord(uuid=f"{n:032x}", name=f"vm {n}", host_uuid="h") for n in (3, 1, 2)]
    await journal.begin(run, vms, {"path": "p.yaml"}, ME)
    await journal.intend(run.id, vms[0].uuid, 0, an_attempt(), "{}")
    journal.note(run.id, vms[0].uuid, 0, an_attempt(AttemptResult.FAILED), "{}")
    failed = vms[0].model_copy(
        update={"outcome": Outcome.FAILED, "error": {"code": "VM.1002"}, "inventory": {"uuid": "x", "odd": [1, None]}}
    )
    await journal.settle(run.id, failed)
    await journal.finish(run.model_copy(update={"status": "finished", "exit_code": 1}), [], [])
    report = journal.report(run.id).document()
    assert [vm.uuid for vm in report.vms] == [vm.uuid for vm in vms]
    assert report.vms[0] == failed.model_copy(update={"attempts": (an_attempt(AttemptResult.FAILED),)})
    assert report.totals["targets"] == 3
    assert report.totals["failed"] == 1
    assert [(cause.cause, cause.count, cause.hosts) for cause in report.causes] == [("VM.1002", 1, ("h",))]
    assert report.run.exit_code == 1


async def test_runs_come_newest_first(journal: Journal) -> None:
    """The list of runs begins with the newest."""
    await journal.begin(a_run("a-1", "2026-01-01T00:00:00Z"), [], {}, ME)
    await journal.begin(a_run("b-2", "2026-02-01T00:00:00Z"), [], {}, ME)
    assert [run.id for run in journal.runs()] == ["b-2", "a-1"]


async def test_an_unknown_run_is_a_key_error(journal: Journal) -> None:
    """A run that is not there is not an empty report."""
    with pytest.raises(KeyError):
        journal.report("nobody")


async def test_events_of_a_vm_keep_their_order(journal: Journal) -> None:
    """Events come back in the order they were told."""
    run, vm = a_run(), VmRecord(uuid="1" * 32)
    await journal.begin(run, [vm], {}, ME)
    for number in range(5):
        journal.event(run.id, JournalEvent(f"t{number}", "vm.step", vm.uuid, {"n": number}))
    await journal.settle(run.id, vm)
    _, events = journal.vm(run.id, vm.uuid)
    assert [event.data for event in events] == [{"n": number} for number in range(5)]


async def test_an_intent_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    """Another connection sees the intent as soon as it was awaited."""
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal(path)
    run = a_run()
    await journal.begin(run, [VmRecord(uuid="1" * 32)], {}, ME)
    await journal.intend(run.id, "1" * 32, 0, an_attempt(), "{}")
    other = sqlite3.connect(path)
    assert other.execute("SELECT job_uuid FROM attempt").fetchall() == [("f" * 32,)]
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    await journal.close()


async def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """Folder 0700, file 0600."""
    path = tmp_path / "new" / "journal.sqlite"
    journal = SqliteJournal(path)
    await journal.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_newer_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """A file of a later schema gets one sentence, and not a byte of it changes."""
    path = tmp_path / "journal.sqlite"
    made = sqlite3.connect(path)
    made.execute("CREATE TABLE run (id)")
    made.execute("PRAGMA user_version=99")
    made.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="newer version"):
        SqliteJournal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"\x00" * 5000])
async def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    """Something else's file is never overwritten."""
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="--journal"):
        SqliteJournal(path)
    assert path.read_bytes() == content


async def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """When the disk refuses, every waiting writer is told, and nothing pretends to be durable."""
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    run = a_run()
    await journal.begin(run, [VmRecord(uuid="1" * 32)], {}, ME)
    other = sqlite3.connect(tmp_path / "journal.sqlite")
    other.execute("DROP TABLE attempt")
    other.close()
    with pytest.raises(JournalWriteError):
        await journal.intend(run.id, "1" * 32, 0, an_attempt(), "{}")
    await journal.close()
