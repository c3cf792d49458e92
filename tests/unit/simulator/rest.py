"""A bare client for these tests: it shows what came over the socket and interprets nothing."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from orchestrator.simulator import Scenario, SimulatedNode

PASSWORD = hashlib.sha512(b"password").hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """Its body parsed."""
        return json.loads(self.text)

    @property
    def codes(self) -> list[str]:
        """The codes of its error, outermost first."""
        codes, error = [], self.json.get("error")
        while error:
            codes.append(error["code"])
            error = error.get("cause")
        return codes


class Rest:
    """Requests to one node; `session` goes along as OAuth unless a request says otherwise."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.session: str | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        # The library would send a PUT again by itself when the connection dies, and hide what a drop looks like.
        self._http._retry_connection = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def call(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: bool = True,
    ) -> Reply:
        """One request; `path` goes over the wire as it is written here."""
        sent = dict(headers or {})
        if auth and self.session is not None:
            sent.setdefault("Authorization", f"OAuth {self.session}")
        if content is not None:
            data = json.dumps(content).encode()
        url = URL(self.node.endpoint + path, encoded=True)
        async with self._http.request(method, url, data=data, headers=sent, allow_redirects=False) as response:
            return Reply(response.status, dict(response.headers), await response.text())

    async def log_in(self, name: str = "admin", password: str = PASSWORD) -> Reply:
        """Log in and keep the session."""
        content = {"logInByAccount": {"accountName": name, "password": password}}
        reply = await self.call("PUT", "/v1/accounts/login", content, auth=False)
        if reply.status == 200:
            self.session = reply.json["inventory"]["uuid"]
        return reply

    async def act(self, uuid: str, action: str, headers: Mapping[str, str] | None = None, **params: Any) -> Reply:
        """An action on a VM."""
        return await self.call("PUT", f"/v1/vm-instances/{uuid}/actions", {action: params}, headers=headers)

    async def stop(self, uuid: str, headers: Mapping[str, str] | None = None, **params: Any) -> str:
        """Send a stop that must be accepted; its job id."""
        return job_of(await self.act(uuid, "stopVmInstance", headers, **params))

    async def poll(self, job: str) -> Reply:
        """Look at a job, without authentication."""
        return await self.call("GET", f"/v1/api-jobs/{job}", auth=False)

    async def end_of(self, job: str, seconds: float = 10.0) -> Reply:
        """The answer of a job that must end within so many real seconds."""
        async with asyncio.timeout(seconds):
            while True:
                reply = await self.poll(job)
                if reply.status != 202:
                    return reply
                await asyncio.sleep(0.005)

    async def names(self, parameters: str) -> list[str]:
        """Names of the VMs that a query finds, sorted."""
        reply = await self.call("GET", f"/v1/vm-instances?{parameters}")
        assert reply.status == 200, reply
        return sorted(vm["name"] for vm in reply.json["inventories"])


def job_of(reply: Reply) -> str:
    """The job id of an accepted call."""
    assert reply.status == 202, reply
    return str(reply.json["location"]).rpartition("/")[2]


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition that must come true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # the node's state has no event to wait for
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    scenario: Mapping[str, Any], time_scale: float = 200.0, *, log_in: bool = True
) -> AsyncIterator[tuple[SimulatedNode, Rest]]:
    """A node of this scenario and a client of it, logged in as admin."""
    node = SimulatedNode(Scenario.model_validate(scenario), time_scale=time_scale)
    async with node, Rest(node) as rest:
        if log_in:
            assert (await rest.log_in()).status == 200
        yield node, rest
