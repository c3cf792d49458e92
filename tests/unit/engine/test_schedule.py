"""The lanes: limits hold whatever comes and goes, and nobody is left waiting while there is room."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.estimates import Estimates, known_figures
from orchestrator.engine.schedule import Lanes, SlotLimits, Slots
from orchestrator.model.target import VmRow


def vm(number: int, host: int | None, cluster: int = 0, storage: int = 0) -> VmRow:
    """A VM's row with only what scheduling asks for."""
    return VmRow(
        uuid=f"{number:032x}",
        name=None,
        type="UserVm",
        state="Running",
        host_uuid=None if host is None else f"h{host}",
        cluster_uuid=f"c{cluster}",
        last_op=None,
        storages=(f"s{storage}",),
    )


fleets = st.lists(st.tuples(st.none() | st.integers(0, 4), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)
limits = st.builds(
    SlotLimits,
    total=st.integers(1, 12),
    per_host=st.integers(1, 4),
    per_cluster=st.none() | st.integers(1, 6),
    per_primary_storage=st.none() | st.integers(1, 6),
)


@given(fleets, limits, st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 1.0]))
def test_limits_hold_and_everybody_starts(
    fleet: list[tuple[int | None, int, int]], limit: SlotLimits, seed: int, share: float
) -> None:
    """No limit is ever exceeded, no free slot is left unused by a VM that fits, and every VM starts exactly once.

    Whether nobody knows the VMs, some of them are known from earlier runs, or all.
    """
    chance = random.Random(seed)
    slots = Slots(limit)
    rows = [vm(number, *place) for number, place in enumerate(fleet)]
    known = {row.uuid: known_figures([chance.uniform(1, 100)]) for row in rows if chance.random() < share}
    lanes = Lanes(slots, Estimates(known))
    for added in rows:
        lanes.add(added)
    waiting = list(rows)
    running: list[VmRow] = []
    started: list[VmRow] = []
    while waiting or running:
        row = lanes.take()
        if row is not None:
            waiting.remove(row)
            running.append(row)
            started.append(row)
            assert slots.total == len(running) <= limit.total
            for host in {r.host_uuid for r in running} - {None}:
                assert sum(r.host_uuid == host for r in running) <= limit.per_host
            if limit.per_cluster is not None:
                for cluster in {r.cluster_uuid for r in running}:
                    assert sum(r.cluster_uuid == cluster for r in running) <= limit.per_cluster
            if limit.per_primary_storage is not None:
                for storage in {s for r in running for s in r.storages}:
                    assert sum(storage in r.storages for r in running) <= limit.per_primary_storage
            continue
        assert not (slots.free and any(slots.place_free(r) for r in waiting)), "room was left unused"
        assert running, "somebody waits though nothing runs"
        done = running.pop(chance.randrange(len(running)))
        slots.total -= 1
        slots.take_place(done, -1)
        lanes.done(done.host_uuid, 0.0, chance.uniform(1, 60))
    assert sorted(r.uuid for r in started) == sorted(r.uuid for r in rows)
    assert len(lanes) == 0


def test_the_host_with_most_work_goes_first() -> None:
    """With equal means, the longest queue is served before the others."""
    slots = Slots(SlotLimits(total=1, per_host=1))
    lanes = Lanes(slots)
    for number, host in enumerate([0, 1, 1, 1, 2, 2]):
        lanes.add(vm(number, host))
    first = lanes.take()
    assert first is not None
    assert first.host_uuid == "h1"


def test_a_slow_host_is_noticed() -> None:
    """After its VMs took four times as long, a host with fewer VMs comes before a quick one with more."""
    slots = Slots(SlotLimits(total=10, per_host=5))
    lanes = Lanes(slots)
    for number in range(6):
        lanes.add(vm(number, 0))
    for number in range(10, 18):
        lanes.add(vm(number, 1))
    for _ in range(8):
        lanes.done("h0", 0.0, 120.0)
        lanes.done("h1", 0.0, 10.0)
    first = lanes.take()
    assert first is not None
    assert first.host_uuid == "h0"


def test_the_longest_goes_first_where_it_is_known() -> None:
    """Within a host the longest of an earlier run begins, one nobody knows is placed as if it took three means."""
    slots = Slots(SlotLimits(total=1, per_host=1))
    known = {vm(number, 0).uuid: known_figures([seconds]) for number, seconds in enumerate([10.0, 80.0, 30.0, 20.0])}
    lanes = Lanes(slots, Estimates(known))
    for number in range(5):
        lanes.add(vm(number, 0))
    order = []
    while (taken := lanes.take()) is not None:
        order.append(int(taken.uuid, 16))
        slots.give_back(taken)
        lanes.done(taken.host_uuid, 0.0, 1.0)
    # The mean of the known is 35 s, so that the fifth is placed as if it took 105 s.
    assert order == [4, 1, 2, 3, 0]


def test_the_host_that_takes_longest_goes_first_where_it_is_known() -> None:
    """Two VMs of 100 s come before ten of 1 s."""
    slots = Slots(SlotLimits(total=1, per_host=1))
    rows = [*(vm(number, 0) for number in range(10)), *(vm(number, 1) for number in range(10, 12))]
    known = {row.uuid: known_figures([1.0 if row.host_uuid == "h0" else 100.0]) for row in rows}
    lanes = Lanes(slots, Estimates(known))
    for row in rows:
        lanes.add(row)
    first = lanes.take()
    assert first is not None
    assert first.host_uuid == "h1"


def test_what_is_dropped_never_starts() -> None:
    """Out of the queues, and out of what its host is expected to take."""
    slots = Slots(SlotLimits(total=10, per_host=10))
    rows = [vm(number, number % 2) for number in range(8)]
    lanes = Lanes(slots, Estimates({row.uuid: known_figures([10.0]) for row in rows}))
    for row in rows:
        lanes.add(row)
    lanes.drop({rows[0].uuid, rows[3].uuid})
    assert len(lanes) == 6
    taken = []
    while (found := lanes.take()) is not None:
        taken.append(found.uuid)
    assert sorted(taken) == sorted({row.uuid for row in rows} - {rows[0].uuid, rows[3].uuid})


@pytest.mark.parametrize("known", [True, False])
def test_a_host_may_lose_all_its_vms_before_anybody_starts(known: bool) -> None:
    """What is dropped before the first turn, as by a crossed budget, leaves the others their turn."""
    rows = [vm(number, host) for number, host in enumerate((0, 0, 1))]
    lanes = Lanes(Slots(SlotLimits(5, 5)), Estimates({rows[2].uuid: known_figures([20.0])} if known else {}))
    for row in rows:
        lanes.add(row)
    lanes.drop({rows[0].uuid, rows[1].uuid})
    assert lanes.take() == rows[2]
    assert lanes.take() is None
