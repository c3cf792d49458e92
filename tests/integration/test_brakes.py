"""Waves, ramp and budget against the node's own record."""

from collections.abc import Callable
from json import dumps
from typing import Any

from tests.integration.conftest import Trial, peak

Trials = Callable[..., Trial]
QUICK = {"shutdown": [1, 8]}


def group(name: str, count: int, guest: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Some VMs."""
    return {"name": name, "count": count, "guest": guest or QUICK, **more}


def waves(run: Trial, *waves: dict[str, Any], **sections: Any) -> Trial:
    """The same trial with waves in its plan."""
    text = run.plan_text

    def with_waves() -> str:
        return (
            text()[:-1]
            + ', "waves": '
            + dumps(list(waves))
            + "".join(f', "{k}": {dumps(v)}' for k, v in sections.items())
            + "}"
        )

    run.plan_text = with_waves  # type: ignore[method-assign]
    return run


async def test_no_database_is_stopped_before_its_applications(trial: Trials) -> None:
    """By the node's clock the first stop of a later wave comes after the last end of the wave before it."""
    scenario = {
        "clusters": [{"name": "c1", "hosts": 4}],
        "vms": [group("app-{n}", 12), group("db-{n}", 4), group("web-{n}", 6)],
    }
    run = waves(
        trial(scenario),
        {"name": "web", "where": [["name~=web-%"]]},
        {"name": "app", "after": ["web"], "where": [["name~=app-%"]], "limits": {"concurrency": 3}},
        {"name": "rest", "after": ["app"]},
    )
    await run.go()
    run.hold({"*": "stopped_clean"})
    stops = run.node.record.stops
    of = {
        name: [stop for stop in stops if run.node.vms[stop.vm_uuid].name.startswith(name)] for name in ("web", "app", "db")
    }
    for before, after in (("web", "app"), ("app", "db")):
        assert max(stop.ended or 0.0 for stop in of[before]) <= min(stop.accepted for stop in of[after])
    assert peak(of["app"]) <= 3
    assert [(wave.name, wave.totals["stopped_clean"]) for wave in run.report.waves] == [("web", 6), ("app", 12), ("rest", 4)]


async def test_one_dead_host_does_not_stop_the_run(trial: Trials) -> None:
    """Its failures close that host; everything elsewhere is stopped, and what was not started there is named so."""
    clusters = [{"name": "c1", "hosts": 3}, {"name": "c2", "hosts": [{"name": "dead", "status": "Disconnected"}]}]
    scenario = {"clusters": clusters, "vms": [group("app-{n}", 20, clusters=["c1"]), group("lost-{n}", 8, hosts=["dead"])]}
    run = waves(
        trial(scenario, plan={"limits": {"per_host": 1}}),
        {"name": "all-of-it"},
        budget={"per_host": 2, "failures": 2, "per_wave": 9},
    )
    await run.go()
    run.hold({"app-*": "stopped_clean", "lost-*": ("failed", "not_reached")})
    assert run.report.totals["failed"] == 3
    assert [stop.kind for stop in run.report.run.stops] == ["host_budget"]
    assert run.report.run.stops[0].scope == "host dead"
    assert (run.report.run.status, run.report.run.ended_by, run.report.run.exit_code) == ("stopped_early", "budget", 4)
