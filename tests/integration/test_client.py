"""The few lines a Python user writes: one stop, its inventory or the whole error, whatever the network does."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from orchestrator import UsageError, VmInventory, ZStackClient, ZStackError
from orchestrator.errors import LoginError, NodeUnreachableError
from tests.unit.clouds.nodes import VM, Asked, Wire, account, error, in_bytes, says, scripted, session

PAGE = Path(__file__).parents[1] / "data" / "stop_vm_response.json"
CHAIN = {
    "code": "VM.1002",
    "description": "Unable to stop a vm",
    "details": "主机未连接",
    "elaboration": "wait for the host",
    "opaque": {"host": "h7"},
    "cost": "3ms",
    "cause": {"code": "HOST.1011", "cause": {"code": "HOST.1010", "details": "status[Disconnected]"}},
}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own clock runs fifty times as fast, so that its waits and deadlines keep their proportions."""
    for name in [name for name in os.environ if name.upper().startswith("ZSTACK_")]:
        monkeypatch.delenv(name)
    real_now, real_sleep = anyio.current_time, anyio.sleep
    origin: list[float] = []

    def now() -> float:
        if not origin:
            origin.append(real_now())
        return origin[0] + (real_now() - origin[0]) * 50

    monkeypatch.setattr(anyio, "current_time", now)
    monkeypatch.setattr(anyio, "sleep", lambda seconds: real_sleep(seconds / 50))


class ManagementNode:
    """A node with sessions and jobs; `verdicts` are given one a job, and a job runs for `looks` looks first."""

    def __init__(self, *verdicts: Callable[[], web.Response], looks: int = 1) -> None:
        self.verdicts = list(verdicts)
        self.looks = looks
        self.jobs: dict[str, list[Any]] = {}
        self.logins = 0
        self.logouts: list[str] = []

    def __call__(self, asked: Asked) -> web.Response:
        """Answer as the protocol says."""
        if asked.path == "/v1/accounts/login":
            self.logins += 1
            return says({"inventory": {"uuid": f"{self.logins:032x}"}})
        if asked.method == "DELETE":
            self.logouts.append(asked.path.rsplit("/", 1)[1])
            return says({})
        if asked.path.startswith("/v1/api-jobs/"):
            job = self.jobs.get(asked.path.rsplit("/", 1)[1])
            if job is None:
                return web.Response(status=404, text="the job has been expired")
            job[0] -= 1
            return job[1]() if job[0] < 0 else says({}, 202)
        return self.accept(asked)

    def accept(self, asked: Asked) -> web.Response:
        """Record the job as the node does, once an id."""
        job = asked.headers["X-Job-Uuid"]
        if job in self.jobs:
            return web.Response(status=400, text=f"Duplicate job uuid[{job}]")
        self.jobs[job] = [self.looks, self.verdicts.pop(0)]
        return says({"location": f"http://172.20.0.1:8080/zstack/v1/api-jobs/{job}", "apiTimeout": 1800000}, 202)


def stopped() -> web.Response:
    """The vendor page's own answer, byte by byte."""
    return web.Response(body=PAGE.read_bytes())


def failed(chain: object = CHAIN) -> Callable[[], web.Response]:
    """A job that ends with this error."""
    return lambda: says({"error": chain}, 503)


def puts(asked: list[Asked]) -> list[Asked]:
    """The stops among the requests."""
    return [one for one in asked if one.path.endswith("/actions")]


async def test_a_stop_in_two_lines_returns_the_typed_inventory() -> None:
    """The example of the contract, every argument given: the request is the protocol's, the result the page's sample."""
    node = ManagementNode(stopped)
    async with scripted(node) as at:
        async with ZStackClient(account(at.base)) as client:
            inventory = await client.stop_vm(
                VM,
                type="cold",
                stop_ha=True,
                system_tags=["a::b"],
                user_tags=["窗口"],
                timeout=timedelta(seconds=89.5),
            )
        (put,) = puts(at.asked)
        assert (put.method, put.path) == ("PUT", f"/v1/vm-instances/{VM}/actions")
        assert put.body == {
            "stopVmInstance": {"type": "cold", "stopHA": "true"},
            "systemTags": ["a::b"],
            "userTags": ["窗口"],
        }
        assert put.headers["X-Api-Timeout"] == "90"
        assert put.headers["Authorization"] == f"OAuth {1:032x}"
        assert list(node.jobs) == [put.headers["X-Job-Uuid"]]
        assert len(put.headers["X-Job-Uuid"]) == 32
    assert isinstance(inventory, VmInventory)
    assert (inventory.uuid, inventory.state, inventory.memory_size, inventory.cpu_num) == (VM, "Stopped", 8589934592, 1)
    assert inventory.plain() == json.loads(PAGE.read_text("utf-8"))["inventory"]
    assert (node.logins, node.logouts) == (1, [f"{1:032x}"])


