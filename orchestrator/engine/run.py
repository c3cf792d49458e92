"""A run from its first question to its last word: the only task group, the signals, the shielded last writes."""

import contextlib
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from orchestrator.actions.rules import StopRules, stop_rules
from orchestrator.clouds.interface import Cloud, NodeAwayError, NodeFacts
from orchestrator.engine.admit import admit, guard_problems
from orchestrator.engine.clock import Clock
from orchestrator.engine.course import WAVE, Course, Drop, Order, rules_of, waves_of
from orchestrator.engine.dispatch import Dispatcher, Place, Queue
from orchestrator.engine.drive import Drive, Means
from orchestrator.engine.halt import Halt
from orchestrator.engine.hosts import read_hosts
from orchestrator.engine.ourselves import endpoint_addresses, local_macs
from orchestrator.engine.outage import NodeGoneError, Outage
from orchestrator.engine.preview import make_preview
from orchestrator.engine.read import Reader, UnreadableError
from orchestrator.engine.records import Opening, Prepared, totals_of
from orchestrator.engine.resolve import resolve
from orchestrator.engine.schedule import Lanes, SlotLimits, Slots
from orchestrator.engine.verify import to_verify, verified
from orchestrator.engine.watch import Watcher
from orchestrator.engine.waves import Finished, Opened
from orchestrator.errors import JournalError, NodeUnreachableError, PermissionDeniedError
from orchestrator.journal.interface import Journal, JournalEvent, JournalWriteError, LockLostError
from orchestrator.journal.owner import BEAT_SECONDS, Owner
from orchestrator.model.event import Event, Listener
from orchestrator.model.outcome import GOOD, Outcome, Reason
from orchestrator.model.report import (
    EndedBy,
    Evidence,
    RunReport,
    RunStatus,
    StopRecord,
    VmRecord,
    WaveRecord,
)
from orchestrator.model.target import Seen, VmRow
from orchestrator.plan.load import PlanFile
from orchestrator.plan.model import Limits, Plan

_TOGETHER = 500
"""VMs that are verified or written in one go."""
_LINGER_SECONDS = 0.05
"""How long the first read of a VM waits for others to share its query."""


class JournalLostError(JournalError):
    """The journal could not be written in mid-run; all sending has stopped."""

    exit_code = 4


async def prepare(plan_file: PlanFile, cloud: Cloud, *, strict: bool, terminal: bool = False) -> Prepared:
    """Resolve and admit. `strict`: warnings about the plan refuse too; `terminal`: somebody sees them.

    Raises NodeUnreachableError, UsageError, LoginError.
    """
    plan = plan_file.plan
    resolution = await resolve(plan_file, cloud)
    endpoint = resolution.facts.endpoint
    verdicts = admit(resolution, plan, our_macs=local_macs(), node_ips=await endpoint_addresses(endpoint))
    problems = guard_problems(plan, resolution, verdicts, strict=strict, terminal=terminal)
    worst = max(map(_worst_seconds, rules_of(plan).values()))
    return Prepared(plan_file, resolution, verdicts, make_preview(plan_file, resolution, verdicts, problems, worst))


def _worst_seconds(rules: StopRules) -> float:
    worst = rules.timeout_of(rules.type) + rules.margin_seconds
    return worst + (rules.cold_seconds + rules.margin_seconds if rules.fallback_on else 0.0)


async def node_facts(cloud: Cloud) -> NodeFacts:
    """What is to be known of a node before a run is carried on there. Raises NodeUnreachableError, LoginError."""
    try:
        return await cloud.facts()
    except NodeAwayError as error:
        raise NodeUnreachableError(f"the node cannot be asked ({error.detail}): see that it is up, and try again") from None


async def check_permission(cloud: Cloud, plan: Plan) -> None:
    """Raises PermissionDeniedError where the node would refuse this account's stops."""
    try:
        denied = await cloud.permission()
        if not all(plan.stop_of(wave).stop_ha for wave in waves_of(plan).values()):
            await cloud.learn_stop_ha()
    except NodeAwayError as error:
        raise NodeUnreachableError(f"the node went away before the run began ({error.detail}): try again") from None
    if denied is not None:
        raise PermissionDeniedError(
            f"this account may not stop VMs ({' '.join(denied.split())[:300]}): use an account that may"
        )


