"""Clocks that jump and machines that sleep: durations and outcomes are not confused by them."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import pytest

from orchestrator import app
from orchestrator.engine.clock import Clock
from orchestrator.journal.memory import MemoryJournal
from orchestrator.model.report import ReportDocument
from orchestrator.plan.load import plan_from_text
from tests.cli.support import Node
from tests.faults.trials import FaultTrial, group, stops
from tests.integration.conftest import settings_for

Trials = Callable[..., FaultTrial]
CONFUSED = pytest.mark.xfail(reason="the node's clock is learned once, before the run", strict=True)


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Callable[[FaultTrial], None]]:
    """Turns this machine's wall clock by so many hours."""
    ahead = [0.0]
    monkeypatch.setattr(Clock, "unix", lambda self: time.time() + ahead[0])

    def by(hours: float) -> Callable[[FaultTrial], None]:
        return lambda run: ahead.__setitem__(0, hours * 3600)

    return by


def hold_durations(run: FaultTrial) -> None:
    """Nothing took longer than the run, or less than no time."""
    for vm in run.report.vms:
        assert vm.elapsed_seconds is not None
        assert 0 <= vm.elapsed_seconds <= run.seconds
        assert vm.evidence is not None
        assert vm.evidence.seconds is None or 0 <= vm.evidence.seconds <= run.seconds


@pytest.mark.parametrize("hours", [-5.0, 5.0])
async def test_our_wall_clock_jumps_in_mid_run(trial: Trials, jump: Any, hours: float) -> None:
    """Forwards or backwards: clean stays clean, forced stays forced, and durations are those of a clock that never jumps."""
    vms = [group("vm-{n}", {"shutdown": [8, 15]}, 6), group("deaf", {"behaviour": "ignores_acpi"})]
    run = trial({"vms": vms}, moments=[(stops(4), jump(hours))], plan={"limits": {"concurrency": 3}})
    await run.go()
    run.hold({"vm-*": "stopped_clean", "deaf": "stopped_forced"})
    hold_durations(run)


@pytest.mark.parametrize("hours", [-5.0, 0.01, 5.0])
async def test_quick_stops_after_our_wall_clock_jumped(trial: Trials, jump: Any, hours: float) -> None:
    """A stop too quick for anybody to see Stopping is ours all the same, whatever our wall clock says by then."""
    node = {"agent": 0.1}
    run = trial(
        {"node": node, "vms": [group("vm-{n}", {"shutdown": 0.1}, 6)]},
        moments=[(stops(2), jump(hours))],
        plan={"limits": {"concurrency": 2}},
    )
    await run.go()
    run.hold({"vm-*": "stopped_clean"})
    hold_durations(run)


@pytest.mark.parametrize("hours", [pytest.param(-1, marks=CONFUSED), 1])
async def test_quick_stops_after_the_nodes_clock_was_turned(trial: Trials, hours: int) -> None:
    """The same where it is the node's clock that jumps."""

    def turn(run: FaultTrial) -> None:
        run.node._world.clock.skew += timedelta(hours=hours)

    vms = [group("vm-{n}", {"shutdown": 0.1}, 6)]
    run = trial({"node": {"agent": 0.1}, "vms": vms}, moments=[(stops(2), turn)], plan={"limits": {"concurrency": 2}})
    await run.go()
    run.hold({"vm-*": "stopped_clean"})


# ── the machine sleeps ─────────────────────────────────────────────────────────────────────────────────────────────────
FAST = 50.0
"""The power cut comes after 1.2 s, and a nap of 2.2 s is longer than the whole grace timeout."""
NAP_SECONDS = 2.2


class DrowsyLoop(asyncio.SelectorEventLoop):
    """Its clock may stand still while the machine sleeps, as CLOCK_MONOTONIC does on Linux."""

    missed = 0.0

    def time(self) -> float:
        """Seconds that this machine was awake."""
        return super().time() - self.missed


def sleep_in_mid_run(folder: Path, *vms: dict[str, Any], clock_goes_on: bool, plan: Any = None) -> FaultTrial:
    """A run whose machine falls asleep once every stop is at the node, which lives elsewhere and stays awake."""
    run = FaultTrial(folder, {"vms": list(vms)}, plan=plan or {}, scale=FAST)
    file = plan_from_text(run.plan_text(), name="plan.json", folder=folder, json=True)

    async def go() -> ReportDocument:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DrowsyLoop)

        async def nap() -> None:
            """Falls asleep when every stop is at the node, and bulk queries have shown the run what they do."""
            while len(run.node.record.stops) < len(run.node.vms):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.003)
            before = len(run.node.record.requests)
            while sum(r.status == 200 and bool(r.query) for r in run.node.record.requests[before:]) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.003)
            time.sleep(NAP_SECONDS)  # noqa: ASYNC251 - the whole machine sleeps
            loop.missed = 0.0 if clock_goes_on else NAP_SECONDS
            run.came += 1

        napping = asyncio.create_task(nap())
        told_of_sleep = mock.patch("orchestrator.engine.clock.sleep_seconds", side_effect=lambda: loop.missed)
        with told_of_sleep:  # as the system tells it beside the clock that stood still
            report = await app.run(file, settings_for(run.node), journal=MemoryJournal())
        napping.cancel()  # where it never came, `came` says so
        return report.document()

    with Node(run.node.scenario) as node:
        run.node = node.sim
        run.report = anyio.run(go, backend_options={"loop_factory": DrowsyLoop})
    assert run.came == 1
    run.came = 0
    return run


@pytest.mark.parametrize("clock_goes_on", [True, False], ids=["clock goes on", "clock stands still"])
def test_asleep_while_the_power_is_cut(tmp_path: Path, clock_goes_on: bool) -> None:
    """Awake again after the node cut the power: that stop is forced, however short the time seems to us."""
    run = sleep_in_mid_run(tmp_path, group("deaf", {"behaviour": "ignores_acpi"}), clock_goes_on=clock_goes_on)
    run.hold({"deaf": "stopped_forced"})


@pytest.mark.parametrize("clock_goes_on", [True, False], ids=["clock goes on", "clock stands still"])
def test_asleep_while_guests_shut_down(tmp_path: Path, clock_goes_on: bool) -> None:
    """Guests that obeyed meanwhile are stopped, clean or not to be told; nothing is sent to them again."""
    run = sleep_in_mid_run(tmp_path, group("vm-{n}", {"shutdown": 40}, 4), clock_goes_on=clock_goes_on)
    run.hold({"vm-*": ("stopped_clean", "stopped_forced")})
    assert run.arrived().total() == 4


@pytest.mark.parametrize("clock_goes_on", [True, False], ids=["clock goes on", "clock stands still"])
def test_asleep_while_a_stop_is_refused(tmp_path: Path, clock_goes_on: bool) -> None:
    """A verdict that waits for us is the verdict, though our deadline has passed: class N gets no cold."""
    refusal = {"behaviour": "fails", "chain": ["VM.1002", "SYS.1006"], "fails_after": 40}
    run = sleep_in_mid_run(tmp_path, group("vm", refusal), clock_goes_on=clock_goes_on)
    run.hold({"vm": "failed"})
    assert [(a.type, a.result) for a in run.vm("vm").attempts] == [("grace", "failed")]
