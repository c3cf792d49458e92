"""Before a run, one odd moment of the node refuses nobody."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator import app
from orchestrator.clouds.zstack import http
from orchestrator.engine import resolve
from orchestrator.plan.load import plan_from_text
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import Fault, Scenario, SimulatedNode

PLAN = "version: 1\nname: p\ntargets: {where: [[type=UserVm]]}\n"


@pytest.mark.parametrize("kind", ["too_many_requests", "drop_before"])
@pytest.mark.parametrize("on", ["login", "query", "version"])
async def test_one_odd_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, kind: str, on: str) -> None:
    """A 429 or a broken connection, once, at the login, a query or the version: the preview is made all the same."""
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(resolve, "_PAUSES", (0.01, 0.02))
    async with SimulatedNode(Scenario.model_validate({"vms": [{"name": "vm-1"}]}), time_scale=50.0) as node:
        where = {"on": on} if on != "version" else {"on": "any", "paths": ("*/management-nodes/actions",)}
        fault = Fault.model_validate({"kind": kind, "first": 1, **where})
        node.faults.add(fault)
        settings = ConnectionSettings(endpoint=node.endpoint, account_name="admin", account_password=SecretStr("password"))
        shown = await app.preview(plan_from_text(PLAN, name="p.yaml", folder=Path()), settings)
        assert shown.totals["ok"] == 1
        assert node.faults.struck(fault) == 1
