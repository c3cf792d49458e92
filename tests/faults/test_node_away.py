"""The node restarts, forgets its jobs, or is away: no VM fails for it, and the end state tells the truth."""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio

from orchestrator.model.event import Event
from orchestrator.simulator import Fault
from tests.faults.trials import QUICK, FaultTrial, group, stops
from tests.integration.conftest import POWER_CUT, SCALE

Trials = Callable[..., FaultTrial]
DEAF = {"behaviour": "ignores_acpi"}
FOR_EVER = 1e6


def restarts(after: int, seconds: float) -> list[Any]:
    """The node goes away for so many simulated seconds once so many stops are at it."""
    return [(stops(after), lambda run: run.node.restart(seconds))]


# ── restarts ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_jobs_that_were_processing_at_a_restart_stay_202(trial: Trials) -> None:
    """Jobs lost in a restart poll as 202 for ever: our own deadline ends the wait, and the states tell what they did."""
    vms = [group("vm-{n}", {"shutdown": [10, 15]}, 4), group("deaf", DEAF)]
    run = trial({"node": {"host_sync": 2}, "vms": vms}, moments=restarts(5, 5))
    await run.go()
    run.hold({"vm-*": ("stopped_clean", "stopped_forced"), "deaf": "stopped_forced"}, cold=set(run.outcomes))
    for vm in run.report.vms:
        assert set(run.answers(vm.name or "")) == {202}
        assert [(a.type, a.result) for a in vm.attempts] == [("grace", "timed_out")]
    assert (run.report.run.status, run.report.run.exit_code) == ("finished", 0)


async def test_a_job_lost_in_a_restart_before_it_did_anything(trial: Trials) -> None:
    """A job that a restart took out of its VM's queue: our deadline, the state reads Running, and the cold is the plan's."""

    def keep_busy(event: Event) -> None:
        if event.kind == "run.started":
            run.sim("vm").lane.running += 1  # what else is done to the VM; a restart ends that too

    run = trial({"vms": [group("vm")]}, on_event=keep_busy, moments=restarts(1, 5))
    await run.go()
    run.hold({"vm": "stopped_cold"}, cold={"vm"})
    assert [(a.type, a.result) for a in run.vm("vm").attempts] == [("grace", "timed_out"), ("cold", "succeeded")]


async def test_calls_that_were_lost_as_the_node_went_down(trial: Trials) -> None:
    """Stops that never arrived, and a page of HTML to every question past their deadline: sent again, and never cold."""
    seconds = 2 * POWER_CUT * SCALE
    scenario = {
        "vms": [group("vm-{n}", count=6)],
        "faults": [{"kind": "drop_before", "vms": ["vm-*"], "first": 6}],
    }
    page = Fault(kind="html", on="any", status=502)

    async def booting(run: FaultTrial) -> None:
        run.node.faults.add(page)
        await anyio.sleep(seconds / SCALE)
        run.node.faults.remove(page)

    def begin(event: Event) -> None:
        if event.kind == "vm.sent" and not begun:
            begun.append(True)
            tasks.append(asyncio.create_task(booting(run)))

    begun: list[bool] = []
    tasks: list[asyncio.Task[None]] = []
    run = trial(scenario, on_event=begin)
    await run.go()
    assert run.node.faults.struck(page) == 0  # it is removed, and its count with it
    run.hold({"vm-*": "stopped_clean"})
    assert all([attempt.type for attempt in vm.attempts] == ["grace"] for vm in run.report.vms)


# ── results that expire ────────────────────────────────────────────────────────────────────────────────────────────────
async def test_results_that_have_expired(trial: Trials) -> None:
    """Every job is 404 by the time it is asked for: judged by the state, and by when Stopped was first read."""
    guests: dict[str, dict[str, Any]] = {
        "obeys": QUICK,
        "deaf": DEAF,
        "stuck": {"behaviour": "fails_grace_only"},
        "broken": {"behaviour": "fails"},
    }
    scenario = {
        "vms": [group(name, guest) for name, guest in guests.items()],
        "faults": [{"kind": "result_gone", "seconds": 0.1, "vms": list(guests)}],
    }
    run = await trial(scenario).go()
    run.hold(
        {"obeys": "stopped_clean", "deaf": "stopped_forced", "stuck": "stopped_cold", "broken": "failed"},
        cold={"stuck", "broken"},
    )
    assert {status for name in guests for status in run.answers(name)} == {404}
    assert {attempt.result for vm in run.report.vms for attempt in vm.attempts} == {"timed_out"}


# ── away ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_away_for_less_than_node_outage(trial: Trials) -> None:
    """Back within node_outage: it is waited for, nothing fails, and the rest is stopped as if nothing had been."""
    vms = [group("vm-{n}", {"shutdown": [3, 9]}, 10)]
    run = trial(
        {"node": {"host_sync": 1}, "vms": vms},
        moments=restarts(4, 12),
        plan={"limits": {"concurrency": 4, "node_outage": "8s"}},
    )
    await run.go()
    run.hold({"vm-*": ("stopped_clean", "stopped_forced", "stopped_cold")}, cold=set(run.outcomes))
    assert run.report.run.status == "finished"
    assert len(run.kinds("node.away")) == len(run.kinds("node.back")) == 1


async def test_away_for_longer_than_node_outage(trial: Trials) -> None:
    """Away for longer: the run stops early by itself, what was sent is unknown, the rest is not_reached (node)."""
    run = trial(
        {"vms": [group("vm-{n}", {"shutdown": 40}, 10)]},
        moments=restarts(4, FOR_EVER),
        plan={"limits": {"concurrency": 4, "node_outage": "700ms"}},
    )
    await run.go()
    run.hold_true(given=run.node.record.open_sessions())
    assert run.by_outcome() == {"unknown": {"unreadable"}, "not_reached": {"node"}}
    assert {vm.uuid for vm in run.report.vms if vm.outcome == "unknown"} == {s.vm_uuid for s in run.node.record.stops}
    assert len(run.node.record.stops) == 4
    assert (run.report.run.status, run.report.run.ended_by, run.report.run.exit_code) == ("stopped_early", "node", 4)


async def test_away_before_anything_was_answered(trial: Trials) -> None:
    """Away from the first stop on, whose answer is lost as well: it may have arrived, so it is unknown."""
    faults = [{"kind": "drop_after", "on": "stop", "vms": ["vm-*"]}]
    run = trial(
        {"vms": [group("vm-{n}", {"shutdown": 40}, 3)], "faults": faults},
        moments=restarts(1, FOR_EVER),
        plan={"limits": {"concurrency": 1, "node_outage": "500ms"}},
    )
    await run.go()
    run.hold_true(given=run.node.record.open_sessions())
    assert run.by_outcome() == {"unknown": {"unreadable"}, "not_reached": {"node"}}
    assert run.report.totals["unknown"] == 1


async def test_back_for_the_last_look(trial: Trials) -> None:
    """Away when the last stop was sent, back in time for verification: what it did is told all the same."""
    run = trial(
        {"node": {"host_sync": 1}, "vms": [group("vm", {"shutdown": 6})]},
        moments=restarts(1, 20),
        plan={"verify": {"after": "300ms"}},
    )
    await run.go()
    run.hold({"vm": ("stopped_clean", "stopped_forced")})
    assert run.vm("vm").verified_at is not None
