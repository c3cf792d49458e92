"""outcomes.md B: the classes of error."""

from itertools import pairwise, product

import pytest

from orchestrator.actions.machine import Done, Send, Watch
from orchestrator.actions.rules import ErrorClass, classify, exhausted, nothing_done
from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import AttemptReason, AttemptType
from orchestrator.model.target import Accepted
from tests.unit.actions.driver import BOTH, Stop, accepted, cold_rules, error, failed, rules, turn

AGAIN = (
    "ID.1001",
    "SYS.1009",
    "SYS.1010",
    "SYS.1011",
    "SYS.1012",
    "SYS.1015",
    "SYS.1016",
    "http.429",
)
NO_COLD = (
    "ID.1000",
    "ID.1002",
    "ID.9999",
    "LOGIN_CONTROL.1000",
    "LICENSE.1003",
    "SYS.1003",
    "SYS.1006",
    "SYS.1007",
    "SYS.1017",
    "VM.1010",
    "HOST.1010",
    "HOST.1011",
    "http.400",
    "http.403",
    "http.404",
    "http.405",
    "http.500",
)
MAY_HELP = ("HOST.1006", "SYS.1000", "SYS.1001", "VM.1002", "VM.1011", "HOST.1000", "IDX.1001", "NOBODY.KNOWS", "")
RUN_OUT = ("ID.1001", "SYS.1009", "SYS.1010", "SYS.1011", "SYS.1012", "http.429")


@pytest.mark.parametrize("code", AGAIN)
@pytest.mark.parametrize("transitional", [False, True])
def test_class_r(code: str, transitional: bool) -> None:
    """Each code of R means: again."""
    assert classify(error(code), transitional=transitional) is ErrorClass.AGAIN


@pytest.mark.parametrize("code", NO_COLD)
def test_class_n(code: str) -> None:
    """Each code of N, and each unlisted one of its families, means: no cold."""
    assert classify(error(code), transitional=False) is ErrorClass.FINAL


@pytest.mark.parametrize("code", MAY_HELP)
@pytest.mark.parametrize("transitional", [False, True])
def test_class_c(code: str, transitional: bool) -> None:
    """C and every code nobody listed: cold may help."""
    assert classify(error(code), transitional=transitional) is ErrorClass.FALLBACK_MAY_HELP


def test_vm_1010_while_transitional_is_r() -> None:
    """VM.1010 means again while the VM is in transition, and no cold otherwise."""
    assert classify(error("VM.1010"), transitional=True) is ErrorClass.AGAIN
    assert classify(error("VM.1010"), transitional=False) is ErrorClass.FINAL


@pytest.mark.parametrize(("again", "no_cold"), list(product(AGAIN, NO_COLD)))
def test_r_before_n(again: str, no_cold: str) -> None:
    """R wins over N wherever in the chain the two stand."""
    for codes in ((again, no_cold), (no_cold, again), ("VM.1002", no_cold, "HOST.1006", again)):
        assert classify(error(*codes), transitional=False) is ErrorClass.AGAIN


@pytest.mark.parametrize(("no_cold", "may_help"), list(product(NO_COLD, MAY_HELP)))
def test_n_before_c(no_cold: str, may_help: str) -> None:
    """N wins over C wherever in the chain the two stand."""
    for codes in ((no_cold, may_help), (may_help, no_cold), ("NOBODY.KNOWS", may_help, no_cold)):
        assert classify(error(*codes), transitional=False) is ErrorClass.FINAL


def test_codes_count_in_every_branch() -> None:
    """A code among `causes` counts like one beneath `cause`."""
    branches = NodeError(code="VM.1002", cause=NodeError(code="HOST.1006"), causes=(error("SYS.1000", "HOST.1011"),))
    assert classify(branches, transitional=False) is ErrorClass.FINAL


def test_details_never_count() -> None:
    """Words in details and description decide nothing."""
    said = NodeError(code="HOST.1006", details="SYS.1010 HOST.1011", description="ID.1001 http.429")
    assert classify(said, transitional=False) is ErrorClass.FALLBACK_MAY_HELP


@pytest.mark.parametrize("code", RUN_OUT)
def test_exhausted_r_is_n(code: str) -> None:
    """R whose time has run out is N."""
    assert exhausted(error(code)) is ErrorClass.FINAL
    assert exhausted(error("VM.1002", code)) is ErrorClass.FINAL


def test_exhausted_vm_1010_is_n() -> None:
    """VM.1010 in a transition that never ends is N."""
    assert exhausted(error("VM.1010")) is ErrorClass.FINAL


@pytest.mark.parametrize("code", ["SYS.1015", "SYS.1016"])
def test_exhausted_agent_call_is_c(code: str) -> None:
    """SYS.1015 and SYS.1016 become C when the time has run out."""
    assert exhausted(error(code)) is ErrorClass.FALLBACK_MAY_HELP
    assert exhausted(error("VM.1002", code)) is ErrorClass.FALLBACK_MAY_HELP


