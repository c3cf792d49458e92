"""Hosts that an evacuation has closed are opened again, and what a preview says of one, over real sockets."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.errors import RefusedError
from orchestrator.simulator import Fault
from tests.integration.emptying import (
    CLOSED,
    EMPTIED,
    ENABLED,
    MOVE,
    MOVE_OR_STOP,
    NEW,
    NOT_EMPTY,
    OLD,
    STOPPED,
    Emptyings,
    fleet,
    group,
    in_folders,
    side_by_side,
    until,
    upon,
)


@pytest.fixture
def emptying(tmp_path: Path) -> Emptyings:
    """Makes some, each in a folder of its own."""
    return in_folders(tmp_path)


# ── hosts that were closed before ──────────────────────────────────────────────────────────────────────────────────
async def test_hosts_that_were_closed_before(emptying: Emptyings) -> None:
    """Disabled before: not disabled by us, and Disabled again after restore; in maintenance before: never touched."""
    old = [{"name": "old-1", "state": "Disabled"}, {"name": "old-2", "state": "Maintenance"}, "old-3"]
    scenario = fleet(group("vm-{n}", 4, on=["old-1", "old-3"]), old=old)
    async with emptying(scenario, leaving=("old-1", "old-2", "old-3")) as trial:
        await trial.empty()
        hosts = {
            "old-1": [("disable", "already"), *EMPTIED[1:]],
            "old-2": [("disable", "already"), ("empty", "done"), ("maintain", "already")],
            "old-3": EMPTIED,
        }
        trial.hold_emptied(hosts, {"*": STOPPED})
        assert trial.told("old-1").actions[0].state_before == "Disabled"
        await trial.restore()
        opened = {"old-1": [("disable", "done")], "old-3": [("enable", "done")]}
        assert [trial.host(name).state for name in ("old-1", "old-2", "old-3")] == ["Disabled", "Maintenance", "Enabled"]
        assert {host.name for host in trial.report.hosts if host.actions} == set(opened)
        assert {name: trial.acts(name) for name in opened} == opened
        assert {vm.outcome for vm in trial.report.vms} == {"started"}
        assert trial.report.run.exit_code == 0


# ── restore ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_there_and_back(emptying: Emptyings) -> None:
    """Restore enables the hosts, waits for them, starts what was stopped where it was, and moves nothing back."""
    groups = (group("vm-{n}", 4), group("pinned-{n}", 4, pinned=True))
    async with emptying(fleet(*groups, reconnect=[15, 18]), MOVE_OR_STOP) as trial:
        origin = {vm.uuid: vm.host_uuid for vm in trial.node.vms.values() if vm.pinned}
        await trial.empty()
        trial.hold_emptied(CLOSED, {"pinned-*": STOPPED, "vm-*": "migrated"})
        await trial.restore()
        trial.hold_opened(ENABLED, [f"pinned-{n}" for n in range(1, 5)])
        assert {uuid: trial.node.vms[uuid].host_uuid for uuid in origin} == origin
        assert await trial.restore() is None


async def test_restore_of_a_run_that_only_migrated(emptying: Emptyings) -> None:
    """There is no VM to start: the hosts are opened, and nothing else is done."""
    async with emptying(fleet(group("vm-{n}", 4)), {**MOVE, "hosts": "disable"}) as trial:
        await trial.empty()
        trial.hold_emptied(dict.fromkeys(OLD, EMPTIED[:2]), {"*": "migrated"})
        await trial.restore()
        trial.hold_opened(ENABLED, [])
        assert trial.report.totals["targets"] == 0


async def test_restore_of_a_run_that_left_the_hosts(emptying: Emptyings) -> None:
    """Hosts that a plan leaves are not touched by the restore either: only the VMs are started."""
    async with emptying(fleet(group("vm-{n}", 4)), {"hosts": "leave"}) as trial:
        await trial.empty()
        trial.hold_emptied(dict.fromkeys(OLD, EMPTIED[1:2]), {"*": STOPPED})
        await trial.restore()
        assert trial.report.totals["started"] == 4
        assert trial.puts("changeHostState") == []


async def test_restore_leaves_what_somebody_has_had(emptying: Emptyings) -> None:
    """A host that was enabled by hand is said to be so; one that is in another state is left, and both are named."""
    old = ("old-1", "old-2", "old-3")
    async with emptying(fleet(group("vm-{n}", 6, on=old), old=old), leaving=old) as trial:
        await trial.empty()
        trial.set_host("old-1", "Enabled")
        trial.set_host("old-2", "Disabled")
        await trial.restore()
        hosts = {"old-1": [("enable", "already")], "old-2": [("enable", "left")], "old-3": [("enable", "done")]}
        trial.hold_opened(hosts, [f"vm-{n}" for n in range(1, 7)])
        assert trial.node.record.host_puts(trial.host("old-2").uuid, "enable") == 0
        assert [warning for warning in trial.report.run.warnings if "left: host old-2" in warning]


async def test_restore_when_a_host_does_not_connect(emptying: Emptyings) -> None:
    """Enabled, and not Connected in time: failed, exit code 1; what can start elsewhere is started there."""
    async with emptying(fleet(group("vm-{n}", 4)), {"host_timeout": "1s"}) as trial:
        await trial.empty()
        lost = trial.host("old-1")
        trial.at_state(lost, "Enabled", lambda: trial.node.disconnect_host(lost.uuid))
        await trial.restore()
        told = [event.data["outcome"] for event in trial.events if event.kind == "host.outcome"][-2:]
        assert sorted(told) == ["done", "failed"], "told once each, when it is known"
        assert trial.acts("old-1") == [("enable", "failed")]
        assert "Disconnected" in str(trial.told("old-1").actions[0].evidence)
        assert trial.acts("old-2") == [("enable", "done")]
        assert trial.report.totals["started"] == 4
        assert trial.report.run.exit_code == 1
        assert lost.uuid not in {vm.host_uuid for vm in trial.node.vms.values()}


async def test_restore_whose_answers_are_lost(emptying: Emptyings) -> None:
    """Each host is enabled once, and each VM started once, whatever becomes of the answers."""

    async def lost(kind: str) -> None:
        async with emptying(fleet(group("vm-{n}", 4))) as trial:
            await trial.empty()
            for on in ("host", "start"):
                fault = {"kind": kind, "on": on, "hosts": ["old-*"], "every": 2, "first": 3, "status": 502}
                trial.node.faults.add(
                    Fault.model_validate(fault if on == "host" else {**fault, "hosts": [], "vms": ["vm-*"]})
                )
            await trial.restore()
            trial.hold_opened(ENABLED, [f"vm-{n}" for n in range(1, 5)])

    await side_by_side(lost, "drop_before", "drop_after", "html", "too_many_requests")


async def test_restore_of_a_retried_run(emptying: Emptyings) -> None:
    """What a run and its retry did to a host is undone as one: Enabled, as it was before both."""
    stuck = group("stuck", on=["old-1"], guest={"behaviour": "fails", "fails_after": 1})
    async with emptying(fleet(group("vm-{n}", 4), stuck), plan={"stop": {"fallback": "none"}}) as trial:
        await trial.empty()
        trial.hold_emptied({"old-1": NOT_EMPTY, "old-2": EMPTIED}, {"stuck": "failed", "vm-*": STOPPED}, code=1)
        trial.node.act(trial.sim("stuck").uuid, "stop")
        await trial.retry()
        assert trial.acts("old-1") == [("disable", "already"), *EMPTIED[1:]]
        await trial.restore()
        trial.hold_opened(ENABLED, [f"vm-{n}" for n in range(1, 5)])
        assert trial.sim("stuck").state == "Stopped"


async def test_restore_touches_no_host_that_the_run_did_not_change(emptying: Emptyings) -> None:
    """A change that was refused, or whose job failed, is none: who has closed that host since had reasons of their own."""
    fault = {"on": "host", "hosts": ["old-1"]}

    async def never_disabled(kind: str) -> None:
        scenario = fleet(group("vm-{n}", 4), faults=[{**fault, "kind": kind, "status": 503}])
        async with emptying(scenario, {**MOVE, "host_timeout": "1s"}) as trial:
            await trial.empty()
            assert trial.acts("old-1")[0] == ("disable", "failed")
            trial.node.faults.clear()
            trial.set_host("old-1", "Disabled")
            before = len(trial.puts("changeHostState"))
            await trial.restore()
            assert trial.host("old-1").state == "Disabled"
            assert {one.host_uuid for one in trial.puts("changeHostState")[before:]} == {trial.host("old-2").uuid}

    await side_by_side(never_disabled, "verdict", "too_many_requests")
    scenario = fleet(group("vm-{n}", 4), faults=[{**fault, "kind": "verdict", "skip": 1, "first": 1}])
    async with emptying(scenario, MOVE) as trial:
        await trial.empty()
        assert trial.acts("old-1") == [*EMPTIED[:2], ("maintain", "failed")]
        trial.set_host("old-1", "Maintenance")  # by hand
        await trial.restore()
        assert trial.acts("old-1") == [("enable", "left")]
        assert trial.host("old-1").state == "Maintenance"


async def test_restore_of_a_host_that_somebody_closed_anew(emptying: Emptyings) -> None:
    """It was found otherwise at the end of the run: whatever it is now is their doing, and theirs to undo."""
    async with emptying(fleet(group("vm-{n}", 4)), MOVE) as trial:
        await trial.empty(upon("run.verifying", lambda _: trial.set_host("old-1", "Disabled")))
        assert trial.acts("old-1")[-1] == ("maintain", "came_back")
        await trial.restore()
        trial.hold_opened({"old-1": [("enable", "left")], "old-2": [("enable", "done")]}, [])
        assert trial.host("old-1").state == "Disabled"


async def test_restores_one_after_the_other(emptying: Emptyings) -> None:
    """A retry is restored to how it found the hosts, and then the run to how it had found them."""
    stuck = group("stuck", on=["old-1"], guest={"behaviour": "fails", "fails_after": 1})
    async with emptying(fleet(group("vm-{n}", 4), stuck), plan={"stop": {"fallback": "none"}}) as trial:
        await trial.empty()
        trial.node.act(trial.sim("stuck").uuid, "stop")
        await trial.retry()
        await trial.restore(of=1)
        assert trial.acts("old-1") == [("disable", "done")]
        await trial.restore()
        trial.hold_opened(ENABLED, [f"vm-{n}" for n in range(1, 5)])
        states = {name: trial.host(name).state for name in ("old-1", "old-2")}
        assert states == {"old-1": "Enabled", "old-2": "Enabled"}
        assert trial.node.record.host_puts(trial.host("old-1").uuid, "enable") == 1


async def test_restore_after_one_that_was_cut_waits_for_the_hosts_too(emptying: Emptyings) -> None:
    """A host that the first restore has enabled is not connected yet when the second begins: no VM is started before."""
    async with emptying(fleet(group("vm-{n}", 4), reconnect=[60, 60])) as trial:
        origin = {vm.uuid: vm.host_uuid for vm in trial.node.vms.values()}
        await trial.empty()
        old = [trial.host(name) for name in ("old-1", "old-2")]

        async def cut(run: Any) -> None:
            await until(lambda: all(host.state == "Enabled" for host in old))
            run.interrupt()

        async with anyio.create_task_group() as tasks:
            await trial.restore(started=lambda run: tasks.start_soon(cut, run))
        assert trial.report.run.exit_code == 4
        assert trial.report.totals["started"] == 0
        assert trial.acts("old-1") == [("enable", "unknown")]
        await trial.restore()
        assert trial.acts("old-1") == [("enable", "already")]
        assert trial.report.totals["started"] == 4
        assert {uuid: trial.node.vms[uuid].host_uuid for uuid in origin} == origin


async def test_what_a_host_was_before_is_what_it_was_before_the_last_change(emptying: Emptyings) -> None:
    """Opened by a restore or by somebody, and closed by somebody since: a retry finds it so, and a restore leaves it so."""

    async def restored(between: str) -> None:
        async with emptying(fleet(group("vm-{n}", 2), group("pin", on=["old-1"], pinned=True)), MOVE) as trial:
            await trial.empty()
            await trial.restore()
            trial.set_host("old-1", between)
            trial.node.act(trial.sim("pin").uuid, "stop")
            await until(lambda: trial.sim("pin").state == "Stopped")
            trial.report = trial.reports[0]
            await trial.retry()
            assert trial.host("old-1").state == "Maintenance"
            await trial.restore()
            assert trial.host("old-1").state == between

    async def came_back(between: str) -> None:
        first = "Disabled" if between == "Enabled" else "Enabled"
        scenario = fleet(group("vm-{n}", 2, on=["old-2"]), old=[{"name": "old-1", "state": first}, "old-2"])
        async with emptying(scenario, MOVE) as trial:
            await trial.empty(upon("run.verifying", lambda _: trial.set_host("old-1", "Enabled")))
            if between != "Enabled":
                trial.set_host("old-1", between)
            await trial.retry()
            assert trial.host("old-1").state == "Maintenance"
            await trial.restore()
            assert trial.host("old-1").state == between

    await side_by_side(restored, "Enabled", "Disabled")
    await side_by_side(came_back, "Enabled", "Disabled")


async def test_a_host_that_is_somebodys_stays_so(emptying: Emptyings) -> None:
    """A restore has found it opened or changed by somebody: what they do to it later is theirs, too."""

    async def theirs(state: str) -> None:
        async with emptying(fleet(group("vm-{n}", 2)), MOVE) as trial:
            await trial.empty()
            trial.set_host("old-1", state)
            await trial.restore()
            trial.set_host("old-1", "Maintenance")
            assert await trial.restore() is None
            assert trial.host("old-1").state == "Maintenance"
            assert trial.node.record.host_puts(trial.host("old-1").uuid, "enable") == 0

    await side_by_side(theirs, "Enabled", "Disabled")


async def test_a_host_that_was_opened_and_not_seen_connected(emptying: Emptyings) -> None:
    """Failed by time: another restore waits for it, without a VM to start; in maintenance by somebody since, it is left."""
    async with emptying(fleet(group("vm-{n}", 2), reconnect=[120, 120]), {**MOVE, "host_timeout": "500ms"}) as trial:
        await trial.empty()
        await trial.restore()
        late = [("enable", "failed")]
        trial.hold_opened({"old-1": late, "old-2": late}, [], code=1)
        trial.set_host("old-2", "Maintenance")
        await trial.restore()
        assert trial.acts("old-1")[0] in {("enable", "already"), ("enable", "failed")}
        assert trial.acts("old-2") == [("enable", "left")]
        assert trial.node.record.host_puts(trial.host("old-2").uuid, "enable") == 1
        await until(lambda: trial.host("old-1").status == "Connected")
        assert await trial.restore() is None


async def test_what_the_node_refused_and_somebody_did(emptying: Emptyings) -> None:
    """Our call did nothing, and somebody disabled the host in that moment: it was so already, and stays so afterwards."""

    async def refused(kind: str) -> None:
        fault = {"kind": kind, "on": "host", "hosts": ["old-1"], "first": 1, "status": 403}
        async with emptying(fleet(group("vm-{n}", 2), faults=[fault]), {**MOVE, "hosts": "disable"}) as trial:
            old = trial.host("old-1").uuid
            await trial.empty(upon("host.sent", lambda _: trial.set_host("old-1", "Disabled"), host=old))
            assert trial.acts("old-1")[0] == ("disable", "already")
            await trial.restore()
            assert trial.host("old-1").state == "Disabled"
            assert trial.node.record.host_puts(old, "enable") == 0

    await side_by_side(refused, "verdict", "error_500", "html")


# ── preview ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_preview_says_what_moves_what_stops_and_what_stays(emptying: Emptyings) -> None:
    """Per host and without a change; and that is what the run does then."""
    old = ({"name": "old-1", "state": "Disabled"}, "old-2")
    groups = (
        group("vm-{n}", 4),
        group("pinned", on=["old-1"], pinned=True),
        group("router", on=["old-2"], pinned=True, type="ApplianceVm"),
        group("keep", on=["old-2"]),
    )
    spare = {"exclude": {"where": [["name=keep"]]}}
    async with emptying(fleet(*groups, old=old), MOVE_OR_STOP, plan=spare) as trial:
        shown = await trial.preview()
        hosts = {host.name: (host.moves, host.stops, host.stays, host.state) for host in shown.hosts}
        assert hosts == {"old-1": (2, 1, 0, "Disabled"), "old-2": (2, 0, 2, "Enabled")}
        assert [warning for warning in shown.warnings if "old-2 will not be empty: 2 VMs stay (router, 1 that" in warning]
        assert {vm.name: vm.action for vm in shown.vms} == {
            **{f"vm-{n}": "migrate" for n in range(1, 5)}, "pinned": "stop", "router": "stay",
        }  # fmt: skip
        assert not [*trial.puts("changeHostState"), *trial.puts("migrateVm"), *trial.puts("stopVmInstance")]
        await trial.empty(earlier=shown)
        expected = {"vm-*": "migrated", "pinned": STOPPED, "router": "failed"}
        acts = {"old-1": [("disable", "already"), *EMPTIED[1:]], "old-2": NOT_EMPTY}
        trial.hold_emptied(acts, expected, code=1)
        assert trial.left("old-2") == {"router": "failed", "keep": "excluded"}


async def test_a_preview_that_is_out_of_date(emptying: Emptyings) -> None:
    """A host that the plan's selector takes since, or a VM that has come, refuses the run before anything is sent."""
    select = {"where": [["state=Enabled", "name~=old-%"]]}
    old = ("old-1", {"name": "old-2", "state": "Disabled"})
    groups = (group("vm-{n}", 2, on=["old-1"]), group("guest", on=NEW))
    async with emptying(fleet(*groups, old=old), MOVE, select=select) as trial:
        shown = await trial.preview()
        trial.set_host("old-2", "Enabled")
        with pytest.raises(RefusedError, match="host old-2 appeared"):
            await trial.empty(earlier=shown)
        shown = await trial.preview()
        trial.node.act(trial.sim("guest").uuid, "migrate", host_uuid=trial.host("old-1").uuid)
        with pytest.raises(RefusedError, match=r"guest \(.*\) appeared"):
            await trial.empty(earlier=shown)
        assert not [*trial.puts("changeHostState"), *trial.puts("migrateVm")]
        trial.set_host("old-2", "Disabled")
        with pytest.raises(RefusedError, match="host old-2 vanished"):
            await trial.empty(earlier=shown)


