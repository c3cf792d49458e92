"""The code that the how-to shows is code that runs."""

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import Scenario, SimulatedNode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to-replace-an-sdk-script.md"


async def test_the_python_shown_stops_a_vm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run against a simulated node, with only the UUID replaced, it prints the stopped VM."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    vm = {"name": "vm-1", "guest": {"shutdown": [1, 2]}}
    async with SimulatedNode(Scenario.model_validate({"vms": [vm]}), time_scale=50.0) as node:
        monkeypatch.setenv("ZSTACK_ENDPOINT", node.endpoint)
        monkeypatch.setenv("ZSTACK_ACCOUNT_NAME", "admin")
        monkeypatch.setenv("ZSTACK_ACCOUNT_PASSWORD", "password")
        code = found[1].replace("a6162b0be4104d069ab42f708d7da150", node.vm("vm-1").uuid).replace("asyncio.run(main())", "")
        names: dict[str, Any] = {}
        exec(code, names)
        await names["main"]()
        assert node.record.open_sessions() == []
    assert "Stopped" in capsys.readouterr().out
