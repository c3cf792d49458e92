"""The maintenance window over the scripted cloud, in virtual time: start, close, end, and what a run does about them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.engine.again import kept_plan, left_over, narrowed, take_up, with_window_end
from orchestrator.engine.clock import Clock
from orchestrator.engine.prepare import prepare
from orchestrator.engine.records import Prepared, opening, run_record
from orchestrator.engine.run import Run
from orchestrator.engine.start import at_start
from orchestrator.engine.window import Times, in_words, times_of
from orchestrator.errors import NodeUnreachableError, RefusedError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.model.event import Event
from orchestrator.model.outcome import AttemptReason, Outcome, Reason
from orchestrator.model.report import ReportDocument
from orchestrator.plan.load import plan_from_text
from tests.contract.journals import DEAD
from tests.unit.engine.test_run import chain, guest
from tests.virtual import run_virtual

EPOCH = 1_800_000_000.0
"""By the wall clock, when the loop's own says 1000."""


class WallClock(Clock):
    """Goes with the loop's virtual time; `asleep` are the seconds for which the machine's timers stood still."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = 0.0

    def unix(self) -> float:
        """Seconds since 1970."""
        return EPOCH + anyio.current_time() - 1000.0 + self.asleep


def moment(seconds: float) -> str:
    """So long after the test begins, as a plan writes it."""
    return datetime.fromtimestamp(EPOCH + seconds, UTC).isoformat()


class Trial:
    """One run in a window that ends `end` seconds from now, of one process after the other."""

    def __init__(self, guests: Sequence[Guest], end: float | None = None, window: str = "", more: str = "") -> None:
        ends = "" if end is None else f"window: {{end: '{moment(end)}'{window}}}\n"
        self.text = f"version: 1\nname: w\ntargets: {{where: [[type=UserVm]]}}\nverify: {{after: 1m}}\n{ends}{more}"
        self.plan = plan_from_text(self.text, name="plan.yaml", folder=Path.cwd())
        self.cloud = MemoryCloud(guests)
        self.journal = MemoryJournal()
        self.events: list[Event] = []
        self.clock = WallClock()

    async def begin(self, run_id: str = "20270101T000000Z-0001") -> Run:
        """A run, not yet begun."""
        self.clock = WallClock()
        took = self.journal.took
        prepared = await prepare(self.plan, self.cloud, strict=False, took=took, clock=self.clock)
        record = run_record(prepared, run_id=run_id, started_at=self.clock.wall(), started_by="t@t", tool_version="0")
        return self.run(opening(prepared, record))

    def run(self, opened: object) -> Run:
        """A run of that opening."""
        return Run(opened, self.cloud, self.journal, owner=DEAD, clock=self.clock, listeners=[self.events.append])  # type: ignore[arg-type]

    async def resume(self, window_end: datetime | None = None) -> Run:
        """The same run in another process."""
        run = self.journal.runs()[0]
        await self.journal.take_over(run.id, DEAD)
        kept = kept_plan(self.journal.plan_file(run.id))
        self.clock = WallClock()
        opened = take_up(run, kept, self.journal, self.cloud, ahead_seconds=0.0, clock=self.clock, window_end=window_end)
        return self.run(opened)

    def go(self) -> ReportDocument:
        """One run to its end."""

        async def whole() -> None:
            await (await self.begin()).run()

        run_virtual(whole)
        return self.report()

    def report(self) -> ReportDocument:
        """What the journal holds of the newest run."""
        return self.journal.report(self.journal.runs()[0].id).document()

    def told(self, kind: str) -> list[Event]:
        """The events of this kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def sent_at(self) -> list[float]:
        """Seconds from the beginning at which PUTs left."""
        return [at - 1000.0 for at, _ in self.cloud.sent]


def not_reached(report: ReportDocument) -> set[str | None]:
    """The reasons of those without a turn."""
    return {vm.reason for vm in report.vms if vm.outcome is Outcome.NOT_REACHED}


