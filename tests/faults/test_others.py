"""Hosts that come and go, agents that finish late, and people who act on the same VMs while we stop them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.trials import QUICK, FaultTrial, group, stopping, stops

Trials = Callable[..., FaultTrial]
TWO_HOSTS = [{"name": "c1", "hosts": ["bad", "good"]}]


def lose(run: FaultTrial) -> None:
    """The host's agent is out of reach."""
    run.node.disconnect_host(run.node.host("bad").uuid)


def regain(run: FaultTrial) -> None:
    """It comes back."""
    run.node.reconnect_host(run.node.host("bad").uuid)


def codes(error: Any) -> list[str]:
    """The chain's codes; none without an error."""
    if error is None:
        return []
    return [error["code"], *(codes(error["cause"]) if error.get("cause") else [])]


def all_stopping(run: FaultTrial) -> bool:
    """Every VM of the bad host is Stopping."""
    return all(vm.state == "Stopping" for vm in run.node.vms.values() if vm.name.startswith("bad"))


# ── hosts ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_host_that_is_lost(trial: Trials) -> None:
    """Lost while its VMs stop: they are unknown or failed as they read, never cold; the other host's are stopped."""
    vms = [group("bad-{n}", {"shutdown": 30}, 3, hosts=["bad"]), group("good-{n}", count=3, hosts=["good"])]
    run = await trial({"clusters": TWO_HOSTS, "vms": vms}, moments=[(all_stopping, lose)]).go()
    run.hold({"bad-*": ("failed", "unknown"), "good-*": "stopped_clean"})
    assert all("HOST.1011" in codes(run.vm(f"bad-{n}").error) for n in (1, 2, 3))


async def test_a_host_that_is_lost_and_comes_back(trial: Trials) -> None:
    """Back within the grace timeout: the stops are sent again or found done, and each VM went down once, by grace."""
    vms = [group("bad-{n}", {"shutdown": 12}, 3, hosts=["bad"]), group("good-{n}", count=3, hosts=["good"])]

    def flicker(run: FaultTrial) -> None:
        lose(run)
        regain(run)

    scenario = {"node": {"reconnect": 0, "host_sync": 1}, "clusters": TWO_HOSTS, "vms": vms}
    run = await trial(scenario, moments=[(all_stopping, flicker)]).go()
    run.hold({"bad-*": "stopped_clean", "good-*": "stopped_clean"})
    assert all(
        [(a.result, "SYS.1015" in codes(a.error)) for a in run.vm(f"bad-{n}").attempts]
        == [("failed", True), ("succeeded", False)]
        for n in (1, 2, 3)
    )


@pytest.mark.xfail(reason="outcomes.md counts SYS.1015 as nothing done, and the agent had begun", strict=True)
async def test_a_host_that_is_back_only_for_verification(trial: Trials) -> None:
    """Lost until the stops were given up, back before verification: judged again there, and marked late."""
    vms = [group("bad", {"shutdown": 20}, hosts=["bad"]), group("good", hosts=["good"])]
    verifying = lambda run: run.kinds("run.verifying")  # noqa: E731
    scenario = {"node": {"reconnect": 1, "host_sync": 1}, "clusters": TWO_HOSTS, "vms": vms}
    run = trial(scenario, moments=[(stopping("bad"), lose), (verifying, regain)], plan={"verify": {"after": "1s"}})
    await run.go()
    run.hold({"bad": "stopped_forced", "good": "stopped_clean"})
    assert run.vm("bad").late


# ── late success ───────────────────────────────────────────────────────────────────────────────────────────────────────
LATE = {"behaviour": "late_success", "late_after": 8, "fails_after": 5}


