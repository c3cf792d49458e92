"""Hosts that an earlier run has closed, and a restore opens again before it starts the VMs that were on them.

What was Enabled is enabled; what was Disabled before that run put it into maintenance is taken out of that and stays
Disabled. Either makes the node connect to the host anew (zstack-rest.md 9), which is waited for.
"""

from dataclasses import replace

import anyio

from orchestrator.engine.changed_hosts import ChangedHosts, Host
from orchestrator.engine.host_drive import HostMeans
from orchestrator.engine.outage import NodeGoneError
from orchestrator.engine.read import UnreadableError
from orchestrator.model.outcome import HostOutcome
from orchestrator.model.safe import one_line
from orchestrator.model.states import Verb

_LOOK_SECONDS = 2.0
_OPEN = frozenset({HostOutcome.DONE, HostOutcome.ALREADY})
"""Open, by us or already; it is the last word on the host only when it is connected."""


class Reopening(ChangedHosts):
    """Each host comes with the one thing to be done to it, or with what is said of it instead."""

    async def open(self, means: HostMeans, scale: float) -> None:
        """All of them, until each is Connected, or its time is over. `scale` compresses our own pace."""
        async with anyio.create_task_group() as tasks:
            for host in self._hosts.values():
                if host.actions and host.actions[0].outcome in {None, *_OPEN}:
                    tasks.start_soon(self._open_one, means, host, scale)

    async def _open_one(self, means: HostMeans, host: Host, scale: float) -> None:
        record = host.actions[0]
        if record.outcome is None:
            record = await self._change(means, host, Verb(record.action), unended=_OPEN) or record
        if record.outcome not in _OPEN:
            return
        seconds = self._evacuate.host_timeout.total_seconds()
        status = await self._connected(means, host, seconds, scale)
        record = replace(record, finished_at=means.every.clock.wall())
        if status == "Connected":
            await self._write(means, host, 0, record)
        elif means.every.halt:
            words = f"{record.evidence}; the run ended before it was seen to be Connected"
            await self._write(means, host, 0, replace(record, outcome=HostOutcome.UNKNOWN, evidence=words))
        else:
            words = f"{record.evidence}; {seconds:.0f} s later its status still reads {one_line(str(status), 60)}"
            await self._write(means, host, 0, replace(record, outcome=HostOutcome.FAILED, evidence=words))

    async def _connected(self, means: HostMeans, host: Host, seconds: float, scale: float) -> str | None:
        """The status it has when that is Connected, or when its time is over; None where it could not be read."""
        until, status = means.every.clock.now() + seconds, None
        while not means.every.halt:
            try:
                row = await means.reader.read(host.row.uuid)
                status = row.status if row is not None else None
            except UnreadableError:
                status = None
            except NodeGoneError:
                return None
            if status == "Connected" or means.every.clock.now() >= until:
                return status
            changes = means.every.halt.changes
            with anyio.move_on_after(_LOOK_SECONDS * scale):
                await means.every.halt.changed(changes)
        return status
