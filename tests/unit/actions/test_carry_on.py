"""A stop that another process takes up: whatever it had sent is settled first (the lost-answer rule)."""

from dataclasses import replace

import pytest

from orchestrator.actions.machine import Answered, Done, Look, Read, ReadVm, Resend, Send, Wait, Watch, advance, carry_on
from orchestrator.actions.saved import Put, Saved, load, save
from orchestrator.model.outcome import AttemptReason, AttemptType, Outcome, Reason
from orchestrator.model.target import JobMissing, JobRunning, JobUnreadable, Lost
from tests.unit.actions.driver import (
    BOTH,
    GONE_ROW,
    Stop,
    accepted,
    cold_rules,
    error,
    failed,
    rules,
    timed_out,
    turn,
    vm_row,
)

HOURS = 3600.0
DAY = 24 * HOURS
RESTARTED = 5.0
"""The monotonic second at which the next process begins: less than the first one's, as after a boot."""


def killed(stop: Stop, away: float = 10.0) -> Stop:
    """The process ends, and `away` seconds later another one takes up what the journal holds."""
    put = None
    if isinstance(stop.step, Send):  # its intent is durable, and it may have left
        stop.ids += 1
        stop.left_at = stop.now
        put = Put(f"{stop.ids:032x}", stop.now, stop.node_epoch + stop.now)
    text = save(Saved(stop.state, "2026-01-01T00:00:00.000Z", put), 1e9)
    unix = 1e9 + stop.now + away
    saved = load(text, lambda verb: stop.rules, unix - RESTARTED, RESTARTED)
    lost, put = None, saved.put
    if put is not None:
        lost = Answered(RESTARTED, put.at, put.node_at, put.job_uuid, Lost(error("http.lost")))
    shift = stop.now + away - RESTARTED
    stop.left_at, stop.node_epoch = stop.left_at - shift, stop.node_epoch + shift
    stop.now = RESTARTED
    stop.state, step = carry_on(saved.state, stop.now, lost)
    stop.steps.append(step)
    return stop


def test_a_put_that_never_left_goes_out_under_its_own_id() -> None:
    """Killed between the intent and the PUT: the node has no such job, the VM runs, the same id is sent."""
    stop = killed(turn())
    job_uuid = stop.state.last.job_uuid
    stop.job(JobMissing()).read("Running")
    assert stop.steps[-3:] == [Look(job_uuid), ReadVm(), Resend(job_uuid)]
    assert stop.accept().ok().read("Stopped").outcome is Outcome.STOPPED_CLEAN


def test_a_put_that_never_left_is_not_for_a_vm_that_has_left() -> None:
    """Killed before the PUT, and meanwhile moved off the hosts that are emptied: nothing is sent to it where it is now."""
    stop = killed(turn(replace(rules(*BOTH), leaving=frozenset({"host-1"})))).job(JobMissing())
    _, step = advance(stop.state, Read(stop.now, replace(vm_row("Running"), host_uuid="host-2")))
    assert isinstance(step, Done)
    assert (step.judgement.outcome, step.judgement.reason) == (Outcome.SKIPPED, Reason.ELSEWHERE)


@pytest.mark.parametrize("away", [2.6 * HOURS, DAY])
@pytest.mark.parametrize("make", [turn, accepted], ids=["unanswered", "accepted"])
def test_an_old_one_that_the_node_has_forgotten_gets_a_new_attempt(make: object, away: float) -> None:
    """Hours later the job is forgotten and the VM runs: a new grace under a new id, never a cold."""
    stop = killed(make(), away)  # type: ignore[operator]
    stop.job(JobMissing()).read("Running")
    assert stop.step == Send(AttemptType.GRACE, AttemptReason.PLAN, 240)
    assert stop.accept().ok().read("Stopped").outcome is Outcome.STOPPED_CLEAN
    assert len({attempt.job_uuid for attempt in stop.state.attempts}) == 2


