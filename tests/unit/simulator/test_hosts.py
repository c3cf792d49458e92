"""Hosts that are enabled, disabled and emptied for maintenance."""

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.simulator import SimulatedHost, SimulatedNode
from tests.unit.simulator.rest import Rest, job_of, running, until


def rack(
    *groups: Mapping[str, Any], node: dict[str, Any] | None = None, hosts: tuple[Any, ...] = ("h1", "h2")
) -> dict[str, Any]:
    """A cluster of these hosts; the VMs are on h1 unless a group says otherwise."""
    vms = [{"hosts": ["h1"], **group} for group in groups]
    return {"node": node or {}, "clusters": [{"name": "c", "hosts": list(hosts)}], "vms": vms}


async def change(rest: Rest, host: SimulatedHost, event: str, headers: dict[str, str] | None = None) -> str:
    """Send a change of a host's state that must be accepted; its job id."""
    content = {"changeHostState": {"stateEvent": event}}
    return job_of(await rest.call("PUT", f"/v1/hosts/{host.uuid}/actions", content, headers=headers))


def steps(node: SimulatedNode, host: SimulatedHost) -> list[str]:
    """The states a host went through."""
    return [step.after for step in node.record.host_transitions_of(host.uuid)]


def causes(error: Mapping[str, Any]) -> list[list[str]]:
    """The codes of every chain under `causes`."""
    found = []
    for cause in error["causes"]:
        codes, inner = [], cause
        while inner:
            codes.append(inner["code"])
            inner = inner.get("cause")
        found.append(codes)
    return found


async def test_maintenance_empties_the_host() -> None:
    """PreMaintenance, its VMs migrate two at a time, then Maintenance; the record tells each step and each VM."""
    async with running(rack({"name": "v{n}", "count": 7})) as (node, rest):
        host, target = node.host("h1"), node.host("h2")
        job = await change(rest, host, "maintain")
        await until(lambda: host.state == "PreMaintenance")
        reply = await rest.end_of(job)
        assert reply.json["inventory"]["state"] == "Maintenance"
        assert {(vm.host, vm.state) for vm in node.vms.values()} == {(target, "Running")}
        record = node.record
        assert steps(node, host) == ["PreMaintenance", "Maintenance"]
        assert {step.by for step in record.host_transitions} == {f"job {job}"}
        assert {(m.job, m.source, m.target, m.error) for m in record.migrations} == {(job, host.uuid, target.uuid, None)}
        assert len(record.migrations) == 7
        assert record.peak_migrations() == 2
        assert record.peak_migrations_per_host(host.uuid) == record.peak_migrations_per_host(target.uuid) == 2
        assert (record.host_puts(host.uuid), record.host_puts(host.uuid, "maintain")) == (1, 1)
        assert (record.host_puts(host.uuid, "enable"), record.host_puts(target.uuid)) == (0, 0)
        told = record.as_json()["host_transitions"]
        assert [(step["before"], step["after"]) for step in told] == [
            ("Enabled", "PreMaintenance"), ("PreMaintenance", "Maintenance")
        ]  # fmt: skip
        summary = record.summary({})  # type: ignore[arg-type]
        assert (summary["host_puts"], summary["host_transitions"]) == (1, 2)


async def test_migration_quantity() -> None:
    """`migration_quantity` is how many migrate at a time, and a global configuration tells it."""
    async with running(rack({"name": "v{n}", "count": 7}, node={"migration_quantity": 4})) as (node, rest):
        assert (await rest.end_of(await change(rest, node.host("h1"), "maintain"))).status == 200
        assert node.record.peak_migrations() == 4
        rows = await rest.call("GET", "/v1/global-configurations?q=name=vm.migrationQuantity")
        assert [(row["category"], row["value"]) for row in rows.json["inventories"]] == [("kvm", "4")]


