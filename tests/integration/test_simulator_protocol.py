"""The simulated node against the checklist of zstack-rest.md 11, byte for byte where the bytes matter."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
import trustme

from orchestrator.simulator import NodeSettings, Scenario, SimulatedNode
from tests.unit.simulator.rest import PASSWORD, Rest, running

FLEET = {"vms": [{"name": "v{n}", "count": 2, "guest": {"shutdown": 1}}]}


@pytest_asyncio.fixture
async def rest() -> AsyncIterator[Rest]:
    """A client of two VMs."""
    async with running(FLEET) as (_, client):
        yield client


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/vm-instances/", "/v1/hosts/", "/v2/vm-instances", "/v1"])
async def test_unknown_paths(rest: Rest, path: str) -> None:
    """404 in plain text; a trailing slash is another path."""
    reply = await rest.call("GET", path)
    assert (reply.status, reply.text) == (404, f"no api mapping to {path}")


async def test_outside_the_context_path_is_the_containers_page(rest: Rest) -> None:
    """A wrong context path is answered by the servlet container."""
    rest.node._world.node = NodeSettings(context_path="/elsewhere")
    async with aiohttp.ClientSession() as http, http.get(rest.node.endpoint.replace("elsewhere", "wrong") + "/v1") as page:
        assert (page.status, page.content_type) == (404, "text/html")


async def test_context_path_may_be_empty() -> None:
    """The API may be at the root."""
    async with running({**FLEET, "node": {"context_path": ""}}) as (node, rest):
        assert node.endpoint.count("/") == 2
        assert (await rest.call("GET", "/v1/vm-instances")).status == 200


async def test_headers_of_answers(rest: Rest) -> None:
    """No Content-Type; a JSESSIONID for who has none, and none for who has one."""
    for path in ("/v1/vm-instances", "/v1/nothing", f"/v1/api-jobs/{'0' * 32}"):
        reply = await rest.call("GET", path)
        assert "Content-Type" not in reply.headers
        assert reply.headers["Set-Cookie"].startswith("JSESSIONID=")
        assert reply.headers["Set-Cookie"].endswith("; Path=/zstack; HttpOnly")
    reply = await rest.call("GET", "/v1/zones", headers={"Cookie": "JSESSIONID=1"})
    assert "Set-Cookie" not in reply.headers


async def test_accepted_job(rest: Rest) -> None:
    """202 with a location on the wrong host and the timeout in ms; 202 {} while it runs; 200 at its end."""
    vm = rest.node.vm("v1")
    reply = await rest.act(vm.uuid, "stopVmInstance", {"X-Job-UUID": "c" * 32})
    assert reply.status == 202
    assert reply.json == {"location": f"http://192.0.2.10:8080/zstack/v1/api-jobs/{'c' * 32}", "apiTimeout": 1800000}
    running_reply = await rest.poll("c" * 32)
    assert (running_reply.status, running_reply.text) == (202, "{}")
    ended = await rest.end_of("c" * 32)
    assert (ended.status, set(ended.json)) == (200, {"inventory"})
    assert "internalId" in ended.json["inventory"]
    with_schema = await rest.call("GET", f"/v1/api-jobs/{'c' * 32}", headers={"X-JSON-Schema": "1"}, auth=False)
    assert with_schema.json["schema"]["inventory"] == "org.zstack.header.vm.VmInstanceInventory"


async def test_job_url_takes_get_only(rest: Rest) -> None:
    """Everything else on a job URL is 405."""
    assert (await rest.call("DELETE", f"/v1/api-jobs/{'0' * 32}")).status == 405


async def test_job_ids(rest: Rest) -> None:
    """32 characters of any kind, once; the length is all that is checked."""
    vm = rest.node.vm("v1")
    for odd in ("a" * 31, "a" * 33, "x"):
        assert (await rest.act(vm.uuid, "stopVmInstance", {"X-Job-UUID": odd})).status == 400
    assert (await rest.act(vm.uuid, "stopVmInstance", {"X-Job-UUID": "Z!" * 16})).status == 202
    again = await rest.act(vm.uuid, "stopVmInstance", {"X-Job-UUID": "Z!" * 16})
    assert (again.status, again.text) == (400, f"Duplicate job uuid[{'Z!' * 16}]")
    assert (await rest.call("GET", "/v1/zones", headers={"X-Job-UUID": "Z!" * 16})).status == 200


async def test_result_expires() -> None:
    """A finished job older than the result life is 404."""
    async with running({**FLEET, "node": {"result_life": 40}}) as (node, rest):
        job = await rest.stop(node.vm("v1").uuid, type="cold")
        seen = []
        async with asyncio.timeout(5):
            while 404 not in seen:
                seen.append((await rest.poll(job)).status)
        assert 200 in seen


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"", 500, ""),
        (b"{nonsense", 500, "com.google.gson"),
        (b"[]", 500, "java.lang"),
        (b'{"stopvminstance":{}}', 400, "the body doesn't contain action mapping"),
        (b"{}", 400, "the body doesn't contain action mapping"),
        (b'{"stopVmInstance":{},"systemTags":"x"}', 500, "java.lang"),
        (b'{"stopVmInstance":null}', 202, "{"),
        (b'{"stopVmInstance":{"uuid":"other","unknown":1}}', 202, "{"),
    ],
)
async def test_bodies(rest: Rest, data: bytes, status: int, text: str) -> None:
    """What the server's parser says to odd bodies."""
    reply = await rest.call("PUT", f"/v1/vm-instances/{rest.node.vm('v1').uuid}/actions", data=data)
    assert reply.status == status
    assert reply.text.startswith(text)


