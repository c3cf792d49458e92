"""outcomes.md C: which outcome a VM gets. Rows 3 to 24; rows 1 and 2 are in test_rows_1_2.py."""

from dataclasses import replace

import pytest

from orchestrator.actions.judge import Attempt, Facts, Verdict, judge
from orchestrator.actions.machine import Done, Look, ReadVm, Resend, Send, Wait, Watch, abandon
from orchestrator.actions.rules import Rules
from orchestrator.engine.verify import to_verify, verified
from orchestrator.model.outcome import AttemptReason, AttemptResult, AttemptType, Outcome, Reason
from orchestrator.model.report import VmRecord
from orchestrator.model.target import (
    UNSENT,
    Accepted,
    JobMissing,
    JobRunning,
    JobSucceeded,
    JobUnreadable,
    Lost,
    Seen,
)
from tests.unit.actions.driver import (
    BOTH,
    DARK,
    GONE,
    GONE_ROW,
    NODE_EPOCH,
    START,
    UNREADABLE,
    UP,
    VM,
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

NOT_RUNNING = ("Paused", "Crashed", "Unknown", "NoState")
WITHOUT_END = ("Starting", "Rebooting", "Migrating", "VolumeMigrating", "VolumeRecovering", "Pausing", "Resuming")
CLEAN, FORCED, COLD = Outcome.STOPPED_CLEAN, Outcome.STOPPED_FORCED, Outcome.STOPPED_COLD


# ── rows 3 to 6: nothing was sent ──────────────────────────────────────────────────────────────────────────────────
def test_row_3_off_before_our_put() -> None:
    """Stopped when its turn comes: already_stopped, and nothing is sent."""
    stop = Stop().read("Stopped")
    assert stop.outcome is Outcome.ALREADY_STOPPED
    assert not stop.sends


def test_row_3_off_after_a_wait() -> None:
    """Found Stopping without us: watched, and already_stopped when it ends."""
    stop = Stop().read("Stopping").elapse().read("Stopping").elapse().read("Stopped")
    assert stop.outcome is Outcome.ALREADY_STOPPED
    assert not stop.sends


def test_row_3_before_row_5() -> None:
    """Stopped by anybody counts before the end of the run does."""
    assert Stop().halt().read("Stopped").outcome is Outcome.ALREADY_STOPPED


@pytest.mark.parametrize("word", ["Destroying", GONE_ROW])
def test_row_4_gone_after_resolve(word: str) -> None:
    """Gone when its turn comes: not_found."""
    stop = Stop().read(word)
    assert (stop.outcome, stop.judgement.reason) == (Outcome.NOT_FOUND, Reason.DESTROYED_DURING_RUN)
    assert not stop.sends


@pytest.mark.parametrize("reason", [Reason.OPERATOR, Reason.NODE, Reason.JOURNAL])
@pytest.mark.parametrize("word", ["Running", "Paused", "Unknown", "Migrating", UNREADABLE])
def test_row_5_its_turn_never_came(reason: Reason, word: str) -> None:
    """The run is over before its PUT: not_reached, with that reason."""
    stop = Stop().halt(reason).settle(word)
    assert (stop.outcome, stop.judgement.reason) == (Outcome.NOT_REACHED, reason)
    assert not stop.sends


def test_row_5_the_run_ends_while_it_waits() -> None:
    """The run is over while a transition is waited for: not_reached."""
    stop = Stop().read("Migrating").halt(Reason.NODE).read("Migrating")
    assert (stop.outcome, stop.judgement.reason) == (Outcome.NOT_REACHED, Reason.NODE)


def test_row_5_the_run_ends_as_its_put_is_about_to_leave() -> None:
    """A first PUT overtaken by the end of the run does not leave: not_reached."""
    stop = turn().halt()
    assert (stop.outcome, stop.judgement.reason) == (Outcome.NOT_REACHED, Reason.OPERATOR)
    assert not stop.state.attempts


def test_row_5_the_node_goes_away_before_its_put() -> None:
    """The node was away too long and nothing was sent: not_reached (node)."""
    stop = Stop().read("Migrating")
    _, done = abandon(stop.state, Reason.NODE)
    assert (done.judgement.outcome, done.judgement.reason) == (Outcome.NOT_REACHED, Reason.NODE)


@pytest.mark.parametrize("word", [*WITHOUT_END, "Stopping", UNREADABLE])
def test_row_6_to_the_end_of_its_wait(word: str) -> None:
    """In transition or unreadable for all of grace_timeout from its turn: failed (state), nothing sent."""
    stop = Stop().settle(word)
    assert (stop.outcome, stop.judgement.reason) == (Outcome.FAILED, Reason.STATE)
    assert not stop.sends
    assert START + 240.0 <= stop.now <= START + 245.0


def test_row_6_error() -> None:
    """State Error: failed (state), nothing sent."""
    stop = Stop().settle("Error")
    assert (stop.outcome, stop.judgement.reason) == (Outcome.FAILED, Reason.STATE)
    assert not stop.sends


def test_a_transition_that_ends_is_sent_to() -> None:
    """After the transition its turn goes on, from the state then read."""
    stop = Stop().read("Migrating").elapse().read("Running")
    assert isinstance(stop.step, Send)
    assert stop.accept().state.before == "Running"


# ── row 7 ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("word", GONE)
@pytest.mark.parametrize("verdict", ["ok", "no-op", "HOST.1006", "HOST.1011", "none", "cold ok", "cold none"])
def test_row_7_gone_whatever_was_said(verdict: str, word: str) -> None:
    """Gone after anything was sent: not_found (destroyed_during_run)."""
    match verdict:
        case "ok" | "no-op":
            stop = accepted().ok(no_op=verdict == "no-op")
        case "none":
            stop = timed_out()
        case "cold ok":
            stop = timed_out().read("Running").accept().ok()
        case "cold none":
            stop = timed_out().read("Running").accept().elapse()
        case _:
            stop = accepted().job(failed(verdict))
    stop.settle(word)
    assert (stop.outcome, stop.judgement.reason) == (Outcome.NOT_FOUND, Reason.DESTROYED_DURING_RUN)


# ── row 8 ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("word", UP)
def test_row_8_up_after_ok(word: str) -> None:
    """The job said Stopped, and what is read afterwards is up: came_back."""
    assert accepted().ok().settle(word).outcome is Outcome.CAME_BACK


def test_row_8_stopped_seen_in_passing() -> None:
    """Stopped was seen by the watch though not in the job's inventory: came_back."""
    stop = accepted().saw("Stopping", after=2).saw("Stopped", after=5).ok(after=6, state="Running").settle("Running")
    assert stop.outcome is Outcome.CAME_BACK


@pytest.mark.parametrize("before", ["none", "HOST.1006"])
def test_row_8_after_the_cold(before: str) -> None:
    """The cold's ok counts like the grace's: came_back."""
    stop = timed_out() if before == "none" else accepted().job(failed(before))
    stop.read("Running").accept().ok().settle("Running")
    assert stop.outcome is Outcome.CAME_BACK


# ── row 9 ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("word", UP)
@pytest.mark.parametrize("verdict", ["HOST.1006", "HOST.1011", "SYS.1006", "none", "ok never Stopped", "no-op"])
def test_row_9_up(verdict: str, word: str) -> None:
    """Up, and no Stopped was seen after an ok of ours: failed."""
    stop = accepted(rules())
    match verdict:
        case "none":
            stop.elapse()
        case "ok never Stopped":
            stop.ok(state="Running")
        case "no-op":
            stop.ok(no_op=True)
        case _:
            stop.job(failed(verdict))
    assert stop.settle(word).outcome is Outcome.FAILED


def test_row_9_all_errors_are_kept() -> None:
    """Both errors stay, each with its own attempt and its whole chain."""
    stop = accepted().job(failed("VM.1002", "HOST.1006")).read("Running").accept().job(failed("VM.1002", "HOST.1011"))
    stop.settle("Running")
    assert stop.outcome is Outcome.FAILED
    chains = [attempt.error.chain() for attempt in stop.state.attempts if attempt.error is not None]
    assert chains == ["VM.1002 <- HOST.1006", "VM.1002 <- HOST.1011"]


# ── row 10 ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("verdict", ["HOST.1006", "HOST.1011", "none", "ok"])
def test_row_10_mid_at_the_last_deadline(verdict: str) -> None:
    """Still Stopping at the last deadline, and not before: unknown (still_stopping)."""
    stop = accepted(rules())
    match verdict:
        case "none":
            stop.elapse()
        case "ok":
            stop.ok(state="Stopping")
        case _:
            stop.job(failed(verdict))
    stop.settle("Stopping")
    assert (stop.outcome, stop.judgement.reason) == (Outcome.UNKNOWN, Reason.STILL_STOPPING)
    assert stop.now >= START + 250.0


def test_row_10_stopping_that_ends_in_time_is_judged_by_its_end() -> None:
    """Stopping after an error is waited for; what it becomes decides."""
    stop = accepted(rules()).job(failed("HOST.1006")).read("Stopping").elapse().read("Stopped")
    assert stop.outcome is FORCED


# ── rows 11, 12 ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("after", "no_op", "before", "outcome"),
    [
        (5, False, "Running", CLEAN),
        (58, False, "Running", FORCED),
        (5, False, "Paused", FORCED),
        (5, True, "Running", Outcome.ALREADY_STOPPED),
    ],
)
def test_row_11_ok_with_stopped_and_unreadable(after: float, no_op: bool, before: str, outcome: Outcome) -> None:
    """The job said Stopped and nothing can be read: judged as off, and the evidence says so."""
    stop = accepted(before=before).ok(after=after, no_op=no_op).settle(UNREADABLE)
    assert stop.outcome is outcome
    assert "not re-read" in stop.judgement.evidence.text


