"""One living process works on a run and its VMs; one that has lost its lock writes nothing more, and sends nothing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.engine.prepare import prepare
from orchestrator.engine.records import opening, run_record
from orchestrator.engine.run import JournalLostError, Run
from orchestrator.errors import JournalError
from orchestrator.journal import store
from orchestrator.journal.interface import HostKept, Journal, JournalEvent, JournalWriteError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.owner import RunLockedError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.event import Event
from orchestrator.model.outcome import Outcome
from orchestrator.model.target import HostRow, VmRow
from orchestrator.plan.load import plan_from_text
from tests.contract.journals import DEAD, ME, OTHER, a_run, an_attempt, begin, some_vms

FIRST, SECOND = a_run(), a_run("20261128T230000Z-0b1c")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.sqlite"


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Journal]:
    """Each implementation in turn."""
    made: Journal = MemoryJournal() if request.param == "memory" else SqliteJournal(path)
    yield made
    await made.close()


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteJournal]:
    """The journal in a file."""
    made = SqliteJournal(path)
    yield made
    await made.close()


def steal(path: Path) -> None:
    """Another process takes the lock over, as seen from the file."""
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("UPDATE lock SET token = 'another'").rowcount == 1
        other.commit()


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    """What anybody else reads in the file."""
    with closing(sqlite3.connect(path)) as other:
        return other.execute(f"SELECT * FROM {table}").fetchall()


# ── taking and freeing ─────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_run_that_begins_is_locked(journal: Journal) -> None:
    """`begin` takes the lock for the process that began."""
    await begin(journal, FIRST, some_vms(1))
    held = journal.lock(FIRST.id)
    assert held is not None
    assert (held.owner, held.alive) == (ME, True)


async def test_a_vm_belongs_to_one_living_run(journal: Journal) -> None:
    """A second run with VMs in common is refused by the name of the owner and the run, and with how many they are."""
    await begin(journal, FIRST, some_vms(1, 2, 3))
    with pytest.raises(RunLockedError) as refusal:
        await begin(journal, SECOND, some_vms(2, 3, 4), OTHER)
    for word in (FIRST.id, "ops@jump1", str(ME.pid), "2 of these VMs"):
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    "journal",
    ["sqlite", "memory"],
    indirect=True,
)
async def test_a_refused_run_leaves_nothing(journal: Journal) -> None:
    """What `begin` refuses is not in the journal, and the journal goes on to serve."""
    await begin(journal, FIRST, some_vms(1))
    with pytest.raises(RunLockedError):
        await begin(journal, SECOND, some_vms(1), OTHER)
    assert [run.id for run in journal.runs()] == [FIRST.id]
    assert journal.lock(SECOND.id) is None
    with pytest.raises(KeyError):
        journal.report(SECOND.id)
    await begin(journal, SECOND, some_vms(2), OTHER)
    assert journal.report(SECOND.id).totals["targets"] == 1


async def test_no_vm_in_common_is_no_conflict(journal: Journal) -> None:
    """Two runs over different VMs work side by side."""
    await begin(journal, FIRST, some_vms(1))
    await begin(journal, SECOND, some_vms(2), OTHER)
    assert journal.lock(SECOND.id) is not None


async def test_the_dead_hold_nothing(journal: Journal) -> None:
    """Where the owner is no more, a run over the same VMs may begin."""
    await begin(journal, FIRST, some_vms(1), DEAD)
    await begin(journal, SECOND, some_vms(1))
    held = journal.lock(SECOND.id)
    assert held is not None
    assert held.owner == ME


async def test_what_a_living_process_holds_is_not_taken_over(journal: Journal) -> None:
    """`take_over` of a run at work is refused by its owner's name, and the lock stays where it is."""
    await begin(journal, FIRST, some_vms(1))
    with pytest.raises(RunLockedError, match=r"ops@jump1.*still works"):
        await journal.take_over(FIRST.id, OTHER)
    held = journal.lock(FIRST.id)
    assert held is not None
    assert held.owner == ME


