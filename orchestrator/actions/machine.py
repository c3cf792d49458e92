"""One thing done to one VM or host as a state machine without I/O: `(state, signal) → (state, step)` (`outcomes.md` A to C).

The turn, the PUT and its doubt, the job and its deadline are the same for all verbs; what states and errors mean, and
which outcome it is, stand in `stop`, `judge`, `start`, `migrate` and `host`. The driver carries out a
step and answers with one signal; the machine never waits, sends or reads a clock. Times are monotonic seconds that come
with each signal.

    turn ──► answer ──► watch ──► end ──► done
      ▲        │  ▲        │        │
      │        ▼  │        └────────┤ (grace again, or cold once)
      └── settle ─┘◄────────────────┘
"""

import math
from collections.abc import Callable

from orchestrator.actions import host, migrate, start, stop
from orchestrator.actions.alter import altered
from orchestrator.actions.judge import Attempt, Facts, Judgement, Verdict, judge
from orchestrator.actions.rules import (
    RESEND_SECONDS,
    ErrorClass,
    Rules,
    classify,
    classify_once,
    classify_start,
    exhausted,
    may_arrive_late,
    nothing_done,
    whole_seconds,
)
from orchestrator.actions.state import POWERED, ActionState, Phase
from orchestrator.actions.steps import (
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
    Unplaced,
    Wait,
    Watch,
)
from orchestrator.model.fault import NodeError, own_error
from orchestrator.model.outcome import AttemptReason, AttemptType, Outcome, Reason
from orchestrator.model.report import Evidence
from orchestrator.model.states import GOALS, MIDS, OF_HOSTS, TRANSITIONAL_STATES, End, Verb
from orchestrator.model.target import (
    HELD_BACK,
    UNSENT,
    Accepted,
    JobAnswer,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    JobUnreadable,
    Lost,
    Refused,
    VmRow,
)

__all__ = [
    "ActionState",
    "Answered",
    "Close",
    "Done",
    "Elapsed",
    "Expire",
    "Halt",
    "Look",
    "Looked",
    "Phase",
    "Read",
    "ReadVm",
    "Resend",
    "Saw",
    "Send",
    "Signal",
    "Step",
    "Unplaced",
    "Wait",
    "Watch",
    "abandon",
    "advance",
    "begin",
    "carry_on",
    "withhold",
]


_SETTLES_SECONDS = 120.0
"""How long a migration that may have begun, and has not been seen to arrive, is given after its job's end."""


def begin(rules: Rules, now: float, untouched: float | None = None, *, begun: bool = False) -> tuple[ActionState, Step]:
    """Its turn has come: read it first. `untouched` and `begun`: see `ActionState`."""
    until = now + rules.grace_seconds
    return ActionState(rules=rules, turn_at=now, grace_until=until, untouched=untouched, begun=begun), ReadVm()


def carry_on(state: ActionState, now: float, put: Answered | None) -> tuple[ActionState, Step]:
    """Another process takes it up. `put`: the PUT that was under way, as one whose answer was lost.

    A job without a verdict is asked for first, given up or not; where the last one is known, the VM is read.
    """
    state = altered(
        state, halted=None, closed=False, at_end=None, withheld=False, tries=0, reads_failed=0, doubted=False,
        taken_up_at=now, asked_again=False,
    )  # fmt: skip
    if put is not None:
        state, _ = _answered(state, put)
    if state.last.verdict in {Verdict.OK, Verdict.ERR}:
        return altered(state, phase=Phase.END), ReadVm()
    state = _change(state, verdict=Verdict.PENDING, never_arrived=False, ended_at=None)
    return altered(state, phase=Phase.SETTLE), Look(state.last.job_uuid)