def test_row_11_the_cold() -> None:
    """A cold that said Stopped and nothing can be read: stopped_cold."""
    stop = accepted(cold_rules()).ok().settle(UNREADABLE)
    assert stop.outcome is COLD
    assert "not re-read" in stop.judgement.evidence.text


def test_row_11_the_node_goes_away_after_ok() -> None:
    """The node is away for good after an ok with Stopped: judged as off, not unknown."""
    stop = accepted().ok()
    _, done = abandon(stop.state, Reason.NODE)
    assert done.judgement.outcome is CLEAN
    assert "not re-read" in done.judgement.evidence.text


@pytest.mark.parametrize("word", ["Unknown", "NoState"])
@pytest.mark.parametrize("verdict", ["HOST.1006", "HOST.1011", "none", "ok"])
def test_row_12_dark(verdict: str, word: str) -> None:
    """Unknown or NoState at the end, even after an ok: unknown (state_unknown)."""
    stop = accepted(rules())
    match verdict:
        case "none":
            stop.elapse()
        case "ok":
            stop.ok()
        case _:
            stop.job(failed(verdict))
    stop.settle(word)
    assert (stop.outcome, stop.judgement.reason) == (Outcome.UNKNOWN, Reason.STATE_UNKNOWN)


@pytest.mark.parametrize("verdict", ["HOST.1006", "HOST.1011", "none", "ok without Stopped"])
def test_row_12_unreadable(verdict: str) -> None:
    """Unreadable at the end without an ok that says Stopped: unknown (unreadable)."""
    stop = accepted()
    match verdict:
        case "none":
            stop.elapse()
        case "ok without Stopped":
            stop.ok(state="Running")
        case _:
            stop.job(failed(verdict))
    stop.settle(UNREADABLE)
    assert (stop.outcome, stop.judgement.reason) == (Outcome.UNKNOWN, Reason.UNREADABLE)


