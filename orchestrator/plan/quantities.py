"""Quantities as plans write them: a count of VMs (`10`), or a share of them (`5%`)."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from orchestrator.plan.wording import shown

MOST = 1_000_000
"""The largest count a plan may name. No node holds as many VMs, so more is a slip of the keyboard."""

PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,6})?%$"
"""A share as a regular expression for editors; it does not know the bound of 100%."""

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A count of VMs, or a share of them in percent: `number` is whole for a count, 0 to 100 for a share.

    Zero is none of them. Calculated exactly, so that 5% of 40 is 2 and never 1.
    """

    number: Decimal
    is_share: bool = False

    def floor_of(self, total: int) -> int:
        """How many of `total` VMs, a share rounded down: the boundary of a budget. A count is itself, above `total` too."""
        return int(self.number) if not self.is_share else math.floor(Fraction(self.number) * total / 100)

    def ceil_of(self, total: int) -> int:
        """How many of `total` VMs, a share rounded up: a step of a ramp. A count is itself, above `total` too."""
        return int(self.number) if not self.is_share else math.ceil(Fraction(self.number) * total / 100)

    def __str__(self) -> str:
        """As plans write it; `parse_quantity` reads it back."""
        text = f"{self.number:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return f"{text}%" if self.is_share else text


def parse_quantity(value: object) -> Quantity:
    """The quantity that a plan's value names: a whole number from 0 to 1000000, or a text like `5%` up to `100%`.

    Raises ValueError, whose message says what was found and what would be right.
    """
    match value:
        case Quantity():
            return _bounded(value)
        case int() if not isinstance(value, bool):
            return _bounded(Quantity(Decimal(value)))
        case float():
            raise ValueError(f"found {value}, a decimal; write a whole number like `10`, or a share like `5%`")
        case str() if match := _SHARE.fullmatch(value):
            return _bounded(Quantity(Decimal(match[1]), is_share=True))
        case str():
            raise ValueError(f"found {shown(value)}; {_remedy(value)}")
        case _:
            raise ValueError("a whole number like `10` or a share like `5%` is expected")


def _bounded(quantity: Quantity) -> Quantity:
    number = quantity.number
    if not number.is_finite() or (not quantity.is_share and number != number.to_integral_value()):
        raise ValueError("a count is a whole number; a share like `5%` may have decimals")
    if number < 0:
        raise ValueError(f"found {quantity}; a count or a share cannot be negative")
    if quantity.is_share and number > 100:
        raise ValueError(f"found {quantity}; a share is at most `100%`")
    if number > MOST:
        raise ValueError(f"found {number:.12g}; a count is at most {MOST}")
    return quantity


def _remedy(text: str) -> str:
    """What to write instead of a text that is no share."""
    if re.fullmatch(r"\s*[0-9]{1,7}\s*", text):
        return f"write the count without quotes: `{text.strip()}`"
    better = re.sub(r"\s*(?:%|percent|per cent|pct)\s*$", "%", text.strip().lower().replace(",", "."))
    if _SHARE.fullmatch(better):
        return f"write `{better}`"
    if re.fullmatch(r"[0-9]+\.[0-9]{7,}%", better):
        return "a share has at most six decimals"
    if text.lstrip().startswith(("-", "−")):  # noqa: RUF001  # a pasted minus sign is what is looked for
        return "a count or a share cannot be negative"
    if re.fullmatch(r"[0-9]{4,}(\.[0-9]*)?%", better):
        return "a share is at most `100%`"
    return "a whole number like `10` or a share like `5%` is expected"
