"""Restores over the scripted cloud, in virtual time: what is started, where, in which order, and what is left."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.engine.again import kept_plan, left_over, narrowed, take_up
from orchestrator.engine.prepare import prepare
from orchestrator.engine.records import opening, run_record
from orchestrator.engine.run import Run
from orchestrator.engine.undo import Undo, family, plan_undo, reversed_plan
from orchestrator.errors import RefusedError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import ReportDocument, RunRecord
from orchestrator.plan.load import PlanFile, plan_from_text
from tests.contract.journals import DEAD
from tests.unit.engine.test_again import SteadyClock
from tests.unit.engine.test_run import chain, guest
from tests.virtual import run_virtual

LATER = 9_000_000_000.0
"""By the node's clock, long after everything here."""
WAVES = """
waves:
  - {name: app, where: [[host_uuid=h0]]}
  - {name: db, after: [app], where: [[host_uuid=h1]]}
  - {name: rest, after: [app, db]}
"""


class Trial:
    """A run, retries and restores over one cloud and one journal."""

    def __init__(self, guests: Sequence[Guest], more: str = "") -> None:
        text = f"version: 1\nname: undo\ntargets: {{where: [[type=UserVm]]}}\nverify: {{after: 10s}}\n{more}"
        self.plan = plan_from_text(text, name="plan.yaml", folder=Path.cwd())
        self.cloud = MemoryCloud([replace(each, row=replace(each.row, last_op=100.0)) for each in guests])
        self.cloud.epoch = 1_800_000_000.0
        self.journal = MemoryJournal()
        self.count = 0

    def _id(self) -> str:
        self.count += 1
        return f"20270101T00000{self.count}Z-0000"

    def row(self, number: int, **changes: object) -> None:
        """Somebody changes a VM."""
        uuid = f"{number:032x}"
        self.cloud.guests[uuid].row = replace(self.cloud.guests[uuid].row, **changes)  # type: ignore[arg-type]

    async def stop(self, plan: PlanFile | None = None, parent: str | None = None) -> RunRecord:
        """A run to its end."""
        clock = SteadyClock()
        prepared = await prepare(plan or self.plan, self.cloud, strict=False)
        record = run_record(
            prepared, run_id=self._id(), started_at=clock.wall(), started_by="t@t", tool_version="0", parent_run=parent
        )
        run = Run(opening(prepared, record), self.cloud, self.journal, owner=DEAD, clock=clock)
        return (await run.run()).run

    async def retry(self, run: RunRecord) -> RunRecord:
        """A retry of it."""
        return await self.stop(narrowed(self.plan, run, left_over(run, self.journal)), run.id)

    async def undo(self, run: RunRecord, *, include_late: bool = False) -> Undo:
        """What a restore would do."""
        members = family(run, self.journal)
        return await plan_undo(
            members,
            self.journal,
            self.cloud,
            include_late=include_late,
            took=self.journal.took,
        )

    async def begin(self, run: RunRecord, *, include_late: bool = False) -> Run | None:
        """A restore, not yet begun; None where nothing is to be started."""
        undo = await self.undo(run, include_late=include_late)
        if not undo.rows:
            return None
        clock = SteadyClock()
        record = run.model_copy(
            update={
                "id": self._id(), "action": "start", "parent_run": run.id, "started_at": clock.wall(), "status": "running",
                "finished_at": None, "exit_code": None, "warnings": tuple(undo.named()),
            }
        )  # fmt: skip
        kept = self.journal.plan_file(run.id)
        opened = undo.opening(reversed_plan(kept_plan(kept).plan), record, kept)
        return Run(opened, self.cloud, self.journal, owner=DEAD, clock=clock)

    async def restore(self, run: RunRecord, *, include_late: bool = False) -> RunRecord | None:
        """A restore to its end."""
        begun = await self.begin(run, include_late=include_late)
        return None if begun is None else (await begun.run()).run

    async def resume(self) -> Run:
        """The newest run in another process."""
        run = self.journal.runs()[0]
        await self.journal.take_over(run.id, DEAD)
        clock = SteadyClock()
        plan = reversed_plan(kept_plan(self.journal.plan_file(run.id)).plan)
        kept = replace(kept_plan(self.journal.plan_file(run.id)), plan=plan)
        opened = take_up(run, kept, self.journal, self.cloud, ahead_seconds=0.0, clock=clock)
        return Run(opened, self.cloud, self.journal, owner=DEAD, clock=clock)

    def report(self, run: RunRecord | None = None) -> ReportDocument:
        """What the journal holds of a run, or of the newest."""
        return self.journal.report((run or self.journal.runs()[0]).id).document()