def test_row_12_the_node_goes_away_in_mid_flight() -> None:
    """The node is away for good with a job at it: unknown."""
    _, done = abandon(accepted().state, Reason.NODE)
    assert done.judgement.outcome is Outcome.UNKNOWN


# ── row 13 ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_row_13_a_no_op() -> None:
    """ok, Stopping never seen, last changed before our PUT: already_stopped, and the attempt says no_op."""
    stop = accepted().ok(after=1, no_op=True).settle("Stopped")
    assert stop.outcome is Outcome.ALREADY_STOPPED
    assert stop.state.last.result is AttemptResult.NO_OP


def test_row_13_a_no_op_after_nothing_done_errors() -> None:
    """A no-op after refusals that did nothing is still a no-op."""
    stop = turn().refuse("SYS.1010").settle("Running").accept().ok(after=1, no_op=True).settle("Stopped")
    assert stop.outcome is Outcome.ALREADY_STOPPED


def test_row_13_not_when_stopping_was_seen() -> None:
    """Stopping was seen while our job ran: it was no no-op, whatever lastOpDate says."""
    stop = accepted().saw("Stopping", after=1).ok(after=5, no_op=True).settle("Stopped")
    assert stop.outcome is CLEAN


def test_row_13_not_in_the_same_second() -> None:
    """A lastOpDate in the very second of the PUT proves nothing."""
    stop = accepted()
    same = vm_row("Stopped", last_op=float(int(NODE_EPOCH + stop.left_at)))
    stop.job(JobSucceeded(Seen(same, {})), after=1).settle("Stopped")
    assert stop.outcome is CLEAN


def test_row_13_not_without_a_last_op() -> None:
    """Without a readable lastOpDate there is no proof of a no-op."""
    stop = accepted().job(JobSucceeded(Seen(vm_row("Stopped"), {})), after=5).settle("Stopped")
    assert stop.outcome is CLEAN


# ── rows 14, 15 ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("after", [1, 20, 54.9])
def test_row_14_clean(after: float) -> None:
    """Was Running, and the grace answered well before the power cut: stopped_clean."""
    stop = accepted().ok(after=after).settle("Stopped")
    assert stop.outcome is CLEAN
    assert not stop.judgement.check_after_start


def test_row_14_the_first_sign_counts() -> None:
    """d ends with the first sign: Stopped read at 30 s counts though the verdict came at 70 s."""
    stop = accepted().saw("Stopping", after=5).saw("Stopped", after=30).ok(after=70).settle("Stopped")
    assert stop.outcome is CLEAN
    assert stop.judgement.evidence.seconds == pytest.approx(30.0)


def test_row_14_compressed() -> None:
    """With a compressed power_cut_after L is eleven twelfths of it."""
    assert accepted(rules(power_cut=12.0)).ok(after=10.9).settle("Stopped").outcome is CLEAN
    assert accepted(rules(power_cut=12.0)).ok(after=11.1).settle("Stopped").outcome is FORCED


