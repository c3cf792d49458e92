"""Migrations: where a VM may go, and what can go wrong on the way."""

import asyncio
from typing import Any, Literal

import pytest

from orchestrator.simulator import Migration, SimulatedNode, SimulatedVm
from tests.unit.simulator.rest import Rest, job_of, running, until

SOURCE, TARGET = "h1", "h2"


def two(guest: dict[str, Any] | None = None, node: dict[str, Any] | None = None, **group: Any) -> dict[str, Any]:
    """VMs called v1, v2 ... on h1, in a cluster with h2."""
    vms = {"name": "v{n}", "hosts": [SOURCE], "guest": guest or {}, **group}
    return {"node": node or {}, "clusters": [{"name": "c", "hosts": [SOURCE, TARGET]}], "vms": [vms]}


def states(node: SimulatedNode, vm: SimulatedVm) -> list[str]:
    """The states a VM went through."""
    return [step.after for step in node.record.transitions_of(vm.uuid)]


def only(node: SimulatedNode) -> Migration:
    """The one migration on record."""
    (found,) = node.record.migrations
    return found


async def targets(rest: Rest, vm: SimulatedVm) -> list[str]:
    """Names of the hosts that the node offers."""
    reply = await rest.call("GET", f"/v1/vm-instances/{vm.uuid}/migration-target-hosts")
    return sorted(host["name"] for host in reply.json["inventories"])


async def migrate(rest: Rest, vm: SimulatedVm, headers: dict[str, str] | None = None, **params: Any) -> str:
    """Send a migration that must be accepted; its job id."""
    return job_of(await rest.act(vm.uuid, "migrateVm", headers, **params))


CLUSTERS = [
    {
        "name": "a",
        "hosts": [
            "own",
            "free",
            {"name": "disabled", "state": "Disabled"},
            {"name": "leaving", "state": "PreMaintenance"},
            {"name": "out", "state": "Maintenance"},
            {"name": "lost", "status": "Disconnected"},
            {"name": "coming", "status": "Connecting"},
        ],
    },
    {"name": "b", "hosts": ["far"]},
]


@pytest.mark.parametrize(("across", "fewer"), [(False, []), (True, ["far"])])
async def test_targets(across: bool, fewer: list[str]) -> None:
    """Connected and Enabled hosts of its cluster, never its own; another cluster's only where the node says so."""
    node_settings = {"migrate_across_clusters": across}
    scenario = {"node": node_settings, "clusters": CLUSTERS, "vms": [{"name": "vm", "hosts": ["own"]}]}
    async with running(scenario) as (node, rest):
        vm = node.vm("vm")
        assert await targets(rest, vm) == ["free"]
        for name in ("disabled", "leaving", "out", "lost", "coming", "far"):
            reply = await rest.end_of(await migrate(rest, vm, hostUuid=node.host(name).uuid))
            assert reply.codes == ["VM.1007", "SYS.1006"], name
        assert not node.record.transitions
        node.host("free").state = "Disabled"
        assert await targets(rest, vm) == fewer
        reply = await rest.end_of(await migrate(rest, vm))
        assert reply.status == (200 if across else 503)
        assert node.record.migrate_puts(vm.uuid) == 7


async def test_a_pinned_vm_goes_nowhere() -> None:
    """It has no targets, a migration is refused, and once Stopped it starts on its own host only."""
    async with running(two(pinned=True)) as (node, rest):
        vm, host = node.vm("v1"), node.host(SOURCE)
        assert await targets(rest, vm) == []
        assert (await rest.end_of(await migrate(rest, vm))).codes == ["VM.1007", "SYS.1006"]
        node.act(vm.uuid, "stop")
        host.state = "Disabled"
        start = await rest.act(vm.uuid, "startVmInstance")
        assert (await rest.end_of(job_of(start))).codes == ["VM.1001", "SYS.1006"]
        host.state = "Enabled"
        start = await rest.act(vm.uuid, "startVmInstance")
        assert (await rest.end_of(job_of(start))).json["inventory"]["hostUuid"] == host.uuid


