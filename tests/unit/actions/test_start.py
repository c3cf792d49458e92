"""Starting one VM: the turn, the host it came from, what is tried again and what is not, and which outcome it is."""

import math

import pytest

from orchestrator.actions.machine import Done, Read, ReadVm, Watch, begin
from orchestrator.actions.rules import ErrorClass, Rules, classify_start, start_rules
from orchestrator.model.outcome import AttemptReason, AttemptType, Outcome, Reason
from orchestrator.model.target import JobMissing, JobRunning, JobSucceeded, JobUnreadable, Seen, VmRow
from orchestrator.plan.model import StopOptions
from tests.unit.actions.driver import GONE_ROW, UNREADABLE, VM, Stop, error, failed

RULES = start_rules(StopOptions(), 600.0)
ALLOCATOR = ("VM.1001", "SYS.1006")


class Start(Stop):
    """One VM's start, driven as a stop is."""

    def __init__(self, made_rules: Rules = RULES, untouched: float | None = None) -> None:
        super().__init__(made_rules)
        self.state, step = begin(made_rules, self.now, untouched)
        self.steps = [step]

    def ok(self, *, after: float = 5.0, state: str | None = "Running", no_op: bool = False) -> "Start":
        """The job succeeded."""
        when = self.node_epoch + self.left_at + (-3600.0 if no_op else after)
        row = VmRow(VM, "vm-1", "UserVm", state, "host-1", "cluster-1", float(math.floor(when)))
        self.job(JobSucceeded(Seen(row, {})), after=after)
        return self


def sent() -> Start:
    """Read Stopped, its first PUT accepted."""
    start = Start()
    start.read("Stopped").accept()
    return start


# ── the turn ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("word", "outcome", "reason"),
    [
        ("Running", Outcome.ALREADY_RUNNING, None),
        (GONE_ROW, Outcome.NOT_FOUND, Reason.DESTROYED_DURING_RUN),
        ("Destroyed", Outcome.NOT_FOUND, Reason.DESTROYED_DURING_RUN),
        ("Paused", Outcome.SKIPPED, Reason.TOUCHED),
        ("Unknown", Outcome.SKIPPED, Reason.TOUCHED),
        ("Error", Outcome.SKIPPED, Reason.TOUCHED),
    ],
)
def test_what_is_not_stopped_is_left(word: str, outcome: Outcome, reason: Reason | None) -> None:
    """Nothing is sent to what runs, is gone, or reads anything else than Stopped."""
    start = Start()
    start.read(word)
    assert (start.judgement.outcome, start.judgement.reason, start.sends) == (outcome, reason, [])


def test_a_vm_in_transition_is_waited_for() -> None:
    """Somebody starts it just now: waited for, then it ran already."""
    start = Start()
    start.read("Starting").elapse().read("Running")
    assert (start.outcome, start.sends) == (Outcome.ALREADY_RUNNING, [])


def test_one_that_was_touched_is_left() -> None:
    """Changed after it was found untouched: left, and said so. Unchanged: started."""
    touched, same = Start(untouched=100.0), Start(untouched=200.0)
    for start in (touched, same):
        row = VmRow(VM, "vm-1", "UserVm", "Stopped", None, "c", 150.0)
        start._go(Read(start.now, row))
    assert (touched.judgement.outcome, touched.judgement.reason) == (Outcome.SKIPPED, Reason.TOUCHED)
    assert len(same.sends) == 1


# ── the job ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_is_started() -> None:
    """One PUT of type start, its job succeeds, it reads Running."""
    start = sent().ok(after=7.0)
    start.read("Running")
    assert [(send.type, send.reason) for send in start.sends] == [(AttemptType.START, AttemptReason.PLAN)]
    assert start.outcome is Outcome.STARTED
    assert start.judgement.evidence.seconds == pytest.approx(7.0)
    assert not start.judgement.check_after_start


def test_a_no_op_was_somebody_else() -> None:
    """Its job succeeds without a change: it ran before our call did anything."""
    start = sent().ok(no_op=True)
    start.read("Running")
    assert start.outcome is Outcome.ALREADY_RUNNING


@pytest.mark.parametrize(
    ("word", "outcome", "reason"),
    [
        ("Stopped", Outcome.FAILED, None),
        ("Paused", Outcome.FAILED, None),
        ("Unknown", Outcome.UNKNOWN, Reason.STATE_UNKNOWN),
        (GONE_ROW, Outcome.NOT_FOUND, Reason.DESTROYED_DURING_RUN),
    ],
)
def test_success_is_not_believed_against_the_state(word: str, outcome: Outcome, reason: Reason | None) -> None:
    """The end state wins over the job's word."""
    start = sent().ok()
    start.read(word)
    assert (start.judgement.outcome, start.judgement.reason) == (outcome, reason)


def test_an_unreadable_success_is_taken() -> None:
    """The job's inventory says Running, and nobody can read it any more: started, not re-read."""
    start = sent().ok()
    start.settle(UNREADABLE)
    assert start.outcome is Outcome.STARTED
    assert "not re-read" in start.judgement.evidence.text


def test_a_job_without_an_end() -> None:
    """Still running at its deadline: Starting is unknown, Stopped failed with a warning, Running started all the same."""
    for word, outcome, reason in (
        ("Starting", Outcome.UNKNOWN, Reason.STILL_STARTING),
        ("Stopped", Outcome.FAILED, None),
        ("Running", Outcome.STARTED, None),
    ):
        start = sent()
        start.elapse().settle(word)
        assert (start.judgement.outcome, start.judgement.reason) == (outcome, reason)
        assert len(start.sends) == 1
        assert ("look there before" in start.judgement.evidence.text) is (word == "Stopped")


