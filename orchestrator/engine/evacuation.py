"""Hosts that are emptied: disabled first, looked at until nothing is left on them, and then put into maintenance.

A host goes into maintenance only when a read has just shown that it is empty, for the node's own way of emptying it
follows rules of its own (zstack-rest.md 9). One that is not empty stays disabled until the run's last words, when it is
read once more: what failed may have stopped late.
"""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

import anyio

from orchestrator.clouds.interface import QueryRefusedError
from orchestrator.engine.changed_hosts import ChangedHosts, Host
from orchestrator.engine.host_drive import HostMeans
from orchestrator.engine.outage import NodeGoneError
from orchestrator.engine.records import HostBefore
from orchestrator.journal.interface import JournalWriteError
from orchestrator.model.counts import are, counted, first_few
from orchestrator.model.event import Event
from orchestrator.model.outcome import HOST_GOOD, HostOutcome
from orchestrator.model.report import HostActionRecord
from orchestrator.model.safe import one_line
from orchestrator.model.states import Verb
from orchestrator.model.target import Seen
from orchestrator.plan.model import Plan

_MOST_REFUSED = 5
"""How often a host that was seen to be empty is found not to be, right before its call leaves."""
_AS_GOOD = frozenset({"Maintenance"})
"""The node places nothing on a host in maintenance either; to disable it would be to take it out of that."""
_CLOSED = {
    "disable": frozenset({"Disabled", "PreMaintenance", "Maintenance"}),
    "maintain": frozenset({"PreMaintenance", "Maintenance"}),
}
"""States in which a host is still as it was made."""