@pytest.mark.parametrize("code", sorted({*AGAIN, *NO_COLD} - {"SYS.1006", "SYS.1017"}))
def test_nothing_done(code: str) -> None:
    """R and N say that nothing was done."""
    assert nothing_done(error(code))
    assert nothing_done(error("VM.1002", code))


@pytest.mark.parametrize("code", ["SYS.1006", "SYS.1017", *MAY_HELP])
def test_something_may_be_done(code: str) -> None:
    """SYS.1006, SYS.1017 and class C leave open what was done."""
    assert not nothing_done(error(code))


def _refused_until_it_gives_up(stop: Stop, *codes: str, word: str = "Running") -> tuple[int, list[float]]:
    first = stop.now
    left = []
    tries = 0
    while isinstance(stop.step, Send) and stop.step.type is AttemptType.GRACE:
        left.append(stop.now - first)
        stop.refuse(*codes).settle(word)
        tries += 1
        assert tries < 500
    return tries, left


@pytest.mark.parametrize("code", RUN_OUT)
def test_r_is_tried_within_grace_timeout_and_ends_without_cold(code: str) -> None:
    """R is sent again and again, always within the one grace_timeout, and ends as N."""
    stop = turn()
    tries, left = _refused_until_it_gives_up(stop, code)
    assert tries > 3
    assert left[-1] < 240.0
    assert isinstance(stop.step, Done)
    assert stop.now >= 1000.0 + 200.0, "the time is used before giving up"
    ids = [attempt.job_uuid for attempt in stop.state.attempts]
    assert len(set(ids)) == len(ids), "each under a new job id"


@pytest.mark.parametrize("code", ["SYS.1015", "SYS.1016"])
@pytest.mark.parametrize("plan", [(), ("timeout",), ("error",), BOTH])
def test_agent_call_ends_as_c(code: str, plan: tuple[str, ...]) -> None:
    """SYS.1015/1016 to the end of grace_timeout: cold, where the plan has error."""
    stop = turn(rules(*plan))
    _refused_until_it_gives_up(stop, code)
    if "error" in plan:
        assert stop.step == Send(AttemptType.COLD, AttemptReason.ERROR, 180)
    else:
        assert isinstance(stop.step, Done)


def test_the_back_off_grows() -> None:
    """The pauses between tries grow and stay within 15 s."""
    stop = turn()
    _, left = _refused_until_it_gives_up(stop, "SYS.1010")
    gaps = [later - earlier for earlier, later in pairwise(left)]
    assert gaps[0] < gaps[3]
    assert max(gaps) < 20.0


def test_vm_1010_while_transitional_waits_and_sends_again() -> None:
    """VM.1010 because it was Migrating: waited for, then grace again."""
    stop = accepted().job(failed("VM.1010"))
    for _ in range(4):
        stop.read("Migrating").elapse()
    stop.settle("Running")
    assert isinstance(stop.step, Send)
    assert stop.step.type is AttemptType.GRACE


@pytest.mark.parametrize("word", ["Running", "Paused", "Unknown"])
def test_other_vm_1010_ends_at_once(word: str) -> None:
    """VM.1010 in a state that does not pass by itself: N, at once."""
    stop = accepted().job(failed("VM.1010")).read(word)
    assert isinstance(stop.step, Done)


@pytest.mark.parametrize("codes", [("SYS.1000",), ("HOST.1006",), ("NOBODY.KNOWS",)])
@pytest.mark.parametrize("status", [400, 403, 404, 405, 500])
def test_http_status_at_once_is_n_whatever_the_body_says(status: int, codes: tuple[str, ...]) -> None:
    """HTTP 400/403/404/405/500 at once is N, also with an error object of class C in its body."""
    stop = turn().refuse(*codes, status=status).read("Running")
    assert isinstance(stop.step, Done), "no cold after a PUT that was refused with this status"


def test_http_429_at_once_is_r_whatever_the_body_says() -> None:
    """HTTP 429 is R, also with an error object in its body."""
    stop = turn().refuse("SYS.1000", status=429).settle("Running")
    assert isinstance(stop.step, Send)
    assert stop.step.type is AttemptType.GRACE


@pytest.mark.parametrize("status", [409, 501])
def test_an_unlisted_http_status_is_c(status: int) -> None:
    """An HTTP status nobody listed is like every unlisted code: C."""
    assert classify(error(f"http.{status}"), transitional=False) is ErrorClass.FALLBACK_MAY_HELP


def test_duplicate_job_is_accepted() -> None:
    """400 "Duplicate job" is no error: the job is watched."""
    stop = turn().put(Accepted(duplicate=True))
    assert isinstance(stop.step, Watch)


@pytest.mark.parametrize("code", RUN_OUT)
def test_cold_by_plan_is_tried_again_too(code: str) -> None:
    """`type: cold` refused with R is sent again, cold, by the plan."""
    stop = turn(cold_rules()).refuse(code).settle("Running")
    assert stop.sends[-1].type is AttemptType.COLD
    assert stop.sends[-1].reason is AttemptReason.PLAN
    assert len(stop.sends) == 2
