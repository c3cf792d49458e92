"""The records a run begins with, and their sums. Pure."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.actions.saved import Saved
from orchestrator.engine.admit import Verdict
from orchestrator.engine.course import Known
from orchestrator.engine.ourselves import Ourselves
from orchestrator.engine.preview import Preview, evacuation_of, plan_digest
from orchestrator.engine.resolve import Resolution
from orchestrator.engine.window import times_of
from orchestrator.errors import RefusedError
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import Evidence, HostActionRecord, RunRecord, VmRecord, WaveRecord
from orchestrator.model.target import HostRow, VmRow
from orchestrator.plan.load import PlanFile
from orchestrator.plan.model import Plan


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan resolved and judged, nothing sent: what a preview shows and a run begins with."""

    plan_file: PlanFile
    resolution: Resolution
    verdicts: list[Verdict]
    preview: Preview
    known: Known = field(default_factory=dict)
    """What its VMs took in earlier runs."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run keeps in memory of VMs that have an outcome, one of these for all that have the same; the journal has the
    rest. The fields are those of `VmRecord`.
    """

    host_uuid: str | None
    wave: str | None
    outcome: Outcome | None
    reason: Reason | None
    verified_at: str | None


@dataclass(frozen=True, slots=True)
class HostBefore:
    """A host that a run changes, as a run finds it, with what an earlier process did to it; `saved`: what of that is under
    way, None where nothing is.
    """

    row: HostRow
    actions: tuple[HostActionRecord, ...] = ()
    saved: Saved | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """What a run begins with: anew, or as the journal holds it of a process that has ended.

    `records` are all targets in the plan's order. `rows` are those without an outcome, where they were last seen.
    `saved` are stops under way, and ended ones that verification may judge anew; empty for a new run.
    """

    plan: Plan
    run: RunRecord
    records: Sequence[VmRecord]
    rows: Mapping[str, VmRow]
    clock_ahead_seconds: float | None
    plan_file: Mapping[str, Any] | None
    """What the journal keeps of the plan; None where it has it already."""
    saved: Mapping[str, Saved] = field(default_factory=dict)
    waves: Sequence[WaveRecord] = ()
    """What an earlier process knew of the waves' times."""
    known: Known = field(default_factory=dict)
    """What VMs took in earlier runs."""
    host_names: Mapping[str, str] = field(default_factory=dict)
    """For a person's eyes, as far as they are known."""
    whole: Callable[[], Iterable[VmRecord]] | None = None
    """`records` with their inventories, one by one, for the journal; in any thread. None where they have them."""
    hosts: Sequence[HostBefore] = ()
    """Hosts that are changed: to be emptied, or in a restore to be enabled."""
    source: PlanFile | None = None
    """The plan with its selectors, for VMs that turn up later; None where none are looked for."""
    ours: Ourselves | None = None
    """Who must stay up whatever the plan says; None where that is asked when it is needed."""


def opening(prepared: Prepared, run: RunRecord) -> Opening:
    """Of a new run. Raises RefusedError where the preview has problems."""
    if prepared.preview.problems:
        raise RefusedError("; ".join(prepared.preview.problems))
    resolution = prepared.resolution
    records = [first_record(verdict, resolution.ha_levels, run.started_at) for verdict in prepared.verdicts]
    rows = {
        verdict.target.uuid: verdict.target.row
        for verdict in prepared.verdicts
        if verdict.outcome is None and verdict.target.row is not None
    }
    kept = keep_plan(prepared.plan_file)
    ahead = resolution.facts.clock_ahead_seconds
    places = array("q", [-1 if v.target.aside is None else v.target.aside for v in prepared.verdicts])
    aside = resolution.aside

    def whole() -> Iterator[VmRecord]:
        for record, at in zip(records, places, strict=True):
            yield record if aside is None or at < 0 else replace(record, inventory=aside.get(at))

    names = {host.uuid: host.name for host in prepared.preview.hosts if host.name is not None}
    return Opening(
        prepared.plan_file.plan, run, records, rows, ahead, kept, known=prepared.known, host_names=names, whole=whole,
        hosts=[HostBefore(host) for host in resolution.hosts], source=prepared.plan_file, ours=resolution.ours,
    )  # fmt: skip


def keep_plan(plan_file: PlanFile) -> dict[str, Any]:
    """What a later process needs of the plan's files, which may have changed by then."""
    return {
        "path": str(plan_file.path),
        "text": plan_file.text,
        "uuid_files": {
            key: [[name, list(uuids)] for name, uuids in selected.sources]
            for key, selected in (
                ("exclude", plan_file.exclude),
                ("protect", plan_file.protect),
                *((f"wave {at}", wave) for at, wave in enumerate(plan_file.waves)),
            )
            if selected is not None
        },
    }


def first_record(verdict: Verdict, levels: Mapping[str, str], now: str) -> VmRecord:
    """A target before its turn, or with the outcome it has already. `levels`: HA levels by UUID."""
    row = verdict.target.row
    outcome = verdict.outcome
    return VmRecord(
        uuid=verdict.target.uuid,
        name=row.name if row else None,
        type=row.type if row else None,
        host_uuid=row.host_uuid if row else None,
        cluster_uuid=row.cluster_uuid if row else None,
        wave=verdict.wave,
        ha_level=levels.get(verdict.target.uuid),
        outcome=outcome,
        reason=verdict.reason,
        evidence=Evidence(text=verdict.why, basis="state" if row else "none") if outcome is not None else None,
        state_before=row.state if row else None,
        state=row.state if row else None,
        finished_at=now if outcome is not None else None,
    )


def totals_of(records: Iterable[VmRecord | Settled]) -> dict[str, int]:
    """`targets` and every outcome."""
    counts = Counter(record.outcome for record in records)
    return {"targets": counts.total(), **{outcome.value: counts[outcome] for outcome in Outcome}}


def run_record(
    prepared: Prepared, *, run_id: str, started_at: str, started_by: str, tool_version: str, parent_run: str | None = None
) -> RunRecord:
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
        parent_run=parent_run,
        started_at=started_at,
        excluded=resolution.excluded,
        selectors=resolution.selectors,
        warnings=prepared.preview.warnings,
        window=times.record() if (times := times_of(plan.window)) is not None else None,
        evacuate=evacuation_of(plan),
    )
