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
from orchestrator.actions.stop import StopState
from orchestrator.clouds.interface import Cloud, NodeAwayError
from orchestrator.engine.admit import WAVE, admit, guard_problems
from orchestrator.engine.clock import Clock
from orchestrator.engine.dispatch import Dispatcher, Place
from orchestrator.engine.drive import Drive, Means
from orchestrator.engine.halt import Halt
from orchestrator.engine.hosts import read_hosts
from orchestrator.engine.ourselves import endpoint_addresses, local_macs
from orchestrator.engine.outage import NodeGoneError, Outage
from orchestrator.engine.preview import make_preview
from orchestrator.engine.read import Reader, UnreadableError
from orchestrator.engine.records import Prepared, first_record, totals_of
from orchestrator.engine.resolve import resolve
from orchestrator.engine.schedule import Lanes, SlotLimits, Slots
from orchestrator.engine.verify import to_verify, verified
from orchestrator.engine.watch import Watcher
from orchestrator.errors import JournalError, NodeUnreachableError, PermissionDeniedError, RefusedError
from orchestrator.journal.interface import Journal, JournalEvent, JournalWriteError
from orchestrator.model.event import Event, Listener
from orchestrator.model.outcome import GOOD, Outcome, Reason
from orchestrator.model.report import (
    EndedBy,
    Evidence,
    RunRecord,
    RunReport,
    RunStatus,
    StopRecord,
    VmRecord,
    WaveRecord,
)
from orchestrator.model.target import Seen
from orchestrator.plan.load import PlanFile

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
    rules = stop_rules(plan.stop, plan.limits.node_outage.total_seconds())
    worst = rules.timeout_of(rules.type) + rules.margin_seconds
    if rules.fallback_on:
        worst += rules.cold_seconds + rules.margin_seconds
    return Prepared(plan_file, resolution, verdicts, make_preview(plan_file, resolution, verdicts, problems, worst))