async def test_a_preview_whose_migrations_would_be_stops_now(emptying: Emptyings) -> None:
    """The hosts with room are closed since: what somebody has agreed to see migrated is not stopped instead."""
    async with emptying(fleet(group("vm-{n}", 2)), MOVE_OR_STOP) as trial:
        shown = await trial.preview()
        for name in NEW:
            trial.set_host(name, "Disabled")
        now = await trial.preview()
        assert (now.digest == shown.digest, {vm.action for vm in now.vms}) == (False, {"stop"})
        assert {vm.why for vm in now.vms} == {"the node offers no host for it outside those that are emptied"}
        with pytest.raises(RefusedError, match=r"(?s)2 targets have drifted.*was to be migrated, is now to be stopped"):
            await trial.empty(earlier=shown)
        assert not [*trial.puts("changeHostState"), *trial.puts("stopVmInstance")]
        await trial.empty(earlier=shown, allow_drift=2)
        trial.hold_emptied(CLOSED, {"vm-*": STOPPED})


async def test_a_preview_of_what_no_node_migrates(emptying: Emptyings) -> None:
    """Paused: it stays, and its host will not be empty, or it is stopped where the plan says so; the run does the same."""

    async def previewed(evacuate: dict[str, Any]) -> None:
        stops = evacuate is MOVE_OR_STOP
        async with emptying(fleet(group("vm-{n}", 2), group("paused", on=["old-1"], state="Paused")), evacuate) as trial:
            shown = await trial.preview()
            host = next(host for host in shown.hosts if host.name == "old-1")
            assert (host.moves, host.stops, host.stays) == (1, int(stops), int(not stops))
            warned = any("old-1 will not be empty: 1 VM stays (paused)" in warning for warning in shown.warnings)
            assert warned is not stops
            await trial.empty(earlier=shown)
            outcome = STOPPED if stops else "failed"
            hosts = CLOSED if stops else {"old-1": NOT_EMPTY, "old-2": EMPTIED}
            trial.hold_emptied(hosts, {"vm-*": "migrated", "paused": outcome}, code=int(not stops))

    await side_by_side(previewed, MOVE, MOVE_OR_STOP)