async def test_those_that_cannot_migrate_are_stopped() -> None:
    """With the usual policy pinned, refused and paused VMs are stopped with grace, and the host is in Maintenance."""
    groups: list[dict[str, Any]] = [
        {"name": "pinned", "pinned": True},
        {"name": "refused", "guest": {"migration": "refused"}},
        {"name": "half", "guest": {"migration": "fails_halfway"}},
        {"name": "paused", "state": "Paused"},
        {"name": "goes"},
    ]
    async with running(rack(*groups)) as (node, rest):
        job = await change(rest, node.host("h1"), "maintain")
        assert (await rest.end_of(job)).status == 200
        assert {vm.name: vm.state for vm in node.vms.values()} == {
            "pinned": "Stopped", "refused": "Stopped", "half": "Stopped", "paused": "Stopped", "goes": "Running"
        }  # fmt: skip
        stopped = [step for step in node.record.transitions if step.after == "Stopped"]
        assert {(step.job, step.type) for step in stopped} == {(job, "grace")}
        assert not node.record.stops
        refused = node.vm("refused").uuid
        assert [move.error for move in node.record.migrations if move.vm_uuid == refused] == ["VM.1007"]


async def test_just_migrate() -> None:
    """With JustMigrate nothing is stopped: HOST.1001 with every VM's error under causes, and the state of before."""
    groups: list[dict[str, Any]] = [{"name": "pinned", "pinned": True}, {"name": "goes"}]
    groups.append({"name": "half", "guest": {"migration": "fails_halfway"}})
    async with running(rack(*groups, node={"maintenance_policy": "JustMigrate"})) as (node, rest):
        host = node.host("h1")
        host.state = "Disabled"
        reply = await rest.end_of(await change(rest, host, "maintain"))
        error = reply.json["error"]
        assert (reply.status, error["code"]) == (503, "HOST.1001")
        assert "cause" not in error
        assert sorted(causes(error)) == [["VM.1007", "HOST.1006"], ["VM.1007", "SYS.1006"]]
        assert steps(node, host) == ["PreMaintenance", "Disabled"]
        assert {vm.name for vm in node.vms.values() if vm.host is host} == {"pinned", "half"}
        assert {vm.state for vm in node.vms.values()} == {"Running"}


async def test_one_that_can_neither_migrate_nor_stop() -> None:
    """HOST.1001 with the stop's error, and the host is Enabled again though others have left it."""
    bad = {"name": "bad", "guest": {"migration": "refused", "behaviour": "fails"}}
    async with running(rack(bad, {"name": "goes"})) as (node, rest):
        host = node.host("h1")
        reply = await rest.end_of(await change(rest, host, "maintain"))
        assert causes(reply.json["error"]) == [["VM.1002", "HOST.1006"]]
        assert host.state == "Enabled"
        assert node.vm("goes").host is node.host("h2")


async def test_maintenance_that_takes_too_long() -> None:
    """HOST.1001 <- SYS.1001 after X-API-Timeout, and the state of before; what had begun goes on, and no more begins."""
    groups: list[dict[str, Any]] = [{"name": "hangs", "guest": {"migration": "hangs"}}, {"name": "v{n}", "count": 8}]
    async with running(rack(*groups, node={"migrate": 100})) as (node, rest):
        host = node.host("h1")
        reply = await rest.end_of(await change(rest, host, "maintain", {"X-API-Timeout": "1"}))
        assert reply.codes == ["HOST.1001", "SYS.1001"]
        assert steps(node, host) == ["PreMaintenance", "Enabled"]
        begun = len(node.record.migrations)
        await until(lambda: sum(move.ended is None for move in node.record.migrations) == 1)
        assert len(node.record.migrations) == begun < 9
        assert node.vm("hangs").state == "Migrating"


async def test_maintenance_of_a_lost_host() -> None:
    """Unknown VMs are left where they are, and the host goes to Maintenance."""
    hosts = ({"name": "h1", "status": "Disconnected"}, "h2")
    async with running(rack({"name": "v{n}", "count": 2, "state": "Unknown"}, hosts=hosts)) as (node, rest):
        host = node.host("h1")
        assert (await rest.end_of(await change(rest, host, "maintain"))).status == 200
        assert (host.state, host.status) == ("Maintenance", "Disconnected")
        assert {(vm.host, vm.state) for vm in node.vms.values()} == {(host, "Unknown")}
        assert not node.record.migrations


async def test_a_host_that_is_lost_while_it_is_emptied() -> None:
    """Its migrations are cut off, nothing can be stopped there, and the state of before is restored."""
    async with running(rack({"name": "v{n}", "count": 2}, node={"migrate": 200})) as (node, rest):
        host = node.host("h1")
        job = await change(rest, host, "maintain")
        await until(lambda: all(vm.moving for vm in node.vms.values()))
        node.disconnect_host(host.uuid)
        reply = await rest.end_of(job)
        assert causes(reply.json["error"]) == [["VM.1002", "HOST.1011", "HOST.1010"]] * 2
        assert {move.error for move in node.record.migrations} == {"VM.1007"}
        assert (host.state, {vm.state for vm in node.vms.values()}) == ("Enabled", {"Unknown"})


