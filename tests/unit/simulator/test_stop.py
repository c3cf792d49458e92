"""What a stop does to a VM, by state and by guest."""

from typing import Any

import pytest

from orchestrator.simulator import SimulatedVm
from tests.unit.simulator.rest import Rest, running, until


def one(guest: dict[str, Any] | None = None, node: dict[str, Any] | None = None, **group: Any) -> dict[str, Any]:
    """A scenario with one VM called vm, on a cluster of two hosts."""
    return {"node": node or {}, "vms": [{"name": "vm", "guest": guest or {}, **group}]}


def states(node: Any, vm: SimulatedVm) -> list[str]:
    """The states a VM went through."""
    return [step.after for step in node.record.transitions_of(vm.uuid)]


async def test_grace_stops_an_obeying_guest() -> None:
    """Running, Stopping with its host, Stopped without; the guest shut down by itself."""
    async with running(one({"shutdown": 20})) as (node, rest):
        vm = node.vm("vm")
        host = vm.host_uuid
        job = await rest.stop(vm.uuid, type="grace")
        await until(lambda: vm.state == "Stopping")
        assert vm.host_uuid == host
        reply = await rest.end_of(job)
        assert reply.status == 200
        inventory = reply.json["inventory"]
        assert inventory["state"] == "Stopped"
        assert "hostUuid" not in inventory
        assert inventory["lastHostUuid"] == host
        assert not node.record.transitions_of(vm.uuid)[-1].forced
        assert node.record.running_to_stopped(vm.uuid) == 1


@pytest.mark.parametrize(("behaviour", "shutdown"), [("ignores_acpi", 5), ("obeys", 90)])
async def test_grace_cuts_the_power_after_the_wait(behaviour: str, shutdown: int) -> None:
    """A guest that doesn't come down within the ACPI wait is cut, and the job is a success all the same."""
    async with running(one({"behaviour": behaviour, "shutdown": shutdown})) as (node, rest):
        vm = node.vm("vm")
        began = node.record.requests[-1].at
        reply = await rest.end_of(await rest.stop(vm.uuid))
        assert reply.status == 200
        last = node.record.transitions_of(vm.uuid)[-1]
        assert last.forced
        assert last.at - began >= 60 / 200


async def test_paused_guest_ignores_acpi() -> None:
    """A paused guest takes the whole wait and then the power cut."""
    async with running(one({"shutdown": 1}, state="Paused")) as (node, rest):
        assert (await rest.end_of(await rest.stop(node.vm("vm").uuid))).status == 200
        assert node.record.transitions_of(node.vm("vm").uuid)[-1].forced


async def test_cold_is_quick_and_forced() -> None:
    """Cold needs no ACPI wait."""
    async with running(one({"behaviour": "ignores_acpi"}, {"acpi_wait": 100000})) as (node, rest):
        assert (await rest.end_of(await rest.stop(node.vm("vm").uuid, type="cold"))).status == 200
        last = node.record.transitions_of(node.vm("vm").uuid)[-1]
        assert (last.forced, last.type) == (True, "cold")


async def test_stopped_is_a_no_op() -> None:
    """Stopping what is Stopped succeeds and touches nothing."""
    async with running(one(state="Stopped")) as (node, rest):
        vm = node.vm("vm")
        before = vm.changed
        reply = await rest.end_of(await rest.stop(vm.uuid))
        assert reply.json["inventory"]["state"] == "Stopped"
        assert vm.changed == before
        assert not node.record.transitions


@pytest.mark.parametrize("state", ["Migrating", "Stopping", "Destroyed", "Created", "Error", "Pausing"])
async def test_states_that_refuse(state: str) -> None:
    """Other states end in VM.1002 <- VM.1010 and stay."""
    async with running(one(state=state)) as (node, rest):
        reply = await rest.end_of(await rest.stop(node.vm("vm").uuid))
        assert (reply.status, reply.codes) == (503, ["VM.1002", "VM.1010"])
        assert node.vm("vm").state == state


@pytest.mark.parametrize("state", ["Unknown", "Crashed", "NoState"])
async def test_odd_states_that_proceed(state: str) -> None:
    """Unknown, Crashed and NoState may be stopped."""
    async with running(one({"shutdown": 1}, state=state)) as (node, rest):
        assert (await rest.end_of(await rest.stop(node.vm("vm").uuid))).status == 200
        assert node.vm("vm").state == "Stopped"