SLOW = "limits: {concurrency: 1}\n"


# ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_nothing_begins_after_the_end() -> None:
    """One at a time, 10 s each, 35 s of window: four begin, the fourth ends by the plan's rules, six are not reached."""
    trial = Trial([guest(n, seconds=10.0) for n in range(10)], 35.0, more=SLOW)
    report = trial.go()
    assert report.totals["stopped_clean"] == 4
    assert report.totals["not_reached"] == 6
    assert not_reached(report) == {Reason.WINDOW}
    assert max(trial.sent_at) < 35
    assert (report.run.status, report.run.ended_by, report.run.exit_code) == ("stopped_early", "window", 4)
    assert [(stop.kind, stop.scope) for stop in report.run.stops] == [("window", "run")]
    assert all(vm.verified_at for vm in report.vms if vm.outcome is Outcome.STOPPED_CLEAN), "verified past the end"
    assert [event.data for event in trial.told("window.closed")] == [{"not_reached": 6, "in_flight": 1}]
    assert [event.kind for event in trial.events if event.kind in {"window.closed", "window.ended"}] == [
        "window.closed",
        "window.ended",
    ]


def test_a_run_that_fits_does_not_notice() -> None:
    """All have ended before the window's end: finished, 0, no word of the window."""
    trial = Trial([guest(n) for n in range(4)], 3600.0)
    report = trial.go()
    assert (report.run.status, report.run.exit_code, report.run.stops) == ("finished", 0, ())
    assert not [event for event in trial.events if event.kind.startswith("window")]
    assert report.run.window is not None
    assert report.run.window.end == "2027-01-15T09:00:00.000Z"


def test_at_end_finish_keeps_the_fallback() -> None:
    """In flight at the end, its grace fails later: it still gets the plan's cold stop."""
    broken = guest(0, seconds=30.0, error=chain("VM.1002", "HOST.1006"))
    report = Trial([broken, guest(1)], 20.0, more=SLOW).go()
    assert [vm.outcome for vm in report.vms] == [Outcome.STOPPED_COLD, Outcome.NOT_REACHED]


def test_at_end_cold() -> None:
    """What hangs at the end gets a cold stop whatever `fallback` says; it is no power cut for the budget."""
    more = "stop: {fallback: none}\nbudget: {power_cuts: 0}\n"
    guests = [guest(0, seconds=None), guest(1, seconds=5.0), guest(2, seconds=None)]
    trial = Trial(guests, 40.0, ", at_end: cold", more)
    report = trial.go()
    assert [vm.outcome for vm in report.vms] == [Outcome.STOPPED_COLD, Outcome.STOPPED_CLEAN, Outcome.STOPPED_COLD]
    colds = [attempt for vm in report.vms for attempt in vm.attempts if attempt.type == "cold"]
    assert {attempt.reason for attempt in colds} == {AttemptReason.WINDOW}
    assert all(40.0 <= at < 45.0 for at in trial.sent_at[3:])
    assert [(stop.scope, stop.count) for stop in report.run.stops] == [("VMs in flight, cold", 2)]
    assert report.run.exit_code == 0
    took = trial.journal.took("stop", [vm.uuid for vm in report.vms])
    assert list(took) == [report.vms[1].uuid], "a cold stop at the window's end says nothing of what a VM takes"


def test_at_end_abandon() -> None:
    """What hangs is read once and left, at once; verification still looks at it, and finds what stopped meanwhile."""
    guests = [guest(0, seconds=None), guest(1, seconds=80.0), guest(2, seconds=5.0)]
    trial = Trial(guests, 40.0, ", at_end: abandon")
    report = trial.go()
    hung, late, quick = report.vms
    assert (hung.outcome, hung.reason) == (Outcome.UNKNOWN, Reason.STILL_STOPPING)
    assert (late.outcome, late.late) == (Outcome.STOPPED_FORCED, True)
    assert quick.outcome is Outcome.STOPPED_CLEAN
    assert hung.finished_at is not None
    assert hung.finished_at < "2027-01-15T08:00:45"
    assert len(trial.cloud.sent) == 3
    assert report.run.exit_code == 1


