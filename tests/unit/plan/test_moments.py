"""Moments: RFC 3339, never without an offset."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.moments import PATTERN, checked_moment, parse_moment

OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-28T22:00:00+08:00", datetime(2026, 11, 28, 14, tzinfo=UTC)),
        ("2026-11-28t22:00:00z", datetime(2026, 11, 28, 22, tzinfo=UTC)),
        ("2026-11-28T22:00:00.5-03:30", datetime(2026, 11, 29, 1, 30, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_read(text: str, moment: datetime) -> None:
    """A moment is read with its offset."""
    assert parse_moment(text) == moment


@given(st.datetimes(datetime(2000, 1, 1), datetime(2999, 12, 31), timezones=OFFSETS))  # noqa: DTZ001  # zones are drawn
def test_read_back(moment: datetime) -> None:
    """What Python writes of an aware time is read back, with the same offset, and the editor's pattern takes it."""
    text = moment.isoformat()
    read = parse_moment(text)
    assert (read, read.utcoffset()) == (moment, moment.utcoffset())
    assert re.search(PATTERN, text)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("2026-11-28T22:00:00", "`2026-11-28T22:00:00+08:00` or such, or `2026-11-28T22:00:00Z` for UTC"),
        ("2026-11-28 22:00", "a time without an offset"),
        ("2026-11-28 22:00:00+08:00", "write `2026-11-28T22:00:00+08:00`"),
        ("2026-11-28T22:00+08:00", "write `2026-11-28T22:00:00+08:00`"),
        ("2026-11-28T22:00:00+0800", "write `2026-11-28T22:00:00+08:00`"),
        ("2026-11-28T22:00:00 +8", "is expected"),
        ("2026-11-28T22:00:00 UTC", "write `2026-11-28T22:00:00Z`"),
        ("2026-11-28T22:00:00-00:00", "write `Z`"),
        ("2026-11-31T22:00:00Z", "does not exist"),
        ("2026-11-30T24:00:00Z", "does not exist"),
        ("2026-11-30T22:00:60Z", "does not exist"),
        ("2026-11-30T22:00:00+24:00", "does not exist"),
        ("0001-01-01T00:00:00+23:00", "the year 1"),
        ("2026-11-28", "is expected"),
        ("22:00", "is expected"),
        ("tomorrow", "is expected"),
        ("", "is expected"),
    ],
)
def test_refused(text: str, piece: str) -> None:
    """What is no moment, or not one for everybody, is refused with what would be right."""
    with pytest.raises(ValueError, match="found") as raised:
        parse_moment(text)
    assert piece in str(raised.value)


def test_naive_datetime_from_python() -> None:
    """A Python time without a zone is refused like a text."""
    with pytest.raises(ValueError, match="without an offset"):
        checked_moment(datetime(2026, 11, 28))  # noqa: DTZ001  # that is what is refused