class Evacuation(ChangedHosts):
    """The hosts of one run. A listener of its events: it counts the VMs on each host that have no outcome yet.

    `join` makes targets of VMs that have turned up, and says which of them have their turn; `shut` ends what waits on a
    host; `lose` is told that the journal cannot be written.
    """

    def __init__(
        self,
        plan: Plan,
        hosts: Sequence[HostBefore],
        *,
        join: Callable[[Sequence[Seen]], Awaitable[None]],
        shut: Callable[[str], Awaitable[None]],
        lose: Callable[[JournalWriteError], None],
        known: Callable[[str], bool],
        paused: Callable[[], bool],
    ) -> None:
        super().__init__(plan, hosts, lose=lose, paused=paused)
        self._join = join
        self._shut = shut
        self._known = known
        self._open: dict[str, str] = {}
        self._on = Counter[str]()

    def waits(self, uuid: str, host: str | None) -> None:
        """A VM on this host has no outcome yet."""
        if host is not None and host in self._hosts and uuid not in self._open:
            self._open[uuid] = host
            self._on[host] += 1
            self._hosts[host].looked = False

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.kind == "vm.outcome" and event.vm_uuid is not None and (host := self._open.pop(event.vm_uuid, None)):
            self._on[host] -= 1
            self._hosts[host].looked = False
            self.wake()

    # ── before the VMs ─────────────────────────────────────────────────────────────────────────────────────────────
    async def disable(self, means: HostMeans) -> None:
        """Every host, so that nothing is placed on any of them; and then whatever is on them by now is a target too."""
        if self._evacuate.hosts != "leave":
            async with anyio.create_task_group() as tasks:
                for host in self._hosts.values():
                    tasks.start_soon(self._disable_one, means, host)
        if means.every.halt:
            return  # which decides what becomes of the VMs
        for host in self._hosts.values():
            if host.shut:
                await self._shut(host.row.uuid)
        with contextlib.suppress(NodeGoneError):
            await self._look(means, [host for host in self._hosts.values() if not host.shut])

    async def _disable_one(self, means: HostMeans, host: Host) -> None:
        record = host.record_of("disable")
        if record is None or record.outcome is None:
            record = await self._change(means, host, Verb.DISABLE, as_good=_AS_GOOD)
        host.shut = record is None or record.outcome not in HOST_GOOD

    # ── with the VMs ───────────────────────────────────────────────────────────────────────────────────────────────
    async def work(self, means: HostMeans) -> None:
        """Until nothing is left to be done to any VM: hosts whose VMs all have an outcome are looked at, and what has turned
        up there becomes a target; what is empty goes into maintenance.
        """
        for host in self._hosts.values():
            host.looked = False
        async with anyio.create_task_group() as tasks:
            for host in self._hosts.values():
                if (record := host.record_of("maintain")) is not None and record.outcome is None:
                    host.busy = True
                    tasks.start_soon(self._in_turn, self._send_maintain, means, host)
            while not means.every.halt:
                news = self._news
                due = [one for uuid, one in self._hosts.items() if not (one.shut or one.looked or self._on[uuid])]
                # Nothing more is started: no host's maintenance either. A pause does not hold the window open.
                if due and self._paused() and not means.every.halt.ended:
                    await news.wait()
                elif due:
                    try:
                        await self._look(means, due)
                    except NodeGoneError:
                        return
                    for host in due:
                        if host.looked and host.left == [] and not host.busy:
                            host.busy = True
                            tasks.start_soon(self._in_turn, self._maintain, means, host)
                elif not self._open and not any(host.busy for host in self._hosts.values()):
                    return  # not before: a host that waits for others may be needed again
                else:
                    await news.wait()

    async def _look(self, means: HostMeans, hosts: Collection[Host]) -> None:
        """What is on these hosts now: those that nobody knew become targets. Raises NodeGoneError."""
        uuids = [host.row.uuid for host in hosts]
        try:
            found = await means.every.outage.call(lambda: means.every.cloud.running_on(uuids))
        except QueryRefusedError:
            for host in hosts:
                host.looked, host.left = True, None
            return
        fresh = [seen for uuid in uuids for seen in found.get(uuid, []) if not self._known(seen.row.uuid)]
        for host in hosts:
            host.left, host.looked = list(found.get(host.row.uuid, [])), True
        if fresh:
            try:
                await self._join(fresh)  # which marks their hosts as not looked at
            except JournalWriteError as error:
                self._lose(error)

    async def _in_turn(self, do: Callable[[HostMeans, Host], Awaitable[None]], means: HostMeans, host: Host) -> None:
        """Once at a time for each host, whatever is seen of it meanwhile."""
        try:
            await do(means, host)
        finally:
            host.busy = False
            self.wake()

    async def _maintain(self, means: HostMeans, host: Host) -> None:
        """It has just been seen to be empty, and is looked at once more before the call leaves."""
        await self._note_empty(means, host, HostOutcome.DONE, "nothing is left on it")
        record = host.record_of("maintain")
        if self._evacuate.hosts != "maintain" or (record is not None and record.outcome is not HostOutcome.NOT_EMPTY):
            return
        await self._send_maintain(means, host)

    async def _send_maintain(self, means: HostMeans, host: Host) -> None:
        """Now, or what an earlier process has begun with: sent, and sent again, only while the host is empty."""
        check = partial(self._is_empty, means, host)
        record = await self._change(means, host, Verb.MAINTAIN, begun=True, check=check)
        if record is not None and record.outcome is HostOutcome.NOT_EMPTY:
            host.refused += 1
            if host.refused < _MOST_REFUSED:  # else the run's last words are soon enough
                host.looked = False

    async def _is_empty(self, means: HostMeans, host: Host) -> bool:
        """By a whole answer of now. Raises NodeGoneError."""
        await self._reread(means, [host])
        return host.left == []

    # ── after the VMs ──────────────────────────────────────────────────────────────────────────────────────────────
    async def finish(self, means: HostMeans) -> None:
        """The last words on each host: what is empty by now goes into maintenance, what is not is named with what is left
        there, and what somebody has enabled meanwhile has come back.
        """
        open_ones = [host for host in self._hosts.values() if not host.shut and self._is_open(host)]
        if not means.every.halt:
            with contextlib.suppress(NodeGoneError):  # the halt says so
                await self._reread(means, open_ones)
        async with anyio.create_task_group() as tasks:
            for host in open_ones:
                tasks.start_soon(self._conclude_one, means, host)
        await self._verify(means)

    @staticmethod
    def _is_open(host: Host) -> bool:
        record = host.record_of("maintain")
        return record is None or record.outcome is HostOutcome.NOT_EMPTY

    async def _reread(self, means: HostMeans, hosts: Sequence[Host]) -> None:
        uuids = [host.row.uuid for host in hosts]
        if not uuids:
            return
        try:
            found = await means.every.outage.call(lambda: means.every.cloud.running_on(uuids))
        except QueryRefusedError:
            for host in hosts:
                host.looked, host.left = False, None
            return
        for host in hosts:
            host.left, host.looked = list(found.get(host.row.uuid, [])), True

    async def _conclude_one(self, means: HostMeans, host: Host) -> None:
        halt = means.every.halt
        if halt.reason is not None:
            words = f"nothing more was sent ({halt.reason})"
            empty = host.record_of("empty")
            if empty is None or empty.outcome is not HostOutcome.DONE:
                await self._note_empty(means, host, HostOutcome.NOT_REACHED, words)
            elif self._evacuate.hosts == "maintain":
                await self._not_reached(means, host, "maintain", words)
        elif host.left is None or not host.looked:
            words = "what is on it could not be read; it is left as it is"
            await self._note_empty(means, host, HostOutcome.UNKNOWN, words)
        elif host.left:
            names = [f"{one_line(vm.row.name or vm.row.uuid, 60)} ({one_line(str(vm.row.state), 30)})" for vm in host.left]
            words = f"{counted(len(names))} {are(len(names))} left on it: {first_few(names)}"
            await self._note_empty(means, host, HostOutcome.NOT_EMPTY, words)
        else:
            await self._maintain(means, host)

    async def _note_empty(self, means: HostMeans, host: Host, outcome: HostOutcome, words: str) -> None:
        """Is nothing left on it? The last word stands; the same one is not said again."""
        before, now = host.record_of("empty"), means.every.clock.wall()
        if before is not None and (before.outcome, before.evidence) == (outcome, words):
            return
        began = before.started_at if before is not None else host.actions[0].finished_at if host.actions else now
        record = HostActionRecord(action="empty", outcome=outcome, evidence=words, started_at=began, finished_at=now)
        if before is None:
            host.actions.append(record)
        await self._write(means, host, host.actions.index(before or record), record)

    async def _verify(self, means: HostMeans) -> None:
        """A host that this run has closed, and that is open again, has come back."""
        done = {
            host.row.uuid: (host, number)
            for host in self._hosts.values()
            for number, record in enumerate(host.actions)
            if record.action != "empty" and record.outcome in {HostOutcome.DONE, HostOutcome.ALREADY}
        }  # of each host what was done to it last
        if not done or means.every.outage.over:
            return
        try:
            states = await means.every.outage.call(lambda: means.every.cloud.host_states(list(done)))
        except (NodeGoneError, QueryRefusedError):
            return
        for uuid, (host, number) in done.items():
            word, record = states.get(uuid), host.actions[number]
            if word is not None and word not in _CLOSED[record.action]:
                was = "it was as it should be" if record.state is None else f"it was {record.state}"
                words = f"{was}; at the end of the run its state reads {one_line(word, 60)}: somebody has changed it since"
                changed = replace(record, outcome=HostOutcome.CAME_BACK, evidence=words, state=word)
                await self._write(means, host, number, changed)