def test_an_interrupt_comes_before_the_window() -> None:
    """After Ctrl-C the end of the window sends no cold, and what waited is not reached for the operator."""
    trial = Trial([guest(0, seconds=60.0), guest(1)], 30.0, ", at_end: cold", SLOW)

    async def go() -> None:
        run = await trial.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            await anyio.sleep(10.0)
            run.interrupt()

    run_virtual(go)
    report = trial.report()
    assert [vm.outcome for vm in report.vms] == [Outcome.STOPPED_FORCED, Outcome.NOT_REACHED]
    assert not_reached(report) == {Reason.OPERATOR}
    assert len(trial.cloud.sent) == 1


def test_waves_that_the_window_leaves_out() -> None:
    """Nothing of the second wave has begun at the end: all of it is not reached, for the window."""
    waves = "waves:\n  - {name: app, where: [[host_uuid=h0]]}\n  - {name: db, after: [app]}\n"
    trial = Trial([guest(n, n % 2, seconds=30.0) for n in range(4)], 20.0, more=waves)
    report = trial.go()
    assert [wave.totals["not_reached"] for wave in report.waves] == [0, 2]
    assert not_reached(report) == {Reason.WINDOW}
    assert len(trial.cloud.sent) == 2


# ── the reserve ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_reserve_is_kept_free() -> None:
    """Nothing begins in the reserve; and what ended in an earlier run after 50 s is not begun 40 s before it."""
    trial = Trial([guest(0, seconds=50.0), guest(1, seconds=8.0), guest(2, seconds=8.0)], 100.0, ", reserve: 1m", SLOW)

    async def twice() -> None:
        first = Trial(list(trial.cloud.guests.values()))
        first.journal = trial.journal
        await (await first.begin("20260101T000000Z-0000")).run()
        for each in trial.cloud.guests.values():
            each.row = guest(int(each.row.uuid, 16)).row
        trial.cloud.sent.clear()

    run_virtual(twice)
    report = trial.go()
    assert [vm.outcome for vm in report.vms] == [Outcome.NOT_REACHED, Outcome.STOPPED_CLEAN, Outcome.STOPPED_CLEAN]
    assert report.vms[0].evidence is not None
    assert "forecast to take 5" in report.vms[0].evidence.text
    assert max(trial.sent_at) < 40
    assert report.run.ended_by == "window"


def test_the_reserve_without_history() -> None:
    """Nobody knows the VMs: each is expected to take the mean, and none begins that would end in the reserve by it."""
    trial = Trial([guest(n, seconds=25.0) for n in range(10)], 150.0, ", reserve: 1m", SLOW)
    report = trial.go()
    assert report.totals["stopped_clean"] == 3
    assert max(trial.sent_at) + 25 <= 90


# ── the forecast ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_forecast_that_crosses_warns() -> None:
    """Twenty VMs one after the other in a minute: warned as it begins, in the report, and told with what it rests on."""
    trial = Trial([guest(n, seconds=20.0) for n in range(20)], 60.0, more=SLOW)
    report = trial.go()
    assert len(trial.told("window.crossed")) == 1
    assert any("was forecast to end at" in warning for warning in report.run.warnings)
    assert any(warning.startswith("the forecast crosses the window") for warning in report.run.warnings)
    forecasts = trial.told("run.forecast")
    assert forecasts[0].data["rests_on"] == "an assumption of 25 s a VM"
    assert all(one.data["low"] <= one.data["likely"] <= one.data["high"] for one in forecasts)


