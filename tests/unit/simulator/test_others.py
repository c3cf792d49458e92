"""Restarts, hosts that come and go, other people, and the record."""

import asyncio
import json

import aiohttp
import pytest

from orchestrator.simulator import SimulatedNode
from tests.unit.simulator.rest import Rest, job_of, running, until

FLEET = {
    "clusters": [{"name": "c", "hosts": ["h1", "h2"]}],
    "vms": [{"name": "v{n}", "count": 4, "hosts": ["h1"], "guest": {"shutdown": 30}}],
}


async def test_restart_keeps_rows_and_forgets_work() -> None:
    """Refused meanwhile, same port after; done rows and sessions survive, a job under way is 202 for ever."""
    async with running({**FLEET, "node": {"host_sync": 1}}) as (node, rest):
        done, cut = node.vm("v1"), node.vm("v2")
        first = await rest.stop(done.uuid, type="cold")
        assert (await rest.end_of(first)).status == 200
        second = await rest.stop(cut.uuid)
        await until(lambda: cut.state == "Stopping" and cut.agents)
        endpoint = node.endpoint
        restart = asyncio.create_task(node.restart(20))
        await until(lambda: not node._world.up.is_set() and node._runner is None)
        with pytest.raises(aiohttp.ClientError):
            await rest.poll(first)
        await restart
        assert node.endpoint == endpoint
        assert (await rest.poll(first)).status == 200
        assert (await rest.poll(second)).status == 202
        assert await rest.names("q=name=v1") == ["v1"]
        await until(lambda: cut.state == "Stopped")
        assert node.record.transitions_of(cut.uuid)[-1].by == "agent"
        assert (await rest.poll(second)).status == 202
        reply = await rest.end_of(await rest.stop(cut.uuid))
        assert reply.json["inventory"]["state"] == "Stopped"


async def test_lost_host() -> None:
    """Its VMs are Unknown, a stop under way fails with SYS.1015 and a new one with HOST.1010; the way back heals them."""
    async with running(FLEET) as (node, rest):
        host, busy, idle = node.host("h1"), node.vm("v1"), node.vm("v2")
        job = await rest.stop(busy.uuid)
        await until(lambda: busy.agents)
        node.disconnect_host(host.uuid)
        assert (await rest.end_of(job)).codes == ["VM.1002", "HOST.1011", "SYS.1015"]
        assert idle.state == "Unknown"
        assert (await rest.end_of(await rest.stop(idle.uuid))).codes == ["VM.1002", "HOST.1011", "HOST.1010"]
        assert idle.state == "Unknown"
        await until(lambda: not busy.agents)
        node.reconnect_host(host.uuid)
        assert host.status == "Connecting"
        await until(lambda: host.status == "Connected")
        assert idle.state == "Running"
        await until(lambda: busy.state == "Stopped")


async def test_reconnect_by_api() -> None:
    """reconnectHost and changeHostState are jobs; enable after maintenance reconnects."""
    async with running(FLEET) as (node, rest):
        host = node.host("h1")
        path = f"/v1/hosts/{host.uuid}/actions"
        reply = await rest.end_of(job_of(await rest.call("PUT", path, {"reconnectHost": {}})))
        assert reply.json["inventory"]["status"] == "Connected"
        for event, state in (("disable", "Disabled"), ("maintain", "Maintenance"), ("enable", "Enabled")):
            content = {"changeHostState": {"stateEvent": event}}
            reply = await rest.end_of(job_of(await rest.call("PUT", path, content)))
            assert reply.json["inventory"]["state"] == state
        assert {vm.host for vm in node.vms.values()} == {node.host("h2")}


async def test_migrate() -> None:
    """A VM goes to a candidate host; its own host is refused."""
    async with running(FLEET) as (node, rest):
        vm, target = node.vm("v1"), node.host("h2")
        found = await rest.call("GET", f"/v1/vm-instances/{vm.uuid}/migration-target-hosts")
        assert [row["uuid"] for row in found.json["inventories"]] == [target.uuid]
        same = await rest.end_of(job_of(await rest.act(vm.uuid, "migrateVm", hostUuid=vm.host_uuid)))
        assert same.codes == ["SYS.1007"]
        reply = await rest.end_of(job_of(await rest.act(vm.uuid, "migrateVm")))
        assert reply.json["inventory"]["hostUuid"] == target.uuid
        assert reply.json["inventory"]["lastHostUuid"] == node.host("h1").uuid