async def test_who_comes_while_it_is_emptied_leaves_as_well() -> None:
    """A VM that somebody starts on a host in PreMaintenance migrates too."""
    groups = [{"name": "v1"}, {"name": "off", "state": "Stopped"}]
    async with running(rack(*groups, node={"migrate": 100})) as (node, rest):
        host, off = node.host("h1"), node.vm("off")
        job = await change(rest, host, "maintain")
        await until(lambda: node.vm("v1").moving)
        node.act(off.uuid, "start", host_uuid=host.uuid)
        assert off.host is host
        assert (await rest.end_of(job)).status == 200
        assert (off.host, off.state) == (node.host("h2"), "Running")


@pytest.mark.parametrize("event", ["enable", "disable"])
@pytest.mark.parametrize("state", ["Maintenance", "PreMaintenance"])
async def test_leaving_maintenance_reconnects(event: str, state: str) -> None:
    """Out of (Pre)Maintenance the host is Connecting for a while; a stop fails meanwhile."""
    hosts = ({"name": "h1", "state": state}, "h2")
    async with running(rack({"name": "v1"}, node={"reconnect": 100}, hosts=hosts)) as (node, rest):
        host = node.host("h1")
        reply = await rest.end_of(await change(rest, host, event))
        assert reply.json["inventory"]["status"] == "Connecting"
        assert reply.json["inventory"]["state"] == f"{event.capitalize()}d"
        stop = await rest.end_of(await rest.stop(node.vm("v1").uuid))
        assert stop.codes == ["VM.1002", "HOST.1011", "HOST.1010"]
        await until(lambda: host.status == "Connected")


async def test_enable_and_disable_alone_reconnect_nothing() -> None:
    """They take `host_change`, and the host stays Connected."""
    async with running(rack(node={"host_change": 40})) as (node, rest):
        host = node.host("h1")
        for event, state in (("disable", "Disabled"), ("enable", "Enabled")):
            began = node.record.requests[-1].at
            reply = await rest.end_of(await change(rest, host, event))
            assert (reply.json["inventory"]["state"], reply.json["inventory"]["status"]) == (state, "Connected")
            assert node.record.host_transitions[-1].at - began >= 40 / 200


@pytest.mark.parametrize(("event", "state"), [("enable", "Enabled"), ("disable", "Disabled"), ("maintain", "Maintenance")])
async def test_nothing_to_change(event: str, state: str) -> None:
    """A state that the host is in already is a success that changes nothing."""
    async with running(rack({"name": "v1"}, hosts=({"name": "h1", "state": state}, "h2"))) as (node, rest):
        host = node.host("h1")
        reply = await rest.end_of(await change(rest, host, event))
        assert (reply.status, reply.json["inventory"]["state"]) == (200, state)
        assert (host.status, node.record.host_transitions) == ("Connected", [])
        assert node.vm("v1").host is host


async def test_one_job_of_a_host_at_a_time() -> None:
    """An enable behind a maintenance waits for it; another host's doesn't."""
    async with running(rack({"name": "v1"}, node={"migrate": 200, "reconnect": 1})) as (node, rest):
        host, other = node.host("h1"), node.host("h2")
        maintain = await change(rest, host, "maintain")
        await until(lambda: node.vm("v1").moving)
        enable = await change(rest, host, "enable")
        assert (await rest.end_of(await change(rest, other, "disable"))).status == 200
        await until(lambda: host.jobs.pending)
        assert host.state == "PreMaintenance"
        assert [(await rest.end_of(job)).status for job in (maintain, enable)] == [200, 200]
        assert steps(node, host) == ["PreMaintenance", "Maintenance", "Enabled"]


async def test_a_host_job_waits_no_longer_than_its_timeout() -> None:
    """Behind one that never ends it is dropped, and polls as 202 for ever."""
    scenario = rack({"name": "v1", "guest": {"migration": "hangs"}})
    async with running(scenario) as (node, rest):
        host = node.host("h1")
        await change(rest, host, "maintain")
        await until(lambda: node.vm("v1").state == "Migrating")
        job = await change(rest, host, "enable", {"X-API-Timeout": "1"})
        later = await change(rest, host, "disable")
        await until(lambda: host.jobs.pending == 1)
        assert [(await rest.poll(uuid)).status for uuid in (job, later)] == [202, 202]
        assert host.state == "PreMaintenance"


