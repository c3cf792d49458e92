"""Progress where nobody looks at a terminal: one plain line for what changes, and a count now and then."""

import time
from collections.abc import Callable

from orchestrator.model.event import Event
from orchestrator.observe.picture import Picture
from orchestrator.observe.words import counts, news, outcomes, slow_line

EVERY_SECONDS = 15.0
"""Between two counts, at least."""
_NAMED = 5


class Progress:
    """A listener that writes lines; `tick` is to be called every second or so, for what is slow tells of no event.

    A count comes every 15 s as long as something is in flight or has changed, with the VMs past their usual time.
    """

    def __init__(self, write: Callable[[str], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._monotonic = monotonic
        self._picture = Picture()
        self._last = monotonic()
        self._told = ""

    def __call__(self, event: Event) -> None:
        """Take one event."""
        line = news(event, self._picture)
        self._picture(event)
        if line is not None:
            self._write(line)
        if event.kind == "run.verifying":
            self._count()
        self.tick()

    def tick(self) -> None:
        """Write the count where it is due."""
        if self._monotonic() - self._last >= EVERY_SECONDS and not self._picture.finished:
            self._count()

    @property
    def paused(self) -> bool:
        """Is the run paused?"""
        return self._picture.paused

    def say(self, text: str) -> bool:
        """Words that are no event's; False: they may be written as any others."""
        return False

    def close(self) -> None:
        """Nothing is left open."""

    def _count(self) -> None:
        self._last = self._monotonic()
        now, line = time.time(), ": ".join(filter(None, (counts(self._picture), outcomes(self._picture))))
        slow = self._picture.slow(now)
        if line == self._told and not slow and not self._picture.flights:
            return
        self._told = line
        self._write(line)
        for flight in slow[:_NAMED]:
            self._write(f"slow or never? {slow_line(flight, now)}")
        if len(slow) > _NAMED:
            self._write(f"slow or never? and {len(slow) - _NAMED} more")
