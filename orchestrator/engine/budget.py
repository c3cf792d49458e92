"""The failure budget: how much may go wrong, in the run, on one host, for one cause (`interface.md` 4, "Budget"). Pure.

`per_wave` is not here: it is no brake in mid-wave but the gate after a wave and its ramp steps, see `waves`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from orchestrator.model.outcome import Outcome
from orchestrator.plan.quantities import Quantity

CrossingKind = Literal["failures", "host_budget", "same_cause", "power_cuts"]
RUN = "run"
"""The scope of what counts over the whole run."""


def counts_as(outcome: Outcome, *, cold_planned: bool) -> Literal["failure", "power_cut"] | None:
    """What an outcome is to the budget, None where it is nothing.

    `cold_planned`: the plan asked for cold itself (`type: cold`, `at_end: cold`), not as a fallback.
    """
    match outcome:
        case Outcome.FAILED | Outcome.UNKNOWN:
            return "failure"
        case Outcome.STOPPED_FORCED:
            return "power_cut"
        case Outcome.STOPPED_COLD:
            return None if cold_planned else "power_cut"
        case _:
            return None


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """What each count may reach; None: no limit. Shares are of the VMs admitted for sending in the run, or on the host."""

    failures: Quantity | None = None
    per_host: Quantity | None = None
    same_cause: Quantity | None = None
    power_cuts: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A VM that is `failed` or `unknown`.

    `host`: UUID of the host last read, None without one: it counts on none. `cause`: the chain of codes, never details;
    None without a code: it equals no other.
    """

    uuid: str
    host: str | None
    cause: str | None


@dataclass(frozen=True, slots=True)
class Crossing:
    """A count that is more than its limit, as it was then. `scope`: `run`, `host <UUID>` or `cause <chain>`.

    `host`: the UUID of the host that it closes, None for all that is run-wide. `excused`: the UUIDs of the failures that
    leave the other counts with the host, the waves' too.
    """

    kind: CrossingKind
    scope: str
    count: int
    limit: int
    host: str | None = None
    excused: tuple[str, ...] = ()

    @property
    def final(self) -> bool:
        """Does nothing more start anywhere?"""
        return self.kind != "host_budget"


class Budget:
    """Counts failures and power cuts, and says once of each budget that it is crossed.

    A host that is closed takes its failures out of the other counts, those of before and those to come; its power cuts
    stay. A VM counts once, however often it is told. `hosts`: one entry for every VM admitted for sending, the UUID of
    its host or None; a run that is carried on gives those it began with.
    """

    def __init__(self, limits: BudgetLimits, hosts: Iterable[str | None]) -> None:
        self._limits = limits
        self._admitted = Counter(hosts)
        self._total = self._admitted.total()
        self._failures: dict[str, Failure] = {}
        self._by_host: dict[str, list[str]] = {}
        self._counted = 0
        self._causes: Counter[str] = Counter()
        self._cuts: set[str] = set()
        self._told: set[tuple[CrossingKind, str]] = set()
        self._finished = False
        self.closed: set[str] = set()
        self.final: Crossing | None = None

    @property
    def failures(self) -> int:
        """VMs `failed` or `unknown` in the run, without those of closed hosts."""
        return self._counted

    @property
    def power_cuts(self) -> int:
        """VMs whose power was cut though the plan did not ask for cold."""
        return len(self._cuts)

    @property
    def causes(self) -> dict[str, int]:
        """Chains of codes with their VMs, without those of closed hosts."""
        return dict(+self._causes)

    @property
    def excused(self) -> frozenset[str]:
        """UUIDs of the failures on closed hosts."""
        return frozenset(uuid for host in self.closed for uuid in self._by_host.get(host, ()))

    def failures_on(self, host: str) -> int:
        """VMs `failed` or `unknown` on one host, closed or not."""
        return len(self._by_host.get(host, ()))

    def join(self, host: str | None) -> None:
        """A VM more is admitted for sending."""
        self._admitted[host] += 1
        self._total += 1

    def failed(self, uuid: str, host: str | None, cause: str | None) -> tuple[Crossing, ...]:
        """A VM is `failed` or `unknown`; see `Failure`. The host is asked first: one that closes takes this VM with it."""
        if self._finished or not self._add(Failure(uuid, host, cause)):
            return ()
        closing = self._close_crossed(() if host is None else (host,))
        return closing + self._run_wide(() if cause is None else (cause,))

    def power_cut(self, uuid: str) -> tuple[Crossing, ...]:
        """A VM is `stopped_forced`, or `stopped_cold` where the plan did not ask for cold."""
        if self._finished:
            return ()
        self._cuts.add(uuid)
        return self._run_wide(())

    def recount(
        self, failures: Iterable[Failure], power_cuts: Iterable[str], crossed: Iterable[Crossing]
    ) -> tuple[Crossing, ...]:
        """Feed in what an earlier process counted, before anything else is told; in any order.

        `crossed` is what that process had said: it stays crossed and is not said again. Returned is what it had no time
        to say. All hosts are judged before the run is, since the order of before is not known.
        """
        assert not self._failures, "earlier outcomes come first"
        for crossing in crossed:
            self._told.add((crossing.kind, crossing.scope))
            if crossing.host is not None:
                self.closed.add(crossing.host)
            elif self.final is None:
                self.final = crossing
        for failure in failures:
            self._add(failure)
        self._cuts.update(power_cuts)
        return self._close_crossed(tuple(self._by_host)) + self._run_wide(tuple(self._causes))

    def finish(self) -> None:
        """Verification begins: nothing is counted from here on."""
        self._finished = True

    def _add(self, failure: Failure) -> bool:
        if failure.uuid in self._failures:
            return False
        self._failures[failure.uuid] = failure
        if failure.host is not None:
            self._by_host.setdefault(failure.host, []).append(failure.uuid)
        if failure.host not in self.closed:
            self._count(failure, 1)
        return True

    def _count(self, failure: Failure, sign: int) -> None:
        self._counted += sign
        if failure.cause is not None:
            self._causes[failure.cause] += sign

    def _close_crossed(self, hosts: Iterable[str]) -> tuple[Crossing, ...]:
        per_host = self._limits.per_host
        crossings = []
        for host in hosts:
            if per_host is None or host in self.closed:
                continue
            uuids = self._by_host[host]
            limit = per_host.floor_of(self._admitted[host])
            if len(uuids) > limit:
                self.closed.add(host)
                for uuid in uuids:
                    self._count(self._failures[uuid], -1)
                crossings.append(Crossing("host_budget", f"host {host}", len(uuids), limit, host, tuple(uuids)))
        return tuple(crossings)

    def _run_wide(self, causes: Iterable[str]) -> tuple[Crossing, ...]:
        counts: list[tuple[CrossingKind, str, int, Quantity | None]] = [
            ("failures", RUN, self._counted, self._limits.failures),
            *(("same_cause", f"cause {cause}", self._causes[cause], self._limits.same_cause) for cause in causes),
            ("power_cuts", RUN, len(self._cuts), self._limits.power_cuts),
        ]
        crossings = []
        for kind, scope, count, amount in counts:
            if amount is None or (kind, scope) in self._told or count <= (limit := amount.floor_of(self._total)):
                continue
            self._told.add((kind, scope))
            crossing = Crossing(kind, scope, count, limit)
            self.final = self.final or crossing
            crossings.append(crossing)
        return tuple(crossings)
