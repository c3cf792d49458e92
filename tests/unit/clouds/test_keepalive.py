"""A session lives through long waits: it ends 7200 s after the last authenticated call, and job polls do not count."""

from itertools import pairwise
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.http import Answer, Http
from orchestrator.settings import ConnectionSettings
from tests.virtual import run_virtual

LIFE_SECONDS = 7200.0


def test_a_session_is_kept_alive_through_a_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten hours of polling jobs and nothing else: authenticated calls are never as far apart as a session's life."""
    at: list[float] = []

    async def exchange(self: Http, method: str, path: str, **rest: Any) -> Answer:
        if "Authorization" in (rest.get("headers") or {}):
            at.append(anyio.current_time())
        return Answer(202, b"{}")

    monkeypatch.setattr(Http, "exchange", exchange)

    async def wait() -> None:
        settings = ConnectionSettings(endpoint="http://127.0.0.1:1/zstack", session_id=SecretStr("a" * 32))
        async with ZStackClient(settings) as client:
            await client.call("GET", "/v1/vm-instances")
            for _ in range(600):
                await client.look("b" * 32)
                await anyio.sleep(60)

    run_virtual(wait)
    assert len(at) > 5
    assert max(later - earlier for earlier, later in pairwise(at)) < LIFE_SECONDS


def test_nothing_is_kept_alive_that_was_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that made no call makes none by itself either."""
    asked: list[str] = []

    async def exchange(self: Http, method: str, path: str, **rest: Any) -> Answer:
        asked.append(path)
        return Answer(200, b"{}")

    monkeypatch.setattr(Http, "exchange", exchange)

    async def wait() -> None:
        settings = ConnectionSettings(endpoint="http://127.0.0.1:1/zstack", session_id=SecretStr("a" * 32))
        async with ZStackClient(settings):
            await anyio.sleep(20_000)

    run_virtual(wait)
    assert asked == []