def advance(state: ActionState, signal: Signal) -> tuple[ActionState, Step | None]:
    """The next state and step; None where the step under way simply goes on (`Halt`, `Close`, `Expire`, `Saw`)."""
    match signal:
        case Halt(reason=reason):
            return altered(state, halted=state.halted or reason), None
        case Close():
            return altered(state, closed=True), None
        case Expire(at_end=at_end):
            return altered(state, closed=True, at_end=at_end), None
        case Saw(now=now, state=word):
            return _saw(state, now, word), None
        case Read():
            state = _take(state, signal)
        case _:
            pass
    match state.phase, signal:
        case Phase.TURN, Read(now=now):
            return _turn(state, now, unreadable=signal.unreadable)
        case Phase.TURN, Elapsed():
            return state, ReadVm()
        case Phase.ANSWER, Answered():
            return _answered(state, signal)
        case Phase.ANSWER, Unplaced(now=now, why=why):
            return _unplaced(state, now, why)
        case Phase.SETTLE, Elapsed():
            return state, ReadVm() if state.last.never_left else Look(state.last.job_uuid)
        case Phase.SETTLE, Looked(now=now, answer=answer):
            return _settle(state, now, answer)
        case Phase.SETTLE, Read(now=now):
            return _settle_read(state, now, unreadable=signal.unreadable)
        case Phase.WATCH, Looked(now=now, answer=answer):
            return _verdict(state, now, answer)
        case Phase.WATCH, Elapsed():
            return state, Look(state.last.job_uuid)  # a machine that slept past the deadline has a verdict waiting
        case Phase.END, Elapsed():
            return state, ReadVm()
        case Phase.END, Read(now=now):
            return _end(state, now, unreadable=signal.unreadable)
        case Phase.LAST_LOOK, Looked(now=now, answer=answer):
            return _last_look(state, now, answer)
        case _:
            raise AssertionError(f"{type(signal).__name__} makes no sense in phase {state.phase}")


def withhold(state: ActionState, now: float) -> tuple[ActionState, Step]:
    """Instead of the `Send` or `Resend` just asked for, which a `Halt` or the window's close has overtaken."""
    assert state.barred is not None
    if state.pending is None:
        return _settle_read(altered(state, phase=Phase.SETTLE), now, unreadable=False)
    type_ = state.pending[0]
    state = altered(state, pending=None)
    if not state.attempts:
        return _turn(altered(state, phase=Phase.TURN), now, unreadable=False)
    state = altered(state, phase=Phase.END, withheld=state.withheld or type_ is not state.rules.type)
    return _settle_mid(state, now, state.end)


def abandon(state: ActionState, reason: Reason) -> tuple[ActionState, Done]:
    """The node has been away too long: what is known now is all there is."""
    if state.attempts and state.last.never_left and not state.last.accepted:
        state = _change(state, never_arrived=True, verdict=Verdict.NONE)
    if not state.sent:
        text = "its turn never came" if not state.attempts else "its call never reached the node"
        state, step = _done(altered(state, state=None), Outcome.NOT_REACHED, text, reason)
    else:
        state, step = _judged(altered(state, state=None, gone_row=False))
    assert isinstance(step, Done)
    return state, step


# ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _take(state: ActionState, read: Read) -> ActionState:
    if read.unreadable:
        return altered(state, state=None, gone_row=False, reads_failed=state.reads_failed + 1, host=None)
    row = read.row
    word, last_op, where = (row.state, row.last_op, row.host_uuid) if row is not None else (None, None, None)
    state = altered(state, state=word, gone_row=row is None, reads_failed=0, last_op=last_op, host=where)
    return _saw(state, read.now, word)


def _saw(state: ActionState, now: float, word: str | None) -> ActionState:
    if word != state.watched:
        state = altered(state, watched=word)
    if not state.attempts:
        return state
    if word == MIDS.get(state.rules.verb):
        return _change(state, stopping_seen=True)
    if word == GOALS.get(state.rules.verb) and state.first_off_at is None:
        return altered(state, first_off_at=now)
    return state


def _change(state: ActionState, **changes: object) -> ActionState:
    return altered(state, attempts=(*state.attempts[:-1], altered(state.last, **changes)))  # type: ignore[arg-type]