def test_a_forgotten_job_whose_vm_is_off_is_judged_by_what_is_known() -> None:
    """Accepted, and a day later forgotten and Stopped: ours, and so late that the power was most likely cut."""
    stop = killed(accepted(), DAY).job(JobMissing()).read("Stopped").job(JobMissing()).read("Stopped")
    assert stop.outcome is Outcome.STOPPED_FORCED
    assert "never answered" in stop.judgement.evidence.text


def test_stopped_without_a_job_was_somebody_else() -> None:
    """The node never had the job, asked twice, and the VM is Stopped: not by us."""
    stop = killed(turn()).job(JobMissing()).read("Stopped")
    assert isinstance(stop.step, Look)
    assert stop.job(JobMissing()).outcome is Outcome.ALREADY_STOPPED


def test_a_job_that_was_only_late_is_ours() -> None:
    """The job turns up at the second look: the stop was ours after all."""
    stop = killed(turn()).job(JobMissing()).read("Stopped")
    assert stop.ok(after=3.0).read("Stopped").outcome is Outcome.STOPPED_CLEAN


def test_gone_meanwhile() -> None:
    """Destroyed while nobody watched."""
    assert killed(accepted()).job(JobMissing()).read(GONE_ROW).read(GONE_ROW).outcome is Outcome.NOT_FOUND


def test_a_running_job_is_watched_to_its_own_deadline() -> None:
    """202 before the deadline: the watch goes on, with what is left of the time."""
    stop = killed(accepted(), 100.0).job(JobRunning())
    assert isinstance(stop.step, Watch)
    assert stop.step.until == pytest.approx(RESTARTED - 100.0 - 0.1 + 250.0, abs=1.0)


def test_a_job_past_its_deadline_falls_back_as_the_plan_says() -> None:
    """202 after the deadline is no verdict: read, and cold only where the plan names the timeout."""
    stop = killed(accepted(rules(*BOTH)), 400.0).job(JobRunning()).elapse().read("Running")
    assert stop.step == Send(AttemptType.COLD, AttemptReason.TIMEOUT, 180)
    kept = killed(accepted(rules("error")), 400.0).job(JobRunning()).elapse().read("Running")
    assert kept.outcome is Outcome.FAILED


def test_stopping_without_a_job_is_watched_anew() -> None:
    """404 and Stopping: somebody's stop is under way, and gets a whole timeout from now, however late it is."""
    stop = killed(turn(), HOURS).job(JobMissing()).read("Stopping")
    assert isinstance(stop.step, Watch)
    assert stop.step.until == RESTARTED + 250.0
    assert stop.job(JobMissing()).step == Watch(stop.state.last.job_uuid, RESTARTED + 250.0)


def test_one_odd_answer_is_no_verdict() -> None:
    """Past its deadline, a job whose URL answers nonsense is asked again before it is given up."""
    stop = killed(accepted(), HOURS).job(JobUnreadable(error("http.502")))
    assert isinstance(stop.step, Wait)
    assert stop.elapse().ok().read("Stopped").outcome is Outcome.STOPPED_FORCED


def test_no_second_fallback() -> None:
    """A cold fallback that may have acted hours ago is not sent again, whatever is left of it."""
    stop = killed(timed_out(rules(*BOTH)).read("Running"), DAY)
    stop.job(JobMissing()).read("Running").read("Running")
    assert stop.job(JobMissing()).outcome is Outcome.FAILED
    assert len(stop.colds) == 1


def test_a_cold_that_the_plan_asks_for_is_sent_anew() -> None:
    """`type: cold`, nobody knows that it arrived, and a day has passed: the VM must still go down."""
    stop = killed(turn(cold_rules()), DAY).job(JobMissing()).read("Running")
    assert stop.step == Send(AttemptType.COLD, AttemptReason.PLAN, 180)


def test_a_known_verdict_is_not_asked_for_again() -> None:
    """The job had succeeded before the kill: only the VM is read."""
    stop = accepted().ok(after=5.0)
    assert isinstance(stop.step, ReadVm)
    assert killed(stop).read("Stopped").outcome is Outcome.STOPPED_CLEAN


