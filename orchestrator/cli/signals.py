"""Ctrl-C, SIGTERM and SIGHUP: the first ends all sending, the second leaves at once."""

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from types import TracebackType

import anyio
import anyio.abc

from orchestrator.engine.run import Run

_HANG_UP = getattr(signal, "SIGHUP", None)
_BY_HANDLER = os.name == "nt"
_ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def received(*numbers: signal.Signals) -> Iterator[AsyncIterable[int]]:
    """These signals, as they come, while a body runs; also where the loop itself cannot be told of them (Windows)."""
    if not _BY_HANDLER:
        with anyio.open_signal_receiver(*numbers) as signals:
            yield signals
        return
    loop = asyncio.get_running_loop()
    send, receive = anyio.create_memory_object_stream[int](math.inf)

    def handle(number: int, _: object) -> None:
        loop.call_soon_threadsafe(send.send_nowait, number)

    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        with send, receive:
            yield receive
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def as_interrupts() -> Iterator[None]:
    """While a body runs that awaits nothing: each of these signals raises KeyboardInterrupt in it."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Signals:
    """While a body runs: before a run begins, the first signal cancels the body, so that it logs out and `early` is set.

    Once a run is handed over, the first signal is its `interrupt` and the second its `leave`.
    """

    def __init__(self) -> None:
        self.early = False
        self._run: Run | None = None
        self._tasks = anyio.create_task_group()
        self._body = anyio.CancelScope()
        self._seen = 0
        self._resting = False

    async def __aenter__(self) -> "Signals":
        await self._tasks.__aenter__()
        await self._tasks.start(self._listen)
        self._body.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # The body's own error goes on as it is: handed to the task group, it would come out wrapped in a group.
        swallowed = bool(self._body.__exit__(kind, error, trace))
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        return swallowed

    def take(self, run: Run) -> None:
        """From now on signals go to this run."""
        self._run = run

    def rest(self) -> None:
        """The run is over: from now on a signal only ends what is waited for in the body."""
        self._resting = True

    def press(self) -> None:
        """What the first signal would do; nothing after one."""
        if not self._seen:
            self._take_one()

    def _take_one(self) -> None:
        self._seen += 1
        if self._resting:
            self._body.cancel()
        elif self._run is None:
            self.early = True
            self._body.cancel()
        elif self._seen == 1:
            self._run.interrupt()
        else:
            self._run.leave()

    async def _listen(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with received(*_ENDINGS) as signals:
            task_status.started()
            async for number in signals:
                # One terminal that hangs up may say so twice, from the system and from its shell: it is no second word.
                if not (self._seen and number == _HANG_UP):
                    self._take_one()
