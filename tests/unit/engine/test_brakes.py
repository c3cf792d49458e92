"""Waves, ramp and failure budget in a whole run over the scripted cloud, in virtual time."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.clouds.interface import HaLevels
from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.engine.again import left_over, narrowed
from orchestrator.engine.prepare import check_permission, prepare
from orchestrator.engine.records import Prepared, opening, run_record
from orchestrator.engine.run import Run
from orchestrator.errors import RefusedError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.owner import this_process
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import ReportDocument
from orchestrator.plan.load import PlanFile, plan_from_text
from tests.unit.engine.test_again import Trial as Killed
from tests.unit.engine.test_run import chain, guest
from tests.virtual import run_virtual

TWO_WAVES = """
waves:
  - {name: app, where: [[host_uuid=h0]]}
  - {name: db, after: [app]}
"""
BROKEN = chain("VM.1002", "SYS.1006")
"""An error of class N: failed, and nothing more is sent."""


class Trial:
    """A run of a plan with brakes."""

    def __init__(self, guests: Sequence[Guest], more: str) -> None:
        text = f"version: 1\nname: brakes\ntargets: {{where: [[type=UserVm]]}}\nverify: {{after: 0s}}\n{more}"
        self.plan = plan_from_text(text, name="plan.yaml", folder=Path.cwd())
        self.cloud = MemoryCloud(guests)
        self.journal = MemoryJournal()

    async def once(self, plan: PlanFile, run_id: str = "first") -> ReportDocument:
        """One run of it."""
        prepared = await prepare(plan, self.cloud, strict=False)
        now = datetime.now(UTC).isoformat()
        record = run_record(prepared, run_id=run_id, started_at=now, started_by="t@t", tool_version="0")
        run = Run(opening(prepared, record), self.cloud, self.journal, owner=this_process("t@t"))
        return (await run.run()).document()

    def go(self) -> ReportDocument:
        """In virtual time."""
        return run_virtual(lambda: self.once(self.plan))

    def order(self) -> list[str]:
        """The hosts' numbers of the VMs in the order of their PUTs."""
        return [came_from(self.cloud, request.vm_uuid) for _, request in self.cloud.sent]


def came_from(cloud: MemoryCloud, uuid: str) -> str:
    """The host a VM is on, or was."""
    guest = cloud.guests[uuid]
    return guest.row.host_uuid or guest.came_from or ""


def outcomes(report: ReportDocument) -> list[tuple[str | None, str | None]]:
    """Outcome and reason in the plan's order."""
    return [(vm.outcome, vm.reason) for vm in report.vms]


def reached(report: ReportDocument) -> int:
    """How many had their turn."""
    return sum(vm.outcome is not Outcome.NOT_REACHED for vm in report.vms)


# ── waves ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_wave_waits_for_the_one_before() -> None:
    """No VM of db is sent before every VM of app has its outcome; both waves have their times and totals."""
    trial = Trial([guest(n, n % 2) for n in range(12)], TWO_WAVES)
    report = trial.go()
    assert trial.order() == ["h0"] * 6 + ["h1"] * 6
    app, db = report.waves
    assert (app.name, db.name) == ("app", "db")
    assert app.totals["stopped_clean"] == db.totals["stopped_clean"] == 6
    last = max(vm.finished_at or "" for vm in report.vms if vm.wave == "app")
    assert all((vm.started_at or "") >= last for vm in report.vms if vm.wave == "db")
    assert report.run.exit_code == 0
    assert app.finished_at is not None
    assert db.started_at is not None


def test_a_failure_ends_what_comes_after() -> None:
    """Without per_wave one failure in app leaves db not reached (wave), transitively; the run stops early, 4."""
    more = TWO_WAVES + "  - {name: last, after: [db], where: [[host_uuid=h2]]}\n"
    guests = [guest(n, n % 3, error=BROKEN if n == 0 else None) for n in range(9)]
    report = Trial(guests, more).go()
    left = [vm for vm in report.vms if vm.wave != "app"]
    assert {(vm.outcome, vm.reason) for vm in left} == {(Outcome.NOT_REACHED, Reason.WAVE)}
    assert (report.run.status, report.run.ended_by, report.run.exit_code) == ("stopped_early", "budget", 4)
    assert [(stop.kind, stop.scope, stop.count, stop.limit) for stop in report.run.stops] == [
        ("wave", "wave db", 1, 0),
        ("wave", "wave last", 1, 0),
    ]


