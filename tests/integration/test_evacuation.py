"""Hosts are emptied over real sockets: what a report says of hosts and migrations is what happened at the node."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import app
from orchestrator.errors import RefusedError
from orchestrator.model.event import Event
from orchestrator.model.fault import fault_of
from orchestrator.model.outcome import Reason
from orchestrator.model.report import ReportDocument
from orchestrator.plan.load import plan_from_text
from orchestrator.simulator import Fault, Migration, StopJob
from tests.integration.conftest import settings_for
from tests.integration.emptying import (
    CLOSED,
    EMPTIED,
    ENABLED,
    MOVE,
    MOVE_OR_STOP,
    NEW,
    NOT_EMPTY,
    OLD,
    SLOW,
    STOPPED,
    Emptying,
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


# ── all goes well ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_two_hosts_are_emptied(emptying: Emptyings) -> None:
    """All that runs there migrates, two at a time at both ends, and both hosts go into maintenance, empty."""
    async with emptying(fleet(group("vm-{n}", 10), group("else-{n}", 2, on=NEW)), MOVE) as trial:
        await trial.empty()
        trial.hold_emptied(CLOSED, {"*": "migrated"})
        assert trial.report.totals["targets"] == 10
        assert trial.node.record.stops == []
        assert max(map(trial.node.record.peak_migrations_per_host, trial.node.hosts)) == 2


async def test_two_hosts_are_emptied_by_stops(emptying: Emptyings) -> None:
    """Unless a plan says so nothing migrates but the router; Stopped ones are on no host, and no targets."""
    groups = (group("vm-{n}", 6), group("off-{n}", 2, state="Stopped"), group("router", type="ApplianceVm"))
    async with emptying(fleet(*groups)) as trial:
        await trial.empty()
        trial.hold_emptied(CLOSED, {"vm-*": STOPPED, "router": "migrated"})
        assert trial.report.totals["targets"] == 7
        trial.hold_limits(concurrency=50, per_host=50)


async def test_waves_are_kept(emptying: Emptyings) -> None:
    """By the node's record the first wave has left, or is off, before anything of the second is touched."""
    waves = [{"name": "app", "where": [["name~=app-%"]]}, {"name": "db", "after": ["app"]}]
    groups = (group("app-{n}", 4), group("app-pinned", pinned=True), group("db-{n}", 4))
    async with emptying(fleet(*groups), MOVE_OR_STOP, waves=waves) as trial:
        await trial.empty()
        trial.hold_emptied(CLOSED, {"app-pinned": STOPPED, "*": "migrated"})
        first = {vm.uuid for vm in trial.report.vms if vm.wave == "app"}
        jobs: list[Migration | StopJob] = [*trial.node.record.migrations, *trial.node.record.stops]
        assert max(job.ended or 0.0 for job in jobs if job.vm_uuid in first) <= min(
            job.accepted for job in jobs if job.vm_uuid not in first
        )


async def test_what_ha_brings_back(emptying: Emptyings) -> None:
    """With the inhibit it stays down; without, HA starts it on another host: come back, and yet its own host is empty."""

    async def stopped(stop_ha: bool) -> None:
        scenario = fleet(group("ha-{n}", 2, ha_level="NeverStop"), group("vm-{n}", 2))
        plan = {"stop": {"stop_ha": stop_ha}, "verify": {"after": "1s"}}
        async with emptying(scenario, plan=plan) as trial:
            await trial.empty()
            came = STOPPED if stop_ha else "came_back"
            trial.hold_emptied(CLOSED, {"ha-*": came, "vm-*": STOPPED}, code=0 if stop_ha else 1)
            hosts = {trial.sim(name).host for name in ("ha-1", "ha-2")}
            assert hosts <= ({None} if stop_ha else {trial.host("new-1"), trial.host("new-2")})

    await side_by_side(stopped, True, False)


