"""Logins that end in mid-run, other people's and our own, and clocks that the access key's signature depends on."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from tests.faults.trials import QUICK, FaultTrial, group, stops

Trials = Callable[..., FaultTrial]
KEYS = {"access_key_id": "key", "access_key_secret": "secret"}
KEY_ACCOUNT = [{"name": "admin", "admin": True, "access_keys": [{"id": "key", "secret": "secret"}]}]


def log_in(run: FaultTrial) -> str:
    """Somebody else logs in as the same user; returns the session."""
    return run.node._world.sessions.log_in("admin", hashlib.sha512(b"password").hexdigest()).uuid


def lock_account(run: FaultTrial) -> None:
    """The account takes no login any more, and every session is gone."""
    accounts = run.node._world.sessions.accounts
    accounts["admin"] = accounts["admin"].model_copy(update={"locked": True})
    run.node.expire_sessions()


def logins(run: FaultTrial) -> list[int | None]:
    """What our logins were answered."""
    return [r.status for r in run.node.record.requests if r.path == "/v1/accounts/login"]


# ── sessions ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_sessions_expire_in_mid_run(trial: Trials) -> None:
    """Sessions gone three times in mid-run: one login for everybody each time, no VM failed, nobody left logged in."""
    moments = [(stops(count), lambda run: run.node.expire_sessions()) for count in (3, 7, 11)]
    run = trial({"vms": [group("vm-{n}", {"shutdown": [5, 15]}, 15)]}, moments=moments, plan={"limits": {"concurrency": 4}})
    await run.go()
    run.hold({"vm-*": "stopped_clean"})
    assert 2 <= len(logins(run)) <= 4


async def test_a_session_gone_between_read_and_stop(trial: Trials) -> None:
    """The node takes the stop and its job says ID.1001: nothing was done, so a new login sends it again under a new id."""
    run = trial({"vms": [group("vm")]})
    listen = run.on_event
    assert listen is not None

    def on_event(event: Any) -> None:
        listen(event)
        if event.kind == "vm.sending" and len(run.kinds("vm.sending")) == 1:
            run.node.expire_sessions()

    run.on_event = on_event
    await run.go()
    run.hold({"vm": "stopped_clean"})
    assert [(a.type, a.result, (a.error or {}).get("code")) for a in run.vm("vm").attempts] == [
        ("grace", "failed", "ID.1001"),
        ("grace", "succeeded", None),
    ]


async def test_a_login_refused_in_mid_run(trial: Trials) -> None:
    """The account is locked: node_outage is waited for, then the run ends early; what was sent is unknown where its job
    cannot say, the rest is not_reached (node).
    """
    vms = [group("a-hang-{n}", {"behaviour": "hangs"}, 2), group("b-vm-{n}", QUICK, 2), group("c-{n}", QUICK, 6)]
    run = trial({"vms": vms}, moments=[(stops(4), lock_account)], plan={"limits": {"concurrency": 4, "node_outage": "1s"}})
    await run.go()
    sent = {stop.vm_uuid for stop in run.node.record.stops}
    run.hold({})
    assert len(sent) >= 4
    assert run.vm("a-hang-1").outcome == run.vm("a-hang-2").outcome == "unknown"
    for vm in run.report.vms:
        if vm.uuid in sent:
            assert vm.outcome in {"unknown", "stopped_clean"}, run.why(vm.name or "")  # table C, row 11
        else:
            assert (vm.outcome, vm.reason) == ("not_reached", "node"), run.why(vm.name or "")
    assert 503 in logins(run)
    assert (run.report.run.ended_by, run.report.run.exit_code) == ("node", 4)


async def test_a_login_refused_for_a_while(trial: Trials) -> None:
    """Locked, and unlocked within node_outage: the run goes on and fails nobody."""

    async def lock(run: FaultTrial) -> None:
        before = run.node._world.sessions.accounts["admin"]
        lock_account(run)
        while logins(run).count(503) < 3:  # noqa: ASYNC110 - of the node, which tells nobody
            await anyio.sleep(0.01)
        run.node._world.sessions.accounts["admin"] = before

    run = trial({"vms": [group("vm-{n}", QUICK, 8)]}, moments=[(stops(3), lock)], plan={"limits": {"concurrency": 3}})
    await run.go()
    run.hold({"vm-*": "stopped_clean"})


async def test_somebody_else_logs_in(trial: Trials) -> None:
    """A node with one session a user: each of their logins ends ours, ours is opened anew, and no VM fails for it."""
    theirs: list[str] = []
    moments = [(stops(count), lambda run: theirs.append(log_in(run))) for count in (2, 5, 8)]
    scenario = {"node": {"unique_session": True}, "vms": [group("vm-{n}", {"shutdown": [5, 15]}, 10)]}
    run = trial(scenario, moments=moments, plan={"limits": {"concurrency": 3}})
    await run.go()
    run.hold({"vm-*": "stopped_clean"}, given=theirs)
    assert len(theirs) == 3
    assert len(logins(run)) >= 2


async def test_somebody_else_logs_in_all_the_time(trial: Trials) -> None:
    """They log in again and again while we send: what is not done is tried again, and what is said is true."""
    theirs: list[str] = []

    async def keep_on(run: FaultTrial) -> None:
        while len(theirs) < 40:
            theirs.append(log_in(run))
            await anyio.sleep(0.03)

    scenario = {"node": {"unique_session": True}, "vms": [group("vm-{n}", {"shutdown": [5, 15]}, 8)]}
    run = trial(scenario, moments=[(stops(2), keep_on)], plan={"limits": {"concurrency": 4}})
    await run.go()
    run.hold({"vm-*": "stopped_clean"}, given=theirs)


# ── clocks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("hours", [-30, 2])
async def test_a_node_with_another_clock(trial: Trials, hours: float) -> None:
    """Signatures hold by the node's clock, hours or a day from ours, and outcomes do not take it for our own."""
    node = {"clock_skew": hours * 3600.0}
    run = await trial({"node": node, "accounts": KEY_ACCOUNT, "vms": [group("vm-{n}", count=3)]}, credential=KEYS).go()
    run.hold({"vm-*": "stopped_clean"})
    assert not run.node.record.sessions