@pytest.mark.parametrize("after", [55.0, 60, 200])
def test_row_15_late(after: float) -> None:
    """From L on the power was most likely cut: stopped_forced."""
    stop = accepted().ok(after=after).settle("Stopped")
    assert stop.outcome is FORCED
    assert stop.judgement.check_after_start


@pytest.mark.parametrize("before", NOT_RUNNING)
def test_row_15_not_running_before(before: str) -> None:
    """Paused, Crashed and their like never end stopped_clean."""
    assert accepted(before=before).ok(after=1).settle("Stopped").outcome is FORCED


@pytest.mark.parametrize("cold", ["ok", "no-op", "HOST.1006", "HOST.1011", "none"])
def test_row_15_timed_out_cold_sent_and_grace_then_succeeds(cold: str) -> None:
    """Grace timed out, cold was sent, and grace succeeded after all: stopped_forced, whatever the cold answered."""
    stop = timed_out().read("Running").accept()
    grace = stop.state.attempts[0].job_uuid
    match cold:
        case "ok" | "no-op":
            stop.ok(no_op=cold == "no-op")
        case "none":
            stop.elapse()
        case _:
            stop.job(failed(cold))
    stop.read("Stopped")
    assert stop.step == Look(grace), "the grace job is asked once more"
    stop.job(JobSucceeded(Seen(vm_row("Stopped", last_op=NODE_EPOCH + stop.now), {})))
    assert stop.outcome is FORCED


@pytest.mark.parametrize("cold", [Verdict.OK, Verdict.ERR, Verdict.NONE])
def test_row_14_whatever_the_cold_answered(cold: Verdict) -> None:
    """A grace ok in time is stopped_clean beside any answer of a cold (`at_end: cold` may send one early)."""
    grace = Attempt(AttemptType.GRACE, AttemptReason.PLAN, "1" * 32, 240, 0.0, NODE_EPOCH, 250.0, Verdict.OK, ended_at=20.0)
    said = error("HOST.1006") if cold is Verdict.ERR else None
    sent = Attempt(AttemptType.COLD, AttemptReason.WINDOW, "2" * 32, 180, 10.0, None, 200.0, cold, said, ended_at=30.0)
    assert judge(Facts("Running", (grace, sent), "Stopped"), rules(*BOTH)).outcome is CLEAN


# ── rows 16 to 18 ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_row_16_clean() -> None:
    """The job never answered, Stopped was read in time: stopped_clean, and the evidence says that it never answered."""
    stop = accepted().saw("Stopped", after=30).elapse().read("Stopped")
    assert stop.outcome is CLEAN
    assert "the job never answered" in stop.judgement.evidence.text


@pytest.mark.parametrize(("before", "seen"), [("Running", 70.0), ("Paused", 5.0), ("Running", None)])
def test_row_16_forced(before: str, seen: float | None) -> None:
    """The job never answered, Stopped too late or from another state: stopped_forced."""
    stop = accepted(before=before)
    if seen is not None:
        stop.saw("Stopped", after=seen)
    stop.elapse().read("Stopped")
    assert stop.outcome is FORCED
    assert "the job never answered" in stop.judgement.evidence.text


@pytest.mark.parametrize("answer", [JobMissing(), JobUnreadable(error("http.502"))])
def test_row_16_missing_and_unreadable_verdicts_are_none(answer: JobMissing | JobUnreadable) -> None:
    """404 after expiry and unreadable answers are no verdict, and no error of the VM's either."""
    stop = accepted().saw("Stopped", after=30)
    for _ in range(3):
        stop.job(answer, after=stop.now - stop.left_at + 5)
    stop.settle("Stopped")
    assert stop.outcome is CLEAN
    assert stop.state.last.verdict is Verdict.NONE


@pytest.mark.parametrize("code", ["HOST.1011", "SYS.1003", "SYS.1010", "VM.1010", "SYS.1015", "http.400"])
@pytest.mark.parametrize("at_once", [False, True])
def test_row_17_nothing_done(code: str, at_once: bool) -> None:
    """Refused without anything done, and off: somebody else did it, already_stopped."""
    stop = turn().refuse(code, status=400) if at_once else accepted().job(failed(code))
    assert stop.read("Stopped").outcome is Outcome.ALREADY_STOPPED


@pytest.mark.parametrize("code", ["SYS.1001", "SYS.1006", "SYS.1017", "HOST.1006", "SYS.1000", "NOBODY.KNOWS"])
def test_row_18_other_errors(code: str) -> None:
    """Any other error, and off all the same: stopped_forced, and the evidence has the job's error."""
    stop = accepted().job(failed("VM.1002", code)).settle("Stopped")
    assert stop.outcome is FORCED
    assert code in stop.judgement.evidence.text


