"""Who else changes things: HA, other people, hosts that come and go (zstack-rest.md 4.4 and 9)."""

from typing import Literal, get_args

from orchestrator.simulator.failures import FailedError, chain
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.inventory import Json
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.moves import in_turn, migrate_vm, migration_targets, start_vm
from orchestrator.simulator.stop import STOPPABLE
from orchestrator.simulator.world import World

Act = Literal["stop", "start", "destroy", "migrate", "crash", "pause", "resume", "expunge"]


def watch_stopped(world: World, vm: SimulatedVm) -> None:
    """HA's event handler: a NeverStop VM that became Stopped is started again unless it is inhibited."""
    if vm.ha_level == "NeverStop" and not vm.inhibited and not vm.gone:
        world.spawn(_bring_back(world, vm))


async def _bring_back(world: World, vm: SimulatedVm) -> None:
    await world.clock.sleep(world.node.ha_delay.draw(vm.rng(world.scenario.seed)))
    await vm.lane.enter()
    lane = vm.lane
    try:
        if vm.state == "Stopped" and not vm.inhibited and not vm.gone:
            await start_vm(world, vm, "ha", avoid=vm.last_host)
    except FailedError:
        pass  # no host to start it on: HA's next scan isn't simulated
    finally:
        lane.leave()


def act(world: World, uuid: str, what: Act, *, host_uuid: str | None = None) -> None:
    """Somebody else does it, now and at once: no queue, no states in between."""
    if what not in get_args(Act):
        raise ValueError(f"nobody can {what!r} a VM; known are {', '.join(get_args(Act))}")
    vm = world.fleet.vms[uuid]
    match what:
        case "stop":
            vm.off.set()
            world.set_state(vm, "Stopped", "other")
        case "start":
            host = world.fleet.hosts[host_uuid] if host_uuid else vm.host or vm.last_host
            vm.off.clear()
            vm.paused = False
            world.set_state(vm, "Running", "other", host=host)
        case "destroy":
            vm.off.set()
            world.set_state(vm, "Destroyed", "other")
        case "expunge":
            vm.off.set()
            world.set_state(vm, "Destroyed", "other")
            vm.gone = True
            del world.fleet.vms[uuid]
        case "migrate":
            fit = migration_targets(world, vm)
            host = world.fleet.hosts[host_uuid] if host_uuid else (fit[0] if fit else vm.host)
            world.set_state(vm, vm.state, "other", host=host)
        case "crash":
            vm.off.set()
            world.set_state(vm, "Crashed", "other")
        case "pause":
            vm.paused = True
            world.set_state(vm, "Paused", "other")
        case "resume":
            vm.paused = False
            world.set_state(vm, "Running", "other")


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


async def _leave(world: World, job: Job, vm: SimulatedVm) -> None:
    await in_turn(job, vm, lambda: migrate_vm(world, vm, f"job {job.uuid}", host_uuid=None, job=job))


async def change_host_state(world: World, job: Job, host: SimulatedHost, event: str) -> Json:
    """enable, disable, maintain. Maintenance migrates every VM but the Unknown ones, one after the other."""
    if event not in {"enable", "disable", "maintain"}:
        raise chain("SYS.1007", details=f"invalid field[stateEvent]: {event!r}")
    if event != "maintain":
        left = host.state in {"Maintenance", "PreMaintenance"}
        host.state = "Enabled" if event == "enable" else "Disabled"
        if left:
            world.spawn(reconnect_host(world, host))
        return {"inventory": world.inventories.host(host)}
    before, host.state = host.state, "PreMaintenance"
    for vm in [vm for vm in world.fleet.vms.values() if vm.host is host and vm.state in STOPPABLE - {"Unknown"}]:
        try:
            await _leave(world, job, vm)
        except FailedError as error:
            if vm.host is host:
                host.state = before
                raise chain("HOST.1001", error.failure.code, details="a vm could not leave the host") from error
    host.state = "Maintenance"
    return {"inventory": world.inventories.host(host)}