async def test_what_the_dead_held_is_taken_over(journal: Journal) -> None:
    """`take_over` of a dead process's run tells who held it; nobody held one that is free."""
    await begin(journal, FIRST, some_vms(1), DEAD)
    before = await journal.take_over(FIRST.id, ME)
    assert before is not None
    assert (before.owner, before.alive) == (DEAD, False)
    held = journal.lock(FIRST.id)
    assert held is not None
    assert held.owner == ME
    await journal.finish(FIRST, [], [])
    assert await journal.take_over(FIRST.id, OTHER) is None


async def test_a_dead_run_whose_vms_another_has_by_now(journal: Journal) -> None:
    """A run is not taken over while a living run works on one of its VMs."""
    await begin(journal, FIRST, some_vms(1, 2), DEAD)
    await begin(journal, SECOND, some_vms(2), OTHER)
    with pytest.raises(RunLockedError, match=SECOND.id):
        await journal.take_over(FIRST.id, ME)


async def test_a_finished_run_is_free(journal: Journal) -> None:
    """After `finish` nobody holds the run, and its VMs may be targets again."""
    await begin(journal, FIRST, some_vms(1))
    await journal.finish(FIRST, [], [])
    assert journal.lock(FIRST.id) is None
    await begin(journal, SECOND, some_vms(1), OTHER)


async def test_a_closed_journal_holds_nothing(sqlite: SqliteJournal, path: Path) -> None:
    """`close` lets go of a run that has not ended, so that another may carry it on at once."""
    leaving = SqliteJournal(path)
    await begin(leaving, FIRST, some_vms(1), OTHER)
    assert sqlite.lock(FIRST.id) is not None
    await leaving.close()
    assert sqlite.lock(FIRST.id) is None


