"""Walks of the stop action with arbitrary legal answers: what holds on every one of them."""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.actions.judge import Judgement, Verdict
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
    carry_on,
    withhold,
)
from orchestrator.actions.rules import ErrorClass, Rules, classify, exhausted, nothing_done
from orchestrator.actions.saved import Put, Saved, load, save
from orchestrator.model.outcome import STOPPED, AttemptReason, AttemptType, Outcome, Reason
from orchestrator.model.states import TRANSITIONAL_STATES
from orchestrator.model.target import (
    Accepted,
    JobAnswer,
    JobMissing,
    JobRunning,
    JobSucceeded,
    JobUnreadable,
    Lost,
    Refused,
    Seen,
    SendResult,
)
from tests.unit.actions.driver import (
    BOTH,
    GONE_ROW,
    NODE_EPOCH,
    START,
    UNREADABLE,
    cold_rules,
    error,
    failed,
    rules,
    vm_row,
)

MOST_STEPS = 20_000
LONGEST = 24 * 3600.0
AWAY = (0.0, 3.0, 100.0, 700.0, 3 * 3600.0, 26 * 3600.0, -50.0)
"""Seconds between the end of a process and the next one, by the wall clock; the last is a clock set back."""

WORDS = (
    "Running",
    "Stopped",
    "Stopping",
    "Paused",
    "Crashed",
    "Unknown",
    "NoState",
    "Migrating",
    "Error",
    "AWordNobodyListed",
    "Destroyed",
    GONE_ROW,
    UNREADABLE,
)
LIKELY = ("Running", "Stopped", "Stopping") * 3
CHAINS = (
    ("HOST.1006",),
    ("VM.1002", "HOST.1011"),
    ("SYS.1001",),
    ("SYS.1006",),
    ("SYS.1010",),
    ("SYS.1015",),
    ("VM.1010",),
    ("http.429",),
    ("http.500",),
    ("ID.1001",),
    ("NOBODY.KNOWS",),
)
PLANS = (rules(), rules("timeout"), rules("error"), rules(*BOTH), rules(*BOTH, power_cut=6.0), cold_rules())
UP_FOR_SURE = frozenset({"Running", "Paused", "Crashed", "AWordNobodyListed"})

choices = st.lists(st.integers(0, 999), min_size=1, max_size=60)
"""The answers, one number each, over and over until the walk ends."""
leanings = st.lists(st.sampled_from((*WORDS, *LIKELY)), min_size=1, max_size=6)
"""The states of this walk, so that long stays in one state come up often."""