async def test_an_access_key_and_a_node_of_another_kind(emptying: Emptyings) -> None:
    """Signed requests for hosts and migrations; another zone, a skewed clock, floats, unknown fields, Chinese."""
    node: dict[str, Any] = {
        "zone": "Asia/Shanghai", "clock_skew": 400.0, "numbers": "float", "timestamps": "jdk20", "extra_fields": True,
        "language": "zh", "context_path": "",
    }  # fmt: skip
    scenario = fleet(group("vm-{n}", 4), group("stays", guest={"migration": "refused"}), **node)
    scenario["accounts"] = [{"name": "admin", "admin": True, "access_keys": [{"id": "key", "secret": "secret"}]}]
    key = {"access_key_id": "key", "access_key_secret": "secret"}
    async with emptying(scenario, MOVE_OR_STOP, credential=key) as trial:
        await trial.empty()
        trial.hold_emptied(CLOSED, {"vm-*": "migrated", "stays": STOPPED})
        await trial.restore()
        trial.hold_opened(ENABLED, {"stays"})


async def test_the_far_end_is_not_overrun(emptying: Emptyings) -> None:
    """With one host to go to, and four that are left, no more go there at a time than the plan says."""
    old = ("old-1", "old-2", "old-3", "old-4")
    scenario = fleet(group("vm-{n}", 8, on=old), old=old, new=("new-1",))
    async with emptying(scenario, {**MOVE, "migrate": {"per_host": 3}}, leaving=old) as trial:
        await trial.empty()
        trial.hold_emptied(dict.fromkeys(old, EMPTIED), {"*": "migrated"}, migrations=3, per_host=3)


# ── migrations that do not work ────────────────────────────────────────────────────────────────────────────────────
CANNOT: list[tuple[dict[str, Any], Reason | None, list[str]]] = [
    ({"pinned": True}, Reason.NO_CANDIDATE, []),
    ({"guest": {"migration": "refused"}}, None, ["migrate"]),
    ({"guest": {"migration": "fails_halfway", "migration_fails_after": 2}}, None, ["migrate"]),
]


async def test_what_cannot_migrate_is_left(emptying: Emptyings) -> None:
    """Where a plan only migrates it is failed and runs where it was; its host stays Disabled, and names it."""

    async def left(case: tuple[dict[str, Any], Reason | None, list[str]]) -> None:
        how, reason, sent = case
        async with emptying(fleet(group("vm-{n}", 4), group("stays", on=["old-1"], **how)), MOVE) as trial:
            await trial.empty()
            trial.hold_emptied({"old-1": NOT_EMPTY, "old-2": EMPTIED}, {"stays": "failed", "vm-*": "migrated"}, code=1)
            assert (trial.vm("stays").reason, [a.type for a in trial.vm("stays").attempts]) == (reason, sent)
            assert trial.left("old-1") == {"stays": "failed"}
            error = trial.vm("stays").error
            assert trial.causes("old-1") == {"stays": reason if error is None else fault_of(error).chain()}
            assert trial.host("old-1").state == "Disabled"
            assert trial.sim("stays").state == "Running"

    await side_by_side(left, *CANNOT)


async def test_what_cannot_migrate_is_stopped(emptying: Emptyings) -> None:
    """Where a plan stops what cannot migrate, both hosts are emptied, and the report tells of both."""

    async def stopped(case: tuple[dict[str, Any], Reason | None, list[str]]) -> None:
        how, _, sent = case
        async with emptying(fleet(group("vm-{n}", 4), group("odd-{n}", 2, **how)), MOVE_OR_STOP) as trial:
            await trial.empty()
            trial.hold_emptied(CLOSED, {"odd-*": STOPPED, "vm-*": "migrated"})
            assert [a.type for a in trial.vm("odd-1").attempts] == [*sent, "grace"]
            assert "could not be migrated" in str(trial.vm("odd-1").evidence)

    await side_by_side(stopped, *CANNOT)


