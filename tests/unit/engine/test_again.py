"""Runs that follow from another: what is carried on, and what is tried again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.engine.again import check_files_kept, is_unfinished, kept_plan, left_over, narrowed, take_up
from orchestrator.engine.clock import Clock
from orchestrator.engine.prepare import prepare
from orchestrator.engine.records import keep_plan, opening, run_record
from orchestrator.engine.run import Run
from orchestrator.errors import RefusedError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import ReportDocument, RunRecord, VmRecord, attempt_adapter
from orchestrator.model.target import Request, SendResult, VmRow
from orchestrator.plan.load import PlanFile, load_plan, plan_from_text
from tests.contract.journals import DEAD, a_run, an_attempt, begin, some_vms
from tests.virtual import run_virtual

PLAN = """
version: 1
name: again
targets: {{where: [[type=UserVm]]}}
guard: {{max_targets: 500, expect_targets: {expected}}}
limits: {{concurrency: 4, per_host: 2}}
stop: {{fallback: none}}
verify: {{after: 1m}}
"""


class SteadyClock(Clock):
    """The wall clock goes with the loop's virtual time."""

    def unix(self) -> float:
        """Seconds since 1970."""
        return 1_800_000_000.0 + self.now()


class Trial:
    """One run over the scripted cloud, of one process after the other."""

    def __init__(self, guests: Sequence[Guest], expected: str = "1..99") -> None:
        self.cloud = MemoryCloud(guests)
        self.journal = MemoryJournal()
        self.plan_file = plan_from_text(PLAN.format(expected=expected), name="plan.yaml", folder=Path.cwd())
        self.run: Run | None = None

    async def begin(self, plan_file: PlanFile | None = None, run_id: str = "first", **changes: Any) -> Run:
        """A run, not yet begun."""
        prepared = await prepare(plan_file or self.plan_file, self.cloud, strict=False)
        wall = SteadyClock().wall()
        record = run_record(prepared, run_id=run_id, started_at=wall, started_by="t@t", tool_version="0", **changes)
        self.run = Run(opening(prepared, record), self.cloud, self.journal, owner=DEAD, clock=SteadyClock())
        return self.run

    async def resume(self) -> Run:
        """The same run in another process."""
        await self.journal.take_over("first", DEAD)
        kept = kept_plan(self.journal.plan_file("first"))
        clock = SteadyClock()
        run = self.journal.report("first").run
        opened = take_up(run, kept, self.journal, self.cloud, ahead_seconds=0.0, clock=clock)
        self.run = Run(opened, self.cloud, self.journal, owner=DEAD, clock=clock)
        return self.run

    async def go(self, run: Run, *, killed_after: float = 1e9) -> None:
        """The run to its end, or so many seconds of it."""
        with anyio.move_on_after(killed_after):
            await run.run()

    def report(self, run_id: str = "first") -> ReportDocument:
        """What the journal holds."""
        return self.journal.report(run_id).document()


def guests(count: int, **script: Any) -> list[Guest]:
    """Running VMs on two hosts."""
    rows = [VmRow(f"{n:032x}", f"vm-{n}", "UserVm", "Running", f"h{n % 2}", "c", None) for n in range(count)]
    return [Guest(row, **script) for row in rows]


# ── carried on ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("kills", [(0.01,), (1.0,), (4.0,), (9.0, 9.0), (1.0, 0.5, 0.5, 0.5, 20.0), (40.0,), (400.0,)])
def test_a_killed_run_is_carried_on_to_the_same_end(kills: tuple[float, ...]) -> None:
    """Killed at any moment, again and again: every VM is sent exactly one stop, limits hold, and all are stopped clean."""
    trial = Trial(guests(11, seconds=7.0))

    async def go() -> None:
        run = await trial.begin()
        for seconds in kills:
            await trial.go(run, killed_after=seconds)
            if trial.report().run.status != "running":
                return
            await anyio.sleep(3.0)
            run = await trial.resume()
        await trial.go(run)

    run_virtual(go)
    report = trial.report()
    assert (report.run.status, report.run.exit_code) == ("finished", 0)
    assert [vm.uuid for vm in report.vms] == list(trial.cloud.guests)
    assert {vm.outcome for vm in report.vms} == {Outcome.STOPPED_CLEAN}
    assert sorted(request.vm_uuid for _, request in trial.cloud.sent) == sorted(trial.cloud.guests)
    assert trial.cloud.peak <= 4
    assert len(report.run.resumed_at) == (len(kills) if kills != (400.0,) else 0)
    assert trial.journal.lock("first") is None