@pytest.mark.parametrize(("failing", "opens"), [(1, True), (2, False)])
def test_per_wave_is_how_many_may_fail(failing: int, opens: bool) -> None:
    """20 % of 6 is 1: the second failure leaves the followers closed."""
    guests = [guest(n, n % 2, error=BROKEN if n < 2 * failing and not n % 2 else None) for n in range(12)]
    report = Trial(guests, TWO_WAVES + "budget: {per_wave: 20%}\n").go()
    assert (report.totals["not_reached"] == 0) is opens


def test_side_by_side_waves_share_the_runs_limits() -> None:
    """Waves without `after` start at once, side by side, within the run's concurrency and each within its own."""
    waves = "waves:\n  - {name: a, where: [[host_uuid=h0]], limits: {concurrency: 2}}\n  - {name: b}\n"
    trial = Trial([guest(n, n % 2) for n in range(20)], waves + "limits: {concurrency: 5, per_host: 5}\n")
    report = trial.go()
    assert trial.cloud.peak == 5
    assert set(trial.order()[:5]) == {"h0", "h1"}
    assert trial.order()[:5].count("h0") == 2
    assert report.totals["stopped_clean"] == 20


def test_a_wave_has_its_own_way_to_stop() -> None:
    """`stop: {fallback: none}` in db: app's broken guest is stopped cold, db's fails."""
    waves = "waves:\n  - {name: app, where: [[host_uuid=h0]]}\n  - {name: db, stop: {fallback: none}}\n"
    guests = [guest(n, n % 2, error=chain("VM.1002", "HOST.1006")) for n in range(2)]
    report = Trial(guests, waves).go()
    assert [vm.outcome for vm in report.vms] == [Outcome.STOPPED_COLD, Outcome.FAILED]


@pytest.mark.parametrize("stop_ha", ["true", "false"])
def test_a_wave_that_leaves_ha_alone(stop_ha: str) -> None:
    """`stop_ha: false` in one wave: the node is asked how it is told so, and that wave's HA guests alone are warned of."""
    waves = f"waves:\n  - {{name: app, where: [[host_uuid=h0]], stop: {{stop_ha: {stop_ha}}}}}\n  - {{name: db}}\n"

    class Asked(MemoryCloud):
        learned = False

        async def learn_stop_ha(self) -> None:
            self.learned = True

        async def ha_levels(self, uuids: Sequence[str]) -> HaLevels:
            return HaLevels(dict.fromkeys(uuids, "NeverStop"))

    trial, cloud = Trial([], waves), Asked([guest(0, 0), guest(1, 1)])

    async def go() -> Prepared:
        await check_permission(cloud, trial.plan.plan)
        return await prepare(trial.plan, cloud, strict=False)

    warnings = run_virtual(go).preview.warnings
    assert cloud.learned is (stop_ha == "false")
    assert [warning for warning in warnings if warning.startswith("HA")] == (
        [f"HA would bring back vm-0 ({0:032x}), its level is NeverStop: stop.stop_ha is false"] if stop_ha == "false" else []
    )


@pytest.mark.parametrize(
    ("waves", "words"),
    [
        ("  - {name: a, where: [[host_uuid=h0]]}\n  - {name: b, where: [[cluster_uuid=c]]}\n", "both waves a and b (vm-0)"),
        ("  - {name: a, where: [[host_uuid=h0]]}\n", "in no wave (vm-1)"),
    ],
)
def test_each_vm_is_in_one_wave(waves: str, words: str) -> None:
    """A VM that two waves take, or none, refuses the run by name before the first change."""
    trial = Trial([guest(0, 0), guest(1, 1)], "waves:\n" + waves)
    with pytest.raises(RefusedError) as refused:
        trial.go()
    assert words in str(refused.value)
    assert trial.cloud.sent == []


