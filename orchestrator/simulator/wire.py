"""How values become bytes: numbers, timestamps, escapes, errors (zstack-rest.md 5.1 and 6.1)."""

import json
import random
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any

from orchestrator.simulator.failures import CHINESE, DESCRIPTIONS, Failure

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&='"}
"""Outside of strings JSON has none of these, so the whole text may be translated."""
_LONGEST_TEXT = 4096


@dataclass(slots=True)
class Wire:
    """The serialisation of one node: `numbers` int or float, `timestamps` jdk8, jdk9 or jdk20, `language` en or zh."""

    zone: tzinfo
    numbers: str = "int"
    timestamps: str = "jdk8"
    language: str = "en"
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def timestamp(self, moment: datetime) -> str:
        """`Nov 14, 2017 10:20:57 PM` in the node's zone, without zone or padding."""
        at = moment.astimezone(self.zone)
        comma = "" if self.timestamps == "jdk8" else ","
        space = "\u202f" if self.timestamps == "jdk20" else " "
        half = "PM" if at.hour >= 12 else "AM"
        hour = at.hour % 12 or 12
        return f"{MONTHS[at.month - 1]} {at.day}, {at.year}{comma} {hour}:{at.minute:02}:{at.second:02}{space}{half}"

    def shuffled(self, pairs: dict[str, Any]) -> dict[str, Any]:
        """The same keys, without the nulls, in an order that means nothing."""
        keys = [key for key, value in pairs.items() if value is not None]
        turn = self.rng.randrange(len(keys)) if len(keys) > 1 else 0
        return {key: pairs[key] for key in keys[turn:] + keys[:turn]}

    def dump(self, value: object) -> bytes:
        """JSON bytes as the node's serialiser writes them."""
        floats = self.numbers == "float"
        text = _doubles(value) if floats else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text.translate(_ESCAPES).encode()

    def error(self, failure: Failure) -> dict[str, Any]:
        """The error object of a failure with its causes."""
        details = failure.details
        if self.language == "zh":
            details = CHINESE.get(failure.code, "操作失败")
        error = {
            "code": failure.code,
            "description": DESCRIPTIONS.get(failure.code, "An operation failed"),
            "details": details[:_LONGEST_TEXT],
            "cause": None if failure.cause is None else self.error(failure.cause),
            "causes": [self.error(cause) for cause in failure.causes] or None,
        }
        return self.shuffled(error)


def _doubles(value: object) -> str:
    match value:
        case bool() | None | str():
            return json.dumps(value, ensure_ascii=False)
        case int() | float():
            return java_double(float(value))
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{_doubles(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_doubles, value)) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def java_double(number: float) -> str:
    """A number as Java writes a double: `1.0`, and from ten millions on `8.589934592E9`."""
    size = abs(number)
    if size == 0 or 1e-3 <= size < 1e7:
        return repr(number)
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    first, rest = digits[0], "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{first}.{rest}E{exponent + len(digits) - 1}"