async def test_a_migration_that_succeeds_late_after_its_stop_has_failed(emptying: Emptyings) -> None:
    """Neither migrated nor stopped at its turn, and found on another host at verification: it has migrated, late."""
    guest = {"migration": "late_success", "migration_fails_after": 3, "migration_late_after": 160}
    stuck = {**guest, "behaviour": "fails", "fails_after": 1}
    plan = {"stop": {"fallback": "none"}, "verify": {"after": "3s"}}
    async with emptying(fleet(group("late", on=["old-1"], guest=stuck)), MOVE_OR_STOP, plan=plan) as trial:
        await trial.empty()
        trial.hold_emptied(CLOSED, {"late": "migrated"})


async def test_a_migration_that_hangs(emptying: Emptyings) -> None:
    """Still Migrating when its own time is over: unknown, never stopped, and its host stays Disabled."""
    hangs = group("hangs", on=["old-1"], guest={"migration": "hangs"})
    async with emptying(fleet(group("vm-{n}", 4), hangs), {**MOVE_OR_STOP, "migrate": {"timeout": "1s"}}) as trial:
        await trial.empty()
        expected = {"hangs": "unknown", "vm-*": "migrated"}
        trial.hold_emptied({"old-1": NOT_EMPTY, "old-2": EMPTIED}, expected, code=1, limited=False)
        assert trial.vm("hangs").reason is Reason.STILL_MIGRATING
        assert trial.left("old-1") == {"hangs": "unknown"}


async def test_a_migration_that_succeeds_late(emptying: Emptyings) -> None:
    """Its job failed, and it arrives all the same: migrated, and its host goes into maintenance after all."""
    guest = {"migration": "late_success", "migration_fails_after": 3, "migration_late_after": 24}
    async with emptying(fleet(group("vm-{n}", 4), group("late", on=["old-1"], guest=guest)), MOVE) as trial:
        trial.plan = {**trial.plan, "verify": {"after": "500ms"}}
        await trial.empty()
        trial.hold_emptied(CLOSED, {"*": "migrated"})
        assert "SYS.1001" in str(trial.vm("late").evidence)


async def test_a_migration_that_succeeds_late_while_it_is_stopped(emptying: Emptyings) -> None:
    """Its migration has failed, and goes on while it is stopped: whatever comes first, it is told as it is."""

    async def late(case: tuple[int, list[int]]) -> None:
        after, shutdown = case
        guest = {"migration": "late_success", "migration_fails_after": 3, "migration_late_after": after}
        guest["shutdown"] = shutdown
        async with emptying(fleet(group("vm-{n}", 2), group("late", on=["old-1"], guest=guest)), MOVE_OR_STOP) as trial:
            await trial.empty()
            trial.hold_emptied(CLOSED, {"late": ("migrated", *STOPPED), "vm-*": "migrated"})

    # There before it is read again, or before it is to be stopped; off first; there while it shuts down.
    await side_by_side(late, (4, [1, 2]), (6, [1, 2]), (8, [1, 2]), (10, [1, 2]), (40, [1, 2]), (40, [50, 55]))


# ── answers ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("on", ["migrate", "host", "candidates"])
async def test_answers_that_are_lost(emptying: Emptyings, on: str) -> None:
    """Whatever becomes of the answers: each VM is moved once, each host changed once per direction, and all is done."""

    async def lost(kind: str) -> None:
        fault = {"kind": kind, "on": on, "hosts": ["old-*"], "every": 2, "first": 4, "seconds": 0.3, "status": 502}
        async with emptying(fleet(group("vm-{n}", 6), faults=[fault]), MOVE) as trial:
            await trial.empty()
            assert trial.node.faults.struck(next(iter(trial.node.faults))) >= 2
            trial.hold_emptied(CLOSED, {"*": "migrated"})

    await side_by_side(lost, "drop_before", "drop_after", "slow", "html", "too_many_requests", "truncated")


