"""A port that is served on while a body runs."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

from orchestrator.errors import UsageError


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, option: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port, also where 0 asked for any free one. Raises UsageError, which names the `option`."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageError(f"{option}: {host}:{port} cannot be served on ({why}): name another place") from None
        yield runner.addresses[0][1]
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
