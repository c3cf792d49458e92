"""Drives the stop action with scripted answers, and keeps every step it asked for."""

import math
from typing import Literal, Self

from orchestrator.actions.judge import Judgement
from orchestrator.actions.machine import (
    ActionState,
    Answered,
    Close,
    Done,
    Elapsed,
    Expire,
    Halt,
    Look,
    Looked,
    Read,
    ReadVm,
    Resend,
    Saw,
    Send,
    Signal,
    Step,
    Wait,
    Watch,
    advance,
    begin,
    withhold,
)
from orchestrator.actions.rules import Rules
from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import AttemptType, Outcome, Reason
from orchestrator.model.target import (
    HELD_BACK,
    Accepted,
    JobAnswer,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    Lost,
    Refused,
    Seen,
    SendResult,
    VmRow,
)

VM = "0b54a1d0a1c34f5f9d1f5e0f7d6c2b11"
BOTH = ("timeout", "error")
NODE_EPOCH = 1_800_000_000.0
"""Node seconds since 1970 at our monotonic zero."""
START = 1000.0
GONE_ROW, UNREADABLE = "<no row>", "<unreadable>"
GONE = ("Destroying", "Destroyed", "Expunging", GONE_ROW)
DARK = ("Unknown", "NoState", UNREADABLE)
UP = ("Running", "Paused", "Crashed", "Error", "Starting", "Migrating", "AWordNobodyListed")


def rules(*fallback_on: str, type_: AttemptType = AttemptType.GRACE, power_cut: float = 60.0) -> Rules:
    """The plan's defaults, with that fallback."""
    return Rules(
        type=type_,
        grace_seconds=240.0,
        cold_seconds=180.0,
        power_cut_seconds=power_cut,
        node_outage_seconds=600.0,
        fallback_on=frozenset(fallback_on),
    )


def cold_rules() -> Rules:
    """`type: cold`."""
    return rules(type_=AttemptType.COLD)


def error(*codes: str) -> NodeError:
    """A chain, outermost first."""
    made: NodeError | None = None
    for code in reversed(codes):
        made = NodeError(code=code, details=f"details of {code}", cause=made)
    assert made is not None
    return made


def failed(*codes: str) -> JobFailed:
    """A 503 with this chain."""
    return JobFailed(error(*codes))


def vm_row(state: str | None, *, last_op: float | None = None, host: str | None = "host-1") -> VmRow:
    """The VM as a query returns it."""
    return VmRow(VM, "vm-1", "UserVm", state, host, "cluster-1", last_op)


