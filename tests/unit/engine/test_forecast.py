"""The forecast held against runs that are simulated with the program's own scheduler."""

import heapq
import random
from collections.abc import Mapping, Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.estimates import Estimates, Figures, known_figures
from orchestrator.engine.forecast import Forecast, Outlook, Shape
from orchestrator.engine.schedule import Lanes, SlotLimits, Slots
from orchestrator.model.target import VmRow

VMS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 120)), min_size=1, max_size=60)
LIMITS = st.builds(SlotLimits, st.integers(1, 20), st.integers(1, 6))
WORST = 430.0


def row(number: int, host: int) -> VmRow:
    """A VM on a host."""
    return VmRow(f"{number:032x}", None, "UserVm", "Running", f"h{host}", "c", None)


def rows_of(vms: Sequence[tuple[int, int]]) -> tuple[list[VmRow], dict[str, float]]:
    """Rows, and what each takes."""
    rows = [row(number, host) for number, (host, _) in enumerate(vms)]
    return rows, {made.uuid: float(seconds) for made, (_, seconds) in zip(rows, vms, strict=True)}


def exactly(seconds: Mapping[str, float]) -> Estimates:
    """Everything is known to the second."""
    return Estimates({uuid: Figures(taken, taken, taken) for uuid, taken in seconds.items()})


def outlook(rows: Sequence[VmRow], limits: SlotLimits, estimates: Estimates, rate: float = 1e9) -> Outlook:
    """All of them wait in one wave."""
    made = Outlook([Shape("all", limits, WORST, estimates)], limits, rate)
    for each in rows:
        made.waits(each, "all")
    return made


def played(rows: Sequence[VmRow], seconds: Mapping[str, float], limits: SlotLimits, seen: Outlook | None = None) -> list[
    tuple[float, Forecast | None]
]:  # fmt: skip
    """When each VM ended, with the forecast made then."""
    slots = Slots(limits)
    lanes, flying, numbers, now = Lanes(slots), list[tuple[float, int, VmRow]](), count(), 0.0
    for each in rows:
        lanes.add(each)
    ends: list[tuple[float, Forecast | None]] = []
    while True:
        while (taken := lanes.take(now)) is not None:
            heapq.heappush(flying, (now + seconds[taken.uuid], next(numbers), taken))
            if seen is not None:
                seen.starts(taken.uuid, now)
        if not flying:
            return ends
        now, _, ended = heapq.heappop(flying)
        slots.give_back(ended)
        lanes.done(ended.host_uuid, now - seconds[ended.uuid], now)
        if seen is not None:
            seen.ends(ended.uuid)
        ends.append((now, seen.forecast(now) if seen is not None else None))


@given(VMS, LIMITS)
def test_known_durations_bound_the_run(vms: Sequence[tuple[int, int]], limits: SlotLimits) -> None:
    """`low` is never later than the end; the end is never later than total and host work and the longest VM together."""
    rows, seconds = rows_of(vms)
    made = outlook(rows, limits, exactly(seconds)).forecast(0.0)
    end = played(rows, seconds, limits)[-1][0]
    assert made.low <= made.likely <= made.high
    assert made.low <= end + 1e-6
    hosts = [sum(taken for host, taken in vms if host == number) for number in range(5)]
    assert end <= sum(seconds.values()) / limits.total + max(hosts) / limits.per_host + max(seconds.values()) + 1e-6
    assert (made.vms, made.known) == (len(vms), len(vms))


@given(VMS, LIMITS)
def test_the_forecast_follows_the_run(vms: Sequence[tuple[int, int]], limits: SlotLimits) -> None:
    """After each end `low` still lies before the real end, and nothing is left after the last."""
    rows, seconds = rows_of(vms)
    seen = outlook(rows, limits, exactly(seconds))
    ends = played(rows, seconds, limits, seen)
    last = ends[-1][0]
    assert all(made is not None and at + made.low <= last + 1e-6 for at, made in ends)
    over = seen.forecast(last)
    assert (over.low, over.likely, over.high, over.vms) == (0, 0, 0, 0)
    assert over.rests_on == "nothing that is left to do"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("vms", "hosts", "total", "per_host"), [(300, 20, 50, 5), (1000, 50, 100, 5), (200, 4, 50, 5)])