def new_run_id(now: datetime) -> str:
    """`20261128T220000Z-7f3a`: the time of its start in UTC, and four random hex digits."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class Run:
    """One run, from its opening. `interrupt()` is the first Ctrl-C, `leave()` the second.

    `owner` is who holds its lock: taken as a new run begins, held already for one that is carried on.
    """

    def __init__(
        self,
        opening: Opening,
        cloud: Cloud,
        journal: Journal,
        *,
        owner: Owner,
        clock: Clock | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._opening: Opening | None = opening
        self._cloud = cloud
        self._journal = journal
        self._owner = owner
        self._record = opening.run
        self._plan = opening.plan
        self._clock = clock or Clock()
        self._listeners = listeners
        self._halt = Halt()
        self._rules: StopRules = stop_rules(self._plan.stop, self._plan.limits.node_outage.total_seconds())
        self._outage = Outage(
            self._rules.node_outage_seconds,
            self._rules.scale,
            lambda kind, detail: self._tell(kind, None, {"detail": detail}),
            lambda: self._stop_sending(Reason.NODE),
        )
        limits = self._plan.limits
        slots = Slots(_slot_limits(limits))
        self._queues: dict[str, Queue] = {}
        for name, wave in waves_of(self._plan).items():
            within = Slots(_slot_limits(self._plan.limits_of(wave)), within=slots) if wave is not None else slots
            self._queues[name] = Queue(name, within, Lanes(within))
        self._rules_of = rules_of(self._plan)
        self._course = Course(self._plan, opening.records, opening.rows)
        self._dispatcher = Dispatcher(list(self._queues.values()), self._course, self._halt)
        self._waves = {wave.name: wave for wave in opening.waves}
        self._records: dict[str, VmRecord] = {}
        self._saved = dict(opening.saved)
        self._under_way: list[tuple[str, VmRow]] = []
        self._states = {uuid: saved.state for uuid, saved in opening.saved.items()}
        self._at_node: set[str] = set()
        self._last_stop_at = self._clock.now()
        self._journal_error: JournalWriteError | None = None
        self._stops: list[StopRecord] = list(opening.run.stops)
        self._scope: anyio.CancelScope | None = None
        self.left = False

    @property
    def jobs_at_node(self) -> int:
        """VMs whose PUT has left and that have no outcome yet: their jobs go on whatever we do."""
        return len(self._at_node)

    def interrupt(self) -> None:
        """The operator wants it over: no PUT leaves any more; what is in flight is watched to its end."""
        self._stop_sending(Reason.OPERATOR)

    def leave(self) -> None:
        """At once: nothing more is read; what is in flight keeps no outcome."""
        self.left = True
        self._stop_sending(Reason.OPERATOR)
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> RunReport:
        """Everything, to the report. Raises JournalLostError; what happens to VMs is in the report, never raised."""
        try:
            await self._begin()
            with anyio.CancelScope() as self._scope:
                if self.left:
                    self._scope.cancel()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._beat)
                    reader = Reader(self._cloud, self._outage, tasks, linger_seconds=_LINGER_SECONDS)
                    await self._stop_all(tasks, reader)
                    await self._verify(reader)
                    tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                report = await self._finish_beating()
        except JournalWriteError as error:
            jobs = f"all sending has stopped, and {self.jobs_at_node} jobs may go on at the node"
            again = f"free the disk or mend its permissions, then 'orchestrator resume {self._record.id}'"
            if isinstance(error, LockLostError):
                again = "leave the run to it; 'orchestrator runs' shows who works on it"
            raise JournalLostError(f"{error}: {jobs}; {again}") from None
        return report

    async def _finish_beating(self) -> RunReport:
        """The last word, while we say that we live: reading the hosts may take a while."""
        lost, report = None, None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beat)
            try:
                report = await self._finish()
            except JournalWriteError as error:
                lost = error  # raised below: a task group would wrap it
            tasks.cancel_scope.cancel()
        if report is None:
            assert lost is not None
            raise lost
        return report

    def _tell(self, kind: str, vm_uuid: str | None = None, data: Mapping[str, Any] | None = None) -> None:
        if kind == "vm.sent" and vm_uuid is not None:
            self._at_node.add(vm_uuid)
        event = Event(kind, self._clock.wall(), vm_uuid, data or {})
        try:
            self._journal.event(self._record.id, JournalEvent(event.at, kind, vm_uuid, data))
        except JournalWriteError as error:
            self._lose_journal(error)
        for listener in self._listeners:
            listener(event)

    def _stop_sending(self, reason: Reason) -> None:
        if self._halt:
            return
        self._halt.set(reason)
        self._stops.append(StopRecord(kind=reason.value, scope="run", at=self._clock.wall()))
        self._tell("run.halted", None, {"reason": reason.value, "jobs": self.jobs_at_node})
        self._dispatcher.wake()

    def _lose_journal(self, error: JournalWriteError) -> None:
        if self._journal_error is None:
            self._journal_error = error
            self._halt.set(Reason.JOURNAL)
            self._dispatcher.wake()

    # ── before ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _begin(self) -> None:
        opening, self._opening = self._opening, None
        assert opening is not None, "a run is run once"
        self._clock.learn_node(opening.clock_ahead_seconds)
        records = {record.uuid: record for record in opening.records}
        for uuid, row in opening.rows.items():
            wave = records[uuid].wave or WAVE
            if uuid in opening.saved:
                self._under_way.append((wave, row))
            else:
                self._queues[wave].lanes.add(row)
        self._at_node = {row.uuid for _, row in self._under_way if self._saved[row.uuid].undecided}
        counts = {"targets": len(records), "to_stop": len(opening.rows)}
        # They are in the journal; a run of many thousands keeps no inventories in memory.
        self._records = {uuid: _slim(record) for uuid, record in records.items()}
        if opening.plan_file is not None:
            await self._journal.begin(self._record, opening.records, opening.plan_file, self._owner)
            self._tell("run.started", None, counts)
            for record in self._records.values():
                if record.outcome is not None:
                    self._tell_outcome(record)
        else:
            await self._journal.carry_on(self._record)
            self._last_stop_at = self._ended_last()
            self._tell("run.resumed", None, {**counts, "under_way": len(self._under_way)})
        await self._obey(self._course.begin())

    def _ended_last(self) -> float:
        """When the last stop of an earlier process ended, as a monotonic second of ours; now where there was none."""
        ended = [record.finished_at for record in self._records.values() if record.attempts and record.finished_at]
        if not ended:
            return self._clock.now()
        ago = self._clock.unix() - datetime.fromisoformat(max(ended)).timestamp()
        return self._clock.now() - max(0.0, ago)

    async def _beat(self) -> None:
        """Say now and then that we live."""
        while True:
            await anyio.sleep(BEAT_SECONDS)
            try:
                self._journal.beat(self._record.id)
            except JournalWriteError as error:
                self._lose_journal(error)
                return

    # ── the stops ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _stop_all(self, tasks: TaskGroup, reader: Reader) -> None:
        scale = self._rules.scale
        pace = self._plan.limits.requests_per_second
        watcher = Watcher(self._cloud, self._outage, tasks, self._clock, scale=scale, requests_per_second=pace)
        tasks.start_soon(watcher.work)
        means = {
            name: Means(
                self._record.id, self._cloud, self._journal, reader, watcher, self._outage, self._dispatcher,
                self._halt, self._clock, self._rules_of[name], self._plan.stop_of(wave), self._tell,
            )
            for name, wave in waves_of(self._plan).items()
        }  # fmt: skip
        async with anyio.create_task_group() as flights:

            def start(place: Place) -> None:
                flights.start_soon(self._stop_one, means[place.queue.wave], place)

            left = await self._dispatcher.run(start, self._under_way)
        # Only now: whoever leaves before, or is killed, leaves them to be carried on.
        if self._halt.reason is not None:
            await self._never_reached([row.uuid for row in left], self._halt.reason)

    async def _never_reached(self, uuids: Sequence[str], reason: Reason) -> None:
        evidence = Evidence(text="its turn never came; nothing was sent", basis="none")
        changes = {
            "outcome": Outcome.NOT_REACHED,
            "reason": reason,
            "evidence": evidence,
            "finished_at": self._clock.wall(),
        }
        await self._settle_all([self._records[uuid].model_copy(update=changes) for uuid in uuids])

    async def _obey(self, orders: Sequence[Order]) -> None:
        """What waves and budgets say; an outcome is durable before it opens a wave."""
        for order in orders:
            match order:
                case Drop(reason=reason, vms=vms, stop=stop):
                    self._dispatcher.drop(frozenset(vms))
                    if stop is not None:
                        kind, scope, count, limit = stop
                        self._stops.append(
                            StopRecord(kind=kind, scope=scope, at=self._clock.wall(), count=count, limit=limit)
                        )
                        data = {"kind": kind, "scope": scope, "count": count, "limit": limit, "vms": len(vms)}
                        self._tell("budget.crossed", None, data)
                    await self._never_reached(vms, reason)
                case Opened(wave=name):
                    self._note_wave(name, "started_at")
                    self._tell("wave.opened", None, {"wave": name})
                case Finished(wave=name):
                    self._note_wave(name, "finished_at")
                    self._tell("wave.finished", None, {"wave": name})
        self._dispatcher.wake()

    def _note_wave(self, name: str, what: str) -> None:
        """When a wave was opened, or came to its end; the first time stands."""
        wave = self._waves.get(name) or WaveRecord(name=name, started_at=None, finished_at=None, totals={})
        if getattr(wave, what) is None:
            wave = wave.model_copy(update={what: self._clock.wall()})
        self._waves[name] = wave

    async def _stop_one(self, means: Means, place: Place) -> None:
        uuid = place.row.uuid
        began = self._clock.now()
        self._tell("vm.started", uuid, {"host": place.row.host_uuid})
        try:
            record, state = await Drive(means, place, self._records[uuid], self._saved.pop(uuid, None)).run()
            if record.outcome in {Outcome.FAILED, Outcome.UNKNOWN} or any(
                attempt.never_arrived for attempt in state.attempts
            ):
                self._states[uuid] = state
            if state.sent:
                self._last_stop_at = self._clock.now()
            await self._settle(record)
            if self._journal_error is None:
                await self._obey(self._course.ended(record))
        except JournalWriteError as error:
            self._lose_journal(error)
        finally:
            self._at_node.discard(uuid)
            self._dispatcher.release(place, self._clock.now() - began)

    async def _settle(self, record: VmRecord, *, tell: bool = True) -> None:
        """The outcome is durable before it opens a slot. A record without an inventory keeps the journalled one."""
        self._records[record.uuid] = _slim(record)
        try:
            await self._journal.settle(self._record.id, record)
        except JournalWriteError as error:
            self._lose_journal(error)
            return
        if tell:
            self._tell_outcome(record)

    async def _settle_all(self, records: Sequence[VmRecord]) -> None:
        """Many at once share the journal's commits."""
        for start in range(0, len(records), _TOGETHER):
            async with anyio.create_task_group() as writes:
                for record in records[start : start + _TOGETHER]:
                    earlier = self._records[record.uuid].outcome
                    writes.start_soon(partial(self._settle, record, tell=record.outcome != earlier))

    def _tell_outcome(self, record: VmRecord) -> None:
        self._tell(
            "vm.outcome",
            record.uuid,
            {
                "name": record.name,
                "outcome": record.outcome,
                "reason": record.reason,
                "evidence": record.evidence.text if record.evidence else None,
            },
        )

    # ── after ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _verify(self, reader: Reader) -> None:
        after = self._plan.verify.after.total_seconds()
        due = [record for record in self._records.values() if to_verify(record) and record.verified_at is None]
        if not after or not due or self._outage.over or self._journal_error is not None:
            return
        if any(record.attempts for record in due):
            wait = max(0.0, self._last_stop_at + after - self._clock.now())
            self._tell("run.verifying", None, {"vms": len(due), "in_seconds": round(wait, 1)})
            await anyio.sleep(wait)
        unread = 0
        for start in range(0, len(due), _TOGETHER):
            part = due[start : start + _TOGETHER]
            seen: dict[str, Seen | None] = {}
            async with anyio.create_task_group() as reads:
                for record in part:
                    reads.start_soon(_read_into, seen, reader, record.uuid)
            at = self._clock.wall()
            unread += len(part) - len(seen)
            await self._settle_all(
                [
                    verified(
                        record, seen[record.uuid], self._states.get(record.uuid), self._rules_of[record.wave or WAVE], at
                    )
                    for record in part
                    if record.uuid in seen
                ]
            )
        if unread:
            self._tell("run.verification_failed", None, {"vms": unread})
            self._warn(f"verification could not read {unread} VMs: their outcomes are as of the stop")

    def _warn(self, text: str) -> None:
        self._record = self._record.model_copy(update={"warnings": (*self._record.warnings, text)})

    async def _finish(self) -> RunReport:
        if self._journal_error is not None:
            raise self._journal_error
        cloud = None if self.left or self._outage.over else self._cloud
        excluded = frozenset(vm.uuid for vm in self._record.excluded)
        hosts, warning = await read_hosts(cloud, self._records.values(), excluded)
        if warning is not None:
            self._warn(warning)
        # A host's budget was crossed under its UUID; by now its name is known.
        names = {f"host {host.uuid}": f"host {host.name}" for host in hosts if host.name is not None}
        self._stops = [stop.model_copy(update={"scope": names.get(stop.scope, stop.scope)}) for stop in self._stops]
        counts = Counter(record.outcome for record in self._records.values())
        status, ended_by, code = self._ending(counts)
        finished = self._clock.wall()
        self._record = self._record.model_copy(
            update={
                "status": status,
                "ended_by": ended_by,
                "exit_code": code,
                "finished_at": finished,
                "stops": tuple(self._stops),
            }
        )
        await self._journal.finish(self._record, hosts, self._wave_records(finished))
        self._tell("run.finished", None, {"status": status, "exit_code": code})
        return self._journal.report(self._record.id)

    def _wave_records(self, finished: str) -> list[WaveRecord]:
        """Every wave with its totals; the one of a plan without waves has the run's own times."""
        if not self._plan.waves:
            totals = totals_of(self._records.values())
            return [WaveRecord(name=WAVE, started_at=self._record.started_at, finished_at=finished, totals=totals)]
        none = WaveRecord(name="", started_at=None, finished_at=None, totals={})
        members: dict[str, list[VmRecord]] = {name: [] for name in self._queues}
        for record in self._records.values():
            members[record.wave or WAVE].append(record)
        return [
            self._waves.get(name, none).model_copy(update={"name": name, "totals": totals_of(members[name])})
            for name in self._queues
        ]

    def _ending(self, counts: Counter[Outcome | None]) -> tuple[RunStatus, EndedBy | None, int]:
        if self.left:
            return "interrupted", "operator", 130
        if counts[Outcome.NOT_REACHED]:
            reasons = {record.reason for record in self._records.values() if record.outcome is Outcome.NOT_REACHED}
            ended_by: EndedBy = next((word for reason, word in _ENDED_BY.items() if reason in reasons), "operator")
            return "stopped_early", ended_by, 4
        return "finished", None, 0 if all(outcome in GOOD for outcome in counts) else 1


_ENDED_BY: dict[Reason, EndedBy] = {
    Reason.NODE: "node",
    Reason.JOURNAL: "journal",
    Reason.OPERATOR: "operator",
    Reason.BUDGET: "budget",
    Reason.RAMP: "ramp",
    Reason.HOST_BUDGET: "budget",
    Reason.WAVE: "budget",
}
"""What a run is said to be ended by, for the first of these reasons that some VM was not reached for."""


def _slot_limits(limits: Limits) -> SlotLimits:
    return SlotLimits(limits.concurrency, limits.per_host, limits.per_cluster, limits.per_primary_storage)


async def _read_into(seen: dict[str, Seen | None], reader: Reader, uuid: str) -> None:
    with contextlib.suppress(UnreadableError, NodeGoneError):
        seen[uuid] = await reader.read(uuid)


def _slim(record: VmRecord) -> VmRecord:
    return record if record.inventory is None else record.model_copy(update={"inventory": None})
