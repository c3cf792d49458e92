"""Queries over the socket."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio

from orchestrator.simulator import SimulatedNode
from tests.unit.simulator.rest import Rest, running

FLEET = {
    "clusters": [
        {"name": "prod", "hosts": ["h1", {"name": "h2", "status": "Disconnected"}]},
        {"name": "test", "hosts": ["h3"]},
    ],
    "vms": [
        {"name": "app-{n}", "count": 3, "hosts": ["h1"], "user_tags": ["keep", "blue"]},
        {"name": "db_{n}", "count": 2, "hosts": ["h2"], "system_tags": ["rack::a"], "memory_gib": 16, "data_volumes": 1},
        {"name": "off", "hosts": ["h3"], "state": "Stopped"},
        {"name": "never", "hosts": ["h3"], "state": "Created", "nics": 0},
    ],
}
APPS = ["app-1", "app-2", "app-3"]
DBS = ["db_1", "db_2"]
REST = ["never", "off"]


@pytest_asyncio.fixture
async def rest() -> AsyncIterator[Rest]:
    """A client of the fleet."""
    async with running(FLEET) as (_, client):
        yield client


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("name=app-1", ["app-1"]),
        ("name!=app-1", ["app-2", "app-3", *DBS, *REST]),
        ("name?=app-1,off,ghost", ["app-1", "off"]),
        ("name!?=app-1,off", ["app-2", "app-3", *DBS, "never"]),
        ("name~=app-%", APPS),
        ("name~=app", []),
        ("name~=db__", DBS),
        ("name!~=app-%", [*DBS, *REST]),
        (" name =off", ["off"]),
        ("name= off", []),
        ("hostUuid is null", REST),
        ("hostUuid not null", [*APPS, *DBS]),
        ("lastHostUuid not null", ["off"]),
        ("hostUuid=null", []),
        ("hostUuid!=null", [*APPS, *DBS]),
        ("memorySize>8589934592", DBS),
        ("memorySize<=8589934592", [*APPS, *REST]),
        ("cluster.name=prod", [*APPS, *DBS]),
        ("host.name=h1", APPS),
        ("host.cluster.name=prod", [*APPS, *DBS]),
        ("host.status=Disconnected", DBS),
        ("zone.name=zone-1", [*APPS, *DBS, *REST]),
        ("host.managementIp=10.0.0.2", DBS),
        ("image.name=image-linux", [*APPS, *DBS, *REST]),
        ("rootVolume.type=Root", [*APPS, *DBS, *REST]),
        ("allVolumes.type=Data", DBS),
        ("allVolumes.type!=Root", DBS),
        ("vmNics.ip?=192.168.0.1,192.168.0.5", ["app-1", "db_2"]),
        ("vmNics.l3Network.name=l3-main", [*APPS, *DBS, "off"]),
        ("__userTag__=keep", APPS),
        ("__userTag__!=keep", [*DBS, *REST]),
        ("__systemTag__~=rack::%", DBS),
        ("__systemTag__!~=rack::%", [*APPS, *REST]),
        ("__userTag__?=blue,red", APPS),
        ("state?=Stopped,Created", REST),
    ],
)
async def test_conditions(rest: Rest, condition: str, names: list[str]) -> None:
    """Each operator, join and tag finds what zstack-rest.md 7 says."""
    assert await rest.names(f"q={quote(condition)}") == names


async def test_conditions_are_anded(rest: Rest) -> None:
    """Several q are AND-ed."""
    assert await rest.names("q=cluster.name=prod&q=name~=%25-1") == ["app-1"]


async def test_operator_scan_order(rest: Rest) -> None:
    """The first operator of the scan wins wherever it stands: `name=a>=b` is field `name=a`."""
    reply = await rest.call("GET", f"/v1/vm-instances?q={quote('name=a>=b')}")
    assert (reply.status, reply.codes) == (503, ["SYS.1000"])


@pytest.mark.parametrize("parameters", ["q=name", "q=name%3D", "limit=many", "start=x", "limit=1&limit=2"])
async def test_refused_at_once(rest: Rest, parameters: str) -> None:
    """What has the wrong shape is 400 with plain text."""
    reply = await rest.call("GET", f"/v1/vm-instances?{parameters}")
    assert reply.status == 400
    assert not reply.text.startswith(("{", "<"))


@pytest.mark.parametrize(
    "parameters", ["q=color=red", "q=host.color=red", "q=nothing.name=a", "sort=color", "fields=uuid,vmNics", "limit=-1"]
)
async def test_unknown_fields_are_internal_errors(rest: Rest, parameters: str) -> None:
    """Unknown fields and joins are 503 SYS.1000."""
    reply = await rest.call("GET", f"/v1/vm-instances?{parameters}")
    assert (reply.status, reply.codes) == (503, ["SYS.1000"])


async def test_order_is_arbitrary_without_sort(rest: Rest) -> None:
    """Two equal requests have the same rows in different orders; with sort they don't differ."""
    orders = set()
    for _ in range(8):
        reply = await rest.call("GET", "/v1/vm-instances?fields=name")
        orders.add(tuple(vm["name"] for vm in reply.json["inventories"]))
    assert len(orders) > 1
    for sort, first in (("name", "app-1"), ("%2Bname", "app-1"), ("+name", "app-1"), ("-name", "off")):
        reply = await rest.call("GET", f"/v1/vm-instances?sort={sort}")
        assert reply.json["inventories"][0]["name"] == first