def test_a_forecast_that_comes_back() -> None:
    """Guests that are quicker than assumed: crossed as it begins, back within the window soon after."""
    trial = Trial([guest(n, seconds=2.0) for n in range(20)], 180.0, more=SLOW)
    report = trial.go()
    assert [event.kind for event in trial.events if event.kind.startswith("window")] == ["window.crossed", "window.fits"]
    assert (report.run.status, report.totals["stopped_clean"]) == ("finished", 20)


def test_a_forecast_comes_near() -> None:
    """Of sixty VMs of 30 s, five at a time, the forecasts of the second half lie within a fifth of what was left."""
    trial = Trial([guest(n, seconds=30.0) for n in range(60)], more="limits: {concurrency: 5}\n")
    trial.go()
    ended = max(event.at for event in trial.told("vm.outcome"))
    end = datetime.fromisoformat(ended).timestamp()
    late = [event for event in trial.told("run.forecast") if datetime.fromisoformat(event.at).timestamp() > end - 200]
    assert late
    for event in late:
        left = end - datetime.fromisoformat(event.at).timestamp()
        said = datetime.fromisoformat(str(event.data["likely"])).timestamp() - datetime.fromisoformat(event.at).timestamp()
        assert said == pytest.approx(left, abs=0.2 * left + 25)


def test_what_vms_took_last_time() -> None:
    """The second run of the same VMs rests on the first, and its preview says so."""
    trial = Trial([guest(n, seconds=12.0) for n in range(6)], more=SLOW)
    trial.go()
    for each in trial.cloud.guests.values():
        each.row = guest(int(each.row.uuid, 16)).row

    async def preview() -> Prepared:
        took = trial.journal.took
        return await prepare(trial.plan, trial.cloud, strict=False, took=took)

    forecast = run_virtual(preview).preview.forecast
    assert forecast is not None
    assert forecast.rests_on == "what all 6 VMs took last time"
    assert forecast.low_seconds <= 6 * 14 <= forecast.high_seconds


# ── what an independent look has found ─────────────────────────────────────────────────────────────────────────────
def test_the_close_is_carried_out_whole() -> None:
    """Nothing in flight when the window closes, and nothing to verify: each of many still gets its outcome."""
    trial = Trial([guest(n, seconds=2.0) for n in range(1500)], 30.0, more="limits: {concurrency: 1}\n")
    trial.plan = plan_from_text(trial.text.replace("after: 1m", "after: 0s"), name="plan.yaml", folder=Path.cwd())

    async def go() -> None:
        run = await trial.begin()
        run._dispatcher.paused = True
        await run.run()

    run_virtual(go)
    report = trial.report()
    assert report.totals["not_reached"] == 1500
    assert {vm.reason for vm in report.vms} == {Reason.WINDOW}


def test_a_machine_that_sleeps_past_the_end_sends_nothing() -> None:
    """Asleep for hours between a VM's read and its PUT: the window has closed, though nobody has looked yet."""
    trial = Trial([guest(n) for n in range(3)], 3600.0)
    real = trial.cloud.read

    async def read(uuids: Sequence[str]) -> object:
        seen = await real(uuids)
        trial.clock.asleep = 4 * 3600.0
        return seen

    async def go() -> None:
        run = await trial.begin()
        trial.cloud.read = read  # type: ignore[method-assign, assignment]
        await run.run()

    run_virtual(go)
    assert trial.cloud.sent == []
    assert not_reached(trial.report()) == {Reason.WINDOW}


def test_what_waited_too_long_for_its_turn_does_not_begin_in_the_reserve() -> None:
    """It fitted when its turn came, then migrated for a minute: by now it would end in the reserve."""
    trial = Trial([guest(0)], 200.0, ", reserve: 1m")

    async def go() -> None:
        run = await trial.begin()
        trial.cloud.guests[f"{0:032x}"].row = replace(guest(0).row, state="Migrating")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            await anyio.sleep(125.0)
            trial.cloud.guests[f"{0:032x}"].row = guest(0).row

    run_virtual(go)
    assert trial.cloud.sent == []
    assert not_reached(trial.report()) == {Reason.WINDOW}


