"""Nodes for the client's tests: one that speaks HTTP by script, and one that speaks only in bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from orchestrator.settings import ConnectionSettings

VM = "02b75a26397b347a8cf5cfaf5ce93ed1"
Script = Callable[["Asked"], "web.Response | Awaitable[web.Response]"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived; `path` is what follows the context path, `target` the raw request target."""

    method: str
    path: str
    target: str
    headers: dict[str, str]
    body: Any
    head_bytes: int

    @property
    def session(self) -> str:
        """The OAuth session it carries."""
        return self.headers.get("Authorization", "").removeprefix("OAuth ")


def says(data: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.json_response(data, status=status)


def error(*codes: str) -> web.Response:
    """503 with this chain of codes, outermost first."""
    chain: dict[str, Any] | None = None
    for code in reversed(codes):
        chain = {"code": code, "details": f"about {code}", **({"cause": chain} if chain else {})}
    return says({"error": chain}, 503)


@dataclass(slots=True)
class Node:
    """Where a scripted node listens and everything it was asked."""

    base: str
    asked: list[Asked] = field(default_factory=list)

    def count(self, method: str, part: str) -> int:
        """How many requests of this method had `part` in their path."""
        return sum(asked.method == method and part in asked.path for asked in self.asked)


@asynccontextmanager
async def scripted(script: Script, *, tls: SSLContext | None = None) -> AsyncIterator[Node]:
    """A node on a free loopback port that answers by `script`."""
    node = Node("")

    async def handle(request: web.Request) -> web.Response:
        text = await request.text()
        body = await request.json() if text else None
        head = len(request.raw_path) + len(request.method) + 12
        head += sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        asked = Asked(
            request.method,
            request.path.removeprefix("/zstack"),
            request.raw_path,
            {name.title(): value for name, value in request.headers.items()},
            body,
            head,
        )
        node.asked.append(asked)
        answer = script(asked)
        return answer if isinstance(answer, web.Response) else await answer

    app = web.Application()
    app.router.add_route("*", "/{all:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    node.base = f"http{'s' if tls else ''}://127.0.0.1:{port}/zstack"
    try:
        yield node
    finally:
        await runner.cleanup()


Talk = Callable[["Wire"], Awaitable[None]]


@dataclass(slots=True)
class Wire:
    """One accepted connection, in bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int

    async def request(self) -> bytes:
        """The next whole request, head and body; empty when the other side has closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return head + await self.reader.readexactly(length)

    async def write(self, data: bytes) -> None:
        """Send these bytes now."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes, status: str = "200 OK") -> None:
        """A whole answer on a connection that stays open."""
        await self.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body))


@asynccontextmanager
async def in_bytes(talk: Talk, *, tls: SSLContext | None = None) -> AsyncIterator[str]:
    """A server that runs `talk` for every connection; yields its base URL."""
    tasks: set[asyncio.Task[None]] = set()
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(Wire(reader, writer, count))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{port}/zstack"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def account(base: str, **more: Any) -> ConnectionSettings:
    """Settings of an account at this node."""
    return ConnectionSettings(endpoint=base, account_name="admin", account_password=SecretStr("hunter2-päss"), **more)


def session(base: str, **more: Any) -> ConnectionSettings:
    """Settings of a session somebody else opened."""
    return ConnectionSettings(endpoint=base, session_id=SecretStr("5" * 32), **more)


def access_key(base: str, **more: Any) -> ConnectionSettings:
    """Settings of an access key."""
    return ConnectionSettings(endpoint=base, access_key_id="key-id", access_key_secret=SecretStr("key-secret"), **more)
