"""A port that is served on while a body runs, to few at a time: a run needs its own file descriptors."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from aiohttp import web
from aiohttp.typedefs import Handler

from orchestrator.errors import UsageError

MOST_CONNECTIONS = 48
"""At one time, whoever makes them; the next is closed at once."""
IDLE_SECONDS = 10.0
"""How long a connection may be open without a request that is being answered."""

_SILENT = logging.getLogger("orchestrator.live")
"""What strangers send is no business of the operator's terminal."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Door:
    """Lets connections in, and shows those out that ask for nothing. `busy`: those whose request is being answered."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._since: dict[web.RequestHandler, float] = {}
        self.busy: set[asyncio.Transport | None] = set()

    def let_in(self) -> asyncio.Protocol:
        """For the event loop, once a connection."""
        if len(self._server.connections) >= MOST_CONNECTIONS:
            return _Refusal()
        return self._server()

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            await anyio.sleep(IDLE_SECONDS / 5)
            now, there = anyio.current_time(), set(self._server.connections)
            self._since = {one: self._since.get(one, now) for one in there}
            for one in there:
                if one.transport in self.busy:
                    self._since[one] = now
                elif now - self._since[one] > IDLE_SECONDS and one.transport is not None:
                    one.transport.abort()


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, option: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port, also where 0 asked for any free one. Raises UsageError, which names the `option`."""

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        door.busy.add(request.transport)
        try:
            return await handler(request)
        finally:
            door.busy.discard(request.transport)

    app.middlewares.insert(0, counted)
    runner = web.AppRunner(app, access_log=None, logger=_SILENT, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None
    door = Door(runner.server)
    failed: BaseException | None = None
    try:
        try:
            socket = await asyncio.get_running_loop().create_server(door.let_in, host, port, ssl=tls, reuse_address=True)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageError(f"{option}: {host}:{port} cannot be served on ({why}): name another place") from None
        async with anyio.create_task_group() as beside:
            beside.start_soon(door.watch)
            try:
                yield socket.sockets[0].getsockname()[1]
            except BaseException as error:  # raised below as it is: a task group would wrap it
                failed = error
            socket.close()
            beside.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
    if failed is not None:
        raise failed