async def test_jobs_that_never_answer(emptying: Emptyings) -> None:
    """The work is done, and its job is 202 for ever: what is read at the deadline counts."""

    async def unanswered(on: str) -> None:
        fault = {"kind": "never_ends", "on": on, "hosts": ["old-*"], "first": 3}
        evacuate = {**MOVE, "migrate": {"timeout": "1s"}, "host_timeout": "1s"}
        async with emptying(fleet(group("vm-{n}", 4), faults=[fault]), evacuate) as trial:
            await trial.empty()
            trial.hold_emptied(CLOSED, {"*": "migrated"}, limited=False)

    await side_by_side(unanswered, "migrate", "host")


async def test_candidates_that_the_node_does_not_tell(emptying: Emptyings) -> None:
    """The node does not say where VMs could go: none of them is stopped for that, and the report says why."""
    fault = {"kind": "verdict", "on": "candidates", "vms": ["odd-*"]}
    async with emptying(fleet(group("vm-{n}", 2), group("odd-{n}", 2), faults=[fault]), MOVE_OR_STOP) as trial:
        await trial.empty()
        trial.hold_emptied(dict.fromkeys(OLD, NOT_EMPTY), {"odd-*": "failed", "vm-*": "migrated"}, code=1)
        assert "the node does not tell where it could go" in str(trial.vm("odd-1").evidence)


# ── hosts that are lost ────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_host_is_lost_that_is_left(emptying: Emptyings) -> None:
    """Disconnected in mid-run: its VMs are unknown, it stays Disabled and names them; when it is back, retry ends it."""
    async with emptying(fleet(group("vm-{n}", 10), migrate=[30, 40]), MOVE_OR_STOP) as trial:
        lose = upon("vm.sent", lambda _: trial.node.disconnect_host(trial.host("old-1").uuid), nth=4)
        await trial.empty(lose)
        odd = [vm.name for vm in trial.report.vms if vm.outcome != "migrated"]
        assert odd
        expected = {str(name): ("unknown", "failed") for name in odd}
        trial.hold_emptied({"old-1": NOT_EMPTY, "old-2": EMPTIED}, {**expected, "*": "migrated"}, code=1)
        assert set(trial.left("old-1")) == set(odd)
        trial.node.reconnect_host(trial.host("old-1").uuid)
        await until(lambda: trial.host("old-1").status == "Connected")
        await trial.retry()
        assert trial.acts("old-1") == [("disable", "already"), ("empty", "done"), ("maintain", "done")]
        assert trial.report.run.exit_code == 0
        assert {vm.name for vm in trial.report.vms} == set(odd)
        assert not [there for _, _, there in trial.met if there]
        assert trial.node.record.open_sessions() == []


async def test_a_host_is_lost_that_is_gone_to(emptying: Emptyings) -> None:
    """Migrations to it fail, and are stopped as the plan says; the others go to the host that is left."""
    async with emptying(fleet(group("vm-{n}", 10), migrate=[30, 40]), MOVE_OR_STOP) as trial:
        lose = upon("vm.sent", lambda _: trial.node.disconnect_host(trial.host("new-1").uuid), nth=4)
        await trial.empty(lose)
        trial.hold_emptied(CLOSED, {"*": ("migrated", *STOPPED)})
        lost = trial.host("new-1").uuid
        failed = {one.vm_uuid for one in trial.node.record.migrations if one.error}
        assert failed
        assert {one.target for one in trial.node.record.migrations if one.vm_uuid in failed} == {lost}
        assert failed == {vm.uuid for vm in trial.report.vms if vm.outcome in STOPPED}


