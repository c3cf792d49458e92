"""What is noted of a run itself as it goes: warnings, what ended or held back what, and its waves."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.engine.clock import Clock
from orchestrator.engine.legs import WAVE, waves_of
from orchestrator.engine.records import Settled, totals_of
from orchestrator.model.report import EndedBy, Excluded, RunRecord, RunStatus, StopRecord, VmRecord, WaveRecord
from orchestrator.plan.model import Plan


class Chronicle:
    """`run`: the run's record as it stands now, but for the stops. `waves`: what an earlier process noted of them."""

    def __init__(self, run: RunRecord, waves: Sequence[WaveRecord], plan: Plan, clock: Clock) -> None:
        self.run = run
        self._stops = list(run.stops)
        self._waves = {wave.name: wave for wave in waves}
        self._plan = plan
        self._clock = clock

    def warn(self, text: str) -> None:
        """One more warning of the report."""
        self.run = self.run.model_copy(update={"warnings": (*self.run.warnings, text)})

    def exclude(self, vms: Sequence[Excluded]) -> None:
        """More that the plan leaves alone."""
        self.run = self.run.model_copy(update={"excluded": (*self.run.excluded, *vms)})

    def stop(self, kind: str, scope: str = "run", *, count: int | None = None, limit: int | None = None) -> None:
        """Something has ended the sending: in all of the run, or in what `scope` names."""
        self._stops.append(StopRecord(kind=kind, scope=scope, at=self._clock.wall(), count=count, limit=limit))

    def window_left_out(self) -> None:
        """The window leaves somebody out; noted once."""
        if not any(stop.kind == "window" and stop.scope == "run" for stop in self._stops):
            self.stop("window")

    def wave(self, name: str, what: str) -> None:
        """A wave was opened (`started_at`), or came to its end (`finished_at`); the first time stands."""
        wave = self._waves.get(name) or _unseen(name)
        if getattr(wave, what) is None:
            wave = wave.model_copy(update={what: self._clock.wall()})
        self._waves[name] = wave

    def finish(
        self,
        status: RunStatus,
        ended_by: EndedBy | None,
        exit_code: int,
        host_names: Mapping[str, str],
        destinations: Mapping[str, str],
    ) -> RunRecord:
        """The record of a run that is over. `host_names` by UUID: a budget was crossed under its host's UUID. `destinations`
        are the names by UUID of hosts that VMs were migrated to.
        """
        names = {f"host {uuid}": f"host {name}" for uuid, name in host_names.items()}
        self.run = self.run.model_copy(
            update={
                "status": status,
                "ended_by": ended_by,
                "exit_code": exit_code,
                "finished_at": self._clock.wall(),
                "destinations": dict(destinations),
                "stops": tuple(stop.model_copy(update={"scope": names.get(stop.scope, stop.scope)}) for stop in self._stops),
            }
        )
        return self.run

    def waves(self, records: Iterable[VmRecord | Settled]) -> list[WaveRecord]:
        """Every wave with its totals; the one of a plan without waves has the run's own times."""
        if not self._plan.waves:
            at, until = self.run.started_at, self.run.finished_at
            return [WaveRecord(name=WAVE, started_at=at, finished_at=until, totals=totals_of(records))]
        members: dict[str, list[VmRecord | Settled]] = {name: [] for name in waves_of(self._plan)}
        for record in records:
            members[record.wave or WAVE].append(record)
        return [
            (self._waves.get(name) or _unseen(name)).model_copy(update={"totals": totals_of(members[name])})
            for name in members
        ]


def _unseen(name: str) -> WaveRecord:
    return WaveRecord(name=name, started_at=None, finished_at=None, totals={})
