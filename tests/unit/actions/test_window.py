"""The window's close and its end, for one VM: what is not begun is not reached; what is in flight ends as `at_end` says."""

import pytest

from orchestrator.actions.machine import Look, ReadVm, Watch
from orchestrator.actions.rules import Rules
from orchestrator.model.outcome import AttemptReason, AttemptType, Outcome, Reason
from orchestrator.model.target import JobMissing, JobRunning
from tests.unit.actions.driver import (
    BOTH,
    GONE_ROW,
    START,
    UNREADABLE,
    Stop,
    accepted,
    cold_rules,
    failed,
    rules,
    turn,
)

NO_FALLBACK, EVERY = rules(), (rules(), rules("timeout"), rules("error"), rules(*BOTH))
every_fallback = pytest.mark.parametrize("made", EVERY, ids=["none", "timeout", "error", "both"])


# ── the close ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_not_sent_is_not_reached() -> None:
    """Closed while its first PUT was about to leave, or while it waited for a migration: not_reached (window)."""
    for stop in (turn().close(), Stop().read("Migrating").close().read("Running")):
        assert (stop.judgement.outcome, stop.judgement.reason) == (Outcome.NOT_REACHED, Reason.WINDOW)
        assert "the window closed" in stop.judgement.evidence.text


def test_a_put_that_never_arrived_is_not_sent_again() -> None:
    """Lost before the close, and unknown to the node after it: nothing leaves any more, not_reached (window)."""
    stop = turn().lose().close().job(JobMissing()).read("Running")
    assert (stop.judgement.outcome, stop.judgement.reason) == (Outcome.NOT_REACHED, Reason.WINDOW)
    assert len(stop.sends) == 1


def test_a_put_that_did_arrive_is_followed() -> None:
    """Lost before the close, and known to the node: watched to its end like any other."""
    stop = turn().lose().close().job(JobRunning()).ok(after=9.0).read("Stopped")
    assert stop.outcome is Outcome.STOPPED_CLEAN


def test_at_end_finish_keeps_the_fallback() -> None:
    """Closed in flight, the grace fails later: the plan's cold stop is still sent, for the plan's reason."""
    stop = accepted().close().job(failed("VM.1002", "HOST.1006")).read("Running").accept().ok(after=2.0).read("Stopped")
    assert [send.reason for send in stop.colds] == [AttemptReason.ERROR]
    assert stop.outcome is Outcome.STOPPED_COLD


# ── at_end: cold ───────────────────────────────────────────────────────────────────────────────────────────────────
@every_fallback
def test_cold_goes_to_what_is_in_flight(made: Rules) -> None:
    """Whatever `fallback` says: the running grace is looked at once more, the VM is read, and cold leaves (window)."""
    stop = accepted(made).expire("cold").job(JobRunning(), after=30.0).read("Stopping")
    assert [(send.type, send.reason) for send in stop.sends[1:]] == [(AttemptType.COLD, AttemptReason.WINDOW)]
    stop.accept().ok(after=2.0).read("Stopped")
    stop.job(JobRunning())
    assert stop.outcome is Outcome.STOPPED_COLD
    assert stop.state.attempts[0].result == "timed_out"


def test_a_grace_that_ended_just_then_needs_no_cold() -> None:
    """The last look brings its success, or the VM is off already: no cold."""
    assert accepted().expire("cold").ok(after=30.0).read("Stopped").outcome is Outcome.STOPPED_CLEAN
    stop = accepted().expire("cold").job(JobRunning(), after=30.0).read("Stopped")
    assert (stop.colds, stop.outcome) == ([], Outcome.STOPPED_CLEAN)


def test_cold_is_due_as_soon_as_the_doubt_is_settled() -> None:
    """Its PUT was in doubt at the end of the window: found at the node, it is not waited for, and cold leaves."""
    stop = turn(NO_FALLBACK).lose().elapse().expire("cold").job(JobRunning())
    assert isinstance(stop.step, Watch)
    assert stop.step.until <= stop.now
    stop.elapse().read("Stopping")
    assert [send.reason for send in stop.colds] == [AttemptReason.WINDOW]