async def test_the_defaults_are_grace_with_stop_ha_and_no_tags() -> None:
    """What is not given is what an operator expects."""
    async with scripted(ManagementNode(stopped)) as at, ZStackClient(session(at.base)) as client:
        await client.stop_vm(VM)
        assert puts(at.asked)[0].body == {
            "stopVmInstance": {"type": "grace", "stopHA": "true"},
            "systemTags": [],
            "userTags": [],
        }
        assert puts(at.asked)[0].headers["X-Api-Timeout"] == "240"


@pytest.mark.parametrize("spelling", [VM.upper(), f"{VM[:8]}-{VM[8:12]}-{VM[12:16]}-{VM[16:20]}-{VM[20:]}"])
async def test_other_spellings_of_a_uuid_are_the_same_vm(spelling: str) -> None:
    """Upper case and dashes are normalised before they become a URL."""
    async with scripted(ManagementNode(stopped)) as at, ZStackClient(session(at.base)) as client:
        await client.stop_vm(spelling)
        assert puts(at.asked)[0].path == f"/v1/vm-instances/{VM}/actions"


@pytest.mark.parametrize("uuid", ["", "x" * 32, VM[:-1], f"{VM}?a=b", "../../hosts", f"{VM[:30]}/."])
async def test_what_is_no_uuid_is_refused_before_anything_is_sent(uuid: str) -> None:
    """A path of the caller's making never reaches the node."""
    async with scripted(ManagementNode()) as at, ZStackClient(session(at.base)) as client:
        with pytest.raises(UsageError):
            await client.stop_vm(uuid)
        assert at.asked == []


async def test_a_failed_stop_raises_the_whole_chain() -> None:
    """`ZStackError.error` holds everything the node sent, and the message names the codes and the innermost words."""
    async with scripted(ManagementNode(failed())) as at, ZStackClient(session(at.base)) as client:
        with pytest.raises(ZStackError, match=r"VM\.1002 <- HOST\.1011 <- HOST\.1010: status") as caught:
            await client.stop_vm(VM)
    assert caught.value.error.plain() == CHAIN
    assert list(caught.value.error.codes()) == ["VM.1002", "HOST.1011", "HOST.1010"]
    assert caught.value.error.opaque == {"host": "h7"}


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500])
async def test_a_refused_put_raises_its_words(status: int) -> None:
    """A plain-text no is an error of our own code with the node's text, and is not sent again."""

    def script(asked: Asked) -> web.Response:
        return web.Response(status=status, text="the body doesn't contain action mapping")

    async with scripted(script) as at, ZStackClient(session(at.base)) as client:
        with pytest.raises(ZStackError) as caught:
            await client.stop_vm(VM)
        assert len(at.asked) == 1
    assert (caught.value.error.code, caught.value.error.details) == (
        f"http.{status}",
        "the body doesn't contain action mapping",
    )


async def test_a_job_that_never_ends_is_a_timeout() -> None:
    """202 for ever: the caller's own deadline, ten seconds past the node's, ends it; nothing is sent again."""
    async with scripted(ManagementNode(stopped, looks=10**9)) as at, ZStackClient(session(at.base)) as client:
        started = anyio.current_time()
        with pytest.raises(ZStackError) as caught:
            await client.stop_vm(VM, timeout=timedelta(seconds=30))
        assert 39 <= anyio.current_time() - started <= 400
        assert len(puts(at.asked)) == 1
        assert at.count("GET", "api-jobs") >= 2
    assert caught.value.error.code == "orchestrator.timeout"


async def test_a_session_that_expired_is_renewed_and_the_stop_sent_with_a_new_id() -> None:
    """ID.1001 in the job says that nothing was started: one login, one further PUT with another id, and success."""
    node = ManagementNode(failed({"code": "ID.1001"}), stopped)
    async with scripted(node) as at:
        async with ZStackClient(account(at.base)) as client:
            assert (await client.stop_vm(VM)).state == "Stopped"
        first, second = puts(at.asked)
        assert first.headers["X-Job-Uuid"] != second.headers["X-Job-Uuid"]
        assert (first.session, second.session) == (f"{1:032x}", f"{2:032x}")
    assert (node.logins, sorted(node.logouts)) == (2, [f"{1:032x}", f"{2:032x}"])


async def test_twenty_stops_that_lose_the_session_log_in_once() -> None:
    """All jobs end with ID.1001: one login serves every repeated stop."""
    node = ManagementNode(*[failed({"code": "ID.1001"})] * 20, *[stopped] * 20)
    async with scripted(node) as at, ZStackClient(account(at.base)) as client:
        vms = [f"{number:032x}" for number in range(20)]
        results = await asyncio.gather(*(client.stop_vm(vm) for vm in vms))
        assert {result.state for result in results} == {"Stopped"}
        assert len(puts(at.asked)) == 40
    assert node.logins == 2


