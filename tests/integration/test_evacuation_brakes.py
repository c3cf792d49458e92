"""What holds an evacuation up, over real sockets: the window, a ramp, a pause, and a node that restarts on the way back."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.model.outcome import Outcome, Reason
from tests.integration.emptying import (
    CLOSED,
    ENABLED,
    MOVE,
    MOVE_OR_STOP,
    NOT_EMPTY,
    OLD,
    STOPPED,
    Emptying,
    Emptyings,
    fleet,
    group,
    in_folders,
    side_by_side,
    until,
)


@pytest.fixture
def emptying(tmp_path: Path) -> Emptyings:
    """Makes some, each in a folder of its own."""
    return in_folders(tmp_path)


def opens(trial: Emptying) -> int:
    """How many calls to enable a host have come to the node."""
    return sum(one.body.get("stateEvent") == "enable" for one in trial.puts("changeHostState"))


async def test_the_window_ends_in_the_middle(emptying: Emptyings) -> None:
    """Nothing begins afterwards, no migration is cut, and no host goes into maintenance: they stay Disabled, and named."""

    async def ended(at_end: str) -> None:
        end = datetime.now(UTC) + timedelta(seconds=3)
        window = {"end": end.isoformat(timespec="milliseconds"), "at_end": at_end}
        async with emptying(fleet(group("vm-{n}", 60), migrate=[50, 60]), MOVE_OR_STOP, plan={"window": window}) as trial:
            await trial.empty()
            words = {Outcome.MIGRATED, Outcome.NOT_REACHED} | ({Outcome.UNKNOWN} if at_end == "abandon" else set())
            assert {Outcome.MIGRATED, Outcome.NOT_REACHED} <= set(trial.outcomes.values()) <= words, trial.outcomes
            assert {vm.reason for vm in trial.report.vms if vm.outcome is Outcome.NOT_REACHED} == {Reason.WINDOW}
            assert trial.puts("stopVmInstance") == []
            hosts = {"old-1": NOT_EMPTY, "old-2": NOT_EMPTY}
            found = {str(vm.name): str(vm.outcome) for vm in trial.report.vms}
            trial.hold_emptied(hosts, found, code=4, limited=at_end != "abandon")
            assert trial.report.run.ended_by == "window"
            assert {trial.host(name).state for name in OLD} == {"Disabled"}

    await side_by_side(ended, "finish", "cold", "abandon")


async def test_a_ramp_whose_first_step_fails(emptying: Emptyings) -> None:
    """The canary cannot be moved: no other VM is touched, and both hosts stay Disabled."""
    plan = {"limits": {"ramp": [1, "100%"]}}
    broken = group("vm-{n}", 6, guest={"migration": "fails_halfway", "migration_fails_after": 2})
    async with emptying(fleet(broken), MOVE, plan=plan) as trial:
        await trial.empty()
        trial.hold_emptied({"old-1": NOT_EMPTY, "old-2": NOT_EMPTY}, {"*": ("failed", "not_reached")}, code=4)
        assert (trial.report.totals["failed"], trial.report.totals["not_reached"]) == (1, 5)
        assert len(trial.puts("migrateVm")) == 1


async def test_a_pause_on_the_way_back(emptying: Emptyings) -> None:
    """Paused as the first hosts are opened: those go on, no other is opened and no VM started until it may go on."""
    old = [f"old-{number}" for number in range(1, 25)]
    scenario = fleet(group("vm-{n}", 4, on=old), old=old, host_change=[20, 20])
    async with emptying(scenario, leaving=old) as trial:
        await trial.empty()
        runs, opened = list[Any](), list[int]()

        def enables() -> int:
            return opens(trial)

        async def pause() -> None:
            await until(lambda: enables() >= 10)
            runs[0]._pause_or_go(pause=True, who="ops@jump1")
            there = [trial.host(name) for name in old]
            await until(lambda: sum((one.state, one.status) == ("Enabled", "Connected") for one in there) == 10)
            await until(lambda: [event.kind for event in trial.events].count("host.outcome") - before == 10)
            opened.append(enables())
            runs[0]._pause_or_go(pause=False, who="ops@jump1")

        before = [event.kind for event in trial.events].count("host.outcome")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pause)
            await trial.restore(started=runs.append)
        assert opened == [10]
        trial.hold_opened(dict.fromkeys(old, ENABLED["old-1"]), [f"vm-{number}" for number in range(1, 5)])


async def test_a_node_that_restarts_on_the_way_back(emptying: Emptyings) -> None:
    """It has dropped what was under way: each host is sent to once, what is not open is said so, and opened by another."""

    async def restarted(count: int) -> None:
        async with emptying(fleet(group("vm-{n}", 4), host_change=[6, 8]), {"host_timeout": "2s"}) as trial:
            await trial.empty()
            trial.hold_emptied(CLOSED, {"*": STOPPED})

            async def restart() -> None:
                await until(lambda: opens(trial) >= count)
                await trial.node.restart(8.0)

            restarting = asyncio.create_task(restart())
            await trial.restore()
            await restarting
            acts = {name: trial.acts(name)[0] for name in OLD}
            left = [name for name in OLD if acts[name] == ("enable", "failed")]
            assert set(acts.values()) <= {("enable", "done"), ("enable", "failed")}, acts
            assert {name for name in OLD if trial.host(name).state == "Maintenance"} == set(left)
            assert [trial.node.record.host_puts(trial.host(name).uuid, "enable") for name in OLD] == [1, 1]
            assert trial.report.totals["started"] == 4
            assert (await trial.restore() is None) == (not left)
            assert {trial.host(name).state for name in OLD} == {"Enabled"}

    await side_by_side(restarted, 1, 2)
