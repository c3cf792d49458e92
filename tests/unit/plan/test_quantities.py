"""Counts and shares: exact, and rounded to the side that is meant."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.quantities import MOST, Quantity, parse_quantity

COUNTS = st.integers(0, MOST)
SHARES = st.decimals(0, 100, places=6).map(lambda percent: Quantity(percent, is_share=True))


@pytest.mark.parametrize(
    ("text", "total", "floor", "ceil"),
    [
        ("5%", 50, 2, 3),
        ("5%", 40, 2, 2),
        ("5%", 20, 1, 1),
        ("5%", 19, 0, 1),
        ("0%", 1000, 0, 0),
        ("100%", 7, 7, 7),
        ("0.000001%", 100_000_000, 1, 1),
        ("12.5%", 8, 1, 1),
        ("29%", 100, 29, 29),
        ("5%", 0, 0, 0),
        ("0.07%", 10_000, 7, 7),
        ("0.58%", 10_000, 58, 58),
    ],
)
def test_shares(text: str, total: int, floor: int, ceil: int) -> None:
    """A budget rounds down, a ramp rounds up, and neither is a float's error off."""
    share = parse_quantity(text)
    assert (share.floor_of(total), share.ceil_of(total)) == (floor, ceil)


@given(share=SHARES, total=st.integers(0, MOST))
def test_rounding(share: Quantity, total: int) -> None:
    """Down and up enclose the exact share, less than one apart, within none and all."""
    exact = Fraction(share.number) * total / 100
    assert 0 <= share.floor_of(total) <= exact <= share.ceil_of(total) <= total
    assert share.ceil_of(total) - share.floor_of(total) == (exact.denominator != 1)


@given(one=SHARES, other=SHARES, total=st.integers(0, MOST))
def test_larger_shares_are_never_fewer(one: Quantity, other: Quantity, total: int) -> None:
    """Shares keep their order whatever the total, so that the steps of a ramp never go back."""
    less, more = sorted((one, other), key=lambda share: share.number)
    assert less.floor_of(total) <= more.floor_of(total)
    assert less.ceil_of(total) <= more.ceil_of(total)


@given(count=COUNTS, total=COUNTS)
def test_counts(count: int, total: int) -> None:
    """A count is itself, of few VMs too, and is read back as it is written."""
    quantity = parse_quantity(count)
    assert quantity.floor_of(total) == quantity.ceil_of(total) == count
    assert str(quantity) == str(count)


@given(share=SHARES)
def test_shares_are_read_back(share: Quantity) -> None:
    """A share's spelling is read back as the same share."""
    assert parse_quantity(str(share)) == share


@pytest.mark.parametrize(
    ("value", "piece"),
    [
        (-1, "cannot be negative"),
        ("-5%", "cannot be negative"),
        (0.05, "a share like `5%`"),
        (5.0, "found 5.0"),
        (MOST + 1, "found 1000001; a count is at most 1000000"),
        (True, "is expected"),
        (None, "is expected"),
        ("5", "without quotes: `5`"),
        ("5 %", "write `5%`"),
        ("5,5%", "write `5.5%`"),
        ("5 percent", "write `5%`"),
        ("100.1%", "at most `100%`"),
        ("5000%", "at most `100%`"),
        ("1.0000001%", "six decimals"),
        ("\u0665%", "is expected"),
        ("", "is expected"),
        ("5%\n", "write `5%`"),
        (Quantity(Decimal("1.5")), "a count is a whole number"),
        (Quantity(Decimal("nan"), is_share=True), "a count is a whole number"),
    ],
)
def test_refused(value: object, piece: str) -> None:
    """What is neither is refused, with what would be right."""
    with pytest.raises(ValueError, match=r"found|expected|whole") as raised:
        parse_quantity(value)
    assert piece in str(raised.value)
