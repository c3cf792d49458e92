"""Bytes of numbers, timestamps and errors."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from orchestrator.simulator.failures import Failure
from orchestrator.simulator.wire import Wire, java_double

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("jdk8", "Nov 14, 2017 10:20:57 PM"),
        ("jdk9", "Nov 14, 2017, 10:20:57 PM"),
        ("jdk20", "Nov 14, 2017, 10:20:57\u202fPM"),
    ],
)
def test_timestamps_are_local_text(style: str, text: str) -> None:
    """A timestamp is the node's local time in the words of its JDK."""
    moment = datetime(2017, 11, 14, 14, 20, 57, tzinfo=UTC)
    assert Wire(SHANGHAI, timestamps=style).timestamp(moment) == text


@pytest.mark.parametrize(("hour", "text"), [(0, "12:05:01 AM"), (9, "9:05:01 AM"), (12, "12:05:01 PM")])
def test_hours_are_not_padded(hour: int, text: str) -> None:
    """Midnight is 12 AM, noon 12 PM, and day and hour have no leading zero."""
    moment = datetime(2025, 3, 3, hour, 5, 1, tzinfo=SHANGHAI)
    assert Wire(SHANGHAI).timestamp(moment) == f"Mar 3, 2025 {text}"


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1.0"), (0, "0.0"), (8589934592, "8.589934592E9"), (107374182400, "1.073741824E11"), (10**7, "1.0E7"),
     (-192, "-192.0")],
)  # fmt: skip
def test_doubles_are_written_as_java_does(number: int, text: str) -> None:
    """With numbers as floats every integer has its point, and its E from ten millions on."""
    assert java_double(float(number)) == text
    assert Wire(SHANGHAI, numbers="float").dump({"n": [number, True]}) == f'{{"n":[{text},true]}}'.encode()


def test_signs_are_escaped() -> None:
    """< > & = ' are written as escapes, everything else as UTF-8."""
    assert Wire(SHANGHAI).dump({"a": "<'=&>云"}) == r'{"a":"\u003c\u0027\u003d\u0026\u003e云"}'.encode()


def test_details_may_be_chinese() -> None:
    """Details follow the node's locale; description and code don't."""
    failure = Failure("VM.1002", "some text", Failure("VM.1010", "more"))
    error = Wire(SHANGHAI, language="zh").error(failure)
    assert error["details"] == "操作失败"
    assert error["description"] == "Unable to stop a vm"
    assert "cause" not in error["cause"]
    assert error["cause"]["code"] == "VM.1010"
