"""outcomes.md A: is cold sent after grace? Every cell."""

import pytest

from orchestrator.actions.machine import Done, Send, Wait
from orchestrator.model.outcome import AttemptReason, AttemptType, Reason
from tests.unit.actions.driver import (
    BOTH,
    DARK,
    GONE,
    UNREADABLE,
    UP,
    Stop,
    accepted,
    cold_rules,
    failed,
    rules,
    timed_out,
    turn,
)

PLANS = ((), ("timeout",), ("error",), BOTH)
SAYABLE = (*UP, "Stopping", "Unknown", "NoState")
"""up, mid, and the dark ones that are words."""

plans = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "+".join(plan) or "none")


def _cold(stop: Stop, reason: AttemptReason) -> None:
    assert stop.step == Send(AttemptType.COLD, reason, 180)


@plans
@pytest.mark.parametrize("word", [*SAYABLE, "Stopped", *GONE, UNREADABLE])
def test_ok_any_never_cold(plan: tuple[str, ...], word: str) -> None:
    """After a grace that answered success no cold is sent, whatever is read."""
    stop = accepted(rules(*plan)).ok().settle(word)
    assert isinstance(stop.step, Done)
    assert len(stop.sends) == 1


@plans
@pytest.mark.parametrize("word", ["Stopped", *GONE])
@pytest.mark.parametrize("code", ["HOST.1006", "HOST.1011", "SYS.1010", "SYS.1015"])
def test_err_off_or_gone_never_cold(plan: tuple[str, ...], word: str, code: str) -> None:
    """After an error of any class, a VM that is off or gone gets nothing more."""
    stop = accepted(rules(*plan)).job(failed(code)).read(word)
    assert isinstance(stop.step, Done)
    assert len(stop.sends) == 1


@plans
@pytest.mark.parametrize("word", ["Running", "Paused", "Crashed", "Unknown", "NoState", "AWordNobodyListed"])
@pytest.mark.parametrize("at_once", [False, True])
def test_err_class_r_grace_again(plan: tuple[str, ...], word: str, at_once: bool) -> None:
    """Class R: grace again after a back-off, under every plan."""
    stop = turn(rules(*plan))
    stop = stop.refuse("SYS.1010") if at_once else stop.accept().job(failed("SYS.1010"))
    stop.read(word)
    assert isinstance(stop.step, Wait), "a back-off comes first"
    stop.settle(word)
    assert isinstance(stop.step, Send)
    assert (stop.step.type, stop.step.reason) == (AttemptType.GRACE, AttemptReason.PLAN)
    before = stop.state.last.job_uuid
    stop.accept()
    assert stop.state.last.job_uuid != before, "a new job id"
    assert not stop.colds


@plans
def test_err_class_r_grace_again_once_stopping_has_passed(plan: tuple[str, ...]) -> None:
    """Class R while Stopping: nothing is sent into the transition, and grace again after it."""
    stop = accepted(rules(*plan)).job(failed("SYS.1010"))
    for _ in range(5):
        stop.read("Stopping")
        assert isinstance(stop.step, Wait)
        stop.elapse()
    stop.settle("Running")
    assert isinstance(stop.step, Send)
    assert stop.step.type is AttemptType.GRACE


@plans
def test_err_class_r_then_unreadable_grace_again_once_readable(plan: tuple[str, ...]) -> None:
    """Class R while nothing can be read: grace again once the state is readable."""
    stop = accepted(rules(*plan)).job(failed("SYS.1010"))
    for _ in range(3):
        stop.read(UNREADABLE)
        assert isinstance(stop.step, Wait)
        stop.elapse()
    stop.settle("Running")
    assert isinstance(stop.step, Send)
    assert stop.step.type is AttemptType.GRACE


@plans
@pytest.mark.parametrize("word", [*SAYABLE, UNREADABLE])
@pytest.mark.parametrize("at_once", [False, True])
def test_err_class_n_never_cold(plan: tuple[str, ...], word: str, at_once: bool) -> None:
    """Class N: no cold under any plan, in any state."""
    stop = turn(rules(*plan))
    stop = stop.refuse("HOST.1011") if at_once else stop.accept().job(failed("VM.1002", "HOST.1011", "HOST.1010"))
    stop.settle(word)
    assert isinstance(stop.step, Done)
    assert len(stop.sends) == 1


@plans
@pytest.mark.parametrize("word", SAYABLE)
@pytest.mark.parametrize("at_once", [False, True])
def test_err_class_c(plan: tuple[str, ...], word: str, at_once: bool) -> None:
    """Class C: cold exactly where fallback_on has error."""
    stop = turn(rules(*plan))
    stop = stop.refuse("VM.1002", "HOST.1006") if at_once else stop.accept().job(failed("VM.1002", "HOST.1006"))
    stop.settle(word)
    if "error" in plan:
        _cold(stop, AttemptReason.ERROR)
    else:
        assert isinstance(stop.step, Done)
        assert not stop.colds


@plans
@pytest.mark.parametrize("word", ["Stopped", *GONE])
def test_none_at_the_deadline_off_or_gone_never_cold(plan: tuple[str, ...], word: str) -> None:
    """No verdict at the deadline, but off or gone: no cold."""
    stop = timed_out(rules(*plan)).read(word)
    assert isinstance(stop.step, Done)
    assert not stop.colds