# ── ramp ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_ramp_goes_step_by_step() -> None:
    """1, then half, then all: no step begins before everything of the one before has ended."""
    trial = Trial([guest(n, n) for n in range(8)], "limits: {ramp: [1, 50%, 100%]}\n")
    report = trial.go()
    times = [at for at, _ in trial.cloud.sent]
    assert len(times) == 8
    assert times[1] - times[0] > 4
    assert times[4] - times[3] > 4
    assert times[3] - times[1] < 4
    assert report.totals["stopped_clean"] == 8


def test_a_failed_canary_ends_the_wave() -> None:
    """Without per_wave the first step's failure leaves the rest not reached, for the ramp."""
    report = Trial([guest(n, 0, error=BROKEN) for n in range(5)], "limits: {ramp: [1, 100%]}\n").go()
    assert reached(report) == 1
    assert {reason for outcome, reason in outcomes(report) if outcome == "not_reached"} == {Reason.RAMP}
    assert (report.run.ended_by, report.run.exit_code) == ("ramp", 4)


# ── budget ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def one_by_one(count: int, error: Callable[[int], Any], hosts: int = 1) -> list[Guest]:
    """VMs of which some break."""
    return [guest(n, n % hosts, error=error(n)) for n in range(count)]


def test_a_run_wide_budget_is_final() -> None:
    """5 % of 50 is 2: the third failure ends the run; what is in flight ends by the rules, fallback included."""
    guests = one_by_one(50, lambda n: BROKEN if n < 10 else None)
    report = Trial(guests, "limits: {concurrency: 1}\nbudget: {failures: 5%}\n").go()
    assert report.totals["failed"] == 3
    assert report.totals["not_reached"] == 47
    assert {vm.reason for vm in report.vms if vm.outcome == "not_reached"} == {Reason.BUDGET}
    assert [(stop.kind, stop.scope, stop.count, stop.limit) for stop in report.run.stops] == [("failures", "run", 3, 2)]
    assert (report.run.ended_by, report.run.exit_code) == ("budget", 4)


def test_a_crossed_budget_does_not_withhold_the_fallback() -> None:
    """The VM in flight when the budget is crossed still gets its cold stop."""
    slow = guest(1, 1, seconds=20.0, error=chain("VM.1002", "HOST.1006"))
    report = Trial([guest(0, 0, error=BROKEN), slow, guest(2, 0)], "limits: {per_host: 1}\nbudget: {failures: 0}\n").go()
    assert [vm.outcome for vm in report.vms] == [Outcome.FAILED, Outcome.STOPPED_COLD, Outcome.NOT_REACHED]


def test_one_dead_host_is_closed_and_the_rest_goes_on() -> None:
    """per_host closes that host alone; its failures leave the other counts, so that they don't end the run."""
    guests = one_by_one(40, lambda n: BROKEN if n % 4 == 0 else None, hosts=4)
    report = Trial(guests, "limits: {per_host: 1}\nbudget: {per_host: 2, failures: 2}\n").go()
    dead = [vm for vm in report.vms if vm.host_uuid == "h0"]
    assert sum(vm.outcome is Outcome.FAILED for vm in dead) == 3
    assert {vm.reason for vm in dead if vm.outcome is Outcome.NOT_REACHED} == {Reason.HOST_BUDGET}
    assert {vm.outcome for vm in report.vms if vm.host_uuid != "h0"} == {Outcome.STOPPED_CLEAN}
    assert [stop.kind for stop in report.run.stops] == ["host_budget"]
    assert report.run.exit_code == 4


def test_the_same_cause_everywhere_ends_the_run() -> None:
    """Equal chains of codes count together, whatever the host; others count apart."""
    guests = one_by_one(30, lambda n: BROKEN if n % 2 else chain("VM.1002", "SYS.1007"), hosts=5)
    report = Trial(guests, "limits: {concurrency: 1}\nbudget: {same_cause: 2}\n").go()
    assert report.totals["failed"] in {3, 4, 5}
    assert [stop.kind for stop in report.run.stops] == ["same_cause"]