async def test_pages_and_counts(rest: Rest) -> None:
    """start and limit cut, total only on request, count alone has no list."""
    reply = await rest.call("GET", "/v1/vm-instances?sort=name&start=1&limit=2&replyWithCount=true")
    assert [vm["name"] for vm in reply.json["inventories"]] == ["app-2", "app-3"]
    assert reply.json["total"] == 7
    assert (await rest.call("GET", "/v1/vm-instances?count=true")).json == {"total": 7, "schema": {}}
    assert "total" not in (await rest.call("GET", "/v1/vm-instances")).json


async def test_fields_pick(rest: Rest) -> None:
    """Only the picked fields are there, and null ones are not."""
    reply = await rest.call("GET", "/v1/vm-instances?q=name=off&fields=uuid,state,hostUuid")
    (vm,) = reply.json["inventories"]
    assert set(vm) == {"uuid", "state"}


async def test_by_id_is_a_list(rest: Rest) -> None:
    """The by-id form answers a list, an empty one for the unknown, and ignores other parameters."""
    vm = rest.node.vm("app-1")
    reply = await rest.call("GET", f"/v1/vm-instances/{vm.uuid}?q=nonsense")
    assert [row["name"] for row in reply.json["inventories"]] == ["app-1"]
    reply = await rest.call("GET", f"/v1/vm-instances/{'0' * 32}")
    assert (reply.status, reply.json["inventories"]) == (200, [])


async def test_inventory_is_complete(rest: Rest) -> None:
    """NICs, used IPs, volumes and CD-ROMs are nested, hidden fields aren't told, schema names all of it."""
    reply = await rest.call("GET", "/v1/vm-instances?q=name=db_1")
    (vm,) = reply.json["inventories"]
    assert "internalId" not in vm
    assert "description" not in vm
    assert vm["vmNics"][0]["usedIps"][0]["ipInBinary"][0] == -64
    assert len(vm["allVolumes"]) == 2
    assert vm["vmCdRoms"]
    assert reply.json["schema"]["inventories[0].vmNics[0].usedIps[0]"].endswith("UsedIpInventory")


async def test_limit_cuts_at_a_thousand() -> None:
    """Without limit a list ends at 1000 rows, silently."""
    async with running({"vms": [{"name": "v{n}", "count": 1003, "nics": 0}]}) as (_, rest):
        assert len((await rest.call("GET", "/v1/vm-instances?fields=uuid")).json["inventories"]) == 1000
        more = await rest.call("GET", "/v1/vm-instances?fields=uuid&limit=2000")
        assert len(more.json["inventories"]) == 1003


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/v1/hosts", 3), ("/v1/clusters", 2), ("/v1/zones", 1), ("/v1/vm-instances/nics", 6), ("/v1/volumes", 9),
        ("/v1/volumes?q=primaryStorage.name~=storage-%25", 9), ("/v1/user-tags", 6), ("/v1/system-tags", 2),
        ("/v1/global-configurations?q=category=kvm&q=name=host.syncLevel", 1), ("/v1/management-nodes", 1),
        ("/v1/primary-storage", 2), ("/v1/images", 1), ("/v1/hosts?q=cluster.name=prod", 2),
    ],
)  # fmt: skip
async def test_other_tables(rest: Rest, path: str, count: int) -> None:
    """Everything that a maintenance tool asks for can be asked."""
    reply = await rest.call("GET", path)
    assert reply.status == 200
    assert len(reply.json["inventories"]) == count


async def test_numbers_may_be_floats() -> None:
    """numbers: float writes every integer as a double."""
    async with running({"node": {"numbers": "float"}, "vms": [{"name": "v"}]}) as (_, rest):
        reply = await rest.call("GET", "/v1/vm-instances")
        assert '"memorySize":8.589934592E9' in reply.text
        assert '"cpuNum":4.0' in reply.text


async def test_a_row_changes_its_last_op_date(rest: Rest) -> None:
    """lastOpDate is the node's wall clock at the last change of the row."""
    node: SimulatedNode = rest.node
    vm = node.vm("app-1")
    before = vm.changed
    node.act(vm.uuid, "pause")
    assert vm.changed > before
    assert await rest.names("q=state=Paused") == ["app-1"]
