"""Connections that break: one PUT on the wire for each try, one stop for each VM, and the truth in the report."""

from collections.abc import Callable

import aiohttp
import pytest

from orchestrator.clouds.zstack import http
from tests.faults.trials import FaultTrial, Wire, group

Trials = Callable[..., FaultTrial]
PLACES = {"before": 0, "headers": 0, "body": 0, "unanswered": 1, "answer": 1}
"""Where a stop is cut, and how many jobs the node has of it then."""


def hold_one_put_a_try(run: FaultTrial, wire: Wire) -> None:
    """Nobody but the run itself sends a stop."""
    assert wire.puts == run.tries()


@pytest.mark.parametrize("place", PLACES)
async def test_a_connection_that_is_cut(trial: Trials, place: str) -> None:
    """Cut before, in, or after its PUT: a VM is stopped once, and the PUT goes out again only where no job was recorded."""
    wire = Wire(place)
    run = await trial({"vms": [group("vm-{n}", count=4)]}, wire=wire).go()
    run.hold({"vm-*": "stopped_clean"})
    hold_one_put_a_try(run, wire)
    assert wire.cuts == 4
    assert set(wire.puts.values()) == {2 - PLACES[place]}
    assert len(run.node.record.stops) == 4
    assert all(len(vm.attempts) == 1 for vm in run.report.vms)


async def test_cut_again_and_again(trial: Trials) -> None:
    """The same PUT is cut five times, each time elsewhere, before it is answered: one job, one id, one stop."""
    wire = Wire("before", "headers", "body", "before", "answer")
    run = await trial({"vms": [group("vm")]}, wire=wire).go()
    run.hold({"vm": "stopped_clean"})
    hold_one_put_a_try(run, wire)
    assert list(wire.puts.values()) == [5]
    assert len(run.node.record.stops) == 1


@pytest.mark.parametrize("recorded", [False, True], ids=["not recorded", "recorded"])
async def test_cut_and_the_job_cannot_be_asked_for(trial: Trials, recorded: bool) -> None:
    """The PUT's answer is lost, and then three answers to the question for its job: nothing is sent until one is read."""
    faults = [
        {"kind": "drop_after" if recorded else "drop_before", "on": "stop", "vms": ["vm"], "first": 1},
        {"kind": "truncated", "on": "any", "paths": ["/v1/api-jobs/*"], "first": 3, "skip": 1},
    ]
    run = await trial({"vms": [group("vm")], "faults": faults}).go()
    run.hold({"vm": "stopped_clean"})
    assert run.arrived() == run.tries()
    assert len(run.node.record.stops) == 1
    assert run.node.record.stop_puts(run.sim("vm").uuid) == (1 if recorded else 2)


async def test_cut_and_the_guest_does_not_obey(trial: Trials) -> None:
    """The answer of every PUT is lost, cold included: one grace and one cold job, and stopped_cold."""
    faults = [{"kind": "drop_after", "on": "stop", "vms": ["stuck"]}]
    run = await trial({"vms": [group("stuck", {"behaviour": "fails_grace_only"})], "faults": faults}).go()
    run.hold({"stuck": "stopped_cold"}, cold={"stuck"})
    assert run.arrived() == run.tries()
    assert [stop.type for stop in run.node.record.stops] == ["grace", "cold"]


# ── kept-alive connections ─────────────────────────────────────────────────────────────────────────────────────────────
async def test_kept_alive_connections_that_die_under_a_stop(trial: Trials) -> None:
    """Every stop over a kept-alive connection is cut: each try is one PUT on the wire, and each VM is stopped once."""
    wire = Wire("before", kept_alive=True)
    run = await trial({"vms": [group("vm-{n}", count=8)]}, wire=wire, plan={"limits": {"concurrency": 3}}).go()
    run.hold({"vm-*": "stopped_clean"})
    hold_one_put_a_try(run, wire)
    assert wire.cuts > 0
    assert len(run.node.record.stops) == 8


async def test_without_the_guard_stops_would_go_out_unseen(trial: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guard is for: aiohttp by itself sends a PUT again, so that the wire carries more than the run let go."""

    async def pass_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    monkeypatch.setattr(http, "_send_once", pass_on)
    wire = Wire("before", kept_alive=True)
    run = await trial({"vms": [group("vm-{n}", count=8)]}, wire=wire, plan={"limits": {"concurrency": 3}}).go()
    assert wire.cuts > 0
    assert wire.puts.total() > run.tries().total()


async def test_kept_alive_connections_closed_by_the_node(trial: Trials) -> None:
    """The same at the node itself: by its own record one PUT came in for each that the run let go."""
    faults = [{"kind": "drop_before", "on": "stop", "every": 2}]
    run = await trial({"vms": [group("vm-{n}", count=8)], "faults": faults}, plan={"limits": {"concurrency": 3}}).go()
    run.hold({"vm-*": "stopped_clean"})
    assert run.arrived() == run.tries()
    assert len(run.node.record.stops) == 8


@pytest.mark.parametrize("on", ["poll", "query"])
async def test_connections_cut_under_questions(trial: Trials, on: str) -> None:
    """Every second connection of a poll or of a query is cut: questions are asked again, stops are not."""
    faults = [{"kind": kind, "on": on, "every": 4, "skip": skip} for skip, kind in ((5, "drop_before"), (7, "drop_after"))]
    vms = [group("vm-{n}", {"shutdown": [5, 15]}, 8)]
    run = await trial({"vms": vms, "faults": faults}, plan={"limits": {"concurrency": 3}}).go()
    run.hold({"vm-*": "stopped_clean"})
    assert run.arrived() == run.tries()
    assert len(run.node.record.stops) == 8
