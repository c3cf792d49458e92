"""Start, migrate, reboot, pause, resume: what else the node does to a VM (zstack-rest.md 9)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.simulator.agent import AgentAnswer, ask_agent, must_be_connected, power_off
from orchestrator.simulator.failures import FailedError, chain
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.inventory import Json
from orchestrator.simulator.jobs import DroppedError, Job
from orchestrator.simulator.record import Migration
from orchestrator.simulator.world import World


def free_hosts(world: World, vm: SimulatedVm) -> list[SimulatedHost]:
    """Hosts that a Stopped VM may start on: those of its cluster, other clusters' if there is none.

    They are Connected and Enabled. A pinned VM starts where it was, or nowhere.
    """
    fit = _open_hosts(world, vm)
    if vm.pinned:
        return [host for host in fit if host is vm.last_host]
    return [host for host in fit if host.cluster is vm.cluster] or fit


def migration_targets(world: World, vm: SimulatedVm) -> list[SimulatedHost]:
    """Hosts that a VM may migrate to: Connected and Enabled, of its cluster, never its own; none for a pinned VM.

    Other clusters' if its own has none and the node migrates across clusters, which takes shared storage and networks.
    """
    if vm.pinned:
        return []
    fit = _open_hosts(world, vm)
    inside = [host for host in fit if host.cluster is vm.cluster]
    return inside or (fit if world.node.migrate_across_clusters else [])


def _open_hosts(world: World, vm: SimulatedVm) -> list[SimulatedHost]:
    return [
        host
        for host in world.fleet.hosts.values()
        if host.status == "Connected" and host.state == "Enabled" and host is not vm.host
    ]


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
    await _at(world, vm, [host], boot, before=before, by=by, job=job, outer="VM.1001")
    world.set_state(vm, "Running", by, job=job_uuid)
    return {"inventory": world.inventories.vm(vm)}


async def migrate_vm(
    world: World, vm: SimulatedVm, by: str, *, host_uuid: str | None, job: Job | None = None, extra: float = 0.0,
    note: Migration | None = None,
) -> Json:  # fmt: skip
    """To another host, the node's choice without `host_uuid`. lastHostUuid is where it came from.

    While it works it has a slot of both hosts. `extra`: simulated seconds. What it finds out goes into `note`.
    """
    if vm.state != "Running" or vm.host is None:
        raise chain("VM.1007", "VM.1010", details=f"current vm instance state[{vm.state}] doesn't allow to proceed")
    fit = [host for host in migration_targets(world, vm) if host_uuid in (None, host.uuid)]
    if not fit:
        raise chain("VM.1007", "SYS.1006", details="no host is fit to take the vm")
    if vm.guest.migration == "refused":
        raise chain("VM.1007", "SYS.1006", details="an extension refuses to migrate the vm")
    source, target = vm.host, _least_crowded(world, fit)
    if note is not None:
        note.source, note.target, note.started = source.uuid, target.uuid, world.clock.monotonic()
    job_uuid = None if job is None else job.uuid
    world.set_state(vm, "Migrating", by, job=job_uuid)
    if vm.guest.migration == "hangs":
        await _hang(vm, [source, target])
    late = vm.guest.migration == "late_success"
    await _at(
        world, vm, [source, target], lambda: _move(world, vm, source, target, extra), before=None, by=by, job=job,
        outer="VM.1007", codes=vm.guest.migration_chain, patience=vm.guest.migration_fails_after if late else None,
    )  # fmt: skip
    world.set_state(vm, "Paused" if vm.paused else "Running", by, job=job_uuid, host=target)
    return {"inventory": world.inventories.vm(vm)}


def _least_crowded(world: World, hosts: Sequence[SimulatedHost]) -> SimulatedHost:
    """The one with the fewest VMs, as the VMs' allocator strategy says."""
    crowd = Counter(vm.host_uuid for vm in world.fleet.vms.values()) if len(hosts) > 1 else Counter[str | None]()
    return min(hosts, key=lambda host: crowd[host.uuid])


async def _move(world: World, vm: SimulatedVm, source: SimulatedHost, target: SimulatedHost, extra: float) -> AgentAnswer:
    """What the agents do: at its end the guest is at the target, whether the node still waits for it or not."""
    guest, losses = vm.guest, source.losses + target.losses
    if vm.moving or vm.truly_on is not source:
        return AgentAnswer(failed=True)
    vm.moving = True
    try:
        match guest.migration:
            case "fails_halfway":
                await world.clock.sleep(guest.migration_fails_after + extra)
                return AgentAnswer(failed=True)
            case "late_success":
                await world.clock.sleep(guest.migration_fails_after + guest.migration_late_after + extra)
            case _:
                await world.clock.sleep(world.node.migrate.draw(vm.rng(world.scenario.seed)) + extra)
    finally:
        vm.moving = False
    # Somebody powered it off or took it elsewhere meanwhile, or the connection between the hosts was lost.
    if not vm.powered or vm.host is not source or losses != source.losses + target.losses:
        return AgentAnswer(failed=True)
    vm.found_on = target
    return AgentAnswer()


async def _hang(vm: SimulatedVm, hosts: Sequence[SimulatedHost]) -> None:
    """The VM's queue stays taken, and slots of both hosts if the scenario says so; nothing ever comes of it."""
    async with _slots(hosts if vm.guest.holds_slot else ()):
        await asyncio.get_running_loop().create_future()


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
    await _at(world, vm, [vm.host], turn, before=source, by=f"job {job.uuid}", job=job, outer="SYS.1006")
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
    await _at(world, vm, [vm.host], cycle, before="Running", by=f"job {job.uuid}", job=job, outer="VM.1003")
    world.set_state(vm, "Running", f"job {job.uuid}", job=job.uuid)
    return {"inventory": world.inventories.vm(vm)}


@asynccontextmanager
async def _slots(hosts: Sequence[SimulatedHost]) -> AsyncIterator[None]:
    """A slot of each host. All tasks take them in one order, so that no two wait for each other."""
    lanes = [host.lane for host in sorted(hosts, key=lambda host: host.uuid)]
    held = []
    try:
        for lane in lanes:
            await lane.enter()
            held.append(lane)
        yield
    finally:
        for lane in held:
            lane.leave()


async def _at(
    world: World, vm: SimulatedVm, hosts: Sequence[SimulatedHost], work: Callable[[], Coroutine[Any, Any, AgentAnswer]],
    *, before: str | None, by: str, job: Job | None, outer: str, codes: Sequence[str] = (), patience: float | None = None,
) -> None:  # fmt: skip
    """One agent call in a slot of every host. What fails puts the state back to `before`; None asks the first host for it.

    `codes` is what a failure by the agent's word ends with. `patience`: simulated seconds that the call may take.
    """
    between = vm.state
    try:
        async with asyncio.timeout(None if job is None else job.timeout), _slots(hosts):
            for host in hosts:
                must_be_connected(host, outer)
            async with asyncio.timeout(None if patience is None else world.clock.real(patience)):
                answer = await ask_agent(world, hosts, vm, work, outer=outer, job=None if job is None else job.uuid)
        if answer.failed:
            raise chain(*(codes or (outer, "HOST.1006")))
    except (TimeoutError, FailedError) as error:
        if vm.state == between:  # nobody else has changed it meanwhile
            asked = "Running" if hosts[0].status == "Connecting" else world.real_state(vm)
            world.set_state(vm, before or asked, by)
        if isinstance(error, FailedError):
            raise
        raise chain(outer, "SYS.1001", details="the message to the host service timed out") from None
