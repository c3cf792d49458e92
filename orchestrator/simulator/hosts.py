"""What becomes of hosts: enabled, disabled, emptied for maintenance, lost and back (zstack-rest.md 9)."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.simulator.failures import FailedError, Failure, chain
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.inventory import Json
from orchestrator.simulator.jobs import DroppedError, Job
from orchestrator.simulator.lanes import Lane
from orchestrator.simulator.moves import in_turn, migrate_vm
from orchestrator.simulator.record import Migration
from orchestrator.simulator.stop import stop_vm
from orchestrator.simulator.world import World

STATE_AFTER = {"enable": "Enabled", "disable": "Disabled", "maintain": "Maintenance"}
"""Where an event leads that succeeds."""
IN_MAINTENANCE = frozenset({"PreMaintenance", "Maintenance"})


def disconnect_host(world: World, host: SimulatedHost) -> None:
    """The agent is out of reach: calls under way fail with SYS.1015, its VMs become Unknown."""
    host.status = "Disconnected"
    host.losses += 1
    host.changed = world.clock.now()
    for call in list(host.calls):
        if not call.done():
            call.set_exception(chain("HOST.1011", "SYS.1015", details="unable to reach the agent"))
    for vm in world.fleet.vms.values():
        if vm.host is host and vm.state in {"Running", "Paused"}:
            world.set_state(vm, "Unknown", "other")


async def reconnect_host(world: World, host: SimulatedHost) -> None:
    """Connecting for a while, then Connected, and its VMs' rows follow the truth."""
    host.status = "Connecting"
    await world.clock.sleep(world.node.reconnect.draw(world.rng))
    if host.status != "Connecting":
        return
    host.status = "Connected"
    host.changed = world.clock.now()
    for vm in list(world.fleet.vms.values()):
        if vm.truly_on is host and vm.state in {"Unknown", "Running", "Paused"} and not vm.lane.running:
            world.set_state(vm, world.real_state(vm), "other", host=vm.found_on)


