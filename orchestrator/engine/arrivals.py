"""VMs that turn up on hosts that are being emptied: whom the plan spares, and the records of those that are targets too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from orchestrator.clouds.interface import Cloud, NodeFacts, QueryRefusedError
from orchestrator.engine.admit import Kind, Verdict, admit
from orchestrator.engine.ourselves import Ourselves, find_ourselves
from orchestrator.engine.outage import Outage
from orchestrator.engine.records import first_record
from orchestrator.engine.resolve import Resolution, Target, resolve_found
from orchestrator.errors import UsageError
from orchestrator.model.counts import counted, first_few, was
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import Evidence, Excluded, RunRecord, VmRecord
from orchestrator.model.safe import one_line
from orchestrator.model.target import Seen, VmRow
from orchestrator.plan.load import PlanFile

_LOOKUP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """Records of new targets, with an outcome where they must not be touched; `rows` of the others. `excluded` are none, and
    `warnings` say which others were left alone, and why.
    """

    records: Sequence[VmRecord] = ()
    rows: Mapping[str, VmRow] = field(default_factory=dict)
    excluded: Sequence[Excluded] = ()
    warnings: Sequence[str] = ()


class Arrivals:
    """Asks the node what the plan's selectors say of them, as it was asked before the run.

    `source`: the plan with them; `ours`: who must stay up whatever it says, None where that is not known yet.
    """

    def __init__(
        self, run: RunRecord, source: PlanFile | None, ours: Ourselves | None, cloud: Cloud, outage: Outage
    ) -> None:
        self._source = source
        self._cloud = cloud
        self._outage = outage
        self._facts = NodeFacts(run.endpoint, run.node_version, None, None)
        self._ours = ours
        self.spared = {vm.uuid for vm in run.excluded}
        """VMs that the plan leaves alone."""

    async def meet(self, found: Sequence[Seen], now: str, targets: int) -> Arrived:
        """`targets`: how many there are already.

        Raises NodeGoneError. Where the node takes the plan's selectors no more, all are left alone.
        """
        try:
            resolution = await self._outage.call(lambda: self._resolve(found))
        except UsageError as error:
            self.spared.update(seen.row.uuid for seen in found)
            why = f"for nobody could say whom the plan spares ({error})"
            return Arrived(warnings=[_left_alone([seen.row.name or seen.row.uuid for seen in found], why)])
        self.spared.update(vm.uuid for vm in resolution.excluded)
        assert self._source is not None
        verdicts = admit(resolution, self._source.plan)
        most = self._source.plan.guard.max_targets
        room = len(verdicts) if most is None else max(0, most - targets)
        over, verdicts = verdicts[room:], verdicts[:room]
        self.spared.update(verdict.target.uuid for verdict in over)
        records = [_spared(verdict, first_record(verdict, resolution.ha_levels, now), now) for verdict in verdicts]
        rows = {
            record.uuid: verdict.target.row
            for verdict, record in zip(verdicts, records, strict=True)
            if record.outcome is None and verdict.target.row is not None
        }
        names = [_name(verdict.target) for verdict in over]
        why = f"for with {'it' if len(over) == 1 else 'them'} the targets would be more than guard.max_targets {most}"
        return Arrived(records, rows, resolution.excluded, [_left_alone(names, why)] if over else [])

    def leave(self, arrived: Arrived, theirs: Mapping[str, str]) -> Arrived:
        """The same without those that other runs have, which go on: `theirs`, each with its run."""
        self.spared.update(theirs)
        warnings = list(arrived.warnings)
        for run in dict.fromkeys(theirs.values()):
            names = [vm.name or vm.uuid for vm in arrived.records if theirs.get(vm.uuid) == run]
            warnings.append(_left_alone(names, f"to run {run}, which has {'it' if len(names) == 1 else 'them'} too"))
        return replace(
            arrived,
            records=[vm for vm in arrived.records if vm.uuid not in theirs],
            rows={uuid: row for uuid, row in arrived.rows.items() if uuid not in theirs},
            warnings=warnings,
        )

    async def _resolve(self, found: Sequence[Seen]) -> Resolution:
        assert self._source is not None, "a run that empties hosts knows its plan's selectors"
        try:
            if self._ours is None:
                with anyio.fail_after(_LOOKUP_SECONDS):
                    self._ours = await (await find_ourselves(self._facts.endpoint)).ask(self._cloud)
            return await resolve_found(self._source, self._cloud, found, self._facts, self._ours)
        except QueryRefusedError as error:
            raise UsageError(error.detail) from None
        except TimeoutError:
            raise UsageError("the endpoint's name cannot be looked up") from None


def _name(target: Target) -> str:
    return (target.row.name if target.row is not None else None) or target.uuid


def _left_alone(names: Sequence[str], why: str) -> str:
    some = first_few(one_line(name, 60) for name in names)
    return f"{counted(len(names))} that turned up {was(len(names))} left alone, {why}: {some}"


def _spared(verdict: Verdict, record: VmRecord, now: str) -> VmRecord:
    """What must not be touched is left on its host."""
    if verdict.kind is not Kind.REFUSE:
        return record
    evidence = Evidence(text=f"{verdict.why}: it must not be touched", basis="state")
    return replace(record, outcome=Outcome.SKIPPED, reason=Reason.PROTECTED, evidence=evidence, finished_at=now)