def test_the_end_is_heeded_during_a_look() -> None:
    """The window ends while a job is looked at, for a long time: the cold stop leaves after it, not minutes later."""
    trial = Trial([guest(0, seconds=None)], 60.0, ", at_end: cold")
    real = trial.cloud.look

    async def look(job_uuid: str) -> object:
        if 50.0 < anyio.current_time() - 1000.0 < 60.0:
            await anyio.sleep(20.0)
        return await real(job_uuid)

    async def go() -> None:
        run = await trial.begin()
        with anyio.move_on_after(20.0):
            await run.run()
        await anyio.sleep(33.0)
        trial.cloud.look = look  # type: ignore[method-assign, assignment]
        await (await trial.resume()).run()

    run_virtual(go)
    assert [vm.outcome for vm in trial.report().vms] == [Outcome.STOPPED_COLD]
    assert 60.0 <= trial.sent_at[-1] < 100.0


def test_time_without_a_process_is_not_what_a_vm_takes() -> None:
    """Killed at night and carried on in the morning: the next forecast knows nothing of those hours."""
    trial = Trial([guest(n, seconds=20.0) for n in range(2)], 20 * 3600.0)
    killed_and_carried_on(trial, 5.0, 8 * 3600.0)
    assert trial.journal.took("stop", list(trial.cloud.guests)) == {}


@pytest.mark.parametrize("at_end", ["cold", "abandon"])
def test_after_ctrl_c_the_end_changes_nothing(at_end: str) -> None:
    """No cold, nobody left, and no word of either: the job is followed to its end."""
    trial = Trial([guest(0, seconds=60.0)], 30.0, f", at_end: {at_end}")

    async def go() -> None:
        run = await trial.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.run)
            await anyio.sleep(10.0)
            run.interrupt()

    run_virtual(go)
    report = trial.report()
    assert [vm.outcome for vm in report.vms] == [Outcome.STOPPED_FORCED]
    assert [stop.kind for stop in report.run.stops] == ["operator"]
    assert trial.told("window.ended") == []


def test_carried_on_after_the_end_with_abandon() -> None:
    """A run that is carried on after its window follows its jobs to their ends, whatever `at_end` says."""
    trial = Trial([guest(0, seconds=100.0)], 30.0, ", at_end: abandon")
    report = killed_and_carried_on(trial, 10.0, 40.0)
    assert [vm.outcome for vm in report.vms] == [Outcome.STOPPED_FORCED]


# ── carried on ─────────────────────────────────────────────────────────────────────────────────────────────────────
def killed_and_carried_on(trial: Trial, after: float, pause: float, window_end: float | None = None) -> ReportDocument:
    """Killed after some seconds, carried on some seconds later."""

    async def go() -> None:
        run = await trial.begin()
        with anyio.move_on_after(after):
            await run.run()
        await anyio.sleep(pause)
        end = None if window_end is None else datetime.fromtimestamp(EPOCH + window_end, UTC)
        await (await trial.resume(end)).run()

    run_virtual(go)
    return trial.report()


def test_carried_on_after_the_end_nothing_is_sent() -> None:
    """The next process comes when the window is over: no PUT, cold included; jobs are followed, the rest not reached."""
    guests = [guest(0, seconds=100.0, error=chain("HOST.1006")), guest(1, seconds=90.0), *(guest(n) for n in range(2, 6))]
    trial = Trial(guests, 60.0, ", at_end: cold", "limits: {concurrency: 2}\n")
    report = killed_and_carried_on(trial, 20.0, 45.0)
    assert [vm.outcome for vm in report.vms[:2]] == [Outcome.FAILED, Outcome.STOPPED_FORCED]
    assert report.vms[0].reason == Reason.FALLBACK_WITHHELD
    assert not_reached(report) == {Reason.WINDOW}
    assert len(trial.cloud.sent) == 2
    assert (report.run.ended_by, report.run.exit_code) == ("window", 4)


