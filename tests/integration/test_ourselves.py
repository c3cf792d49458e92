"""The machine a run stands on, and the node it talks to, are never stopped, however they are found out."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from orchestrator import app
from orchestrator.clouds.interface import QueryRefusedError
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.engine import ourselves
from orchestrator.errors import RefusedError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.model.target import Addresses
from orchestrator.plan.load import PlanFile, plan_from_text
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import Scenario, SimulatedNode


def plan(more: str = "") -> PlanFile:
    """Everything, a file at a time."""
    return plan_from_text(f"version: 1\nname: p\ntargets: {{where: [[type=UserVm]]}}\n{more}", name="p.yaml", folder=Path())


@pytest.mark.parametrize("way", ["by query", "row by row", "no such query"])
async def test_neither_is_stopped(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A preview names both and refuses, whether it asks the node for them or reads every VM's addresses; so does a run."""
    scenario = Scenario.model_validate({"vms": [{"name": "vm-{n}", "count": 5}]})
    async with SimulatedNode(scenario, time_scale=50.0) as node:
        machine, manager = node.vm("vm-2"), node.vm("vm-4")
        monkeypatch.setattr(ourselves, "local_macs", lambda: frozenset({machine.nics[0].mac.lower(), "02:00:00:00:00:09"}))

        async def addresses(endpoint: str) -> frozenset[str]:
            return frozenset({manager.nics[0].ip, "127.0.0.1"})

        async def refuse(self: Any, addresses: Addresses) -> frozenset[str]:
            raise QueryRefusedError("no such field")

        monkeypatch.setattr(ourselves, "endpoint_addresses", addresses)
        if way == "no such query":
            monkeypatch.setattr(ZStackCloud, "holders", refuse)
        settings = ConnectionSettings(endpoint=node.endpoint, account_name="admin", account_password=SecretStr("password"))
        file = plan("limits: {per_primary_storage: 5}\n" if way == "row by row" else "")
        shown = await app.preview(file, settings)
        words = [
            f"vm-2 ({machine.uuid}) must not be stopped: it is the machine this program runs on",
            f"vm-4 ({manager.uuid}) must not be stopped: it is the management node itself",
        ]
        assert [problem.partition(";")[0] for problem in shown.problems] == words
        assert shown.totals == {"targets": 5, "ok": 3, "refuse": 2}
        with pytest.raises(RefusedError, match="it is the machine this program runs on"):
            await app.run(file, settings, journal=MemoryJournal())
        assert not node.record.stops
        asked = [request.query for request in node.record.requests if request.path == "/v1/vm-instances"]
        assert any("fields=uuid,name" in query for query in asked) == (way == "by query")