@dataclass
class Walk:
    """One VM, answered by a list of numbers."""

    rules: Rules
    numbers: list[int]
    words: list[str]
    halt_at: int | None
    window: tuple[int, str] | None = None
    """Number of the step at which the window closes, and what becomes then of what is in flight: `finish` says nothing."""
    kills: dict[int, int] = field(default_factory=dict)
    """Number of a step → which of `AWAY` passes before another process takes it up."""
    now: float = START
    ahead: float = 0.0
    """Wall clock minus monotonic; another one in each process."""
    walked: float = 0.0
    kept: list[str] = field(default_factory=list)
    """What the journal may hold: the last intent, and every state since."""
    taken: int = 0
    ids: int = 0
    left_at: float = START
    state: ActionState = field(init=False)
    step: Step = field(init=False)
    steps: list[Step] = field(default_factory=list)
    cold_reasons: list[AttemptReason] = field(default_factory=list)
    last_read: str | None = None

    def run(self) -> Judgement:
        """Walk to the end, holding every step against what may be asked for."""
        self.state, self.step = begin(self.rules, self.now)
        while not isinstance(self.step, Done):
            assert len(self.steps) < MOST_STEPS, "it goes on for ever"
            self.steps.append(self.step)
            if len(self.steps) in self.kills:
                self._kill(AWAY[self.kills[len(self.steps)]])
                continue
            if self.halt_at is not None and len(self.steps) > self.halt_at and self.state.halted is None:
                self._halt()
                continue
            if self.window is not None and len(self.steps) > self.window[0] and not self.state.closed:
                self._close(self.window[1])
                continue
            self._answer()
        return self.step.judgement

    def _pick(self, count: int) -> int:
        number = self.numbers[self.taken % len(self.numbers)] + self.taken // len(self.numbers)
        self.taken += 1
        return number % count

    def _word(self) -> str:
        return self.words[self._pick(len(self.words))]

    def _kill(self, away: float) -> None:
        """The process ends here, and another carries on with what the journal holds, which may be a little old."""
        self.walked += self.now - START
        unix = self.now + self.ahead + away
        if isinstance(self.step, Send) and self._pick(2):
            self.ids += 1
            self._intend(f"{self.ids:032x}")
        self.now = START
        self.left_at += self.ahead - (unix - self.now)
        self.ahead = unix - self.now
        if not self.kept:
            self.state, self.step = begin(self.rules, self.now)
            return
        saved = load(self.kept[self._pick(len(self.kept))], lambda verb: self.rules, self.ahead, self.now)
        put = saved.put
        lost = None
        if put is not None:
            lost = Answered(self.now, put.at, put.node_at, put.job_uuid, Lost(error("http.lost")))
        self._next(carry_on(saved.state, self.now, lost))

    def _intend(self, job_uuid: str) -> None:
        put = Put(job_uuid, self.now, NODE_EPOCH + self.now + self.ahead)
        self.kept = [save(Saved(self.state, "", put), self.ahead)]

    def _halt(self) -> None:
        self.state, none = advance(self.state, Halt(self.now, Reason.OPERATOR))
        assert none is None
        match self.step:
            case Send():
                self._next(withhold(self.state, self.now))
            case Resend() if self._pick(2):
                self._next(withhold(self.state, self.now))
            case Resend(job_uuid=job_uuid):
                lost = Lost(error("orchestrator.not_sent"))
                self._go(Answered(self.now, self.now, NODE_EPOCH + self.now + self.ahead, job_uuid, lost))
            case _:
                pass

    def _close(self, at_end: str) -> None:
        signal = Close(self.now) if at_end == "finish" else Expire(self.now, "cold" if at_end == "cold" else "abandon")
        self.state, none = advance(self.state, signal)
        assert none is None
        match self.step:
            case Send() | Resend() if self.state.barred is not None:
                self._next(withhold(self.state, self.now))
            case Wait() | Watch() if at_end != "finish":
                self._go(Elapsed(self.now))
            case _:
                pass

    def _answer(self) -> None:
        self.now += 0.05 + self._pick(40) / 10
        match self.step:
            case ReadVm():
                word = self.last_read = self._word()
                row = None if word in {GONE_ROW, UNREADABLE} else vm_row(word)
                self._go(Read(self.now, row, unreadable=word == UNREADABLE))
            case Send() as send:
                if send.type is AttemptType.COLD:
                    self._cold_is_named(send)
                self.ids += 1
                self._intend(f"{self.ids:032x}")
                self._put(f"{self.ids:032x}")
            case Resend(job_uuid=job_uuid):
                assert job_uuid == self.state.last.job_uuid
                self._put(job_uuid)
            case Watch(job_uuid=job_uuid, until=until):
                self._watch(job_uuid, until)
            case Look(job_uuid=job_uuid):
                self._go(Looked(self.now, job_uuid, self._job()))
            case Wait(until=until):
                self.now = max(self.now, until)
                self._go(Elapsed(self.now))
            case Done():
                raise AssertionError

    def _put(self, job_uuid: str) -> None:
        self.left_at = self.now
        self.now += self._pick(10) / 10
        result: SendResult
        match self._pick(6):
            case 0 | 1 | 2:
                result = Accepted(duplicate=bool(self._pick(2)))
            case 3:
                result = Refused(error(*CHAINS[self._pick(len(CHAINS))]), 503)
            case _:
                result = Lost(error("orchestrator.lost"))
        self._go(Answered(self.now, self.left_at, NODE_EPOCH + self.left_at + self.ahead, job_uuid, result))

    def _watch(self, job_uuid: str, until: float) -> None:
        for _ in range(self._pick(3)):
            word = self._word()
            if word != UNREADABLE:
                self.state, none = advance(self.state, Saw(self.now, None if word == GONE_ROW else word))
                assert none is None
            self.now += self._pick(300) / 10
        if self.now >= until or self._pick(4) == 0:
            self.now = max(self.now, until)
            self._go(Elapsed(self.now))
            return
        answer = self._job()
        if not isinstance(answer, JobRunning):
            self._go(Looked(self.now, job_uuid, answer))

    def _job(self) -> JobAnswer:
        match self._pick(7):
            case 0:
                return JobRunning()
            case 1:
                return failed(*CHAINS[self._pick(len(CHAINS))])
            case 2 | 3:
                return JobMissing()
            case 4:
                return JobUnreadable(error("http.502"))
            case _:
                word = self._word()
                if word in {GONE_ROW, UNREADABLE}:
                    return JobSucceeded(None, "no inventory")
                when = float(int(NODE_EPOCH + self.left_at + self.ahead)) + (-600, 0, 5)[self._pick(3)]
                return JobSucceeded(Seen(vm_row(word, last_op=when), {}))

    def _go(self, signal: Signal) -> None:
        self._next(advance(self.state, signal))

    def _next(self, pair: tuple[ActionState, Step | None]) -> None:
        state, step = pair
        assert step is not None
        assert state.barred is None or not isinstance(step, Send | Resend), "a PUT after the signal"
        abandoned = state.at_end == "abandon"
        assert not abandoned or not isinstance(step, Wait | Send | Resend), "the window is over, and it goes on"
        assert not (isinstance(step, Wait) and step.until < self.now), "a wait that is over already"
        self.state, self.step = state, step
        if self.state.attempts and not isinstance(step, Send):
            self.kept.append(save(Saved(self.state, ""), self.ahead))

    def _cold_is_named(self, send: Send) -> None:
        """A cold leaves only for a reason the plan names, after a grace of which that reason holds."""
        self.cold_reasons.append(send.reason)
        if self.rules.type is AttemptType.COLD:
            assert send.reason is AttemptReason.PLAN
            return
        if send.reason is AttemptReason.WINDOW:
            assert self.state.at_end == "cold"
            assert self.last_read not in {"Stopped", "Destroyed", GONE_ROW, UNREADABLE}
            earlier = [attempt for attempt in self.state.attempts if attempt.type is AttemptType.COLD]
            assert all(cold.verdict is Verdict.ERR and cold.error and nothing_done(cold.error) for cold in earlier)
            return
        assert send.reason.value in self.rules.fallback_on
        grace = next(attempt for attempt in reversed(self.state.attempts) if attempt.type is AttemptType.GRACE)
        earlier = [attempt for attempt in self.state.attempts if attempt.type is AttemptType.COLD]
        assert all(cold.verdict is Verdict.ERR and cold.error and nothing_done(cold.error) for cold in earlier)
        assert self.last_read not in {"Stopped", "Destroyed", GONE_ROW, UNREADABLE}
        if send.reason is AttemptReason.TIMEOUT:
            assert grace.verdict is Verdict.NONE
            return
        assert grace.verdict is Verdict.ERR
        assert grace.error is not None
        kind = classify(grace.error, transitional=self.last_read in TRANSITIONAL_STATES)
        assert kind is ErrorClass.FALLBACK_MAY_HELP or (
            kind is ErrorClass.AGAIN
            and exhausted(grace.error) is ErrorClass.FALLBACK_MAY_HELP
            and self.now >= self.state.attempts[0].at + self.rules.grace_seconds
        )