def test_a_wait_that_ran_out_while_nobody_was_there() -> None:
    """Killed, and carried on long after its deadlines: the ended job gives the outcome, nothing is sent."""
    trial = Trial(guests(2, seconds=20.0))

    async def go() -> None:
        await trial.go(await trial.begin(), killed_after=5.0)
        await anyio.sleep(3600.0)
        await trial.go(await trial.resume())

    run_virtual(go)
    assert {vm.outcome for vm in trial.report().vms} <= {Outcome.STOPPED_CLEAN, Outcome.STOPPED_FORCED}
    assert len(trial.cloud.sent) == 2


def test_left_at_once_before_anything_was_sent() -> None:
    """Ctrl-C while the first VMs are read in their turn: nothing was in flight, and none of them had its turn."""
    trial = Trial(guests(11, seconds=7.0))

    async def press(run: Run) -> None:
        await anyio.sleep(0.02)
        run.interrupt()
        await anyio.sleep(0.5)
        run.leave()

    async def go() -> None:
        run = await trial.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(press, run)
            await trial.go(run)
        assert trial.cloud.sent == []

    run_virtual(go)
    assert {(vm.outcome, vm.reason) for vm in trial.report().vms} == {(Outcome.NOT_REACHED, Reason.OPERATOR)}


def test_a_withheld_put_is_left_to_be_carried_on() -> None:
    """One in flight, one withheld as its PUT was about to leave, then Ctrl-C again: the withheld one has no outcome."""
    trial = Trial(guests(4, seconds=7.0))

    class Slow(MemoryCloud):
        async def send(self, request: Request, leaving: Callable[[], bool]) -> SendResult:
            if int(request.vm_uuid, 16) == 1:
                await anyio.sleep(1.0)
            return await super().send(request, leaving)

    trial.cloud = Slow(list(trial.cloud.guests.values()))

    async def press(run: Run) -> None:
        await anyio.sleep(0.5)
        run.interrupt()
        await anyio.sleep(2.0)
        run.leave()

    async def go() -> None:
        run = await trial.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(press, run)
            await trial.go(run)
        assert f"{1:032x}" not in [request.vm_uuid for _, request in trial.cloud.sent]
        assert all(vm.outcome is None for vm in trial.report().vms)
        await trial.go(await trial.resume())

    run_virtual(go)
    assert {vm.outcome for vm in trial.report().vms} == {Outcome.STOPPED_CLEAN}


def test_left_at_once_and_carried_on() -> None:
    """After the second Ctrl-C what was in flight gets its outcome from its job, the others their turn."""
    trial = Trial(guests(11, seconds=7.0))

    async def press(run: Run) -> None:
        await anyio.sleep(3.0)
        run.interrupt()
        await anyio.sleep(0.5)
        run.leave()

    async def go() -> None:
        run = await trial.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(press, run)
            await trial.go(run)
        left = trial.report()
        assert (left.run.status, left.run.ended_by, left.run.exit_code) == ("interrupted", "operator", 130)
        assert len(trial.cloud.sent) == 4
        assert all(vm.outcome is None for vm in left.vms)
        await trial.go(await trial.resume())

    run_virtual(go)
    report = trial.report()
    uuids = [request.vm_uuid for _, request in trial.cloud.sent]
    assert len(uuids) == len(set(uuids)) == 11
    assert {vm.uuid for vm in report.vms if vm.outcome is Outcome.STOPPED_CLEAN} == set(uuids)
    assert (report.run.status, report.run.exit_code) == ("finished", 0)


