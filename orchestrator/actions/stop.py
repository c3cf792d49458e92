"""What a state decides of a stop where nothing of ours was carried out (`outcomes.md` C, rows 2 to 6). Without I/O."""

from orchestrator.actions.judge import Judgement
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import Evidence
from orchestrator.model.states import End


def at_turn(word: str | None, end: End, *, elsewhere: bool = False) -> Judgement | None:
    """Before anything is sent; None where it is to be stopped, or in transition.

    `elsewhere`: it is on a host that is not emptied, where hosts are.
    """
    match end:
        case End.GOAL:
            return _say(Outcome.ALREADY_STOPPED, "Stopped before anything was sent")
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed while the run went on", Reason.DESTROYED_DURING_RUN)
        case _ if elsewhere:
            return _say(Outcome.SKIPPED, "it has left the hosts that are emptied", Reason.ELSEWHERE)
        case _ if word == "Created":
            return _say(Outcome.SKIPPED, "Created: it never ran", Reason.STATE)
        case _ if word == "Error":
            return _say(Outcome.FAILED, "its state reads Error, which takes no stop", Reason.STATE)
        case _:
            return None


def unsent(end: End) -> Judgement | None:
    """Of a VM whose call never reached the node; None where its state says nothing."""
    match end:
        case End.GOAL:
            return _say(Outcome.ALREADY_STOPPED, "Stopped by somebody else; our call never reached the node")
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed while the run went on", Reason.DESTROYED_DURING_RUN)
        case _:
            return None


def _say(outcome: Outcome, text: str, reason: Reason | None = None) -> Judgement:
    return Judgement(outcome, Evidence(text=text, basis="state"), reason)
