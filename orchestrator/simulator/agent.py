"""What the agent on a KVM host does, and how the node waits for it (zstack-rest.md 4.3)."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.simulator.failures import FailedError, chain, under
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.world import World

LOOKUPS = 3.0
"""Simulated seconds: a VM that libvirt doesn't know is looked up 3 times, a second apart."""


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """`failed`: the codes of the failure were the agent's word. `lost`: the guest crashed and can't be asked."""

    forced: bool = False
    failed: bool = False
    lost: bool = False


async def power_off(world: World, vm: SimulatedVm, kind: str) -> AgentAnswer:
    """Stop the guest: ACPI up to the node's `acpi_wait`, then, or when cold, the power cut. Its success is told alike."""
    guest, node = vm.guest, world.node
    rng = vm.rng(world.scenario.seed)
    vm.stops += 1
    await world.clock.sleep(node.agent.draw(rng))
    if not vm.powered:
        await world.clock.sleep(LOOKUPS)
        return AgentAnswer()
    grace = kind != "cold"
    match guest.behaviour:
        case "fails":
            await world.clock.sleep(guest.fails_after)
            return AgentAnswer(failed=True)
        case "fails_grace_only" if grace:
            await world.clock.sleep(guest.fails_after)
            return AgentAnswer(failed=True)
        case "crashes" if grace:
            await world.clock.sleep(guest.fails_after)
            return AgentAnswer(failed=True, lost=True)
        case "late_success":
            await _off_within(world, vm, guest.fails_after + guest.late_after)
            _cut(vm)
            return AgentAnswer(forced=not grace)
    if grace:
        # A paused guest can't react to ACPI.
        deaf = guest.behaviour == "ignores_acpi" or vm.paused
        needs = None if deaf else guest.shutdown.draw(rng)
        obeys = needs is not None and needs <= node.acpi_wait
        if await _off_within(world, vm, needs if obeys and needs is not None else node.acpi_wait):
            return AgentAnswer()
        if obeys:
            _cut(vm)
            return AgentAnswer()
    await _off_within(world, vm, (guest.cold or node.cold).draw(rng))
    _cut(vm)
    return AgentAnswer(forced=True)


def _cut(vm: SimulatedVm) -> None:
    vm.paused = False
    vm.off.set()


async def _off_within(world: World, vm: SimulatedVm, simulated_seconds: float) -> bool:
    """True if the guest went off by itself or by somebody else's hand meanwhile."""
    try:
        async with asyncio.timeout(world.clock.real(simulated_seconds)):
            await vm.off.wait()
    except TimeoutError:
        return False
    return True


async def ask_agent(
    world: World,
    hosts: Sequence[SimulatedHost],
    vm: SimulatedVm,
    work: Callable[[], Coroutine[Any, Any, AgentAnswer]],
    *,
    outer: str,
    job: str | None,
    kind: str | None = None,
) -> AgentAnswer:
    """Have the hosts do it and wait. Who stops waiting doesn't stop the work: the row follows by host sync.

    A host lost meanwhile fails the call with HOST.1011 <- SYS.1015 below `outer`, and the work goes on as well.
    """
    answer: asyncio.Future[AgentAnswer] = asyncio.get_running_loop().create_future()
    for host in hosts:
        host.calls.add(answer)
    vm.agents += 1

    async def do_it() -> None:
        try:
            told = await work()
        finally:
            vm.agents -= 1
        if answer.done():
            world.spawn_agent(world.correct_later(vm, job=job, kind=kind, forced=told.forced))
        else:
            answer.set_result(told)

    world.spawn_agent(do_it())
    try:
        return await answer
    except FailedError as lost:
        raise under(outer, lost) from None
    finally:
        for host in hosts:
            host.calls.discard(answer)


def must_be_connected(host: SimulatedHost, outer: str) -> None:
    """The status decides, the state doesn't (4.2); `outer` is the code around it, like VM.1002."""
    if host.status != "Connected":
        raise chain(outer, "HOST.1011", "HOST.1010", details=f"host[uuid:{host.uuid}] is in status[{host.status}]")