walks = st.builds(
    Walk,
    rules=st.sampled_from(PLANS),
    numbers=choices,
    words=leanings,
    halt_at=st.none() | st.integers(0, 40),
    window=st.none() | st.tuples(st.integers(0, 30), st.sampled_from(("finish", "cold", "abandon"))),
    kills=st.dictionaries(st.integers(1, 30), st.integers(0, len(AWAY) - 1), max_size=4),
)
often = settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@often
@given(walks)
def test_every_walk_ends(walk: Walk) -> None:
    """Every walk ends, in bounded steps and within a day, and asks for no PUT after a signal (held at each step)."""
    walk.run()
    assert walk.walked + walk.now - START < LONGEST * (1 + len(walk.kills))


@often
@given(walks)
def test_at_most_one_cold(walk: Walk) -> None:
    """At most one cold that did anything, or may have; after a grace, at most one cold at all.

    Where the plan asks for cold, one that nobody has heard of for hours may be sent anew.
    """
    walk.run()
    colds = [attempt for attempt in walk.state.attempts if attempt.type is AttemptType.COLD]
    if walk.rules.type is AttemptType.COLD and walk.kills:
        colds = [cold for cold in colds if cold.verdict is not Verdict.NONE or cold.accepted]
    acted = [
        cold for cold in colds if not (cold.verdict is Verdict.ERR and cold.error is not None and nothing_done(cold.error))
    ]
    assert len(acted) <= 1
    assert len({attempt.job_uuid for attempt in walk.state.attempts}) == len(walk.state.attempts)


