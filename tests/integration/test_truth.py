"""Whatever goes wrong, the report tells what truly happened at the node."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.http import Answer, Http
from orchestrator.engine.prepare import new_run_id, prepare
from orchestrator.engine.records import opening, run_record
from orchestrator.engine.run import Run
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.owner import this_process
from orchestrator.model.event import Event
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import ReportDocument
from orchestrator.model.target import SendResult, StopRequest, VmRow
from orchestrator.plan.load import plan_from_text
from orchestrator.simulator import Fault
from tests.integration.conftest import POWER_CUT, Trial, settings_for
from tests.virtual import run_virtual

Trials = Callable[..., Trial]
QUICK = {"shutdown": [1, 8]}
"""A guest that is off after 0.06 to 0.4 s: never near the power cut."""


def group(name: str, guest: dict[str, Any] | None = None, count: int = 1, **more: Any) -> dict[str, Any]:
    """Some VMs."""
    return {"name": name, "count": count, "guest": guest or QUICK, **more}


def odd_rows(
    monkeypatch: pytest.MonkeyPatch, victim: Callable[[], str], *, since: Callable[[], bool], how: str = "html"
) -> None:
    """Every query of VMs that names the victim is answered with a page of HTML, or with its row without a UUID."""
    real = Http.exchange

    async def exchange(self: Http, method: str, path: str, **more: Any) -> Answer:
        answer = await real(self, method, path, **more)
        if method == "GET" and path == "/v1/vm-instances" and victim() in str(more.get("query", "")) and since():
            if how == "html":
                return Answer(200, b"<html><body>hello</body></html>")
            data = answer.json()
            for row in data["inventories"]:
                if row["uuid"] == victim():
                    row["uuid"] = None
            return Answer(200, json.dumps(data).encode())
        return answer

    monkeypatch.setattr(Http, "exchange", exchange)


def before_put(monkeypatch: pytest.MonkeyPatch, act: Callable[[ZStackClient, StopRequest, int], Any]) -> None:
    """Have something happen between the last read of a VM and its PUT; `act` gets the number of this VM's PUT."""
    real = ZStackClient.send
    puts: dict[str, int] = {}

    async def send(self: ZStackClient, request: StopRequest, leaving: Callable[[], bool] | None = None) -> SendResult:
        if leaving is not None:
            puts[request.vm_uuid] = puts.get(request.vm_uuid, 0) + 1
            await act(self, request, puts[request.vm_uuid])
        return await real(self, request, leaving)

    monkeypatch.setattr(ZStackClient, "send", send)


# ── guests and states ──────────────────────────────────────────────────────────────────────────────────────────────
async def test_every_kind_of_guest_and_state(trial: Trials) -> None:
    """Each guest and each state ends in the outcome of its table row, and cold goes only where table A sends it."""
    scenario = {
        "clusters": [
            {"name": "c1", "hosts": 3},
            {"name": "c2", "hosts": [{"name": "gone-host", "status": "Disconnected"}]},
        ],
        "vms": [
            group("obey-{n}", count=6, clusters=["c1"]),
            group("deaf-{n}", {"behaviour": "ignores_acpi"}, 2),
            group("broken", {"behaviour": "fails"}),
            group("stuck", {"behaviour": "fails_grace_only"}),
            group("late", {"behaviour": "late_success"}),
            group("hang", {"behaviour": "hangs"}),
            group("hang-up", {"behaviour": "hangs", "hang_state": "Running"}),
            group("crash", {"behaviour": "crashes"}),
            group("refused", {"behaviour": "plugin_refuses"}),
            group("ha", ha_level="NeverStop"),
            group("off", state="Stopped"),
            *(
                group(state.lower(), state=state)
                for state in (
                    "Paused", "Crashed", "Error", "Created", "Unknown", "NoState", "Starting", "Migrating", "Stopping",
                    "Destroyed",
                )
            ),
            group("router", type="ApplianceVm"),
            group("kept", user_tags=["keep"]),
            group("lost-up", hosts=["gone-host"]),
            group("lost-dark", hosts=["gone-host"], state="Unknown"),
        ],
    }  # fmt: skip
    run = await trial(scenario, plan={"exclude": {"where": [["__userTag__=keep"]]}}).go()
    run.hold(
        {
            "obey-*": "stopped_clean",
            "deaf-*": "stopped_forced",
            "broken": "failed",
            "stuck": "stopped_cold",
            "late": "stopped_cold",
            "hang": "unknown",
            "hang-up": "failed",
            "crash": "stopped_cold",
            "refused": "failed",
            "ha": "stopped_clean",
            "off": "already_stopped",
            "paused": "stopped_forced",
            "crashed": "stopped_forced",
            "error": "failed",
            "created": "skipped",
            "destroyed": ("skipped", "not_found"),
            "unknown": "stopped_forced",
            "nostate": "stopped_forced",
            "starting": "failed",
            "migrating": "failed",
            "stopping": "failed",
            "router": "skipped",
            "lost-up": "failed",
            "lost-dark": "unknown",
        },
        cold={"broken", "stuck", "late", "hang", "hang-up", "crash"},
    )
    for name in ("error", "starting", "migrating", "stopping", "off"):
        assert run.node.record.stop_puts(run.sim(name).uuid) == 0
    assert "kept" not in run.outcomes
    assert [kept.name for kept in run.report.run.excluded] == ["kept"]
    assert run.report.run.exit_code == 1
    assert run.vm("hang").reason == "still_stopping"