# ── before the first PUT ───────────────────────────────────────────────────────────────────────────────────────────
def _turn(state: ActionState, now: float, *, unreadable: bool) -> tuple[ActionState, Step]:
    rules = state.rules
    if not unreadable and state.state not in TRANSITIONAL_STATES and (judged := _at_turn(state)) is not None:
        return _judged_so(state, judged)
    if state.barred is not None:
        ended = "the window closed" if state.barred is Reason.WINDOW else "the run ended"
        return _done(state, Outcome.NOT_REACHED, f"{ended} before it was sent", state.barred)
    until = state.turn_at + rules.grace_seconds
    # A maintenance whose job the node has dropped never ends by itself: to enable the host ends it.
    stuck = rules.verb is Verb.ENABLE and now >= until and not unreadable
    if (unreadable or state.state in TRANSITIONAL_STATES) and not stuck:
        if now >= until:
            words = "its state could not be read" if unreadable else f"its state still reads {state.state}"
            return _done(state, Outcome.FAILED, f"{words} at the end of its wait; nothing was sent", Reason.STATE)
        return state, Wait(min(until, now + 2.0 * rules.scale))
    return _send(altered(state, before=state.state), rules.type, AttemptReason.PLAN, rules.timeout_of(rules.type))


def _at_turn(state: ActionState) -> Judgement | None:
    match state.rules.verb:
        case Verb.STOP:
            return stop.at_turn(state.state, state.end, elsewhere=state.elsewhere)
        case Verb.MIGRATE:
            return migrate.at_turn(state.state, state.end)
        case verb if verb in OF_HOSTS:
            return host.at_turn(state.state, state.end, state.rules)
    touched = state.untouched is not None and state.last_op is not None and state.last_op > state.untouched
    return start.at_turn(state.state, state.end, touched=touched)


def _send(state: ActionState, type_: AttemptType, reason: AttemptReason, timeout_seconds: float) -> tuple[ActionState, Step]:
    seconds = whole_seconds(timeout_seconds)
    state = altered(
        state, phase=Phase.ANSWER, pending=(type_, reason, seconds), again=False, missing=False, asked_again=False
    )
    return state, Send(type_, reason, seconds)


def _unplaced(state: ActionState, now: float, why: str) -> tuple[ActionState, Step]:
    """A migration was to be sent, and there is no host that it could go to."""
    state = altered(state, pending=None)
    if state.attempts:
        return _settle_mid(altered(state, phase=Phase.END), now, state.end)
    return _done(state, Outcome.FAILED, f"{why}; its state reads {state.state}", Reason.NO_CANDIDATE)


# ── the PUT and its doubt ──────────────────────────────────────────────────────────────────────────────────────────
def _answered(state: ActionState, signal: Answered) -> tuple[ActionState, Step]:
    # What we held back ourselves is no try: nobody is given up for our own waiting, however slow the node is.
    held_back = isinstance(signal.result, Lost) and signal.result.error.code == HELD_BACK
    if state.pending is not None:
        type_, reason, seconds = state.pending
        attempt = Attempt(type_, reason, signal.job_uuid, seconds, signal.at, signal.node_at, 0.0)
        state = altered(state, pending=None, attempts=(*state.attempts, attempt), unreadable_job=None)
        if state.first_off_at is not None and type_ is not AttemptType.COLD:
            state = altered(state, first_off_at=None)
        state = state if held_back else altered(state, tries=state.tries + 1)
    if state.last.type is state.rules.type and sum(attempt.type is state.last.type for attempt in state.attempts) == 1:
        # Its time counts from when it left last: what never arrived before has used none of it.
        state = altered(state, grace_until=signal.at + state.rules.timeout_of(state.rules.type))
    deadline = signal.at + state.last.api_timeout_seconds + state.rules.margin_seconds
    state = _change(state, at=signal.at, node_at=signal.node_at, deadline=deadline)
    match signal.result:
        case Accepted():
            state = _change(state, accepted=True)
            return _watch(state)
        case Refused(error=error, status=status):
            state = _change(state, verdict=Verdict.ERR, error=error, status=status, ended_at=signal.now)
            return altered(state, phase=Phase.END), ReadVm()
        case Lost(error=error):
            never_left = error.code in {UNSENT, HELD_BACK} and not state.last.tried
            state = _change(state, error=error, never_left=never_left, tried=not never_left)
            if never_left and state.barred is not None:
                return _settle_read(altered(state, phase=Phase.SETTLE), signal.now, unreadable=False)
            if state.at_end == "abandon":
                return altered(state, phase=Phase.SETTLE), Look(state.last.job_uuid)
            if held_back and never_left:  # no job is there to be asked for
                return altered(state, phase=Phase.SETTLE), ReadVm()
            pause = state.rules.back_off(state.tries)
            tries = state.tries + (0 if held_back else 1)
            return altered(state, phase=Phase.SETTLE, tries=tries), Wait(signal.now + pause)