def turn(hours: float) -> Callable[[FaultTrial], None]:
    """The node's clock is turned by so much."""

    def act(run: FaultTrial) -> None:
        run.node._world.clock.skew += timedelta(hours=hours)

    return act


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_node_whose_clock_is_turned_in_mid_run(trial: Trials, hours: float) -> None:
    """A signature that the node no longer takes never was a stop: its clock is learned anew and the stop goes out."""
    vms = [group("vm-{n}", {"shutdown": [6, 15]}, 8)]
    run = trial(
        {"accounts": KEY_ACCOUNT, "vms": vms},
        credential=KEYS,
        moments=[(stops(3), turn(hours))],
        plan={"limits": {"concurrency": 3}},
    )
    await run.go()
    run.hold({"vm-*": "stopped_clean"})
    assert 403 in {request.status for request in run.node.record.requests}


async def test_a_clock_turned_between_read_and_stop(trial: Trials) -> None:
    """403 to the stop itself: nothing was done, and it goes out again with the same id and another signature."""
    run = trial({"accounts": KEY_ACCOUNT, "vms": [group("vm")]}, credential=KEYS)
    listen = run.on_event
    assert listen is not None

    def on_event(event: Any) -> None:
        listen(event)
        if event.kind == "vm.sending" and len(run.kinds("vm.sending")) == 1:
            turn(3)(run)

    run.on_event = on_event
    await run.go()
    run.hold({"vm": "stopped_clean"})
    stops_asked = [r for r in run.node.record.requests if r.path.endswith(f"{run.vm('vm').uuid}/actions")]
    assert [r.status for r in stops_asked] == [403, 202]