async def opened(vms: Sequence[VmRecord], run: RunRecord, cloud: MemoryCloud | None = None, attempted: int = 0) -> Any:
    """What `take_up` makes of these records, `attempted` of them with an attempt and no state."""
    journal = MemoryJournal()
    await begin(journal, run, vms, DEAD)
    for vm in vms[:attempted]:
        journal._connection.execute(
            "INSERT INTO attempt VALUES (?, ?, 0, 'j', ?)",
            (run.id, vm.uuid, attempt_adapter().dump_json(an_attempt()).decode()),
        )
    plan = plan_from_text(PLAN.format(expected="1"), name="plan.yaml", folder=Path.cwd())
    return take_up(run, plan, journal, cloud or MemoryCloud([]), ahead_seconds=2.0, clock=SteadyClock())


async def test_what_is_taken_up() -> None:
    """Outcomes stay; those without one wait where they were last seen; the record says that the run goes on, since when."""
    given = guests(3)
    vms = [
        VmRecord(uuid=guest.row.uuid, name="old", inventory={"uuid": guest.row.uuid, "hostUuid": "h9"}) for guest in given
    ]
    vms[1] = replace(vms[1], outcome=Outcome.FAILED)
    interrupted = a_run(
        status="interrupted", ended_by="operator", exit_code=130, finished_at="x", resumed_at=("earlier",), warnings=("w",)
    )
    taken = await opened(vms, interrupted, MemoryCloud(given))
    assert [(record.uuid, record.outcome) for record in taken.records] == [(vm.uuid, vm.outcome) for vm in vms]
    assert {uuid: row.host_uuid for uuid, row in taken.rows.items()} == {vms[0].uuid: "h9", vms[2].uuid: "h9"}
    assert taken.clock_ahead_seconds == 2.0
    run = taken.run
    assert (run.status, run.ended_by, run.exit_code, run.finished_at) == ("running", None, None, None)
    assert run.warnings == ("w",)
    assert (len(run.resumed_at), run.resumed_at[0]) == (2, "earlier")


async def test_a_vm_without_an_inventory_is_taken_up_by_its_record() -> None:
    """What was known of a VM is enough to give it its turn: it is read before anything is sent."""
    taken = await opened(some_vms(1), a_run())
    (row,) = taken.rows.values()
    assert (row.name, row.host_uuid) == ("vm 1", "h")


async def test_attempts_without_their_state_are_refused() -> None:
    """An earlier version kept too little of a stop under way: one sentence that names the run and what to do."""
    with pytest.raises(RefusedError, match=rf"{a_run().id}.*earlier version.*orchestrator show"):
        await opened(some_vms(1, 2), a_run(), attempted=1)
    ended = [replace(vm, outcome=Outcome.STOPPED_CLEAN) for vm in some_vms(1)]
    assert len((await opened([*ended, *some_vms(2)], a_run(), attempted=1)).rows) == 1


@pytest.mark.parametrize(
    ("status", "unfinished"),
    [("running", True), ("interrupted", True), ("finished", False), ("stopped_early", False), ("refused", False)],
)
def test_what_can_be_carried_on(status: str, unfinished: bool) -> None:
    """A run that was killed or left at once; any other has ended."""
    assert is_unfinished(a_run(status=status)) is unfinished


# ── the plan as it was kept ────────────────────────────────────────────────────────────────────────────────────────
FILES = """
version: 1
name: files
targets: {uuid_files: [targets.txt]}
exclude: {uuids: [00000000000000000000000000000009], uuid_files: [excluded.txt]}
guard: {protect: {uuid_files: [protected.txt], where: [[name=core]]}}
"""


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, Any]:
    """A plan with UUID files as the journal keeps it; the folder is empty again."""
    (tmp_path / "plan.yaml").write_text(FILES, "utf-8")
    for number, name in enumerate(("targets.txt", "excluded.txt", "protected.txt")):
        (tmp_path / name).write_text(f"{number:032x}\n", "utf-8")
    made = keep_plan(load_plan(tmp_path / "plan.yaml"))
    for path in tmp_path.iterdir():
        path.unlink()
    return made


