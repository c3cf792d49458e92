"""Stop many ZStack virtual machines within a window, and answer for each of them.

What a Python user imports; names are looked up when first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.app import open_journal, preview, run, write_reports
    from orchestrator.clouds.zstack.client import ZStackClient
    from orchestrator.clouds.zstack.wire import VmInventory
    from orchestrator.errors import OrchestratorError, PlanError, RefusedError, UsageError, ZStackError
    from orchestrator.model.outcome import Outcome
    from orchestrator.model.report import RunReport
    from orchestrator.plan.load import load_plan
    from orchestrator.settings import ConnectionSettings

_HOMES = {
    "ConnectionSettings": "orchestrator.settings",
    "OrchestratorError": "orchestrator.errors",
    "Outcome": "orchestrator.model.outcome",
    "PlanError": "orchestrator.errors",
    "RefusedError": "orchestrator.errors",
    "RunReport": "orchestrator.model.report",
    "UsageError": "orchestrator.errors",
    "VmInventory": "orchestrator.clouds.zstack.wire",
    "ZStackClient": "orchestrator.clouds.zstack.client",
    "ZStackError": "orchestrator.errors",
    "load_plan": "orchestrator.plan.load",
    "open_journal": "orchestrator.app",
    "preview": "orchestrator.app",
    "run": "orchestrator.app",
    "write_reports": "orchestrator.app",
}

__all__ = [
    "ConnectionSettings",
    "OrchestratorError",
    "Outcome",
    "PlanError",
    "RefusedError",
    "RunReport",
    "UsageError",
    "VmInventory",
    "ZStackClient",
    "ZStackError",
    "load_plan",
    "open_journal",
    "preview",
    "run",
    "write_reports",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
