"""Time as the node lives it: scaled durations, and a wall clock in the node's own zone."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


class Clock:
    """Durations of the node are divided by `scale`; the wall clock is real, plus a skew.

    `scale` is simulated seconds per real second: at 20 an ACPI wait of 60 s takes 3 s. What a client sends in its
    own seconds (`X-API-Timeout`) isn't scaled, and neither are timestamps.
    """

    def __init__(self, scale: float, zone: str, skew_seconds: float = 0.0) -> None:
        if not scale > 0:
            raise ValueError(f"time_scale must be above 0, not {scale!r}")
        self.scale = scale
        self.zone = ZoneInfo(zone)
        self.skew = timedelta(seconds=skew_seconds)
        self.started = time.monotonic()

    def real(self, simulated_seconds: float) -> float:
        """Real seconds that a duration of the node takes."""
        return simulated_seconds / self.scale

    async def sleep(self, simulated_seconds: float) -> None:
        """Let a duration of the node pass."""
        await asyncio.sleep(self.real(simulated_seconds))

    def monotonic(self) -> float:
        """Real seconds of a clock that never jumps (`time.monotonic`)."""
        return time.monotonic()

    def age(self) -> float:
        """Simulated seconds since the node was entered: what a fault's `at`, `since` and `until` count."""
        return (time.monotonic() - self.started) * self.scale

    def now(self) -> datetime:
        """The node's wall clock: aware, in its zone, with its skew."""
        return (datetime.now(UTC) + self.skew).astimezone(self.zone)