async def test_bad_timeout_is_500(rest: Rest) -> None:
    """X-API-Timeout must be an integer."""
    assert (await rest.act(rest.node.vm("v1").uuid, "stopVmInstance", {"X-API-Timeout": "1.5"})).status == 500


async def test_post_is_another_api(rest: Rest) -> None:
    """POST on a VM's actions isn't refused: it is FstrimVm, and stops nothing."""
    path = f"/v1/vm-instances/{rest.node.vm('v1').uuid}/actions"
    reply = await rest.call("POST", path, {"stopVmInstance": {}})
    assert reply.status == 202
    assert (await rest.end_of(reply.json["location"].rpartition("/")[2])).codes == ["SYS.1006"]
    assert not rest.node.record.transitions


async def test_authorization_shapes(rest: Rest) -> None:
    """400 in plain text without or with another scheme; the blank after OAuth may be missing."""
    missing = await rest.call("GET", "/v1/zones", auth=False)
    assert (missing.status, missing.text) == (400, "missing header 'Authorization'")
    other = await rest.call("GET", "/v1/zones", headers={"Authorization": "Bearer x"})
    assert (other.status, other.text) == (400, "Authorization type must be 'OAuth'")
    lower = await rest.call("GET", "/v1/zones", headers={"Authorization": f"oauth {rest.session}"})
    assert lower.status == 400
    assert (await rest.call("GET", "/v1/zones", headers={"Authorization": f"OAuth{rest.session}"})).status == 200


async def test_eight_kilobytes(rest: Rest) -> None:
    """About 240 UUIDs fit into a query; 250 are the container's HTML 400."""
    few = ",".join(["0" * 32] * 235)
    many = ",".join(["0" * 32] * 250)
    assert (await rest.call("GET", f"/v1/vm-instances?q=uuid?={few}")).status == 200
    page = await rest.call("GET", f"/v1/vm-instances?q=uuid?={many}")
    assert (page.status, page.text[:15]) == (400, "<!doctype html>")
    assert page.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("raw", ["name>a", "name<a", "na[me=a", 'name="a"', "name=a|b", "name={a}"])
async def test_illegal_characters(rest: Rest, raw: str) -> None:
    """Characters that must be encoded and aren't get the container's HTML 400."""
    host, port = "127.0.0.1", rest.node.port
    reader, writer = await asyncio.open_connection(host, port)
    head = f"GET /zstack/v1/vm-instances?q={raw} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"<!doctype html>" in answer


async def test_facts_about_the_node(rest: Rest) -> None:
    """Version, clock and readiness need no session; the time zone does."""
    path = "/v1/management-nodes/actions"
    version = await rest.call("PUT", path, {"getVersion": {}}, auth=False)
    assert version.json == {"version": "5.2.1", "success": True}
    clock = await rest.call("PUT", path, {"getCurrentTime": {}}, auth=False)
    assert clock.json["currentTime"]["MillionSeconds"] // 1000 == clock.json["currentTime"]["Seconds"]
    assert (await rest.call("GET", "/v1/management-nodes/ready", auth=False)).json == {}
    zone = await rest.call("GET", "/v1/management-nodes/platform-timezone")
    assert zone.json == {"timezone": "Asia/Shanghai", "offset": "+08:00", "success": True}


async def test_rate_limit() -> None:
    """Newer nodes answer 429 above a number of requests a minute, polls included."""
    async with running({**FLEET, "node": {"rate_limit": 5}}) as (_, rest):
        statuses = [(await rest.poll("0" * 32)).status for _ in range(6)]
        assert statuses == [404, 404, 404, 404, 429, 429]


async def test_two_keys_in_one_body(rest: Rest) -> None:
    """One of the actions runs."""
    path = f"/v1/vm-instances/{rest.node.vm('v1').uuid}/actions"
    assert (await rest.call("PUT", path, {"stopVmInstance": {}, "startVmInstance": {}})).status == 202


async def test_https() -> None:
    """With an SSL context the node speaks https, and location says so."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with SimulatedNode(Scenario.model_validate(FLEET), ssl_context=server) as node:
        assert node.endpoint.startswith("https://")
        login = {"logInByAccount": {"accountName": "admin", "password": PASSWORD}}
        connector = aiohttp.TCPConnector(ssl=client)
        url = node.endpoint + "/v1/accounts/login"
        async with aiohttp.ClientSession(connector=connector) as http, http.put(url, json=login) as response:
            assert response.status == 200