def there_and_back(trial: Trial) -> ReportDocument:
    """Stopped, and restored."""

    async def go() -> None:
        await trial.restore(await trial.stop())

    run_virtual(go)
    return trial.report()


def test_everything_comes_back_where_it_was() -> None:
    """Each VM is started once, on the host it came from; its own run with its own report, exit code 0."""
    trial = Trial([guest(n, n % 3) for n in range(9)])
    report = there_and_back(trial)
    assert (report.run.action, report.run.status, report.run.exit_code) == ("start", "finished", 0)
    assert {vm.outcome for vm in report.vms} == {Outcome.STARTED}
    assert [request.host_uuid for _, request in trial.cloud.started] == [
        f"h{int(request.vm_uuid, 16) % 3}" for _, request in trial.cloud.started
    ]
    assert {vm.uuid: vm.host_uuid for vm in report.vms} == {f"{n:032x}": f"h{n % 3}" for n in range(9)}
    assert [vm.uuid for vm in report.vms] == [f"{n:032x}" for n in reversed(range(9))]
    assert all(vm.attempts[0].type == "start" and vm.verified_at for vm in report.vms)
    assert report.totals["started"] == report.totals["targets"] == 9


def test_waves_are_reversed() -> None:
    """Stopped app, then db, then the rest; started the rest, then db, then app, none before the wave before it has ended."""
    trial = Trial([guest(n, n % 3) for n in range(9)], WAVES)
    report = there_and_back(trial)
    assert [wave.name for wave in report.waves] == ["rest", "db", "app"]
    assert [request.host_uuid for _, request in trial.cloud.started] == ["h2"] * 3 + ["h1"] * 3 + ["h0"] * 3
    for before, after in (("rest", "db"), ("db", "app")):
        last = max(vm.finished_at or "" for vm in report.vms if vm.wave == before)
        assert all((vm.started_at or "") >= last for vm in report.vms if vm.wave == after)


def test_reversing_twice_is_the_plan() -> None:
    """The graph the other way round, twice, is the graph."""
    plan = Trial([], WAVES).plan.plan
    twice = reversed_plan(reversed_plan(plan))
    assert {wave.name: set(wave.after) for wave in twice.waves} == {wave.name: set(wave.after) for wave in plan.waves}
    assert {wave.name: set(wave.after) for wave in reversed_plan(plan).waves} == {
        "rest": set(), "db": {"rest"}, "app": {"db", "rest"}
    }  # fmt: skip


def test_the_limits_hold() -> None:
    """Never more in flight than the plan's concurrency, on a host than its per_host."""
    trial = Trial([guest(n, n % 2) for n in range(12)], "limits: {concurrency: 3, per_host: 2}\n")
    trial.cloud.peak = 0
    report = there_and_back(trial)
    assert report.totals["started"] == 12
    assert trial.cloud.peak == 3


def test_a_host_that_does_not_take_it() -> None:
    """Refused where it came from: once more wherever the node likes, and the report has the host it is on."""
    trial = Trial([guest(0, 0, start_errors=[chain("VM.1001", "SYS.1006")]), guest(1, 1)])
    there = trial.cloud.guests[f"{0:032x}"]

    async def go() -> None:
        run = await trial.stop()
        there.came_from = "h7"
        await trial.restore(run)

    run_virtual(go)
    vm = next(vm for vm in trial.report().vms if vm.uuid == f"{0:032x}")
    assert [request.host_uuid for _, request in trial.cloud.started if request.vm_uuid == vm.uuid] == ["h0", None]
    assert (vm.outcome, vm.host_uuid) == (Outcome.STARTED, "h7")
    assert [attempt.reason for attempt in vm.attempts] == ["plan", "error"]


def test_twice_does_nothing() -> None:
    """The second restore finds nothing as the run left it, and sends nothing."""
    trial = Trial([guest(n) for n in range(4)])

    async def go() -> None:
        run = await trial.stop()
        assert await trial.restore(run) is not None
        trial.cloud.started.clear()
        assert await trial.restore(run) is None

    run_virtual(go)
    assert trial.cloud.started == []


def test_exactly_what_the_run_stopped() -> None:
    """Not what was Stopped before, what failed, or what came back."""
    off = guest(0)
    off.row = replace(off.row, state="Stopped")
    broken = guest(1, error=chain("VM.1002", "SYS.1006"))
    trial = Trial([off, broken, guest(2), guest(3)])
    report = there_and_back(trial)
    assert [vm.uuid for vm in report.vms] == [f"{n:032x}" for n in (3, 2)]


