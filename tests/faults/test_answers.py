"""Answers that are slow, half, endless, somebody else's, or no: what is made of them is the truth."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from orchestrator.model.event import Event
from orchestrator.simulator import Fault
from tests.faults.trials import FaultTrial, group

Trials = Callable[..., FaultTrial]
ON = ["stop", "poll", "query"]
CUT_LATE = 10.0
"""A scale at which the power cut comes after 6 s: an answer that is waited for in vain makes no clean stop a forced one."""


async def spoiled(trial: Trials, vms: list[dict[str, Any]], *faults: Mapping[str, Any], **options: Any) -> FaultTrial:
    """A run whose answers are spoiled from its beginning on."""

    def on_event(event: Event) -> None:
        if event.kind == "run.started":
            for fault in faults:
                run.node.faults.add(Fault.model_validate(fault))

    run = trial({"vms": vms}, on_event=on_event, **options)
    await run.go()
    assert run.arrived() == run.tries()
    return run


# ── slow, half, endless ────────────────────────────────────────────────────────────────────────────────────────────────
async def test_slow_answers(trial: Trials) -> None:
    """Answers that take a while, but come: the run is slower, and nothing is sent again."""
    slow = [{"kind": "slow", "on": on, "first": 4, "seconds": 0.3} for on in ON]
    run = await spoiled(trial, [group("vm-{n}", count=4)], *slow)
    run.hold({"vm-*": "stopped_clean"})
    assert len(run.node.record.stops) == run.arrived().total() == 4


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("on", ON)
async def test_answers_slower_than_our_patience(trial: Trials, on: str) -> None:
    """Given up on, and then it arrives all the same: a stop that comes twice with one id is one stop."""
    fault = {"kind": "slow", "on": on, "first": 2, "seconds": 1.5}
    run = await spoiled(trial, [group("vm-{n}", count=4)], fault, scale=CUT_LATE)
    run.hold({"vm-*": "stopped_clean"})
    assert len(run.node.record.stops) == 4
    assert run.arrived().total() == (6 if on == "stop" else 4)


@pytest.mark.parametrize("on", ON)
async def test_half_answers(trial: Trials, on: str) -> None:
    """An answer that ends after its headers or in its middle is no answer; the stop was carried out, and is not repeated."""
    halves = ({"kind": kind, "on": on, "first": 3, "every": 2} for kind in ("close_after_headers", "truncated"))
    run = await spoiled(trial, [group("vm-{n}", {"shutdown": 8}, 4)], *halves)
    run.hold({"vm-*": "stopped_clean"})
    assert len(run.node.record.stops) == run.arrived().total() == 4


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("on", ON)
async def test_endless_answers(trial: Trials, on: str) -> None:
    """An answer that trickles for ever is given up on; the stop was carried out, and is not repeated."""
    fault = {"kind": "trickle", "on": on, "first": 1 if on == "query" else 2, "seconds": 0.1}
    run = await spoiled(trial, [group("vm-{n}", count=4)], fault, scale=CUT_LATE)
    run.hold({"vm-*": "stopped_clean"})
    assert len(run.node.record.stops) == run.arrived().total() == 4


# ── somebody else's words ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("on", ON)
async def test_html_pages(trial: Trials, on: str) -> None:
    """A proxy's page is not the node's word: asked again, or settled by the job."""
    pages = ({"kind": "html", "on": on, "first": 2, "skip": skip, "status": status} for skip, status in ((0, 200), (2, 502)))
    run = await spoiled(trial, [group("vm-{n}", {"shutdown": 8}, 4)], *pages)
    run.hold({"vm-*": "stopped_clean"})
    assert len(run.node.record.stops) == 4


async def test_an_html_page_that_says_no(trial: Trials) -> None:
    """A page with 404 instead of a stop is a no at once, class N: failed with its words, no second try and no cold."""
    vms = [group("page"), group("vm")]
    run = await spoiled(trial, vms, {"kind": "html", "on": "stop", "vms": ["page"], "status": 404})
    run.hold({"page": "failed", "vm": "stopped_clean"})
    assert run.node.record.stop_puts(run.sim("page").uuid) == 1
    assert (run.vm("page").error or {})["code"] == "http.404"


# ── too many requests ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("on", ON)
async def test_too_many_requests(trial: Trials, on: str) -> None:
    """429 means later: asked again after a pause, with another id where it was a stop."""
    run = await spoiled(trial, [group("vm-{n}", count=4)], {"kind": "too_many_requests", "on": on, "first": 5})
    run.hold({"vm-*": "stopped_clean"})
    assert set(run.arrived().values()) == {1}
    assert run.arrived().total() == (9 if on == "stop" else 4)


async def test_too_many_requests_for_ever(trial: Trials) -> None:
    """429 to every try until the grace timeout: failed with that, and never cold; its neighbour is stopped."""
    vms = [group("throttled"), group("vm")]
    run = await spoiled(trial, vms, {"kind": "too_many_requests", "on": "stop", "vms": ["throttled"]})
    run.hold({"throttled": "failed", "vm": "stopped_clean"})
    assert (run.vm("throttled").error or {})["code"] == "http.429"
    assert run.node.record.stop_puts(run.sim("throttled").uuid) > 2


# ── 503 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_503_to_a_stop_is_a_verdict(trial: Trials) -> None:
    """503 is no "try again": one grace, then the cold that the plan allows for an error."""
    run = await spoiled(trial, [group("vm")], {"kind": "verdict", "on": "stop", "first": 1})
    run.hold({"vm": "stopped_cold"}, cold={"vm"})
    assert [(a.type, a.result) for a in run.vm("vm").attempts] == [("grace", "refused"), ("cold", "succeeded")]


async def test_503_to_a_stop_without_a_fallback(trial: Trials) -> None:
    """Where the plan allows no cold, 503 ends it: one PUT, failed, and the VM runs."""
    run = await spoiled(
        trial, [group("vm")], {"kind": "verdict", "on": "stop", "first": 1}, plan={"stop": {"fallback": "none"}}
    )
    run.hold({"vm": "failed"})
    assert run.arrived().total() == 1
    assert (run.vm("vm").error or {})["code"] == "SYS.1000"


async def test_503_from_a_job_is_a_verdict(trial: Trials) -> None:
    """A job that says 503 is not asked again, and the state decides: Stopped all the same, by force as far as we know."""
    run = await spoiled(
        trial,
        [group("vm", {"shutdown": 10})],
        {"kind": "verdict", "on": "poll", "first": 1},
        plan={"stop": {"fallback": "none"}},
    )
    run.hold({"vm": "stopped_forced"})
    assert run.answers("vm")[-1] == 503
    assert run.answers("vm").count(503) == 1
    assert run.arrived().total() == 1


async def test_503_to_queries(trial: Trials) -> None:
    """A query that the node refuses for a while costs no VM its stop, and sends none twice."""
    run = await spoiled(trial, [group("vm-{n}", count=4)], {"kind": "verdict", "on": "query", "first": 6})
    run.hold({"vm-*": "stopped_clean"})
    assert run.arrived().total() == 4