async def test_failing_guest_keeps_its_real_state() -> None:
    """HOST.1006: the state is read from the host again, and cold fails as well."""
    async with running(one({"behaviour": "fails"})) as (node, rest):
        vm = node.vm("vm")
        for kind in ("grace", "cold"):
            reply = await rest.end_of(await rest.stop(vm.uuid, type=kind))
            assert reply.codes == ["VM.1002", "HOST.1006"]
        assert states(node, vm) == ["Stopping", "Running"] * 2
        assert node.record.running_to_stopped(vm.uuid) == 0


async def test_chain_is_the_scenarios() -> None:
    """`chain` says which codes a failing stop ends with."""
    codes = ["VM.1002", "HOST.1011", "SYS.1016"]
    async with running(one({"behaviour": "fails", "chain": codes})) as (node, rest):
        assert (await rest.end_of(await rest.stop(node.vm("vm").uuid))).codes == codes


async def test_cold_works_where_only_grace_fails() -> None:
    """fails_grace_only: the cold after it succeeds."""
    async with running(one({"behaviour": "fails_grace_only"})) as (node, rest):
        vm = node.vm("vm")
        assert (await rest.end_of(await rest.stop(vm.uuid))).status == 503
        assert (await rest.end_of(await rest.stop(vm.uuid, type="cold"))).status == 200
        assert (node.record.stop_puts(vm.uuid), node.record.cold_puts(vm.uuid)) == (2, 1)


async def test_plugin_refuses_before_anything() -> None:
    """VM.1002 <- SYS.1006, and the state never changed."""
    async with running(one({"behaviour": "plugin_refuses"})) as (node, rest):
        assert (await rest.end_of(await rest.stop(node.vm("vm").uuid))).codes == ["VM.1002", "SYS.1006"]
        assert not node.record.transitions


async def test_crash_leaves_it_unknown() -> None:
    """A guest that crashes midway is Unknown afterwards."""
    async with running(one({"behaviour": "crashes"})) as (node, rest):
        assert (await rest.end_of(await rest.stop(node.vm("vm").uuid))).status == 503
        assert node.vm("vm").state == "Unknown"


async def test_late_success() -> None:
    """The job fails with SYS.1001, the row says Running again, and then the VM is Stopped after all."""
    async with running(one({"behaviour": "late_success"})) as (node, rest):
        vm = node.vm("vm")
        assert (await rest.end_of(await rest.stop(vm.uuid))).codes == ["VM.1002", "SYS.1001"]
        assert vm.state == "Running"
        await until(lambda: vm.state == "Stopped")
        assert states(node, vm) == ["Stopping", "Running", "Stopped"]
        assert node.record.transitions_of(vm.uuid)[-1].by == "agent"
        assert node.record.running_to_stopped(vm.uuid) == 1


async def test_late_successes_of_a_crowded_host() -> None:
    """Waiting for a slot isn't what times out: every one of them ends Stopped after its error."""
    group = {"name": "v{n}", "count": 6, "guest": {"behaviour": "late_success"}}
    scenario = {"clusters": [{"name": "c"}], "node": {"host_slots": 1}, "vms": [group]}
    async with running(scenario) as (node, rest):
        for job in [await rest.stop(uuid) for uuid in node.vms]:
            assert (await rest.end_of(job)).codes == ["VM.1002", "SYS.1001"]
        await until(lambda: all(vm.state == "Stopped" for vm in node.vms.values()))


async def test_api_timeout_is_real_seconds() -> None:
    """X-API-Timeout isn't scaled: the guest's minutes are shorter, the client's second isn't."""
    async with running(one({"shutdown": 300}, {"acpi_wait": 400}), time_scale=200) as (node, rest):
        vm = node.vm("vm")
        reply = await rest.act(vm.uuid, "stopVmInstance", {"X-API-Timeout": "1"})
        assert reply.json["apiTimeout"] == 1000
        job = reply.json["location"].rpartition("/")[2]
        assert (await rest.end_of(job)).codes == ["VM.1002", "SYS.1001"]
        assert vm.state == "Running"
        await until(lambda: vm.state == "Stopped")


async def test_hanging_stop_never_ends_and_keeps_the_queue() -> None:
    """A hanging stop is 202 for ever, and a cold behind it is dropped without a word."""
    async with running(one({"behaviour": "hangs"})) as (node, rest):
        vm = node.vm("vm")
        first = await rest.stop(vm.uuid)
        second = await rest.stop(vm.uuid, {"X-API-Timeout": "1"}, type="cold")
        await until(lambda: any(stop.error == "dropped" for stop in node.record.stops))
        assert (await rest.poll(first)).status == 202
        assert (await rest.poll(second)).status == 202
        assert vm.state == "Stopping"


