"""The adaptive brake: fewer requests and VMs in flight while the node is slow or says 429, and more again by rule. Pure.

The rule, once an interval: where the node said 429, or at least half of its answers were slow, both limits come down to
seven tenths of what was in use, though never to less than a tenth at once, nor below what it takes to watch those in flight,
whose end must not be seen late; where fewer than a quarter were slow and none was 429, both go up by a quarter, to the
plan's limits and no further. An answer is slow when it takes longer than a second and four times what answers of its kind
and size usually take in this run: a far or busy node is measured against itself, and a fast one may become ten times
slower before anybody should mind. What left before the last lowering says nothing of it, and is not counted. What never
came whole is slow after ten seconds, and nothing is learned from it.
"""

import math
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

INTERVAL_SECONDS, _LEAST_INTERVAL = 2.0, 0.2
SLOW_SECONDS, SLOW_TIMES = 1.0, 4.0
_SLOW_UNKNOWN = 10.0
"""Slow for an answer of a kind nobody knows yet, seconds."""
_TOGETHER = 5
"""Answers that make a usual time, and the fewest by which an interval is judged."""
_LOWER, _RAISE = 0.7, 1.25
_MOST_AT_ONCE = 0.1
"""A rate is not lowered to less than this part of it in one move: where little is asked for, little is no measure."""
_WATCHED = 10.0
"""VMs in flight for each request a second that is always allowed: looks, reads and bulk queries of a VM that takes 25 s."""
_OLDEST = 10
"""Intervals after which one is begun anew without having been judged."""
_LEAST_RATE, _LEAST_IN_FLIGHT = 1.0, 1
"""Requests a second, and VMs, that are always allowed where the plan allows them."""


@dataclass(frozen=True, slots=True)
class Move:
    """The limits from now on. `why`: one clause in words, for a lowering; empty otherwise."""

    kind: Literal["lowered", "raised", "released"]
    requests_per_second: float
    in_flight: int
    why: str = ""


@dataclass(slots=True)
class _Usual:
    """What answers of one kind and size usually take: the least median of five, seconds; inf as long as nobody knows."""

    recent: list[float] = field(default_factory=list)
    seconds: float = math.inf

    def slow(self, seconds: float) -> bool:
        """Is this answer slow? It counts for the usual time as well."""
        limit = _SLOW_UNKNOWN if math.isinf(self.seconds) else max(SLOW_SECONDS, SLOW_TIMES * self.seconds)
        self.recent.append(seconds)
        if len(self.recent) == _TOGETHER:
            self.seconds = min(self.seconds, median(self.recent))
            self.recent.clear()
        return seconds > limit


@dataclass(slots=True)
class _Interval:
    """What was heard since `since`. `all` counts answers to what left before the last lowering too, `answers` does not."""

    since: float
    all: int = 0
    answers: int = 0
    slow: int = 0
    too_many: int = 0
    slowest: tuple[float, float] = (0.0, 0.0)
    """Seconds, and what was usual for it."""

    def in_words(self) -> str:
        """Why limits are lowered."""
        if self.too_many:
            return f"the node said 429 to {self.too_many} of {self.answers} requests"
        took, usual = self.slowest
        usually = "" if math.isinf(usual) else f", usually {usual:.2g} s"
        return f"{self.slow} of {self.answers} answers were slow, up to {took:.1f} s{usually}"


class Brake:
    """`requests_per_second` and `in_flight` are the plan's limits, and the ceiling. `scale` compresses its interval."""

    def __init__(self, requests_per_second: float, in_flight: int, *, now: float, scale: float = 1.0) -> None:
        self._rate_ceiling = requests_per_second
        self._flight_ceiling = in_flight
        self._interval = max(_LEAST_INTERVAL, INTERVAL_SECONDS * scale)
        self.rate = requests_per_second
        self.in_flight = in_flight
        """What is allowed now."""
        self._usual: dict[tuple[str, int], _Usual] = {}
        self._lowered_at = -math.inf
        self._seen = _Interval(now)

    @property
    def on(self) -> bool:
        """Is anything lowered?"""
        return self.rate < self._rate_ceiling or self.in_flight < self._flight_ceiling

    def heard(self, now: float, kind: str, size: int | None, seconds: float, *, too_many: bool, flying: int) -> Move | None:
        """One answer: what was asked, its bytes (None: it never came whole), how long it took, whether it was a 429;
        `flying` VMs are in flight.

        Returns what changes by it; None where nothing does.
        """
        seen = self._seen
        if now - seen.since > _OLDEST * self._interval:
            seen = self._seen = _Interval(now)  # what was long ago says nothing of how much is asked for now
        seen.all += 1
        if now - seconds < self._lowered_at:
            return None
        seen.answers += 1
        if too_many:
            seen.too_many += 1
        elif size is None:
            seen.slow += seconds > _SLOW_UNKNOWN
            seen.slowest = max(seen.slowest, (seconds, math.inf))
        else:
            key = (kind, size.bit_length())
            usual = self._usual.get(key)
            if usual is None:
                usual = self._usual[key] = _Usual()
            if usual.slow(seconds):
                seen.slow += 1
                seen.slowest = max(seen.slowest, (seconds, usual.seconds))
        if now - seen.since < self._interval or not (seen.too_many or seen.answers >= _TOGETHER):
            return None
        self._seen = _Interval(now)
        return self._judge(seen, now, flying)

    def _judge(self, seen: "_Interval", now: float, flying: int) -> Move | None:
        used = seen.all / (now - seen.since)
        if seen.too_many or seen.slow * 2 >= seen.answers:
            self._lowered_at = now
            before = (self.rate, self.in_flight)
            least = max(_LEAST_RATE, flying / _WATCHED, self.rate * _MOST_AT_ONCE)
            self.rate = min(self.rate, max(least, _LOWER * min(self.rate, used)))
            self.in_flight = min(self.in_flight, max(_LEAST_IN_FLIGHT, int(_LOWER * min(self.in_flight, flying))))
            changed = before != (self.rate, self.in_flight)
            return Move("lowered", self.rate, self.in_flight, seen.in_words()) if changed else None
        if seen.slow * 4 >= seen.answers or not self.on:
            return None
        self.rate = min(self._rate_ceiling, self.rate * _RAISE)
        self.in_flight = min(self._flight_ceiling, math.ceil(self.in_flight * _RAISE))
        there = self.rate == self._rate_ceiling and self.in_flight == self._flight_ceiling
        return Move("released" if there else "raised", self.rate, self.in_flight)