def test_what_somebody_touched_is_left_and_named() -> None:
    """Started, paused, destroyed, or stopped again by somebody since: left with why, and nothing is sent to it."""
    trial = Trial([guest(n) for n in range(5)])

    async def go() -> None:
        run = await trial.stop()
        trial.row(0, state="Running", host_uuid="h0", last_op=LATER)
        trial.row(1, state="Paused", host_uuid="h0", last_op=LATER)
        trial.row(2, last_op=LATER)
        del trial.cloud.guests[f"{3:032x}"]
        await trial.restore(run)

    run_virtual(go)
    report = trial.report()
    found = {int(vm.uuid, 16): (vm.outcome, vm.reason) for vm in report.vms}
    assert found == {
        0: (Outcome.ALREADY_RUNNING, None),
        1: (Outcome.SKIPPED, Reason.TOUCHED),
        2: (Outcome.SKIPPED, Reason.TOUCHED),
        3: (Outcome.NOT_FOUND, Reason.UNKNOWN_UUID),
        4: (Outcome.STARTED, None),
    }
    assert [request.vm_uuid for _, request in trial.cloud.started] == [f"{4:032x}"]
    assert sum(warning.startswith("left: vm-") for warning in report.run.warnings) == 3
    assert report.run.exit_code == 1


def test_touched_between_the_question_and_its_turn() -> None:
    """One at a time; somebody changes the last one while the first is started: it is left."""
    trial = Trial([guest(n) for n in range(3)], "limits: {concurrency: 1}\n")

    async def go() -> None:
        run = await trial.begin(await trial.stop())
        assert run is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            await anyio.sleep(1.0)
            trial.row(0, last_op=LATER)

    run_virtual(go)
    assert [(vm.outcome, vm.reason) for vm in trial.report().vms] == [
        (Outcome.STARTED, None),
        (Outcome.STARTED, None),
        (Outcome.SKIPPED, Reason.TOUCHED),
    ]


@pytest.mark.parametrize("include_late", [False, True])
def test_what_stopped_late(include_late: bool) -> None:
    """Failed in the run and Stopped now: listed; started only where that is asked for."""
    trial = Trial([guest(0, error=chain("VM.1002", "SYS.1006")), guest(1)])

    async def go() -> None:
        run = await trial.stop()
        trial.row(0, state="Stopped", host_uuid=None, last_op=LATER)
        await trial.restore(run, include_late=include_late)

    run_virtual(go)
    report = trial.report()
    assert len(report.vms) == (2 if include_late else 1)
    assert {vm.outcome for vm in report.vms} == {Outcome.STARTED}
    # Nobody saw how it went off: it is on the morning's list.
    assert [vm.uuid for vm in report.vms if vm.check_after_start] == ([f"{0:032x}"] if include_late else [])
    listed = [warning for warning in report.run.warnings if "was failed in the run" in warning]
    assert len(listed) == (0 if include_late else 1)


def test_what_retries_stopped_comes_back_too() -> None:
    """Failed in the run, stopped by its retry: restoring the run starts both."""
    trial = Trial([guest(0, error=chain("VM.1002", "SYS.1006")), guest(1)])

    async def go() -> None:
        run = await trial.stop()
        trial.cloud.guests[f"{0:032x}"].error = None
        await trial.retry(run)
        await trial.restore(run)

    run_virtual(go)
    assert [vm.outcome for vm in trial.report().vms] == [Outcome.STARTED, Outcome.STARTED]


def test_a_failed_restore_can_be_done_again() -> None:
    """Our own try that failed is nobody else's touch: the second restore starts it, and nothing else."""
    trial = Trial([guest(0, start_errors=[chain("ID.1002")]), guest(1)])

    async def go() -> None:
        run = await trial.stop()
        first = await trial.restore(run)
        assert first is not None
        assert first.exit_code == 1
        # The failed start changed it at the node; verification has read that.
        assert await trial.restore(run) is not None

    run_virtual(go)
    report = trial.report()
    assert [(vm.uuid, vm.outcome) for vm in report.vms if vm.outcome is not Outcome.ALREADY_RUNNING] == [
        (f"{0:032x}", Outcome.STARTED)
    ]


