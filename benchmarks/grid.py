"""The order of work in virtual time: the program's own lanes over the grids G and Z, against the bound nobody can beat.

The bound of a case is max(sum p / c, longest p, and of every host its sum p / its limit). Grids, shares and definitions are
those of scheduling.md; every draw has a fixed seed, so that each run of this prints the same ratios.
"""

import argparse
import heapq
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product

from orchestrator.engine.estimates import PRIOR_SECONDS, Estimates, Sums, known_figures
from orchestrator.engine.schedule import Lanes, SlotLimits, Slots
from orchestrator.model.target import VmRow

HOSTS = {1_000: 50, 10_000: 200}
"""Hosts by number of VMs."""
MANY_HOSTS = 1_000
DECISION_MUST = 4.0
"""Microseconds of Python that the start and the completion of one VM may take together at a thousand hosts."""
SKEWS, ORDERS = ("uniform", "zipf", "hot"), ("grouped", "random")
LIMITS_G = ((200, 3), (100, 5), (500, 5), (50, 10))
LIMITS_Z = (*LIMITS_G, (200, 10), (1000, 10))
FACTORS = (0.7, 1.0, 1.0, 1.5)
"""How much faster or slower a host is, drawn for each."""
MUST = {
    ("G", 1_000, "none"): (1.35, 1.07, 1.50, 1.2),
    ("G", 10_000, "none"): (1.20, 1.015, 1.22, 1.2),
    ("Z", 1_000, "none"): (1.55, 1.10, 1.70, 1.2),
    ("Z", 10_000, "none"): (1.30, 1.015, 1.32, 1.2),
    ("G", 1_000, "known"): (1.03, 1.01, 1.05, 0.15),
    ("G", 10_000, "known"): (1.015, 1.005, 1.02, 0.15),
    ("Z", 1_000, "known"): (1.06, 1.01, 1.12, 0.15),
    ("Z", 10_000, "known"): (1.02, 1.005, 1.025, 0.15),
}
"""By grid, VMs and history: worst case-median, median of them, any run, and any run's excess in longest VMs."""


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of a grid. `history`: `none`, `known` to ± 10 %, or `count`, which learns nothing in the run either.

    `hosts`: 0 for as many as the grid has.
    """

    grid: str
    vms: int
    skew: str
    order: str
    total: int
    per_host: int
    history: str
    hosts: int = 0

    def __str__(self) -> str:
        return f"{self.grid} {self.vms} {self.skew} {self.order} {self.total}/{self.per_host} {self.history}"


@dataclass(frozen=True, slots=True)
class Played:
    """One run of a case: makespan over bound, its excess over the bound in longest VMs, and seconds of Python a decision."""

    ratio: float
    excess: float
    decision: float


class Unlearning(Estimates):
    """Expects the same of every VM, whatever is measured."""

    def of_sums(self, sums: Sums, now: float | None) -> float:
        """Always the same."""
        return PRIOR_SECONDS


def cases(grids: Sequence[str] = ("G", "Z"), vms: Sequence[int] = (1_000, 10_000)) -> Iterator[Case]:
    """Every cell: 48 of G, 72 of Z, each with and without history."""
    for grid, count, history in product(grids, vms, ("none", "known")):
        for skew, order, (total, per_host) in product(SKEWS, ORDERS, LIMITS_G if grid == "G" else LIMITS_Z):
            yield Case(grid, count, skew, order, total, per_host, history)


def draw(case: Case, rng: random.Random) -> tuple[list[VmRow], dict[str, float]]:
    """The VMs in their input order, and what each takes."""
    hosts = case.hosts or HOSTS[case.vms]
    factors = [rng.choice(FACTORS) for _ in range(hosts)]
    if case.grid == "D":
        factors = [4.0 if rng.random() < 0.1 else 1.0 for _ in range(hosts)]
    weights = {
        "uniform": [1.0] * hosts,
        "zipf": [1.0 / (rank + 1) for rank in range(hosts)],
        "hot": [0.25 * (hosts - 1)] + [1.0] * (hosts - 1),  # one host has a fifth of all
    }[case.skew]
    placed = rng.choices(range(hosts), weights, k=case.vms)
    if case.order == "grouped":
        placed.sort()
    rows, seconds = [], {}
    for number, host in enumerate(placed):
        uuid = f"{number:032x}"
        rows.append(VmRow(uuid, None, "UserVm", "Running", f"h{host}", None, None))
        seconds[uuid] = lasting(case.grid, factors[host], rng)
    return rows, seconds


def lasting(grid: str, factor: float, rng: random.Random) -> float:
    """Seconds of one stop. G: lognormal, 5 to 120 s. Z: most 3 to 20 s, some to 60 s, one in twenty loses its power. D: as G
    on hosts of which some are slow, with no end at 120 s.
    """
    if grid in {"G", "D"}:
        seconds = max(5.0, rng.lognormvariate(2.8904, 0.8) * factor)
        return min(120.0, seconds) if grid == "G" else seconds
    kind = rng.random()
    if kind < 0.80:
        return rng.uniform(3, 20) * factor
    if kind < 0.95:
        return min(60.0, rng.uniform(20, 60) * factor)
    return 60.0 + rng.uniform(2, 5)


def bound(rows: Sequence[VmRow], seconds: Mapping[str, float], limits: SlotLimits) -> float:
    """The least any order could take."""
    hosts: Counter[str | None] = Counter()
    for row in rows:
        hosts[row.host_uuid] += seconds[row.uuid]  # type: ignore[assignment]
    return max(sum(seconds.values()) / limits.total, *seconds.values(), max(hosts.values()) / limits.per_host)


def play(case: Case, seed: int) -> Played:
    """One run in virtual time."""
    rng = random.Random(f"{case.grid}:{case.vms}:{case.skew}:{case.order}:{seed}")  # noqa: S311 - to be repeatable
    rows, seconds = draw(case, rng)
    limits = SlotLimits(case.total, case.per_host)
    known = {}
    if case.history == "known":
        known = {uuid: known_figures([taken * rng.uniform(0.9, 1.1)]) for uuid, taken in seconds.items()}
    slots = Slots(limits)
    lanes = Lanes(slots, Unlearning() if case.history == "count" else Estimates(known))
    for row in rows:
        lanes.add(row)
    flying: list[tuple[float, int, VmRow]] = []
    now, number, spent = 0.0, 0, 0.0
    while True:
        started = list[VmRow]()
        began = time.perf_counter()
        while (taken := lanes.take(now)) is not None:
            started.append(taken)
        spent += time.perf_counter() - began
        for row in started:
            number += 1
            heapq.heappush(flying, (now + seconds[row.uuid], number, row))
        if not flying:
            break
        now, _, row = heapq.heappop(flying)
        began = time.perf_counter()
        slots.give_back(row)
        lanes.done(row.host_uuid, now - seconds[row.uuid], now)
        spent += time.perf_counter() - began
    assert number == len(rows), "somebody was left out"
    least = bound(rows, seconds, limits)
    return Played(now / least, (now - least) / max(seconds.values()), spent / len(rows))


def play_case(case: Case, seeds: int) -> tuple[Case, list[Played]]:
    """All runs of one case."""
    return case, [play(case, seed) for seed in range(seeds)]


def summary(results: Sequence[tuple[Case, list[Played]]]) -> Iterator[tuple[str, int, str, float, float, float, float]]:
    """By grid, VMs and history: worst case-median, median of them, any run, largest excess."""
    groups: dict[tuple[str, int, str], list[list[Played]]] = {}
    for case, runs in results:
        groups.setdefault((case.grid, case.vms, case.history), []).append(runs)
    for (grid, vms, history), members in groups.items():
        medians = [statistics.median(run.ratio for run in runs) for runs in members]
        every = [run for runs in members for run in runs]
        yield (
            grid, vms, history, max(medians), statistics.median(medians), max(run.ratio for run in every),
            max(run.excess for run in every),
        )  # fmt: skip


def results(vms: Sequence[int], seeds: int) -> list[tuple[Case, list[Played]]]:
    """Every case, played in two processes."""
    every = list(cases(vms=vms))
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(play_case, every, [seeds] * len(every), chunksize=2))


def rows(found: Sequence[tuple[Case, list[Played]]]) -> tuple[list[str], int]:
    """The table's lines, and how many of its figures are over their limit."""
    lines = ["| grid | VMs | history | worst case-median | median | any run | excess, in longest VMs |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    over = 0
    for grid, vms, history, *figures in summary(found):
        must = MUST[grid, vms, history]
        cells = [f"{figure:.3f} (≤ {limit:g})" for figure, limit in zip(figures, must, strict=True)]
        over += sum(figure > limit for figure, limit in zip(figures, must, strict=True))
        lines.append(f"| {grid} | {vms} | {history} | {' | '.join(cells)} |")
    return lines, over


def decisions(vms: Sequence[int], rounds: int = 9) -> dict[str, float]:
    """Microseconds that a VM's start and completion take together, at a thousand hosts and 500 in flight; and, last, those
    of a piece of work that never changes, by which one machine's figures are told from another's.

    The least of some rounds, which take turns: whatever else the machine does only ever adds to it.
    """
    wanted = list(product(vms, ("none", "known")))
    cases = [Case("G", count, "uniform", "random", 500, 5, history, MANY_HOSTS) for count, history in wanted]
    taken = [(*(play(case, 0).decision for case in cases), yardstick()) for _ in range(rounds)]
    names = [*(f"{count} VMs, history {history}" for count, history in wanted), YARDSTICK]
    return {name: 1e6 * min(times) for name, *times in zip(names, *taken, strict=True)}


YARDSTICK = "ten replacements in a heap of a thousand"


def yardstick() -> float:
    """Seconds that the work called YARDSTICK takes here and now."""
    heap = [(number / 7, number) for number in range(1_000)]
    before = time.perf_counter()
    for number in range(10_000):
        heapq.heapreplace(heap, (heap[0][0] + 100, number))
    return (time.perf_counter() - before) / 1_000


def main() -> int:
    """Print every case and the table; 1 where a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--vms", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--quiet", action="store_true", help="the table alone")
    options = parser.parse_args()
    found = results(options.vms, options.seeds)
    for case, runs in [] if options.quiet else found:
        median = statistics.median(run.ratio for run in runs)
        worst = max(run.ratio for run in runs)
        micros = statistics.median(run.decision for run in runs) * 1e6
        print(f"{case!s:<40} median {median:.3f}  any {worst:.3f}  {micros:.1f} us a VM")
    lines, over = rows(found)
    print("\n".join(lines))
    for name, micros in decisions([10_000]).items():
        print(f"a decision at {MANY_HOSTS} hosts; {name}: {micros:.2f} us")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