def test_power_cuts_have_a_budget() -> None:
    """Cold fallbacks count, where the plan did not ask for cold."""
    guests = one_by_one(20, lambda n: chain("VM.1002", "HOST.1006"))
    report = Trial(guests, "limits: {concurrency: 1}\nbudget: {power_cuts: 10%}\n").go()
    assert report.totals["stopped_cold"] == 3
    asked = Trial(one_by_one(20, lambda n: None), "stop: {type: cold}\nbudget: {power_cuts: 0}\n").go()
    assert asked.totals["stopped_cold"] == 20


# ── again ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_retry_keeps_waves_without_the_ramp() -> None:
    """What a failed wave left is tried again in the same order, without the ramp."""
    trial = Trial(
        [guest(n, n % 2, error=BROKEN if n == 0 else None) for n in range(8)], TWO_WAVES + "limits: {ramp: [1, 100%]}\n"
    )

    async def both() -> tuple[ReportDocument, ReportDocument]:
        first = await trial.once(trial.plan)
        trial.cloud.guests[f"{0:032x}"].error = None
        trial.cloud.sent.clear()
        vms = left_over(trial.journal.run("first"), trial.journal)
        return first, await trial.once(narrowed(trial.plan, first.run, vms), "second")

    first, second = run_virtual(both)
    assert first.totals["failed"] == 1
    assert second.totals["stopped_clean"] == len(second.vms) == first.totals["failed"] + first.totals["not_reached"]
    order = trial.order()
    assert order == sorted(order)


def plan_of(more: str) -> PlanFile:
    """A plan with brakes, for runs that are killed."""
    text = f"version: 1\nname: brakes\ntargets: {{where: [[type=UserVm]]}}\nverify: {{after: 0s}}\n{more}"
    return plan_from_text(text, name="plan.yaml", folder=Path.cwd())


def killed(guests: Sequence[Guest], more: str, kills: Sequence[float]) -> tuple[Killed, ReportDocument]:
    """A run that is killed again and again, and carried on to its end."""
    trial = Killed(guests)
    trial.plan_file = plan_of(more)

    async def go() -> None:
        run = await trial.begin()
        for seconds in kills:
            await trial.go(run, killed_after=seconds)
            if trial.report().run.status != "running":
                return
            await anyio.sleep(1.0)
            run = await trial.resume()
        await trial.go(run)

    run_virtual(go)
    return trial, trial.report()


@pytest.mark.parametrize("kills", [(0.01,), (2.0,), (5.5, 5.5), (6.0, 1.0, 1.0, 1.0, 4.0), (11.0,), (3.0,) * 12])
def test_a_killed_run_keeps_its_order(kills: Sequence[float]) -> None:
    """Killed at any moment: the waves keep their order and their ramp, and every VM is sent one stop."""
    more = TWO_WAVES + "limits: {ramp: [1, 50%, 100%]}\n"
    trial, report = killed([guest(n, n % 2) for n in range(12)], more, kills)
    hosts = [came_from(trial.cloud, request.vm_uuid) for _, request in trial.cloud.sent]
    assert hosts == ["h0"] * 6 + ["h1"] * 6
    assert {vm.outcome for vm in report.vms} == {Outcome.STOPPED_CLEAN}
    assert [wave.totals["stopped_clean"] for wave in report.waves] == [6, 6]
    assert trial.cloud.peak <= 5


@pytest.mark.parametrize("kills", [(), (1.0,), (6.0,), (11.0, 11.0), (2.0,) * 8])
def test_a_killed_run_keeps_its_counts(kills: Sequence[float]) -> None:
    """The failures of before count on: the third ends the run however often it was killed, and nothing starts after it."""
    guests = [guest(n, n % 3, error=BROKEN) for n in range(12)]
    _, report = killed(guests, "limits: {concurrency: 1}\nbudget: {failures: 2}\n", kills)
    assert report.totals["failed"] == 3
    assert {vm.reason for vm in report.vms if vm.outcome == "not_reached"} == {Reason.BUDGET}
    assert "failures" in {stop.kind for stop in report.run.stops}
    assert (report.run.status, report.run.exit_code) == ("stopped_early", 4)