def _settle(state: ActionState, now: float, answer: JobAnswer) -> tuple[ActionState, Step]:
    state = altered(state, unheard=isinstance(answer, JobUnreadable))
    match answer:
        case JobRunning():
            return _watch(_change(state, error=None, accepted=True))
        case JobSucceeded() | JobFailed():
            state = _change(state, error=None)
            return _verdict(altered(state, phase=Phase.WATCH), now, answer)
        case JobMissing():
            return _settle_read(state, now, unreadable=False) if state.doubted else (state, ReadVm())
        case JobUnreadable():
            until = _at_least(state, state.last.deadline, state.rules.margin_seconds)
            if now >= until or state.at_end == "abandon":
                heard_out = altered(state, phase=Phase.WATCH, unheard=not state.asked_again, asked_again=True)
                return _no_verdict(heard_out, now)
            pause = state.rules.back_off(state.tries)
            return altered(state, tries=state.tries + 1), Wait(min(now + pause, until))


def _settle_read(state: ActionState, now: float, *, unreadable: bool) -> tuple[ActionState, Step]:
    """The node knows no such job: the PUT never arrived, unless so much time passed that it was forgotten."""
    rules, job = state.rules, state.last
    end = state.end
    age = now - job.at
    patience = job.at + max(rules.node_outage_seconds, rules.timeout_of(job.type))
    if unreadable and now < _at_least(state, patience, rules.node_outage_seconds) and state.at_end != "abandon":
        return state, Wait(now + rules.back_off(state.tries))
    if end is End.MID:
        until = _at_least(state, max(job.deadline, now), rules.timeout_of(job.type) + rules.margin_seconds)
        return _watch(_change(state, deadline=until))
    if end is End.GOAL and not state.doubted:
        return altered(state, doubted=True), Look(job.job_uuid)
    over = unreadable or end in {End.GOAL, End.GONE} or state.barred is not None or state.at_end == "abandon"
    over = over or state.elsewhere  # whatever would be sent is for a VM on a host that is emptied
    forgotten = job.accepted or age >= RESEND_SECONDS
    # A cold that may have acted is the last one, unless the plan asks for cold and nobody knows that it arrived.
    last_cold = job.type is AttemptType.COLD and (job.accepted or rules.type is not AttemptType.COLD)
    if forgotten and (over or last_cold):
        return _no_verdict(altered(state, phase=Phase.WATCH), now)
    if forgotten and _touched(state):
        return _finish(_change(state, verdict=Verdict.NONE, ended_at=None))
    if age >= RESEND_SECONDS:
        seconds = rules.timeout_of(job.type)
        state = altered(_change(state, verdict=Verdict.NONE, ended_at=None), grace_until=now + seconds, tries=0)
        return _send(state, job.type, job.reason, seconds)
    if over or state.tries > _MOST_TRIES:
        state = _change(state, never_arrived=True, verdict=Verdict.NONE, ended_at=now)
        if state.barred is not None and job.type is not rules.type:
            state = altered(state, withheld=True)
        if state.sent:
            return _finish(state)
        return _never_sent(state)
    return altered(state, phase=Phase.ANSWER, doubted=False), Resend(job.job_uuid)