async def test_the_node_chooses_the_emptiest() -> None:
    """Without hostUuid a VM goes where the fewest are."""
    scenario = {
        "clusters": [{"name": "c", "hosts": ["h1", "h2", "h3"]}],
        "vms": [
            {"name": "v1", "hosts": ["h1"]},
            {"name": "w{n}", "count": 3, "hosts": ["h2"]},
            {"name": "x", "hosts": ["h3"]},
        ],
    }
    async with running(scenario) as (node, rest):
        reply = await rest.end_of(await migrate(rest, node.vm("v1")))
        assert reply.json["inventory"]["hostUuid"] == node.host("h3").uuid


async def test_a_migration_is_on_record() -> None:
    """Both hosts, its moments and the move itself; an hour is its usual timeout."""
    async with running(two()) as (node, rest):
        vm = node.vm("v1")
        reply = await rest.act(vm.uuid, "migrateVm", hostUuid=node.host(TARGET).uuid)
        assert reply.json["apiTimeout"] == 3_600_000
        assert (await rest.end_of(job_of(reply))).status == 200
        assert states(node, vm) == ["Migrating", "Running"]
        note, (move,) = only(node), node.record.moves
        assert (note.job, note.source, note.target) == (job_of(reply), node.host(SOURCE).uuid, node.host(TARGET).uuid)
        assert note.error is None
        assert note.started is not None
        assert note.ended is not None
        assert note.accepted <= note.started < move.at <= note.ended
        assert (move.source, move.target, move.by) == (note.source, note.target, f"job {note.job}")
        record, summary = node.record.as_json(), node.record.summary({})  # type: ignore[arg-type]
        assert record["migrations"][0]["target"] == record["moves"][0]["target"] == note.target
        assert (summary["migrations"], summary["migrate_puts"], summary["peak_migrations_per_host"]) == (1, 1, 1)


async def test_validation_only_moves_nothing() -> None:
    """A migration that is to be validated only is a PUT and no migration."""
    async with running(two()) as (node, rest):
        path = f"/v1/vm-instances/{node.vm('v1').uuid}/actions"
        reply = await rest.call("PUT", path, {"migrateVm": {}, "systemTags": ["validationOnly"]})
        assert (await rest.end_of(job_of(reply))).text == "{}"
        assert not node.record.migrations
        assert node.record.migrate_puts(node.vm("v1").uuid) == 1


async def test_refused_before_anything() -> None:
    """VM.1007 <- SYS.1006, and the state never changed."""
    async with running(two({"migration": "refused"})) as (node, rest):
        assert (await rest.end_of(await migrate(rest, node.vm("v1")))).codes == ["VM.1007", "SYS.1006"]
        assert not node.record.transitions
        assert (only(node).started, only(node).error) == (None, "VM.1007")


@pytest.mark.parametrize("codes", [["VM.1007", "HOST.1006"], ["VM.1007", "SYS.1006"]])
async def test_fails_halfway(codes: list[str]) -> None:
    """Migrating, and after `migration_fails_after` Running where it was, with the scenario's chain."""
    guest = {"migration": "fails_halfway", "migration_chain": codes, "migration_fails_after": 40}
    async with running(two(guest)) as (node, rest):
        vm = node.vm("v1")
        assert (await rest.end_of(await migrate(rest, vm))).codes == codes
        assert states(node, vm) == ["Migrating", "Running"]
        assert vm.host is node.host(SOURCE)
        assert not node.record.moves
        going, back = node.record.transitions
        assert back.at - going.at >= 40 / 200
        assert only(node).error == "VM.1007"


