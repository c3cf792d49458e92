"""When the last VM will have its outcome, as a range (`interface.md` 4, "The window"). Pure.

Of one wave: its work over its slots, on the host, cluster or storage where that takes longest, and at least its longest
VM. Waves after one another add up, and what they share in slots and requests bounds them all. A work-conserving order
ends within 1.2 of its longest VM over that bound (simulated, scheduling.md 6), which is how far the range reaches.

Verification is not in it: the VMs are off before.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from orchestrator.engine.estimates import Estimates, Figures
from orchestrator.engine.schedule import SlotLimits
from orchestrator.model.target import VmRow

_REQUESTS_A_VM = 3.0
"""A read, a PUT, a look, and a share of the bulk queries."""
_TAIL_LIKELY, _TAIL_HIGH = 0.3, 1.2
"""How far past the bound a run ends, in its longest VMs: as a rule, and at most."""
_OVERDUE = 0.5
"""A VM past its time is expected to take half a mean more: nobody knows."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One wave, or those of its VMs to which the same is done: what it comes after, its own slots, what its VMs are expected
    to take, its ramp as cumulative counts of VMs (empty for none).

    `worst_seconds`: the longest that one VM may hold its slots by the plan's rules.
    """

    name: Hashable
    slots: SlotLimits
    worst_seconds: float
    estimates: Estimates
    after: tuple[Hashable, ...] = ()
    ramp: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds from now until the last VM has its outcome: at best, most likely, at worst. All 0 where nothing is left.

    `vms`: how many it is about; `known` of them by what they took in an earlier run. The others by `mean_seconds`, which
    is of the `measured` VMs that have ended in this run, or assumed where that is 0.
    """

    low: float
    likely: float
    high: float
    vms: int
    known: int
    measured: int
    mean_seconds: float

    @property
    def rests_on(self) -> str:
        """What it was made of, to follow `it rests on`."""
        parts = []
        if self.known:
            who = f"all {self.vms} VMs" if self.known == self.vms else f"{self.known} of {self.vms} VMs"
            parts.append(f"what {'the one VM' if self.vms == 1 else who} took last time")
        if self.known < self.vms:
            mean = f"{self.mean_seconds:.3g} s"
            found = f"the mean of {self.measured} that have ended ({mean})"
            ground = found if self.measured else f"an assumption of {mean} a VM"
            parts.append(f"{ground} for the others" if self.known else ground)
        return " and ".join(parts) or "nothing that is left to do"


@dataclass(slots=True)
class _Work:
    """What waits somewhere: how many VMs nobody knows, by host, and the sums of the others."""

    unknown: Counter[str | None] = field(default_factory=Counter)
    low: float = 0.0
    likely: float = 0.0
    high: float = 0.0

    def change(self, host: str | None, figures: Figures | None, sign: int) -> None:
        if figures is None:
            self.unknown[host] += sign
            return
        self.low += sign * figures.low
        self.likely += sign * figures.likely
        self.high += sign * figures.high


_Place = tuple[str, str]
_Left = tuple[VmRow, Figures]


@dataclass(slots=True)
class _Wave:
    shape: Shape
    waiting: int = 0
    through: int = 0
    all: _Work = field(default_factory=_Work)
    places: dict[_Place, _Work] = field(default_factory=lambda: defaultdict(_Work))
    longest: list[tuple[float, str]] = field(default_factory=list)
    """A heap of the known ones that wait, the longest first; those that wait no more are thrown away when they come up."""
    flying: dict[str, float] = field(default_factory=dict)
    rows: dict[str, VmRow] = field(default_factory=dict)
    """Its VMs that wait or are in flight."""
    units: dict[str | None, Figures] = field(default_factory=dict)
    """What a VM nobody knows is expected to take, by host, while a forecast is made."""
    slowest: dict[str | None, Figures] = field(default_factory=dict)
    """The same of the slowest of them."""


