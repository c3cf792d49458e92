"""Durations as plans write them: `90s`, `5m`, `1h30m`, `1.5s`, `250ms`."""

import re
from datetime import timedelta
from decimal import Decimal
from itertools import combinations

from orchestrator.plan.wording import shown

LONGEST = timedelta(days=7)
"""The longest duration a plan may name: a week. No maintenance window lasts longer, so more is a slip of the unit."""

_UNITS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
"""Microseconds in each unit, longest first: the order in which a duration names them."""

_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,12})?)"
_SPELLING = re.compile("".join(f"(?:{_NUMBER}{unit}(?![a-z]))?" for unit in _UNITS))

PATTERN = "^(?=.)" + "".join(rf"(?:[0-9]+(?:\.[0-9]+)?{unit})?" for unit in _UNITS) + "$"
"""The grammar as a regular expression for editors; it does not know the upper bound."""

_WORDS = (
    (r"(?:milliseconds?|msecs?|millis)", "ms"),
    (r"(?:hours?|hrs?)", "h"),
    (r"(?:minutes?|mins?)", "m"),
    (r"(?:seconds?|secs?)", "s"),
)


def parse_duration(text: str) -> timedelta:
    """The duration that `text` names, 0s to 168h, exact to the microsecond.

    Raises ValueError, whose message says what was found and what would be right.
    """
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise ValueError(f"found {shown(text)}, a number without a unit; write `{text[:12]}s`, `{text[:12]}m` or such")
    if text.lstrip().startswith(("-", "−")):  # noqa: RUF001  # a pasted minus sign is what is looked for
        raise ValueError(f"found {shown(text)}; a duration cannot be negative")
    amount = _microseconds(text)
    if amount is None:
        better = _respelt(text)
        hint = f"write `{better}`" if better else "write `90s`, `5m`, `1h30m`, `1.5s` or `250ms`"
        raise ValueError(f"found {shown(text)}, which is no duration; {hint}")
    if amount != amount.to_integral_value():
        raise ValueError(f"found {shown(text)}, finer than a microsecond; the shortest step is `0.001ms`")
    if amount > LONGEST // timedelta(microseconds=1):
        raise ValueError(f"found {shown(text)}; the longest duration is `168h` (7 days)")
    return timedelta(microseconds=int(amount))


def format_duration(duration: timedelta) -> str:
    """The shortest spelling that `parse_duration` reads back as the same duration; `0s` for zero.

    Among equally short ones the one without a decimal point wins, then the one with the fewest units.
    """
    if duration < timedelta(0):
        raise ValueError("a duration cannot be negative")
    microseconds = duration // timedelta(microseconds=1)
    if microseconds == 0:
        return "0s"
    choices = (units for count in range(1, 5) for units in combinations(_UNITS, count))
    spellings = (_in_units(microseconds, units) for units in choices)
    exact = [spelling for spelling in spellings if _microseconds(spelling) == microseconds]
    return min(exact, key=lambda spelling: (len(spelling), "." in spelling))


def _microseconds(text: str) -> Decimal | None:
    match = _SPELLING.fullmatch(text)
    if match is None or not text:
        return None
    amounts = zip(match.groups(), _UNITS.values(), strict=True)
    return sum((Decimal(number) * unit for number, unit in amounts if number), Decimal(0))


def _respelt(text: str) -> str | None:
    """The spelling that was probably meant by `5 min`, `1H` or `2d`."""
    wanted = "".join(text.lower().split())[:40]
    for words, unit in _WORDS:
        wanted = re.sub(rf"(?<=[0-9]){words}", unit, wanted)
    days = re.fullmatch(r"([0-9]{1,4})d(?:ays?)?", wanted)
    if days:
        wanted = f"{int(days[1]) * 24}h"
    return wanted if _microseconds(wanted) is not None else None


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _in_units(microseconds: int, units: tuple[str, ...]) -> str:
    """As many as possible of each unit in turn; the last takes what is left, as a decimal where need be."""
    parts, left = [], microseconds
    for unit in units[:-1]:
        count, left = divmod(left, _UNITS[unit])
        parts.append(f"{count}{unit}" if count else "")
    last = units[-1]
    parts.append(f"{_plain(Decimal(left) / _UNITS[last])}{last}" if left else "")
    return "".join(parts)