@pytest.mark.parametrize("holds_slot", [False, True])
async def test_hangs(holds_slot: bool) -> None:
    """It stays Migrating with its queue taken; slots of both hosts go with it only where the scenario says so."""
    async with running(two({"migration": "hangs", "holds_slot": holds_slot})) as (node, rest):
        vm, hosts = node.vm("v1"), [node.host(SOURCE), node.host(TARGET)]
        job = await migrate(rest, vm, {"X-API-Timeout": "1"})
        await until(lambda: vm.state == "Migrating" and (not holds_slot or hosts[1].lane.running))
        assert [host.lane.running for host in hosts] == [int(holds_slot)] * 2
        stop = await rest.stop(vm.uuid)
        await until(lambda: vm.lane.pending)
        assert [(await rest.poll(uuid)).status for uuid in (job, stop)] == [202, 202]
        assert only(node).ended is None
        assert node.record.peak_migrations() == 1


async def test_late_success() -> None:
    """SYS.1001 and Running where it was; later the row is corrected to the target, and that move is the agent's."""
    guest = {"migration": "late_success", "migration_fails_after": 10, "migration_late_after": 30}
    async with running(two(guest)) as (node, rest):
        vm, source, target = node.vm("v1"), node.host(SOURCE), node.host(TARGET)
        job = await migrate(rest, vm)
        assert (await rest.end_of(job)).codes == ["VM.1007", "SYS.1001"]
        assert (vm.state, vm.host) == ("Running", source)
        await until(lambda: vm.host is target)
        (move,) = node.record.moves
        assert (move.by, move.job) == ("agent", job)
        ended = only(node).ended
        assert ended is not None
        assert move.at - ended >= 30 / 200
        assert vm.state == "Running"
        assert vm.last_host is source


async def test_a_guest_under_way_is_not_moved_twice() -> None:
    """A second migration fails on the host while the first one's agent is at it, and the guest arrives once."""
    guest = {"migration": "late_success", "migration_late_after": 200}
    async with running(two(guest)) as (node, rest):
        vm = node.vm("v1")
        assert (await rest.end_of(await migrate(rest, vm))).codes == ["VM.1007", "SYS.1001"]
        assert (await rest.end_of(await migrate(rest, vm))).codes == ["VM.1007", "HOST.1006"]
        assert vm.host is node.host(SOURCE)
        await until(lambda: vm.host is node.host(TARGET))
        assert len(node.record.moves) == 1


async def test_the_clients_timeout_is_a_late_success() -> None:
    """A migration longer than its X-API-Timeout fails with SYS.1001, and its row follows when the guest has arrived."""
    async with running(two(node={"migrate": 400}), time_scale=200) as (node, rest):
        vm = node.vm("v1")
        reply = await rest.end_of(await migrate(rest, vm, {"X-API-Timeout": "1"}))
        assert reply.codes == ["VM.1007", "SYS.1001"]
        assert vm.host is node.host(SOURCE)
        await until(lambda: vm.host is node.host(TARGET))


@pytest.mark.parametrize(("lost", "state"), [(SOURCE, "Unknown"), (TARGET, "Running")])
async def test_a_host_is_lost_midway(lost: str, state: str) -> None:
    """VM.1007 <- HOST.1011 <- SYS.1015; Unknown on a lost source, Running there if the target was lost; it never arrives."""
    async with running(two(node={"migrate": 200})) as (node, rest):
        vm, host = node.vm("v1"), node.host(lost)
        job = await migrate(rest, vm)
        await until(lambda: vm.moving)
        node.disconnect_host(host.uuid)
        assert (await rest.end_of(job)).codes == ["VM.1007", "HOST.1011", "SYS.1015"]
        assert (vm.state, vm.host) == (state, node.host(SOURCE))
        node.reconnect_host(host.uuid)
        await until(lambda: host.status == "Connected" and not vm.agents and vm.state == "Running")
        assert vm.truly_on is node.host(SOURCE)
        assert not node.record.moves