async def test_grace_that_succeeds_after_cold_was_sent(trial: Trials) -> None:
    """Grace timed out, cold was queued behind it, grace then succeeded: stopped_forced; appliances only when included."""

    def on_event(event: Event) -> None:
        # What else is done to the VM keeps the stop waiting; then the node gives it its whole timeout anew.
        if event.kind == "vm.sending" and event.vm_uuid == run.sim("slow").uuid and not held:
            lane = run.sim("slow").lane
            lane.running += 1
            held.append(asyncio.get_running_loop().call_later(1.4, lane.leave))

    held: list[asyncio.TimerHandle] = []
    vms = [group("slow", {"behaviour": "ignores_acpi"}), group("router", type="ApplianceVm")]
    plan = {"stop": {"cold_timeout": "3s", "appliances": "include"}}
    run = trial({"vms": vms}, plan=plan, on_event=on_event)
    await run.go()
    run.hold({"slow": "stopped_forced", "router": "stopped_clean"}, cold={"slow"})
    assert [a.type for a in run.vm("slow").attempts] == ["grace", "cold"]


async def test_without_fallback_nothing_is_cut(trial: Trials) -> None:
    """`fallback: none`: no cold anywhere; a late success is judged again at verification."""
    scenario = {
        "vms": [
            group("late", {"behaviour": "late_success"}),
            group("broken", {"behaviour": "fails"}),
            group("hang", {"behaviour": "hangs"}),
            group("hang-up", {"behaviour": "hangs", "hang_state": "Running"}),
        ]
    }
    run = await trial(scenario, plan={"stop": {"fallback": "none"}, "verify": {"after": "1s"}}).go()
    run.hold({"late": "stopped_forced", "broken": "failed", "hang": "unknown", "hang-up": "failed"})
    assert run.vm("late").late


@pytest.mark.parametrize(("reason", "cold"), [("timeout", "hang-up"), ("error", "stuck")])
async def test_fallback_only_on(trial: Trials, reason: str, cold: str) -> None:
    """`fallback_on` with one word: the other end of grace gets no cold."""
    vms = [
        group("hang-up", {"behaviour": "hangs", "hang_state": "Running"}),
        group("stuck", {"behaviour": "fails_grace_only"}),
    ]
    run = await trial({"vms": vms}, plan={"stop": {"fallback_on": [reason]}}).go()
    run.hold({"hang-up": "failed", "stuck": "stopped_cold" if cold == "stuck" else "failed"}, cold={cold})
    assert run.node.record.cold_puts(run.sim(cold).uuid) == 1