async def test_a_heartbeat_is_heard(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds of silence count from the last heartbeat."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(store, "time", SimpleNamespace(time=lambda: now[0]))

    def silence() -> float:
        held = journal.lock(FIRST.id)
        assert held is not None
        return held.silent_seconds

    await begin(journal, FIRST, some_vms(1))
    now[0] += 100.0
    assert silence() == 100.0
    journal.beat(FIRST.id)
    await journal.settle(FIRST.id, some_vms(1)[0])  # what was posted before is there too
    assert silence() == 0.0
    now[0] -= 1000.0
    assert silence() == 0.0, "a clock that was set back"


async def test_two_who_take_over_at_once(path: Path) -> None:
    """Of two processes that take over the same dead run, exactly one gets it, and the other is told who."""
    dying = SqliteJournal(path)
    await begin(dying, FIRST, some_vms(1), DEAD)
    one, two = SqliteJournal(path), SqliteJournal(path)
    found = await asyncio.gather(one.take_over(FIRST.id, ME), two.take_over(FIRST.id, OTHER), return_exceptions=True)
    refusals = [refusal for refusal in found if isinstance(refusal, RunLockedError)]
    assert len(refusals) == 1
    held = one.lock(FIRST.id)
    assert held is not None
    assert held.owner.who in str(refusals[0])
    for journal in (one, two, dying):
        await journal.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_lock_that_cannot_be_read(sqlite: SqliteJournal, path: Path) -> None:
    """A damaged row among the locks ends the attempt with an error; nobody waits for ever."""
    await begin(sqlite, FIRST, some_vms(1), DEAD)
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE lock SET owner = 'scribble'")
        other.commit()
    late = SqliteJournal(path)
    with pytest.raises((JournalWriteError, JournalError)):
        await asyncio.wait_for(begin(late, SECOND, some_vms(1)), 5)
    await late.close()


# ── after it was lost ──────────────────────────────────────────────────────────────────────────────────────────────
async def test_who_lost_the_lock_writes_nothing(sqlite: SqliteJournal, path: Path) -> None:
    """After another took over, an intent is refused, and so is everything else; nothing of it is in the file."""
    vm = some_vms(1)[0]
    await begin(sqlite, FIRST, [vm])
    before = rows(path, "vm"), rows(path, "run")
    steal(path)
    sqlite.note(FIRST.id, vm.uuid, 0, an_attempt(), "{}")  # not yet known to be lost: swallowed, never written
    with pytest.raises(JournalWriteError, match="taken over"):
        await sqlite.intend(FIRST.id, vm.uuid, 0, an_attempt(), "{}")
    with pytest.raises(JournalWriteError, match="taken over"):
        await sqlite.settle(FIRST.id, replace(vm, outcome=Outcome.FAILED))
    with pytest.raises(JournalWriteError, match="taken over"):
        await sqlite.finish(FIRST.model_copy(update={"status": "finished"}), [], [])
    posts: list[Callable[[], None]] = [
        lambda: sqlite.note(FIRST.id, vm.uuid, 0, an_attempt(), "{}"),
        lambda: sqlite.event(FIRST.id, JournalEvent("t", "vm.step", vm.uuid)),
        lambda: sqlite.beat(FIRST.id),
    ]
    for post in posts:
        with pytest.raises(JournalWriteError, match="taken over"):
            post()
    assert (rows(path, "vm"), rows(path, "run")) == before
    assert rows(path, "attempt") == rows(path, "state") == rows(path, "event") == []


async def test_who_lost_the_lock_does_not_free_it(path: Path) -> None:
    """Closing the journal leaves the lock to whoever has it now."""
    losing = SqliteJournal(path)
    await begin(losing, FIRST, some_vms(1))
    steal(path)
    await losing.close()
    assert [row[1] for row in rows(path, "lock")] == ["another"]


async def test_two_processes_where_the_first_only_slept(sqlite: SqliteJournal, path: Path) -> None:
    """One that was taken for dead and wakes up again is fenced off; the other's writing goes on."""
    vm = some_vms(1)[0]
    asleep = SqliteJournal(path)
    await begin(asleep, FIRST, [vm], DEAD)
    await sqlite.take_over(FIRST.id, ME)
    with pytest.raises(JournalWriteError):
        await asleep.intend(FIRST.id, vm.uuid, 0, an_attempt(), "{}")
    await asleep.close()
    await sqlite.intend(FIRST.id, vm.uuid, 0, an_attempt(), "{}")
    assert len(sqlite.report(FIRST.id).document().vms[0].attempts) == 1


PLAN = """
version: 1
name: fenced
targets: {where: [[type=UserVm]]}
limits: {concurrency: 1}
stop: {power_cut_after: 1200ms, grace_timeout: 4s, cold_timeout: 4s}
verify: {after: 0s}
"""


async def test_a_run_that_lost_its_lock_sends_nothing_more(sqlite: SqliteJournal, path: Path) -> None:
    """The lock is gone in mid-run: not one PUT leaves after that, and the run ends with the journal's own error."""
    cloud = MemoryCloud(
        [Guest(VmRow(f"{n:032x}", f"vm-{n}", "UserVm", "Running", "h", "c", None), seconds=0.01) for n in range(6)]
    )
    sent: list[int] = []

    def listen(event: Event) -> None:
        if event.kind == "vm.outcome" and not sent:
            sent.append(len(cloud.sent))
            steal(path)

    prepared = await prepare(plan_from_text(PLAN, name="plan.yaml", folder=path.parent), cloud, strict=False)
    record = run_record(prepared, run_id=FIRST.id, started_at=FIRST.started_at, started_by="t@t", tool_version="0")
    run = Run(opening(prepared, record), cloud, sqlite, owner=ME, listeners=[listen])
    with pytest.raises(JournalLostError, match=r"taken over.*sending has stopped.*leave the run to it"):
        await run.run()
    assert sent == [1] == [len(cloud.sent)]
    assert len(rows(path, "attempt")) == 1


async def test_two_runs_never_change_one_host(journal: Journal) -> None:
    """A host that another living process works on refuses a run, though they share no VM."""
    kept = [HostKept(HostRow("a" * 32, "kvm-1", "Connected", "Enabled"), (), None)]
    await journal.begin(FIRST, some_vms(1), {}, OTHER, kept)
    with pytest.raises(RunLockedError, match="1 of these hosts are in run"):
        await journal.begin(SECOND, some_vms(2), {}, ME, kept)
    assert [run.id for run in journal.runs()] == [FIRST.id]
