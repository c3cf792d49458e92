"""Everything known of what is done to one VM or host, at one moment."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from orchestrator.actions.judge import Attempt, Facts, Verdict
from orchestrator.actions.rules import Rules, nothing_done
from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import AttemptReason, AttemptType, Reason
from orchestrator.model.states import End, Verb, end_of

POWERED = frozenset({Verb.STOP, Verb.START})
"""What the end of a window with `at_end: cold` is about."""


class Phase(StrEnum):
    """Where a VM is."""

    TURN = "turn"
    ANSWER = "answer"
    SETTLE = "settle"
    WATCH = "watch"
    END = "end"
    LAST_LOOK = "last_look"
    DONE = "done"


@dataclass(frozen=True)
class ActionState:
    """Everything known of what is done to one VM or host."""

    rules: Rules
    turn_at: float
    phase: Phase = Phase.TURN
    before: str | None = None
    state: str | None = None
    gone_row: bool = False
    attempts: tuple[Attempt, ...] = ()
    pending: tuple[AttemptType, AttemptReason, int] | None = None
    tries: int = 0
    grace_until: float = 0.0
    first_off_at: float | None = None
    halted: Reason | None = None
    closed: bool = False
    """The window takes no VM any more that the node has not begun with."""
    at_end: Literal["cold", "abandon"] | None = None
    """The window has ended, and this becomes of what is in flight; None before, and where it ends by the plan's rules."""
    withheld: bool = False
    unreadable_job: NodeError | None = None
    again: bool = False
    """The verdict was once of class R; its being transitional may have passed since."""
    reads_failed: int = 0
    missing: bool = False
    """The node knew nothing of a job that it never said it had."""
    untouched: float | None = None
    """For a start: its `lastOpDate` when it was found as the run that stopped it had left it; None takes any."""
    watched: str | None = None
    """The state word last seen, by whoever looked."""
    doubted: bool = False
    """It was off when its job was first missing: the job may only have been late."""
    unheard: bool = False
    """The job's URL gave nothing usable when it was last asked, as while the node was away."""
    asked_again: bool = False
    """It was asked once more when the node was back."""
    last_op: float | None = None
    """`lastOpDate` as last read."""
    taken_up_at: float | None = None
    """When another process took it up; None while it is the first one's."""
    host: str | None = None
    """Where it was last read; None where it is on none, or was not read."""
    begun: bool = False
    """Something else was done to it before, in the same turn, which the node had begun with."""

    @property
    def last(self) -> Attempt:
        """The attempt under way."""
        return self.attempts[-1]

    @property
    def sent(self) -> bool:
        """Did anything leave that may have reached the node?"""
        return any(not attempt.never_arrived for attempt in self.attempts)

    @property
    def end(self) -> End:
        """What its state means for what is done to it."""
        return End.GONE if self.gone_row else end_of(self.state, self.rules.verb, moved=self.elsewhere)

    @property
    def elsewhere(self) -> bool:
        """Is it on a host that is not emptied, where hosts are?"""
        return bool(self.rules.leaving) and self.host is not None and self.host not in self.rules.leaving

    @property
    def node_began(self) -> bool:
        """Has the node begun with it, in this turn?"""
        return self.begun or any(map(_begun, self.attempts))

    @property
    def barred(self) -> Reason | None:
        """Why no PUT may leave now: after a halt none at all, after the window's close none that would be the first, and no
        stop of what has left the hosts that are emptied.
        """
        if self.halted is not None:
            return self.halted
        if self.closed and not self.node_began:
            return Reason.WINDOW
        return Reason.ELSEWHERE if self.rules.leaving and self.rules.verb is Verb.STOP and self.elsewhere else None

    @property
    def cold_due(self) -> bool:
        """Does the end of the window ask for a cold stop that has not been sent yet?"""
        cold_sent = any(attempt.type is AttemptType.COLD for attempt in self.attempts)
        # What is being migrated is followed to its end: whoever migrates it wants it to run on. A host has no power to cut.
        return self.at_end == "cold" and self.barred is None and not cold_sent and self.rules.verb in POWERED

    @property
    def cut_short(self) -> bool:
        """Is the job under way not waited for any longer, because the window has ended?"""
        return self.at_end == "abandon" or self.cold_due

    def facts(self) -> Facts:
        """What the outcome is judged from."""
        abandoned = self.at_end == "abandon"
        return Facts(
            self.before, self.attempts, self.state, self.gone_row, self.first_off_at, self.withheld, abandoned, self.host
        )


def _begun(attempt: Attempt) -> bool:
    """Has the node this job, or had it? A refusal with nothing done is no beginning."""
    if attempt.verdict is Verdict.ERR and attempt.error is not None:
        return not nothing_done(attempt.error, attempt.status)
    return attempt.accepted or attempt.verdict is Verdict.OK
