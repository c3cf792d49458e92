"""The order of work held against its limits, in virtual time with fixed seeds: every run of this gives the same ratios."""

import statistics

import pytest

from benchmarks.grid import MUST, Case, play, play_case, summary

CASES = [
    ("uniform", "grouped", 500, 5),
    ("uniform", "random", 100, 5),
    ("zipf", "grouped", 50, 10),
    ("hot", "grouped", 200, 3),
]


@pytest.mark.parametrize("history", ["none", "known"])
@pytest.mark.parametrize("grid", ["G", "Z"])
def test_the_order_of_work(grid: str, history: str) -> None:
    """Four cases of 1000 VMs, the hardest among them: median and excess within what the whole grid has to reach."""
    results = [play_case(Case(grid, 1_000, *cell, history), 3) for cell in CASES]
    _, _, _, worst, _, every, excess = next(summary(results))
    must = MUST[grid, 1_000, history]
    assert worst <= must[0]
    assert every <= must[2]
    assert excess <= must[3]


def test_history_pays() -> None:
    """Where the host limits bind least, knowing the durations takes a fifth off what an order by counts needs."""
    blind, known = (
        statistics.median(play(Case("G", 1_000, "uniform", "grouped", 500, 5, history), seed).ratio for seed in range(3))
        for history in ("none", "known")
    )
    assert known < 0.9 * blind


def test_a_slow_host_is_noticed_within_the_run() -> None:
    """One host in ten is four times slower and nobody knows: learning its mean ends sooner than counting VMs does."""
    cell = ("uniform", "random", 50, 10)
    learned, counted = (
        statistics.median(play(Case("D", 1_000, *cell, history), seed).ratio for seed in range(4))
        for history in ("none", "count")
    )
    assert learned < 0.9 * counted
