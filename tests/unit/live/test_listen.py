"""A port beside a run: who asks for nothing is shown out, who is being answered stays."""

import asyncio
import contextlib

import anyio
import pytest
from aiohttp import web

from orchestrator.live import listen


async def test_only_those_who_ask_for_nothing_are_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection is closed after its time; an answer that takes ten times as long arrives whole."""
    monkeypatch.setattr(listen, "IDLE_SECONDS", 0.1)

    async def slowly(_: web.Request) -> web.Response:
        await anyio.sleep(1.0)
        return web.Response(text="whole")

    app = web.Application()
    app.router.add_get("/", slowly)
    async with listen.listening(app, "127.0.0.1", 0, option="--x") as port:
        idle, mute = await asyncio.open_connection("127.0.0.1", port)
        asking, words = await asyncio.open_connection("127.0.0.1", port)
        words.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with anyio.fail_after(10):
            with contextlib.suppress(ConnectionError):  # cut off, or closed in order
                assert await idle.read() == b""
            assert (await asking.read()).endswith(b"whole")
        mute.close()
        words.close()
