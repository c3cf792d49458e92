"""Every journal keeps the same promises."""

import asyncio
import gc
import random
import sqlite3
import stat
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal import store
from orchestrator.journal.interface import HostKept, Journal, JournalEvent, JournalWriteError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.outcome import AttemptResult, HostOutcome, Outcome
from orchestrator.model.report import HostActionRecord, HostRecord, VmRecord
from orchestrator.model.target import HostRow
from tests.cli.support import ACCOUNT, Cli, refused
from tests.contract.journals import DEAD, ME, OTHER, a_run, an_attempt, begin, some_vms

RUN = a_run().id


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    """Each implementation in turn."""
    made: Journal = MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path / "state" / "journal.sqlite")
    yield made
    await made.close()


async def test_a_report_reads_back_what_was_written(journal: Journal) -> None:
    """Targets in their order, attempts under their VM, outcomes, inventories and causes: all as written."""
    run = a_run()
    vms = [VmRecord(uuid=f"{n:032x}", name=f"vm {n}", host_uuid="h") for n in (3, 1, 2)]
    await journal.begin(run, vms, {"path": "p.yaml"}, ME)
    await journal.intend(run.id, vms[0].uuid, 0, an_attempt(), "{}")
    journal.note(run.id, vms[0].uuid, 0, an_attempt(AttemptResult.FAILED), "{}")
    failed = replace(vms[0], outcome=Outcome.FAILED, error={"code": "VM.1002"}, inventory={"uuid": "x", "odd": [1, None]})
    await journal.settle(run.id, failed)
    await journal.finish(run.model_copy(update={"status": "finished", "exit_code": 1}), [], [])
    report = journal.report(run.id).document()
    assert [vm.uuid for vm in report.vms] == [vm.uuid for vm in vms] == journal.uuids(run.id)
    assert report.vms[0] == replace(failed, attempts=(an_attempt(AttemptResult.FAILED),))
    assert report.totals["targets"] == 3
    assert report.totals["failed"] == 1
    assert [(cause.cause, cause.count, cause.hosts) for cause in report.causes] == [("VM.1002", 1, ("h",))]
    assert report.run.exit_code == 1


async def test_what_vms_took_last_time(journal: Journal) -> None:
    """Of stops that went well, the newest five first; failures say nothing, nor what nobody has timed."""
    vm = some_vms(1)[0]
    for number in range(7):
        run = await begin(journal, a_run(f"2026120{number}T000000Z-0000"), [vm, *some_vms(2, 3)])
        done: dict[str, Any] = {"outcome": Outcome.STOPPED_CLEAN}
        await journal.settle(run.id, replace(vm, **done), float(number))
        await journal.settle(run.id, replace(some_vms(2)[0], outcome=Outcome.FAILED), 9.0)
        await journal.settle(run.id, replace(some_vms(3)[0], **done))
        await journal.finish(run, [], [])
    everybody = [each.uuid for each in some_vms(1, 2, 3, 4)]
    assert journal.took("stop", everybody) == {vm.uuid: (6.0, 5.0, 4.0, 3.0, 2.0)}
    assert journal.took("start", everybody) == {}


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


async def test_many_intents_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits at one time is committed at one time, and no intent returns before others can read it."""
    statements: list[str] = []
    real = store.open_database

    def traced(path: str, *, read_only: bool = False) -> sqlite3.Connection:
        connection = real(path, read_only=read_only)
        if not read_only:
            connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(store, "open_database", traced)
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal(path)
    vms = some_vms(*range(300))
    run = await begin(journal, a_run(), vms)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        async def intend(uuid: str) -> None:
            await journal.intend(run.id, uuid, 0, an_attempt(), "{}")
            assert other.execute("SELECT count(*) FROM attempt WHERE vm_uuid = ?", (uuid,)).fetchone() == (1,)

        other.execute("BEGIN IMMEDIATE")
        statements.clear()
        tasks = [asyncio.create_task(intend(vm.uuid)) for vm in vms]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks), "the file was locked: nothing can be durable yet"
        other.execute("COMMIT")
        await asyncio.gather(*tasks)
    # The first found the file locked, the others were waiting behind it by the time it was free.
    assert 1 <= statements.count("COMMIT") <= 2
    await journal.close()


async def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    """Three times as many events and notes take no more memory, as long as something durable is awaited now and then.

    The writer has its turn only then: how much waits for it does not depend on how busy the machine is.
    """

    async def peak(count: int) -> int:
        journal = SqliteJournal(tmp_path / f"{count}.sqlite")
        vms = some_vms(*range(50))
        run = await begin(journal, a_run(), vms)
        gc.collect()
        tracemalloc.start()
        for number in range(count):
            uuid = vms[number % 50].uuid
            if number % 2:
                journal.note(run.id, uuid, 0, an_attempt(), "{}")
            else:
                journal.event(run.id, JournalEvent("t", "vm.step", uuid, {"n": number}))
            if number % 250 == 0:
                await journal.intend(run.id, uuid, 1, an_attempt(), "{}")
        await journal.settle(run.id, vms[0])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        with closing(sqlite3.connect(journal.path)) as other:
            assert other.execute("SELECT count(*) FROM event").fetchone() == (count // 2,)
        await journal.close()
        return most

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60.0)
    try:
        await peak(1_000)  # what is made once
        few, many = await peak(6_000), await peak(18_000)
    finally:
        sys.setswitchinterval(interval)
    assert many < 1.2 * few, (few, many)


async def test_a_closed_journal_is_one_file(tmp_path: Path) -> None:
    """After `close` every row is in the journal's own file: whoever copies that has all of it."""
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal(path)
    run = await begin(journal, a_run(), some_vms(1, 2, 3))
    await journal.close()
    (tmp_path / "copy").write_bytes(path.read_bytes())
    copy = SqliteJournal(tmp_path / "copy", read_only=True)
    assert copy.report(run.id).totals["targets"] == 3
    await copy.close()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("journal")] == ["journal.sqlite"]