async def test_late_success_after_sys_1001(trial: Trials) -> None:
    """SYS.1001, and Stopped before verification: stopped_forced, late, with the job's error kept, and one stop."""
    run = trial(
        {"node": {"host_sync": 1}, "vms": [group("vm", LATE)]},
        plan={"stop": {"fallback": "none"}, "verify": {"after": "1s"}},
    )
    await run.go()
    run.hold({"vm": "stopped_forced"})
    vm = run.vm("vm")
    assert vm.late
    assert "SYS.1001" in codes(vm.error)
    assert len(vm.attempts) == 1


async def test_late_success_beside_a_cold_stop(trial: Trials) -> None:
    """SYS.1001, the cold that the plan allows, and the grace that finishes all the same: down once, told as cold."""
    run = await trial({"node": {"host_sync": 1}, "vms": [group("vm", LATE)]}).go()
    run.hold({"vm": "stopped_cold"}, cold={"vm"})
    assert [a.type for a in run.vm("vm").attempts] == ["grace", "cold"]


async def test_later_than_the_verification(trial: Trials) -> None:
    """SYS.1001, and nothing more by the time of the verification: failed, because it read Running to the last."""
    late = LATE | {"late_after": 300}
    run = await trial({"vms": [group("vm", late)]}, plan={"stop": {"fallback": "none"}}).go()
    run.hold({"vm": "failed"})
    assert not run.vm("vm").late


# ── somebody else ──────────────────────────────────────────────────────────────────────────────────────────────────────
def by_somebody(what: Any) -> Callable[[FaultTrial], None]:
    """Somebody does it to the VM called theirs."""
    return lambda run: run.node.act(run.sim("theirs").uuid, what)


@pytest.mark.parametrize(
    ("what", "outcome", "puts"),
    [
        ("stop", "already_stopped", 0),
        ("destroy", "not_found", 0),
        ("migrate", "stopped_clean", 1),
        ("pause", "stopped_forced", 1),
        ("crash", "stopped_forced", 1),
    ],
)
async def test_somebody_acts_before_its_turn(trial: Trials, what: str, outcome: str, puts: int) -> None:
    """By its turn what was read is old: it is read again, and sent to only where there is something to stop."""
    vms = [group("first", {"shutdown": 12}), group("theirs")]
    moments = [(stops(1), by_somebody(what))]
    scenario = {"clusters": [{"name": "c1", "hosts": 2}], "vms": vms}
    run = await trial(scenario, moments=moments, plan={"limits": {"concurrency": 1}}).go()
    run.hold({"first": "stopped_clean", "theirs": outcome})
    assert run.node.record.stop_puts(run.sim("theirs").uuid) == puts


@pytest.mark.parametrize(
    ("what", "outcomes"),
    [
        ("stop", ("stopped_clean", "already_stopped")),
        ("destroy", ("not_found",)),
        ("migrate", ("stopped_clean",)),
        ("pause", ("stopped_clean", "stopped_forced")),
        ("crash", ("stopped_clean", "stopped_forced")),
    ],
)
async def test_somebody_acts_while_it_stops(trial: Trials, what: str, outcomes: tuple[str, ...]) -> None:
    """Stopped, destroyed, migrated, paused or crashed by others while our stop runs: told as it is, and down once by us."""
    scenario = {"clusters": [{"name": "c1", "hosts": 2}], "vms": [group("theirs", {"shutdown": 15}), group("ours", QUICK)]}
    run = await trial(scenario, moments=[(stopping("theirs"), by_somebody(what))]).go()
    run.hold({"theirs": outcomes, "ours": "stopped_clean"}, theirs={"theirs"} if what == "stop" else ())


async def test_somebody_starts_it_again_after_our_stop(trial: Trials) -> None:
    """Stopped by us, started by somebody before verification: came_back."""
    down = lambda run: run.sim("theirs").state == "Stopped"  # noqa: E731
    vms = [group("theirs"), group("ours", {"shutdown": 15})]
    run = await trial({"vms": vms}, moments=[(down, by_somebody("start"))]).go()
    run.hold({"theirs": "came_back", "ours": "stopped_clean"})
