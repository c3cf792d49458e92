"""A run's metrics for a Prometheus that scrapes this machine: `GET /metrics` on loopback, nothing else."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from orchestrator.live.listen import listening

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HOST = "127.0.0.1"


@asynccontextmanager
async def metrics_served(port: int, text: Callable[[], str | None]) -> AsyncIterator[int]:
    """While the body runs, at the port that is yielded. `text` None: the run has not begun. Raises UsageError."""

    async def answer(request: web.Request) -> web.Response:
        if request.host not in {f"{_HOST}:{served}", f"localhost:{served}"}:
            return web.Response(status=403, text="ask for this machine by its loopback address\n")
        found = text()
        if found is None:
            return web.Response(status=503, text="the run has not begun yet\n")
        return web.Response(body=found.encode(), headers={"Content-Type": _TYPE})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    async with listening(app, _HOST, port, option="--metrics-port") as served:
        yield served
