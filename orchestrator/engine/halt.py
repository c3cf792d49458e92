"""The one switch that every VM in flight heeds: what may leave, from now on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import anyio

from orchestrator.model.outcome import Reason


class Halt:
    """Set once, by the first reason; from then on no PUT of any kind leaves. True where it is set.

    Before that, the window may be `closed`: no VM is begun with any more; and it may have `ended`, with `at_end` (`cold` or
    `abandon`; None: the plan's rules go on) for what is in flight.
    """

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.closed = False
        self.ended = False
        self.at_end: Literal["cold", "abandon"] | None = None
        self.changes = 0
        """How often anything of this changed."""
        self._event = anyio.Event()
        self._at_expiry: set[Callable[[], None]] = set()

    def set(self, reason: Reason) -> None:
        """End all sending; a second reason does not replace the first."""
        if self.reason is None:
            self.reason = reason
            self._tell()

    def close(self) -> None:
        """Begin with no further VM."""
        if not self.closed:
            self.closed = True
            self._tell()

    def end(self) -> None:
        """The window has ended."""
        self.closed = self.ended = True
        self._tell()

    def expire(self, at_end: Literal["cold", "abandon"]) -> None:
        """The window has ended: this becomes of what is in flight."""
        self.at_end = at_end
        self.end()
        for act in list(self._at_expiry):
            act()

    def __bool__(self) -> bool:
        return self.reason is not None

    async def changed(self, since: int) -> None:
        """Return when there were more than that many changes."""
        while self.changes <= since:
            await self._event.wait()

    @contextmanager
    def at_expiry(self, act: Callable[[], None]) -> Iterator[None]:
        """Call it should the window end meanwhile."""
        self._at_expiry.add(act)
        try:
            yield
        finally:
            self._at_expiry.discard(act)

    def _tell(self) -> None:
        self.changes += 1
        event, self._event = self._event, anyio.Event()
        event.set()