async def test_a_stop_cut_off_keeps_its_own_code() -> None:
    """The same loss under a start or a stop is told under their own codes."""
    vms = [{"name": "v1", "state": "Stopped"}, {"name": "v2", "guest": {"shutdown": 50}}]
    async with running({**two(node={"start": 50}), "vms": vms}, time_scale=50) as (node, rest):
        start = job_of(await rest.act(node.vm("v1").uuid, "startVmInstance"))
        stop = await rest.stop(node.vm("v2").uuid)
        await until(lambda: node.vm("v1").agents and node.vm("v2").agents)
        for uuid in node.hosts:
            node.disconnect_host(uuid)
        assert (await rest.end_of(start)).codes == ["VM.1001", "HOST.1011", "SYS.1015"]
        assert (await rest.end_of(stop)).codes == ["VM.1002", "HOST.1011", "SYS.1015"]


@pytest.mark.parametrize(("act", "state"), [("stop", "Stopped"), ("crash", "Crashed"), ("destroy", "Destroyed")])
async def test_somebody_puts_it_off_midway(act: Literal["stop", "crash", "destroy"], state: str) -> None:
    """A guest that goes off while it moves arrives nowhere, and stays as somebody left it."""
    async with running(two(node={"migrate": 200})) as (node, rest):
        vm = node.vm("v1")
        job = await migrate(rest, vm)
        await until(lambda: vm.moving)
        node.act(vm.uuid, act)
        assert (await rest.end_of(job)).codes == ["VM.1007", "HOST.1006"]
        assert vm.state == state
        assert node.host(SOURCE) in (vm.host, vm.last_host)
        assert not node.record.moves


async def test_both_hosts_give_a_slot() -> None:
    """A migration waits for a slot at its target too, and a stop there waits for the migration."""
    scenario = two(node={"host_slots": 1, "migrate": 200})
    scenario["vms"].append({"name": "there", "hosts": [TARGET], "guest": {"shutdown": 40}})
    async with running(scenario) as (node, rest):
        vm, there, hosts = node.vm("v1"), node.vm("there"), [node.host(SOURCE), node.host(TARGET)]
        job = await migrate(rest, vm)
        await until(lambda: vm.moving)
        assert [host.lane.running for host in hosts] == [1, 1]
        stop = await rest.stop(there.uuid)
        await until(lambda: hosts[1].lane.pending)
        assert not there.agents
        assert (await rest.end_of(job)).status == 200
        assert (await rest.end_of(stop)).status == 200
        assert [host.lane.running for host in hosts] == [0, 0]


async def test_migrations_back_and_forth_do_not_lock_each_other() -> None:
    """Migrations in both directions over hosts with one slot all end, and the peaks count both ends of each."""
    scenario = two(node={"host_slots": 1, "migrate": 2}, count=6)
    scenario["vms"].append({"name": "w{n}", "count": 6, "hosts": [TARGET]})
    async with running(scenario) as (node, rest):
        jobs = [await migrate(rest, vm) for vm in node.vms.values()]
        replies = await asyncio.gather(*(rest.end_of(job) for job in jobs))
        assert {reply.status for reply in replies} == {200}
        assert len(node.record.moves) == 12
        record = node.record
        assert record.peak_migrations() == record.peak_migrations_per_host(node.host(SOURCE).uuid)
        assert all(host.lane.running == 0 for host in node.hosts.values())


async def test_restart_in_mid_migration() -> None:
    """The node forgets the job, the guest arrives all the same, and the row follows."""
    async with running(two(node={"migrate": 200, "host_sync": 1})) as (node, rest):
        vm = node.vm("v1")
        job = await migrate(rest, vm)
        await until(lambda: vm.moving)
        await node.restart(5)
        assert vm.state == "Migrating"
        await until(lambda: (vm.state, vm.host) == ("Running", node.host(TARGET)))
        assert (await rest.poll(job)).status == 202
        assert only(node).error == "cut off"
