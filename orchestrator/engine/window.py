"""The maintenance window as seconds since 1970 (`interface.md` 3 and 4, "The window"). Pure.

It closes `reserve` before its end: from then on no VM is begun with. What is in flight at its end ends as `at_end` says.
"""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.moment import rfc3339
from orchestrator.model.report import WindowRecord
from orchestrator.plan.model import AtEnd, Window


@dataclass(frozen=True, slots=True)
class Times:
    """`start` None: it is open already."""

    start: float | None
    end: float
    at_end: AtEnd
    reserve_seconds: float

    @property
    def closes(self) -> float:
        """From here on no VM is begun with."""
        return self.end - self.reserve_seconds

    def fits(self, now: float, seconds: float) -> bool:
        """May a VM begin now that is expected to take so long? Without a reserve, until the end whatever it takes."""
        return now < self.closes and (not self.reserve_seconds or now + seconds <= self.closes)

    def left(self, now: float) -> float:
        """Seconds for work, from now or from its start; 0 when it is closed."""
        return max(0.0, self.closes - max(now, self.start or now))

    def record(self) -> WindowRecord:
        """For the run's record."""
        start = None if self.start is None else rfc3339(self.start)
        return WindowRecord(start=start, end=rfc3339(self.end), at_end=self.at_end, reserve_seconds=self.reserve_seconds)


def times_of(window: Window | None) -> Times | None:
    """The plan's window; None where it has none."""
    if window is None:
        return None
    start = None if window.start is None else window.start.timestamp()
    return Times(start, window.end.timestamp(), window.at_end, window.reserve.total_seconds())


def times_kept(record: WindowRecord | None) -> Times | None:
    """The window of a run's record; None where it has none."""
    if record is None:
        return None
    start = None if record.start is None else datetime.fromisoformat(record.start).timestamp()
    return Times(start, datetime.fromisoformat(record.end).timestamp(), record.at_end, record.reserve_seconds)


def ending_at(window: Window | None, end: datetime) -> Window:
    """The window with another end, open already; one that only ends where there was none."""
    written = Window(end=end) if window is None else window
    return Window(end=end, at_end=written.at_end, reserve=written.reserve)


def in_words(seconds: float) -> str:
    """For a person: `45 s`, `12 min`, `3 h 05 min`; seconds only below ten minutes."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 600 and whole % 60:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def closed_problem(times: Times, now: float) -> str | None:
    """Why a run may not begin in this window any more; None where it may."""
    if now < times.closes:
        return None
    if now >= times.end:
        return (
            f"the window ended at {rfc3339(times.end)}: write a later window.end (resume and retry take --window-end TIME)"
        )
    reserve = in_words(times.reserve_seconds)
    return (
        f"the window ends at {rfc3339(times.end)}, and its last {reserve} are reserved: write a later window.end "
        "(resume and retry take --window-end TIME), or a shorter window.reserve"
    )
