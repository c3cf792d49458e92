"""An event loop whose clock jumps to the next timer: minutes of waiting in no time, in the order they would come."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Nothing real may be waited for in it: no socket, no thread."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now = 1000.0

    def time(self) -> float:
        """The virtual now, in seconds."""
        return self._virtual_now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._virtual_now = max(self._virtual_now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run_virtual(test: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function in virtual time."""
    return anyio.run(test, backend_options={"loop_factory": VirtualLoop})
