"""The models, for those who build a plan in Python."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from orchestrator.plan.model import Guard, Plan, Selection, StopOptions, Targets


def test_frozen() -> None:
    """A plan does not change once it is made."""
    stop = StopOptions()
    with pytest.raises(ValidationError):
        stop.stop_ha = False  # type: ignore[misc]


def test_rules_hold_without_a_file() -> None:
    """What validate refuses in a file is refused in Python too."""
    with pytest.raises(ValidationError, match=r"1\.25 times"):
        StopOptions(grace_timeout=timedelta(seconds=10))
    with pytest.raises(ValidationError, match="no fallback"):
        StopOptions(type="cold", fallback="none")
    with pytest.raises(ValidationError, match="nothing is selected"):
        Selection()
    with pytest.raises(ValidationError, match="fewer than"):
        Guard.model_validate({"max_targets": 1, "expect_targets": "2..3"})
    with pytest.raises(ValidationError, match="between 0s and 168h"):
        StopOptions(cold_timeout=timedelta(days=8))


def test_short_times_for_a_compressed_node() -> None:
    """A node whose clock is compressed is described by a short power cut."""
    stop = StopOptions(grace_timeout=timedelta(seconds=2), power_cut_after=timedelta(seconds=1))
    assert stop.grace_timeout == timedelta(seconds=2)
    plan = Plan(version=1, name="a", targets=Targets(where=(("name=a",),)), stop=stop)
    assert plan.stop is stop
