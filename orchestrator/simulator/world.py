"""The state that all parts of the node share: rows, queues, tasks, and the one place where a VM's state changes."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from orchestrator.simulator.build import build_fleet
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.failures import chain
from orchestrator.simulator.faults import Faults
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.inventory import Inventories
from orchestrator.simulator.jobs import Jobs
from orchestrator.simulator.lanes import Lane
from orchestrator.simulator.record import HostTransition, Move, Record, Transition
from orchestrator.simulator.scenario import Scenario
from orchestrator.simulator.sessions import Sessions
from orchestrator.simulator.wire import Wire

OFF_ITS_HOST = frozenset({"Stopped", "Destroyed"})
"""States whose row names no host."""


class World:
    """Everything there is in one simulated node."""

    def __init__(self, scenario: Scenario, time_scale: float) -> None:
        node, seed = scenario.node, scenario.seed
        self.scenario = scenario
        self.node = node
        self.clock = Clock(time_scale, node.zone, node.clock_skew)
        self.fleet = build_fleet(scenario)
        self.record = Record()
        self.jobs = Jobs(self.clock, node.result_life)
        self.sessions = Sessions(scenario.accounts, node, self.clock, self.record, seed)
        self.faults = Faults(seed)
        for fault in scenario.faults:
            self.faults.add(fault)
        self.rng = random.Random(f"{seed}:node")
        self.wire = Wire(self.clock.zone, node.numbers, node.timestamps, node.language, self.rng)
        self.inventories = Inventories(self.wire, node.extra_fields)
        self.up = asyncio.Event()
        self.when_stopped: Callable[[SimulatedVm], None] = lambda vm: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._agents: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work of the node's own: it dies with the node."""
        return _keep(work, self._tasks)

    def spawn_agent(self, work: Coroutine[Any, Any, None]) -> None:
        """Work on a host, or somebody else's: a restart of the node doesn't touch it."""
        _keep(work, self._agents)

    async def kill_tasks(self, *, agents: bool = False) -> None:
        """End the node's own work, and with `agents` all work; every queue is empty afterwards."""
        doomed = [*self._tasks, *(self._agents if agents else ())]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        for vm in self.fleet.vms.values():
            vm.lane = Lane(1)
        for host in self.fleet.hosts.values():
            host.lane, host.jobs = Lane(self.node.host_slots), Lane(1)

    def set_state(
        self,
        vm: SimulatedVm,
        after: str,
        by: str,
        *,
        job: str | None = None,
        kind: str | None = None,
        forced: bool = False,
        host: SimulatedHost | None = None,
    ) -> None:
        """Write a VM's state and move its `lastOpDate`. Stopped clears the host; `host` puts it on one.

        An unchanged state on an unchanged host is no change of the row; neither is one of a row that is gone. `found_on` is
        forgotten with a host and without one.
        """
        before = vm.state
        if host is not None or after in OFF_ITS_HOST:
            vm.found_on = None
        if vm.gone or (before == after and host in (None, vm.host)):
            return
        vm.state = after
        vm.changed = self.clock.now()
        if host is not None and host is not vm.host:
            if vm.host is not None:
                moment = self.clock.monotonic()
                self.record.moves.append(Move(vm.uuid, moment, vm.changed, vm.host.uuid, host.uuid, by, job))
            vm.last_host = vm.host or vm.last_host
            vm.host = host
            vm.cluster = host.cluster
        if after in OFF_ITS_HOST and vm.host is not None:
            vm.last_host, vm.host = vm.host, None
        if before != after:
            step = Transition(vm.uuid, self.clock.monotonic(), vm.changed, before, after, by, job, type=kind, forced=forced)
            self.record.add_transition(step)
        if after == "Stopped" and before != "Stopped":
            self.when_stopped(vm)

    def set_host_state(self, host: SimulatedHost, after: str, by: str, *, job: str | None = None) -> None:
        """Write a host's state and move its `lastOpDate`; the same state is no change."""
        before = host.state
        if before == after:
            return
        host.state = after
        host.changed = self.clock.now()
        host.changes += 1
        moment = self.clock.monotonic()
        self.record.host_transitions.append(HostTransition(host.uuid, moment, host.changed, before, after, by, job))

    def real_state(self, vm: SimulatedVm) -> str:
        """What the agent would tell: Unknown if it can't be asked."""
        host = vm.truly_on
        if host is None:
            return vm.state
        if host.status != "Connected":
            return "Unknown"
        if not vm.powered:
            return "Stopped"
        return "Paused" if vm.paused else "Running"

    async def correct_later(self, vm: SimulatedVm, *, job: str | None, kind: str | None, forced: bool) -> None:
        """Host sync: after `host_sync`, and when nobody works on the VM, its row follows the truth."""
        while True:
            await self.clock.sleep(self.node.host_sync)
            await self.up.wait()
            if not vm.lane.running and not vm.agents:
                break
        host = vm.truly_on
        if host is not None and host.status == "Connected":
            self.set_state(vm, self.real_state(vm), "agent", job=job, kind=kind, forced=forced, host=vm.found_on)

    def names(self, vm_uuid: str | None, host_uuid: str | None) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
        """Names and UUIDs that a fault's globs may know a VM and a host by; without a host it is the VM's."""
        vm = self.fleet.vms.get(vm_uuid or "")
        host = self.fleet.hosts.get(host_uuid or "") or (vm.host if vm is not None else None)
        return (vm.name if vm else None, vm_uuid), (host.name if host else None, host.uuid if host else host_uuid)

    def vm(self, uuid: str) -> SimulatedVm:
        """The VM; SYS.1003 if there is no such row."""
        vm = self.fleet.vms.get(uuid)
        if vm is None:
            raise chain("SYS.1003", details=f"invalid field[uuid], resource[uuid:{uuid}, type:VmInstanceVO] not found")
        return vm


def _keep(work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(work)
    among.add(task)
    task.add_done_callback(among.discard)
    return task