def _touched(state: ActionState) -> bool:
    """Has it changed since our PUT's last moment? Somebody has started or migrated it: that is for a person to judge."""
    job = state.last
    if job.node_at is None or state.last_op is None:
        return False
    return state.last_op > job.node_at + (job.ended_at or job.deadline) - job.at + 1.0


def _at_least(state: ActionState, until: float, seconds: float) -> float:
    """A wait that may have run out while no process was there gets these seconds from when one took it up."""
    return until if state.taken_up_at is None else max(until, state.taken_up_at + seconds)


_MOST_TRIES = 40
"""PUTs of one VM that may be lost one after the other before it is given up: minutes of nothing but broken connections."""


def _never_sent(state: ActionState) -> tuple[ActionState, Step]:
    judged = _at_turn(state) if state.elsewhere else _UNSENT[state.rules.verb](state.end)
    if judged is not None:
        return _judged_so(state, judged)
    if state.barred is not None:
        return _done(state, Outcome.NOT_REACHED, "its call never reached the node, and the run is over", state.barred)
    return _done(state, Outcome.FAILED, "no call reached the node, however often it was sent", Reason.STATE)


# ── the job ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _verdict(state: ActionState, now: float, answer: JobAnswer) -> tuple[ActionState, Step]:
    job, state = state.last, altered(state, unheard=isinstance(answer, JobUnreadable))
    match answer:
        case JobSucceeded():
            return altered(_ok(state, now, answer), phase=Phase.END), ReadVm()
        case JobFailed(error=error):
            # What it was refused for may have passed by the time it is read again: the state seen until now counts.
            kind = _class_of(state, error, state.watched, None)
            state = _change(state, verdict=Verdict.ERR, error=error, ended_at=now, accepted=True)
            return altered(state, phase=Phase.END, again=kind is ErrorClass.AGAIN), ReadVm()
        case JobUnreadable(error=error):
            state = altered(state, unreadable_job=error)
        case JobRunning():
            state = altered(_change(state, accepted=True), missing=False)
        case JobMissing():
            state = altered(state, missing=not job.accepted)
            if state.missing and state.first_off_at is not None:
                return _no_verdict(state, now)
    if now >= job.deadline or state.cut_short:
        return _no_verdict(state, now)
    return _watch(state)


def _watch(state: ActionState) -> tuple[ActionState, Step]:
    """Follow the job to its deadline; where the window's end cuts it short, only look once more."""
    until = state.last.at if state.cut_short else state.last.deadline
    return altered(state, phase=Phase.WATCH), Watch(state.last.job_uuid, until)


def _ok(state: ActionState, now: float, answer: JobSucceeded) -> ActionState:
    row = answer.seen.row if answer.seen is not None else None
    verb, leaving = state.rules.verb, state.rules.leaving
    moved = row is not None and row.host_uuid is not None and row.host_uuid not in leaving
    stopped = row is not None and (moved if verb is Verb.MIGRATE else row.state == GOALS[verb])
    error = None if answer.text is None else own_error("http.200", answer.text)
    state = _change(state, verdict=Verdict.OK, ended_at=now, stopped=stopped, error=error, accepted=True)
    return _change(state, no_op=_is_no_op(state.last, row))


def _is_no_op(job: Attempt, row: VmRow | None) -> bool:
    """ok, Stopping never seen, and last changed before the PUT. `lastOpDate` has whole seconds: an equal one is no proof."""
    if job.stopping_seen or row is None or row.last_op is None or job.node_at is None:
        return False
    return row.last_op < math.floor(job.node_at - 0.25)


def _no_verdict(state: ActionState, now: float) -> tuple[ActionState, Step]:
    error = state.unreadable_job or state.last.error
    state = _change(state, verdict=Verdict.NONE, error=error, ended_at=None)
    return altered(state, phase=Phase.END), ReadVm()


