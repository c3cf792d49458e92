"""Queues with a fixed number of slots: one slot per VM, `host.syncLevel` slots per host (zstack-rest.md 2.7)."""

import asyncio
from collections import deque


class Lane:
    """First come, first served, at most `slots` at a time."""

    __slots__ = ("_waiting", "running", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()

    @property
    def pending(self) -> int:
        """How many wait for a slot."""
        return sum(not waiter.done() for waiter in self._waiting)

    async def enter(self, patience: float | None = None) -> bool:
        """Wait for a slot. False: `patience` real seconds were over first, and no slot is held (None waits for ever)."""
        if self.running < self.slots:
            self.running += 1
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(waiter)
        timer = None if patience is None else loop.call_later(max(0.0, patience), _give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.leave()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def leave(self) -> None:
        """Give the slot to who waits longest, or free it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(True)
                return
        self.running -= 1


def _give_up(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
