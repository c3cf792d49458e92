"""The ramp, the failure budget and the window, as plans write them."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.plan.model import Budget, Limits, Plan, Window
from orchestrator.plan.quantities import MOST, parse_quantity
from tests.unit.plan.examples import MAINTENANCE, SMALL, assert_told, load, problems

STEPS = st.integers(1, MOST) | st.integers(1, 100).map(lambda percent: f"{percent}%")


def test_maintenance() -> None:
    """Steps, budgets and the window are read; a time keeps the offset it was written with."""
    plan = load(MAINTENANCE).plan
    assert [str(step) for step in plan.limits.ramp] == ["1", "5", "20%", "100%"]
    assert plan.budget == Budget(
        failures=parse_quantity("5%"),
        per_wave=parse_quantity("10%"),
        per_host=3,
        same_cause=10,
        power_cuts=parse_quantity("12.5%"),
    )
    china = timezone(timedelta(hours=8))
    window = plan.window
    assert window == Window(
        start=datetime(2026, 11, 28, 22, tzinfo=china),
        end=datetime(2026, 11, 29, 2, tzinfo=china),
        at_end="finish",
        reserve=timedelta(minutes=15),
    )
    assert window.end.isoformat() == "2026-11-29T02:00:00+08:00"


def test_absent() -> None:
    """Without the keys there is no ramp, no budget and no window; a window by its end alone finishes what is in flight."""
    plan = load(SMALL).plan
    assert (plan.limits.ramp, plan.window) == ((), None)
    assert set(plan.budget.model_dump().values()) == {None}
    window = load(SMALL + "window: {end: 2026-11-29T02:00:00Z}\n").plan.window
    assert window == Window(end=datetime(2026, 11, 29, 2, tzinfo=UTC))
    assert (window.start, window.at_end, window.reserve) == (None, "finish", timedelta(0))


def test_written_as_json() -> None:
    """A plan written as JSON is read back as the same plan."""
    plan = load(MAINTENANCE).plan
    text = json.dumps(plan.model_dump(mode="json", exclude_unset=True))
    assert load(text, json=True).plan == plan
    assert '"ramp": [1, 5, "20%", "100%"]' in text


@pytest.mark.parametrize(
    ("line", "column", "piece"),
    [
        ("limits: {ramp: []}", 16, "a step like"),
        ("limits: {ramp: 5}", 16, "a list is expected: [5]"),
        ("limits: {ramp: [0]}", 17, "found 0; a step lets more than none through"),
        ("limits: {ramp: [0.0%]}", 17, "more than none"),
        ("limits: {ramp: [101%]}", 17, "at most `100%`"),
        ("limits: {ramp: [1, 0.2]}", 20, "a share like `5%`"),
        ("limits: {ramp: [5, 10%, 4]}", 25, "found 4 after 5"),
        ("limits: {ramp: [20%, 5, 19.5%]}", 25, "found 19.5% after 20%"),
        ("limits: {ramp: [[1]]}", 17, "found a list; a whole number"),
        ("limits: {ramp: [1, null]}", 20, "found nothing"),
        ("budget: {failures: -1}", 20, "cannot be negative"),
        ("budget: {failures: 5 %}", 20, "write `5%`"),
        ("budget: {failures: 100.5%}", 20, "at most `100%`"),
        ("budget: {failures: true}", 20, "is expected"),
        ("budget: {per_host: 5%}", 20, "only a count is taken here"),
        ("budget: {same_cause: 5%}", 22, "only a count is taken here"),
        ("budget: {per_host: -1}", 20, "at least 0"),
        ("budget: {same_cause: 1.5}", 22, "a whole number"),
        ("budget: {power_cut: 5}", 10, "did you mean `power_cuts`?"),
        ("budget: 5%", 9, "a mapping with keys is expected"),
        ("window: {}", 9, "`end` is missing"),
        ("window: {start: 2026-11-28T22:00:00Z}", 9, "`end` is missing"),
        ("window: {end: 2026-11-29}", 15, "with its offset is expected"),
        ("window: {end: 2026-11-29T02:00:00}", 15, "or `2026-11-29T02:00:00Z` for UTC"),
        ("window: {end: 1795917600}", 15, "with its offset is expected"),
        ("window: {end: 2026-11-29T02:00:00Z, at_end: finsh}", 45, "did you mean `finish`?"),
        ("window: {end: 2026-11-29T02:00:00Z, reserve: 15}", 46, "write `15s`"),
        ("window: {start: 2026-11-29T02:00:00Z, end: 2026-11-29T02:00:00Z}", 39, "ends before it begins"),
        ("window: {start: 2026-11-28T22:00:00+08:00, end: 2026-11-28T13:59:59Z}", 44, "ends before it begins"),
        ("window: {reserve: 1h, start: 2026-11-29T02:00:00Z, end: 2026-11-29T03:00:00Z}", 10, "as long as the whole"),
    ],
)
def test_one_problem(line: str, column: int, piece: str) -> None:
    """One wrong value is one problem at its place, with what would be right."""
    assert_told(problems(SMALL + line + "\n"), (5, column, piece))


@given(steps=st.lists(STEPS, min_size=1, max_size=6))
def test_ramps(steps: list[int | str]) -> None:
    """A ramp is taken exactly when neither its counts nor its shares go back; only like is compared with like."""
    counts = [step for step in steps if isinstance(step, int)]
    shares = [int(step[:-1]) for step in steps if isinstance(step, str)]
    climbs = counts == sorted(counts) and shares == sorted(shares)
    written = {"ramp": tuple(steps)}
    if climbs:
        assert Limits.model_validate(written).ramp == tuple(parse_quantity(step) for step in steps)
    else:
        with pytest.raises(ValidationError, match="includes those before it"):
            Limits.model_validate(written)


def test_rules_hold_without_a_file() -> None:
    """What validate refuses in a file is refused in Python too."""
    end = datetime(2026, 11, 29, 2, tzinfo=UTC)
    with pytest.raises(ValidationError, match="without an offset"):
        Window(end=datetime(2026, 11, 29))  # noqa: DTZ001  # that is what is refused
    with pytest.raises(ValidationError, match="ends before"):
        Window(start=end, end=end)
    with pytest.raises(ValidationError, match="as long as the whole window"):
        Window(start=end - timedelta(hours=1), end=end, reserve=timedelta(hours=1))
    with pytest.raises(ValidationError, match="cannot be negative"):
        Budget.model_validate({"failures": -1})
    with pytest.raises(ValidationError, match="at least 1 item"):
        Plan.model_validate({"version": 1, "name": "a", "targets": {"where": (("a=b",),)}, "waves": ()})