def test_the_range_holds_the_end(seed: int, vms: int, hosts: int, total: int, per_host: int) -> None:
    """Durations of 5 to 120 s, mean near 25 s: with history the end lies in the range; without any, before its far end."""
    rng = random.Random(seed)
    rows, seconds = rows_of([(rng.randrange(hosts), 1) for _ in range(vms)])
    seconds = {uuid: min(120.0, max(5.0, rng.lognormvariate(2.89, 0.8))) for uuid in seconds}
    limits = SlotLimits(total, per_host)
    end = played(rows, seconds, limits)[-1][0]
    history = Estimates({uuid: known_figures([taken * rng.uniform(0.9, 1.1)]) for uuid, taken in seconds.items()})
    known = outlook(rows, limits, history).forecast(0.0)
    assert known.low <= end <= known.high
    blind = outlook(rows, limits, Estimates()).forecast(0.0)
    assert blind.low <= end <= blind.high
    assert (blind.known, blind.measured) == (0, 0)
    assert blind.rests_on == "an assumption of 25 s a VM"


@given(VMS, LIMITS)
def test_more_work_never_ends_sooner(vms: Sequence[tuple[int, int]], limits: SlotLimits) -> None:
    """One VM more: no figure of the forecast gets smaller."""
    rows, seconds = rows_of(vms)
    less, more = (outlook(part, limits, exactly(seconds)).forecast(0.0) for part in (rows[:-1], rows))
    assert less.low <= more.low + 1e-6
    assert less.likely <= more.likely + 1e-6
    assert less.high <= more.high + 1e-6


def test_waves_add_up() -> None:
    """Three waves after one another take three times one; side by side they share the run's slots."""
    limits, seconds = SlotLimits(10, 10), {f"{n:032x}": 10.0 for n in range(30)}

    def forecast(after: Sequence[tuple[str, ...]]) -> Forecast:
        shapes = [
            Shape(name, limits, WORST, exactly(seconds), after=names) for name, names in zip("abc", after, strict=True)
        ]
        made = Outlook(shapes, limits, 1e9)
        for number in range(30):
            made.waits(row(number, number), "abc"[number % 3])
        return made.forecast(0.0)

    assert forecast([(), ("a",), ("b",)]).low == pytest.approx(30)
    assert forecast([(), (), ()]).low == pytest.approx(30)
    assert forecast([(), (), ()]).likely < forecast([(), ("a",), ("b",)]).likely


def test_a_ramp_adds_its_steps() -> None:
    """1, 5, then the other 94 of 100, each of 10 s, 50 at once: 10 + 10 + 20 s; let through whole, 20 s."""
    limits, seconds = SlotLimits(50, 50), {f"{n:032x}": 10.0 for n in range(100)}
    for ramp, least in (((), 20.0), ((1, 5, 100), 38.0)):
        made = Outlook([Shape("all", limits, WORST, exactly(seconds), ramp=ramp)], limits, 1e9)
        for number in range(100):
            made.waits(row(number, number), "all")
        assert least <= made.forecast(0.0).low <= 40


def test_the_request_rate_bounds_it() -> None:
    """At one request a second a hundred quick VMs take five minutes, however many may be in flight."""
    rows = [row(number, number) for number in range(100)]
    made = outlook(rows, SlotLimits(100, 100), exactly({each.uuid: 1.0 for each in rows}), rate=1.0)
    assert made.forecast(0.0).low == pytest.approx(300)


def test_one_that_is_past_its_time() -> None:
    """A VM that hangs may take until the plan's last deadline, and the range says so."""
    made = outlook([row(0, 0)], SlotLimits(5, 5), Estimates())
    made.starts(f"{0:032x}", 100.0)
    fresh, late = made.forecast(100.0), made.forecast(300.0)
    assert fresh.likely == pytest.approx(25)
    assert late.low == 0
    assert late.high == pytest.approx(WORST - 200)


def test_what_is_measured_replaces_what_was_assumed() -> None:
    """After thirty ends of 100 s a run expects 100 s a VM, and says by how many."""
    estimates = Estimates()
    made = outlook([row(number, 0) for number in range(10)], SlotLimits(1, 1), estimates)
    before = made.forecast(0.0)
    for _ in range(30):
        estimates.took("h0", 100.0)
    after = made.forecast(0.0)
    assert before.likely < 400 < 800 < after.likely
    assert after.rests_on.startswith("the mean of 30 that have ended (")


def test_figures_of_earlier_runs() -> None:
    """One earlier run is taken for ± 10 %; several for what they span."""
    assert known_figures([50.0]) == Figures(45.0, 50.0, 50.0 * 1.1)
    assert known_figures([50.0, 20.0, 90.0]) == Figures(20.0, 50.0, 90.0)