@pytest.mark.parametrize("at_end", ["cold", "abandon", "finish"])
def test_a_refusal_with_nothing_done_is_no_beginning(at_end: str) -> None:
    """It waited to be sent grace again (ID.1001), so the node never began: nothing is sent, failed with its error."""
    stop = accepted(rules(*BOTH)).job(failed("ID.1001")).read("Running")
    if at_end == "finish":
        stop.close().read("Running")
    else:
        stop.expire("cold" if at_end == "cold" else "abandon").read("Running")
    assert (stop.outcome, len(stop.sends)) == (Outcome.FAILED, 1)
    assert "ID.1001" in stop.judgement.evidence.text
    assert "may still act" not in stop.judgement.evidence.text


def test_never_a_second_cold() -> None:
    """A cold under way at the end of the window goes on to its own deadline."""
    stop = accepted().job(failed("HOST.1006")).read("Running").accept()
    at = stop.now
    stop.expire("cold").job(JobRunning())
    assert isinstance(stop.step, Watch)
    assert stop.step.until > at + 100
    assert len(stop.colds) == 1
    planned = accepted(cold_rules()).expire("cold").job(JobRunning())
    assert isinstance(planned.step, Watch)
    assert len(planned.sends) == 1


def test_no_cold_to_a_host_out_of_reach() -> None:
    """HOST.1011 never gets cold, at the end of a window either."""
    stop = accepted().expire("cold").job(failed("VM.1002", "HOST.1011", "HOST.1010")).read("Running")
    assert (stop.outcome, stop.colds) == (Outcome.FAILED, [])


def test_no_cold_after_a_signal() -> None:
    """Ctrl-C, then the end of the window: nothing leaves, and the grace is watched to its own deadline."""
    stop = accepted().halt().expire("cold").job(JobRunning())
    assert isinstance(stop.step, Watch)
    assert stop.step.until > START + 200
    stop.elapse().read("Running")
    assert (stop.outcome, stop.judgement.reason) == (Outcome.FAILED, Reason.FALLBACK_WITHHELD)


def test_no_cold_for_what_is_not_sent() -> None:
    """A VM that only waited for its state is not in flight: not_reached (window)."""
    stop = Stop().read("Starting").expire("cold").read("Running")
    assert (stop.judgement.reason, stop.sends) == (Reason.WINDOW, [])


# ── at_end: abandon ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("word", "outcome", "reason"),
    [
        ("Stopping", Outcome.UNKNOWN, Reason.STILL_STOPPING),
        ("Running", Outcome.FAILED, None),
        ("Unknown", Outcome.UNKNOWN, Reason.STATE_UNKNOWN),
        (UNREADABLE, Outcome.UNKNOWN, Reason.UNREADABLE),
        ("Stopped", Outcome.STOPPED_CLEAN, None),
        (GONE_ROW, Outcome.NOT_FOUND, Reason.DESTROYED_DURING_RUN),
    ],
)
def test_each_is_read_once(word: str, outcome: Outcome, reason: Reason | None) -> None:
    """Its job is looked at once and it is read once; whatever that says is its outcome, and nothing is sent."""
    stop = accepted().expire("abandon")
    before = len(stop.steps)
    stop.job(JobRunning(), after=20.0).read(word)
    assert (stop.judgement.outcome, stop.judgement.reason) == (outcome, reason)
    assert [type(step) for step in stop.steps[before - 1 : -1]] == [Look, ReadVm]
    assert len(stop.sends) == 1
    left = outcome in {Outcome.FAILED, Outcome.UNKNOWN}
    assert ("left at the end of the window, and its job may still act" in stop.judgement.evidence.text) is left


def test_a_cold_under_way_is_left_too() -> None:
    """Grace failed, cold under way: left with what is read, the grace job having had its word."""
    stop = accepted().job(failed("HOST.1006")).read("Running").accept().expire("abandon").job(JobRunning()).read("Stopping")
    assert (stop.outcome, stop.judgement.reason) == (Outcome.UNKNOWN, Reason.STILL_STOPPING)


def test_what_waits_for_another_try_is_left() -> None:
    """It waited to be sent grace again: read, and failed with its error."""
    stop = accepted().job(failed("ID.1001")).read("Running").expire("abandon").read("Running")
    assert (stop.outcome, len(stop.sends)) == (Outcome.FAILED, 1)
