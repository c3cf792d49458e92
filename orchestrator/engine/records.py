"""The records a run begins with, and their sums. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.engine.admit import WAVE, Verdict
from orchestrator.engine.preview import Preview, plan_digest
from orchestrator.engine.resolve import Resolution
from orchestrator.model.outcome import Outcome
from orchestrator.model.report import Evidence, RunRecord, VmRecord
from orchestrator.plan.load import PlanFile


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan resolved and judged, nothing sent: what a preview shows and a run begins with."""

    plan_file: PlanFile
    resolution: Resolution
    verdicts: list[Verdict]
    preview: Preview


def first_record(verdict: Verdict, levels: Mapping[str, str], now: str) -> VmRecord:
    """A target before its turn, or with the outcome it has already. `levels`: HA levels by UUID."""
    seen = verdict.target.seen
    row = seen.row if seen is not None else None
    outcome = verdict.outcome
    return VmRecord(
        uuid=verdict.target.uuid,
        name=row.name if row else None,
        type=row.type if row else None,
        host_uuid=row.host_uuid if row else None,
        cluster_uuid=row.cluster_uuid if row else None,
        wave=WAVE,
        ha_level=levels.get(verdict.target.uuid),
        outcome=outcome,
        reason=verdict.reason,
        evidence=Evidence(text=verdict.why, basis="state" if row else "none") if outcome is not None else None,
        state_before=row.state if row else None,
        state=row.state if row else None,
        finished_at=now if outcome is not None else None,
        inventory=dict(seen.inventory) if seen is not None else None,
    )


def totals_of(records: Iterable[VmRecord]) -> dict[str, int]:
    """`targets` and every outcome."""
    counts = Counter(record.outcome for record in records)
    return {"targets": counts.total(), **{outcome.value: counts[outcome] for outcome in Outcome}}


def run_record(prepared: Prepared, *, run_id: str, started_at: str, started_by: str, tool_version: str) -> RunRecord:
    """The run's own record before anything was sent."""
    plan, resolution = prepared.plan_file.plan, prepared.resolution
    return RunRecord(
        id=run_id,
        plan=plan.name,
        reference=plan.reference,
        plan_digest=plan_digest(prepared.plan_file.text),
        plan_text=prepared.plan_file.text,
        endpoint=resolution.facts.endpoint,
        node_version=resolution.facts.version,
        tool_version=tool_version,
        started_by=started_by,
        started_at=started_at,
        excluded=resolution.excluded,
        selectors=resolution.selectors,
        warnings=prepared.preview.warnings,
    )
