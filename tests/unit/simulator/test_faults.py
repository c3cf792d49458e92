"""Faults over the socket."""

import asyncio
from typing import Any

import aiohttp
import pytest

from orchestrator.simulator import Fault, Faults
from tests.unit.simulator.rest import Rest, job_of, running, until

FLEET = {"vms": [{"name": "v{n}", "count": 3, "guest": {"shutdown": 1}}]}
LOST = (aiohttp.ClientError, ConnectionError)


async def put(rest: Rest, uuid: str, job: str) -> Any:
    """A stop with this job id."""
    return await rest.act(uuid, "stopVmInstance", {"X-Job-UUID": job})


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "close_after_headers", "truncated"])
async def test_lost_answers(kind: str) -> None:
    """The answer is lost; whether the stop was carried out is what the job's URL tells."""
    async with running(FLEET) as (node, rest):
        fault = node.faults.add(Fault.model_validate({"kind": kind, "on": "stop", "first": 1}))
        vm, job = node.vm("v1"), "a" * 32
        with pytest.raises(LOST):
            await put(rest, vm.uuid, job)
        if kind == "drop_before":
            assert (await rest.poll(job)).status == 404
            assert (await put(rest, vm.uuid, job)).status == 202
        else:
            assert (await put(rest, vm.uuid, job)).text == f"Duplicate job uuid[{job}]"
        assert (await rest.end_of(job)).status == 200
        assert node.faults.struck(fault) == 1
        assert node.record.running_to_stopped(vm.uuid) == 1
        assert node.record.stop_puts(vm.uuid) == 2


@pytest.mark.parametrize(
    ("fault", "status", "begins"),
    [
        ({"kind": "html"}, 200, "<!doctype html>"),
        ({"kind": "html", "status": 502}, 502, "<!doctype html>"),
        ({"kind": "text"}, 200, "the management node"),
        ({"kind": "empty"}, 200, ""),
        ({"kind": "too_many_requests"}, 429, "Rate limit exceeded"),
        ({"kind": "error_500"}, 500, "java.lang"),
        ({"kind": "verdict"}, 503, "{"),
    ],
)
@pytest.mark.parametrize("handled", [False, True])
async def test_wrong_answers(fault: dict[str, Any], status: int, begins: str, handled: bool) -> None:
    """A wrong answer replaces the right one, with the request carried out or not."""
    async with running(FLEET) as (node, rest):
        node.faults.add(Fault.model_validate({**fault, "on": "put", "handled": handled}))
        reply = await put(rest, node.vm("v1").uuid, "b" * 32)
        assert reply.status == status
        assert reply.text.startswith(begins)
        assert len(node.record.stops) == handled


async def test_garbage_in_a_query() -> None:
    """A query may answer JSON of another shape."""
    async with running(FLEET) as (node, rest):
        node.faults.add(Fault(kind="garbage"))
        assert not isinstance((await rest.call("GET", "/v1/vm-instances")).json["inventories"], list)


async def test_slow_and_trickle() -> None:
    """Slow answers come; a trickling one goes on until the client leaves."""
    async with running(FLEET) as (node, rest):
        slow = node.faults.add(Fault(kind="slow", on="query", seconds=0.05))
        assert (await rest.call("GET", "/v1/zones")).status == 200
        node.faults.remove(slow)
        assert len(node.faults) == 0
        node.faults.add(Fault(kind="trickle", on="query", seconds=0.01))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await rest.call("GET", "/v1/zones")


async def test_job_never_ends() -> None:
    """The VM is stopped, and its job polls as 202 all the same."""
    async with running(FLEET) as (node, rest):
        node.faults.add(Fault(kind="never_ends", vms=("v2",)))
        job, other = await rest.stop(node.vm("v2").uuid), await rest.stop(node.vm("v1").uuid)
        assert (await rest.end_of(other)).status == 200
        await until(lambda: node.vm("v2").state == "Stopped")
        assert (await rest.poll(job)).status == 202


async def test_result_gone_early() -> None:
    """The job's result is 404 before anybody could read it."""
    async with running(FLEET) as (node, rest):
        node.faults.add(Fault(kind="result_gone", seconds=0))
        reply = await rest.poll(await rest.stop(node.vm("v1").uuid))
        assert (reply.status, reply.text) == (404, "the job has been expired")


async def test_somebody_acts_upon_the_stop() -> None:
    """A VM destroyed at the moment of its stop doesn't come back by it."""
    async with running(FLEET) as (node, rest):
        node.faults.add(Fault(kind="vm_action", act="destroy", vms=("v1",)))
        vm = node.vm("v1")
        assert (await rest.end_of(await rest.stop(vm.uuid))).codes == ["VM.1002", "VM.1010"]
        assert vm.state == "Destroyed"
        assert node.record.transitions_of(vm.uuid)[0].by == "other"


