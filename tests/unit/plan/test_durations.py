"""Durations are read and written in one grammar."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("0s", 0), ("168h", 604800)],
)
def test_contract_spellings(text: str, seconds: float) -> None:
    """Every spelling of the contract is read exactly."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("90", "number without a unit; write `90s`"),
        ("1.5", "number without a unit"),
        ("-5m", "cannot be negative"),
        ("5 min", "write `5m`"),
        ("1H", "write `1h`"),
        ("2d", "write `48h`"),
        ("30m1h", "no duration"),
        ("", "no duration"),
        (".5s", "no duration"),
        ("٣s", "no duration"),
        ("0.0001ms", "finer than a microsecond"),
        ("169h", "7 days"),
        ("9" * 400 + "s", "no duration"),
        ("5\nm", r"\n"),
    ],
)
def test_refused_spellings(text: str, piece: str) -> None:
    """What is no duration is refused with what would be right."""
    with pytest.raises(ValueError, match="found") as raised:
        parse_duration(text)
    assert piece in str(raised.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (90, "90s"), (240, "4m"), (3600, "1h"), (0.25, "250ms"), (1.5, "1.5s"), (86400, "24h")],
)
def test_shortest_form(seconds: float, text: str) -> None:
    """The shortest spelling is written, without a decimal point where that costs nothing."""
    assert format_duration(timedelta(seconds=seconds)) == text


def test_negative_is_not_formatted() -> None:
    """There is no spelling for a negative duration."""
    with pytest.raises(ValueError, match="negative"):
        format_duration(timedelta(seconds=-1))


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_round_trip(duration: timedelta) -> None:
    """Every duration survives being written and read, to the microsecond."""
    assert parse_duration(format_duration(duration)) == duration


@given(st.from_regex(r"([0-9]{1,2}h)?([0-9]{1,3}m)?([0-9]{1,4}(\.[0-9]{1,3})?s)?", fullmatch=True).filter(bool))
def test_never_longer(text: str) -> None:
    """What is written is never longer than what was read."""
    assert len(format_duration(parse_duration(text))) <= len(text)
