"""One VM: pump its action until it is done. All I/O of a stop or a start goes through here."""

import contextlib
import json
import zlib
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
    Wait,
    Watch,
    abandon,
    advance,
    begin,
    carry_on,
    withhold,
)
from orchestrator.actions.rules import Rules
from orchestrator.actions.saved import Put, Saved, save
from orchestrator.clouds.interface import Cloud, NodeAwayError
from orchestrator.engine.clock import Clock
from orchestrator.engine.dispatch import Dispatcher, Place
from orchestrator.engine.halt import Halt as HaltSwitch
from orchestrator.engine.outage import NodeGoneError, Outage
from orchestrator.engine.read import Reader, UnreadableError
from orchestrator.engine.watch import Watcher
from orchestrator.engine.window import Times
from orchestrator.journal.interface import Journal, JournalWriteError
from orchestrator.model.fault import own_error
from orchestrator.model.outcome import AttemptReason, AttemptResult, AttemptType, Outcome, Reason
from orchestrator.model.report import AttemptRecord, VmRecord
from orchestrator.model.states import Verb
from orchestrator.model.target import (
    JobAnswer,
    JobSucceeded,
    JobUnreadable,
    Lost,
    Request,
    StartRequest,
    StopRequest,
    VmRow,
)
from orchestrator.plan.model import StopOptions


@dataclass(frozen=True, slots=True)
class Means:
    """What every VM of a run is driven with."""

    run_id: str
    cloud: Cloud
    journal: Journal
    reader: Reader
    watcher: Watcher
    outage: Outage
    dispatcher: Dispatcher
    halt: HaltSwitch
    clock: Clock
    rules: Rules
    stop: StopOptions
    window: Times | None
    fits: Callable[[VmRow], bool]
    """May this VM begin now, for what it is forecast to take?"""
    tell: Callable[[str, str | None, Mapping[str, Any]], None]


_LOOKS = 3
_STALE_SECONDS, _OLDEST_SECONDS = 10.0, 30.0
"""A row that waited for a slot longer than the first is read again; what rests on one older than the second is not sent."""


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