async def test_slow_start() -> None:
    """A start takes longer by `seconds`."""
    async with running({"vms": [{"name": "v", "state": "Stopped"}]}) as (node, rest):
        node.faults.add(Fault(kind="slow_start", seconds=60))
        began = node.record.requests[-1].at
        reply = await rest.act(node.vm("v").uuid, "startVmInstance")
        assert (await rest.end_of(reply.json["location"].rpartition("/")[2])).status == 200
        assert node.record.transitions[-1].at - began >= 60 / 200


async def test_timed_faults_happen() -> None:
    """`at` is node time since it came up, for faults of the scenario and for those added later."""
    faults = [{"kind": "expire_sessions", "at": 4}, {"kind": "vm_action", "act": "migrate", "at": 2, "vms": ["v1"]}]
    async with running({**FLEET, "faults": faults}) as (node, _):
        live = list(node._world.sessions.live)
        await until(lambda: not any(node._world.sessions.valid(uuid) for uuid in live))
        assert [(move.vm_uuid, move.by) for move in node.record.moves] == [(node.vm("v1").uuid, "other")]
        node.faults.add(Fault(kind="vm_action", act="crash", at=0, vms=("v2",)))
        await until(lambda: node.vm("v2").state == "Crashed")


def struck(fault: Fault, ages: list[float], names: tuple[str, ...] = ("v1",)) -> list[bool]:
    """Which of these requests the fault strikes."""
    faults = Faults(seed=3)
    faults.add(fault)
    among, kinds = frozenset({fault.kind}), frozenset({"any", "stop"})
    return [bool(faults.strike(among, kinds, "/v1/x", names, age)) for age in ages]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({}, [True] * 6),
        ({"every": 2}, [True, False, True, False, True, False]),
        ({"first": 2}, [True, True, False, False, False, False]),
        ({"skip": 2, "every": 2}, [False, False, True, False, True, False]),
        ({"since": 2, "until": 4}, [False, False, True, True, False, False]),
        ({"vms": ["w*"]}, [False] * 6),
        ({"paths": ["/v1/*"]}, [True] * 6),
        ({"paths": ["/v2/*"]}, [False] * 6),
        ({"probability": 0.0}, [False] * 6),
        ({"on": "poll"}, [False] * 6),
    ],
)
def test_selectors(fault: dict[str, Any], expected: list[bool]) -> None:
    """skip, every, first, times and globs select."""
    made = Fault.model_validate({"kind": "drop_before", **fault})
    assert struck(made, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]) == expected


def test_probability_is_by_the_seed() -> None:
    """The same seed strikes the same requests."""
    fault = Fault(kind="drop_before", probability=0.5)
    ages = [0.0] * 40
    assert struck(fault, ages) == struck(fault, ages)
    assert 5 < sum(struck(fault, ages)) < 35


RACK = {
    "clusters": [{"name": "c", "hosts": ["h1", "h2"]}],
    "vms": [{"name": "v{n}", "count": 2, "hosts": ["h1"]}, {"name": "off", "hosts": ["h1"], "state": "Stopped"}],
}


async def change(rest: Rest, host: str, event: str = "disable", job: str | None = None) -> Any:
    """A change of a host's state."""
    path = f"/v1/hosts/{rest.node.host(host).uuid}/actions"
    headers = {} if job is None else {"X-Job-UUID": job}
    return await rest.call("PUT", path, {"changeHostState": {"stateEvent": event}}, headers=headers)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_lost_answers_of_migrations_and_hosts(kind: str) -> None:
    """`on` migrate and host strike those PUTs and no others, of the host that `hosts` names."""
    async with running(RACK) as (node, rest):
        for on in ("migrate", "host"):
            node.faults.add(Fault.model_validate({"kind": kind, "on": on, "hosts": ["h1"]}))
        vm = node.vm("v1")
        assert (await change(rest, "h2", "enable")).status == 202
        assert (await rest.act(node.vm("v2").uuid, "stopVmInstance")).status == 202
        with pytest.raises(LOST):
            await rest.act(vm.uuid, "migrateVm", {"X-Job-UUID": "a" * 32})
        with pytest.raises(LOST):
            await change(rest, "h1", job="b" * 32)
        for job in ("a" * 32, "b" * 32):
            assert ((await rest.poll(job)).status == 404) is (kind == "drop_before")
        assert node.record.migrate_puts(vm.uuid) == node.record.host_puts(node.host("h1").uuid) == 1
        assert len(node.record.migrations) == (kind == "drop_after")