async def test_start_is_a_no_op_when_running() -> None:
    """A start of what runs succeeds; of what is Stopped it prefers its last host."""
    async with running(FLEET) as (node, rest):
        vm = node.vm("v1")
        assert (await rest.end_of(job_of(await rest.act(vm.uuid, "startVmInstance")))).status == 200
        assert not node.record.transitions
        node.act(vm.uuid, "stop")
        reply = await rest.end_of(job_of(await rest.act(vm.uuid, "startVmInstance")))
        assert reply.json["inventory"]["hostUuid"] == node.host("h1").uuid


@pytest.mark.parametrize(
    ("action", "state"), [("rebootVmInstance", "Running"), ("pauseVmInstance", "Paused"), ("resumeVmInstance", "Paused")]
)
async def test_other_actions(action: str, state: str) -> None:
    """Reboot and pause work, resume of a running VM is refused."""
    async with running(FLEET) as (node, rest):
        vm = node.vm("v1")
        reply = await rest.end_of(job_of(await rest.act(vm.uuid, action)))
        if action == "resumeVmInstance":
            assert reply.status == 503
        else:
            assert (reply.status, vm.state) == (200, state)


async def test_somebody_stops_it_meanwhile() -> None:
    """A stop under way succeeds when somebody else brought the guest down first, and isn't counted as ours."""
    async with running(FLEET) as (node, rest):
        vm = node.vm("v1")
        job = await rest.stop(vm.uuid)
        await until(lambda: vm.agents)
        node.act(vm.uuid, "stop")
        assert (await rest.end_of(job)).status == 200
        assert node.record.running_to_stopped(vm.uuid) == 0


async def test_expunged_meanwhile() -> None:
    """A row that vanishes under a stop is SYS.1000, and SYS.1003 from then on."""
    async with running(FLEET) as (node, rest):
        vm = node.vm("v1")
        job = await rest.stop(vm.uuid)
        await until(lambda: vm.agents)
        node.act(vm.uuid, "expunge")
        assert (await rest.end_of(job)).codes == ["SYS.1000"]
        assert (await rest.end_of(await rest.stop(vm.uuid))).codes == ["SYS.1003"]
        assert await rest.names("q=name=v1") == []


async def outside(rest: Rest, path: str) -> object:
    """JSON from outside the context path."""
    url = rest.node.endpoint.removesuffix("/zstack") + path
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return json.loads(await response.text())


async def test_record_is_served() -> None:
    """/simulator/record and /simulator/summary tell the same as node.record, without the password."""
    async with running(FLEET) as (node, rest):
        vm = node.vm("v1")
        job = await rest.stop(vm.uuid, {"X-API-Timeout": "60"}, type="cold")
        assert (await rest.end_of(job)).status == 200
        record = await outside(rest, "/simulator/record")
        summary = await outside(rest, "/simulator/summary")
        assert isinstance(record, dict)
        assert isinstance(summary, dict)
        assert "password" not in str(record["requests"][0]["body"])
        stop = next(request for request in record["requests"] if request["action"] == "stopVmInstance")
        assert (stop["job"], stop["api_timeout"], stop["status"]) == (job, "60", 202)
        assert stop["body"] == {"type": "cold"}
        assert [step["after"] for step in record["transitions"]] == ["Stopping", "Stopped"]
        assert summary["states"] == {"Running": 3, "Stopped": 1}
        assert (summary["peak_in_flight"], summary["stops_accepted"], summary["forced"]) == (1, 1, 1)
        assert record["open_sessions"] == [rest.session]


async def test_leaving_ends_all_work() -> None:
    """A node that is left in mid-work leaves no task behind."""
    async with running(FLEET) as (node, rest):
        for uuid in node.vms:
            await rest.stop(uuid)
        left: SimulatedNode = node
    assert not left._world._tasks
    assert not left._world._agents
