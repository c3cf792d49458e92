"""One VM or host: pump an action until it is done. What is the same for all that is sent to the node: intent, doubt, job."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import anyio

from orchestrator.actions.judge import Attempt, Judgement, Verdict
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
    Phase,
    Read,
    ReadVm,
    Resend,
    Saw,
    Send,
    Step,
    Unplaced,
    Wait,
    Watch,
    abandon,
    advance,
    carry_on,
    withhold,
)
from orchestrator.actions.rules import Rules
from orchestrator.actions.saved import Put, Saved, save
from orchestrator.clouds.interface import Cloud, NodeAwayError
from orchestrator.engine.clock import Clock
from orchestrator.engine.halt import Halt as HaltSwitch
from orchestrator.engine.outage import NodeGoneError, Outage
from orchestrator.engine.watch import Watcher
from orchestrator.engine.window import Times
from orchestrator.journal.interface import Journal, JournalWriteError
from orchestrator.model.fault import own_error
from orchestrator.model.outcome import AttemptResult, AttemptType, Reason
from orchestrator.model.report import AttemptRecord
from orchestrator.model.states import MIDS
from orchestrator.model.target import JobAnswer, JobUnreadable, Lost, SendResult

_LOOKS = 3
_OLDEST_SECONDS = 30.0
"""What rests on a row older than this is not sent."""


@dataclass(frozen=True, slots=True)
class Means:
    """What everything that a run does is done with."""

    run_id: str
    cloud: Cloud
    journal: Journal
    outage: Outage
    halt: HaltSwitch
    clock: Clock
    window: Times | None
    tell: Callable[[str, str | None, Mapping[str, Any]], None]


@dataclass(slots=True)
class _Times:
    sent_at: str | None = None
    ended_at: str | None = None


def ahead(rules: Rules, clock: Clock, type_: str, at: float, timeout: int) -> dict[str, str | None]:
    """What becomes of a call by itself: when the node cuts the power, until when it is waited for, and what then."""
    graceful = type_ == AttemptType.GRACE
    return {
        "power_cut_at": clock.wall(at + rules.power_cut_seconds) if graceful else None,
        "until": clock.wall(at + timeout + rules.margin_seconds),
        "then": "cold" if graceful and "timeout" in rules.fallback_on else None,
    }


class Pump(ABC):
    """What is done to one VM or host, `uuid`, in one or more legs: an action after the other, each with its own state.

    `written`: the attempts that an earlier process made of it.
    """

    def __init__(self, means: Means, watcher: Watcher, uuid: str, written: tuple[AttemptRecord, ...]) -> None:
        self._m = means
        self._watcher = watcher
        self._uuid = uuid
        self._read_at = 0.0
        self._state_word: str | None = None
        self._started, self._started_at = means.clock.now(), means.clock.wall()
        self._times = [_Times(attempt.sent_at, attempt.ended_at) for attempt in written]
        self._written = list(written)
        self._earlier = 0
        """Attempts of the legs before this one."""
        self._noted: tuple[object, ...] = ()
        self._heeded = 0

    # ── what differs ───────────────────────────────────────────────────────────────────────────────────────────────
    @abstractmethod
    async def _read(self, *, sent: bool) -> Read:
        """Read it now. `sent`: something of this leg has been sent."""

    @abstractmethod
    async def _prepare(self, state: ActionState, step: Send) -> str | None:
        """Whatever must be so before a new PUT leaves; returns why there is no place that it could go to."""

    @abstractmethod
    async def _check_again(self) -> None:
        """Whatever must still be so before a PUT leaves once more."""

    @abstractmethod
    async def _call(self, job_uuid: str, type_: str, timeout: int, leaving: Callable[[], bool]) -> SendResult:
        """The PUT itself."""

    @abstractmethod
    async def _store_intent(self, number: int, saved: str) -> None:
        """Attempt `number` is about to be sent: durable when it returns."""

    @abstractmethod
    def _store(self, number: int, saved: str) -> None:
        """What became of attempt `number` so far. Raises JournalWriteError."""

    @abstractmethod
    def _tell_sent(self, job_uuid: str, type_: str, timeout: int, at: float) -> None:
        """It leaves."""

    @abstractmethod
    def _about_to_send(self, job_uuid: str, type_: str) -> None:
        """Its intent is durable, and it waits for its turn at the node."""

    @abstractmethod
    def _keep(self, answer: object) -> None:
        """A job's answer may hold a newer inventory."""

    # ── one leg ────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _pump(self, state: ActionState, step: Step) -> tuple[ActionState, Judgement]:
        while not isinstance(step, Done):
            try:
                state, step = await self._carry_out(self._heed(state), step)
            except NodeGoneError:
                state = await self._last_words(self._heed(state))
                state, step = abandon(state, Reason.NODE)
            self._note_attempts(state)
        return state, step.judgement

    def _carry_on(self, saved: Saved) -> tuple[ActionState, Step]:
        self._started, self._started_at, self._earlier = saved.state.turn_at, saved.started_at, saved.earlier
        now, put, lost = self._m.clock.now(), saved.put, None
        if put is not None:
            error = own_error("http.lost", "the program ended before the node's answer came")
            lost = Answered(now, put.at, put.node_at, put.job_uuid, Lost(error))
            self._times[-1].sent_at = self._times[-1].sent_at or self._m.clock.wall(put.at)
        return carry_on(saved.state, now, lost)

    def _save(self, state: ActionState, put: Put | None = None) -> str:
        clock = self._m.clock
        return save(Saved(state, self._started_at, put, self._earlier), clock.unix() - clock.now())

    def _heed(self, state: ActionState) -> ActionState:
        halt, window = self._m.halt, self._m.window
        if window is not None and self._m.clock.unix() >= window.closes:
            halt.close()  # whoever keeps the window may sleep a while yet
        self._heeded = halt.changes
        if not halt.closed and halt.at_end is None and halt.reason is None:
            return state  # as nearly always
        now = self._m.clock.now()
        if halt.closed and not state.closed:
            state, _ = advance(state, Close(now))
        if halt.at_end is not None and state.at_end is None:
            state, _ = advance(state, Expire(now, halt.at_end))
        if halt.reason is not None and state.halted is None:
            state, _ = advance(state, Halt(now, halt.reason))
        return state

    async def _carry_out(self, state: ActionState, step: Step) -> tuple[ActionState, Step]:
        match step:
            case ReadVm():
                read = await self._read(sent=bool(state.attempts))
                return _go(self._heed(state), read)
            case Wait(until=until):
                with anyio.move_on_after(max(0.0, until - self._m.clock.now())):
                    await self._m.halt.changed(self._heeded)
                return _go(self._heed(state), Elapsed(self._m.clock.now()))
            case Send():
                return await self._send(state, step)
            case Resend(job_uuid=job_uuid):
                await self._check_again()
                state = self._heed(state)
                if state.barred is not None:
                    return withhold(state, self._m.clock.now())
                await self._intend(state, job_uuid)  # its time counts anew, also for a process after this one
                return await self._put(state, job_uuid, state.last.type, state.last.api_timeout_seconds)
            case Watch():
                return await self._watch(state, step)
            case Look(job_uuid=job_uuid):
                answer = await self._look(job_uuid)
                self._keep(answer)
                return _go(self._heed(state), Looked(self._m.clock.now(), job_uuid, answer))
            case Done():
                raise AssertionError

    async def _look(self, job_uuid: str) -> JobAnswer:
        """One job's answer. Where only its own URL does not answer, that is its own affair; else the node is away."""
        detail = ""
        for _ in range(_LOOKS):
            try:
                return await self._m.cloud.look(job_uuid)
            except NodeAwayError as error:
                detail = error.detail
            await self._wait_for_node()
        return JobUnreadable(own_error("http.lost", detail))

    @abstractmethod
    async def _wait_for_node(self) -> None:
        """Any query; returns when the node answers one."""

    async def _last_words(self, state: ActionState) -> ActionState:
        """The node takes no more queries, but a job's URL needs no login: ask it once before giving up."""
        if state.phase is not Phase.WATCH:
            return state
        try:
            answer = await self._m.cloud.look(state.last.job_uuid)
        except NodeAwayError:
            return state
        self._keep(answer)
        state, _ = advance(state, Looked(self._m.clock.now(), state.last.job_uuid, answer))
        return state

    async def _send(self, state: ActionState, step: Send) -> tuple[ActionState, Step]:
        nowhere = await self._prepare(state, step)
        state = self._heed(state)
        if nowhere is None and not state.node_began and not self._fits():
            state, _ = advance(state, Close(self._m.clock.now()))  # for this one: it waited too long for its turn
        if state.barred is not None:
            return withhold(state, self._m.clock.now())
        if nowhere is not None:
            return _go(state, Unplaced(self._m.clock.now(), nowhere))
        job_uuid = uuid4().hex
        self._written.append(self._attempt(step, job_uuid))
        self._times.append(_Times())
        await self._intend(state, job_uuid)
        return await self._put(state, job_uuid, step.type, step.api_timeout_seconds)

    def _attempt(self, step: Send, job_uuid: str) -> AttemptRecord:
        return AttemptRecord(
            type=step.type,
            reason=step.reason,
            job_uuid=job_uuid,
            api_timeout_seconds=step.api_timeout_seconds,
            result=AttemptResult.RUNNING,
        )

    def _fits(self) -> bool:
        """May it begin now, for what it is forecast to take?"""
        return True

    async def _intend(self, state: ActionState, job_uuid: str) -> None:
        """The last attempt is about to be sent, or sent again: durable before it leaves."""
        now = self._m.clock.now()
        saved = self._save(state, Put(job_uuid, now, self._m.clock.node(now)))
        await self._store_intent(len(self._written) - 1, saved)

    async def _put(self, state: ActionState, job_uuid: str, type_: str, timeout: int) -> tuple[ActionState, Step]:
        m = self._m
        left_at: list[float] = []

        def leaving() -> bool:
            now, wall = m.clock.now(), m.clock.wall()
            if self._heed(state).barred is not None or now - self._read_at > _OLDEST_SECONDS:
                return False  # where it waited too long, the doubt is settled by a read, and then it goes out
            put = Put(job_uuid, now, m.clock.node(now))
            self._written[-1] = replace(self._written[-1], sent_at=wall)
            try:
                self._store(len(self._written) - 1, self._save(state, put))
            except JournalWriteError:
                return False
            self._tell_sent(job_uuid, type_, timeout, now)
            if m.halt:  # by the journal, which could not take that
                return False
            left_at.append(now)
            self._times[-1].sent_at = wall
            return True

        self._about_to_send(job_uuid, type_)
        result = await self._call(job_uuid, type_, timeout, leaving)
        at = left_at[-1] if left_at else m.clock.now()
        answered = Answered(m.clock.now(), at, m.clock.node(at), job_uuid, result)
        return _go(self._heed(state), answered)

    async def _watch(self, state: ActionState, step: Watch) -> tuple[ActionState, Step]:
        clock, at_work = self._m.clock, MIDS.get(state.rules.verb)
        with self._watcher.follow(self._uuid, step.job_uuid, at_work, acknowledged=state.last.accepted) as seen:
            until = clock.now() if state.cut_short else step.until
            within = anyio.move_on_after(max(0.0, until - clock.now()))
            with within, self._m.halt.at_expiry(within.cancel):
                async for signal in seen:
                    state, following = advance(self._heed(state), signal)
                    if isinstance(signal, Saw):
                        self._state_word = signal.state
                        continue
                    self._keep(signal.answer)
                    assert following is not None
                    if not isinstance(following, Watch) or following.until != step.until:
                        return state, following
                raise NodeGoneError
        return _go(self._heed(state), Elapsed(clock.now()))

    def _note_attempts(self, state: ActionState) -> None:
        """Journal what changed in the attempts, with the state that a later process would carry on from."""
        known = (state.attempts, state.first_off_at)
        if not state.attempts or known == self._noted or state.pending is not None:
            return  # what is about to be sent is written with its intent
        self._noted = known
        saved = self._save(state)
        for number, attempt in enumerate(state.attempts, self._earlier):
            times = self._times[number]
            if attempt.verdict is Verdict.PENDING:
                times.ended_at = None
            elif times.ended_at is None:
                times.ended_at = self._m.clock.wall()
            record = _with(self._written[number], attempt, times)
            if record != self._written[number] or attempt is state.last:
                self._written[number] = record
                self._store(number, saved)


def _go(state: ActionState, signal: Read | Answered | Unplaced | Looked | Elapsed) -> tuple[ActionState, Step]:
    state, step = advance(state, signal)
    assert step is not None
    return state, step


def _with(written: AttemptRecord, attempt: Attempt, times: _Times) -> AttemptRecord:
    """What is known of an attempt now."""
    return replace(
        written,
        sent_at=times.sent_at,
        ended_at=times.ended_at,
        result=attempt.result,
        error=dict(attempt.error.plain()) if attempt.error is not None else None,
    )