@often
@given(walks)
def test_the_outcome_agrees_with_the_last_read(walk: Walk) -> None:
    """Stopped never ends failed or unknown; what is up never ends stopped; nothing sent never ends stopped or unknown."""
    outcome = walk.run().outcome
    if walk.last_read == "Stopped":
        assert outcome in STOPPED | {Outcome.ALREADY_STOPPED}
    if walk.last_read in UP_FOR_SURE:
        assert outcome in {Outcome.FAILED, Outcome.CAME_BACK, Outcome.NOT_REACHED}
    if walk.last_read == "Stopping":
        assert outcome in {Outcome.UNKNOWN, Outcome.FAILED, Outcome.NOT_REACHED}
    if walk.last_read in {"Destroyed", GONE_ROW}:
        assert outcome is Outcome.NOT_FOUND
    if outcome is Outcome.FAILED and walk.state.sent:
        assert walk.last_read not in {"Stopped", "Stopping", "Unknown", "NoState", "Destroyed", GONE_ROW, UNREADABLE}
    if outcome is Outcome.STOPPED_CLEAN:
        assert walk.state.before == "Running"
        assert walk.rules.type is AttemptType.GRACE
    if outcome is Outcome.STOPPED_COLD:
        assert any(attempt.type is AttemptType.COLD for attempt in walk.state.attempts)


@often
@given(walks)
def test_what_never_arrived_was_not_sent(walk: Walk) -> None:
    """PUTs proven never to have arrived don't count as sent, and after a signal such a VM was not reached."""
    outcome = walk.run().outcome
    arrived = [attempt for attempt in walk.state.attempts if not attempt.never_arrived]
    if arrived:
        assert outcome is not Outcome.NOT_REACHED
        return
    assert not walk.state.sent
    assert outcome not in STOPPED | {Outcome.CAME_BACK, Outcome.UNKNOWN}
    if walk.state.barred is not None and walk.state.attempts and outcome is not Outcome.ALREADY_STOPPED:
        assert outcome in {Outcome.NOT_REACHED, Outcome.NOT_FOUND}


@often
@given(walks)
def test_a_withheld_fallback_is_named_only_after_a_signal(walk: Walk) -> None:
    """fallback_withheld is said only after a signal, or a close before the node had its job; of a VM that is up, without a
    cold that did anything.
    """
    judgement = walk.run()
    if judgement.reason is not Reason.FALLBACK_WITHHELD:
        return
    assert walk.state.barred is not None
    assert judgement.outcome is Outcome.FAILED
    colds = [attempt for attempt in walk.state.attempts if attempt.type is AttemptType.COLD and not attempt.never_arrived]
    assert all(cold.verdict is Verdict.ERR and cold.error and nothing_done(cold.error) for cold in colds)
