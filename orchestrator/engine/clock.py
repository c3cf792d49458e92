"""The run's three clocks: monotonic for waits, wall for the report, the node's for its timestamps."""

import time
from datetime import UTC, datetime

import anyio


class Clock:
    """Monotonic seconds are the event loop's, so that tests can run hours in an instant."""

    def __init__(self, node_ahead_seconds: float | None = None) -> None:
        self.node_ahead_seconds = node_ahead_seconds

    def now(self) -> float:
        """Monotonic seconds."""
        return anyio.current_time()

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
