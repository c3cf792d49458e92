"""A run against a simulated node over real sockets, and its report held against what truly happened there."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator import app
from orchestrator.engine.run import Run
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.event import EVENTS, Event, Listener
from orchestrator.model.outcome import STOPPED, Outcome
from orchestrator.model.report import ReportDocument, VmRecord
from orchestrator.plan.load import plan_from_text
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import Scenario, SimulatedNode, SimulatedVm, StopJob

SCALE = 30.0
"""Simulated seconds per second: the power cut comes after 2 s."""
POWER_CUT = 60.0 / SCALE


def settings_for(node: SimulatedNode, **credential: Any) -> ConnectionSettings:
    """Settings for that node; as admin by password unless told otherwise."""
    who = credential or {"account_name": "admin", "account_password": "password"}
    return ConnectionSettings(endpoint=node.endpoint, **who)


def is_listed(event: Event) -> None:
    """No event has a name or a field that the reference lacks."""
    assert set(event.data) <= set(EVENTS[event.kind].fields), event


def peak(stops: Sequence[StopJob]) -> int:
    """The most of these at one time; at one moment an end comes before a beginning."""
    moments = sorted([(s.accepted, 1) for s in stops] + [(s.ended, -1) for s in stops if s.ended is not None])
    most = now = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most


@dataclass
class Trial:
    """One run; `go` makes it, and the rest looks at it. `plan` is laid over the defaults section by section."""

    folder: Path
    scenario: Mapping[str, Any]
    plan: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    credential: dict[str, Any] = field(default_factory=dict)
    scale: float = SCALE
    on_event: Callable[[Event], None] | None = None
    beside: Callable[["Trial"], Coroutine[Any, Any, None]] | None = None
    before: Callable[["Trial"], Coroutine[Any, Any, None]] | None = None
    node: SimulatedNode = field(init=False)
    run: Run | None = None
    report: ReportDocument = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.node = SimulatedNode(Scenario.model_validate(self.scenario), time_scale=self.scale)

    def plan_text(self) -> str:
        """The plan as JSON."""
        cut = 60.0 / self.scale
        plan: dict[str, Any] = {
            "version": 1,
            "name": "truth",
            "targets": {"where": [["name~=%"]]},
            "stop": {"power_cut_after": f"{cut * 1000:.0f}ms", "grace_timeout": f"{cut * 1250:.0f}ms", "cold_timeout": "1s"},
            "limits": {"concurrency": 50, "per_host": 50, "requests_per_second": 500, "node_outage": "20s"},
            "verify": {"after": "500ms"},
            "report": {"directory": str(self.folder / "reports")},
        }
        for section, values in self.plan.items():
            plan[section] = {**plan.get(section, {}), **values}
        return json.dumps(plan)

    async def go(self) -> "Trial":
        """The run, from login to report."""
        text = self.plan_text()
        listeners: list[Listener] = [is_listed, *([self.on_event] if self.on_event is not None else [])]
        async with self.node:
            if self.before is not None:
                await self.before(self)
            plan = plan_from_text(text, name="plan.json", folder=self.folder, json=True)
            journal = SqliteJournal(self.folder / "journal.sqlite")
            began = anyio.current_time()
            try:
                async with anyio.create_task_group() as tasks:
                    if self.beside is not None:
                        tasks.start_soon(self.beside, self)
                    report = await app.run(
                        plan,
                        settings_for(self.node, **self.credential),
                        journal=journal,
                        listeners=lambda run_id: listeners,
                        started=lambda run: setattr(self, "run", run),
                    )
                    self.seconds = anyio.current_time() - began
                    self.report = report.document()
                    tasks.cancel_scope.cancel()
            finally:
                await journal.close()
        return self

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────────────
    def sim(self, name: str) -> SimulatedVm:
        """The VM as the node has it."""
        return self.node.vm(name)

    def vm(self, name: str) -> VmRecord:
        """The VM as the report has it, by name or UUID."""
        found = [vm for vm in self.report.vms if name in (vm.name, vm.uuid)]
        assert len(found) == 1, f"{name} is in the report {len(found)} times"
        return found[0]

    @property
    def outcomes(self) -> dict[str, str | None]:
        """Outcomes by name."""
        return {vm.name or vm.uuid: vm.outcome.value if vm.outcome else None for vm in self.report.vms}

    def colds(self, uuid: str) -> list[StopJob]:
        """Cold stops that the node accepted for this VM."""
        return [stop for stop in self.node.record.stops if stop.vm_uuid == uuid and stop.type == "cold"]

    def why(self, name: str) -> str:
        """What the report says of a VM, for a failing test."""
        vm = self.vm(name)
        attempts = [(a.type.value, a.reason.value, a.result.value, (a.error or {}).get("code")) for a in vm.attempts]
        steps = [(s.before, s.after, s.by[:8]) for s in self.node.record.transitions_of(vm.uuid)]
        return f"{name}: {vm.outcome} {vm.reason} {vm.evidence} {attempts} {steps}"

    # ── holding ────────────────────────────────────────────────────────────────────────────────────────────────────
    def hold(
        self,
        expected: Mapping[str, str | Collection[str]],
        *,
        cold: Collection[str] = (),
        theirs: Collection[str] = (),
        given: Collection[str] = (),
    ) -> None:
        """The report is true, and outcomes are those expected (a name ending in * stands for all that begin so).

        `cold`: the VMs that may have been sent a cold stop. `theirs`: VMs that others may have stopped, as far as the node's
        record can tell. `given`: sessions that are not ours to close.
        """
        self.hold_true(cold=cold, theirs=theirs, given=given)
        wrong = []
        for vm in self.report.vms:
            name = vm.name or vm.uuid
            want = expected.get(name) or next(
                (words for key, words in expected.items() if key.endswith("*") and name.startswith(key[:-1])), None
            )
            words = [want] if isinstance(want, str) else want
            if words is not None and vm.outcome not in words:
                wrong.append(f"expected {want} for {self.why(name)}")
        assert not wrong, "\n".join(wrong)

    def hold_true(self, *, cold: Collection[str] = (), theirs: Collection[str] = (), given: Collection[str] = ()) -> None:
        """What must hold whatever went wrong."""
        record, lies = self.node.record, []
        totals = self.report.totals
        assert totals["targets"] == len(self.report.vms) == sum(n for key, n in totals.items() if key != "targets")
        assert len({vm.uuid for vm in self.report.vms}) == len(self.report.vms)
        for vm in self.report.vms:
            name, sim = vm.name or vm.uuid, self.node.vms.get(vm.uuid)
            ours = {attempt.job_uuid for attempt in vm.attempts}
            steps = record.transitions_of(vm.uuid)
            begun = any(s.after == "Stopping" and s.job in ours for s in steps)
            # After a restart of the node its host sync ends what our job began, and knows no job.
            down = [
                s for s in steps if s.after == "Stopped" and (s.job in ours or (begun and s.by == "agent" and s.job is None))
            ]
            sent = {r.job for r in record.requests if r.vm_uuid == vm.uuid and r.action == "stopVmInstance"}
            checks = {
                "it has no outcome": vm.outcome is None,
                "failed, and it is Stopped": vm.outcome is Outcome.FAILED and sim is not None and sim.state == "Stopped",
                "stopped, but not by us": vm.outcome in STOPPED and not down and name not in theirs,
                "already_stopped, and it was us": vm.outcome is Outcome.ALREADY_STOPPED and bool(down),
                "stopped twice": len(down) > 1,
                "two cold stops": len(self.colds(vm.uuid)) > 1,
                "cold where table A has none": record.cold_puts(vm.uuid) > 0 and name not in cold,
                "skipped, and sent": vm.outcome is Outcome.SKIPPED and bool(sent),
                "a PUT without an intent": not sent <= ours and name not in theirs,
                "clean, and the power was cut": vm.outcome is Outcome.STOPPED_CLEAN and any(s.forced for s in down),
            }
            lies += [f"{lie}: {self.why(name)}" for lie, told in checks.items() if told]
        targets = {vm.uuid for vm in self.report.vms}
        strangers = [uuid for uuid in self.node.vms if uuid not in targets and record.stop_puts(uuid)]
        lies += [f"no target, and sent: {self.node.vms[uuid].name}" for uuid in strangers]
        left_open = set(record.open_sessions()) - set(given)
        assert not left_open, f"sessions left open: {left_open}"
        assert not lies, "\n".join(lies)

    def hold_limits(self, *, concurrency: int, per_host: int, per_cluster: int = 9999, per_storage: int = 9999) -> None:
        """Never more in flight than the plan allows."""
        stops = self.node.record.stops
        clusters: dict[str, list[StopJob]] = defaultdict(list)
        storages: dict[str, list[StopJob]] = defaultdict(list)
        for stop in stops:
            vm = self.node.vms[stop.vm_uuid]
            clusters[vm.cluster.uuid].append(stop)
            for storage in {volume.storage.uuid for volume in vm.volumes}:
                storages[storage].append(stop)
        assert peak(stops) <= concurrency
        assert all(self.node.record.peak_per_host(host) <= per_host for host in self.node.hosts)
        assert all(peak(part) <= per_cluster for part in clusters.values())
        assert all(peak(part) <= per_storage for part in storages.values())


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., Trial]:
    """Makes a trial in a folder of its own."""
    return lambda scenario, **options: Trial(tmp_path, scenario, **options)