class Outlook:
    """Told of each VM that waits, starts and ends; says when all will have ended. `slots`: the run's own limits."""

    def __init__(self, shapes: Iterable[Shape], slots: SlotLimits, requests_per_second: float) -> None:
        self._waves = {shape.name: _Wave(shape) for shape in shapes}
        self._slots = slots
        self._rate = requests_per_second
        order = {name: wave.shape.after for name, wave in self._waves.items()}
        self._order = tuple(TopologicalSorter(order).static_order())

    def already(self, wave: Hashable, count: int) -> None:
        """So many VMs of this wave had their turn before, in another process."""
        self._waves[wave].through += count

    @property
    def in_flight(self) -> int:
        """VMs that have begun and have no outcome."""
        return sum(len(wave.flying) for wave in self._waves.values())

    def waits(self, row: VmRow, wave: Hashable) -> None:
        """A VM that is to have its turn."""
        it = self._waves[wave]
        it.rows[row.uuid] = row
        self._change(it, row, 1)
        known = it.shape.estimates.known.get(row.uuid)
        if known is not None:
            heapq.heappush(it.longest, (-known.high, row.uuid))

    def starts(self, uuid: str, now: float) -> None:
        """It has its turn. `now`: seconds of the clock that `forecast` is asked by."""
        wave = self._of(uuid)
        assert wave is not None, f"{uuid} does not wait"
        self._change(wave, wave.rows[uuid], -1)
        wave.through += 1
        wave.flying[uuid] = now

    def ends(self, uuid: str) -> None:
        """It has its outcome, or will never have its turn. One that is told again changes nothing."""
        wave = self._of(uuid)
        if wave is None:
            return
        row = wave.rows.pop(uuid)
        if wave.flying.pop(uuid, None) is None:
            self._change(wave, row, -1)

    def _of(self, uuid: str) -> _Wave | None:
        """The wave in which it waits or is in flight; there are few waves, and many VMs."""
        return next((wave for wave in self._waves.values() if uuid in wave.rows), None)

    def forecast(self, now: float) -> Forecast:
        """Seconds from `now`."""
        known = 0
        for wave in self._waves.values():
            estimates = wave.shape.estimates
            wave.units = {host: estimates.unknown(host) for host in wave.all.unknown}
            wave.slowest = {host: estimates.longest(host) for host in wave.all.unknown}
            known += sum(uuid in estimates.known for uuid in wave.rows) if estimates.known else 0
        lefts = {
            name: [self._left(wave, *begun, now) for begun in wave.flying.items()] for name, wave in self._waves.items()
        }
        vms = sum(len(wave.rows) for wave in self._waves.values())
        # Of what is done to most of them, where not the same is done to all.
        most = max(self._waves.values(), key=lambda wave: len(wave.rows)).shape.estimates
        low = self._end(lefts, lambda figures: figures.low, tail=0.0)
        likely = max(low, self._end(lefts, lambda figures: figures.likely, tail=_TAIL_LIKELY))
        high = max(likely, self._end(lefts, lambda figures: figures.high, tail=_TAIL_HIGH))
        return Forecast(low, likely, high, vms, known, most.measured, most.mean(None))

    def _change(self, wave: _Wave, row: VmRow, sign: int) -> None:
        known = wave.shape.estimates.known.get(row.uuid)
        wave.waiting += sign
        wave.all.change(row.host_uuid, known, sign)
        for place in _places(row):
            wave.places[place].change(row.host_uuid, known, sign)

    def _end(self, lefts: Mapping[Hashable, Sequence[_Left]], pick: Callable[[Figures], float], *, tail: float) -> float:
        """Seconds until everything has ended. `lefts`: what those in flight are going to take yet, by wave."""
        shared: Counter[_Place] = Counter()
        total, longest, waiting = 0.0, 0.0, 0

        lasting: dict[Hashable, float] = {}
        for name, wave in self._waves.items():
            work = {place: _seconds(wave, part, pick) for place, part in wave.places.items()}
            sums = _seconds(wave, wave.all, pick)
            single = 0.0
            for row, figures in lefts[name]:
                left = pick(figures)
                sums += left
                single = max(single, left)
                for place in _places(row):
                    work[place] = work.get(place, 0.0) + left
            single = max(single, self._longest(wave, pick))
            shared.update(work)
            total, longest, waiting = total + sums, max(longest, single), waiting + wave.waiting
            lasting[name] = self._lasting(wave, work, sums, single, tail)
        bound = max(total / self._slots.total, _tightest(shared, self._slots), waiting * _REQUESTS_A_VM / self._rate)
        ends: dict[Hashable, float] = {}
        for name in self._order:
            ends[name] = lasting[name] + max((ends[other] for other in self._waves[name].shape.after), default=0.0)
        path = max(ends.values(), default=0.0)
        return max(path, bound + (tail * longest if waiting else 0.0))

    def _lasting(self, wave: _Wave, work: Mapping[_Place, float], sums: float, single: float, tail: float) -> float:
        """How long this wave takes by itself, once it may begin."""
        bound = max(sums / min(wave.shape.slots.total, self._slots.total), _tightest(work, wave.shape.slots))
        rest = tail * single if wave.waiting else 0.0
        batches = _batches(wave)
        if len(batches) < 2:
            return max(bound, single) + rest
        # A step waits for every VM of the one before, so that each takes at least as long as one VM does.
        one = sums / max(1, wave.waiting + len(wave.flying))
        return sum(max(bound * size / sum(batches), one) for size in batches[:-1]) + max(
            bound * batches[-1] / sum(batches), single
        ) + rest  # fmt: skip

    def _left(self, wave: _Wave, uuid: str, since: float, now: float) -> _Left:
        """What one in flight is going to take yet."""
        row, elapsed = wave.rows[uuid], now - since
        figures = wave.shape.estimates.known.get(uuid)
        if figures is None:
            unit = wave.units[row.host_uuid]
            figures = Figures(unit.low, unit.likely, wave.slowest[row.host_uuid].high)
        if elapsed < figures.likely:
            late = figures.likely - elapsed
            return row, Figures(max(0.0, figures.low - elapsed), late, max(late, figures.high - elapsed))
        late = _OVERDUE * wave.shape.estimates.mean(row.host_uuid)
        return row, Figures(0.0, late, max(late, wave.shape.worst_seconds - elapsed))

    def _longest(self, wave: _Wave, pick: Callable[[Figures], float]) -> float:
        """The longest single VM that waits."""
        found = max((pick(wave.slowest[host]) for host, n in wave.all.unknown.items() if n > 0), default=0.0)
        while wave.longest and (wave.longest[0][1] not in wave.rows or wave.longest[0][1] in wave.flying):
            heapq.heappop(wave.longest)
        return max(found, pick(wave.shape.estimates.known[wave.longest[0][1]])) if wave.longest else found


