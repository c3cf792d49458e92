"""A node that falls behind: the run slows down for it, harms nobody by its own haste, and speeds up again."""

import io
from collections import Counter
from collections.abc import Callable

from orchestrator.model.event import Event
from orchestrator.model.outcome import STOPPED
from orchestrator.observe.logs import log_listener
from orchestrator.observe.metrics import Metrics
from orchestrator.observe.progress import Progress
from tests.integration.conftest import Trial


async def test_a_node_that_falls_behind_is_braked_for(trial: Callable[..., Trial]) -> None:
    """Of 90 VMs asked for at once, a node of ten requests a second (429 to who would wait longer than 2 s) stops each.

    Without the brake more than half of them end as failed: their PUTs are refused for all of the grace_timeout.
    """
    events: list[Event] = []
    scenario = {
        "clusters": [{"name": "rack", "hosts": 6}],
        "vms": [{"name": "vm-{n}", "count": 90, "guest": {"shutdown": 30}}],
        "faults": [{"kind": "overloaded", "per_second": 10, "seconds": 2, "until": 420}],
    }
    plan = {"stop": {"power_cut_after": "4s", "grace_timeout": "10s"}, "limits": {"concurrency": 90}}
    run = await trial(scenario, plan=plan, on_event=events.append).go()
    moves = [event for event in events if event.kind.startswith("brake.")]
    run.hold_true()
    assert {vm.outcome for vm in run.report.vms} <= STOPPED, Counter(run.outcomes.values())
    statuses = Counter(request.status for request in run.node.record.requests)
    assert statuses[429] <= 45  # without the brake it says so more than two hundred times
    assert moves[0].kind == "brake.lowered"
    assert "429" in moves[0].data["why"]
    rates = [event.data["requests_per_second"] for event in moves]
    flights = [event.data["in_flight"] for event in moves]
    assert min(rates) <= 20
    assert max(rates) <= 500
    assert min(flights) < 90
    assert max(flights) <= 90
    assert rates[-1] > 2 * min(rates)  # it has answered as it should for a while
    hold_seen(events, len(moves))


def hold_seen(events: list[Event], moves: int) -> None:
    """Log, progress and metrics show what the brake did."""
    log, said, written = io.StringIO(), list[str](), list[str]()
    listeners = log_listener(log, "json", color=False, run_id="r"), Progress(said.append), Metrics(written.append, "r")
    for event in events:
        for listener in listeners:
            listener(event)
        if event.kind == "brake.lowered":
            limit = f'orchestrator_run_limit_requests_per_second{{run="r"}} {event.data["requests_per_second"]:g}\n'
            assert limit in listeners[2].text()
    assert log.getvalue().count('"event": "brake.') == moves
    assert all('"level": "warning"' in line for line in log.getvalue().splitlines() if '"brake.lowered"' in line)
    assert sum("slower for the node's sake (the node said 429 to " in line for line in said) >= 1
    assert any(", braked to " in line for line in said)
    assert 'orchestrator_run_vms{run="r",outcome="failed"} 0\n' in written[-1]
    assert 'orchestrator_run_finished{run="r"} 1\n' in written[-1]