async def in_host_turn(job: Job, host: SimulatedHost, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do it when nothing else is done to the host itself. Raises DroppedError if that took longer than the job's timeout."""
    lane = host.jobs
    if not await lane.enter(job.timeout):
        raise DroppedError
    try:
        await work()
    finally:
        lane.leave()


async def reconnect_by_job(world: World, job: Job, host: SimulatedHost, *, extra: float = 0.0) -> Json:
    """ReconnectHost: ends when the host is Connected. `extra`: simulated seconds."""

    async def reconnect() -> None:
        await world.clock.sleep(extra)
        await reconnect_host(world, host)

    await in_host_turn(job, host, reconnect)
    return {"inventory": world.inventories.host(host)}


async def change_host_state(world: World, job: Job, host: SimulatedHost, event: str, *, extra: float = 0.0) -> Json:
    """enable, disable, maintain: the last one empties the host first. `extra`: simulated seconds."""
    if event not in STATE_AFTER:
        raise chain("SYS.1007", details=f"invalid field[stateEvent]: {event!r}")
    await in_host_turn(job, host, lambda: _change(world, job, host, event, extra))
    return {"inventory": world.inventories.host(host)}


async def _change(world: World, job: Job, host: SimulatedHost, event: str, extra: float) -> None:
    by, after = f"job {job.uuid}", STATE_AFTER[event]
    if host.state == after:
        return
    takes = world.node.host_change.draw(host.rng(world.scenario.seed)) + extra
    if event == "maintain":
        await _maintain(world, job, host, takes)
        return
    await world.clock.sleep(takes)
    left = host.state in IN_MAINTENANCE
    world.set_host_state(host, after, by, job=job.uuid)
    if left:
        host.status = "Connecting"
        world.spawn_agent(reconnect_host(world, host))


async def _maintain(world: World, job: Job, host: SimulatedHost, takes: float) -> None:
    """PreMaintenance until the host is empty, then Maintenance; on failure the state of before.

    The status isn't asked for: only its VMs need the agent. On a Disconnected host they are Unknown and left, and the host
    goes to Maintenance; one that isn't Unknown there can neither migrate nor stop, and that is the failure.
    """
    by, before = f"job {job.uuid}", host.state
    emptying = Emptying(world, job, host, Lane(world.node.migration_quantity))
    world.set_host_state(host, "PreMaintenance", by, job=job.uuid)
    try:
        async with asyncio.timeout(job.timeout):
            await world.clock.sleep(takes)
            await emptying.run()
    except TimeoutError:
        emptying.over = True
        world.set_host_state(host, before, by, job=job.uuid)
        raise chain("HOST.1001", "SYS.1001", details="the host was not empty in time") from None
    if emptying.failures:
        world.set_host_state(host, before, by, job=job.uuid)
        details = f"{len(emptying.failures)} vms could not leave host[uuid:{host.uuid}]"
        raise FailedError(Failure("HOST.1001", details, causes=tuple(emptying.failures)))
    world.set_host_state(host, "Maintenance", by, job=job.uuid)


@dataclass(slots=True)
class Emptying:
    """Gets the VMs off a host: all but Unknown ones migrate, as many at a time as `slots` has, and the rest is stopped.

    `over`: nobody waits for it any more. What has begun then goes on, and nothing else begins.
    """

    world: World
    job: Job
    host: SimulatedHost
    slots: Lane
    over: bool = False
    failures: list[Failure] = field(default_factory=list)
    """Of the VMs that are still there at its end."""
    _tried: set[str] = field(default_factory=set)
    _stayed: dict[str, Failure] = field(default_factory=dict)

    async def run(self) -> None:
        """Until nobody is left, those included who came meanwhile."""
        while (here := self._here()) and not self.failures:
            self._tried.update(vm.uuid for vm in here)
            await self._side_by_side(here, self._migrate)
            if self._stayed and self.world.node.maintenance_policy == "StopVmOnMigrationFailure":
                left = [vm for vm in here if vm.uuid in self._stayed]
                self._stayed.clear()
                await self._side_by_side(left, self._stop)
            self.failures.extend(self._stayed.values())

    def _here(self) -> list[SimulatedVm]:
        vms = self.world.fleet.vms.values()
        return [vm for vm in vms if vm.host is self.host and vm.state != "Unknown" and vm.uuid not in self._tried]

    async def _side_by_side(
        self, vms: Sequence[SimulatedVm], work: Callable[[SimulatedVm], Coroutine[Any, Any, Json]]
    ) -> None:
        tasks = [self.world.spawn(self._try(vm, work)) for vm in vms]
        if tasks:
            await asyncio.wait(tasks)  # who is cancelled here doesn't cancel them
        for task in tasks:
            task.result()

    async def _try(self, vm: SimulatedVm, work: Callable[[SimulatedVm], Coroutine[Any, Any, Json]]) -> None:
        try:
            await work(vm)
        except FailedError as error:
            if vm.host is self.host:
                self._stayed[vm.uuid] = error.failure
        except DroppedError:  # its queue took as long as this job may
            self._stayed[vm.uuid] = chain("SYS.1001").failure

    async def _migrate(self, vm: SimulatedVm) -> Json:
        await self.slots.enter()
        try:
            return await in_turn(self.job, vm, lambda: self._leave(vm))
        finally:
            self.slots.leave()

    async def _leave(self, vm: SimulatedVm) -> Json:
        if self.over or vm.host is not self.host:
            return {}
        world, job = self.world, self.job
        note = Migration(job.uuid, vm.uuid, self.host.uuid, None, world.clock.monotonic())
        world.record.migrations.append(note)
        note.error = "cut off"
        try:
            made = await migrate_vm(world, vm, f"job {job.uuid}", host_uuid=None, job=job, note=note)
            note.error = None
        except FailedError as error:
            note.error = error.failure.code
            raise
        finally:
            note.ended = world.clock.monotonic()
        return made

    async def _stop(self, vm: SimulatedVm) -> Json:
        if self.over or vm.host is not self.host:
            return {}
        return await stop_vm(self.world, self.job, vm, "grace", inhibit=False)