async def test_restart_leaves_it_in_between() -> None:
    """A node that restarts forgets a maintenance: PreMaintenance stays, and another one ends it."""
    async with running(rack({"name": "v{n}", "count": 4}, node={"migrate": 100, "host_sync": 1})) as (node, rest):
        host = node.host("h1")
        job = await change(rest, host, "maintain")
        await until(lambda: any(vm.moving for vm in node.vms.values()))
        await node.restart(1)
        assert host.state == "PreMaintenance"
        assert (await rest.poll(job)).status == 202
        await until(lambda: not any(vm.agents or vm.state == "Migrating" for vm in node.vms.values()))
        assert (await rest.end_of(await change(rest, host, "maintain"))).status == 200
        assert {vm.host for vm in node.vms.values()} == {node.host("h2")}


async def test_high_availability_starts_elsewhere() -> None:
    """A NeverStop VM that maintenance had to stop is started by HA on a host that takes it."""
    vm = {"name": "ha", "ha_level": "NeverStop", "guest": {"migration": "refused"}}
    async with running(rack(vm)) as (node, rest):
        assert (await rest.end_of(await change(rest, node.host("h1"), "maintain"))).status == 200
        await until(lambda: node.vm("ha").state == "Running")
        assert node.vm("ha").host is node.host("h2")


@pytest.mark.parametrize("state", ["Disabled", "PreMaintenance", "Maintenance"])
async def test_no_start_on_a_host_that_is_not_enabled(state: str) -> None:
    """VM.1001 <- SYS.1006 where it is named, elsewhere without; somebody who is quicker may all the same."""
    hosts = ({"name": "h1", "state": state}, "h2")
    async with running(rack({"name": "off{n}", "count": 2, "state": "Stopped"}, hosts=hosts)) as (node, rest):
        host, one, two = node.host("h1"), node.vm("off1"), node.vm("off2")
        named = await rest.act(one.uuid, "startVmInstance", hostUuid=host.uuid)
        assert (await rest.end_of(job_of(named))).codes == ["VM.1001", "SYS.1006"]
        free = await rest.act(one.uuid, "startVmInstance")
        assert (await rest.end_of(job_of(free))).json["inventory"]["hostUuid"] == node.host("h2").uuid
        node.act(two.uuid, "start", host_uuid=host.uuid)
        assert (two.state, two.host) == ("Running", host)


async def test_who_may_change_a_host() -> None:
    """A bad event is SYS.1007, an unknown host SYS.1003, a tenant ID.1002; all of them jobs, all of them counted."""
    scenario = rack() | {"accounts": [{"name": "admin", "admin": True}, {"name": "tenant"}]}
    async with running(scenario) as (node, rest):
        host = node.host("h1")
        assert (await rest.end_of(await change(rest, host, "sink"))).codes == ["SYS.1007"]
        path = f"/v1/hosts/{'0' * 32}/actions"
        unknown = await rest.call("PUT", path, {"changeHostState": {"stateEvent": "enable"}})
        assert (await rest.end_of(job_of(unknown))).codes == ["SYS.1003"]
        await rest.log_in("tenant")
        assert (await rest.end_of(await change(rest, host, "maintain"))).codes == ["ID.1002"]
        assert node.record.host_puts(host.uuid) == 2
        assert not node.record.host_transitions


async def test_a_host_jobs_schema_and_requests() -> None:
    """Its result is a host's inventory, and its PUT and polls are on record under the host."""
    async with running(rack({"name": "v1"})) as (node, rest):
        host = node.host("h1")
        job = await change(rest, host, "disable")
        assert (await rest.end_of(job)).status == 200
        reply = await rest.call("GET", f"/v1/api-jobs/{job}", headers={"X-JSON-Schema": "1"}, auth=False)
        assert reply.json["schema"] == {"inventory": "org.zstack.header.host.HostInventory"}
        about = [request for request in node.record.requests if request.job == job]
        assert len(about) >= 3
        assert {(request.host_uuid, request.vm_uuid) for request in about} == {(host.uuid, None)}