async def test_candidates_are_a_kind_of_request() -> None:
    """`on: candidates` strikes the question for a VM's targets only, by VM or by its host."""
    async with running(RACK) as (node, rest):
        one = node.faults.add(Fault(kind="verdict", on="candidates", vms=("v1",)))
        paths = {name: f"/v1/vm-instances/{node.vm(name).uuid}/migration-target-hosts" for name in ("v1", "v2")}
        assert [(await rest.call("GET", path)).status for path in paths.values()] == [503, 200]
        assert (await rest.call("GET", f"/v1/vm-instances/{node.vm('v1').uuid}")).status == 200
        node.faults.remove(one)
        node.faults.add(Fault(kind="verdict", on="candidates", hosts=("h1",)))
        assert {(await rest.call("GET", path)).status for path in paths.values()} == {503}


async def test_jobs_of_migrations_and_hosts_never_end() -> None:
    """The work is done, and the job polls as 202 or 404 all the same."""
    async with running(RACK) as (node, rest):
        node.faults.add(Fault(kind="never_ends", on="migrate", vms=("v1",)))
        node.faults.add(Fault(kind="never_ends", on="host", hosts=("h1",)))
        node.faults.add(Fault(kind="result_gone", on="host", hosts=("h2",), seconds=0))
        vm, host = node.vm("v1"), node.host("h1")
        moved = job_of(await rest.act(vm.uuid, "migrateVm"))
        await until(lambda: vm.host is node.host("h2"))
        changed = job_of(await change(rest, "h1"))
        await until(lambda: host.state == "Disabled")
        gone = job_of(await change(rest, "h2"))
        assert [(await rest.poll(job)).status for job in (moved, changed, gone)] == [202, 202, 404]
        assert node.record.migrations[0].ended is not None


async def test_slow_migrations_and_hosts() -> None:
    """slow_start with `on` makes a migration and a host's job take longer."""
    async with running(RACK) as (node, rest):
        node.faults.add(Fault(kind="slow_start", on="migrate", seconds=60))
        node.faults.add(Fault(kind="slow_start", on="host", seconds=60))
        assert (await rest.end_of(job_of(await rest.act(node.vm("v1").uuid, "migrateVm")))).status == 200
        (note,) = node.record.migrations
        assert note.ended is not None
        assert note.ended - note.accepted >= 60 / 200
        sent = node.record.requests[-1].at
        assert (await rest.end_of(job_of(await change(rest, "h1")))).status == 200
        assert node.record.host_transitions[-1].at - sent >= 60 / 200


async def test_polls_are_selected_by_host() -> None:
    """`hosts` takes polls of a host's jobs as well."""
    async with running(RACK) as (node, rest):
        fault = node.faults.add(Fault(kind="error_500", on="poll", hosts=("h1",)))
        mine, other = job_of(await change(rest, "h1")), job_of(await change(rest, "h2"))
        assert (await rest.poll(mine)).status == 500
        assert (await rest.end_of(other)).status == 200
        assert node.faults.struck(fault) == 1


@pytest.mark.parametrize("act", ["start", "migrate"])
async def test_somebody_goes_to_a_host(act: str) -> None:
    """`host` is where somebody starts a VM or migrates it to, though the host is Disabled."""
    name = "off" if act == "start" else "v1"
    async with running(RACK) as (node, rest):
        host = node.host("h2")
        assert (await rest.end_of(job_of(await change(rest, "h2")))).status == 200
        node.faults.add(Fault.model_validate({"kind": "vm_action", "act": act, "vms": [name], "host": "h[2-9]", "at": 0}))
        await until(lambda: node.vm(name).host is host)
        assert node.vm(name).state == "Running"
        node.faults.add(Fault.model_validate({"kind": "vm_action", "act": act, "vms": ["v2"], "host": host.uuid, "at": 0}))
        await until(lambda: node.vm("v2").host is host)
        node.faults.add(Fault.model_validate({"kind": "vm_action", "act": "migrate", "host": "nowhere", "on": "migrate"}))
        assert (await rest.act(node.vm("v2").uuid, "migrateVm")).status == 202
        assert all(move.by != "other" for move in node.record.moves[2 if act == "migrate" else 1 :])


async def test_somebody_starts_one_while_its_host_is_emptied() -> None:
    """At a simulated second a VM is started on the host that is being emptied, and migrates like the others."""
    start = {"kind": "vm_action", "act": "start", "vms": ["off"], "host": "h1", "at": 60}
    async with running({**RACK, "node": {"migrate": 200}, "faults": [start]}) as (node, rest):
        assert (await rest.end_of(job_of(await change(rest, "h1", "maintain")))).status == 200
        begins = {step.vm_uuid: step for step in reversed(node.record.transitions)}
        first = begins[node.vm("off").uuid]
        assert (first.before, first.after, first.by) == ("Stopped", "Running", "other")
        assert {vm.host for vm in node.vms.values()} == {node.host("h2")}