async def test_a_session_that_stays_lost_ends_in_the_chain() -> None:
    """A second ID.1001 is the answer, not the start of a loop."""
    node = ManagementNode(*[failed({"code": "ID.1001"})] * 5)
    async with scripted(node) as at, ZStackClient(account(at.base)) as client:
        with pytest.raises(ZStackError, match=r"ID\.1001"):
            await client.stop_vm(VM)
        assert len(puts(at.asked)) == 2


async def test_a_given_session_that_expired_raises_the_chain() -> None:
    """Nothing here can open another one."""
    async with scripted(ManagementNode(failed({"code": "ID.1001"}))) as at, ZStackClient(session(at.base)) as client:
        with pytest.raises(ZStackError, match=r"ID\.1001"):
            await client.stop_vm(VM)
        assert len(puts(at.asked)) == 1


class Line:
    """A node in bytes that loses the answers to its first PUTs; `arrived` says whether the job was recorded then."""

    def __init__(self, *, arrived: bool, losses: int = 1, then: tuple[str, ...] = ()) -> None:
        self.arrived = arrived
        self.losses = losses
        self.then = list(then)
        self.log: list[str] = []
        self.known: set[str] = set()

    async def __call__(self, wire: Wire) -> None:
        """Serve one connection."""
        while data := await wire.request():
            if data.startswith(b"PUT"):
                lines = data.lower().split(b"\r\n")
                job = next(line for line in lines if line.startswith(b"x-job-uuid:")).split()[1].decode()
                self.log.append(f"PUT {job}")
                if self.losses:
                    self.losses -= 1
                    if self.arrived:
                        self.known.add(job)
                    return
                duplicate = job in self.known
                self.known.add(job)
                if duplicate:
                    await wire.answer(b"Duplicate job uuid", "400 Bad Request")
                else:
                    await wire.answer(b"{}", "202 Accepted")
                continue
            job = data.split()[1].decode().rsplit("/", 1)[1]
            what = self.then.pop(0) if self.then else "tell"
            self.log.append(f"GET {job} {what}")
            match what:
                case "drop":
                    return
                case "page":
                    await wire.answer(b"<html>Bad Gateway</html>", "502 Bad Gateway")
                case "missing page":
                    await wire.answer(b"<html>Not Found</html>", "404 Not Found")
                case "starting":
                    await wire.answer(b'{"error":{"code":"SYS.1010"}}', "503 Service Unavailable")
                case _ if job in self.known:
                    await wire.answer(PAGE.read_bytes())
                case _:
                    await wire.answer(b"the job has been expired", "404 Not Found")

    def puts(self) -> list[str]:
        """The ids of the PUTs in their order."""
        return [line.split()[1] for line in self.log if line.startswith("PUT")]


async def test_a_lost_put_that_arrived_is_settled_by_its_job() -> None:
    """The answer is lost, the job is there: nothing is sent again."""
    line = Line(arrived=True)
    async with in_bytes(line) as base, ZStackClient(session(base)) as client:
        assert (await client.stop_vm(VM)).state == "Stopped"
    assert len(line.puts()) == 1


async def test_a_lost_put_that_never_arrived_is_sent_again_with_its_id() -> None:
    """404 says that the node never recorded it: the same id goes out again, so it cannot run twice."""
    line = Line(arrived=False)
    async with in_bytes(line) as base, ZStackClient(session(base)) as client:
        assert (await client.stop_vm(VM)).state == "Stopped"
    first, second = line.puts()
    assert first == second
    assert line.log[1] == f"GET {first} tell"


@pytest.mark.parametrize("silence", ["drop", "page", "missing page", "starting"])
@pytest.mark.parametrize("arrived", [True, False])
async def test_only_the_nodes_own_404_sends_again(silence: str, arrived: bool) -> None:
    """While nobody can say what became of the PUT it is not repeated: the question is, until the node answers it."""
    line = Line(arrived=arrived, then=(silence, silence, silence))
    async with in_bytes(line) as base, ZStackClient(session(base)) as client:
        assert (await client.stop_vm(VM)).state == "Stopped"
    assert [entry.split()[0] for entry in line.log[:5]] == ["PUT", "GET", "GET", "GET", "GET"]
    assert len(line.puts()) == (1 if arrived else 2)
    assert len(set(line.puts())) == 1


async def test_a_put_whose_fate_stays_unknown_is_lost_not_failed() -> None:
    """Nobody answers until the deadline: the error says that the stop may still take effect."""
    line = Line(arrived=True, then=("page",) * 1000)
    async with in_bytes(line) as base, ZStackClient(session(base)) as client:
        with pytest.raises(ZStackError) as caught:
            await client.stop_vm(VM, timeout=timedelta(seconds=5))
    assert caught.value.error.code == "orchestrator.lost"
    assert len(line.puts()) == 1