# ── errors ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "codes",
    [ALLOCATOR, ("VM.1001", "HOST_ALLOCATION.1000"), ("SYS.1003",), ("VM.1001", "HOST.1011", "HOST.1010")],
    ids=lambda codes: codes[-1],
)
def test_where_the_node_does_not_take_the_host(codes: tuple[str, ...]) -> None:
    """Refused by the allocator, or the host is gone or out of reach: once more, wherever the node likes; never a third."""
    start = sent()
    start.job(failed(*codes)).read("Stopped")
    assert [send.reason for send in start.sends] == [AttemptReason.PLAN, AttemptReason.ERROR]
    start.accept()
    start.ok().read("Running")
    assert start.outcome is Outcome.STARTED
    twice = sent()
    twice.job(failed(*codes)).read("Stopped").accept().job(failed(*codes)).read("Stopped")
    assert (twice.outcome, len(twice.sends)) == (Outcome.FAILED, 2)


@pytest.mark.parametrize("code", ["SYS.1015", "SYS.1016", "SYS.1001", "HOST.1006"])
def test_where_the_host_may_run_it(code: str) -> None:
    """The call to the host broke or timed out, or the host failed: nothing is started anywhere else, and it says why."""
    start = sent()
    start.job(failed("VM.1001", "HOST.1011", code)).read("Stopped")
    assert (start.outcome, len(start.sends)) == (Outcome.FAILED, 1)
    assert "the host may run it all the same" in start.judgement.evidence.text
    late = sent()
    late.job(failed("VM.1001", code)).read("Running")
    assert late.outcome is Outcome.STARTED


def test_a_lost_session_is_no_failure() -> None:
    """ID.1001: again under a new id after a pause, on the same host."""
    start = sent()
    start.job(failed("ID.1001")).read("Stopped").elapse().read("Stopped")
    assert [send.reason for send in start.sends] == [AttemptReason.PLAN, AttemptReason.PLAN]


def test_a_refusal_while_somebody_else_starts_it() -> None:
    """Refused for its state, and Running afterwards: somebody else."""
    start = sent()
    start.job(failed("VM.1001", "VM.1010")).read("Running")
    assert start.outcome is Outcome.ALREADY_RUNNING


def test_other_errors_are_final() -> None:
    """No permission: failed with the chain, one PUT."""
    start = sent()
    start.job(failed("ID.1002")).read("Stopped")
    assert (start.outcome, len(start.sends)) == (Outcome.FAILED, 1)
    assert "ID.1002" in start.judgement.evidence.text


@pytest.mark.parametrize(
    ("codes", "transitional", "kind"),
    [
        (("SYS.1010",), False, ErrorClass.AGAIN),
        (("VM.1001", "VM.1010"), True, ErrorClass.AGAIN),
        (("VM.1001", "VM.1010"), False, ErrorClass.FINAL),
        (("HOST.1011", "SYS.1015"), False, ErrorClass.FINAL),
        (("SYS.1006", "SYS.1001"), False, ErrorClass.FINAL),
        (ALLOCATOR, False, ErrorClass.FALLBACK_MAY_HELP),
        (("NOBODY.KNOWS",), False, ErrorClass.FINAL),
    ],
)
def test_classes_of_error(codes: tuple[str, ...], transitional: bool, kind: ErrorClass) -> None:
    """What each chain means for a start."""
    assert classify_start(error(*codes), transitional=transitional) is kind


# ── doubt and halts ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_lost_put_is_settled_by_its_job() -> None:
    """No answer: the job is asked for; unknown and Stopped: the same id again; unknown and Running: somebody else."""
    start = Start()
    start.read("Stopped").lose().elapse().job(JobMissing()).read("Stopped")
    start.accept()
    start.ok().read("Running")
    assert (start.outcome, len(start.sends)) == (Outcome.STARTED, 1)
    other = Start()
    other.read("Stopped").lose().elapse().job(JobMissing()).read("Running").job(JobMissing())
    assert other.outcome is Outcome.ALREADY_RUNNING


def test_nothing_leaves_after_a_signal() -> None:
    """Ctrl-C before its PUT: not reached; while it starts: watched to its end, and no second try elsewhere."""
    before = Start()
    before.read("Stopped").halt()
    assert (before.judgement.outcome, before.judgement.reason) == (Outcome.NOT_REACHED, Reason.OPERATOR)
    during = sent()
    during.halt().job(failed(*ALLOCATOR)).read("Stopped")
    assert (during.outcome, len(during.sends)) == (Outcome.FAILED, 1)


def test_a_walk_always_ends() -> None:
    """Whatever state it stays in and whatever its job says, it ends, with at most two calls."""
    for word in ("Running", "Stopped", "Starting", "Stopping", "Paused", "Unknown", GONE_ROW, UNREADABLE):
        for answer in (JobRunning(), JobMissing(), JobUnreadable(error("http.502")), failed(*ALLOCATOR), failed("SYS.1015")):
            start = sent()
            for _ in range(200):
                match start.step:
                    case Done():
                        break
                    case ReadVm():
                        start.read(word)
                    case Watch():
                        start.elapse(answer)
                    case _ if start.sends[-1:] == [start.step]:
                        start.accept()
                    case _:
                        start.settle(word) if not hasattr(start.step, "job_uuid") else start.job(answer)
            assert isinstance(start.step, Done), (word, answer, start.step)
            assert len(start.sends) <= 2
