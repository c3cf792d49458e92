"""The run's three clocks: monotonic for waits, wall for the report, the node's for its timestamps.

A machine that sleeps stops the monotonic clock of its programs, and the node goes on. What is measured between a PUT
and a sign of its end must hold that time, or a power cut that was slept through would look like a quick shutdown.
"""

import time
from datetime import UTC, datetime

import anyio

_WITH_SLEEP = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""A clock that runs on while the machine sleeps: Linux has the first, macOS's second is one."""


def sleep_seconds() -> float:
    """Seconds this machine slept since it was started; 0 where it cannot be told apart."""
    return 0.0 if _WITH_SLEEP is None else time.clock_gettime(_WITH_SLEEP) - time.monotonic()


class Clock:
    """Monotonic seconds are the event loop's, so that tests can run hours in an instant, and those slept meanwhile."""

    def __init__(self, node_ahead_seconds: float | None = None) -> None:
        self.node_ahead_seconds = node_ahead_seconds
        self._slept_before = sleep_seconds()

    def now(self) -> float:
        """Monotonic seconds."""
        return anyio.current_time() + max(0.0, sleep_seconds() - self._slept_before)

    def unix(self) -> float:
        """Seconds since 1970 by our wall clock."""
        return time.time()

    def wall(self, at: float | None = None) -> str:
        """RFC 3339 in UTC, milliseconds; of a monotonic moment, or now."""
        ago = 0.0 if at is None else self.now() - at
        return datetime.fromtimestamp(self.unix() - ago, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def node(self, at: float) -> float | None:
        """The node's clock at a monotonic moment, seconds since 1970; None where it is not known."""
        if self.node_ahead_seconds is None:
            return None
        return self.unix() - (self.now() - at) + self.node_ahead_seconds
