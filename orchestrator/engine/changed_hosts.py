"""Hosts whose state a run changes: what was done to each, one change at a time, durable and told."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import anyio

from orchestrator.actions.rules import host_rules
from orchestrator.actions.saved import Saved
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
    """The hosts of one run. `lose` is told that the journal cannot be written."""

    def __init__(self, plan: Plan, hosts: Sequence[HostBefore], lose: Callable[[JournalWriteError], None]) -> None:
        self._plan = plan
        self._evacuate = plan.evacuate or Evacuate()
        self._hosts = {one.row.uuid: Host(one.row, list(one.actions), one.saved) for one in hosts}
        self._lose = lose
        self._limit = anyio.CapacityLimiter(_AT_ONCE)
        self._drives = set[HostDrive]()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Their UUIDs."""
        return tuple(self._hosts)

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

    def wake(self) -> None:
        """Something has changed that is to be looked at."""

    async def _change(
        self,
        means: HostMeans,
        host: Host,
        verb: Verb,
        *,
        begun: bool = False,
        as_good: frozenset[str] = frozenset(),
        check: Callable[[], Awaitable[bool]] | None = None,
    ) -> HostActionRecord | None:
        """Carry it out; None where the journal is lost. `as_good`: see `Rules`; `check` and `begun`: see `HostDrive`.

        Where the check says no, and nothing was done before, the host is not empty.
        """
        outage = self._plan.limits.node_outage.total_seconds()
        rules = host_rules(self._plan.stop, self._evacuate, outage, verb, as_good)
        before = host.record_of(action_of(rules))
        if before is None:
            host.actions.append(HostActionRecord(action=action_of(rules)))
        number = len(host.actions) - 1 if before is None else host.actions.index(before)
        saved, host.saved = host.saved if before is not None else None, None
        carried_on = before if before is not None and before.outcome is None else None
        drive = HostDrive(means, host.row, number, rules, begun=begun, record=carried_on, saved=saved, check=check)
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
        means.every.tell("host.outcome", None, outcome_data(host.row, record))
        return record

    async def _write(self, means: HostMeans, host: Host, number: int, record: HostActionRecord) -> HostActionRecord | None:
        """Something has its outcome without being sent, or another one; None where the journal is lost."""
        host.actions[number] = record
        try:
            await means.every.journal.act(means.every.run_id, host.row.uuid, number, record, None)
        except JournalWriteError as error:
            self._lose(error)
            return None
        means.every.tell("host.outcome", None, outcome_data(host.row, record))
        return record