async def test_state_is_checked_when_the_task_runs() -> None:
    """A stop queued behind a start waits for it and then stops what it started."""
    async with running(one({"shutdown": 1}, state="Stopped")) as (node, rest):
        vm = node.vm("vm")
        start = await rest.act(vm.uuid, "startVmInstance")
        assert start.status == 202
        assert (await rest.end_of(await rest.stop(vm.uuid))).status == 200
        assert states(node, vm) == ["Starting", "Running", "Stopping", "Stopped"]


async def test_ten_slots_per_host() -> None:
    """Fourteen stops on one host: all are Stopping at once, ten are worked on."""
    scenario = {"clusters": [{"name": "c", "hosts": 1}], "vms": [{"name": "v{n}", "count": 14, "guest": {"shutdown": 40}}]}
    async with running(scenario) as (node, rest):
        jobs = [await rest.stop(uuid) for uuid in node.vms]
        await until(lambda: all(vm.state == "Stopping" for vm in node.vms.values()))
        (host,) = node.hosts.values()
        assert (host.lane.running, host.lane.pending) == (10, 4)
        tasks = await rest.call("GET", f"/v1/hosts/task-details?hostUuids={host.uuid}")
        assert len(tasks.json["results"][f"Host-{host.uuid}"]["pendingTask"]) == 4
        for job in jobs:
            assert (await rest.end_of(job)).status == 200
        assert node.record.peak_in_flight() == 14
        assert node.record.peak_per_host(host.uuid) == 14


@pytest.mark.parametrize("params", [{"type": "force"}, {"type": "Grace"}, {"stopHA": "false"}, {"stopHA": "yes"}])
async def test_invalid_values_fail_the_job(params: dict[str, Any]) -> None:
    """A bad `type` or `stopHA` is accepted first and SYS.1007 then."""
    async with running(one()) as (node, rest):
        assert (await rest.end_of(await rest.stop(node.vm("vm").uuid, **params))).codes == ["SYS.1007"]


@pytest.mark.parametrize("params", [{"type": None}, {"type": " cold "}, {"stopHA": True}, {"stopHa": "nonsense"}, {}])
async def test_values_that_pass(params: dict[str, Any]) -> None:
    """Null and padded types, a boolean stopHA and unknown keys are taken."""
    async with running(one({"shutdown": 1})) as (node, rest):
        assert (await rest.end_of(await rest.stop(node.vm("vm").uuid, **params))).status == 200


async def test_validation_only_touches_nothing() -> None:
    """The dry run answers 200 {} without looking at the state, and still finds what is missing."""
    async with running(one(state="Migrating")) as (node, rest):
        dry = {"stopVmInstance": {}, "systemTags": ["validationOnly"]}
        for uuid, status in ((node.vm("vm").uuid, 200), ("0" * 32, 503)):
            reply = await rest.call("PUT", f"/v1/vm-instances/{uuid}/actions", dry)
            reply = await rest.end_of(reply.json["location"].rpartition("/")[2])
            assert reply.status == status
        assert reply.codes == ["SYS.1003"]
        assert not node.record.stops


async def test_ha_brings_a_never_stop_vm_back() -> None:
    """Without stopHA the job says Stopped, and HA starts the VM on another host."""
    async with running(one({"shutdown": 1}, ha_level="NeverStop")) as (node, rest):
        vm = node.vm("vm")
        before = vm.host_uuid
        reply = await rest.end_of(await rest.stop(vm.uuid))
        assert reply.json["inventory"]["state"] == "Stopped"
        await until(lambda: vm.state == "Running")
        assert vm.host_uuid != before
        assert node.record.transitions_of(vm.uuid)[-1].by == "ha"


@pytest.mark.parametrize(("values", "params"), [("true_only", {"stopHA": "true"}), ("true_or_false", {})])
async def test_inhibited_ha_leaves_it_down(values: str, params: dict[str, Any]) -> None:
    """stopHA keeps it down; newer nodes do so by default."""
    node_settings = {"stop_ha_values": values, "ha_delay": 1}
    async with running(one({"shutdown": 1}, node_settings, ha_level="NeverStop")) as (node, rest):
        vm = node.vm("vm")
        assert (await rest.end_of(await rest.stop(vm.uuid, **params))).status == 200
        assert vm.inhibited
        level = await rest.call("GET", f"/v1/vm-instances/{vm.uuid}/ha-levels")
        assert level.json == {"level": "NeverStop"}
        # The start that HA would make takes 2 simulated seconds at least: 30 of them are 0.15 s.
        await settle(rest, 0.15)
        assert vm.state == "Stopped"


async def settle(rest: Rest, seconds: float) -> None:
    """Let real time pass for something that must not happen."""
    began = rest.node.record.requests[-1].at
    await rest.poll("0" * 32)
    while rest.node.record.requests[-1].at < began + seconds:
        await rest.poll("0" * 32)