# ── rows 19, 20 ────────────────────────────────────────────────────────────────────────────────────────────────────
def _cold_leaves(first: str) -> Stop:
    """A grace that led to a cold, which the node has just taken."""
    match first:
        case "none":
            return timed_out().read("Running").accept()
        case "nothing done":
            stop = turn()
            while isinstance(stop.step, Send) and stop.step.type is AttemptType.GRACE:
                stop.refuse("SYS.1015").settle("Running")
            return stop.accept()
        case _:
            return accepted().job(failed(first)).read("Running").accept()


@pytest.mark.parametrize(
    ("first", "outcome"), [("nothing done", Outcome.ALREADY_STOPPED), ("none", FORCED), ("HOST.1006", FORCED)]
)
def test_row_19_the_cold_was_a_no_op(first: str, outcome: Outcome) -> None:
    """The cold found it Stopped: already_stopped after a grace that did nothing, else stopped_forced."""
    assert _cold_leaves(first).ok(after=1, no_op=True).settle("Stopped").outcome is outcome


@pytest.mark.parametrize("first", ["none", "HOST.1006", "nothing done"])
@pytest.mark.parametrize("cold", ["ok", "none", "HOST.1006", "SYS.1006"])
def test_row_20_stopped_after_the_cold_left(first: str, cold: str) -> None:
    """Stopped first seen after the cold left: stopped_cold."""
    stop = _cold_leaves(first)
    match cold:
        case "ok":
            stop.saw("Stopped", after=2).ok(after=3)
        case "none":
            stop.elapse()
        case _:
            stop.job(failed(cold))
    assert stop.settle("Stopped").outcome is COLD


@pytest.mark.parametrize("cold", ["ok", "none", "HOST.1006"])
@pytest.mark.parametrize(
    ("first", "seen", "outcome"),
    [("none", 30.0, CLEAN), ("none", 70.0, FORCED), ("HOST.1006", 3.0, FORCED)],
)
def test_row_20_stopped_before_the_cold_left(first: str, seen: float, outcome: Outcome, cold: str) -> None:
    """Stopped first seen before the cold left: as rows 16 to 18."""
    stop = accepted().saw("Stopped", after=seen)
    stop = stop.elapse() if first == "none" else stop.job(failed(first), after=5)
    stop.read("Running").accept()
    match cold:
        case "ok":
            stop.ok(after=3)
        case "none":
            stop.elapse()
        case _:
            stop.job(failed(cold))
    assert stop.settle("Stopped").outcome is outcome


# ── row 21 ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("cold", ["ok", "none", "HOST.1006", "SYS.1001", "SYS.1006"])
@pytest.mark.parametrize("before", ["Running", "Paused", "Unknown"])
def test_row_21_cold_by_plan(cold: str, before: str) -> None:
    """`type: cold`, and off: stopped_cold."""
    stop = accepted(cold_rules(), before)
    match cold:
        case "ok":
            stop.ok()
        case "none":
            stop.elapse()
        case _:
            stop.job(failed(cold))
    stop.settle("Stopped")
    assert stop.outcome is COLD
    assert stop.judgement.check_after_start


@pytest.mark.parametrize("code", ["HOST.1011", "SYS.1010", "VM.1010", "SYS.1016"])
def test_row_21_cold_by_plan_did_nothing(code: str) -> None:
    """`type: cold`, refused without anything done, and off: already_stopped."""
    assert accepted(cold_rules()).job(failed(code)).settle("Stopped").outcome is Outcome.ALREADY_STOPPED


# ── rows 22 to 24: at verification ─────────────────────────────────────────────────────────────────────────────────
def _record(stop: Stop) -> VmRecord:
    judged = stop.judgement
    return VmRecord(
        uuid=VM,
        outcome=judged.of_vm,
        reason=judged.reason,
        evidence=judged.evidence,
        check_after_start=judged.check_after_start,
        state_before=stop.state.before,
    )


def _verify(stop: Stop, word: str) -> VmRecord:
    seen = None if word == GONE_ROW else Seen(vm_row(word), {"uuid": VM, "state": word})
    return verified(_record(stop), seen, stop.state, stop.rules, "2026-11-28T15:00:00Z")


def _stopped(outcome: Outcome) -> Stop:
    match outcome:
        case Outcome.ALREADY_STOPPED:
            stop = Stop().read("Stopped")
        case Outcome.STOPPED_CLEAN:
            stop = accepted().ok(after=5).read("Stopped")
        case Outcome.STOPPED_FORCED:
            stop = accepted().ok(after=58).read("Stopped")
        case _:
            stop = accepted(cold_rules()).ok().read("Stopped")
    assert stop.outcome is outcome
    return stop


OFF_OUTCOMES = (Outcome.ALREADY_STOPPED, CLEAN, FORCED, COLD)


@pytest.mark.parametrize("outcome", OFF_OUTCOMES)
@pytest.mark.parametrize("word", UP)
def test_row_22_up_at_verification(outcome: Outcome, word: str) -> None:
    """Stopped by us or by others, and up at verification: came_back."""
    record = _verify(_stopped(outcome), word)
    assert record.outcome is Outcome.CAME_BACK
    assert not record.late