async def test_a_host_that_is_lost_already(emptying: Emptyings) -> None:
    """Nothing on it can be migrated or stopped: named, with what is on it; the other one is emptied."""
    old = [{"name": "old-1", "status": "Disconnected"}, "old-2"]
    dark = group("dark-{n}", 2, on=["old-1"], state="Unknown")
    async with emptying(fleet(dark, group("vm-{n}", 3, on=["old-2"]), old=old), MOVE_OR_STOP) as trial:
        shown = await trial.preview()
        assert any("host old-1 is Disconnected" in warning for warning in shown.warnings)
        await trial.empty()
        hosts = {"old-1": NOT_EMPTY, "old-2": EMPTIED}
        trial.hold_emptied(hosts, {"dark-*": ("failed", "unknown"), "vm-*": "migrated"}, code=1)
        assert set(trial.left("old-1")) == {"dark-1", "dark-2"}


# ── others ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def somebody(trial: Emptying, act: str, vm: str, host: str) -> Callable[[Any], None]:
    """A listener: upon the second call that leaves, somebody does it to a VM there."""
    fault = Fault.model_validate({"kind": "vm_action", "vms": [vm], "act": act, "host": host, "at": 0})
    return upon("vm.sent", lambda _: trial.node.faults.add(fault), nth=2)


@pytest.mark.parametrize(("act", "state", "on"), [("start", "Stopped", OLD), ("migrate", "Running", NEW)])
async def test_a_vm_that_comes_to_a_host(emptying: Emptyings, act: str, state: str, on: Any) -> None:
    """Started or migrated by somebody onto a host that is being emptied: it is a target too, and leaves again."""
    async with emptying(fleet(group("vm-{n}", 6), group("guest", on=on, state=state)), MOVE) as trial:
        await trial.empty(somebody(trial, act, "guest", "old-2"))
        assert trial.report.totals["targets"] == 7
        trial.hold_emptied(CLOSED, {"*": "migrated"})
        assert [event.data["vms"] for event in trial.events if event.kind == "vms.found"] == [1]


async def test_a_vm_that_comes_and_is_spared(emptying: Emptyings) -> None:
    """Whom the plan spares is not touched when it turns up; its host stays Disabled, with its name."""
    groups = (group("vm-{n}", 6), group("guest", on=NEW, state="Stopped"))
    spare = {"exclude": {"where": [["name=guest"]]}}
    async with emptying(fleet(*groups), MOVE, plan=spare) as trial:
        await trial.empty(somebody(trial, "start", "guest", "old-2"))
        trial.hold_emptied({"old-1": EMPTIED, "old-2": NOT_EMPTY}, {"vm-*": "migrated"}, code=1)
        assert trial.left("old-2") == {"guest": "excluded"}


async def test_a_vm_that_comes_and_another_run_has(emptying: Emptyings) -> None:
    """It is left to the run that is to stop it, whose turn for it has not come yet; both tell the truth of it."""
    groups = group("vm-{n}", 4, on=["old-1"]), group("guest-{n}", 2, on=["new-1"], guest=SLOW)
    async with emptying(fleet(*groups, migrate=[20, 25]), MOVE, leaving=("old-1",)) as trial:
        other = json.loads(trial.plan_text())
        del other["evacuate"]
        other |= {"name": "other", "targets": {"where": [["name~=guest-%"]]}}
        other["limits"]["concurrency"] = 1
        theirs: list[ReportDocument] = []

        async def stop_them() -> None:
            plan = plan_from_text(json.dumps(other), name="other.json", folder=trial.folder, json=True)
            report = await app.run(plan, settings_for(trial.node), journal=trial.journal)
            theirs.append(report.document())

        def comes(_: Any) -> None:
            waiting = next(vm for vm in (trial.sim("guest-1"), trial.sim("guest-2")) if vm.state == "Running")
            trial.node.act(waiting.uuid, "migrate", host_uuid=trial.host("old-1").uuid)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stop_them())
            await until(lambda: trial.node.record.stops)
            await trial.empty(upon("vm.sent", comes))
        assert {vm.outcome for vm in theirs[0].vms} == {"stopped_clean"}
        assert len(trial.node.record.stops) == 2
        assert {vm.name for vm in trial.report.vms} == {f"vm-{n}" for n in range(1, 5)}
        [warning] = [one for one in trial.report.run.warnings if "left alone" in one]
        assert f"1 VM that turned up was left alone, to run {theirs[0].run.id}, which has it too: guest-" in warning