class Stop:
    """One VM's stop. Each method answers the step under way, and fails when that step asks for something else."""

    def __init__(self, made_rules: Rules | None = None) -> None:
        self.rules = made_rules if made_rules is not None else rules(*BOTH)
        self.now = START
        self.ids = 0
        self.steps: list[Step] = []
        self.state: ActionState
        self.state, step = begin(self.rules, self.now)
        self.steps.append(step)
        self.left_at = 0.0
        self.node_epoch = NODE_EPOCH
        """The node's clock minus ours, which is another one in each process."""

    @property
    def step(self) -> Step:
        """The step under way."""
        return self.steps[-1]

    @property
    def sends(self) -> list[Send]:
        """Every new PUT it asked for."""
        return [step for step in self.steps if isinstance(step, Send)]

    @property
    def colds(self) -> list[Send]:
        """Every cold PUT it asked for."""
        return [step for step in self.sends if step.type is AttemptType.COLD]

    @property
    def judgement(self) -> Judgement:
        """The end, which must have come."""
        assert isinstance(self.step, Done), f"not done: {self.step}"
        return self.step.judgement

    @property
    def outcome(self) -> Outcome:
        """The outcome, which must be there."""
        return self.judgement.of_vm

    def read(self, word: str, *, after: float = 0.1, host: str | None = "host-1") -> Self:
        """Answer a `ReadVm`: a state's word, GONE_ROW or UNREADABLE."""
        assert isinstance(self.step, ReadVm), f"asks for no read: {self.step}"
        self.now += after
        row = None if word in {GONE_ROW, UNREADABLE} else vm_row(word, host=host)
        return self._go(Read(self.now, row, unreadable=word == UNREADABLE))

    def put(self, result: SendResult, *, after: float = 0.1) -> Self:
        """Answer a `Send` (under a new id) or `Resend`; it left at once, the answer came that much later."""
        match self.step:
            case Send():
                self.ids += 1
                job_uuid = f"{self.ids:032x}"
            case Resend(job_uuid=job_uuid):
                pass
            case _:
                raise AssertionError(f"sends nothing: {self.step}")
        self.left_at = self.now
        self.now += after
        return self._go(Answered(self.now, self.left_at, self.node_epoch + self.left_at, job_uuid, result))

    def hold_back(self) -> Self:
        """It waited too long for its turn, and we did not let it leave."""
        return self.put(Lost(error(HELD_BACK)), after=25.0)

    def accept(self) -> Self:
        """The node took the job."""
        return self.put(Accepted())

    def refuse(self, *codes: str, status: int = 503) -> Self:
        """The node said no at once."""
        return self.put(Refused(error(*codes), status))

    def lose(self) -> Self:
        """No answer came."""
        return self.put(Lost(error("orchestrator.lost")))

    def job(self, answer: JobAnswer, *, after: float = 1.0) -> Self:
        """Answer a `Watch` or `Look`, that long after the PUT left (or now, where that is past)."""
        assert isinstance(self.step, Watch | Look), f"asks for no job: {self.step}"
        self.now = max(self.now, self.left_at + after)
        return self._go(Looked(self.now, self.step.job_uuid, answer))

    def ok(self, *, after: float = 5.0, state: str | None = "Stopped", no_op: bool = False) -> Self:
        """The job succeeded. `no_op`: its inventory was last changed an hour before the PUT."""
        when = self.node_epoch + self.left_at + (-3600.0 if no_op else after)
        return self.job(JobSucceeded(Seen(vm_row(state, last_op=float(math.floor(when))), {})), after=after)

    def saw(self, word: str, *, after: float) -> Self:
        """The watch read this in passing, that long after the PUT left; the step goes on."""
        assert isinstance(self.step, Watch), f"watches nothing: {self.step}"
        self.now = max(self.now, self.left_at + after)
        self.state, step = advance(self.state, Saw(self.now, word))
        assert step is None
        return self

    def elapse(self, job: JobAnswer | None = None) -> Self:
        """The time of a `Wait` or `Watch` runs out; a watched job is looked at once more, by default still running."""
        assert isinstance(self.step, Wait | Watch), f"waits for nothing: {self.step}"
        watched = isinstance(self.step, Watch)
        self.now = max(self.now, self.step.until)
        self._go(Elapsed(self.now))
        return self.job(job or JobRunning(), after=0.0) if watched else self

    def interrupt(self) -> Self:
        """A wait is cut short, as a halt does."""
        assert isinstance(self.step, Wait), f"waits for nothing: {self.step}"
        return self._go(Elapsed(self.now))

    def halt(self, reason: Reason = Reason.OPERATOR) -> Self:
        """A signal: from now on no PUT. A PUT just asked for is withheld, a wait is cut short, as engine/drive.py does."""
        self.state, step = advance(self.state, Halt(self.now, reason))
        assert step is None
        if isinstance(self.step, Send | Resend):
            self.state, instead = withhold(self.state, self.now)
            self.steps.append(instead)
        elif isinstance(self.step, Wait):
            self.interrupt()
        return self

    def close(self) -> Self:
        """The window takes nobody any more; a first PUT just asked for is withheld, a wait is cut short."""
        return self._told(Close(self.now))

    def expire(self, at_end: Literal["cold", "abandon"]) -> Self:
        """The window has ended; a wait or watch is cut short, and a watched job is looked at by whoever comes next."""
        return self._told(Expire(self.now, at_end))

    def _told(self, signal: Close | Expire) -> Self:
        self.state, step = advance(self.state, signal)
        assert step is None
        if isinstance(self.step, Send | Resend) and self.state.barred is not None:
            self.state, instead = withhold(self.state, self.now)
            self.steps.append(instead)
        elif isinstance(self.step, Wait) or (isinstance(self.step, Watch) and isinstance(signal, Expire)):
            self._go(Elapsed(self.now))
        return self

    def settle(self, word: str) -> Self:
        """Answer everything with this state and no news of any job, until it ends or wants to send."""
        for _ in range(5000):
            match self.step:
                case ReadVm():
                    self.read(word)
                case Wait() | Watch():
                    self.elapse()
                case Look():
                    self.job(JobMissing())
                case _:
                    return self
        raise AssertionError("it goes on for ever")

    def _go(self, signal: Signal) -> Self:
        self.state, step = advance(self.state, signal)
        assert step is not None
        self.steps.append(step)
        return self


def turn(made_rules: Rules | None = None, before: str = "Running") -> Stop:
    """A VM whose first PUT is about to leave."""
    return Stop(made_rules).read(before)


def accepted(made_rules: Rules | None = None, before: str = "Running") -> Stop:
    """A VM whose first PUT was taken by the node."""
    return turn(made_rules, before).accept()


def timed_out(made_rules: Rules | None = None, before: str = "Running") -> Stop:
    """A VM whose grace job had not answered at its deadline; a read comes next."""
    return accepted(made_rules, before).elapse()