@pytest.mark.parametrize(
    ("plan", "verdict", "word", "outcome"),
    [
        ((), "HOST.1006", "Running", FORCED),
        ((), "HOST.1011", "Running", Outcome.ALREADY_STOPPED),
        ((), "none", "Running", FORCED),
        ((), "none", "Stopping", FORCED),
        ((), "HOST.1011", "Unknown", Outcome.ALREADY_STOPPED),
        ((), "SYS.1001", "Unknown", FORCED),
        ((), "none", UNREADABLE, FORCED),
        (BOTH, "none", "Running", COLD),
    ],
)
def test_row_23_off_at_verification(plan: tuple[str, ...], verdict: str, word: str, outcome: Outcome) -> None:
    """failed or unknown, and Stopped at verification: judged again by rows 13 to 21, late."""
    stop = accepted(rules(*plan))
    stop = stop.elapse() if verdict == "none" else stop.job(failed(verdict))
    stop.settle(word)
    if isinstance(stop.step, Send):
        stop.accept().job(failed("HOST.1006")).settle(word)
    assert stop.outcome in {Outcome.FAILED, Outcome.UNKNOWN}
    assert to_verify(_record(stop).outcome)
    record = _verify(stop, "Stopped")
    assert record.outcome is outcome
    assert record.late
    assert record.reason is None
    assert record.check_after_start is (outcome in {FORCED, COLD})


@pytest.mark.parametrize("word", ["Running", "Stopping", "Unknown", *GONE])
def test_failed_and_not_off_at_verification_stays(word: str) -> None:
    """failed, and not Stopped at verification: the outcome stands, and is not late."""
    stop = accepted(rules()).job(failed("HOST.1011")).settle("Running")
    record = _verify(stop, word)
    assert record.outcome is Outcome.FAILED
    assert not record.late


@pytest.mark.parametrize("outcome", OFF_OUTCOMES)
@pytest.mark.parametrize("word", ["Stopping", *(word for word in (*GONE, *DARK) if word != UNREADABLE)])
def test_row_24_unchanged(outcome: Outcome, word: str) -> None:
    """Stopped before and gone, mid or dark at verification: unchanged, and the evidence says what was read."""
    record = _verify(_stopped(outcome), word)
    assert record.outcome is outcome
    assert not record.late
    assert record.evidence is not None
    assert ("no such VM" if word == GONE_ROW else word) in record.evidence.text


@pytest.mark.parametrize("outcome", OFF_OUTCOMES)
def test_row_24_off_keeps_the_outcome(outcome: Outcome) -> None:
    """Stopped before and at verification: unchanged; state and time of the second read are in the record."""
    record = _verify(_stopped(outcome), "Stopped")
    assert record.outcome is outcome
    assert (record.state, record.verified_at) == ("Stopped", "2026-11-28T15:00:00Z")


@pytest.mark.parametrize("outcome", OFF_OUTCOMES)
def test_row_24_off_evidence_says_so(outcome: Outcome) -> None:
    """Row 24 names off among the states of which the evidence says what was read."""
    stop = _stopped(outcome)
    record = _verify(stop, "Stopped")
    assert record.evidence is not None
    assert "at verification" in record.evidence.text


# ── worth a test each ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("before", ["Paused", "Crashed"])
@pytest.mark.parametrize("verdict", ["ok", "none", "HOST.1006"])
def test_paused_and_crashed_never_end_clean(before: str, verdict: str) -> None:
    """No guest shuts itself down from Paused or Crashed."""
    stop = accepted(rules(), before).saw("Stopped", after=2)
    match verdict:
        case "ok":
            stop.ok(after=3)
        case "none":
            stop.elapse()
        case _:
            stop.job(failed(verdict), after=3)
    assert stop.settle("Stopped").outcome is FORCED


def test_ha_guest_without_the_inhibit() -> None:
    """HA starts it again: row 8 when seen at the end, row 22 when seen at verification."""
    assert accepted().ok().settle("Starting").outcome is Outcome.CAME_BACK
    assert _verify(accepted().ok().settle("Stopped"), "Running").outcome is Outcome.CAME_BACK


@pytest.mark.parametrize("made", [rules(*BOTH), cold_rules()])
@pytest.mark.parametrize(("word", "outcome"), [("Running", Outcome.FAILED), ("Unknown", Outcome.UNKNOWN)])
def test_disconnected_host(made: Rules, word: str, outcome: Outcome) -> None:
    """HOST.1011: failed while it reads Running, unknown while it reads Unknown, and never a fallback to cold."""
    stop = accepted(made).job(failed("VM.1002", "HOST.1011", "HOST.1010")).settle(word)
    assert stop.outcome is outcome
    assert len(stop.sends) == 1