async def check_permission(cloud: Cloud, *, stop_ha: bool) -> None:
    """Raises PermissionDeniedError where the node would refuse this account's stops."""
    try:
        denied = await cloud.permission()
        if not stop_ha:
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
    """One run of a prepared plan. `interrupt()` is the first Ctrl-C, `leave()` the second."""

    def __init__(
        self,
        prepared: Prepared,
        cloud: Cloud,
        journal: Journal,
        *,
        run: RunRecord,
        clock: Clock | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        if prepared.preview.problems:
            raise RefusedError("; ".join(prepared.preview.problems))
        self._prepared = prepared
        self._cloud = cloud
        self._journal = journal
        self._record = run
        self._plan = prepared.plan_file.plan
        self._clock = clock or Clock()
        self._clock.node_ahead_seconds = prepared.resolution.facts.clock_ahead_seconds
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
        self._slots = Slots(SlotLimits(limits.concurrency, limits.per_host, limits.per_cluster, limits.per_primary_storage))
        self._lanes = Lanes(self._slots)
        self._dispatcher = Dispatcher(self._lanes, self._slots, self._halt)
        self._records: dict[str, VmRecord] = {}
        self._states: dict[str, StopState] = {}
        self._at_node: set[str] = set()
        self._last_stop_at = self._clock.now()
        self._journal_error: str | None = None
        self._stops: list[StopRecord] = []
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
                    reader = Reader(self._cloud, self._outage, tasks, linger_seconds=_LINGER_SECONDS)
                    await self._stop_all(tasks, reader)
                    await self._verify(reader)
                    tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                report = await self._finish()
        except JournalWriteError as error:
            raise JournalLostError(
                f"{error}: all sending has stopped, and {self.jobs_at_node} jobs may go on at the node; "
                "free the disk or mend its permissions, then look at those VMs before a new run"
            ) from None
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
            self._journal_error = str(error)
            self._halt.set(Reason.JOURNAL)
            self._dispatcher.wake()

    # ── before ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _begin(self) -> None:
        levels = self._prepared.resolution.ha_levels
        now = self._clock.wall()
        for verdict in self._prepared.verdicts:
            record = first_record(verdict, levels, now)
            self._records[record.uuid] = record
            if verdict.outcome is None and verdict.target.seen is not None:
                self._lanes.add(verdict.target.seen.row)
        files = {"path": str(self._prepared.plan_file.path), "text": self._prepared.plan_file.text}
        await self._journal.begin(self._record, list(self._records.values()), files)
        # They are in the journal now; a run of many thousands keeps no inventories in memory.
        self._records = {uuid: _slim(record) for uuid, record in self._records.items()}
        self._tell("run.started", None, {"targets": len(self._records), "to_stop": len(self._lanes)})
        for record in self._records.values():
            if record.outcome is not None:
                self._tell_outcome(record)

    # ── the stops ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _stop_all(self, tasks: TaskGroup, reader: Reader) -> None:
        scale = self._rules.scale
        watcher = Watcher(self._cloud, self._outage, tasks, scale, self._plan.limits.requests_per_second)
        tasks.start_soon(watcher.work)
        means = Means(
            self._record.id, self._cloud, self._journal, reader, watcher, self._outage, self._dispatcher,
            self._halt, self._clock, self._rules, self._plan.stop, self._tell,
        )  # fmt: skip
        async with anyio.create_task_group() as flights:

            def start(place: Place) -> None:
                flights.start_soon(self._stop_one, means, place)

            left = await self._dispatcher.run(start)
            evidence = Evidence(text="its turn never came; nothing was sent", basis="none")
            changes = {
                "outcome": Outcome.NOT_REACHED,
                "reason": self._halt.reason,
                "evidence": evidence,
                "finished_at": self._clock.wall(),
            }
            await self._settle_all([self._records[row.uuid].model_copy(update=changes) for row in left])

    async def _stop_one(self, means: Means, place: Place) -> None:
        uuid = place.row.uuid
        began = self._clock.now()
        self._tell("vm.started", uuid, {"host": place.row.host_uuid})
        try:
            record, state = await Drive(means, place, self._records[uuid]).run()
            if record.outcome in {Outcome.FAILED, Outcome.UNKNOWN} or any(
                attempt.never_arrived for attempt in state.attempts
            ):
                self._states[uuid] = state
            if state.sent:
                self._last_stop_at = self._clock.now()
            await self._settle(record)
        except JournalWriteError as error:
            self._lose_journal(error)
        finally:
            self._at_node.discard(uuid)
            self._dispatcher.release(place, self._clock.now() - began)

    async def _settle(self, record: VmRecord, *, tell: bool = True) -> None:
        """The outcome is durable before it opens a slot. A record without an inventory keeps the journalled one."""
        self._records[record.uuid] = _slim(record)
        if record.inventory is None:
            kept, _ = self._journal.vm(self._record.id, record.uuid)
            record = record.model_copy(update={"inventory": kept.inventory})
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
        due = [record for record in self._records.values() if to_verify(record)]
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
                    verified(record, seen[record.uuid], self._states.get(record.uuid), self._rules, at)
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
            raise JournalWriteError(self._journal_error)
        cloud = None if self.left or self._outage.over else self._cloud
        excluded = frozenset(vm.uuid for vm in self._record.excluded)
        hosts, warning = await read_hosts(cloud, self._records.values(), excluded)
        if warning is not None:
            self._warn(warning)
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
        totals = totals_of(self._records.values())
        wave = WaveRecord(name=WAVE, started_at=self._record.started_at, finished_at=finished, totals=totals)
        await self._journal.finish(self._record, hosts, [wave])
        self._tell("run.finished", None, {"status": status, "exit_code": code})
        return self._journal.report(self._record.id)

    def _ending(self, counts: Counter[Outcome | None]) -> tuple[RunStatus, EndedBy | None, int]:
        if self.left:
            return "interrupted", "operator", 130
        if counts[Outcome.NOT_REACHED]:
            reason = self._halt.reason
            ended_by: EndedBy = "node" if reason is Reason.NODE else "journal" if reason is Reason.JOURNAL else "operator"
            return "stopped_early", ended_by, 4
        return "finished", None, 0 if all(outcome in GOOD for outcome in counts) else 1


async def _read_into(seen: dict[str, Seen | None], reader: Reader, uuid: str) -> None:
    with contextlib.suppress(UnreadableError, NodeGoneError):
        seen[uuid] = await reader.read(uuid)


def _slim(record: VmRecord) -> VmRecord:
    return record.model_copy(update={"inventory": None})