async def test_type_cold_without_stop_ha_and_with_tags(trial: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """`type: cold` sends cold only, tags go along, and an HA guest without the inhibit is came_back."""
    real, bodies = Http.exchange, []

    async def exchange(self: Http, method: str, path: str, **more: Any) -> Answer:
        if "ffffffff" not in path and "stopVmInstance" in (more.get("body") or {}):
            bodies.append(more["body"])
        return await real(self, method, path, **more)

    monkeypatch.setattr(Http, "exchange", exchange)
    scenario = {
        "vms": [
            group("vm-{n}", count=3),
            group("ha", ha_level="NeverStop"),
            group("broken", {"behaviour": "fails"}),
            group("paused", state="Paused"),
        ]
    }
    stop = {"type": "cold", "stop_ha": False, "system_tags": ["a::b"], "user_tags": ["change"], "cold_timeout": "2s"}
    run = await trial(scenario, plan={"stop": stop, "verify": {"after": "1500ms"}}).go()
    everything = set(run.outcomes)
    run.hold({"vm-*": "stopped_cold", "ha": "came_back", "broken": "failed", "paused": "stopped_cold"}, cold=everything)
    for request in run.node.record.requests:
        if request.action == "stopVmInstance" and request.vm_uuid in run.node.vms:
            assert request.body == {"type": "cold"}
            assert request.api_timeout == "2"
    assert len(bodies) == 6
    assert all((body["systemTags"], body["userTags"]) == (["a::b"], ["change"]) for body in bodies)


async def test_an_ha_guest_without_the_inhibit_comes_back(trial: Trials) -> None:
    """`stop_ha: false` with grace: stopped, started again by HA, reported came_back; `true` keeps it down."""
    scenario = {"vms": [group("ha-{n}", count=2, ha_level="NeverStop"), group("vm-{n}", count=2)]}
    plan = {"stop": {"stop_ha": False}, "verify": {"after": "1500ms"}}
    run = await trial(scenario, plan=plan).go()
    run.hold({"ha-*": "came_back", "vm-*": "stopped_clean"})
    for name in ("ha-1", "ha-2"):
        vm, sim = run.vm(name), run.sim(name)
        assert (vm.reason, vm.ha_level) == (Reason.HA, "NeverStop")
        assert vm.evidence is not None
        assert sim.host is not None
        assert f"it runs on host {sim.host.name} since 20" in vm.evidence.text
        assert "(HA most likely, its level is NeverStop)" in vm.evidence.text
        warning = f"HA would bring back {name} ({vm.uuid}), its level is NeverStop: stop.stop_ha is false"
        assert warning in run.report.run.warnings


async def test_somebody_else_starts_one_again(trial: Trials) -> None:
    """A VM without a level that a colleague starts after its stop: came_back with host and time, and why is not known."""

    async def colleague(run: Trial) -> None:
        uuid = run.sim("vm-1").uuid
        while run.sim("vm-1").state != "Stopped":  # noqa: ASYNC110 - the node has no event for it
            await anyio.sleep(0.02)
        run.node.act(uuid, "start")

    run = await trial({"vms": [group("vm-{n}", count=3)]}, plan={"verify": {"after": "1s"}}, beside=colleague).go()
    run.hold({"vm-1": "came_back", "vm-*": "stopped_clean"})
    vm, host = run.vm("vm-1"), run.sim("vm-1").host
    assert vm.reason is None
    assert vm.evidence is not None
    assert host is not None
    assert f"it runs on host {host.name} since 20" in vm.evidence.text
    assert "(why is not known)" in vm.evidence.text


async def test_ha_levels_that_cannot_be_read(trial: Trials) -> None:
    """The node refuses its tags, and the plan leaves HA alone: the warning says how many VMs nobody knows of."""
    fault = {"kind": "text", "paths": ["*/system-tags*"], "status": 400}
    scenario = {"vms": [group("vm-{n}", count=3)], "faults": [fault]}
    run = await trial(scenario, plan={"stop": {"stop_ha": False}}).go()
    words = [warning for warning in run.report.run.warnings if "cannot be read" in warning]
    assert len(words) == 1
    assert words[0].startswith("which of 3 VMs HA would bring back cannot be read (")


# ── limits ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_limits_hold_at_the_node(trial: Trials) -> None:
    """Concurrency, host, cluster and primary storage: never more at the node than the plan says."""
    scenario = {
        "clusters": [{"name": "c1", "hosts": 3}, {"name": "c2", "hosts": 2}],
        "vms": [group("vm-{n}", {"shutdown": [2, 8]}, 30), group("data-{n}", {"shutdown": [2, 8]}, 8, data_volumes=1)],
    }
    limits = {"concurrency": 7, "per_host": 2, "per_cluster": 4}
    run = await trial(scenario, plan={"limits": limits}).go()
    run.hold({"*": "stopped_clean"})
    run.hold_limits(concurrency=7, per_host=2, per_cluster=4)


async def test_a_limit_per_primary_storage_holds(trial: Trials) -> None:
    """A VM counts on every primary storage that holds one of its volumes."""
    scenario = {"vms": [group("vm-{n}", {"shutdown": [2, 6]}, 10), group("data-{n}", {"shutdown": 4}, 4, data_volumes=2)]}
    run = await trial(scenario, plan={"limits": {"per_primary_storage": 3}}).go()
    run.hold({"*": "stopped_clean"})
    run.hold_limits(concurrency=50, per_host=50, per_storage=3)


async def test_twelve_hundred_vms(trial: Trials) -> None:
    """More VMs than a page: every one is a target once, and those that ran are stopped."""
    scenario = {
        "clusters": [{"name": "c1", "hosts": 12}],
        "vms": [group("off-{n:04}", count=1080, state="Stopped"), group("vm-{n:04}", {"shutdown": [1, 6]}, 120)],
    }
    plan = {"limits": {"concurrency": 120, "per_host": 10, "requests_per_second": 1000}}
    run = await trial(scenario, plan=plan).go()
    run.hold({"off-*": "already_stopped", "vm-*": "stopped_clean"})
    assert len(run.report.vms) == 1200
    run.hold_limits(concurrency=120, per_host=10)


# ── wrong answers ──────────────────────────────────────────────────────────────────────────────────────────────────
PUT_FAULTS: dict[str, dict[str, Any]] = {
    "drop-before": {"kind": "drop_before"},
    "drop-thrice": {"kind": "drop_before", "first": 3},
    "drop-after": {"kind": "drop_after"},
    "html-done": {"kind": "html", "handled": True},
    "bad-gateway": {"kind": "html", "status": 502},
    "bad-gateway-done": {"kind": "html", "status": 502, "handled": True},
    "unavailable": {"kind": "text", "status": 503},
    "truncated": {"kind": "truncated"},
    "headers-only": {"kind": "close_after_headers"},
    "empty-done": {"kind": "empty", "handled": True},
    "garbage-done": {"kind": "garbage", "handled": True},
    "too-many": {"kind": "too_many_requests", "first": 4},
}


async def test_wrong_answers_to_the_put(trial: Trials) -> None:
    """A PUT whose answer was lost, garbled or 429 stops its VM once, by grace, and never with cold."""
    faults = [{"on": "stop", "first": 1, "vms": [name], **fault} for name, fault in PUT_FAULTS.items()]
    run = await trial({"vms": [group(name) for name in PUT_FAULTS], "faults": faults}).go()
    run.hold(dict.fromkeys(PUT_FAULTS, "stopped_clean"))
    assert all(run.node.faults.struck(fault) for fault in run.node.faults)


@pytest.mark.parametrize("kind", ["html", "empty", "text", "garbage"])
async def test_a_200_that_is_no_acceptance(trial: Trials, kind: str) -> None:
    """A 200 from something else than the node is a lost answer: the job is asked for, and the PUT goes out again."""
    faults = [{"kind": kind, "on": "stop", "first": 1, "vms": ["vm"]}]
    run = await trial({"vms": [group("vm")], "faults": faults}).go()
    run.hold({"vm": "stopped_clean"})


async def test_refusals_of_the_put(trial: Trials) -> None:
    """500 at once is class N, no cold; 503 with SYS.1000 is class C and gets one cold."""
    faults = [
        {"kind": "error_500", "on": "stop", "vms": ["five-hundred"]},
        {"kind": "verdict", "on": "stop", "vms": ["verdict"], "first": 1},
        {"kind": "too_many_requests", "on": "stop", "vms": ["throttled"]},
    ]
    vms = [group("five-hundred"), group("verdict"), group("throttled"), group("vm")]
    run = await trial({"vms": vms, "faults": faults}).go()
    run.hold(
        {"five-hundred": "failed", "verdict": "stopped_cold", "throttled": "failed", "vm": "stopped_clean"},
        cold={"verdict"},
    )
    assert run.node.record.stop_puts(run.sim("five-hundred").uuid) == 1
    assert (run.vm("throttled").error or {})["code"] == "http.429"


POLL_FAULTS: dict[str, dict[str, Any]] = {
    "html": {"kind": "html"},
    "html-404": {"kind": "html", "status": 404},
    "empty": {"kind": "empty"},
    "text": {"kind": "text", "status": 503},
    "too-many": {"kind": "too_many_requests"},
    "error-500": {"kind": "error_500"},
    "dropped": {"kind": "drop_before"},
    "truncated": {"kind": "truncated"},
    "headers-only": {"kind": "close_after_headers"},
}


async def test_wrong_answers_to_polls(trial: Trials) -> None:
    """Polls that go wrong for a while change nothing: the verdict is read when it can be."""
    names = [*POLL_FAULTS, *(f"deaf-{name}" for name in POLL_FAULTS)]
    faults = [
        {"on": "poll", "first": 3, "vms": [who], **fault}
        for name, fault in POLL_FAULTS.items()
        for who in (name, f"deaf-{name}")
    ]
    vms = [group(name, {"behaviour": "ignores_acpi"} if name.startswith("deaf-") else QUICK) for name in names]
    run = await trial({"vms": vms, "faults": faults}).go()
    run.hold({"deaf-*": "stopped_forced", **dict.fromkeys(POLL_FAULTS, "stopped_clean")})


async def test_a_poll_with_garbage_is_no_success(trial: Trials) -> None:
    """A 200 without an inventory does not make a power cut a clean stop."""
    faults = [{"kind": "garbage", "on": "poll", "first": 2}]
    vms = [group("deaf", {"behaviour": "ignores_acpi"}), group("vm", {"shutdown": 20})]
    run = await trial({"vms": vms, "faults": faults}).go()
    run.hold({"deaf": "stopped_forced", "vm": "stopped_clean"})


async def test_one_job_that_can_never_be_read(trial: Trials) -> None:
    """One VM whose polls always break off ends by its state; the run goes on and verifies."""
    faults = [{"kind": "truncated", "on": "poll", "vms": ["mute"]}]
    vms = [group("mute"), group("vm-{n}", count=4)]
    run = await trial({"vms": vms, "faults": faults}, plan={"limits": {"node_outage": "1500ms"}}).go()
    run.hold({"mute": ("stopped_clean", "stopped_forced"), "vm-*": "stopped_clean"})
    assert run.report.run.stops == ()
    assert run.vm("vm-1").verified_at is not None


async def test_one_lost_put_whose_job_can_never_be_read(trial: Trials) -> None:
    """The same where the PUT's answer was lost, so that the job has to be asked for first."""
    faults = [
        {"kind": "truncated", "on": "poll", "vms": ["mute"]},
        {"kind": "drop_after", "on": "stop", "vms": ["mute"], "first": 1},
    ]
    vms = [group("mute"), group("vm-{n}", count=4)]
    run = await trial({"vms": vms, "faults": faults}, plan={"limits": {"node_outage": "1500ms"}}).go()
    run.hold({"mute": ("stopped_clean", "stopped_forced"), "vm-*": "stopped_clean"})
    assert run.report.run.stops == ()


async def test_wrong_answers_to_queries(trial: Trials) -> None:
    """Queries that go wrong for a while fail no VM and send nothing twice."""
    kinds = ("html", "garbage", "truncated", "empty", "too_many_requests", "drop_before", "error_500", "drop_after")
    vms = [group("vm-{n}", {"shutdown": [10, 30]}, 12), group("deaf", {"behaviour": "ignores_acpi"})]

    def on_event(event: Event) -> None:
        if event.kind == "run.started":
            for place, kind in enumerate(kinds):
                run.node.faults.add(
                    Fault.model_validate({"kind": kind, "on": "query", "first": 2, "skip": place, "every": 3})
                )

    run = trial({"vms": vms}, on_event=on_event, plan={"limits": {"concurrency": 4}})
    await run.go()
    run.hold({"vm-*": "stopped_clean", "deaf": "stopped_forced"})


@pytest.mark.parametrize("when", ["from the first", "after the put"])
async def test_one_row_that_cannot_be_read(trial: Trials, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """One VM's row that cannot be read costs no neighbour anything, verification included."""
    run = trial(
        {"vms": [group("odd"), group("vm-{n}", count=6), group("ha", ha_level="NeverStop")]},
        plan={"stop": {"stop_ha": False}, "verify": {"after": "1500ms"}, "limits": {"node_outage": "1500ms"}},
    )
    odd_rows(
        monkeypatch,
        lambda: run.sim("odd").uuid,
        since=lambda: (
            run.run is not None and (when == "from the first" or run.node.record.stop_puts(run.sim("odd").uuid) > 0)
        ),
    )
    await run.go()
    run.hold_true()
    if when == "from the first":
        assert run.vm("odd").outcome is Outcome.FAILED
        assert run.node.record.stop_puts(run.sim("odd").uuid) == 0
    else:
        assert run.vm("odd").outcome is Outcome.STOPPED_CLEAN, run.why("odd")
    assert {run.vm(f"vm-{n}").outcome for n in range(1, 7)} == {Outcome.STOPPED_CLEAN}
    assert run.vm("vm-1").verified_at is not None
    assert run.vm("ha").outcome is Outcome.CAME_BACK


async def test_a_row_that_makes_no_sense_is_not_gone(trial: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row the node sent, and nobody can read, is unreadable: not_found needs a node that has no such row."""
    run = trial({"vms": [group("odd"), group("vm-{n}", count=3)]})
    odd_rows(monkeypatch, lambda: run.sim("odd").uuid, since=lambda: run.run is not None, how="row")
    await run.go()
    run.hold({"odd": "failed", "vm-*": "stopped_clean"})


async def test_jobs_that_never_end_or_are_forgotten(trial: Trials) -> None:
    """A job that polls as 202 for ever, or as 404, is judged by the state, and by when Stopped was first read."""
    faults = [
        {"kind": "never_ends", "vms": ["mute", "mute-deaf"]},
        {"kind": "result_gone", "vms": ["gone", "gone-deaf"], "seconds": 1},
    ]
    deaf = {"behaviour": "ignores_acpi"}
    vms = [group("mute"), group("mute-deaf", deaf), group("gone"), group("gone-deaf", deaf)]
    run = await trial({"vms": vms, "faults": faults}).go()
    run.hold(
        {"mute": "stopped_clean", "gone": "stopped_clean", "mute-deaf": "stopped_forced", "gone-deaf": "stopped_forced"}
    )


# ── logins ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_sessions_that_expire_are_renewed(trial: Trials) -> None:
    """With an account, a session gone in mid-run costs one more attempt and no VM."""

    async def beside(run: Trial) -> None:
        for _ in range(3):
            await anyio.sleep(0.35)
            run.node.expire_sessions()

    scenario = {"vms": [group("vm-{n}", {"shutdown": [5, 20]}, 20)]}
    run = await trial(scenario, beside=beside, plan={"limits": {"concurrency": 6}}).go()
    run.hold({"vm-*": "stopped_clean"})
    assert len(run.node.record.sessions) > 1


async def test_a_given_session_that_ends(trial: Trials) -> None:
    """A given session that ends in mid-run: nothing more is sent, no VM fails, and jobs under way are still read."""
    sessions: list[str] = []

    async def before(run: Trial) -> None:
        session = run.node._world.sessions.log_in(
            "admin",
            "b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb9"
            "80b1d7785e5976ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86",
        )
        sessions.append(session.uuid)
        run.credential = {"session_id": session.uuid}

    ended: list[float] = []

    def on_event(event: Event) -> None:
        if event.kind == "vm.sending":
            sent = run.node.record.stop_puts
            if sum(sent(uuid) for uuid in run.node.vms) >= 3 and not ended:
                ended.append(1)
                asyncio.get_running_loop().call_later(0.1, run.node.expire_sessions)

    scenario = {"vms": [group("vm-{n}", {"shutdown": 20}, 12)]}
    run = trial(scenario, before=before, on_event=on_event, plan={"limits": {"concurrency": 4, "node_outage": "1500ms"}})
    await run.go()
    run.hold_true(given=sessions)
    assert run.report.run.exit_code == 4
    assert run.report.run.ended_by == "node"
    for vm in run.report.vms:
        # Row 11: the job's own GET needs no login, and it said Stopped.
        assert vm.outcome in {Outcome.STOPPED_CLEAN, Outcome.NOT_REACHED}, run.why(vm.name or "")


async def test_an_access_key_in_shanghai(trial: Trials) -> None:
    """Signed requests, a node in another zone with a skewed clock, floats, odd timestamps and unknown fields."""
    node = {
        "zone": "Asia/Shanghai", "clock_skew": 400.0, "numbers": "float", "timestamps": "jdk20", "extra_fields": True,
        "language": "zh",
    }  # fmt: skip
    accounts = [{"name": "admin", "admin": True, "access_keys": [{"id": "key", "secret": "secret"}]}]
    scenario = {"node": node, "accounts": accounts, "vms": [group("vm-{n}", count=4), group("off", state="Stopped")]}
    run = await trial(scenario, credential={"access_key_id": "key", "access_key_secret": "secret"}).go()
    run.hold({"vm-*": "stopped_clean", "off": "already_stopped"})
    inventory = run.vm("vm-1").inventory
    assert inventory is not None
    assert inventory["memorySize"] == 8 << 30
    assert isinstance(inventory["memorySize"], int)


@pytest.mark.parametrize("timestamps", ["jdk8", "jdk9"])
async def test_an_empty_context_path_and_a_no_op(trial: Trials, monkeypatch: pytest.MonkeyPatch, timestamps: str) -> None:
    """An endpoint without a path works; Stopped by somebody else well before our PUT is a no-op, not ours."""

    async def act(client: ZStackClient, request: StopRequest, put: int) -> None:
        if request.vm_uuid == run.sim("theirs").uuid:
            run.node.act(request.vm_uuid, "stop")
            await anyio.sleep(2.1)

    before_put(monkeypatch, act)
    node = {"context_path": "", "timestamps": timestamps, "zone": "America/St_Johns", "clock_skew": -100.0}
    run = trial({"node": node, "vms": [group("theirs"), group("vm")]})
    await run.go()
    run.hold({"theirs": "already_stopped", "vm": "stopped_clean"})
    assert [a.result for a in run.vm("theirs").attempts] == ["no_op"]


# ── the node away ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_restart_in_mid_run(trial: Trials) -> None:
    """A node that restarts within node_outage fails no VM; what its dead jobs did is told by the states."""

    def on_event(event: Event) -> None:
        if event.kind == "vm.sending" and not hit and sum(stop.type == "grace" for stop in run.node.record.stops) >= 4:
            hit.append(asyncio.get_running_loop().create_task(run.node.restart(20)))

    hit: list[asyncio.Task[None]] = []
    scenario = {"vms": [group("vm-{n}", {"shutdown": [5, 20]}, 14)]}
    run = trial(scenario, on_event=on_event, plan={"limits": {"concurrency": 5, "node_outage": "10s"}})
    await run.go()
    assert hit
    everything = set(run.outcomes)
    run.hold({"vm-*": ("stopped_clean", "stopped_forced", "stopped_cold")}, cold=everything)
    assert run.report.run.status == "finished"


async def test_what_never_left_is_not_reached(trial: Trials) -> None:
    """The node goes away for good: a VM whose PUT never left, or never found a connection, is not_reached, not unknown."""
    gone: list[asyncio.Task[None]] = []

    def on_event(event: Event) -> None:
        if event.kind == "vm.sending" and not gone and len(run.node.record.stops) >= 2:
            gone.append(asyncio.get_running_loop().create_task(run.node.restart(1e6)))

    limits = {"concurrency": 12, "requests_per_second": 25, "node_outage": "700ms"}
    run = trial({"vms": [group("vm-{n}", {"shutdown": 25}, 24)]}, on_event=on_event, plan={"limits": limits})
    await run.go()
    gone[0].cancel()
    assert run.report.run.ended_by == "node"
    for vm in run.report.vms:
        never_left = not vm.attempts or vm.attempts[-1].sent_at is None or (vm.error or {}).get("code") == "http.unsent"
        if never_left:
            assert vm.outcome is Outcome.NOT_REACHED, run.why(vm.name or "")
        else:
            assert vm.outcome in {Outcome.UNKNOWN, Outcome.STOPPED_CLEAN}, run.why(vm.name or "")


# ── somebody else ──────────────────────────────────────────────────────────────────────────────────────────────────
async def test_somebody_else_meddles_right_after_the_put(trial: Trials) -> None:
    """Destroyed is not_found, migrated is stopped all the same, stopped by others is not failed."""
    acts = {"destroyed": "destroy", "migrated": "migrate", "paused": "pause", "crashed": "crash", "stopped": "stop"}
    faults = [{"kind": "vm_action", "act": act, "vms": [name], "first": 1} for name, act in acts.items()]
    scenario = {"clusters": [{"name": "c1", "hosts": 3}], "vms": [group(name) for name in acts], "faults": faults}
    run = await trial(scenario).go()
    run.hold(
        {
            "destroyed": "not_found",
            "migrated": "stopped_clean",
            "stopped": ("stopped_clean", "already_stopped"),
            "crashed": ("stopped_clean", "stopped_forced"),
            "paused": "stopped_forced",
        },
        theirs={"stopped"},
    )


async def test_somebody_else_meddles_right_before_the_put(trial: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """Destroyed, expunged, started on another host between our read and our PUT: told as it is."""
    acts = {"destroyed": "destroy", "expunged": "expunge", "migrated": "migrate"}
    uuids: dict[str, str] = {}

    async def act(client: ZStackClient, request: StopRequest, put: int) -> None:
        what = uuids.get(request.vm_uuid)
        if what is not None and put == 1:
            run.node.act(request.vm_uuid, what)  # type: ignore[arg-type]

    before_put(monkeypatch, act)
    run = trial({"clusters": [{"name": "c1", "hosts": 3}], "vms": [group(name) for name in acts]})
    uuids.update({run.sim(name).uuid: what for name, what in acts.items()})
    await run.go()
    run.hold({"destroyed": "not_found", "expunged": "not_found", "migrated": "stopped_clean"})


async def test_wrong_state_in_transition_is_tried_again(trial: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """VM.1010 while the VM migrates is class R: waited for, and sent again once it runs."""

    async def act(client: ZStackClient, request: StopRequest, put: int) -> None:
        if put == 1:
            vm = run.node.vms[request.vm_uuid]
            run.node._world.set_state(vm, "Migrating", "other")
            asyncio.get_running_loop().call_later(0.6, run.node._world.set_state, vm, "Running", "other")

    before_put(monkeypatch, act)
    run = trial({"vms": [group("vm")]})
    await run.go()
    run.hold({"vm": "stopped_clean"})
    assert len(run.vm("vm").attempts) == 2


async def test_a_vm_that_starts_or_stops_by_itself(trial: Trials) -> None:
    """Found Starting it is waited for and then sent; found Stopping it is watched and already_stopped."""

    async def beside(run: Trial) -> None:
        await anyio.sleep(0.6)
        run.node._world.set_state(run.sim("starts"), "Running", "other")
        run.node.act(run.sim("stops").uuid, "stop")

    vms = [group("starts", state="Starting", powered=True), group("stops", state="Stopping")]
    run = await trial({"vms": vms}, beside=beside).go()
    run.hold({"starts": "stopped_clean", "stops": "already_stopped"})
    assert run.node.record.stop_puts(run.sim("stops").uuid) == 0


async def test_a_lost_put_and_another_operators_stop(trial: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our PUT never arrived, and somebody else's stop is under way: it is theirs, not ours."""

    async def act(client: ZStackClient, request: StopRequest, put: int) -> None:
        if put == 1:
            async with ZStackClient(settings_for(run.node)) as other:
                await other.send(replace(request, job_uuid=f"{random.getrandbits(128):032x}", api_timeout_seconds=60))
            run.node.faults.add(Fault(kind="drop_before", on="stop", first=1))

    before_put(monkeypatch, act)
    run = trial({"vms": [group("vm", {"shutdown": 20})]})
    await run.go()
    record = run.node.record
    job = run.vm("vm").attempts[0].job_uuid
    assert job not in {stop.job for stop in record.stops}
    assert run.vm("vm").outcome is Outcome.ALREADY_STOPPED, run.why("vm")


async def test_a_host_that_is_lost_in_mid_run(trial: Trials) -> None:
    """Agent calls cut off are class R, then the host is not Connected: no cold while it is away, and nothing invented."""
    faults = [{"kind": "host_disconnect", "at": 25, "hosts": ["bad"]}]
    clusters = [{"name": "c1", "hosts": [{"name": "bad"}, {"name": "good"}]}]
    vms = [group("bad-{n}", {"shutdown": 45}, 3, hosts=["bad"]), group("good-{n}", count=3, hosts=["good"])]
    run = await trial({"clusters": clusters, "vms": vms, "faults": faults}).go()
    run.hold({"bad-*": ("failed", "unknown"), "good-*": "stopped_clean"})


async def test_started_again_before_verification(trial: Trials) -> None:
    """Stopped by us or before us, and started by somebody: came_back at verification."""

    def on_event(event: Event) -> None:
        if event.kind == "run.verifying":
            for name in ("vm-1", "off"):
                vm = run.sim(name)
                run.node.act(vm.uuid, "start", host_uuid=next(iter(run.node.hosts)))
            run.node.act(run.sim("vm-3").uuid, "destroy")

    run = trial({"vms": [group("vm-{n}", count=3), group("off", state="Stopped")]}, on_event=on_event)
    await run.go()
    run.hold({"vm-1": "came_back", "off": "came_back", "vm-2": "stopped_clean", "vm-3": "stopped_clean"})


def test_a_vm_that_waited_for_its_new_host_is_read_again() -> None:
    """Before a VM is sent, its state was read at most 30 s ago, also where it waited for a slot on another host."""
    plan = plan_from_text(
        json.dumps(
            {
                "version": 1,
                "name": "moved",
                "targets": {"where": [["type=UserVm"]]},
                "limits": {"per_host": 1, "concurrency": 2},
                "verify": {"after": "0s"},
            }
        ),
        name="plan.json",
        folder=Path.cwd(),
        json=True,
    )
    long, moved = (
        Guest(VmRow(f"{n:032x}", f"vm-{n}", "UserVm", "Running", f"h{n}", "c", None), seconds=seconds)
        for n, seconds in ((1, 50.0), (2, 5.0))
    )
    cloud = MemoryCloud([long, moved])

    async def go() -> ReportDocument:
        prepared = await prepare(plan, cloud, strict=False)
        record = run_record(
            prepared, run_id=new_run_id(datetime.now(UTC)), started_at="now", started_by="t@t", tool_version="0"
        )
        moved.row = replace(moved.row, host_uuid="h1")
        run = Run(opening(prepared, record), cloud, MemoryJournal(), owner=this_process("t@t"))
        async with anyio.create_task_group() as tasks:

            async def somebody() -> None:
                await anyio.sleep(40)
                moved.row = replace(moved.row, state="Stopped")

            tasks.start_soon(somebody)
            report = await run.run()
        return report.document()

    report = run_virtual(go)
    sent = [request.vm_uuid for _, request in cloud.sent]
    assert report.vms[1].outcome is Outcome.ALREADY_STOPPED
    assert sent == [long.row.uuid]


# ── the operator ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_first_interrupt(trial: Trials) -> None:
    """After the first Ctrl-C no PUT leaves, cold included; what is in flight gets its outcome, the rest is not_reached."""
    at: list[float] = []

    def on_event(event: Event) -> None:
        if event.kind == "vm.sending" and not at and len(run.node.record.stops) >= 3:
            asyncio.get_running_loop().call_later(0.15, stop_it)

    def stop_it() -> None:
        if not at:
            at.append(run.node._world.clock.monotonic())
            assert run.run is not None
            run.run.interrupt()

    vms = [
        group("a-stuck-{n}", {"behaviour": "fails_grace_only", "fails_after": 20}, 2),
        group("vm-{n}", {"shutdown": 30}, 12),
    ]
    run = trial({"seed": 3, "vms": vms}, on_event=on_event, plan={"limits": {"concurrency": 4}})
    await run.go()
    run.hold_true()
    late = [r for r in run.node.record.requests if r.action == "stopVmInstance" and r.at > at[0] + 0.02]
    assert not late
    assert run.report.run.exit_code == 4
    assert run.report.run.ended_by == "operator"
    for vm in run.report.vms:
        if run.node.record.stop_puts(vm.uuid):
            wanted = {Outcome.FAILED} if (vm.name or "").startswith("a-stuck") else {Outcome.STOPPED_CLEAN}
            assert vm.outcome in wanted, run.why(vm.name or "")
            assert vm.reason == ("fallback_withheld" if vm.outcome is Outcome.FAILED else None)
        else:
            assert (vm.outcome, vm.reason) == (Outcome.NOT_REACHED, "operator")


async def test_the_second_interrupt(trial: Trials) -> None:
    """The second Ctrl-C leaves at once with 130: outcomes so far are kept, the rest have none, sessions are closed."""

    sent: list[Event] = []

    def on_event(event: Event) -> None:
        if event.kind == "vm.sending":
            sent.append(event)
            if len(sent) == 4:
                loop = asyncio.get_running_loop()
                assert run.run is not None
                loop.call_later(0.2, run.run.interrupt)
                loop.call_later(0.3, run.run.leave)

    vms = [group("off", state="Stopped"), group("vm-{n}", {"behaviour": "ignores_acpi"}, 10)]
    run = trial({"vms": vms}, on_event=on_event, plan={"limits": {"concurrency": 4}})
    await run.go()
    assert run.report.run.exit_code == 130
    assert run.report.run.status == "interrupted"
    assert run.seconds < POWER_CUT + 0.6
    assert run.vm("off").outcome is Outcome.ALREADY_STOPPED
    for vm in run.report.vms:
        if run.node.record.stop_puts(vm.uuid):
            assert vm.outcome is None
            assert vm.attempts[0].result == "running"
    assert run.node.record.open_sessions() == []


async def test_fifty_moments_of_chaos(trial: Trials) -> None:
    """Many faults at once, by chance: whatever the outcomes, none of them is a lie."""
    kinds = ("drop_before", "drop_after", "truncated", "html", "too_many_requests", "close_after_headers")
    faults = [{"kind": kind, "on": on, "probability": 0.04} for kind in kinds for on in ("stop", "poll")]
    scenario = {
        "seed": 7,
        "clusters": [{"name": "c1", "hosts": 4}],
        "vms": [
            group("vm-{n}", {"shutdown": [3, 30]}, 24),
            group("deaf-{n}", {"behaviour": "ignores_acpi"}, 3),
            group("stuck-{n}", {"behaviour": "fails_grace_only"}, 3),
        ],
        "faults": faults,
    }
    run = await trial(scenario, plan={"limits": {"concurrency": 12, "per_host": 4}}).go()
    run.hold({"deaf-*": "stopped_forced", "vm-*": "stopped_clean"}, cold={f"stuck-{n}" for n in range(1, 4)})