def test_touched_stays_touched() -> None:
    """Left by the first restore, for somebody had it: the second restore, for another VM's sake, leaves it as well."""
    trial = Trial([guest(0), guest(1, start_errors=[chain("ID.1002")])])

    async def go() -> None:
        run = await trial.stop()
        trial.row(0, last_op=LATER)
        await trial.restore(run)
        trial.cloud.started.clear()
        await trial.restore(run)

    run_virtual(go)
    assert [request.vm_uuid for _, request in trial.cloud.started] == [f"{1:032x}"]
    found = {int(vm.uuid, 16): (vm.outcome, vm.reason) for vm in trial.report().vms}
    assert found == {0: (Outcome.SKIPPED, Reason.TOUCHED), 1: (Outcome.STARTED, None)}


def test_a_retry_that_found_it_stopped_does_not_hide_it() -> None:
    """Failed in the run, already stopped for its retry: still listed, and started where late ones are asked for."""
    trial = Trial([guest(0, error=chain("VM.1002", "SYS.1006")), guest(1)])

    async def go() -> None:
        run = await trial.stop()
        trial.row(0, state="Stopped", host_uuid=None)
        await trial.retry(run)
        assert [vm.uuid for vm in (await trial.undo(run)).late] == [f"{0:032x}"]
        await trial.restore(run, include_late=True)

    run_virtual(go)
    assert sorted(request.vm_uuid for _, request in trial.cloud.started) == [f"{0:032x}", f"{1:032x}"]


def test_a_wave_that_fails_ends_what_comes_after() -> None:
    """The databases do not start: the applications are not started over nothing (wave)."""
    broken = [guest(n, 2, start_errors=[chain("ID.1002")] * 3) for n in (2, 5)]
    trial = Trial([guest(0, 0), guest(1, 1), *broken], WAVES)
    report = there_and_back(trial)
    assert {vm.reason for vm in report.vms if vm.outcome is Outcome.NOT_REACHED} == {Reason.WAVE}
    assert report.run.exit_code == 4


def test_what_was_cut_is_to_be_looked_at() -> None:
    """VMs that lost their power when they were stopped are marked in the restore's report."""
    trial = Trial([guest(0, error=chain("VM.1002", "HOST.1006")), guest(1)])
    report = there_and_back(trial)
    assert {vm.uuid: vm.check_after_start for vm in report.vms} == {f"{0:032x}": True, f"{1:032x}": False}


def test_one_that_goes_off_again() -> None:
    """Started, and Stopped at verification: failed, late."""
    trial = Trial([guest(0), guest(1)])

    async def go() -> None:
        run = await trial.begin(await trial.stop())
        assert run is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            await anyio.sleep(8.0)
            trial.row(0, state="Stopped", host_uuid=None)

    run_virtual(go)
    vm = next(vm for vm in trial.report().vms if vm.uuid == f"{0:032x}")
    assert vm.outcome is Outcome.FAILED
    assert vm.evidence is not None
    assert "at verification its state reads Stopped" in vm.evidence.text


@pytest.mark.parametrize("kills", [(0.01,), (1.0,), (3.5, 3.5), (0.5,) * 12, (8.0,)])
def test_a_killed_restore_is_carried_on(kills: Sequence[float]) -> None:
    """Killed at any moment, again and again: every VM is sent one start, waves keep their order, all are started."""
    trial = Trial([guest(n, n % 3) for n in range(9)], WAVES + "limits: {concurrency: 2}\n")

    async def go() -> None:
        run = await trial.begin(await trial.stop())
        assert run is not None
        for seconds in kills:
            with anyio.move_on_after(seconds):
                await run.run()
            if trial.journal.runs()[0].status != "running":
                return
            await anyio.sleep(1.0)
            run = await trial.resume()
        await run.run()

    run_virtual(go)
    report = trial.report()
    assert {vm.outcome for vm in report.vms} == {Outcome.STARTED}
    assert [request.host_uuid for _, request in trial.cloud.started] == ["h2"] * 3 + ["h1"] * 3 + ["h0"] * 3


def test_what_cannot_be_restored() -> None:
    """A restore itself, a run that has not ended, or one whose restore has not: refused with what to do."""
    trial = Trial([guest(0)])

    async def go() -> None:
        run = await trial.stop()
        begun = await trial.begin(run)
        assert begun is not None
        with anyio.move_on_after(0.5):
            await begun.run()
        with pytest.raises(RefusedError, match="orchestrator resume"):
            family(run, trial.journal)
        await (await trial.resume()).run()
        with pytest.raises(RefusedError, match=f"is a restore itself: name .*{run.id}"):
            family(trial.journal.runs()[0], trial.journal)

    run_virtual(go)
