"""Trials of the fault suite, and the command line with a node beside it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clouds.zstack import http
from orchestrator.clouds.zstack.http import Answer, Http
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import SimulatedNode
from tests.cli.conftest import cli, node
from tests.faults.trials import FaultTrial, lines
from tests.integration.conftest import SCALE, Trial, settings_for

__all__ = ["cli", "node"]


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FaultTrial]:
    """Makes a trial in a folder of its own; its client goes through the trial's wire."""

    def through(node: SimulatedNode, **credential: Any) -> ConnectionSettings:
        settings, wire = settings_for(node, **credential), lines.get(id(node))
        if wire is None:
            return settings
        return settings.model_copy(update={"endpoint": node.endpoint.replace(f":{node.port}", f":{wire.port}")})

    monkeypatch.setattr(sys.modules[Trial.__module__], "settings_for", through)
    return lambda scenario, **options: FaultTrial(tmp_path, scenario, **options)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's patience with one answer is compressed as all else is: a minute is 2 s."""
    real = Http.exchange

    async def exchange(self: Http, method: str, path: str, **more: Any) -> Answer:
        return await real(self, method, path, **{**more, "patience_seconds": more.get("patience_seconds", 90.0) / SCALE})

    monkeypatch.setattr(Http, "exchange", exchange)
    monkeypatch.setattr(http, "_SILENCE_SECONDS", 30.0 / SCALE)