def test_files_of_a_plan_are_kept(kept: dict[str, Any]) -> None:
    """Plan and UUID files gone: what they excluded and protected is known to the letter, and can be kept once more."""
    plan_file = kept_plan(kept)
    assert plan_file.exclude is not None
    assert plan_file.protect is not None
    assert plan_file.exclude.uuids == (f"{9:032x}", f"{1:032x}")
    assert plan_file.protect.uuids == (f"{2:032x}",)
    assert len(plan_file.protect.where) == 1
    assert plan_file.text == FILES
    assert keep_plan(plan_file) == kept


@pytest.mark.parametrize("section", ["exclude", "guard"])
def test_files_that_an_earlier_version_did_not_keep(kept: dict[str, Any], section: str) -> None:
    """Where exclude or protect named a file, a retry without it would send to what was spared: refused in a sentence."""
    check_files_kept(kept, a_run())
    del kept["uuid_files"]
    with pytest.raises(RefusedError, match=r"earlier version.*run its plan again"):
        check_files_kept(kept, a_run())
    lines = [line for line in kept["text"].splitlines() if not line.startswith(("exclude", "guard"))]
    check_files_kept({**kept, "text": "\n".join(lines)}, a_run())
    assert kept_plan(kept).plan.name == "files"


# ── tried again ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_exactly_these_outcomes_are_tried_again() -> None:
    """failed, unknown, came_back and not_reached, in the plan's order; nothing else, and nothing without an outcome."""
    journal = MemoryJournal()
    vms = [replace(vm, outcome=word) for vm, word in zip(some_vms(*range(99)), [*Outcome, None], strict=False)]
    await begin(journal, a_run(), vms)
    again = left_over(a_run(), journal)
    assert [vm.outcome for vm in vms if vm.uuid in again] == [
        word for word in Outcome if word in {"came_back", "failed", "unknown", "not_reached"}
    ]
    assert list(again) == [vm.uuid for vm in vms if vm.uuid in again]


def test_a_retry_keeps_the_plan_but_not_its_expectation() -> None:
    """Limits, exclude, protect and max_targets stay; expect_targets goes; the targets are those left."""
    plan_file = plan_from_text(PLAN.format(expected="80..90"), name="plan.yaml", folder=Path.cwd())
    again = narrowed(plan_file, a_run(), {f"{3:032x}": "all"})
    assert again.plan.guard.expect_targets is None
    assert again.plan.guard.max_targets == 500
    assert replace(again, plan=plan_file.plan, targets=plan_file.targets) == plan_file
    assert again.plan.model_copy(update={"guard": plan_file.plan.guard}) == plan_file.plan
    assert (again.targets.uuids, again.targets.where) == ((f"{3:032x}",), ())
    assert a_run().id in again.targets.sources[0][0]


def test_a_retry_of_a_retry() -> None:
    """What keeps failing is tried as often as it is asked for, each time less; nothing that is stopped is sent to again."""
    given = guests(6, seconds=1.0)
    trial = Trial(given, expected="6")
    for guest in given[:3]:
        guest.seconds = None
    done: list[Callable[[], None]] = [lambda: None, lambda: setattr(given[0], "seconds", 1.0), lambda: None]

    async def go() -> None:
        await trial.go(await trial.begin())
        for number, (parent, change) in enumerate(zip(("first", "second"), done[1:], strict=False)):
            for guest in given[:3]:
                if guest.row.state == "Stopping":
                    guest.row = replace(guest.row, state="Running")
            change()
            left = left_over(trial.report(parent).run, trial.journal)
            assert len(left) == 3 - number
            plan_file = narrowed(kept_plan(trial.journal.plan_file(parent)), trial.report(parent).run, left)
            await trial.go(await trial.begin(plan_file, ("second", "third")[number], parent_run=parent))

    run_virtual(go)
    second, third = trial.report("second"), trial.report("third")
    assert [len(report.vms) for report in (trial.report(), second, third)] == [6, 3, 2]
    assert (second.run.parent_run, third.run.parent_run) == ("first", "second")
    assert second.totals["stopped_clean"] == 1
    counts = [sum(request.vm_uuid == guest.row.uuid for _, request in trial.cloud.sent) for guest in given]
    assert counts == [2, 3, 3, 1, 1, 1]
