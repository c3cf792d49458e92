"""How long a VM holds its slots: by what it took in earlier runs, else by what this run measures on its host. Pure.

The learned mean is that of scheduling.md 5: run-wide and host-wise, each drawn towards the wider one while little is
known. Where nothing is measured at all, a guest is expected to take 25 s, as simulated there.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PRIOR_SECONDS = 25.0
"""What a VM is expected to take on a real node before any has ended."""
_PRIOR_WEIGHT = 4
QUICK_SECONDS = 5.0
"""The quickest guests, and how long a power cut itself takes (zstack-rest.md 4.3)."""
_SPREAD = 0.1
"""A VM takes within ± 10 % of what it took before, at the least: one earlier run is no spread yet."""
_LEAST_ERROR, _MOST_ERROR = 0.1, 0.8


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds at best, most likely, and at worst; `low <= likely <= high`."""

    low: float
    likely: float
    high: float


def known_figures(seconds: Sequence[float]) -> Figures:
    """From what one VM took in earlier runs, the newest first; at least one."""
    newest = seconds[0]
    return Figures(min(*seconds, newest * (1 - _SPREAD)), newest, max(*seconds, newest * (1 + _SPREAD)))


@dataclass(slots=True)
class Sums:
    """What is measured of many VMs: how many have ended, the seconds they took, and how many are in flight."""

    count: int = 0
    seconds: float = 0.0
    flying: int = 0
    since: float = 0.0
    """The sum of the moments at which those in flight began."""


@dataclass(slots=True)
class Estimates:
    """`known`: by UUID, of VMs that ended well in an earlier run. `power_cut_seconds`: when grace turns into a power cut;
    `scale` compresses what is assumed (1 on a real node). `prior_seconds`: what is expected of a VM
    on a real node before any has ended.
    """

    known: Mapping[str, Figures] = field(default_factory=dict)
    power_cut_seconds: float = 60.0
    scale: float = 1.0
    prior_seconds: float = PRIOR_SECONDS
    _all: Sums = field(default_factory=Sums)
    _hosts: defaultdict[str | None, Sums] = field(default_factory=lambda: defaultdict(Sums))
    _squares: float = 0.0
    _longest: float = 0.0
    _prior: float = field(init=False)
    """The seconds that stand for what is expected before any VM has ended."""

    def __post_init__(self) -> None:
        self._prior = _PRIOR_WEIGHT * self.prior_seconds * self.scale

    @property
    def measured(self) -> int:
        """VMs that have ended in this run."""
        return self._all.count

    def sums(self, host: str | None) -> Sums:
        """What is measured on this host; the one that `begins` and `ends` count on."""
        return self._hosts[host]

    def begins(self, sums: Sums, now: float) -> None:
        """A VM that was queued on this host takes its slots: what it holds them for counts before it has ended."""
        every = self._all
        every.flying += 1
        every.since += now
        sums.flying += 1
        sums.since += now

    def ends(self, sums: Sums, began: float, now: float, *, telling: bool) -> None:
        """It has given them back. `telling`: that it held them from `began` to `now` says how long others take."""
        every = self._all
        every.flying -= 1
        every.since -= began
        sums.flying -= 1
        sums.since -= began
        if telling:
            seconds = now - began
            every.count += 1
            every.seconds += seconds
            sums.count += 1
            sums.seconds += seconds
            self._squares += seconds * seconds
            if seconds > self._longest:  # noqa: PLR1730 - max() is slower, and this is asked of every VM
                self._longest = seconds

    def took(self, host: str | None, seconds: float) -> None:
        """A VM on this host has held its slots for so long, in an earlier process of this run."""
        sums = self._hosts[host]
        self.begins(sums, 0.0)
        self.ends(sums, 0.0, seconds, telling=True)

    def mean(self, host: str | None, now: float | None = None) -> float:
        """What a VM of this host is expected to take, nothing else being known of it.

        `now`: what is in flight counts with the time it has taken so far, or the first, short ones would speak for all;
        None leaves it out.
        """
        return self.of_sums(self._hosts[host], now)

    def of_sums(self, sums: Sums, now: float | None) -> float:
        """The same of the host that these are measured on: its own mean, drawn towards that of all, and that one towards
        what is expected before any VM has ended.
        """
        every = self._all
        seconds = self._prior + every.seconds
        if now is None:
            return (_PRIOR_WEIGHT * seconds / (_PRIOR_WEIGHT + every.count) + sums.seconds) / (_PRIOR_WEIGHT + sums.count)
        common = (seconds + every.flying * now - every.since) / (_PRIOR_WEIGHT + every.count)
        return (_PRIOR_WEIGHT * common + sums.seconds + sums.flying * now - sums.since) / (_PRIOR_WEIGHT + sums.count)

    def assumed(self, uuid: str) -> bool:
        """Is nothing measured that this VM's figures rest on?"""
        return uuid not in self.known and not self.measured

    def of(self, uuid: str, host: str | None) -> Figures:
        """What this VM is going to take: its own figures, or the learned mean with its error."""
        return self.known.get(uuid) or self.unknown(host)

    def unknown(self, host: str | None) -> Figures:
        """The mean of many VMs nobody knows; a single one may take as long as `longest`."""
        mean = self.mean(host)
        if not self.measured:
            return Figures(min(QUICK_SECONDS * self.scale, mean), mean, max(self._cut, mean))
        error = self._error()
        return Figures(mean * (1 - error), mean, mean * (1 + error))

    def longest(self, host: str | None) -> Figures:
        """What the slowest of many VMs nobody knows is going to take: the longest measured, or a power cut."""
        mean = self.mean(host)
        likely = max(self._longest, mean) if self.measured else self._cut
        return Figures(self.unknown(host).low, max(likely, mean), max(likely, mean, self._cut))

    @property
    def _cut(self) -> float:
        return self.power_cut_seconds + QUICK_SECONDS * self.scale

    def _error(self) -> float:
        """Twice the standard error of the mean, as a share of it."""
        count, mean = self._all.count, self._all.seconds / self._all.count
        if count < 2 or mean <= 0:
            return _MOST_ERROR
        variance = max(0.0, self._squares / count - mean * mean)
        return min(_MOST_ERROR, max(_LEAST_ERROR, 2 * math.sqrt(variance / count) / mean))
