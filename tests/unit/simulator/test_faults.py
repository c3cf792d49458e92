"""Faults over the socket."""

import asyncio
from typing import Any

import aiohttp
import pytest

from orchestrator.simulator import Fault, Faults
from tests.unit.simulator.rest import Rest, running, until

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
        before = node.vm("v1").host_uuid
        live = list(node._world.sessions.live)
        await until(lambda: not any(node._world.sessions.valid(uuid) for uuid in live))
        assert node.vm("v1").host_uuid != before
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