class Drive:
    """The stop or start of one VM, from its turn to its outcome. `record` holds what was known before.

    `saved`: the stop or start as another process left it, None for one that begins.
    """

    def __init__(self, means: Means, place: Place, record: VmRecord, saved: Saved | None = None) -> None:
        self._m = means
        self._place = place
        self._record = record
        self._saved = saved
        self._starts = means.rules.verb is Verb.START
        self._row = place.row
        self._read_at = 0.0
        self._inventory: Mapping[str, Any] | None = record.inventory
        self._packed: bytes | None = None
        """The inventory before that, packed."""
        self._state_word = record.state
        self._host = record.host_uuid
        self._started, self._started_at = means.clock.now(), means.clock.wall()
        self._times = [_Times(attempt.sent_at, attempt.ended_at) for attempt in record.attempts]
        self._written = list(record.attempts)
        self._noted: tuple[object, ...] = ()
        self._heeded = 0

    async def run(self) -> tuple[VmRecord, ActionState]:
        """The VM's record with its outcome, not yet journalled, and the state it was judged from."""
        m = self._m
        if self._saved is None:
            # Whoever changed it after it was found untouched does not expect it to be started.
            state, step = begin(m.rules, self._started, self._place.row.last_op if self._starts else None)
        else:
            state, step = self._carry_on(self._saved)
        while not isinstance(step, Done):
            try:
                state, step = await self._carry_out(self._heed(state), step)
            except NodeGoneError:
                state = await self._last_words(self._heed(state))
                state, step = abandon(state, Reason.NODE)
            self._note_attempts(state)
        judgement = step.judgement
        last = state.attempts[-1] if state.attempts else None
        record = replace(
            self._record,
            host_uuid=self._runs_on(judgement) or self._host,
            outcome=judgement.of_vm,
            reason=judgement.reason,
            evidence=judgement.evidence,
            # What lost its power when it was stopped is to be looked at now that it is started.
            check_after_start=self._record.check_after_start if self._starts else judgement.check_after_start,
            state_before=state.before or self._record.state_before,
            state=self._state_word,
            started_at=None if judgement.outcome is Outcome.NOT_REACHED else self._started_at,
            finished_at=m.clock.wall(),
            elapsed_seconds=round(m.clock.now() - self._started, 3),
            attempts=tuple(self._written),
            inventory=self._last_seen(),
            error=dict(last.error.plain()) if last is not None and last.error is not None else None,
        )
        return record, state

    def _runs_on(self, judgement: Judgement) -> str | None:
        """The host of a VM that was started; None for all others."""
        if not self._starts or judgement.outcome not in {Outcome.STARTED, Outcome.ALREADY_RUNNING} or not self._inventory:
            return None
        row = self._m.cloud.row_of(self._inventory)
        return None if row is None else row.host_uuid

    def _carry_on(self, saved: Saved) -> tuple[ActionState, Step]:
        self._started, self._started_at = saved.state.turn_at, saved.started_at
        now, put, lost = self._m.clock.now(), saved.put, None
        if put is not None:
            error = own_error("http.lost", "the program ended before the node's answer came")
            lost = Answered(now, put.at, put.node_at, put.job_uuid, Lost(error))
            self._times[-1].sent_at = self._times[-1].sent_at or self._m.clock.wall(put.at)
        return carry_on(saved.state, now, lost)

    def _save(self, state: ActionState, put: Put | None = None) -> str:
        clock = self._m.clock
        return save(Saved(state, self._started_at, put), clock.unix() - clock.now())

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

    async def _read(self, *, sent: bool) -> Read:
        try:
            seen = await self._m.reader.read(self._record.uuid)
            while not sent and not self._starts and seen is not None and seen.row.host_uuid is not None:
                asked = self._m.clock.now()
                await self._m.dispatcher.move(self._place, seen.row)
                if self._m.clock.now() - asked < _STALE_SECONDS:
                    break
                seen = await self._m.reader.read(self._record.uuid)  # it waited for a slot: what was read is old
        except UnreadableError:
            return Read(self._m.clock.now(), None, unreadable=True)
        now = self._read_at = self._m.clock.now()
        if seen is None:
            self._state_word = None
            return Read(now, None)
        self._inventory, self._state_word = seen.inventory, seen.row.state
        if not sent:
            self._host = seen.row.host_uuid or self._host
            self._record = replace(self._record, state_before=seen.row.state, name=seen.row.name)
        # A VM that is off has no host: a start counts on the one it goes to.
        self._row = replace(seen.row, host_uuid=self._place.row.host_uuid) if self._starts else seen.row
        return Read(now, seen.row)

    async def _look(self, job_uuid: str) -> JobAnswer:
        """One job's answer. Where only its own URL does not answer, that is its own affair; else the node is away."""
        detail = ""
        for _ in range(_LOOKS):
            try:
                return await self._m.cloud.look(job_uuid)
            except NodeAwayError as error:
                detail = error.detail
            with contextlib.suppress(UnreadableError):
                await self._m.reader.read(self._record.uuid)  # returns when the node is back
        return JobUnreadable(own_error("http.lost", detail))

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
        await self._m.dispatcher.move(self._place, self._row)
        state = self._heed(state)
        if not state.attempts and not self._m.fits(self._row):
            state, _ = advance(state, Close(self._m.clock.now()))  # for this VM: it waited too long for its turn
        if state.barred is not None:
            return withhold(state, self._m.clock.now())
        job_uuid = uuid4().hex
        record = AttemptRecord(
            type=step.type,
            reason=step.reason,
            job_uuid=job_uuid,
            api_timeout_seconds=step.api_timeout_seconds,
            result=AttemptResult.RUNNING,
        )
        self._written.append(record)
        self._times.append(_Times())
        await self._intend(state, job_uuid)
        return await self._put(state, job_uuid, step.type, step.api_timeout_seconds)

    async def _intend(self, state: ActionState, job_uuid: str) -> None:
        """The last attempt is about to be sent, or sent again: durable before it leaves."""
        now, number = self._m.clock.now(), len(self._written) - 1
        saved = self._save(state, Put(job_uuid, now, self._m.clock.node(now)))
        await self._m.journal.intend(self._m.run_id, self._record.uuid, number, self._written[number], saved)

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
                m.journal.note(
                    m.run_id, self._record.uuid, len(self._written) - 1, self._written[-1], self._save(state, put)
                )
            except JournalWriteError:
                return False
            m.tell(
                "vm.sent",
                self._record.uuid,
                {"type": type_, "job_uuid": job_uuid, **ahead(m.rules, m.clock, type_, now, timeout)},
            )
            if m.halt:  # by the journal, which could not take that
                return False
            left_at.append(now)
            self._times[-1].sent_at = wall
            return True

        request = self._request(job_uuid, type_, timeout)
        self._put_aside()
        m.tell("vm.sending", self._record.uuid, {"type": type_, "job_uuid": job_uuid})
        result = await m.cloud.send(request, leaving)
        at = left_at[-1] if left_at else m.clock.now()
        answered = Answered(m.clock.now(), at, m.clock.node(at), job_uuid, result)
        return _go(self._heed(state), answered)

    def _put_aside(self) -> None:
        """Of the inventory a few hundred bytes, for as long as its job takes: nearly always that brings a newer one."""
        if self._inventory is not None and self._packed is None:
            self._packed, self._inventory = zlib.compress(json.dumps(dict(self._inventory)).encode(), 1), None

    def _last_seen(self) -> dict[str, Any] | None:
        """The newest inventory of this VM; None where none was seen."""
        if self._inventory is not None:
            return dict(self._inventory)
        found: dict[str, Any] | None = None if self._packed is None else json.loads(zlib.decompress(self._packed))
        return found

    def _request(self, job_uuid: str, type_: str, timeout: int) -> Request:
        uuid, stop = self._record.uuid, self._m.stop
        if not self._starts:
            return StopRequest(uuid, type_, job_uuid, timeout, stop.stop_ha, stop.system_tags, stop.user_tags)
        # First where it came from; where the node does not take that, wherever the node likes.
        where = self._host if self._written[-1].reason is AttemptReason.PLAN else None
        return StartRequest(uuid, job_uuid, timeout, where)

    async def _watch(self, state: ActionState, step: Watch) -> tuple[ActionState, Step]:
        clock = self._m.clock
        with self._m.watcher.follow(self._record.uuid, step.job_uuid, acknowledged=state.last.accepted) as seen:
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

    def _keep(self, answer: object) -> None:
        if isinstance(answer, JobSucceeded) and answer.seen is not None:
            self._inventory, self._state_word = answer.seen.inventory, answer.seen.row.state

    def _note_attempts(self, state: ActionState) -> None:
        """Journal what changed in the attempts, with the state that a later process would carry on from."""
        known = (state.attempts, state.first_off_at)
        if not state.attempts or known == self._noted or state.pending is not None:
            return  # what is about to be sent is written with its intent
        self._noted = known
        saved = self._save(state)
        for number, attempt in enumerate(state.attempts):
            times = self._times[number]
            if attempt.verdict is Verdict.PENDING:
                times.ended_at = None
            elif times.ended_at is None:
                times.ended_at = self._m.clock.wall()
            record = _attempt_record(attempt, times)
            if record != self._written[number] or attempt is state.last:
                self._written[number] = record
                self._m.journal.note(self._m.run_id, self._record.uuid, number, record, saved)


def _go(state: ActionState, signal: Read | Answered | Looked | Elapsed) -> tuple[ActionState, Step]:
    state, step = advance(state, signal)
    assert step is not None
    return state, step


def _attempt_record(attempt: Attempt, times: _Times) -> AttemptRecord:
    return AttemptRecord(
        type=attempt.type,
        reason=attempt.reason,
        job_uuid=attempt.job_uuid,
        api_timeout_seconds=attempt.api_timeout_seconds,
        sent_at=times.sent_at,
        ended_at=times.ended_at,
        result=attempt.result,
        error=dict(attempt.error.plain()) if attempt.error is not None else None,
    )
