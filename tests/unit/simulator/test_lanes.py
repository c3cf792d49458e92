"""Queues with slots."""

import asyncio

from orchestrator.simulator.lanes import Lane


async def test_no_more_than_its_slots() -> None:
    """At most as many are inside as there are slots, and all get their turn."""
    lane, inside, peak, served = Lane(3), 0, 0, 0

    async def visit() -> None:
        nonlocal inside, peak, served
        await lane.enter()
        inside += 1
        peak = max(peak, inside)
        await asyncio.sleep(0)
        inside -= 1
        served += 1
        lane.leave()

    await asyncio.gather(*(visit() for _ in range(20)))
    assert (peak, served, lane.running) == (3, 20, 0)


async def test_patience_ends() -> None:
    """Who waits too long gets no slot and takes none with it."""
    lane = Lane(1)
    assert await lane.enter()
    assert not await lane.enter(0.01)
    lane.leave()
    assert lane.running == 0


async def test_cancelled_waiter_loses_no_slot() -> None:
    """A slot given to a task that is cancelled in the same moment goes to the next one."""
    lane = Lane(1)
    await lane.enter()
    waiting = asyncio.create_task(lane.enter())
    await asyncio.sleep(0)
    lane.leave()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert lane.running == 0
