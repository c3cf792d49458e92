"""Reading single VMs, or hosts, in company: everybody who asks within a moment shares one query."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from orchestrator.clouds.interface import VM_CHUNK, QueryRefusedError
from orchestrator.engine.outage import NodeGoneError, Outage

_TRIES = 3
T = TypeVar("T")


class UnreadableError(Exception):
    """The node answers, and not with this row."""


class _Ask(Generic[T]):
    __slots__ = ("done", "error", "seen", "uuid")

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.seen: T | None = None
        self.error: Exception | None = None
        self.done = anyio.Event()


class Reader(Generic[T]):
    """Reads whole rows by what `ask` does for many; `linger_seconds` is how long the first one waits for company."""

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]],
        outage: Outage,
        tasks: TaskGroup,
        linger_seconds: float,
    ) -> None:
        self._ask = ask
        self._outage = outage
        self._tasks = tasks
        self._linger = linger_seconds
        self._waiting: list[_Ask[T]] = []

    async def read(self, uuid: str) -> T | None:
        """The row now; None where the node has no such row. Raises UnreadableError, NodeGoneError."""
        ask = _Ask[T](uuid)
        self._waiting.append(ask)
        if len(self._waiting) == 1:
            self._tasks.start_soon(self._flush)
        await ask.done.wait()
        if ask.error is not None:
            raise ask.error
        return ask.seen

    async def _flush(self) -> None:
        await anyio.sleep(self._linger)
        asks, self._waiting = self._waiting, []
        async with anyio.create_task_group() as chunks:
            for start in range(0, len(asks), VM_CHUNK):
                chunks.start_soon(self._answer, asks[start : start + VM_CHUNK])

    async def _answer(self, asks: Sequence[_Ask[T]], tries: int = 1) -> None:
        uuids = list(dict.fromkeys(ask.uuid for ask in asks))
        try:
            found = await self._outage.call(lambda: self._ask(uuids))
        except NodeGoneError as error:
            self._wake(asks, error)
        except QueryRefusedError as error:
            # One odd row must not take its neighbours with it: halve until it stands alone.
            if len(asks) > 1:
                middle = len(asks) // 2
                await self._answer(asks[:middle])
                await self._answer(asks[middle:])
            elif tries < _TRIES:
                await anyio.sleep(self._linger * 5)
                await self._answer(asks, tries + 1)
            else:
                self._wake(asks, UnreadableError(error.detail))
        else:
            for ask in asks:
                ask.seen = found.get(ask.uuid)
            self._wake(asks, None)

    @staticmethod
    def _wake(asks: Sequence[_Ask[T]], error: Exception | None) -> None:
        for ask in asks:
            ask.error = error
            ask.done.set()
