"""What became of a change of a host's state (zstack-rest.md 9, ChangeHostState). Without I/O."""

from orchestrator.actions.judge import Facts, Judgement, Verdict, said_of
from orchestrator.actions.rules import Rules
from orchestrator.model.outcome import AttemptResult, HostOutcome
from orchestrator.model.report import Basis, Evidence
from orchestrator.model.states import GOALS, MIDS, End, Verb, end_of

_GONE = "the node does not know this host any more"


def at_turn(word: str | None, end: End, rules: Rules) -> Judgement | None:
    """What its state decides before anything is sent; None where it is to be changed, or in transition.

    A host that is to go into maintenance has been disabled before: where it is Enabled, the node may have placed something
    on it since it was seen to be empty.
    """
    match end:
        case _ if word in rules.as_good:
            return _say(HostOutcome.ALREADY, f"it was {word} before anything was sent")
        case End.ELSE if rules.verb is Verb.MAINTAIN and word == "Enabled":
            return _say(HostOutcome.FAILED, "somebody has enabled it since it was disabled; nothing was sent")
        case End.GOAL:
            return _say(HostOutcome.ALREADY, f"it was {word} before anything was sent")
        case End.GONE:
            return _say(HostOutcome.FAILED, _GONE)
        case _:
            return None


def unsent(end: End) -> Judgement | None:
    """Of a host whose call never reached the node; None where its state says nothing."""
    match end:
        case End.GOAL:
            return _say(HostOutcome.ALREADY, "somebody else did it; our call never reached the node")
        case End.GONE:
            return _say(HostOutcome.FAILED, _GONE)
        case _:
            return None


def judge(facts: Facts, rules: Rules) -> Judgement:
    """A change was sent; the state read at the end tells, whatever the job said."""
    sent = [attempt for attempt in facts.attempts if not attempt.never_arrived]
    assert sent, "what was never sent is judged by its state"
    said = said_of("its job", sent[-1])
    match End.GONE if facts.gone_row else end_of(facts.state, rules.verb):
        case End.GONE:
            return _say(HostOutcome.FAILED, _GONE)
        case End.GOAL if all(attempt.result is AttemptResult.REFUSED for attempt in sent):
            return _say(HostOutcome.ALREADY, f"the node refused our call, and somebody else did it: it is {facts.state}")
        case End.GOAL if sent[-1].verdict is Verdict.OK:
            return _say(HostOutcome.DONE, f"it is {facts.state}", "job")
        case End.GOAL:
            return _say(HostOutcome.DONE, f"{said}, and it is {facts.state} all the same")
        case End.ELSE if facts.abandoned and sent[-1].verdict is Verdict.NONE:
            words = f"left at the end of the window with its state {facts.state}, and its job may still act"
            return _say(HostOutcome.UNKNOWN, words)
        case End.MID:
            return _say(HostOutcome.UNKNOWN, f"still {MIDS[rules.verb]} at the last deadline")
        case End.DARK if any(attempt.stopped and attempt.verdict is Verdict.OK for attempt in sent):
            return _say(HostOutcome.DONE, f"its job says {GOALS[rules.verb]} (not re-read)", "job")
        case End.DARK:
            return _say(HostOutcome.UNKNOWN, f"{said}; its state could not be read", "none")
        case _:
            return _say(HostOutcome.FAILED, f"{said}; its state reads {facts.state}")


def _say(outcome: HostOutcome, text: str, basis: Basis = "state") -> Judgement:
    return Judgement(outcome, Evidence(text=text, basis=basis))