# ── after it ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _end(state: ActionState, now: float, *, unreadable: bool) -> tuple[ActionState, Step]:
    rules, job = state.rules, state.last
    end = state.end
    if unreadable and now < _readable_until(state) and state.at_end != "abandon":
        return state, Wait(now + rules.back_off(state.reads_failed))
    if unreadable or end in {End.GOAL, End.GONE}:
        return _finish(state)
    if rules.verb is Verb.MIGRATE and end is End.ELSE and (until := _may_arrive_until(state)) > now:
        return state, Wait(min(until, now + 5.0 * rules.scale))
    if job.verdict is Verdict.ERR:
        assert job.error is not None
        kind = _class_of(state, job.error, state.state, job.status)
        if state.again or kind is ErrorClass.AGAIN:
            state = altered(state, again=True)
            if job.type is AttemptType.COLD and not nothing_done(job.error, job.status):
                return _settle_mid(state, now, end)  # it may have acted: never a second one
            if state.cut_short:
                return _fall_back(state, now, end, AttemptReason.WINDOW)
            if now < state.grace_until:
                return _again(state, now) if state.barred is None else _settle_mid(state, now, end)
            kind = exhausted(job.error)
        if kind is ErrorClass.FALLBACK_MAY_HELP:
            return _fall_back(state, now, end, AttemptReason.ERROR)
    elif job.verdict is Verdict.NONE:
        if state.unheard:  # the node was away when it was asked last, and is not now: its word may be waiting
            state = altered(_change(state, verdict=Verdict.PENDING), asked_again=True, phase=Phase.SETTLE)
            return state, Look(job.job_uuid)
        return _fall_back(state, now, end, AttemptReason.TIMEOUT)
    return _settle_mid(state, now, end)


def _may_arrive_until(state: ActionState) -> float:
    """Until when a migration may get there though its job has ended otherwise, or never did; 0 where it cannot."""
    job = state.last
    if state.state == "Stopped" or job.verdict is Verdict.OK or state.at_end == "abandon" or job.never_arrived:
        return 0.0
    if job.verdict is Verdict.ERR and (job.error is None or not may_arrive_late(job.error)):
        return 0.0
    return (job.ended_at or job.deadline) + _SETTLES_SECONDS * state.rules.scale


def _class_of(state: ActionState, error: NodeError, word: str | None, status: int | None) -> ErrorClass:
    """`word`: the state that the error is held against."""
    classes = {Verb.STOP: classify, Verb.START: classify_start}.get(state.rules.verb, classify_once)
    return classes(error, transitional=word in TRANSITIONAL_STATES, status=status)


def _readable_until(state: ActionState) -> float:
    """A missing verdict waits for the state as long as a node may be away; after an ok the job's word will do sooner."""
    job, rules = state.last, state.rules
    if job.verdict is Verdict.OK:
        return _at_least(state, (job.ended_at or job.at) + rules.margin_seconds, rules.margin_seconds)
    return _at_least(state, (job.ended_at or job.deadline) + rules.node_outage_seconds, rules.node_outage_seconds)


def _again(state: ActionState, now: float) -> tuple[ActionState, Step]:
    """Class R: wait, read, and send anew while there is time; a VM in transition is waited for, not sent to."""
    rules, job = state.rules, state.last
    ready = (job.ended_at or now) + rules.back_off(state.tries)
    if now < ready:
        return state, Wait(min(ready, state.grace_until))
    if state.state in TRANSITIONAL_STATES:
        return state, Wait(min(now + rules.back_off(2), state.grace_until))
    least = min(rules.timeout_of(job.type), 1.25 * rules.power_cut_seconds)
    return _send(state, job.type, job.reason, max(state.grace_until - now, least))


