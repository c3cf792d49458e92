"""A stop as the management node carries it out (zstack-rest.md 4.1 and 4.2)."""

import asyncio

from orchestrator.simulator.agent import AgentAnswer, ask_agent, must_be_connected, power_off
from orchestrator.simulator.failures import FailedError, chain
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.inventory import Json
from orchestrator.simulator.jobs import DroppedError, Job
from orchestrator.simulator.world import World

STOPPABLE = frozenset({"Running", "Paused", "Unknown", "Crashed", "NoState"})


async def stop_vm(world: World, job: Job, vm: SimulatedVm, kind: str, *, inhibit: bool) -> Json:
    """Queue behind what else is done to the VM, then stop it. `inhibit`: HA shall leave it down (4.4).

    Raises DroppedError if the queue took longer than the job's timeout: nobody is told.
    """
    if not await vm.lane.enter(job.timeout):
        raise DroppedError
    lane = vm.lane
    try:
        return await _stop(world, job, vm, kind, inhibit=inhibit)
    finally:
        lane.leave()


async def _stop(world: World, job: Job, vm: SimulatedVm, kind: str, *, inhibit: bool) -> Json:
    if vm.gone:
        raise chain("SYS.1000", details=f"vm[uuid:{vm.uuid}] has been removed from the database")
    if vm.state == "Stopped":
        return {"inventory": world.inventories.vm(vm)}
    if vm.state not in STOPPABLE:
        allowed = ", ".join(sorted(STOPPABLE))
        raise chain(
            "VM.1002",
            "VM.1010",
            details=f"current vm instance state[{vm.state}] doesn't allow to proceed; allowed are [{allowed}]",
        )
    if vm.guest.behaviour == "plugin_refuses":
        raise chain("VM.1002", "SYS.1006", details="an extension refuses to stop the vm")
    original, by = vm.state, f"job {job.uuid}"
    if vm.guest.behaviour == "hangs":
        await _hang(world, job, vm)
    # The state changes before a host slot is free, and hostUuid stays until the end.
    world.set_state(vm, "Stopping", by, job=job.uuid, kind=kind)
    try:
        answer = await _on_host(world, job, vm, kind, inhibit=inhibit)
    except FailedError:
        _give_back(world, job, vm, original, kind)
        raise
    if answer.failed:
        vm.inhibited = False
        truth = "Unknown" if answer.lost else world.real_state(vm)
        if vm.state == "Stopping":
            world.set_state(vm, truth, by, job=job.uuid, kind=kind)
        codes = vm.guest.chain if not answer.lost else ("VM.1002", "HOST.1006")
        raise chain(*codes, details=f"failed to stop vm[uuid:{vm.uuid}] on its host")
    if vm.gone:
        raise chain("SYS.1000", details=f"vm[uuid:{vm.uuid}] has been removed from the database")
    if vm.state != "Destroyed":
        world.set_state(vm, "Stopped", by, job=job.uuid, kind=kind, forced=answer.forced)
    return {"inventory": world.inventories.vm(vm)}


def _give_back(world: World, job: Job, vm: SimulatedVm, original: str, kind: str) -> None:
    """The original state is written back, though the guest may be off already (4.2)."""
    vm.inhibited = False
    if vm.state == "Stopping":
        world.set_state(vm, original, f"job {job.uuid}", job=job.uuid, kind=kind)


async def _on_host(world: World, job: Job, vm: SimulatedVm, kind: str, *, inhibit: bool) -> AgentAnswer:
    """Wait for a host slot and for the agent, together no longer than the full timeout anew; SYS.1001 after that."""
    host = vm.host
    if host is None:
        return AgentAnswer()
    try:
        async with asyncio.timeout(job.timeout):
            return await _in_slot(world, job, vm, host, kind, inhibit=inhibit)
    except TimeoutError:
        raise chain("VM.1002", "SYS.1001", details="the message to the host service timed out") from None


async def _in_slot(world: World, job: Job, vm: SimulatedVm, host: SimulatedHost, kind: str, *, inhibit: bool) -> AgentAnswer:
    lane = host.lane
    await lane.enter()
    try:
        must_be_connected(host, "VM.1002")
        vm.inhibited = vm.inhibited or inhibit
        late = vm.guest.behaviour == "late_success" and vm.powered
        async with asyncio.timeout(world.clock.real(vm.guest.fails_after) if late else None):
            return await ask_agent(
                world, [host], vm, lambda: power_off(world, vm, kind), outer="VM.1002", job=job.uuid, kind=kind
            )
    finally:
        lane.leave()


async def _hang(world: World, job: Job, vm: SimulatedVm) -> None:
    """The VM's queue stays taken, and its host slot too if the scenario says so; nothing ever comes of it."""
    if vm.guest.hang_state == "Stopping":
        world.set_state(vm, "Stopping", f"job {job.uuid}", job=job.uuid)
    if vm.guest.holds_slot and vm.host is not None:
        await vm.host.lane.enter()
    await asyncio.get_running_loop().create_future()
