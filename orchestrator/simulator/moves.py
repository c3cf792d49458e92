"""Start, migrate, reboot, pause, resume: what else the node does to a VM (zstack-rest.md 9)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from orchestrator.simulator.agent import AgentAnswer, ask_agent, must_be_connected, power_off
from orchestrator.simulator.failures import FailedError, chain
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.inventory import Json
from orchestrator.simulator.jobs import DroppedError, Job
from orchestrator.simulator.world import World


def free_hosts(world: World, vm: SimulatedVm) -> list[SimulatedHost]:
    """Connected and Enabled hosts of the VM's cluster besides the one it is on; other clusters' if there is none."""
    fit = [
        host
        for host in world.fleet.hosts.values()
        if host.status == "Connected" and host.state == "Enabled" and host is not vm.host
    ]
    return [host for host in fit if host.cluster is vm.cluster] or fit


async def in_turn(job: Job, vm: SimulatedVm, work: Callable[[], Coroutine[Any, Any, Json]]) -> Json:
    """Do it when the VM's queue comes to it. Raises DroppedError if that took longer than the job's timeout."""
    if not await vm.lane.enter(job.timeout):
        raise DroppedError
    lane = vm.lane
    try:
        if vm.gone:
            raise chain("SYS.1000", details=f"vm[uuid:{vm.uuid}] has been removed from the database")
        return await work()
    finally:
        lane.leave()


async def start_vm(
    world: World, vm: SimulatedVm, by: str, *, host_uuid: str | None = None, job: Job | None = None,
    extra: float = 0.0, avoid: SimulatedHost | None = None,
) -> Json:  # fmt: skip
    """Stopped to Running, on its last host if that is free. A Running VM is left as it is. `extra`: simulated seconds."""
    if vm.state == "Running":
        return {"inventory": world.inventories.vm(vm)}
    if vm.state not in {"Stopped", "Created"}:
        raise chain("VM.1001", "VM.1010", details=f"current vm instance state[{vm.state}] doesn't allow to proceed")
    before = vm.state
    fit = free_hosts(world, vm)
    if host_uuid is not None:
        fit = [host for host in fit if host.uuid == host_uuid]
    elsewhere = [host for host in fit if host is not avoid] or fit
    if not elsewhere:
        raise chain("VM.1001", "SYS.1006", details="no host is fit to start the vm")
    host = next((host for host in elsewhere if host is vm.last_host and avoid is None), elsewhere[0])
    rng = vm.rng(world.scenario.seed)
    vm.inhibited = False

    async def boot() -> AgentAnswer:
        await world.clock.sleep(world.node.start.draw(rng) + extra)
        vm.off.clear()
        return AgentAnswer()

    job_uuid = None if job is None else job.uuid
    world.set_state(vm, "Starting", by, job=job_uuid, host=host)
    await _at(world, vm, host, boot, before=before, by=by, job=job, outer="VM.1001")
    world.set_state(vm, "Running", by, job=job_uuid)
    return {"inventory": world.inventories.vm(vm)}


async def migrate_vm(world: World, vm: SimulatedVm, by: str, *, host_uuid: str | None, job: Job | None = None) -> Json:
    """To another host, the node's choice without `host_uuid`. lastHostUuid is where it came from."""
    if vm.state != "Running" or vm.host is None:
        raise chain("VM.1007", "VM.1010", details=f"current vm instance state[{vm.state}] doesn't allow to proceed")
    fit = [host for host in free_hosts(world, vm) if host_uuid in (None, host.uuid)]
    if not fit:
        raise chain("VM.1007", "SYS.1006", details="no host is fit to take the vm")
    source, target = vm.host, fit[0]
    rng = vm.rng(world.scenario.seed)

    async def move() -> AgentAnswer:
        await world.clock.sleep(world.node.migrate.draw(rng))
        return AgentAnswer()

    job_uuid = None if job is None else job.uuid
    world.set_state(vm, "Migrating", by, job=job_uuid)
    await _at(world, vm, source, move, before="Running", by=by, job=job, outer="VM.1007")
    world.set_state(vm, "Running", by, job=job_uuid, host=target)
    return {"inventory": world.inventories.vm(vm)}


async def pause_vm(world: World, job: Job, vm: SimulatedVm, *, resume: bool) -> Json:
    """Running to Paused, or back."""
    source, between, after = ("Paused", "Resuming", "Running") if resume else ("Running", "Pausing", "Paused")
    if vm.state != source or vm.host is None:
        raise chain("SYS.1006", "VM.1010", details=f"current vm instance state[{vm.state}] doesn't allow to proceed")

    async def turn() -> AgentAnswer:
        await world.clock.sleep(1.0)
        vm.paused = not resume
        return AgentAnswer()

    world.set_state(vm, between, f"job {job.uuid}", job=job.uuid)
    await _at(world, vm, vm.host, turn, before=source, by=f"job {job.uuid}", job=job, outer="SYS.1006")
    world.set_state(vm, after, f"job {job.uuid}", job=job.uuid)
    return {"inventory": world.inventories.vm(vm)}


async def reboot_vm(world: World, job: Job, vm: SimulatedVm) -> Json:
    """Stop with grace and start on the same host, without being Stopped in between."""
    if vm.state != "Running" or vm.host is None:
        raise chain("VM.1003", "VM.1010", details=f"current vm instance state[{vm.state}] doesn't allow to proceed")

    async def cycle() -> AgentAnswer:
        answer = await power_off(world, vm, "grace")
        await world.clock.sleep(world.node.start.draw(vm.rng(world.scenario.seed)))
        vm.off.clear()
        return answer

    world.set_state(vm, "Rebooting", f"job {job.uuid}", job=job.uuid)
    await _at(world, vm, vm.host, cycle, before="Running", by=f"job {job.uuid}", job=job, outer="VM.1003")
    world.set_state(vm, "Running", f"job {job.uuid}", job=job.uuid)
    return {"inventory": world.inventories.vm(vm)}


async def _at(
    world: World, vm: SimulatedVm, host: SimulatedHost, work: Callable[[], Coroutine[Any, Any, AgentAnswer]],
    *, before: str, by: str, job: Job | None, outer: str,
) -> None:  # fmt: skip
    """One agent call in a host slot. What fails puts the state back to `before`."""
    lane = host.lane
    try:
        async with asyncio.timeout(None if job is None else job.timeout):
            await lane.enter()
            try:
                must_be_connected(host, outer)
                answer = await ask_agent(world, host, vm, work, job=None if job is None else job.uuid)
            finally:
                lane.leave()
        if answer.failed:
            raise chain(outer, "HOST.1006")
    except TimeoutError:
        world.set_state(vm, before, by)
        raise chain(outer, "SYS.1001", details="the message to the host service timed out") from None
    except FailedError:
        world.set_state(vm, before, by)
        raise