@pytest.mark.parametrize(("word", "outcome"), [("Running", Outcome.FAILED), ("Stopping", Outcome.UNKNOWN)])
def test_no_fallback_and_a_hung_job(word: str, outcome: Outcome) -> None:
    """`fallback: none` with a hung job: failed or unknown by its state, settled at verification."""
    stop = timed_out(rules()).settle(word)
    assert stop.outcome is outcome
    assert len(stop.sends) == 1
    record = _verify(stop, "Stopped")
    assert record.outcome is FORCED
    assert record.late


@pytest.mark.parametrize("reason", [Reason.OPERATOR, Reason.NODE])
@pytest.mark.parametrize("when", ["while it waits", "before the answer", "when it is about to go out again"])
@pytest.mark.parametrize("made", [rules(*BOTH), cold_rules()])
def test_a_put_proven_never_to_have_arrived_is_not_sent(reason: Reason, when: str, made: Rules) -> None:
    """Lost, unknown to the node, and the run over: row 5, not failed."""
    stop = turn(made)
    if when == "before the answer":
        stop.state = replace(stop.state, halted=reason)  # the signal came after the PUT had left
    stop.lose()
    if when == "while it waits":
        stop.halt(reason)
    if isinstance(stop.step, Wait):
        stop.elapse()
    stop.job(JobMissing()).read("Running")
    if when == "when it is about to go out again":
        assert isinstance(stop.step, Resend)
        stop.halt(reason)
    assert (stop.outcome, stop.judgement.reason) == (Outcome.NOT_REACHED, reason)
    assert not stop.state.sent
    assert stop.state.last.result is AttemptResult.LOST


# ── a PUT whose answer was lost ────────────────────────────────────────────────────────────────────────────────────
def _asked() -> Stop:
    """The answer was lost, and the job is asked for."""
    stop = turn().lose()
    assert isinstance(stop.step, Wait)
    stop.elapse()
    assert isinstance(stop.step, Look)
    return stop


def test_lost_and_202_goes_on() -> None:
    """202: it was accepted, and is watched to the deadline of the PUT that left."""
    stop = _asked().job(JobRunning())
    assert stop.step == Watch(stop.state.last.job_uuid, START + 0.1 + 250.0)
    assert stop.ok(after=20).settle("Stopped").outcome is CLEAN


def test_lost_and_200_goes_on() -> None:
    """200: it was accepted, and has succeeded; no second PUT."""
    stop = _asked().ok(after=5).settle("Stopped")
    assert stop.outcome is CLEAN
    assert len(stop.sends) == 1


def test_lost_and_503_goes_on() -> None:
    """503: it was accepted, and its error decides."""
    stop = _asked().job(failed("HOST.1006")).read("Running")
    assert stop.step == Send(AttemptType.COLD, AttemptReason.ERROR, 180)


def test_lost_and_404_reads_first() -> None:
    """404: the VM is read before anything is sent."""
    assert isinstance(_asked().job(JobMissing()).step, ReadVm)


def test_lost_404_and_stopped() -> None:
    """404 and Stopped: nothing of ours arrived, already_stopped."""
    stop = _asked().job(JobMissing()).settle("Stopped")
    assert stop.outcome is Outcome.ALREADY_STOPPED


@pytest.mark.parametrize("word", GONE)
def test_lost_404_and_gone(word: str) -> None:
    """404 and gone: not_found."""
    assert _asked().job(JobMissing()).settle(word).outcome is Outcome.NOT_FOUND


def test_lost_404_and_stopping() -> None:
    """404 and Stopping: watched, not sent to."""
    stop = _asked().job(JobMissing()).read("Stopping")
    assert isinstance(stop.step, Watch)
    assert not any(isinstance(step, Resend) for step in stop.steps)


@pytest.mark.parametrize("word", ["Running", "Paused", "Crashed", "Unknown", "NoState"])
def test_lost_404_and_otherwise_is_sent_again_under_the_same_id(word: str) -> None:
    """404 and a young intent: the same PUT under the same id, and one attempt in all."""
    stop = _asked().job(JobMissing()).read(word)
    assert stop.step == Resend(stop.state.last.job_uuid)
    stop.put(Accepted()).ok(after=5).settle("Stopped")
    assert len(stop.state.attempts) == 1


def test_lost_404_and_the_duplicate_is_watched() -> None:
    """The PUT had arrived after all: the duplicate is accepted and watched."""
    stop = _asked().job(JobMissing()).read("Running").put(Accepted(duplicate=True))
    assert isinstance(stop.step, Watch)


def test_lost_404_and_unreadable_waits() -> None:
    """404 and an unreadable VM: nothing is sent before it was read."""
    stop = _asked().job(JobMissing()).read(UNREADABLE)
    assert isinstance(stop.step, Wait)


@pytest.mark.parametrize("age", [60.0, 2.5 * 3600 - 60])
def test_lost_a_young_intent_keeps_its_id(age: float) -> None:
    """Younger than 2 h 30 m: the same id."""
    stop = turn().lose().elapse()
    stop.now = stop.left_at + age
    stop.job(JobMissing()).read("Running")
    assert stop.step == Resend(stop.state.last.job_uuid)