async def test_what_an_operator_takes_out_is_left_by_the_retry_too(emptying: Emptyings) -> None:
    """It keeps its host from being empty, and every retry names it; nothing is ever sent to it."""
    runs: list[Any] = []
    async with emptying(fleet(group("vm-{n}", 6)), MOVE, plan={"limits": {"concurrency": 1}}) as trial:
        later: list[asyncio.Task[str]] = []

        def skip(event: Event) -> None:
            waiting = next(
                vm for vm in trial.node.vms.values() if vm.uuid != event.vm_uuid and vm.host is trial.host("old-1")
            )
            later.append(asyncio.create_task(runs[0]._orders.skip(waiting.uuid, "ops@jump1")))

        await trial.empty(upon("vm.started", skip), started=runs.append)
        assert [await task for task in later] == ["skipped"]
        [kept] = [str(vm.name) for vm in trial.report.vms if vm.outcome == "skipped"]
        trial.hold_emptied({"old-1": NOT_EMPTY, "old-2": EMPTIED}, {kept: "skipped", "*": "migrated"}, code=1)
        assert (trial.left("old-1"), trial.causes("old-1")) == ({kept: "skipped"}, {kept: "operator"})
        for _ in range(2):
            await trial.retry()
            assert trial.left("old-1") == {kept: "excluded"}
            assert [vm.name for vm in trial.report.run.excluded] == [kept]
        assert trial.node.record.migrate_puts(trial.sim(kept).uuid) == 0


async def test_a_vm_that_somebody_takes_away(emptying: Emptyings) -> None:
    """Migrated off by somebody before its turn, it is skipped, and nothing is sent to it where it is."""
    async with emptying(
        fleet(group("vm-{n}", 4), group("gone", on=["old-2"])), plan={"limits": {"concurrency": 1}}
    ) as trial:
        await trial.empty(upon("vm.sent", lambda _: trial.node.act(trial.sim("gone").uuid, "migrate")))
        trial.hold_emptied(CLOSED, {"gone": "skipped", "vm-*": STOPPED})
        assert trial.vm("gone").reason is Reason.ELSEWHERE


async def test_a_vm_that_somebody_takes_away_before_it_is_sent_to_again(emptying: Emptyings) -> None:
    """Its stop was refused, or did nothing, and somebody moves it off meanwhile: it is not stopped where it is now."""

    async def taken_away(case: tuple[dict[str, Any], list[Any], str, int]) -> None:
        guest, faults, outcome, code = case
        groups = (group("vm-{n}", 2), group("guest", on=["old-1"], guest=guest))
        async with emptying(fleet(*groups, faults=faults)) as trial:
            uuid = trial.sim("guest").uuid

            async def take() -> None:
                await until(lambda: trial.node.record.stop_puts(uuid))
                trial.node.act(uuid, "migrate")

            taking = asyncio.create_task(take())
            await trial.empty()
            await taking
            assert (trial.outcomes["guest"], trial.report.run.exit_code) == (outcome, code), trial.why("guest")
            assert trial.node.record.cold_puts(uuid) == 0
            assert trial.sim("guest").state == "Running"
            assert trial.acts("old-1") == EMPTIED

    busy = {"kind": "too_many_requests", "on": "stop", "vms": ["guest"], "first": 4}
    hangs = {"behaviour": "hangs", "hang_state": "Running"}
    await side_by_side(taken_away, ({}, [busy], "skipped", 0), (hangs, [], "failed", 1))


