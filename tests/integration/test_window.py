"""The end of the window over real sockets, held against what the node truly did."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.model.outcome import AttemptResult, Outcome, Reason
from tests.integration.conftest import Trial

DEAF = {
    "node": {"acpi_wait": 150},
    "clusters": [{"name": "rack", "hosts": 2}],
    "vms": [
        {"name": "deaf-{n}", "count": 3, "guest": {"behaviour": "ignores_acpi"}},
        {"name": "late-{n}", "count": 2, "guest": {"shutdown": [1, 2]}},
    ],
}
"""Guests whose power the node cuts after 5 s."""
STOP = {"power_cut_after": "5s", "grace_timeout": "7s", "cold_timeout": "7s", "fallback": "none"}


def ending(seconds: float, **more: str) -> dict[str, Any]:
    """A window that ends so long from now."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"window": {"end": end.isoformat(timespec="milliseconds"), **more}, "stop": STOP}


async def test_cold_at_the_end(trial: Callable[..., Trial]) -> None:
    """At the end what is in flight gets one cold stop, though the plan has no fallback; those that obeyed get none."""
    run = await trial(DEAF, plan=ending(2.5, at_end="cold")).go()
    run.hold({"deaf-*": "stopped_forced", "late-*": "stopped_clean"}, cold=["deaf-1", "deaf-2", "deaf-3"])
    for name in ("deaf-1", "deaf-2", "deaf-3"):
        assert [(attempt.type, attempt.reason) for attempt in run.vm(name).attempts] == [
            ("grace", "plan"),
            ("cold", "window"),
        ]
        assert run.node.record.cold_puts(run.sim(name).uuid) == 1
    assert [(stop.kind, stop.scope, stop.count) for stop in run.report.run.stops] == [("window", "VMs in flight, cold", 3)]
    assert run.report.run.exit_code == 0


async def test_abandon_at_the_end(trial: Callable[..., Trial]) -> None:
    """At the end what is in flight is read and left: the run is over long before the node cuts their power."""
    run = await trial(DEAF, plan=ending(2.5, at_end="abandon")).go()
    run.hold({"deaf-*": "unknown", "late-*": "stopped_clean"})
    assert {run.vm(name).reason for name in ("deaf-1", "deaf-2", "deaf-3")} == {Reason.STILL_STOPPING}
    assert run.report.run.exit_code == 1


@pytest.mark.parametrize("at_end", ["finish", "cold", "abandon"])
async def test_nothing_begins_after_the_end(trial: Callable[..., Trial], at_end: str) -> None:
    """One at a time: no first PUT reaches the node after the end, and every target has its outcome."""
    plan = ending(2.5, at_end=at_end) | {"limits": {"concurrency": 1}}
    slow = {"name": "slow-{n}", "count": 5, "guest": {"shutdown": [20, 40]}}
    run = await trial({**DEAF, "vms": [slow]}, plan=plan).go()
    run.hold_true(cold=list(run.outcomes))
    assert run.report.totals["not_reached"] > 0
    assert run.report.run.window is not None
    for vm in run.report.vms:
        if vm.attempts and vm.attempts[0].sent_at is not None:
            assert vm.attempts[0].sent_at <= run.report.run.window.end
        elif vm.attempts:  # its intent was durable as the window closed, and we held the call back
            assert (vm.outcome, vm.attempts[0].result) == (Outcome.NOT_REACHED, AttemptResult.LOST)
    assert (run.report.run.ended_by, run.report.run.exit_code) == ("window", 4)