@pytest.mark.parametrize("made", [rules(), rules("timeout"), rules(*BOTH), cold_rules()])
@pytest.mark.parametrize("word", ["Running", "Paused"])
def test_lost_an_old_intent_gets_a_new_attempt(made: Rules, word: str) -> None:
    """Older than 2 h 30 m: a new attempt of the same type under a new id."""
    stop = turn(made).lose().elapse()
    old = stop.state.last.job_uuid
    stop.now = stop.left_at + 2.5 * 3600 + 60
    stop.job(JobMissing()).settle(word)
    assert isinstance(stop.step, Send), "the node may have forgotten the old id: a new one"
    assert stop.step.type is stop.rules.type
    assert stop.accept().state.last.job_uuid != old


def test_lost_cold_is_sent_again_under_the_same_id() -> None:
    """A lost cold goes out again under its id: one cold in all."""
    stop = timed_out().read("Running").lose().elapse().job(JobMissing()).read("Running")
    assert isinstance(stop.step, Resend)
    stop.put(Accepted()).ok().settle("Stopped")
    assert stop.outcome is COLD
    assert len(stop.state.attempts) == 2


def test_lost_cold_that_never_arrived_is_no_cold() -> None:
    """A cold that never arrived changed nothing: the grace alone is judged."""
    stop = accepted().saw("Stopped", after=70).elapse().read("Running").lose().elapse().job(JobMissing())
    stop.settle("Stopped")
    assert stop.outcome is FORCED
    assert "cold" not in stop.judgement.evidence.text


# ── after a signal ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("code", ["SYS.1010", "ID.1001", "http.429", "SYS.1015"])
def test_no_grace_again_after_a_signal(code: str) -> None:
    """After a signal class R is not sent again either."""
    stop = accepted().halt().job(failed(code)).settle("Running")
    assert isinstance(stop.step, Done)
    assert stop.outcome is Outcome.FAILED
    assert len(stop.sends) == 1


def test_grace_again_about_to_leave_is_withheld() -> None:
    """A grace again that a signal overtakes does not leave."""
    stop = turn().refuse("SYS.1010").settle("Running")
    assert isinstance(stop.step, Send)
    stop.halt().settle("Running")
    assert stop.outcome is Outcome.FAILED
    assert len(stop.state.attempts) == 1


@pytest.mark.parametrize("made", [rules(), rules("timeout")])
def test_withheld_only_where_there_was_a_fallback(made: Rules) -> None:
    """Without a fallback for it nothing was withheld."""
    stop = accepted(made).halt().job(failed("HOST.1006")).settle("Running")
    assert stop.outcome is Outcome.FAILED
    assert stop.judgement.reason is None


def test_a_lost_cold_is_withheld_after_a_signal() -> None:
    """A cold that never arrived is not sent again after a signal: failed (fallback_withheld)."""
    stop = timed_out().read("Running").lose().halt()
    stop.job(JobMissing()).settle("Running")
    assert (stop.outcome, stop.judgement.reason) == (Outcome.FAILED, Reason.FALLBACK_WITHHELD)


@pytest.mark.parametrize("code", ["SYS.1015", "SYS.1016"])
def test_the_cold_of_an_exhausted_agent_call_is_withheld(code: str) -> None:
    """R to the end of grace_timeout has become C: after a signal its cold is withheld by name."""
    stop = accepted().halt().job(failed(code), after=245.0).settle("Running")
    assert (stop.outcome, stop.judgement.reason) == (Outcome.FAILED, Reason.FALLBACK_WITHHELD)


def test_jobs_at_the_node_go_on_after_a_signal() -> None:
    """A signal ends sending, not watching: what was sent is judged by its end."""
    stop = accepted().halt()
    assert isinstance(stop.step, Watch)
    assert stop.ok(after=20).settle("Stopped").outcome is CLEAN


def test_what_is_held_back_is_no_try() -> None:
    """However often a PUT waits too long for its turn, it goes on from a fresh read, and nobody is given up for it."""
    stop = turn()
    for _ in range(100):
        stop.hold_back()
        assert stop.step == ReadVm()
        stop.read("Running")
        assert isinstance(stop.step, Resend)
    stop.accept().ok(after=5).read("Stopped")
    assert stop.outcome is Outcome.STOPPED_CLEAN


def test_what_is_lost_again_and_again_is_given_up() -> None:
    """Nothing but broken connections is another thing: that ends."""
    stop = turn()
    for _ in range(100):
        if isinstance(stop.step, Done):
            break
        stop.put(Lost(error(UNSENT))).settle("Running")
    assert stop.outcome is Outcome.FAILED


def test_what_is_held_back_after_a_lost_one_asks_for_the_job() -> None:
    """An earlier PUT under the same id may have arrived: its job is asked for before anything else."""
    stop = turn().lose().elapse().job(JobMissing()).read("Running").hold_back().elapse()
    assert isinstance(stop.step, Look)