def _fall_back(state: ActionState, now: float, end: End, reason: AttemptReason) -> tuple[ActionState, Step]:
    if state.rules.verb not in POWERED:
        return _settle_mid(state, now, end)
    if state.rules.verb is Verb.START:
        if state.state != "Stopped":
            return _settle_mid(state, now, end)
        fell_back = any(attempt.reason is AttemptReason.ERROR for attempt in state.attempts)
    else:
        fell_back = any(attempt.type is AttemptType.COLD for attempt in state.attempts)
    if state.cold_due and (reason is not AttemptReason.ERROR or reason.value not in state.rules.fallback_on):
        reason = AttemptReason.WINDOW  # whatever the plan's fallback says
    elif fell_back or reason.value not in state.rules.fallback_on or state.at_end == "abandon":
        return _settle_mid(state, now, end)
    # Nobody looked for long, and it was started since: whoever did that does not expect a power cut.
    job = state.last
    unwatched = now - (job.ended_at or job.deadline) > state.rules.node_outage_seconds
    if unwatched and (_touched(state) or (state.first_off_at is not None and end is End.ELSE)):
        return _finish(state)
    if state.barred is not None:
        return _settle_mid(altered(state, withheld=True), now, end)
    type_ = state.rules.fallback_type
    seconds = state.rules.timeout_of(type_)
    return _send(altered(state, grace_until=now + seconds, tries=0), type_, reason, seconds)


def _settle_mid(state: ActionState, now: float, end: End) -> tuple[ActionState, Step]:
    """Stopping may still become something else until the last deadline."""
    if end is End.MID and now < state.last.deadline and state.at_end != "abandon":
        return state, Wait(min(state.last.deadline, now + 2.0 * state.rules.scale))
    return _finish(state)


def _finish(state: ActionState) -> tuple[ActionState, Step]:
    """Before the judgement, one last look at a grace job that had not answered when the cold stop left."""
    job = state.last
    if job.verdict is Verdict.NONE and not job.accepted and not job.never_arrived and state.missing:
        # Known to nobody from first to last: whatever happened to the VM, it was not this call.
        state = _change(state, never_arrived=True)
        if not state.sent:
            return _never_sent(state)
    graces = [attempt for attempt in state.attempts if attempt.type is AttemptType.GRACE]
    if graces and state.last.type is AttemptType.COLD and graces[-1].verdict is Verdict.NONE and state.state is not None:
        return altered(state, phase=Phase.LAST_LOOK), Look(graces[-1].job_uuid)
    return _judged(state)


def _last_look(state: ActionState, now: float, answer: JobAnswer) -> tuple[ActionState, Step]:
    place = max(i for i, attempt in enumerate(state.attempts) if attempt.type is AttemptType.GRACE)
    grace = state.attempts[place]
    match answer:
        case JobSucceeded(seen=seen):
            stopped = seen is not None and seen.row.state == "Stopped"
            no_op = _is_no_op(grace, seen.row if seen is not None else None)
            grace = altered(grace, verdict=Verdict.OK, ended_at=now, stopped=stopped, no_op=no_op)
        case JobFailed(error=error):
            grace = altered(grace, verdict=Verdict.ERR, error=error, ended_at=now)
        case _:
            pass
    return _judged(altered(state, attempts=(*state.attempts[:place], grace, *state.attempts[place + 1 :])))


def _judged(state: ActionState) -> tuple[ActionState, Step]:
    return _judged_so(state, _JUDGE[state.rules.verb](state.facts(), state.rules))


def _judged_so(state: ActionState, judgement: Judgement) -> tuple[ActionState, Step]:
    return altered(state, phase=Phase.DONE), Done(judgement)


def _done(state: ActionState, outcome: Outcome, text: str, reason: Reason | None = None) -> tuple[ActionState, Step]:
    evidence = Evidence(text=text, basis="none" if state.state is None else "state")
    return _judged_so(state, Judgement(outcome, evidence, reason))


_UNSENT: dict[Verb, Callable[[End], Judgement | None]] = {
    Verb.STOP: stop.unsent,
    Verb.START: start.unsent,
    Verb.MIGRATE: migrate.unsent,
    **dict.fromkeys(OF_HOSTS, host.unsent),
}
_JUDGE: dict[Verb, Callable[[Facts, Rules], Judgement]] = {
    Verb.STOP: judge,
    Verb.START: start.judge,
    Verb.MIGRATE: migrate.judge,
    **dict.fromkeys(OF_HOSTS, host.judge),
}
