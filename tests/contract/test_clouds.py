"""Every cloud keeps the promises the engine rests on."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

import anyio
import pytest
from pydantic import SecretStr

from orchestrator.clouds.interface import Cloud
from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.model.target import (
    HELD_BACK,
    Accepted,
    HostRequest,
    JobAnswer,
    JobMissing,
    JobRunning,
    JobSucceeded,
    Lost,
    Seen,
    StopRequest,
    VmRow,
)
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import Scenario, SimulatedNode

NOBODY = "e" * 32


@dataclass
class Fixture:
    """A cloud with three Running VMs on one host."""

    cloud: Cloud
    uuids: list[str]


@pytest.fixture(params=["memory", "zstack"])
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Fixture]:
    """Each implementation in turn."""
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            rows = [VmRow(f"{n:032x}", f"vm-{n}", "UserVm", "Running", "h", "c", None) for n in range(3)]
            yield Fixture(MemoryCloud([Guest(row, seconds=0.05) for row in rows]), [row.uuid for row in rows])
            return
        vms = [{"name": "vm-{n}", "count": 3, "guest": {"shutdown": [1, 2]}}]
        scenario = Scenario.model_validate({"clusters": [{"name": "c", "hosts": 1}], "vms": vms})
        node = await stack.enter_async_context(SimulatedNode(scenario, time_scale=50.0))
        settings = ConnectionSettings(endpoint=node.endpoint, account_name="admin", account_password=SecretStr("password"))
        cloud = ZStackCloud(await stack.enter_async_context(ZStackClient(settings)))
        await cloud.facts()
        yield Fixture(cloud, sorted(node.vms))


def stop(uuid: str) -> StopRequest:
    """A grace stop."""
    return StopRequest(uuid, "grace", uuid4().hex, 60, stop_ha=True)


async def ended(cloud: Cloud, job_uuid: str) -> JobAnswer:
    """The job's verdict, waited for within bounds."""
    with anyio.fail_after(20):
        while True:
            answer = await cloud.look(job_uuid)
            if not isinstance(answer, JobRunning):
                return answer
            await anyio.sleep(0.02)


async def test_reads_leave_out_what_is_not_there(made: Fixture) -> None:
    """Rows and states by UUID; a UUID nobody has is simply missing."""
    asked = [*made.uuids, NOBODY]
    assert sorted(await made.cloud.read(asked)) == made.uuids
    assert await made.cloud.states(asked) == dict.fromkeys(made.uuids, "Running")
    row = (await made.cloud.read(made.uuids[:1]))[made.uuids[0]]
    assert row.inventory["uuid"] == row.row.uuid == made.uuids[0]


async def test_select_finds_all_that_meet_every_condition(made: Fixture) -> None:
    """All conditions of a group hold for what is selected."""
    found = [seen.row.uuid async for page in _pages(made.cloud, ["type=UserVm", "state=Running"]) for seen in page]
    assert sorted(found) == made.uuids
    assert not [seen async for page in _pages(made.cloud, ["type=UserVm", "state=Stopped"]) for seen in page]


async def _pages(cloud: Cloud, conditions: list[str]) -> AsyncIterator[list[Seen]]:
    async for page in cloud.select(conditions):
        yield list(page)


async def test_a_stop_is_accepted_and_ends_with_the_inventory(made: Fixture) -> None:
    """The job is found under our own id, runs, and succeeds with the VM Stopped."""
    request = stop(made.uuids[0])
    assert isinstance(await made.cloud.send(request, lambda: True), Accepted)
    answer = await ended(made.cloud, request.job_uuid)
    assert isinstance(answer, JobSucceeded)
    assert answer.seen is not None
    assert answer.seen.row.state == "Stopped"
    assert (await made.cloud.states(made.uuids))[made.uuids[0]] == "Stopped"


async def test_what_is_held_back_does_not_leave(made: Fixture) -> None:
    """Where `leaving` says no, nothing reaches the cloud, and the answer says that it never left."""
    request = stop(made.uuids[0])
    result = await made.cloud.send(request, lambda: False)
    assert isinstance(result, Lost)
    assert result.error.code == HELD_BACK
    assert isinstance(await made.cloud.look(request.job_uuid), JobMissing)
    assert (await made.cloud.states(made.uuids))[made.uuids[0]] == "Running"


async def test_an_unknown_job_is_missing(made: Fixture) -> None:
    """A job id nobody sent is not running and not failed."""
    assert isinstance(await made.cloud.look(uuid4().hex), JobMissing)


async def test_what_runs_on_a_host(made: Fixture) -> None:
    """Everything on it that is not Stopped, and the host itself."""
    host = (await made.cloud.read(made.uuids))[made.uuids[0]].row.host_uuid
    assert host is not None
    assert sorted(seen.row.uuid for seen in (await made.cloud.running_on([host]))[host]) == made.uuids
    request = stop(made.uuids[0])
    await made.cloud.send(request, lambda: True)
    await ended(made.cloud, request.job_uuid)
    assert sorted(seen.row.uuid for seen in (await made.cloud.running_on([host]))[host]) == made.uuids[1:]
    assert (await made.cloud.hosts([host]))[host].status == "Connected"


async def test_hosts_are_found_read_and_changed(made: Fixture) -> None:
    """By condition and by UUID; a change is a job that ends, and the state is what was asked for."""
    seen = await made.cloud.read(made.uuids)
    host = seen[made.uuids[0]].row.host_uuid
    assert host is not None
    row = (await made.cloud.hosts([host]))[host]
    assert row in await made.cloud.select_hosts([f"uuid={host}"])
    assert await made.cloud.select_hosts(["name=nobody"]) == []
    assert await made.cloud.host_states([host]) == {host: "Enabled"}
    job = uuid4().hex
    assert await made.cloud.change_host(HostRequest(host, "disable", job, 30), lambda: True) == Accepted()
    answer = await ended(made.cloud, job)
    assert isinstance(answer, JobSucceeded)
    assert answer.seen is not None
    assert answer.seen.row.state == "Disabled"
    assert await made.cloud.host_states([host]) == {host: "Disabled"}
    held = await made.cloud.change_host(HostRequest(host, "enable", uuid4().hex, 30), lambda: False)
    assert isinstance(held, Lost)
    assert held.error.code == HELD_BACK


async def test_a_lone_host_offers_nobody_a_place(made: Fixture) -> None:
    """A VM's own host is no candidate for it."""
    seen = await made.cloud.read(made.uuids)
    own = seen[made.uuids[0]].row.host_uuid
    assert own not in [row.uuid for row in await made.cloud.candidates(made.uuids[0])]
