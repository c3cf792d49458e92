"""One VM, from its turn to its outcome: what is read of it, where it counts, and what is sent."""

import contextlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.actions.judge import Judgement
from orchestrator.actions.machine import ActionState, Read, Send, begin
from orchestrator.actions.migrate import arrived_late
from orchestrator.actions.rules import Rules
from orchestrator.actions.saved import Saved
from orchestrator.engine.destinations import Destinations
from orchestrator.engine.dispatch import Dispatcher, Place
from orchestrator.engine.pump import Means, Pump, ahead
from orchestrator.engine.read import Reader, UnreadableError
from orchestrator.engine.watch import Watcher
from orchestrator.model.outcome import AttemptReason, Outcome, Reason
from orchestrator.model.report import AttemptRecord, VmRecord
from orchestrator.model.states import TRANSITIONAL_STATES, Verb
from orchestrator.model.target import (
    JobSucceeded,
    MigrateRequest,
    Request,
    Seen,
    SendResult,
    StartRequest,
    StopRequest,
    VmRow,
)
from orchestrator.plan.model import StopOptions

_STALE_SECONDS = 10.0
"""A row that waited for a slot longer than this is read again."""


@dataclass(frozen=True, slots=True)
class VmMeans:
    """What the VMs of one wave are driven with. `legs`: what is done to each, the next where the one before has failed."""

    every: Means
    reader: Reader[Seen]
    watcher: Watcher
    dispatcher: Dispatcher
    destinations: Destinations | None
    """Where VMs may be migrated to; None where nothing is migrated."""
    stop: StopOptions
    fits: Callable[[VmRow], bool]
    """May this VM begin now, for what it is forecast to take?"""


