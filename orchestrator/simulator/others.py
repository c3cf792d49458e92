"""Who else changes things: HA and other people (zstack-rest.md 4.4)."""

from typing import Literal, get_args

from orchestrator.simulator.failures import FailedError
from orchestrator.simulator.faults import Fault, matches
from orchestrator.simulator.fleet import SimulatedVm
from orchestrator.simulator.moves import migration_targets, start_vm
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


def act_by(world: World, fault: Fault, vm: SimulatedVm) -> None:
    """What a vm_action says; nothing if it names a host that isn't there."""
    if fault.host is None:
        act(world, vm.uuid, fault.act)
        return
    for host in world.fleet.hosts.values():
        if matches((fault.host,), host.name, host.uuid):
            act(world, vm.uuid, fault.act, host_uuid=host.uuid)
            return