def test_carried_on_within_the_window_it_keeps_to_its_end() -> None:
    """A run that was killed early goes on, and still begins nothing after the end."""
    trial = Trial([guest(n, seconds=10.0) for n in range(12)], 60.0, more=SLOW)
    report = killed_and_carried_on(trial, 15.0, 5.0)
    assert max(trial.sent_at) < 60
    assert 4 <= report.totals["stopped_clean"] <= 6
    assert not_reached(report) == {Reason.WINDOW}


def test_window_end_gives_another_end() -> None:
    """`resume --window-end`: the run goes on past the plan's end to the new one, and the report has that."""
    trial = Trial([guest(n, seconds=10.0) for n in range(6)], 60.0, more=SLOW)
    report = killed_and_carried_on(trial, 15.0, 60.0, window_end=3600.0)
    # The one in flight when it was killed is seen a minute late.
    assert (report.totals["stopped_clean"], report.totals["stopped_forced"]) == (5, 1)
    assert report.run.window is not None
    assert report.run.window.end == "2027-01-15T09:00:00.000Z"
    assert report.run.exit_code == 0


def test_a_retry_after_the_end_is_refused() -> None:
    """The plan's window is over: refused with what to do; with another end it runs."""
    trial = Trial([guest(n, seconds=10.0) for n in range(6)], 35.0, more=SLOW)

    async def go() -> tuple[Prepared, Prepared]:
        await (await trial.begin()).run()
        run = trial.journal.runs()[0]
        again = narrowed(trial.plan, run, left_over(run, trial.journal))
        later = with_window_end(again, datetime.fromtimestamp(EPOCH + 3600, UTC))
        ready = [await prepare(each, trial.cloud, strict=False, clock=trial.clock) for each in (again, later)]
        return ready[0], ready[1]

    refused, ready = run_virtual(go)
    assert any("--window-end TIME" in problem for problem in refused.preview.problems)
    assert ready.preview.problems == ()
    assert ready.preview.window is not None
    assert (ready.preview.window.start, ready.preview.window.at_end) == (None, "finish")


# ── the start ──────────────────────────────────────────────────────────────────────────────────────────────────────
class Start:
    """A run that waits for a start in an hour, in a window of two hours."""

    def __init__(self, guests: Sequence[Guest]) -> None:
        self.trial = Trial(guests, 3 * 3600.0, f", start: '{moment(3600)}'")
        self.said: list[tuple[str, str]] = []
        self.clock = WallClock()
        self.away = (0.0, 0.0)

    async def ready(self) -> Prepared:
        """As the command does it."""
        if self.away[0] <= self.clock.unix() - EPOCH < self.away[1]:
            raise NodeUnreachableError("away")
        return await prepare(self.trial.plan, self.trial.cloud, strict=False, clock=self.clock)

    def go(self, asleep: float = 0.0) -> tuple[Prepared, float]:
        """What is ready at the start, and when; the machine sleeps so long meanwhile."""

        async def wait() -> tuple[Prepared, float]:
            self.clock = WallClock()
            before = await self.ready()
            window = times_of(self.trial.plan.plan.window)
            assert window is not None

            async def act() -> None:
                await anyio.sleep(60.0)
                self.clock.asleep = asleep
                self.trial.cloud.guests.pop(f"{0:032x}")
                self.trial.cloud.guests[f"{9:032x}"] = guest(9)

            made: Prepared | RefusedError | NodeUnreachableError
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(act)
                try:
                    made = await at_start(
                        before, self.ready, window, self.clock, outage_seconds=600.0,
                        say=lambda *words: self.said.append(words),
                    )  # fmt: skip
                except (RefusedError, NodeUnreachableError) as error:
                    made = error  # raised below: a task group would wrap it
            if not isinstance(made, Prepared):
                raise made
            return made, self.clock.unix() - EPOCH

        return run_virtual(wait)