def test_a_known_error_falls_back_after_the_kill() -> None:
    """The job had failed with class C before the kill: the fallback is sent by the one who carries on."""
    stop = killed(accepted(rules("error")).job(failed("HOST.1006"))).read("Running")
    assert stop.step == Send(AttemptType.COLD, AttemptReason.ERROR, 180)


def test_a_signal_ends_with_its_process() -> None:
    """What Ctrl-C withheld in one process may be sent by the next: to carry on is the operator's own word."""
    stop = accepted(rules("error")).halt().job(failed("HOST.1006"))
    assert killed(stop).read("Running").step == Send(AttemptType.COLD, AttemptReason.ERROR, 180)


def test_a_clock_set_back_moves_nothing_into_the_future() -> None:
    """The wall clock was set back between the processes: what happened stays in the past, waits stay bounded."""
    stop = killed(accepted(), -HOURS).job(JobRunning())
    assert isinstance(stop.step, Watch)
    assert stop.step.until <= RESTARTED + 250.0
    assert stop.state.last.at <= RESTARTED


def started_since(stop: Stop) -> Stop:
    """Somebody has started the VM an hour before now: Running, and changed long after our PUT."""
    stop.now += 0.1
    return stop._go(Read(stop.now, vm_row("Running", last_op=float(int(stop.node_epoch + stop.now - HOURS)))))


@pytest.mark.parametrize("make", [turn, accepted], ids=["unanswered", "accepted"])
def test_a_vm_that_somebody_started_since_is_left_alone(make: object) -> None:
    """A day later the job is forgotten, and the VM was started meanwhile: nothing is sent, and a person judges."""
    stop = killed(make(), DAY).job(JobMissing())  # type: ignore[operator]
    sent = len(stop.sends)
    assert started_since(stop).outcome is Outcome.FAILED
    assert len(stop.sends) == sent


def test_a_known_error_is_no_reason_for_cold_a_day_later() -> None:
    """The grace had failed with class C, and the VM was started long after: whoever did that expects no power cut."""
    stop = started_since(killed(accepted(rules("error")).job(failed("HOST.1006")), DAY))
    assert stop.outcome is Outcome.FAILED
    assert stop.colds == []


def test_a_given_up_job_is_asked_again() -> None:
    """Its deadline had passed without a word before the kill: the word may be there now, and it is asked for."""
    stop = killed(timed_out(rules(*BOTH)))
    assert isinstance(stop.step, Look)
    assert stop.ok(after=5.0).read("Stopped").outcome is Outcome.STOPPED_FORCED
    assert stop.colds == []


def test_a_word_that_waited_while_the_node_was_away() -> None:
    """Nothing usable at the deadline; once the VM can be read the job is asked again, and class N gets no cold."""
    stop = accepted(rules(*BOTH)).elapse(JobUnreadable(error("http.502"))).read("Running")
    assert isinstance(stop.step, Look)
    assert stop.job(failed("SYS.1006")).read("Running").outcome is Outcome.FAILED
    assert stop.colds == []


def test_a_url_that_never_says_anything_is_given_up() -> None:
    """The same, and the URL stays unreadable with the node up: no verdict, and the plan's fallback."""
    stop = accepted(rules(*BOTH)).elapse(JobUnreadable(error("http.502"))).read("Running")
    stop.job(JobUnreadable(error("http.502"))).read("Running")
    assert stop.step == Send(AttemptType.COLD, AttemptReason.TIMEOUT, 180)


def test_a_clock_set_back_does_not_shorten_a_stop() -> None:
    """The node's clock says when the PUT left: 65 s of our own clock set back make no clean stop of a forced one."""
    stop = accepted()
    text = save(Saved(stop.state, "2026-01-01T00:00:00.000Z"), 1e9)
    node_now = stop.node_epoch + stop.now + 70.0
    saved = load(text, lambda verb: stop.rules, 1e9 + stop.now + 5.0 - RESTARTED, RESTARTED, node_now - RESTARTED)
    assert saved.state.last.at == pytest.approx(RESTARTED - 70.0, abs=0.2)
    assert saved.state.last.deadline == pytest.approx(RESTARTED - 70.0 + 250.0, abs=0.2)