class Drive(Pump):
    """What is done to one VM. `record` holds what was known before.

    `legs`: by which rules, one after the other as long as the one before has failed; at least one.
    `saved`: the leg under way as another process left it, None for a VM that begins.
    """

    def __init__(
        self, means: VmMeans, place: Place, record: VmRecord, legs: tuple[Rules, ...], saved: Saved | None = None
    ) -> None:
        super().__init__(means.every, means.watcher, record.uuid, record.attempts)
        self._vm = means
        self._place = place
        self._record = record
        self._legs = legs
        self._saved = saved
        self._rules = legs[0] if saved is None else saved.state.rules
        self._row = place.row
        self._inventory: Mapping[str, Any] | None = record.inventory
        self._packed: bytes | None = None
        """The inventory before that, packed."""
        self._state_word = record.state
        self._host = record.host_uuid
        self._target: str | None = None
        """Where it is migrated to, while that counts there."""
        self._unsure = False
        """The node did not say where it could go."""

    @property
    def _starts(self) -> bool:
        return self._rules.verb is Verb.START

    @property
    def verb(self) -> Verb:
        """What is done to it now."""
        return self._rules.verb

    @property
    def legs_taken(self) -> int:
        """How many things were done to it."""
        return 1 if self._rules is self._legs[0] else 2

    async def run(self) -> tuple[VmRecord, ActionState]:
        """The VM's record with its outcome, not yet journalled, and the state it was judged from."""
        if self._saved is None:
            # Whoever changed it after it was found untouched does not expect it to be started.
            opened = begin(self._rules, self._started, self._place.row.last_op if self._starts else None)
        else:
            opened = self._carry_on(self._saved)
            self._count_target()
        try:
            state, judgement = await self._pump(*opened)
            if (following := self._following(state, judgement)) is not None:
                state, judgement = await self._next_leg(following, state, judgement)
        finally:
            self._leave_target()
        late = arrived_late(self._written[: self._earlier]) if judgement.reason is Reason.ELSEWHERE else None
        if late is not None:
            judgement = late
        elif self._saved is not None and self._saved.earlier:
            judgement = _after(judgement, "see the attempts before")
        if state.halted is not None and judgement.outcome is Outcome.FAILED and self._next_rules() is not None:
            judgement = replace(judgement, reason=Reason.FALLBACK_WITHHELD)
        return self._settled(state, judgement), state

    # ── legs ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _next_rules(self) -> Rules | None:
        """Those of the leg after this one."""
        verbs = [rules.verb for rules in self._legs]
        at = verbs.index(self._rules.verb) + 1 if self._rules.verb in verbs else len(verbs)
        return self._legs[at] if at < len(self._legs) else None

    def _following(self, state: ActionState, judgement: Judgement) -> Rules | None:
        """The rules of what follows now: only what has failed for certain is followed by anything, and neither in a halted
        run nor after the window's end, unless what is in flight then ends by the plan's rules.
        """
        if judgement.outcome is not Outcome.FAILED or state.halted is not None or state.at_end is not None:
            return None
        # What could not be read, was in transition, or was told no place by a node that did not answer well was never tried.
        unsure = self._unsure or state.state is None or state.state in TRANSITIONAL_STATES
        return None if unsure and not state.attempts else self._next_rules()

    async def _next_leg(self, rules: Rules, before: ActionState, failed: Judgement) -> tuple[ActionState, Judgement]:
        """What is done to a VM for which the leg before has failed."""
        self._leave_target()
        self._rules, self._earlier = rules, len(self._written)
        self._noted = ()
        self._vm.dispatcher.widen(self._place)
        opened = begin(rules, self._m.clock.now(), begun=before.node_began)
        state, judgement = await self._pump(*opened)
        if judgement.outcome is Outcome.NOT_REACHED and before.attempts:
            return before, replace(failed, reason=Reason.FALLBACK_WITHHELD)
        return state, _after(judgement, failed.evidence.text)

    def _settled(self, state: ActionState, judgement: Judgement) -> VmRecord:
        outcome = judgement.of_vm
        error = next((attempt.error for attempt in reversed(self._written) if attempt.error is not None), None)
        if state.attempts:  # of what was done last, as far as anything was sent for it
            error = dict(state.last.error.plain()) if state.last.error is not None else None
        migrated_to = self._now_on() if outcome is Outcome.MIGRATED else None
        evidence = judgement.evidence
        if migrated_to is not None and self._vm.destinations is not None:
            name = self._vm.destinations.name(migrated_to)
            evidence = replace(evidence, text=f"{evidence.text}; it is on host {name}")
        return replace(
            self._record,
            host_uuid=self._runs_on(outcome) or self._host,
            outcome=outcome,
            reason=judgement.reason,
            evidence=evidence,
            # What lost its power when it was stopped is to be looked at now that it is started.
            check_after_start=self._record.check_after_start if self._starts else judgement.check_after_start,
            state_before=self._record.state_before or state.before,
            state=self._state_word,
            started_at=None if outcome is Outcome.NOT_REACHED else self._started_at,
            finished_at=self._m.clock.wall(),
            elapsed_seconds=round(self._m.clock.now() - self._started, 3),
            attempts=tuple(self._written),
            migrated_to=migrated_to,
            inventory=self._last_seen(),
            error=error,
        )

    def _runs_on(self, outcome: Outcome) -> str | None:
        """The host of a VM that was started; None for all others."""
        started = self._starts and outcome in {Outcome.STARTED, Outcome.ALREADY_RUNNING}
        return self._now_on() if started else None

    def _now_on(self) -> str | None:
        """Where its newest inventory says that it is."""
        if not self._inventory:
            return None
        row = self._m.cloud.row_of(self._inventory)
        return None if row is None else row.host_uuid

    # ── what a VM needs of the pump ────────────────────────────────────────────────────────────────────────────────
    async def _read(self, *, sent: bool) -> Read:
        try:
            seen = await self._vm.reader.read(self._uuid)
            while not sent and not self._starts and seen is not None and seen.row.host_uuid is not None:
                asked = self._m.clock.now()
                if not self._rules.leaving or seen.row.host_uuid in self._rules.leaving:
                    await self._vm.dispatcher.move(self._place, seen.row)
                if self._m.clock.now() - asked < _STALE_SECONDS:
                    break
                seen = await self._vm.reader.read(self._uuid)  # it waited for a slot: what was read is old
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

    async def _wait_for_node(self) -> None:
        with contextlib.suppress(UnreadableError):
            await self._vm.reader.read(self._uuid)  # returns when the node is back

    async def _prepare(self, state: ActionState, step: Send) -> str | None:
        await self._vm.dispatcher.move(self._place, self._row)
        if self._rules.verb is not Verb.MIGRATE:
            return None
        assert self._vm.destinations is not None
        self._leave_target()
        found = await self._vm.destinations.take(self._uuid, begun=state.node_began)
        if found.host is None:
            self._unsure = found.unsure
            return found.why
        self._target = found.host
        return None

    async def _check_again(self) -> None:
        """Its row has just been read, which is all that a call to a VM rests on."""

    def _count_target(self) -> None:
        """A migration from an earlier process may still be under way."""
        target = self._written[-1].host_uuid if self._rules.verb is Verb.MIGRATE else None
        if target is not None and self._vm.destinations is not None:
            self._vm.destinations.counts(target)
            self._target = target

    def _leave_target(self) -> None:
        if self._target is not None and self._vm.destinations is not None:
            self._vm.destinations.give_back(self._target)
        self._target = None

    def _fits(self) -> bool:
        return self._vm.fits(self._row)

    def _attempt(self, step: Send, job_uuid: str) -> AttemptRecord:
        return replace(super()._attempt(step, job_uuid), host_uuid=self._target)

    async def _store_intent(self, number: int, saved: str) -> None:
        await self._m.journal.intend(self._m.run_id, self._uuid, number, self._written[number], saved)

    def _store(self, number: int, saved: str) -> None:
        self._m.journal.note(self._m.run_id, self._uuid, number, self._written[number], saved)

    def _about_to_send(self, job_uuid: str, type_: str) -> None:
        if self._inventory is not None and self._packed is None:
            # Of the inventory a few hundred bytes, for as long as its job takes: nearly always that brings a newer one.
            self._packed, self._inventory = zlib.compress(json.dumps(dict(self._inventory)).encode(), 1), None
        self._m.tell("vm.sending", self._uuid, {"type": type_, "job_uuid": job_uuid})

    def _tell_sent(self, job_uuid: str, type_: str, timeout: int, at: float) -> None:
        following = ahead(self._rules, self._m.clock, type_, at, timeout)
        if self._next_rules() is not None:
            following["then"] = "stop"
        self._m.tell("vm.sent", self._uuid, {"type": type_, "job_uuid": job_uuid, **following})

    async def _call(self, job_uuid: str, type_: str, timeout: int, leaving: Callable[[], bool]) -> SendResult:
        return await self._m.cloud.send(self._request(job_uuid, type_, timeout), leaving)

    def _last_seen(self) -> dict[str, Any] | None:
        """The newest inventory of this VM; None where none was seen."""
        if self._inventory is not None:
            return dict(self._inventory)
        found: dict[str, Any] | None = None if self._packed is None else json.loads(zlib.decompress(self._packed))
        return found

    def _request(self, job_uuid: str, type_: str, timeout: int) -> Request:
        stop = self._vm.stop
        match self._rules.verb:
            case Verb.STOP:
                return StopRequest(self._uuid, type_, job_uuid, timeout, stop.stop_ha, stop.system_tags, stop.user_tags)
            case Verb.MIGRATE:
                target = self._written[-1].host_uuid
                assert target is not None, "a migration is sent to a host"
                return MigrateRequest(self._uuid, job_uuid, timeout, target)
            case _:
                # First where it came from; where the node does not take that, wherever the node likes.
                where = self._host if self._written[-1].reason is AttemptReason.PLAN else None
                return StartRequest(self._uuid, job_uuid, timeout, where)

    def _keep(self, answer: object) -> None:
        if isinstance(answer, JobSucceeded) and answer.seen is not None:
            self._inventory, self._state_word = answer.seen.inventory, answer.seen.row.state


def _after(judgement: Judgement, why: str) -> Judgement:
    """What became of a VM that was to be migrated first."""
    text = f"it could not be migrated ({why}); {judgement.evidence.text}"
    return replace(judgement, evidence=replace(judgement.evidence, text=text))