def test_it_waits_and_resolves_again() -> None:
    """At the start the plan is resolved anew; that is what runs, and the difference is said and kept as warnings."""
    start = Start([guest(0), guest(1)])
    made, at = start.go()
    assert 3600 <= at < 3601
    assert [verdict.target.uuid for verdict in made.verdicts] == [f"{1:032x}", f"{9:032x}"]
    assert start.said[0][1].startswith("waiting for the window's start at 2027-01-15T09:00:00.000Z, in 60 min")
    differences = [warning for warning in made.preview.warnings if warning.startswith("since the command was given: ")]
    assert [warning.split(") ")[-1] for warning in differences] == ["appeared", "vanished"]
    assert [text for level, text in start.said if level == "warning"] == differences


def test_a_machine_that_slept_through_the_start_says_so() -> None:
    """Awake an hour and a half late: it says so, begins at once, and the window's end stays."""
    made, at = Start([guest(0), guest(1)]).go(asleep=9000.0)
    assert 9000 <= at < 9100
    words = [warning for warning in made.preview.warnings if "the machine slept" in warning]
    assert len(words) == 1
    assert "the window still ends at 2027-01-15T11:00:00.000Z" in words[0]


def test_a_machine_that_slept_through_the_window_is_refused() -> None:
    """Awake when all is over: refused, nothing was sent."""
    with pytest.raises(RefusedError, match=r"slept through the whole window.*the window ended at 2027-01-15T11:00:00"):
        Start([guest(0), guest(1)]).go(asleep=20000.0)


def test_a_node_that_is_away_at_the_start_is_waited_for() -> None:
    """The node restarts at this very hour: waited for, up to `node_outage`; away longer, it is refused."""
    start = Start([guest(0), guest(1)])
    start.away = (3590.0, 3900.0)
    made, at = start.go()
    assert 3900 <= at < 3910
    waits = [text for level, text in start.said if level == "warning" and "the node is waited for, 10 min at most" in text]
    assert len(waits) == 1
    assert "the node was away at the window's start: the run began 5 min after it was first asked" in made.preview.warnings
    start = Start([guest(0), guest(1)])
    start.away = (3590.0, 4300.0)
    with pytest.raises(NodeUnreachableError):
        start.go()


# ── numbers ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_fits() -> None:
    """With a reserve what ends at its beginning fits, a second more does not; without one the end alone counts."""
    reserved, plain = Times(None, 1000.0, "finish", 100.0), Times(None, 1000.0, "finish", 0.0)
    assert reserved.fits(800.0, 100.0)
    assert not reserved.fits(800.0, 101.0)
    assert not reserved.fits(900.0, 0.0)
    assert plain.fits(999.0, 500.0)
    assert not plain.fits(1000.0, 0.0)
    assert (reserved.left(700.0), reserved.left(950.0)) == (200.0, 0.0)
    assert Times(500.0, 1000.0, "finish", 0.0).left(100.0) == 500.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (150, "2 min 30 s"), (600, "10 min"), (11100, "3 h 05 min")],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    """As a person says them."""
    assert in_words(seconds) == words


def test_a_window_that_is_over_refuses_a_plan() -> None:
    """Preview and run say that it has ended, or that nothing but its reserve is left."""
    for end, window, words in ((-10.0, "", "the window ended at"), (300.0, ", reserve: 10m", "are reserved")):
        trial = Trial([guest(0)], end, window)

        async def ready(trial: Trial = trial) -> Prepared:
            return await prepare(trial.plan, trial.cloud, strict=False, clock=WallClock())

        problems = run_virtual(ready).preview.problems
        assert len(problems) == 1
        assert words in problems[0]


def test_timedelta_is_what_reserve_is() -> None:
    """The plan's own unit."""
    plan = Trial([guest(0)], 100.0, ", reserve: 90s").plan.plan
    assert plan.window is not None
    assert plan.window.reserve == timedelta(seconds=90)
