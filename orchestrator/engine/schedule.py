"""Which VM starts next: queues by host, the host with most work left first (scheduling.md 5). Pure.

A host's key is W/c + (1 - 1/c) p, with W its queued work, p the longest VM in its queue and c its limit. Where nobody knows
the VMs, each is expected to take its host's mean, learned as the run goes (`estimates`); where some are known from earlier
runs, each takes its own time, the longest first. A heap holds the hosts; entries are stamped, and stale ones are thrown
away when they come up.
"""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from orchestrator.engine.estimates import Estimates, Sums
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
    `beside`: the same, of slots that are shared with others: a wave's migrations are among all those of the run.
    """

    def __init__(self, limits: SlotLimits, within: "Slots | None" = None, beside: "Slots | None" = None) -> None:
        self.limits = limits
        self._within = within
        self._beside = beside
        self._around = tuple(outer for outer in (within, beside) if outer is not None)
        self.hosts_only: bool = (
            limits.per_cluster is None
            and limits.per_primary_storage is None
            and all(outer.hosts_only for outer in self._around)
        )
        """Is a VM's host all that matters of its place?"""
        self._host_and_total = self.hosts_only and not self._around
        """As most plans have it: a VM is counted in two places, in one step."""
        self.total = 0
        self.hosts: defaultdict[str, int] = defaultdict(int)
        self.clusters: Counter[str] = Counter()
        self.storages: Counter[str] = Counter()

    def host_free(self, host: str | None) -> bool:
        """Is there a slot on this host?"""
        for outer in self._around:
            if not outer.host_free(host):
                return False
        return host is None or self.hosts[host] < self.limits.per_host

    def place_free(self, row: VmRow) -> bool:
        """Is there a slot everywhere this VM counts, the total left aside?"""
        limits = self.limits
        if self.hosts_only:
            return self.host_free(row.host_uuid)
        return (
            all(outer.place_free(row) for outer in self._around)
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
        if self.total >= self.limits.total:
            return False
        for outer in self._around:  # noqa: SIM110 - asked for every VM; a generator takes twice the time
            if not outer.free:
                return False
        return True

    def take(self, row: VmRow) -> bool:
        """It is in flight from now on, and counts everywhere it should; returns whether its host has another slot."""
        if self._host_and_total:
            self.total += 1
            host = row.host_uuid
            if host is None:
                return True
            self.hosts[host] = taken = self.hosts[host] + 1
            return taken < self.limits.per_host
        self.count(1)
        self.take_place(row)
        return self.host_free(row.host_uuid)

    def give_back(self, row: VmRow) -> None:
        """It is not in flight any more, nor does it count anywhere."""
        if self._host_and_total:
            self.total -= 1
            if row.host_uuid is not None:
                self.hosts[row.host_uuid] -= 1
            return
        self.count(-1)
        self.take_place(row, -1)

    def count(self, sign: int) -> None:
        """One more in flight, or with -1 one less, wherever it is."""
        self.total += sign
        for outer in self._around:
            outer.count(sign)

    def leave(self, row: VmRow) -> "Slots":
        """It does not count here any more, and still counts in those that these lie within, which are returned."""
        within, around = self._within, self._around
        assert within is not None
        self._around = () if self._beside is None else (self._beside,)
        self.count(-1)
        self.take_place(row, -1)
        self._around = around
        return within

    def take_place(self, row: VmRow, sign: int = 1) -> None:
        """Count it on host, cluster and storages; `sign` -1 gives the slots back."""
        if row.host_uuid is not None:
            self.hosts[row.host_uuid] += sign
        if not self.hosts_only:
            if row.cluster_uuid is not None:
                self.clusters[row.cluster_uuid] += sign
            for storage in row.storages:
                self.storages[storage] += sign
        for outer in self._around:
            outer.take_place(row, sign)


_UNKNOWN = 3.0
"""A VM nobody knows is placed as if it took so many means of those that are: what costs is a long one that starts last."""

_SETTLED = 8
"""VMs of a host that have ended. Each end makes the mean less, as what was in flight is one more now, and less so the more
there were: from this many on, a host's rank can wait until all are ranked anew."""


@dataclass(slots=True)
class _Lane:
    """The VMs of one host that wait, each with the seconds that it is placed by, the longest first; `work` is their sum.

    Where nobody knows any VM of the run, all of these are 0, and the host's mean counts instead: that of `sums`.
    """

    host: str | None
    sums: Sums
    queue: deque[tuple[float, VmRow]] = field(default_factory=deque)
    work: float = 0.0
    stamp: int = 0
    listed: bool = False
    """Has it an entry in the heap that counts?"""


class Lanes:
    """The VMs that wait, by host. `estimates` are the run's, which all its waves share.

    Times are those of one clock, in seconds; what is in flight counts for its host's mean from the moment it started.
    """

    def __init__(self, slots: Slots, estimates: Estimates | None = None) -> None:
        self._slots = slots
        self._per_host = slots.limits.per_host
        self._estimates = estimates if estimates is not None else Estimates()
        self._lanes: dict[str | None, _Lane] = {}
        self._heap: list[_Entry] = []
        self._stamp = 0
        self._waiting = 0
        self._finished = 0
        self._refresh = 1
        self._now = 0.0
        self._grown: dict[str | None, _Lane] = {}
        """Hosts whose queues were added to since somebody asked for the next VM, in the same order every time."""
        known = self._estimates.known
        self._assumed = _UNKNOWN * sum(one.likely for one in known.values()) / len(known) if known else None

    def __len__(self) -> int:
        return self._waiting

    def add(self, row: VmRow) -> None:
        """Queue a VM on the host it was last read on."""
        lane, length = self._lane(row.host_uuid), self._length(row)
        lane.queue.append((length, row))
        lane.work += length
        self._waiting += 1
        self._grown[row.host_uuid] = lane

    def take(self, now: float = 0.0) -> VmRow | None:
        """The next VM whose slots are all free, its slots taken; None where none may start now. `now`: of any one clock."""
        self._now = now
        slots = self._slots
        if not slots.free:
            return None
        if self._grown:
            self._settle()
        passed_over: list[_Lane] = []
        found, heap = None, self._heap
        while heap:
            _, stamp, lane = heap[0]
            if stamp != lane.stamp:
                heapq.heappop(heap)
                continue
            queue = lane.queue
            if not queue or not slots.host_free(lane.host):
                lane.listed = False
                heapq.heappop(heap)  # a host that is full comes back with its next completion
                continue
            place = 0 if slots.hosts_only else self._first_that_fits(lane)
            if place is None:
                passed_over.append(lane)
                heapq.heappop(heap)
                continue
            if place:
                length, found = queue[place]
                del queue[place]
            else:
                length, found = queue.popleft()
            lane.work -= length
            self._waiting -= 1
            self._estimates.begins(lane.sums, now)
            if slots.take(found) and queue:
                heapq.heapreplace(heap, self._entry(lane))
            else:
                lane.listed = False
                heapq.heappop(heap)
            break
        for lane in passed_over:
            heapq.heappush(heap, self._entry(lane))
        return found

    def carry_on(self, row: VmRow, now: float) -> float:
        """One that never waited here takes its slots, full or not; returns when it began, for `done`."""
        self._slots.take(row)
        self._estimates.begins(self._lane(row.host_uuid).sums, now)
        return now

    def done(self, host: str | None, began: float, now: float, *, telling: bool = True) -> None:
        """A VM that started from this host's queue at `began` is through. `telling`: that says how long others take."""
        self._now = now
        lane = self._lane(host)
        self._estimates.ends(lane.sums, began, now, telling=telling)
        self._finished += 1
        if self._assumed is None and self._finished >= self._refresh:
            # The common mean has moved for everybody, less and less as the run goes: so they are ranked anew less often too.
            self._refresh = self._finished + max(len(self._lanes), self._finished // 8)
            self._rank_anew()
        elif lane.queue and (not lane.listed or (self._assumed is None and lane.sums.count < _SETTLED)):
            self._list(lane)

    def wake(self, host: str | None) -> None:
        """A slot came free on this host: it may start again."""
        lane = self._lanes.get(host)
        if lane is not None and lane.queue and not lane.listed:
            self._list(lane)

    def drain(self) -> list[VmRow]:
        """Everything that waits, out of the queues."""
        left = [row for lane in self._lanes.values() for _, row in lane.queue]
        for lane in self._lanes.values():
            lane.queue.clear()
            lane.work = 0.0
        self._waiting = 0
        return left

    def drop(self, uuids: Collection[str]) -> None:
        """These out of the queues, where they wait there."""
        for lane in self._lanes.values():
            kept = deque(each for each in lane.queue if each[1].uuid not in uuids)
            if len(kept) == len(lane.queue):
                continue
            self._waiting -= len(lane.queue) - len(kept)
            lane.queue, lane.work = kept, math.fsum(length for length, _ in kept)
            if kept:
                self._list(lane)

    def _settle(self) -> None:
        """The longest first in the queues that have grown, and their hosts in the heap."""
        for lane in self._grown.values():
            if self._assumed is not None:
                lane.queue = deque(sorted(lane.queue, key=itemgetter(0), reverse=True))
            if lane.queue:  # it may have been dropped meanwhile
                self._list(lane)
        self._grown.clear()

    def _first_that_fits(self, lane: _Lane) -> int | None:
        """Where in the queue; None where none of the first may start now."""
        for place, (_, row) in enumerate(islice(lane.queue, _LOOK_AHEAD)):
            if self._slots.place_free(row):
                return place
        return None

    def _length(self, row: VmRow) -> float:
        if self._assumed is None:
            return 0.0
        known = self._estimates.known.get(row.uuid)
        return known.likely if known is not None else self._assumed

    def _lane(self, host: str | None) -> _Lane:
        lane = self._lanes.get(host)
        if lane is None:
            lane = self._lanes[host] = _Lane(host, self._estimates.sums(host))
        return lane

    def _list(self, lane: _Lane) -> None:
        lane.listed = True
        heapq.heappush(self._heap, self._entry(lane))

    def _rank_anew(self) -> None:
        """All hosts that may start a VM, by what is measured by now."""
        free = self._slots.host_free
        self._heap.clear()
        for lane in self._lanes.values():
            lane.listed = bool(lane.queue) and free(lane.host)
            if lane.listed:
                self._heap.append(self._entry(lane))
        heapq.heapify(self._heap)

    def _entry(self, lane: _Lane) -> "_Entry":
        """Where its host stands now; all earlier entries are stale from here on. Its queue is not empty."""
        self._stamp = lane.stamp = stamp = self._stamp + 1
        slots = self._per_host
        if self._assumed is None:
            key = self._estimates.of_sums(lane.sums, self._now) * (len(lane.queue) + slots - 1) / slots
        else:
            key = (lane.work + (slots - 1) * lane.queue[0][0]) / slots
        return (-key, stamp, lane)


_Entry = tuple[float, int, _Lane]
"""Minus the key, its stamp (no two alike), and whose it is."""