@plans
@pytest.mark.parametrize("word", SAYABLE)
def test_none_at_the_deadline(plan: tuple[str, ...], word: str) -> None:
    """No verdict at the deadline: cold exactly where fallback_on has timeout."""
    stop = timed_out(rules(*plan)).settle(word)
    if "timeout" in plan:
        _cold(stop, AttemptReason.TIMEOUT)
    else:
        assert isinstance(stop.step, Done)
        assert not stop.colds


def test_the_deadline_of_grace_is_its_timeout_and_ten_seconds() -> None:
    """A PUT is waited for until ten seconds past its timeout, so that the node gives up first."""
    stop = accepted()
    left = stop.left_at
    stop.elapse()
    assert stop.now == left + 250.0


@plans
@pytest.mark.parametrize("verdict", ["err", "none"])
@pytest.mark.parametrize("word", SAYABLE)
def test_err_or_none_unreadable_then_its_row(plan: tuple[str, ...], verdict: str, word: str) -> None:
    """An unreadable state is read again within node_outage; then its row decides."""
    stop = accepted(rules(*plan))
    stop = stop.job(failed("HOST.1006")) if verdict == "err" else stop.elapse()
    began = stop.now
    while stop.now < began + 500.0:
        stop.read(UNREADABLE)
        assert isinstance(stop.step, Wait), "unreadable is no reason for cold, nor for an end"
        stop.elapse()
    stop.settle(word)
    reason = AttemptReason.ERROR if verdict == "err" else AttemptReason.TIMEOUT
    if reason.value in plan:
        _cold(stop, reason)
    else:
        assert not stop.colds


@plans
@pytest.mark.parametrize("verdict", ["err", "none"])
def test_err_or_none_unreadable_to_the_end_never_cold(plan: tuple[str, ...], verdict: str) -> None:
    """A state that stays unreadable past node_outage ends without cold."""
    stop = accepted(rules(*plan))
    stop = stop.job(failed("HOST.1006")) if verdict == "err" else stop.elapse()
    stop.settle(UNREADABLE)
    assert isinstance(stop.step, Done)
    assert stop.judgement.reason is Reason.UNREADABLE
    assert not stop.colds


@pytest.mark.parametrize("word", [*SAYABLE, *DARK])
@pytest.mark.parametrize("first", ["err", "none"])
@pytest.mark.parametrize("second", ["err", "none", "ok", "n"])
def test_at_most_one_cold(first: str, second: str, word: str) -> None:
    """Whatever the one cold answers, there is no second."""
    stop = accepted()
    stop = stop.job(failed("HOST.1006")) if first == "err" else stop.elapse()
    stop.settle("Running").accept()
    match second:
        case "err":
            stop.job(failed("HOST.1006"))
        case "n":
            stop.job(failed("HOST.1011"))
        case "ok":
            stop.ok()
        case _:
            stop.elapse()
    stop.settle(word)
    assert isinstance(stop.step, Done)
    assert len(stop.colds) == 1


@pytest.mark.parametrize("code", ["HOST.1006", "HOST.1011"])
@pytest.mark.parametrize("word", ["Running", "Stopping", "Unknown"])
def test_type_cold_sends_cold_only(code: str, word: str) -> None:
    """`type: cold` sends one cold, by the plan, and nothing else after an error."""
    stop = turn(cold_rules())
    assert stop.step == Send(AttemptType.COLD, AttemptReason.PLAN, 180)
    stop.accept().job(failed(code)).settle(word)
    assert isinstance(stop.step, Done)
    assert len(stop.sends) == 1


@pytest.mark.parametrize("reason", [Reason.OPERATOR, Reason.NODE, Reason.JOURNAL])
@pytest.mark.parametrize("verdict", ["err", "none"])
@pytest.mark.parametrize("when", ["before the verdict", "after it", "when cold is about to leave"])
def test_no_cold_after_a_signal(reason: Reason, verdict: str, when: str) -> None:
    """After a signal no cold leaves, and the outcome says fallback_withheld."""
    stop = accepted()
    if when == "before the verdict":
        stop.halt(reason)
    stop = stop.job(failed("HOST.1006")) if verdict == "err" else stop.elapse()
    if when == "after it":
        stop.halt(reason)
    stop.read("Running")
    if when == "when cold is about to leave":
        assert isinstance(stop.step, Send)
        stop.halt(reason)
    stop.settle("Running")
    assert stop.judgement.reason is Reason.FALLBACK_WITHHELD
    assert len([attempt for attempt in stop.state.attempts if attempt.type is AttemptType.COLD]) == 0


def test_the_last_deadline_is_that_of_the_cold() -> None:
    """Still Stopping after cold is watched until the cold's own timeout and ten seconds."""
    stop = timed_out().read("Running").accept()
    left = stop.left_at
    stop.job(failed("HOST.1006")).settle("Stopping")
    assert stop.judgement.reason is Reason.STILL_STOPPING
    assert stop.now >= left + 190.0