def _seconds(wave: _Wave, work: _Work, pick: Callable[[Figures], float]) -> float:
    unknown = sum(count * pick(wave.units[host]) for host, count in work.unknown.items() if count > 0)
    return unknown + max(0.0, pick(Figures(work.low, work.likely, work.high)))


def _places(row: VmRow) -> Iterable[_Place]:
    if row.host_uuid is not None:
        yield "host", row.host_uuid
    if row.cluster_uuid is not None:
        yield "cluster", row.cluster_uuid
    for storage in row.storages:
        yield "storage", storage


def _tightest(work: Mapping[_Place, float], slots: SlotLimits) -> float:
    """The longest that any host, cluster or storage needs for its own part."""
    limits = {"host": slots.per_host, "cluster": slots.per_cluster, "storage": slots.per_primary_storage}
    return max((seconds / limit for (kind, _), seconds in work.items() if (limit := limits[kind]) is not None), default=0.0)


def _batches(wave: _Wave) -> list[int]:
    """How many VMs each step of the ramp still lets through, those in flight with the first."""
    sizes, done = [], wave.through
    for step in wave.shape.ramp:
        if step > done:
            sizes.append(step - done)
            done = step
    last = wave.through + wave.waiting - done
    if last > 0:
        sizes.append(last)
    if sizes and wave.flying:
        sizes[0] += len(wave.flying)
    return sizes