# ── files that are damaged ─────────────────────────────────────────────────────────────────────────────────────────
PAGE = 4096
NOBODY = "http://127.0.0.1:9/zstack"
"""Where no node is."""


def damaged(content: bytes, at: int) -> bytes:
    """64 bytes of every page but the first turned over, from this byte of the page on."""
    pages = [bytearray(content[start : start + PAGE]) for start in range(0, len(content), PAGE)]
    for page in pages[1:]:
        page[at : at + 64] = bytes(byte ^ 0xFF for byte in page[at : at + 64])
    return b"".join(pages)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "inside of pages": lambda content: damaged(content, 2000),
    "heads of pages": lambda content: damaged(content, 0),
    "half": lambda content: content[: len(content) // 2],
    "half a page": lambda content: content[: 40 * PAGE + 2048],
    "random": lambda content: random.Random(7).randbytes(len(content)),
    "random after the first page": lambda content: content[:PAGE] + random.Random(7).randbytes(len(content) - PAGE),
}
COMMANDS = {
    "run": ("run", "plan.yaml", "--yes"),
    "resume": ("resume", RUN, "--yes"),
    "runs": ("runs",),
    "show": ("show", RUN),
    "report": ("report", RUN, "--format", "json"),
}
WRITERS = {"run", "resume"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal of some hundred KB with a run that nobody works on, all of it in one file."""
    path = tmp_path_factory.mktemp("whole") / "journal.sqlite"

    async def make() -> None:
        journal = SqliteJournal(path)
        vms = [replace(vm, inventory={"uuid": vm.uuid, "odd": "x" * 300}) for vm in some_vms(*range(400))]
        run = await begin(journal, a_run(endpoint=NOBODY), vms, plan={"path": "p.yaml", "text": "x", "uuid_files": {}})
        for vm in vms:
            journal.event(run.id, JournalEvent("t", "vm.started", vm.uuid, {"host": "h"}))
            journal.note(run.id, vm.uuid, 0, an_attempt(), "{}")
        await journal.close()

    asyncio.run(make())
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    assert len(content) > 300_000
    return content


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, with a plan and with a node that is never asked."""
    made = Cli(tmp_path)
    made.env |= {"ZSTACK_ENDPOINT": NOBODY, **ACCOUNT}
    made.plan()
    return made


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_refused_and_left_as_it_is(cli: Cli, whole: bytes, damage: str, command: str) -> None:
    """For writing and for reading: 3, one sentence with the way out, and not a byte changes; a reader may not meet it."""
    path, content = cli.folder / "journal.sqlite", DAMAGES[damage](whole)
    path.write_bytes(content)
    done = cli.inside(*COMMANDS[command])
    assert path.read_bytes() == content
    if command in WRITERS or done.code != 0:
        refused(done, 3, str(path), "--journal PATH")
    else:
        assert damage == "inside of pages"


@pytest.mark.parametrize(
    ("old", "new", "command"),
    [
        (b'"plan_digest"', b"\x01\xfe\x80plan_digest", "runs"),
        (b'"plan_digest"', b"\x01\xfe\x80plan_digest", "resume"),
        (b'"outcome":null', b'"outcome":"uhu', "show"),
        (b'"outcome":null', b'"outcome":"uhu', "report"),
    ],
)
def test_a_row_that_makes_no_sense(cli: Cli, whole: bytes, old: bytes, new: bytes, command: str) -> None:
    """Text in a row was changed, which SQLite has no way to see: 3 and one sentence, and the file stays as it is."""
    path, content = cli.folder / "journal.sqlite", whole.replace(old, new)
    assert content != whole
    path.write_bytes(content)
    done = cli.inside(*COMMANDS[command])
    assert path.read_bytes() == content
    refused(done, 3, str(path), "--journal PATH")


async def test_hosts_are_kept_with_what_is_done_to_them(journal: Journal) -> None:
    """In their order, each change as written last, with its state while it is under way; the report has them at once."""
    run, rows = a_run(), [HostRow(f"{n:032x}", f"kvm-{n}", "Connected", "Enabled") for n in (2, 1)]
    await journal.begin(run, some_vms(1), {}, ME, [HostKept(row, (), None) for row in rows])
    disable = HostActionRecord(action="disable", state_before="Enabled")
    await journal.act(run.id, rows[0].uuid, 0, disable, '{"state": 1}')
    journal.note_act(run.id, rows[0].uuid, 0, replace(disable, state="Disabled"), '{"state": 2}')
    await journal.act(run.id, rows[1].uuid, 0, disable, None)
    found = journal.hosts(run.id)
    assert [one.row for one in found] == rows
    assert (found[0].actions, found[0].state) == ((replace(disable, state="Disabled"),), '{"state": 2}')
    assert (found[1].actions, found[1].state) == ((disable,), None)
    done = replace(disable, state="Disabled", outcome=HostOutcome.DONE, error={"code": "HOST.1001", "odd": [None]})
    await journal.act(run.id, rows[0].uuid, 0, done, None)
    await journal.act(run.id, rows[0].uuid, 1, HostActionRecord(action="empty"), None)
    report = journal.report(run.id).document()
    assert [(host.uuid, [act.action for act in host.actions]) for host in report.hosts] == [
        (rows[0].uuid, ["disable", "empty"]),
        (rows[1].uuid, ["disable"]),
    ]
    assert report.hosts[0].actions[0] == done
    assert [(host.state, host.totals) for host in report.hosts] == [("Disabled", {}), ("Enabled", {})]
    await journal.join(run.id, [replace(vm, host_uuid=rows[0].uuid) for vm in some_vms(2, 3)])
    await journal.settle(run.id, replace(some_vms(2)[0], host_uuid=rows[0].uuid, outcome=Outcome.FAILED))
    assert journal.report(run.id).hosts[0].totals == {"targets": 2, "failed": 1}
    ended = HostRecord(uuid=rows[0].uuid, name="kvm-2", status="Connected", state="Disabled", totals={}, left_on_host=())
    await journal.finish(run, [ended], [])
    [first, second] = journal.report(run.id).hosts
    assert (first.state, first.left_on_host, len(first.actions)) == ("Disabled", (), 2)
    assert (second.uuid, second.left_on_host) == (rows[1].uuid, None)
    assert journal.hosts("nothing") == []


async def test_what_a_run_takes_up_in_the_end(journal: Journal) -> None:
    """Of a retry of a retry the first run; of one whose parent the journal does not have, and of any other, itself."""
    first = await begin(journal, a_run())
    retry = await begin(journal, a_run("20261129T220000Z-0001", parent_run=first.id))
    again = await begin(journal, a_run("20261130T220000Z-0002", parent_run=retry.id))
    lone = await begin(journal, a_run("20261130T230000Z-0003", parent_run="20261101T000000Z-dead"))
    assert [journal.origin(run.id) for run in (first, retry, again, lone)] == [first.id, first.id, first.id, lone.id]
    assert journal.report(again.id).first == first.id


async def test_vms_that_join_come_last_and_once(journal: Journal) -> None:
    """A target that turns up stands behind those that there are; one that is there already is left as it is."""
    run = await begin(journal, a_run(), some_vms(3, 1))
    await journal.settle(run.id, replace(some_vms(1)[0], outcome=Outcome.STOPPED_CLEAN))
    await journal.join(run.id, some_vms(2, 1, 4))
    assert journal.uuids(run.id) == [vm.uuid for vm in some_vms(3, 1, 2, 4)]
    report = journal.report(run.id).document()
    assert (report.totals["targets"], report.totals["stopped_clean"]) == (4, 1)
    empty = await begin(journal, a_run("20261129T220000Z-0000"))
    await journal.join(empty.id, some_vms(5))
    assert journal.uuids(empty.id) == [some_vms(5)[0].uuid]


async def test_a_vm_of_a_living_run_does_not_join(journal: Journal) -> None:
    """It is left to that run, and named; where the run's process is gone, or the run is over, it joins."""
    theirs = await begin(journal, a_run("20261127T220000Z-0000"), some_vms(1, 2), OTHER)
    dead = await begin(journal, a_run("20261127T230000Z-0000"), some_vms(3), DEAD)
    ours = await begin(journal, a_run(), some_vms(4))
    assert await journal.join(ours.id, some_vms(2, 3, 5)) == {some_vms(2)[0].uuid: theirs.id}
    assert journal.uuids(ours.id) == [vm.uuid for vm in some_vms(4, 3, 5)]
    assert journal.uuids(dead.id) == [some_vms(3)[0].uuid]
    await journal.finish(theirs, [], [])
    assert await journal.join(ours.id, some_vms(2)) == {}
    assert journal.uuids(ours.id)[-1] == some_vms(2)[0].uuid
