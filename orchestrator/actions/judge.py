"""Which outcome a VM gets: `outcomes.md` C, row by row, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.actions.rules import Rules, agent_call_failed, nothing_done
from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import STOPPED, AttemptReason, AttemptResult, AttemptType, HostOutcome, Outcome, Reason
from orchestrator.model.report import Basis, Evidence
from orchestrator.model.states import End, end_of


class Verdict(StrEnum):
    """What a PUT's job said: `none` is 202 at the deadline, 404 after expiry, or unreadable; `pending` not asked yet."""

    PENDING = "pending"
    OK = "ok"
    ERR = "err"
    NONE = "none"


@dataclass(frozen=True)
class Attempt:
    """One PUT as the action knows it; times in monotonic seconds."""

    type: AttemptType
    reason: AttemptReason
    job_uuid: str
    api_timeout_seconds: int
    at: float
    """When the PUT that counts left."""
    node_at: float | None
    """The same moment by the node's clock, seconds since 1970; None where that clock is not known."""
    deadline: float
    verdict: Verdict = Verdict.PENDING
    error: NodeError | None = None
    no_op: bool = False
    stopped: bool = False
    """The verdict's inventory says Stopped."""
    stopping_seen: bool = False
    accepted: bool = False
    """The node said that it has the job, by the answer to the PUT or to a look."""
    tried: bool = False
    """At least one try of it may have reached the node."""
    never_left: bool = False
    """No try of it left this machine."""
    ended_at: float | None = None
    status: int | None = None
    """HTTP status of a PUT that was refused at once; None where it was accepted."""
    never_arrived: bool = False
    """Proven: the node knows no such job, long before it could have forgotten it."""

    @property
    def result(self) -> AttemptResult:
        """The word for it in the report."""
        match self.verdict:
            case Verdict.OK:
                return AttemptResult.NO_OP if self.no_op else AttemptResult.SUCCEEDED
            case Verdict.ERR:
                return AttemptResult.REFUSED if self.status is not None else AttemptResult.FAILED
            case Verdict.NONE:
                return AttemptResult.LOST if self.never_arrived else AttemptResult.TIMED_OUT
            case _:
                return AttemptResult.RUNNING


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the table asks for. `state` is E as read, None where `gone_row` or unreadable; `host`: where."""

    before: str | None
    attempts: Sequence[Attempt]
    state: str | None
    gone_row: bool = False
    first_off_at: float | None = None
    withheld: bool = False
    abandoned: bool = False
    """The window had ended, and nobody waited for the job any longer."""
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """An outcome with its reason and evidence; of a VM or, from `host`, of a host."""

    outcome: Outcome | HostOutcome
    evidence: Evidence
    reason: Reason | None = None

    @property
    def of_vm(self) -> Outcome:
        """Where it was about a VM."""
        assert isinstance(self.outcome, Outcome)
        return self.outcome

    @property
    def of_host(self) -> HostOutcome:
        """Where it was about a host: what fails, is unknown or not reached is called alike."""
        return HostOutcome(self.outcome.value)

    @property
    def check_after_start(self) -> bool:
        """Was the power cut, for certain or most likely?"""
        return self.outcome in {Outcome.STOPPED_FORCED, Outcome.STOPPED_COLD}


def said_of(what: str, attempt: Attempt) -> str:
    """How a job ended, in a clause; `what`: `its start`."""
    match attempt.verdict:
        case Verdict.OK:
            return f"{what} succeeded"
        case Verdict.ERR:
            return f"{what} failed with {attempt.error.chain() if attempt.error else 'no code'}"
        case _:
            return f"{what} never answered"


def judge(facts: Facts, rules: Rules) -> Judgement:
    """Rows 7 to 21: a stop was sent. The first row that matches."""
    judged = _judge(facts, rules)
    open_job = facts.attempts[-1].verdict is Verdict.NONE
    if facts.abandoned and open_job and judged.outcome in {Outcome.FAILED, Outcome.UNKNOWN}:
        return _with_words(judged, "; left at the end of the window, and its job may still act")
    return judged


def _with_words(judged: Judgement, words: str) -> Judgement:
    return replace(judged, evidence=replace(judged.evidence, text=judged.evidence.text + words))


def _judge(facts: Facts, rules: Rules) -> Judgement:
    sent = [attempt for attempt in facts.attempts if not attempt.never_arrived]
    assert sent, "rows 1 to 6 are for VMs nothing was sent to"
    end = End.GONE if facts.gone_row else end_of(facts.state)
    real = [attempt for attempt in sent if attempt.verdict is Verdict.OK and not attempt.no_op]
    word = facts.state or "nothing readable"
    match end:
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed while the run went on", reason=Reason.DESTROYED_DURING_RUN)
        case End.ELSE if any(attempt.stopped for attempt in real) or (real and facts.first_off_at is not None):
            return _say(Outcome.CAME_BACK, f"the stop succeeded, and afterwards its state reads {word}")
        case End.ELSE if rules.leaving and facts.host is not None and facts.host not in rules.leaving:
            words = f"{_said(sent)}, and it has left the hosts that are emptied"
            if any(attempt.verdict is Verdict.NONE for attempt in sent):
                return _say(Outcome.FAILED, f"{words}; its job may still stop it where it is now")
            return _say(Outcome.SKIPPED, words, reason=Reason.ELSEWHERE)
        case End.ELSE:
            reason = Reason.FALLBACK_WITHHELD if facts.withheld else None
            return _say(Outcome.FAILED, f"{_said(sent)}; its state reads {word}", reason=reason)
        case End.MID:
            when = "" if facts.abandoned else " at the last deadline"
            return _say(Outcome.UNKNOWN, f"still Stopping{when}", reason=Reason.STILL_STOPPING)
        case End.DARK if facts.state is not None:
            return _say(Outcome.UNKNOWN, f"{_said(sent)}; its state reads {word}", reason=Reason.STATE_UNKNOWN)
        case End.DARK if not any(attempt.stopped and attempt.verdict is Verdict.OK for attempt in sent):
            return _say(
                Outcome.UNKNOWN,
                f"{_said(sent)}; its state could not be read",
                basis="none",
                reason=Reason.UNREADABLE,
            )
        case End.DARK:
            return _with_words(_off(facts, sent, rules), " (not re-read)")
        case _:
            return _off(facts, sent, rules)


def _off(facts: Facts, sent: Sequence[Attempt], rules: Rules) -> Judgement:
    no_ops = [attempt for attempt in sent if attempt.verdict is Verdict.OK and attempt.no_op]
    others = [attempt for attempt in sent if not (attempt.verdict is Verdict.OK and attempt.no_op)]
    if no_ops and all(_nothing_done(attempt) for attempt in others):  # row 13
        return _say(
            Outcome.ALREADY_STOPPED,
            "the node had nothing to do: it was Stopped before our call ran",
            basis="job",
        )
    grace = _last(sent, AttemptType.GRACE)
    cold = _last(sent, AttemptType.COLD)
    if grace is None:
        assert cold is not None
        if _nothing_done(cold):  # row 21
            return _refused(cold)
        return _say(Outcome.STOPPED_COLD, "a cold stop ended it", seconds=_seconds(cold, facts), basis=_basis(cold))
    if grace.verdict is Verdict.OK and not grace.no_op:  # rows 14, 15
        return _by_time(facts, grace, rules, "the grace job succeeded")
    if cold is None or _nothing_done(cold):
        return _grace_alone(facts, grace, rules)  # rows 16 to 18; a cold that was refused changed nothing
    if cold.verdict is Verdict.OK and cold.no_op:  # row 19
        return _say(
            Outcome.STOPPED_FORCED,
            "it was Stopped when the cold stop ran; the grace before it took effect late",
        )
    if facts.first_off_at is not None and facts.first_off_at < cold.at:  # row 20
        return _grace_alone(facts, grace, rules)
    return _say(Outcome.STOPPED_COLD, "a cold stop ended it", seconds=_seconds(cold, facts), basis=_basis(cold))


def _grace_alone(facts: Facts, grace: Attempt, rules: Rules) -> Judgement:
    if grace.verdict is not Verdict.ERR:
        return _by_time(facts, grace, rules, "the job never answered")
    if _nothing_done(grace):
        return _refused(grace)
    words = grace.error.chain() if grace.error is not None else "an error"
    return _say(Outcome.STOPPED_FORCED, f"its job answered {words}, and it is Stopped all the same", basis="job")


def _refused(attempt: Attempt) -> Judgement:
    if attempt.error is not None and agent_call_failed(attempt.error):  # the table takes that for nothing done
        words = "the call of our stop to the host failed, and it is Stopped: by somebody else, or by that call after all"
        return _say(Outcome.ALREADY_STOPPED, words)
    return _say(Outcome.ALREADY_STOPPED, "our stop was refused, and somebody else stopped it")


def _by_time(facts: Facts, grace: Attempt, rules: Rules, words: str) -> Judgement:
    seconds = _seconds(grace, facts)
    basis = _basis(grace)
    limit = rules.power_cut_seconds
    if facts.before != "Running":
        return _say(
            Outcome.STOPPED_FORCED,
            f"{words}; it was {facts.before or 'unreadable'} before, from where no guest shuts itself down",
            seconds=seconds,
            basis=basis,
        )
    if seconds is not None and seconds < rules.late_seconds:
        return _say(
            Outcome.STOPPED_CLEAN,
            f"{words} after {seconds:.1f} s, well before the power cut at {limit:g} s",
            seconds=seconds,
            basis=basis,
        )
    when = "at an unknown moment" if seconds is None else f"after {seconds:.1f} s"
    return _say(
        Outcome.STOPPED_FORCED,
        f"{words}; its end was seen {when}, where the node cuts the power at {limit:g} s",
        seconds=seconds,
        basis=basis,
    )


def judge_again(outcome: Outcome, facts: Facts, rules: Rules, *, unstopped_sent: bool) -> Judgement | None:
    """Rows 22 to 24, at verification: a new judgement, or None where the old one stands.

    `unstopped_sent`: something had been sent that is not proven never to have arrived.
    """
    end = End.GONE if facts.gone_row else end_of(facts.state)
    if outcome in STOPPED | {Outcome.ALREADY_STOPPED} and end is End.ELSE:
        return _say(Outcome.CAME_BACK, f"it was Stopped, and at verification its state reads {facts.state}")
    if outcome in {Outcome.FAILED, Outcome.UNKNOWN} and end is End.GOAL and unstopped_sent:
        judged = _off(facts, [attempt for attempt in facts.attempts if not attempt.never_arrived], rules)
        return _with_words(judged, "; seen at verification")
    if outcome in {Outcome.FAILED, Outcome.UNKNOWN} and end is End.GOAL:
        return _say(Outcome.ALREADY_STOPPED, "Stopped at verification, and nothing of ours had reached the node")
    return None


def _last(sent: Sequence[Attempt], type_: AttemptType) -> Attempt | None:
    return next((attempt for attempt in reversed(sent) if attempt.type is type_), None)


def _nothing_done(attempt: Attempt) -> bool:
    return attempt.verdict is Verdict.ERR and attempt.error is not None and nothing_done(attempt.error, attempt.status)


def _seconds(attempt: Attempt, facts: Facts) -> float | None:
    signs = [at for at in (attempt.ended_at, facts.first_off_at) if at is not None and at >= attempt.at]
    return round(min(signs) - attempt.at, 3) if signs else None


def _basis(attempt: Attempt) -> Basis:
    return "job" if attempt.verdict is Verdict.OK else "state"


def _said(sent: Sequence[Attempt]) -> str:
    last = sent[-1]
    match last.verdict:
        case Verdict.OK:
            return f"the {last.type} job answered success"
        case Verdict.ERR:
            return f"the {last.type} job failed with {last.error.chain() if last.error else 'no code'}"
        case _:
            return f"the {last.type} job never answered"


def _say(
    outcome: Outcome,
    text: str,
    *,
    seconds: float | None = None,
    basis: Basis = "state",
    reason: Reason | None = None,
) -> Judgement:
    return Judgement(outcome, Evidence(text=text, seconds=seconds, basis=basis), reason)
