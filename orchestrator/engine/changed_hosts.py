"""Hosts whose state a run changes: what was done to each, one change at a time, durable and told."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio

from orchestrator.actions.rules import host_rules
from orchestrator.actions.saved import Saved
from orchestrator.engine.halt import Halt
from orchestrator.engine.host_drive import HostDrive, HostMeans, action_of, outcome_data
from orchestrator.engine.records import HostBefore
from orchestrator.journal.interface import JournalWriteError
from orchestrator.model.outcome import HOST_GOOD, HostOutcome
from orchestrator.model.report import HostAction, HostActionRecord
from orchestrator.model.states import Verb
from orchestrator.model.target import HostRow, Seen
from orchestrator.plan.model import Evacuate, Plan

_AT_ONCE = 10
"""Hosts whose state is changed side by side."""


@dataclass(slots=True)
class Host:
    """One host of a run. `row`: as it was found."""

    row: HostRow
    actions: list[HostActionRecord]
    saved: Saved | None
    shut: bool = False
    """It could not be disabled: nothing is done to what is on it."""
    looked: bool = False
    """Nothing new was found on it since its last VM had an outcome."""
    left: list[Seen] | None = None
    """What was on it when it was looked at last; None where that could not be read."""
    busy: bool = False
    """Its maintenance is under way, or waits for that of others."""
    refused: int = 0
    """How often it was not empty any more when that was to be sent."""

    def record_of(self, action: HostAction) -> HostActionRecord | None:
        """What was done of that kind; None for nothing yet."""
        return next((record for record in self.actions if record.action == action), None)


class ChangedHosts:
    """The hosts of one run; while it is `paused` none has its turn. `lose` is told that the journal cannot be written."""

    def __init__(
        self,
        plan: Plan,
        hosts: Sequence[HostBefore],
        *,
        lose: Callable[[JournalWriteError], None],
        paused: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._evacuate = plan.evacuate or Evacuate()
        self._hosts = {one.row.uuid: Host(one.row, list(one.actions), one.saved) for one in hosts}
        self._lose = lose
        self._paused = paused
        self._news = anyio.Event()
        self._limit = anyio.CapacityLimiter(_AT_ONCE)
        self._drives = set[HostDrive]()

    @property
    def hosts(self) -> dict[str, str | None]:
        """Their names by UUID, as they were found."""
        return {uuid: host.row.name for uuid, host in self._hosts.items()}

    @property
    def so_far(self) -> dict[str, dict[HostAction, HostOutcome | None]]:
        """What is done to each, in the order of its beginning, and what became of that; hosts without any are left out."""
        hosts = ((uuid, {record.action: record.outcome for record in host.actions}) for uuid, host in self._hosts.items())
        return {uuid: actions for uuid, actions in hosts if actions}

    @property
    def succeeded(self) -> bool:
        """Has each host come to where it should be?"""
        return all(record.outcome in HOST_GOOD for host in self._hosts.values() for record in host.actions)

    @property
    def jobs_at_node(self) -> int:
        """Changes under way that go on whatever we do."""
        return sum(drive.at_node for drive in self._drives)

    @property
    def unreached(self) -> bool:
        """Is there a host whose turn never came?"""
        records = (record for host in self._hosts.values() for record in host.actions)
        return any(record.outcome is HostOutcome.NOT_REACHED for record in records)

    @property
    def under_way(self) -> int:
        """Changes that have begun and have no outcome yet."""
        return len(self._drives)

    def wake(self) -> None:
        """Something has changed that is to be looked at: a pause, the window, what may be sent."""
        news, self._news = self._news, anyio.Event()
        news.set()

    @asynccontextmanager
    async def _turn(self, halt: Halt, *, begun: bool, carried_on: bool) -> AsyncIterator[None]:
        """One of the places for changes side by side. While the run is paused nothing begins that could begin at all."""

        def held() -> bool:
            over = halt or halt.ended or (halt.closed and not begun)
            return self._paused() and not (carried_on or over)

        while True:
            while held():
                await self._news.wait()
            async with self._limit:
                if not held():
                    yield
                    return

    async def _change(
        self,
        means: HostMeans,
        host: Host,
        verb: Verb,
        *,
        begun: bool = False,
        as_good: frozenset[str] = frozenset(),
        check: Callable[[], Awaitable[bool]] | None = None,
        unended: Collection[HostOutcome] = (),
    ) -> HostActionRecord | None:
        """Carry it out in its turn; None where the journal is lost. `as_good`: see `Rules`; `check`, `begun`: `HostDrive`.

        Where the check says no, and nothing was done before, the host is not empty. `unended`: outcomes that are no last
        word: they are neither written nor told here.
        """
        outage = self._plan.limits.node_outage.total_seconds()
        rules = host_rules(self._plan.stop, self._evacuate, outage, verb, as_good)
        before, halt = host.record_of(action_of(rules)), means.every.halt
        saved, host.saved = host.saved if before is not None else None, None
        async with self._turn(halt, begun=begun, carried_on=saved is not None):
            if saved is None and (halt.at_end is not None or (halt.ended and self._paused())):
                while_paused = " while the run was paused" if self._paused() else ""
                words = f"the window had ended{while_paused}; nothing was sent"
                return await self._not_reached(means, host, action_of(rules), words)
            if before is None:
                host.actions.append(HostActionRecord(action=action_of(rules)))
            number = len(host.actions) - 1 if before is None else host.actions.index(before)
            carried_on = before if before is not None and before.outcome is None else None
            drive = HostDrive(
                means, host.row, number, rules, begun=begun, record=carried_on, saved=saved, check=check, unended=unended
            )
            self._drives.add(drive)
            try:
                record = await drive.run()
            except JournalWriteError as error:
                self._lose(error)
                return None
            finally:
                self._drives.discard(drive)
        if drive.refused and record.outcome in {HostOutcome.NOT_REACHED, HostOutcome.FAILED}:
            words = "not sent any more: it was not empty, or what is on it could not be read"
            return await self._write(means, host, number, replace(record, outcome=HostOutcome.NOT_EMPTY, evidence=words))
        host.actions[number] = record
        if record.outcome not in unended:
            self._tell(means, host, record)
        return record

    async def _not_reached(self, means: HostMeans, host: Host, action: HostAction, words: str) -> HostActionRecord | None:
        """Its turn never came; None where the journal is lost."""
        now, before = means.every.clock.wall(), host.record_of(action)
        record = HostActionRecord(action=action, outcome=HostOutcome.NOT_REACHED, evidence=words, finished_at=now)
        if before is None:
            host.actions.append(record)
        return await self._write(means, host, host.actions.index(before or record), record)

    async def _write(self, means: HostMeans, host: Host, number: int, record: HostActionRecord) -> HostActionRecord | None:
        """Something has its outcome without being sent, or another one; None where the journal is lost."""
        host.actions[number] = record
        try:
            await means.every.journal.act(means.every.run_id, host.row.uuid, number, record, None)
        except JournalWriteError as error:
            self._lose(error)
            return None
        self._tell(means, host, record)
        return record

    @staticmethod
    def _tell(means: HostMeans, host: Host, record: HostActionRecord) -> None:
        means.every.tell("host.outcome", None, outcome_data(host.row, record))