async def test_a_host_that_somebody_enables_while_it_is_emptied(emptying: Emptyings) -> None:
    """The node may place VMs there again: what comes is moved too, the host has come back and is not maintained."""
    async with emptying(fleet(group("vm-{n}", 6), group("guest", on=NEW, state="Stopped")), MOVE) as trial:

        def meddle(_: Any) -> None:
            trial.set_host("old-2", "Enabled")
            trial.node.act(trial.sim("guest").uuid, "start", host_uuid=trial.host("old-2").uuid)

        await trial.empty(upon("vm.sent", meddle, nth=3))
        opened = [("disable", "came_back"), ("empty", "done"), ("maintain", "failed")]
        trial.hold_emptied({**CLOSED, "old-2": opened}, {"*": "migrated"}, code=1, changing=["old-2"])


@pytest.mark.parametrize("goal", ["disable", "maintain"])
async def test_a_host_that_somebody_enables_at_the_end(emptying: Emptyings, goal: str) -> None:
    """Open again before the run's last words: it has come back, exit code 1, and the report shows its state."""
    async with emptying(fleet(group("vm-{n}", 4)), {**MOVE, "hosts": goal}) as trial:
        await trial.empty(upon("run.verifying", lambda _: trial.set_host("old-1", "Enabled")))
        closed = EMPTIED if goal == "maintain" else EMPTIED[:2]
        back = [(act, "came_back" if act == goal else word) for act, word in closed]
        trial.hold_emptied({"old-1": back, "old-2": closed}, {"*": "migrated"}, code=1)


# ── the node ───────────────────────────────────────────────────────────────────────────────────────────────────────
RESTARTED: dict[str, tuple[str, int, dict[str, Any], int]] = {
    "disable": ("changeHostState", 2, {"old-1": [("disable", "failed")], "old-2": [("disable", "failed")]}, 4),
    "migrate": ("migrateVm", 4, CLOSED, 0),
    "stop": ("stopVmInstance", 2, CLOSED, 0),
    "maintain": ("changeHostState", 4, dict.fromkeys(OLD, (*EMPTIED[:2], ("maintain", "unknown"))), 1),
}
"""What is at the node when it restarts, how many of it, what becomes of the hosts, and the exit code."""


async def test_a_node_that_restarts(emptying: Emptyings) -> None:
    """Away in mid-run, with jobs that stay 202 for ever: nothing is done twice, and what the node has dropped is said so."""

    async def restarted(when: str) -> None:
        action, number, hosts, code = RESTARTED[when]
        evacuate = {**MOVE_OR_STOP, "migrate": {"timeout": "1s"}, "host_timeout": "1s"}
        slow = {"kind": "slow_start", "on": "host", "seconds": 15}
        groups = (group("vm-{n}", 4), group("pinned-{n}", 2, pinned=True, guest=SLOW))
        async with emptying(fleet(*groups, faults=[slow]), evacuate) as trial:

            async def restart() -> None:
                await until(lambda: sum(one.status == 202 for one in trial.puts(action)) >= number)
                await trial.node.restart(8.0)

            restarting = asyncio.create_task(restart())
            await trial.empty()
            await restarting
            done = {"vm-*": ("migrated", *STOPPED), "pinned-*": STOPPED}
            if when == "maintain":  # a host that was emptied much earlier may be done with by then
                hosts = {name: trial.acts(name) for name in OLD}
                assert {tuple(acts[:2]) for acts in hosts.values()} == {tuple(EMPTIED[:2])}
                assert (
                    ("maintain", "unknown") in {acts[2] for acts in hosts.values()} <= {EMPTIED[2], ("maintain", "unknown")}
                )
            trial.hold_emptied(hosts, {"*": "not_reached"} if when == "disable" else done, code=code, limited=False)
            if when == "disable":
                await trial.retry()
                assert [trial.acts(name) for name in OLD] == [EMPTIED, EMPTIED]

    await side_by_side(restarted, *RESTARTED)


