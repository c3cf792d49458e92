"""Which outcome a VM gets that was to be started: the rows of `outcomes.md` with the ends changed about. Without I/O.

Running is the goal, Starting is on the way, and there is nothing forced about it: what a start did is told by its job
and by the state alone.
"""

from collections.abc import Sequence

from orchestrator.actions.judge import Attempt, Facts, Judgement, Verdict, said_of
from orchestrator.actions.rules import Rules, host_may_run_it, start_never_began
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import Basis, Evidence
from orchestrator.model.states import End, end_of

_UP = frozenset({Outcome.STARTED, Outcome.ALREADY_RUNNING})
_MAY_RUN = "; the host may run it all the same: look there before it is started elsewhere"


def at_turn(word: str | None, end: End, *, touched: bool) -> Judgement | None:
    """What its state decides before anything is sent; None where it is to be started, or in transition.

    `touched`: `lastOpDate` is later than when the run that stopped it read it last.
    """
    match end:
        case End.GOAL:
            return _say(Outcome.ALREADY_RUNNING, "Running before anything was sent")
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed meanwhile", Reason.DESTROYED_DURING_RUN)
        case _ if word == "Stopped":
            words = "it was changed since the run that stopped it, and is left to whoever did that"
            return _say(Outcome.SKIPPED, words, Reason.TOUCHED) if touched else None
        case _:
            return _say(Outcome.SKIPPED, f"its state reads {word}: somebody has had it since", Reason.TOUCHED)


def unsent(end: End) -> Judgement | None:
    """What its state decides of a VM whose call never reached the node; None where that says nothing."""
    match end:
        case End.GOAL:
            return _say(Outcome.ALREADY_RUNNING, "started by somebody else; our call never reached the node")
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed while the run went on", Reason.DESTROYED_DURING_RUN)
        case _:
            return None


def judge(facts: Facts, rules: Rules) -> Judgement:
    """A start was sent. The first row that matches."""
    sent = [attempt for attempt in facts.attempts if not attempt.never_arrived]
    assert sent, "what was never sent is judged by its state"
    end = End.GONE if facts.gone_row else end_of(facts.state, rules.verb)
    real = [attempt for attempt in sent if attempt.verdict is Verdict.OK and not attempt.no_op]
    said = said_of("its start", sent[-1])
    match end:
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed while the run went on", Reason.DESTROYED_DURING_RUN)
        case End.GOAL:
            return _running(sent, said)
        case End.MID:
            return _say(Outcome.UNKNOWN, "still Starting at the last deadline", Reason.STILL_STARTING)
        case End.DARK if facts.state is not None:
            return _say(Outcome.UNKNOWN, f"{said}; its state reads {facts.state}", Reason.STATE_UNKNOWN)
        case End.DARK if any(attempt.stopped for attempt in real):
            return _say(Outcome.STARTED, "its job succeeded (not re-read)", basis="job")
        case End.DARK:
            return _say(Outcome.UNKNOWN, f"{said}; its state could not be read", Reason.UNREADABLE, basis="none")
        case _ if real:
            return _say(Outcome.FAILED, f"the start succeeded, and afterwards its state reads {facts.state}")
        case _:
            error = sent[-1].error
            risk = _MAY_RUN if sent[-1].verdict is Verdict.NONE or (error is not None and host_may_run_it(error)) else ""
            return _say(Outcome.FAILED, f"{said}; its state reads {facts.state}{risk}")


def judge_again(outcome: Outcome, facts: Facts, rules: Rules, *, sent: bool) -> Judgement | None:
    """At verification: a new judgement, or None where the old one stands. `sent`: something had reached the node."""
    end = End.GONE if facts.gone_row else end_of(facts.state, rules.verb)
    if outcome in _UP and end is End.ELSE:
        return _say(Outcome.FAILED, f"it was Running, and at verification its state reads {facts.state}")
    if outcome in {Outcome.FAILED, Outcome.UNKNOWN} and end is End.GOAL:
        arrived = [attempt for attempt in facts.attempts if not attempt.never_arrived]
        if not sent or not arrived:
            return _say(Outcome.ALREADY_RUNNING, "Running at verification, and nothing of ours had reached the node")
        judged = _running(arrived, said_of("its start", arrived[-1]))
        return _say(judged.of_vm, f"{judged.evidence.text}; seen at verification")
    return None


def _running(sent: Sequence[Attempt], said: str) -> Judgement:
    no_ops = [attempt for attempt in sent if attempt.verdict is Verdict.OK and attempt.no_op]
    others = [attempt for attempt in sent if attempt not in no_ops]
    if no_ops and all(_refused(attempt) for attempt in others):
        words = "the node had nothing to do: it was Running before our call ran"
        return _say(Outcome.ALREADY_RUNNING, words, basis="job")
    if all(_refused(attempt) for attempt in sent):
        return _say(Outcome.ALREADY_RUNNING, f"{said}, and somebody else started it")
    last = sent[-1]
    if last.verdict is not Verdict.OK:
        return _say(Outcome.STARTED, f"{said}, and it runs all the same")
    seconds = None if last.ended_at is None else round(last.ended_at - last.at, 3)
    return Judgement(Outcome.STARTED, Evidence(text=said, seconds=seconds, basis="job"))


def _refused(attempt: Attempt) -> bool:
    error = attempt.error
    return attempt.verdict is Verdict.ERR and error is not None and start_never_began(error, attempt.status)


def _say(outcome: Outcome, text: str, reason: Reason | None = None, basis: Basis = "state") -> Judgement:
    return Judgement(outcome, Evidence(text=text, basis=basis), reason)
