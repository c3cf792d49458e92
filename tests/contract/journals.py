"""Journals and what they are given, for the tests of their promises."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.journal.interface import Journal
from orchestrator.journal.owner import Owner, this_process
from orchestrator.model.outcome import AttemptReason, AttemptResult, AttemptType
from orchestrator.model.report import AttemptRecord, RunRecord, VmRecord

ME = this_process("ops@jump1")
"""A process that lives: this one."""
OTHER = this_process("night@jump2")
"""Another owner that lives."""
DEAD = this_process("gone@jump3").model_copy(update={"began": 1})
"""A process that is no more: its id belongs to one that began later."""


def a_run(run_id: str = "20261128T220000Z-7f3a", started_at: str = "2026-11-28T22:00:00Z", **changes: Any) -> RunRecord:
    """A run's record."""
    return RunRecord(
        id=run_id, plan="p", plan_digest="sha256:0", plan_text="x", endpoint="http://n", tool_version="0",
        started_by="a@b", started_at=started_at,
    ).model_copy(update=changes)  # fmt: skip


def an_attempt(result: AttemptResult = AttemptResult.RUNNING) -> AttemptRecord:
    """A grace attempt."""
    return AttemptRecord(
        type=AttemptType.GRACE, reason=AttemptReason.PLAN, job_uuid="f" * 32, api_timeout_seconds=240, result=result
    )


def some_vms(*numbers: int) -> list[VmRecord]:
    """Targets by number."""
    return [VmRecord(uuid=f"{number:032x}", name=f"vm {number}", host_uuid="h") for number in numbers]


async def begin(
    journal: Journal, run: RunRecord, vms: Sequence[VmRecord] = (), owner: Owner = ME, plan: Mapping[str, Any] | None = None
) -> RunRecord:
    """A run begun."""
    await journal.begin(run, vms, plan or {}, owner)
    return run
