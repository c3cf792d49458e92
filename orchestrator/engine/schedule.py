"""Which VM starts next: queues by host, the host with most work left first (scheduling.md 5). Pure.

Every VM of a host is expected to take that host's mean, learned as the run goes (`estimates`): a host's key is
W/c + (1 - 1/c) p, with W its queued work, p one VM's time and c its limit. A heap holds the hosts; entries are
stamped, and stale ones are thrown away when they come up.
"""

import heapq
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from orchestrator.engine.estimates import Estimates
from orchestrator.model.target import VmRow

_LOOK_AHEAD = 64
"""VMs of one host that are asked whether cluster and storage let them start, before the host is passed over."""


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """How many VMs may be in flight, in all and on each host, cluster and primary storage (None: no limit)."""

    total: int
    per_host: int
    per_cluster: int | None = None
    per_primary_storage: int | None = None


class Slots:
    """Counts what is in flight. A VM without a host counts on none.

    `within`: what is counted here counts there as well, and must find room there: a wave's slots lie within the run's.
    """

    def __init__(self, limits: SlotLimits, within: "Slots | None" = None) -> None:
        self.limits = limits
        self._within = within
        self.total = 0
        self.hosts: Counter[str] = Counter()
        self.clusters: Counter[str] = Counter()
        self.storages: Counter[str] = Counter()

    def host_free(self, host: str | None) -> bool:
        """Is there a slot on this host?"""
        if self._within is not None and not self._within.host_free(host):
            return False
        return host is None or self.hosts[host] < self.limits.per_host

    def place_free(self, row: VmRow) -> bool:
        """Is there a slot everywhere this VM counts, the total left aside?"""
        limits = self.limits
        return (
            (self._within is None or self._within.place_free(row))
            and self.host_free(row.host_uuid)
            and (
                limits.per_cluster is None
                or row.cluster_uuid is None
                or self.clusters[row.cluster_uuid] < limits.per_cluster
            )
            and (
                limits.per_primary_storage is None
                or all(self.storages[storage] < limits.per_primary_storage for storage in row.storages)
            )
        )

    @property
    def free(self) -> bool:
        """Is there a slot in all?"""
        return self.total < self.limits.total and (self._within is None or self._within.free)

    def take(self, row: VmRow) -> None:
        """It is in flight from now on, and counts everywhere it should."""
        self.count(1)
        self.take_place(row)

    def count(self, sign: int) -> None:
        """One more in flight, or with -1 one less, wherever it is."""
        self.total += sign
        if self._within is not None:
            self._within.count(sign)

    def take_place(self, row: VmRow, sign: int = 1) -> None:
        """Count it on host, cluster and storages; `sign` -1 gives the slots back."""
        if row.host_uuid is not None:
            self.hosts[row.host_uuid] += sign
        if row.cluster_uuid is not None:
            self.clusters[row.cluster_uuid] += sign
        for storage in row.storages:
            self.storages[storage] += sign
        if self._within is not None:
            self._within.take_place(row, sign)


@dataclass(slots=True)
class _Lane:
    queue: deque[VmRow] = field(default_factory=deque)
    stamp: int = 0


class Lanes:
    """The VMs that wait, by host. `estimates` are the run's, which all its waves share."""

    def __init__(self, slots: Slots, estimates: Estimates | None = None) -> None:
        self._slots = slots
        self._estimates = estimates if estimates is not None else Estimates()
        self._lanes: dict[str | None, _Lane] = {}
        self._heap: list[tuple[float, int, int, str | None]] = []
        self._stamp = 0
        self._waiting = 0
        self._finished = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, row: VmRow) -> None:
        """Queue a VM on the host it was last read on."""
        self._lanes.setdefault(row.host_uuid, _Lane()).queue.append(row)
        self._waiting += 1
        self._key(row.host_uuid)

    def take(self) -> VmRow | None:
        """The next VM whose slots are all free, its slots taken; None where none may start now."""
        if not self._slots.free:
            return None
        passed_over: list[str | None] = []
        row = None
        while self._heap and row is None:
            _, stamp, _, host = heapq.heappop(self._heap)
            lane = self._lanes[host]
            if stamp != lane.stamp or not lane.queue or not self._slots.host_free(host):
                continue  # a host that is full comes back with its next completion
            row = self._first_that_fits(lane)
            passed_over.append(host)
        for host in passed_over:
            self._key(host)
        if row is not None:
            self._slots.take(row)
            self._waiting -= 1
        return row

    def done(self, host: str | None, seconds: float | None) -> None:
        """A VM that started from this host's queue is through after that many seconds; None: they say nothing of others."""
        self._lanes.setdefault(host, _Lane())
        if seconds is not None:
            self._estimates.finished(host, seconds)
        self._finished += 1
        if self._finished % max(1, len(self._lanes)) == 0:
            for known in self._lanes:  # the common mean has moved for everybody
                self._key(known)
        else:
            self._key(host)

    def wake(self, host: str | None) -> None:
        """A slot came free on this host: it may start again."""
        if host in self._lanes:
            self._key(host)

    def drain(self) -> list[VmRow]:
        """Everything that waits, out of the queues."""
        left = [row for lane in self._lanes.values() for row in lane.queue]
        for lane in self._lanes.values():
            lane.queue.clear()
        self._waiting = 0
        return left

    def drop(self, uuids: Collection[str]) -> None:
        """These out of the queues, where they wait there."""
        for lane in self._lanes.values():
            kept = [row for row in lane.queue if row.uuid not in uuids]
            self._waiting -= len(lane.queue) - len(kept)
            lane.queue = deque(kept)

    def _first_that_fits(self, lane: _Lane) -> VmRow | None:
        for place, row in enumerate(lane.queue):
            if place >= _LOOK_AHEAD:
                return None
            if self._slots.place_free(row):
                del lane.queue[place]
                return row
        return None

    def _key(self, host: str | None) -> None:
        lane = self._lanes[host]
        if not lane.queue:
            return
        self._stamp += 1
        lane.stamp = self._stamp
        slots = self._slots.limits.per_host
        mean = self._estimates.mean(host)
        key = len(lane.queue) * mean / slots + (1 - 1 / slots) * mean
        heapq.heappush(self._heap, (-key, lane.stamp, self._stamp, host))
