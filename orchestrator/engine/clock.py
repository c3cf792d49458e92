"""The run's three clocks: monotonic for waits, wall for the report, the node's for its timestamps.

A machine that sleeps stops the monotonic clock of its programs, and the node goes on. What is measured between a PUT
and a sign of its end must hold that time, or a power cut that was slept through would look like a quick shutdown.
"""

import time

import anyio

from orchestrator.model.moment import rfc3339

_WITH_SLEEP = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""A clock that runs on while the machine sleeps: Linux has the first, macOS's second is one."""


_LOOK_SECONDS = 10.0
"""How often a long wait for the wall clock looks at it: timers stand still while a machine sleeps."""


def sleep_seconds() -> float:
    """Seconds this machine slept since it was started; 0 where it cannot be told apart."""
    return 0.0 if _WITH_SLEEP is None else time.clock_gettime(_WITH_SLEEP) - time.monotonic()


class Clock:
    """Monotonic seconds are the event loop's, so that tests can run hours in an instant, and those slept meanwhile."""

    def __init__(self) -> None:
        self._slept_before = sleep_seconds()
        self._node_ahead: float | None = None

    def now(self) -> float:
        """Monotonic seconds."""
        return anyio.current_time() + max(0.0, sleep_seconds() - self._slept_before)

    def unix(self) -> float:
        """Seconds since 1970 by our wall clock."""
        return time.time()

    def wall(self, at: float | None = None) -> str:
        """RFC 3339 in UTC, milliseconds; of a monotonic moment, or now."""
        ago = 0.0 if at is None else self.now() - at
        return rfc3339(self.unix() - ago)

    async def sleep_until(self, unix: float) -> None:
        """Return when our wall clock has come there, however often it is set, and however long the machine sleeps."""
        while (left := unix - self.unix()) > 0:  # noqa: ASYNC110 - the clock that is waited for has no event
            await anyio.sleep(min(left, _LOOK_SECONDS))

    def learn_node(self, ahead_seconds: float | None) -> None:
        """The node's clock is so far ahead of our wall clock now; None where it does not tell.

        It is kept against the monotonic clock: our wall clock may jump later.
        """
        self._node_ahead = None if ahead_seconds is None else self.unix() + ahead_seconds - self.now()

    def node(self, at: float) -> float | None:
        """The node's clock at a monotonic moment, seconds since 1970; None where it is not known."""
        return None if self._node_ahead is None else at + self._node_ahead
