"""Quantities as tests write them."""

from decimal import Decimal
from fractions import Fraction

from orchestrator.plan.quantities import Quantity


def quantity(count: int | None = None, share: Fraction | None = None) -> Quantity:
    """A count, or a share of some total (0 to 1)."""
    if share is not None:
        return Quantity(Decimal(share.numerator) * 100 / Decimal(share.denominator), is_share=True)
    assert count is not None
    return Quantity(Decimal(count))
