"""A run from its first change to its last word: the only task group, the signals, the shielded last writes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from orchestrator.actions.rules import Rules, stop_rules
from orchestrator.actions.saved import Saved
from orchestrator.clouds.interface import Cloud
from orchestrator.engine.arrivals import Arrivals
from orchestrator.engine.braking import Braking
from orchestrator.engine.changed_hosts import ChangedHosts
from orchestrator.engine.chronicle import Chronicle
from orchestrator.engine.clock import Clock
from orchestrator.engine.course import Course, Order, estimates_of, migrate_limits, outlook_of
from orchestrator.engine.destinations import Destinations
from orchestrator.engine.dispatch import Dispatcher, Place
from orchestrator.engine.drive import Drive, VmMeans
from orchestrator.engine.ending import ending
from orchestrator.engine.evacuation import Evacuation
from orchestrator.engine.halt import Halt
from orchestrator.engine.host_drive import HostMeans
from orchestrator.engine.hosts import read_hosts, with_causes
from orchestrator.engine.ledger import Ledger
from orchestrator.engine.legs import WAVE, Legs, waves_of
from orchestrator.engine.names import host_names
from orchestrator.engine.orders import Orders
from orchestrator.engine.outage import Outage
from orchestrator.engine.pump import Means, ahead
from orchestrator.engine.queues import Queue, queues_of
from orchestrator.engine.read import Reader
from orchestrator.engine.records import Opening
from orchestrator.engine.reopening import Reopening
from orchestrator.engine.steering import Steering
from orchestrator.engine.timekeeper import Timekeeper
from orchestrator.engine.verification import verify_all
from orchestrator.engine.verify import back_where, to_verify
from orchestrator.engine.watch import Watcher
from orchestrator.engine.window import in_words, times_kept
from orchestrator.errors import JournalError
from orchestrator.journal.interface import HostKept, Journal, JournalWriteError, LockLostError
from orchestrator.journal.owner import BEAT_SECONDS, Owner
from orchestrator.model.counts import counted, go_on
from orchestrator.model.event import Listener
from orchestrator.model.moment import rfc3339
from orchestrator.model.outcome import AttemptReason, AttemptType, Outcome, Reason
from orchestrator.model.report import RunReport, VmRecord
from orchestrator.model.states import Verb
from orchestrator.model.target import Seen, VmRow

_LINGER_SECONDS = 0.05
"""How long the first read of a VM waits for others to share its query."""


_MOST_NAMED = 10


class JournalLostError(JournalError):
    """The journal could not be written in mid-run; all sending has stopped."""

    exit_code = 4


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
        self._id = opening.run.id
        self._plan = opening.plan
        self._clock = clock or Clock()
        self._chronicle = Chronicle(opening.run, opening.waves, opening.plan, self._clock)
        self._halt = Halt()
        self._verb = Verb(opening.run.action)
        self._legs = Legs(self._plan, self._verb, frozenset(host.row.uuid for host in opening.hosts))
        self._evacuation: Evacuation | None = None
        self._reopening: Reopening | None = None
        if self._verb is Verb.START and opening.hosts:
            self._reopening = Reopening(self._plan, opening.hosts, lose=self._lose, paused=lambda: self._dispatcher.paused)
        if self._legs.leaving:
            self._evacuation = Evacuation(
                self._plan, opening.hosts, join=self._join, shut=self._shut_host,
                lose=self._lose, known=self._is_known, paused=lambda: self._dispatcher.paused,
            )  # fmt: skip
            listeners = (self._evacuation, *listeners)
        self._ledger = Ledger(opening.run.id, journal, self._clock, listeners, self._lose_journal)
        self._tell = self._ledger.tell
        rules = stop_rules(self._plan.stop, self._plan.limits.node_outage.total_seconds())
        self._scale = rules.scale
        self._outage = Outage(
            rules.node_outage_seconds,
            rules.scale,
            lambda kind, detail: self._tell(kind, None, {"detail": detail}),
            lambda: self._stop_sending(Reason.NODE),
        )
        self._arrivals = Arrivals(opening.run, opening.source, opening.ours, cloud, self._outage)
        self._estimates = estimates_of(self._plan, opening.known, self._legs)
        self._queues = queues_of(self._plan, self._legs, self._estimates)
        self._course = Course(self._plan, opening.records, opening.rows)
        self._window = times_kept(opening.run.window)
        sent = ((record.wave or WAVE, record.type) for record in opening.records if record.uuid in opening.rows)
        to_send = Counter((wave, self._legs.verbs_of(type_, wave)[0]) for wave, type_ in sent)
        self._outlook = outlook_of(self._plan, self._legs, to_send, self._estimates)
        self._dispatcher = Dispatcher(list(self._queues.values()), self._course, self._halt)
        self._orders = Orders(
            self._course, self._dispatcher, self._ledger,
            chronicle=self._chronicle, outlook=self._outlook, halt=self._halt, clock=self._clock,
        )  # fmt: skip
        self._timekeeper = Timekeeper(
            self._window, self._outlook, self._clock, self._halt, self._scale,
            tell=self._tell, warn=self._chronicle.warn, close=self._close_window, expire=self._expire_window,
            paused=lambda: self._dispatcher.paused,
        )  # fmt: skip
        self._steering = Steering(opening.run.id, journal, self._ledger, pause=self._pause_or_go, skip=self._orders.skip)
        self._shown_hosts = opening.host_names
        self._hosts = {row.host_uuid for row in opening.rows.values() if row.host_uuid is not None}
        self._hosts |= {host.row.uuid for host in opening.hosts}
        self._destinations: Destinations | None = None
        if Verb.MIGRATE in self._legs.verbs:
            most = migrate_limits(self._plan).per_host
            chosen = {one.host_uuid for record in opening.records for one in record.attempts if one.host_uuid is not None}
            self._destinations = Destinations(
                cloud, self._outage, self._halt, self._legs.leaving, per_host=most, scale=self._scale, chosen=chosen,
                told=lambda names: self._tell("run.hosts", None, {"names": dict(names)}),
            )  # fmt: skip
            self._hosts |= chosen
        self._saved = dict(opening.saved)
        self._under_way: list[tuple[Queue, VmRow]] = []
        self._drives: dict[str, Drive] = {}
        self._withheld: list[VmRecord] = []
        """Had their turn when all sending ended, and nothing of theirs has reached the node."""
        self._states = {uuid: saved.state for uuid, saved in opening.saved.items()}
        self._last_stop_at = self._clock.now()
        self._sent = any(record.attempts for record in opening.records)
        self._scope: anyio.CancelScope | None = None
        self.left = False

    @property
    def jobs_at_node(self) -> int:
        """VMs and hosts whose PUT has left and that have no outcome yet: their jobs go on whatever we do."""
        return len(self._ledger.at_node) + (self._changed_hosts.jobs_at_node if self._changed_hosts is not None else 0)

    @property
    def _changed_hosts(self) -> ChangedHosts | None:
        return self._evacuation or self._reopening

    def _wake(self) -> None:
        """What may begin has changed, for VMs and hosts."""
        self._dispatcher.wake()
        if self._changed_hosts is not None:
            self._changed_hosts.wake()

    def interrupt(self) -> None:
        """The operator wants it over: no PUT leaves any more; what is in flight is watched to its end."""
        if self._halt:  # as it is already: only the answer is due
            self._tell_halt(Reason.OPERATOR)
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
                    tasks.start_soon(self._timekeeper.look_ahead)
                    tasks.start_soon(self._steering.listen)
                    if not self._shown_hosts:
                        tasks.start_soon(self._learn_hosts)
                    reader = Reader(self._cloud.read, self._outage, tasks, linger_seconds=_LINGER_SECONDS)
                    hosts = await self._stop_all(tasks, reader)
                    await self._verify(reader)
                    if self._evacuation is not None:
                        await self._evacuation.finish(hosts)
                    tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                report = await self._finish_beating()
        except JournalWriteError as error:
            jobs = f"all sending has stopped, and {counted(self.jobs_at_node, 'job')} may go on at the node"
            again = f"free the disk or mend its permissions, then 'orchestrator resume {self._id}'"
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

    def _stop_sending(self, reason: Reason) -> None:
        if self._halt:
            return
        self._halt.set(reason)
        if reason is not Reason.WINDOW:  # which is noted where it leaves somebody out
            self._chronicle.stop(reason.value)
        self._tell_halt(reason)
        self._wake()

    def _tell_halt(self, reason: Reason) -> None:
        """An operator's word is that of whoever this process runs for."""
        by = self._owner.who if reason is Reason.OPERATOR else None
        self._tell("run.halted", None, {"reason": reason.value, "jobs": self.jobs_at_node, "by": by})

    def _lose(self, error: JournalWriteError) -> None:
        self._ledger.lose(error)

    def _lose_journal(self) -> None:
        self._halt.set(Reason.JOURNAL)
        self._wake()

    # ── before ─────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _begin(self) -> None:
        opening, self._opening = self._opening, None
        assert opening is not None, "a run is run once"
        self._clock.learn_node(opening.clock_ahead_seconds)
        self._ledger.keep(opening.records)
        records = self._ledger.records
        self._look_back(opening.records)
        for uuid, row in opening.rows.items():
            key = self._legs.key(row, records[uuid].wave or WAVE)
            self._outlook.waits(row, key)
            if self._evacuation is not None:
                self._evacuation.waits(uuid, records[uuid].host_uuid)
            if uuid in opening.saved:
                self._under_way.append((self._queues[key[0], opening.saved[uuid].state.rules.verb], row))
            else:
                self._queues[key].lanes.add(row)
        self._ledger.at_node.update(row.uuid for _, row in self._under_way if self._saved[row.uuid].undecided)
        limits, window = self._plan.limits, self._window
        counts = {
            "plan": opening.run.plan, "targets": len(records), f"to_{self._verb}": len(opening.rows),
            "waves": dict(Counter(records[uuid].wave or WAVE for uuid in opening.rows)),
            "closes": None if window is None else rfc3339(window.closes),
            "requests_per_second": limits.requests_per_second, "in_flight": limits.concurrency,
        }  # fmt: skip
        if self._evacuation is not None:
            firsts = Counter(self._legs.key(row, records[uuid].wave or WAVE)[1] for uuid, row in opening.rows.items())
            counts |= {
                "hosts": len(self._evacuation.hosts), "to_migrate": firsts[Verb.MIGRATE], "to_stop": firsts[Verb.STOP],
                "evacuate": self._plan.evacuate.vms if self._plan.evacuate is not None else None,
            }  # fmt: skip
        if self._changed_hosts is not None:
            counts["host_actions"] = self._changed_hosts.so_far
        if opening.plan_file is not None:
            whole = opening.records if opening.whole is None else opening.whole()
            await self._journal.begin(
                opening.run,
                whole,
                opening.plan_file,
                self._owner,
                [HostKept(host.row, tuple(host.actions), None) for host in opening.hosts],
            )
            self._tell("run.started", None, counts)
            if self._shown_hosts:
                self._tell("run.hosts", None, {"names": dict(self._shown_hosts)})
            for record in opening.records:
                if record.outcome is not None:
                    self._ledger.tell_outcome(record)
        else:
            await self._journal.carry_on(opening.run)
            self._last_stop_at = self._ended_last(opening.records)
            self._tell("run.resumed", None, {**counts, "under_way": len(self._under_way)})
            if self._window is not None and self._clock.unix() >= self._window.end:
                # Nobody expects a stop outside the window: what is at the node is only followed to its end.
                if len(opening.rows) > len(self._under_way):
                    self._chronicle.window_left_out()
                self._stop_sending(Reason.WINDOW)
        await self._orders.obey(self._course.begin())
        await self._steering.begin([opening.run.started_at, *opening.run.resumed_at][-1])

    def _look_back(self, records: Sequence[VmRecord]) -> None:
        """What an earlier process measured, for the forecast."""
        for record in records:
            if record.outcome is not None and record.started_at is not None:
                wave, verb = record.wave or WAVE, self._done_to(record)
                self._outlook.already((wave, self._legs.verbs_of(record.type, wave)[0]), 1)
                worst = self._legs.rules(wave, verb).worst_seconds
                if record.elapsed_seconds is not None and record.attempts and record.elapsed_seconds <= worst:
                    self._estimates[verb].took(record.host_uuid, record.elapsed_seconds)

    def _ended_last(self, records: Sequence[VmRecord]) -> float:
        """When the last stop of an earlier process ended, as a monotonic second of ours; now where there was none."""
        ended = [record.finished_at for record in records if record.attempts and record.finished_at]
        if not ended:
            return self._clock.now()
        ago = self._clock.unix() - datetime.fromisoformat(max(ended)).timestamp()
        return self._clock.now() - max(0.0, ago)

    async def _beat(self) -> None:
        """Say now and then that we live."""
        while True:
            await anyio.sleep(BEAT_SECONDS)
            try:
                self._journal.beat(self._id)
            except JournalWriteError as error:
                self._ledger.lose(error)
                return

    # ── the stops ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _stop_all(self, tasks: TaskGroup, reader: Reader[Seen]) -> HostMeans:
        scale = self._scale
        braking = Braking(self._plan.limits, self._cloud, self._dispatcher, self._clock, scale=scale, tell=self._tell)
        braking.begin()
        watched = partial(Watcher, outage=self._outage, tasks=tasks, clock=self._clock, scale=scale, rate=braking.rate)
        every = Means(self._id, self._cloud, self._journal, self._outage, self._halt, self._clock, self._window, self._tell)
        watcher = watched(self._cloud, self._cloud.states)
        tasks.start_soon(watcher.work)
        means = {
            (name, verb): VmMeans(
                every,
                reader,
                watcher,
                self._dispatcher,
                self._destinations,
                self._plan.stop_of(wave),
                partial(self._fits, verb),
            )
            for name, wave in waves_of(self._plan).items()
            for verb in self._legs.verbs
        }
        host_reader = Reader(self._cloud.hosts, self._outage, tasks, linger_seconds=_LINGER_SECONDS)
        host_watcher = watched(self._cloud, self._cloud.host_states)
        hosts = HostMeans(every, host_reader, host_watcher)
        tasks.start_soon(self._timekeeper.keep_window)
        if self._evacuation is not None:
            tasks.start_soon(host_watcher.work)
            await self._evacuation.disable(hosts)
        if self._reopening is not None:
            tasks.start_soon(host_watcher.work)
            await self._reopening.open(hosts, scale)
        async with anyio.create_task_group() as flights:

            def start(place: Place) -> None:
                flights.start_soon(self._stop_one, means[place.queue.wave, place.queue.verb], place)

            if self._evacuation is not None:
                self._dispatcher.expecting = True
                flights.start_soon(self._empty, self._evacuation, hosts)
            left = await self._dispatcher.run(start, self._under_way)
        await self._orders.rest()  # the window's close, or a word from elsewhere, is not cut off half done
        # Only now: whoever leaves before, or is killed, leaves them to be carried on.
        if self._halt.reason is not None:
            await self._ledger.settle_all(self._withheld)
            waiting = [row.uuid for row in left if self._ledger.records[row.uuid].outcome is None]
            await self._orders.never_reached(waiting, self._halt.reason)
        return hosts

    # ── hosts that are emptied ─────────────────────────────────────────────────────────────────────────────────────
    async def _empty(self, evacuation: Evacuation, hosts: HostMeans) -> None:
        try:
            await evacuation.work(hosts)
        except JournalWriteError as error:
            self._ledger.lose(error)
        finally:
            self._dispatcher.expecting = False
            self._dispatcher.wake()

    def _is_known(self, uuid: str) -> bool:
        return uuid in self._ledger.records or uuid in self._arrivals.spared

    async def _shut_host(self, host: str) -> None:
        """It could not be disabled: what is on it is left alone."""
        await self._orders.obey(self._course.close_host(host))

    async def _join(self, found: Sequence[Seen]) -> None:
        """VMs that have turned up are targets too, but for those that the plan spares.

        Raises JournalWriteError, NodeGoneError.
        """
        assert self._evacuation is not None
        arrived = await self._arrivals.meet(found, self._clock.wall(), len(self._ledger.records))
        with self._orders.working():
            if arrived.records:
                arrived = self._arrivals.leave(arrived, await self._journal.join(self._id, arrived.records))
            for warning in arrived.warnings:
                self._chronicle.warn(warning)
            self._chronicle.exclude(arrived.excluded)
            if not arrived.records:
                return
            self._ledger.join(arrived.records)
            orders: list[Order] = []
            waves = Counter[str]()
            for record in arrived.records:
                if (row := arrived.rows.get(record.uuid)) is None:
                    continue
                key = self._legs.key(row, record.wave or WAVE)
                self._outlook.waits(row, key)
                self._queues[key].lanes.add(row)
                self._evacuation.waits(record.uuid, row.host_uuid)
                orders += self._course.join(record, row.host_uuid)
                waves[key[0]] += 1
            hosts = sorted({vm.host_uuid for vm in arrived.records if vm.host_uuid is not None})
            names = [vm.name or vm.uuid for vm in arrived.records if vm.outcome is None]
            spared = [vm.name or vm.uuid for vm in arrived.records if vm.outcome is not None]
            data = {
                "vms": len(arrived.records), "waves": dict(waves), "hosts": hosts,
                "names": names[:_MOST_NAMED], "spared": spared,
            }  # fmt: skip
            self._tell("vms.found", None, data)
            for record in arrived.records:
                if record.outcome is not None:
                    self._ledger.tell_outcome(record)
            await self._orders.obey(orders)

    # ── as the run goes ────────────────────────────────────────────────────────────────────────────────────────────
    async def _close_window(self) -> None:
        self._wake()
        await self._orders.close_window()

    def _expire_window(self) -> None:
        assert self._window is not None
        self._wake()
        sent, at_end = self._ledger.at_node, self._window.at_end  # whatever has not left is not begun with any more
        in_flight = len(sent)
        if not in_flight:
            return
        migrating = sum(drive.verb is Verb.MIGRATE for uuid, drive in self._drives.items() if uuid in sent)
        cut = in_flight - migrating if at_end == "cold" else in_flight  # what is being migrated has no power to lose
        if cut and at_end != "finish":
            scope = "VMs in flight, cold" if at_end == "cold" else "VMs in flight, abandoned"
            self._chronicle.stop("window", scope, count=cut)
        self._tell("window.ended", None, {"in_flight": in_flight, "migrating": migrating, "at_end": at_end})

    def _pause_or_go(self, pause: bool, who: str) -> str:
        if self._halt:
            return "the run is over: nothing is started any more"
        if pause is self._dispatcher.paused:
            return "the run is paused already" if pause else "the run is not paused"
        self._dispatcher.paused = pause
        flying, changing = self._outlook.in_flight, self._changed_hosts.under_way if self._changed_hosts is not None else 0
        data = {"by": who, "in_flight": flying, "hosts_under_way": changing}
        self._tell("run.paused" if pause else "run.continued", None, data)
        self._wake()
        return f"paused: nothing more is started, {go_on(flying, changing)}" if pause else "the run goes on"

    async def _stop_one(self, means: VmMeans, place: Place) -> None:
        uuid, wave = place.row.uuid, place.queue.wave
        legs = self._legs.of(place.row, wave)
        began = self._clock.now()
        saved = self._saved.pop(uuid, None)
        seconds: float | None = None
        self._outlook.starts(uuid, began if saved is None else min(began, saved.state.turn_at))
        try:
            record = self._left_out(place) if saved is None else None
            if record is None:
                self._tell("vm.started", uuid, self._begun_with(place, saved))
                drive = self._drives[uuid] = Drive(means, place, self._ledger.unsettled(uuid), legs, saved)
                record, state = await drive.run()
                if record.outcome in {Outcome.FAILED, Outcome.UNKNOWN} or any(
                    attempt.never_arrived for attempt in state.attempts
                ):
                    self._states[uuid] = state
                self._sent = self._sent or bool(record.attempts)
                if record.attempts and (state.sent or drive.legs_taken > 1):
                    self._last_stop_at = self._clock.now()
                    seconds = self._timed(legs[0], began) if saved is None and drive.legs_taken == 1 else None
            if record.reason is Reason.WINDOW:
                self._chronicle.window_left_out()
            if record.outcome is Outcome.CAME_BACK and record.inventory is not None:
                row = self._cloud.row_of(record.inventory)
                names = await self._host_names([row.host_uuid] if row is not None else [])
                record = record if row is None else back_where(record, row, names.get(row.host_uuid or ""))
            if record.outcome is Outcome.NOT_REACHED and self._halt:
                self._withheld.append(record)  # as what waits: whoever leaves at once leaves it to be carried on
                return
            # How quick a power cut was, planned or at the window's end, says nothing of a shutdown's length.
            cut = legs[0].type is AttemptType.COLD or any(
                attempt.reason is AttemptReason.WINDOW for attempt in record.attempts
            )
            await self._ledger.settle(record, took_seconds=None if cut else seconds)
            if self._ledger.error is None:
                await self._orders.obey(self._course.ended(record))
        except JournalWriteError as error:
            self._ledger.lose(error)
        finally:
            self._ledger.at_node.discard(uuid)
            self._drives.pop(uuid, None)
            self._outlook.ends(uuid)
            self._dispatcher.release(place, telling=seconds is not None)

    def _begun_with(self, place: Place, saved: Saved | None) -> dict[str, Any]:
        """What is known of a VM as it has its turn, or as it is taken up from another process."""
        row, clock = place.row, self._clock
        host = None if row.host_uuid is None else self._shown_hosts.get(row.host_uuid)
        data: dict[str, Any] = {
            "name": row.name, "host": row.host_uuid, "host_name": host, "wave": place.queue.wave,
            "usual_seconds": round(self._expected(place.queue.verb, row), 1),
            "assumed": self._estimates[place.queue.verb].assumed(row.uuid),
        }  # fmt: skip
        if saved is not None:
            data["since"] = clock.wall(saved.state.turn_at)
            if saved.state.sent:
                last = saved.state.last
                more = ahead(saved.state.rules, clock, last.type, last.at, last.api_timeout_seconds)
                data |= {"type": last.type, "sent_at": clock.wall(last.at), **more}
        return data

    async def _learn_hosts(self) -> None:
        """What hosts are called, for those who look at a run that is carried on."""
        self._shown_hosts = await self._host_names(sorted(self._hosts))
        if self._shown_hosts:
            self._tell("run.hosts", None, {"names": self._shown_hosts})
        if self._destinations is not None:
            self._destinations.learn(self._shown_hosts)

    def _timed(self, rules: Rules, began: float) -> float | None:
        """What a VM took; None where that is longer than it may take: the machine slept, and it says nothing."""
        seconds = self._clock.now() - began
        return seconds if seconds <= rules.worst_seconds else None

    def _expected(self, verb: Verb, row: VmRow) -> float:
        """Seconds that this VM is forecast to take."""
        return self._estimates[verb].of(row.uuid, row.host_uuid).likely

    def _fits(self, verb: Verb, row: VmRow) -> bool:
        """May it begin now, for what it is forecast to take?"""
        return self._window is None or self._window.fits(self._clock.unix(), self._expected(verb, row))

    def _done_to(self, record: VmRecord) -> Verb:
        """What a VM was done to, by its last attempt or else by what is done first."""
        if record.outcome is Outcome.MIGRATED or (record.attempts and record.attempts[-1].type is AttemptType.MIGRATE):
            return Verb.MIGRATE
        verbs = self._legs.verbs_of(record.type, record.wave or WAVE)
        return verbs[-1] if record.attempts else verbs[0]

    def _left_out(self, place: Place) -> VmRecord | None:
        """Its turn has come; where it is forecast to end in the window's reserve, it is not begun with."""
        verb = place.queue.verb
        if self._window is None or self._halt or self._fits(verb, place.row):
            return None
        seconds = self._expected(verb, place.row)
        text = (
            f"its turn came when it was forecast to take {in_words(seconds)}, past the window's close at "
            f"{rfc3339(self._window.closes)}; nothing was sent"
        )
        return self._ledger.not_reached(place.row.uuid, Reason.WINDOW, text)

    # ── after ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def _verify(self, reader: Reader[Seen]) -> None:
        after = self._plan.verify.after.total_seconds()
        known = self._ledger.records.items()
        due = [uuid for uuid, vm in known if to_verify(vm.outcome) and vm.verified_at is None]
        if not after or not due or self._outage.over or self._ledger.error is not None:
            return
        if self._sent:
            wait = max(0.0, self._last_stop_at + after - self._clock.now())
            self._tell("run.verifying", None, {"vms": len(due), "in_seconds": round(wait, 1)})
            await anyio.sleep(wait)
        unread = await verify_all(
            due, self._id, reader, journal=self._journal, ledger=self._ledger, clock=self._clock, states=self._states,
            rules_of=lambda record: self._legs.rules(record.wave or WAVE, self._done_to(record)),
            host_names=self._host_names,
        )  # fmt: skip
        if unread:
            self._tell("run.verification_failed", None, {"vms": unread})
            self._chronicle.warn(f"verification could not read {counted(unread)}: what was seen before stands")

    async def _host_names(self, uuids: Iterable[str | None]) -> dict[str, str]:
        return {} if self._outage.over else await host_names(self._cloud, uuids)

    async def _finish(self) -> RunReport:
        if self._ledger.error is not None:
            raise self._ledger.error
        cloud = None if self.left or self._outage.over else self._cloud
        excluded = frozenset(vm.uuid for vm in self._chronicle.run.excluded)
        emptied = self._verb is Verb.STOP
        hosts_done = self._changed_hosts
        changed = {} if hosts_done is None else hosts_done.hosts
        hosts, warning = await read_hosts(cloud, self._ledger.records, excluded, emptied=emptied, changed=changed)
        if warning is not None:
            self._chronicle.warn(warning)
        if self._evacuation is not None:
            hosts = with_causes(hosts, lambda uuids: self._journal.vms(self._id, uuids))
        left = self._evacuation is not None and any(host.left_on_host for host in hosts if host.uuid in changed)
        records = self._ledger.records.values()
        assert self.left or all(one.outcome for one in records), "a run that has ended has an outcome for every target"
        status, ended_by, code = ("interrupted", "operator", 130) if self.left else ending(
            records, self._halt.reason,
            hosts_unreached=hosts_done is not None and hosts_done.unreached,
            hosts_succeeded=hosts_done is None or (hosts_done.succeeded and not left),
        )  # fmt: skip
        names = {host.uuid: host.name for host in hosts if host.name is not None}
        destinations = self._destinations.names if self._destinations is not None else {}
        run = self._chronicle.finish(status, ended_by, code, names, destinations)
        await self._journal.finish(run, hosts, self._chronicle.waves(records))
        self._tell("run.finished", None, {"status": status, "exit_code": code})
        return self._journal.report(self._id)