async def test_a_maintenance_that_the_node_has_dropped(emptying: Emptyings) -> None:
    """Left in PreMaintenance by our own job, which a restart of the node has ended: restore opens the host again."""
    slow = {"kind": "slow_start", "on": "host", "seconds": 15}
    async with emptying(fleet(group("vm-{n}", 2), faults=[slow]), {**MOVE, "host_timeout": "1s"}) as trial:

        async def restart() -> None:
            await until(lambda: [trial.host(name).state for name in OLD] == ["PreMaintenance"] * 2)
            await trial.node.restart(8.0)

        restarting = asyncio.create_task(restart())
        await trial.empty()
        await restarting
        trial.hold_emptied(dict.fromkeys(OLD, (*EMPTIED[:2], ("maintain", "unknown"))), {"*": "migrated"}, code=1)
        assert "still PreMaintenance" in str(trial.told("old-1").actions[-1].evidence)
        await trial.restore()
        assert [trial.host(name).state for name in OLD] == ["Enabled", "Enabled"]


async def test_a_maintenance_that_fails(emptying: Emptyings) -> None:
    """Failed, it is not sent again by itself: the host stays Disabled and empty; retry does it, and no VM is touched."""
    fault = {"kind": "verdict", "on": "host", "hosts": ["old-1"], "skip": 1, "first": 1}
    async with emptying(fleet(group("vm-{n}", 4), faults=[fault]), MOVE) as trial:
        await trial.empty()
        failed = [*EMPTIED[:2], ("maintain", "failed")]
        trial.hold_emptied({"old-1": failed, "old-2": EMPTIED}, {"*": "migrated"}, code=1)
        assert (trial.host("old-1").state, trial.left("old-1")) == ("Disabled", {})
        await trial.retry()
        assert trial.acts("old-1") == [("disable", "already"), *EMPTIED[1:]]
        assert [host.name for host in trial.report.hosts] == ["old-1"]
        assert (trial.report.run.exit_code, trial.report.totals["targets"]) == (0, 0)
        assert trial.node.record.host_puts(trial.host("old-1").uuid, "disable") == 1
        assert trial.node.record.host_puts(trial.host("old-2").uuid) == 2


async def test_a_disabling_that_fails(emptying: Emptyings) -> None:
    """What is on it is left alone, for the node may place more there; the other host is emptied, and retry does the rest."""
    fault = {"kind": "verdict", "on": "host", "hosts": ["old-1"], "first": 1}
    async with emptying(fleet(group("vm-{n}", 6), faults=[fault]), MOVE) as trial:
        await trial.empty()
        here = {str(vm.name): "not_reached" for vm in trial.report.vms if vm.host_uuid == trial.host("old-1").uuid}
        hosts = {"old-1": [("disable", "failed")], "old-2": EMPTIED}
        trial.hold_emptied(hosts, {**here, "*": "migrated"}, code=4)
        assert len(here) == 3
        assert trial.left("old-1") == here
        await trial.retry()
        assert trial.acts("old-1") == EMPTIED
        assert trial.report.totals["migrated"] == 3
        assert trial.report.run.exit_code == 0


async def test_retry_when_a_host_is_gone(emptying: Emptyings) -> None:
    """One that was taken out of the node since is named and left out; the rest is done. Where none is left, that is said."""
    fault = {"kind": "verdict", "on": "host", "hosts": ["old-*"], "skip": 2, "first": 3}
    async with emptying(fleet(group("vm-{n}", 4), faults=[fault]), MOVE) as trial:
        await trial.empty()
        undone = [*EMPTIED[:2], ("maintain", "failed")]
        trial.hold_emptied({"old-1": undone, "old-2": undone}, {"*": "migrated"}, code=1)
        hosts = trial.node._world.fleet.hosts
        del hosts[trial.host("old-1").uuid]
        await trial.retry()
        assert trial.acts("old-2")[-1] == ("maintain", "failed")
        assert [host.name for host in trial.report.hosts if host.actions] == ["old-2"]
        gone = "host old-1 is left out: the node does not know it any more"
        assert gone in trial.report.run.warnings
        del hosts[trial.host("old-2").uuid]
        with pytest.raises(RefusedError, match="knows none of the hosts any more"):
            await trial.retry()