async def test_a_repeated_put_that_the_node_knows_is_accepted() -> None:
    """The first PUT arrives late, after the 404: the duplicate's 400 means accepted, and the job is followed."""
    known_late = False

    def accept(asked: Asked) -> web.Response:
        nonlocal known_late
        if not known_late:
            known_late = True
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        return ManagementNode.accept(node, asked)

    node = ManagementNode(stopped)
    looked = 0

    def script(asked: Asked) -> web.Response:
        nonlocal looked
        if asked.path.endswith("/actions"):
            return accept(asked)
        answer = node(asked)
        looked += 1
        if looked == 1:
            node.jobs[asked.path.rsplit("/", 1)[1]] = [1, stopped]
        return answer

    async with scripted(script) as at, ZStackClient(session(at.base)) as client:
        assert (await client.stop_vm(VM)).state == "Stopped"
        assert len({put.headers["X-Job-Uuid"] for put in puts(at.asked)}) == 1
        assert len(puts(at.asked)) == 2


async def test_a_lost_put_whose_job_lost_the_session_renews_it() -> None:
    """Both at once: the PUT's answer is lost and its session was gone. The stop still goes out under a new login."""
    node = ManagementNode(failed({"code": "ID.1001"}), stopped)
    first = True

    def script(asked: Asked) -> web.Response:
        nonlocal first
        answer = node(asked)
        if asked.path.endswith("/actions") and first:
            first = False
            return web.Response(status=504, text="gateway timeout")
        return answer

    async with scripted(script) as at, ZStackClient(account(at.base)) as client:
        assert (await client.stop_vm(VM)).state == "Stopped"
        assert [put.session for put in puts(at.asked)] == [f"{1:032x}", f"{2:032x}"]


async def test_an_overloaded_node_is_asked_again() -> None:
    """429 says "later": nothing was started, and the same stop goes through when the node has room."""
    node = ManagementNode(stopped)
    refusals = 3

    def script(asked: Asked) -> web.Response:
        nonlocal refusals
        if asked.path.endswith("/actions") and refusals:
            refusals -= 1
            return web.Response(status=429, text="Rate limit exceeded")
        return node(asked)

    async with scripted(script) as at, ZStackClient(session(at.base)) as client:
        assert (await client.stop_vm(VM)).state == "Stopped"
        assert len(puts(at.asked)) == 4


async def test_a_node_that_goes_away_while_the_job_runs_is_waited_for() -> None:
    """Polls that fail say nothing of the job: it is followed until it ends."""
    line = Line(arrived=True, losses=0, then=("drop", "page", "starting", "drop", "missing page"))
    async with in_bytes(line) as base, ZStackClient(session(base)) as client:
        assert (await client.stop_vm(VM)).state == "Stopped"
    assert len(line.puts()) == 1


async def test_a_wrong_password_and_an_absent_node_are_no_zstack_errors() -> None:
    """What is wrong before any stop is told by its own kind."""
    async with scripted(lambda _: error("ID.1000")) as at:
        async with ZStackClient(account(at.base)) as client:
            with pytest.raises(LoginError, match="ZSTACK_ACCOUNT_PASSWORD"):
                await client.stop_vm(VM)
        base = at.base
    async with ZStackClient(account(base)) as client:
        with pytest.raises(NodeUnreachableError, match="not reachable"):
            await client.stop_vm(VM)


@pytest.mark.parametrize("inventory", [None, [], {}, {"uuid": 5}, {"uuid": VM, "memorySize": "much", "vmNics": 5}])
async def test_a_success_that_cannot_be_read_says_that_it_was_one(inventory: object) -> None:
    """The stop happened; what came instead of an inventory is kept, under a code of our own."""
    async with (
        scripted(ManagementNode(lambda: says({"inventory": inventory}))) as at,
        ZStackClient(session(at.base)) as client,
    ):
        with pytest.raises(ZStackError) as caught:
            await client.stop_vm(VM)
        assert len(puts(at.asked)) == 1
    assert caught.value.error.code == "orchestrator.unreadable"


async def test_many_stops_share_one_login_and_end_each_for_itself() -> None:
    """One client, many stops side by side: each gets its own job's answer."""
    node = ManagementNode(*[stopped, failed()] * 30)
    async with scripted(node) as at, ZStackClient(account(at.base)) as client:
        vms = [f"{number:032x}" for number in range(60)]
        results = await asyncio.gather(*(client.stop_vm(vm) for vm in vms), return_exceptions=True)
    assert sum(isinstance(result, VmInventory) for result in results) == 30
    assert sum(isinstance(result, ZStackError) for result in results) == 30
    assert node.logins == 1
    assert len(node.jobs) == 60
