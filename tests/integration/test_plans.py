"""Every plan in plans/ does what its comment says, against the fleet that those plans name (plans/rehearsal/fleet.yaml)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import app
from orchestrator.engine.preview import Preview
from orchestrator.errors import RefusedError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.plan.load import PlanFile, load_plan, plan_from_text
from orchestrator.plan.model import Limits, Plan, Wave, Window
from orchestrator.simulator import StopJob, load_scenario
from tests.integration.conftest import Trial, peak, settings_for

FOLDER = Path(__file__).resolve().parents[2] / "plans"
PLANS = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("*.json")])
SCALE = 40.0
"""Simulated seconds per second."""
POWER_CUT = 60.0 / SCALE
every_plan = pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
KEPT = {"keep-running", "protected"}
"""Tags of VMs that no example may stop."""
OUTCOMES = {
    **dict.fromkeys(("lab-*", "web-*", "app-*", "db-*", "ha-*", "node-*"), "stopped_clean"),
    "mute-*": "stopped_forced",
    "stuck-*": "stopped_cold",
    "idle-*": "already_stopped",
    "router-*": "skipped",
}
"""What becomes of the fleet's guests wherever a plan names them."""
FIRST_OUTCOME = {"already_stopped", "skipped", "not_found"}
"""Outcomes from before the run: such VMs are no part of a ramp."""


def opening_now(window: Window | None) -> Window | None:
    """The same window, as if it opened two seconds from now."""
    if window is None or window.start is None:
        return window
    start = datetime.now(UTC) + timedelta(seconds=2)
    return window.model_copy(update={"start": start, "end": start + (window.end - window.start)})


def shorter_times(factor: float, section: Any, keys: Sequence[str]) -> Any:
    """A section of a plan with these times compressed."""
    return section.model_copy(update={key: getattr(section, key) * factor for key in keys})


def compressed(file: PlanFile, folder: Path) -> PlanFile:
    """The same plan for a node whose power cut comes after POWER_CUT seconds; its own times keep their proportions."""
    plan = file.plan
    factor = timedelta(seconds=POWER_CUT) / plan.stop.power_cut_after
    times = ("power_cut_after", "grace_timeout", "cold_timeout")

    shorter = partial(shorter_times, factor)

    def wave(written: Wave) -> Wave:
        keys = [key for key in times if key in written.stop.model_fields_set]
        return written.model_copy(update={"stop": shorter(written.stop, keys)})

    update = {
        "evacuate": plan.evacuate
        and plan.evacuate.model_copy(
            update={
                "migrate": shorter(plan.evacuate.migrate, ["timeout"]),
                "host_timeout": plan.evacuate.host_timeout * factor,
            }
        ),
        "stop": shorter(plan.stop, times),
        "waves": tuple(wave(each) for each in plan.waves),
        "limits": plan.limits.model_copy(update={"requests_per_second": 500.0}),
        "window": opening_now(plan.window),
        "guard": plan.guard.model_copy(update={"endpoint": None}),
        "verify": plan.verify.model_copy(update={"after": timedelta(milliseconds=300)}),
        "report": plan.report.model_copy(update={"directory": str(folder / "reports")}),
    }
    return replace(file, plan=plan.model_copy(update=update))


@dataclass
class PlanTrial(Trial):
    """A preview and a run of one example over the examples' fleet."""

    file: PlanFile = field(kw_only=True)
    preview: Preview = field(init=False)
    files: list[Path] = field(init=False)

    async def go(self) -> "PlanTrial":
        """Preview, run, and the report's files."""
        plan_file = compressed(self.file, self.folder)
        async with self.node:
            settings = settings_for(self.node)
            self.preview = await app.preview(plan_file, settings)
            journal = SqliteJournal(self.folder / "journal.sqlite")
            try:
                report = await app.run(plan_file, settings, journal=journal)
                self.files = app.write_reports(report, plan_file.plan.report.formats, plan_file.plan.report.directory)
                self.report = report.document()
            finally:
                await journal.close()
        return self

    @property
    def named(self) -> Plan:
        """The plan as its file has it."""
        return self.file.plan

    def sent_cold(self) -> list[str]:
        """Names of the VMs whose grace fails and whose wave asks for cold then."""
        waves = {wave.name: wave for wave in self.named.waves}
        if self.named.evacuate is not None:
            return []  # they are moved
        stops = {vm.name or "": self.named.stop_of(waves.get(vm.wave or "")) for vm in self.report.vms}
        return [name for name, stop in stops.items() if name.startswith("stuck-") and stop.fallback == "cold"]

    def hold_kept(self) -> None:
        """No stop was sent for a VM that is tagged to stay, and each one the plan excluded is named so."""
        fleet = self.node.scenario.vms
        kept = [name for group in fleet if KEPT & set(group.user_tags) for name in group.names()]
        assert kept
        assert not [name for name in kept if self.node.record.stop_puts(self.sim(name).uuid)]
        excluded = self.report.run.excluded
        assert bool(excluded) is (self.named.exclude is not None)
        assert not [vm.name for vm in excluded if self.node.record.stop_puts(vm.uuid)]

    def stops_of(self, wave: str) -> list[StopJob]:
        """What the node accepted for this wave, in order of time."""
        vms = {vm.uuid for vm in self.report.vms if vm.wave == wave}
        return sorted((stop for stop in self.node.record.stops if stop.vm_uuid in vms), key=lambda stop: stop.accepted)

    def hold_order(self) -> None:
        """By the node's clock each wave begins after the last end of the waves it comes after."""
        for wave in self.named.waves:
            stops = self.stops_of(wave.name)
            assert stops, f"nothing was stopped in wave {wave.name}"
            for before in wave.after:
                ends = [ended(stop) for stop in self.stops_of(before)]
                assert max(ends) <= stops[0].accepted, f"{wave.name} began before {before} had ended"

    def hold_every_limit(self) -> None:
        """Never more in flight than the run's limits and each wave's, and no step of a ramp before the one below it."""
        hold, plan = self.hold_limits, self.named
        hold(**numbers(plan.limits))
        for name, wave in {each.name: each for each in plan.waves}.items() or [("all", None)]:
            stops, limits = self.stops_of(name), plan.limits_of(wave)
            assert peak(stops) <= limits.concurrency
            for host in {stop.host_uuid for stop in stops}:
                assert peak([stop for stop in stops if stop.host_uuid == host]) <= limits.per_host
            self.hold_ramp(name, stops, limits)

    def hold_ramp(self, wave: str, stops: Sequence[StopJob], limits: Limits) -> None:
        """The first VM past each step is sent after every VM of that step has ended."""
        order = list(dict.fromkeys(stop.vm_uuid for stop in stops))
        sent = [vm for vm in self.report.vms if vm.wave == wave and vm.outcome not in FIRST_OUTCOME]
        for step in (amount.ceil_of(len(sent)) for amount in limits.ramp):
            last = max(ended(stop) for stop in stops if stop.vm_uuid in order[:step])
            assert all(stop.accepted >= last for stop in stops if stop.vm_uuid in order[step:]), f"{wave} at step {step}"


def ended(stop: StopJob) -> float:
    """When it ended: in this fleet every stop does."""
    assert stop.ended is not None
    return stop.ended


def numbers(limits: Limits) -> dict[str, int]:
    """The limits that `hold_limits` takes."""
    written = {
        "concurrency": limits.concurrency,
        "per_host": limits.per_host,
        "per_cluster": limits.per_cluster,
        "per_storage": limits.per_primary_storage,
    }
    return {key: value for key, value in written.items() if value is not None}


def plan_trial(folder: Path, file: PlanFile) -> PlanTrial:
    """That plan over the fleet of all examples."""
    return PlanTrial(folder, load_scenario(FOLDER / "rehearsal" / "fleet.yaml").model_dump(), scale=SCALE, file=file)


@every_plan
def test_it_says_when_to_use_it(path: Path) -> None:
    """It begins with at least two lines of comment, and loads without a warning."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("# ") for line in lines[:2])
    assert load_plan(path).warnings == ()


@every_plan
async def test_it_runs_as_it_was_previewed(path: Path, tmp_path: Path) -> None:
    """Previewed without a problem; then each target has the outcome its guest deserves, in order and within the limits."""
    run = await plan_trial(tmp_path, load_plan(path)).go()
    assert (run.preview.problems, run.preview.warnings) == ((), ())
    assert [vm.uuid for vm in run.preview.vms] == [vm.uuid for vm in run.report.vms]
    assert [vm.wave for vm in run.preview.vms] == [vm.wave for vm in run.report.vms]
    run.hold(OUTCOMES if run.named.evacuate is None else {"*": "migrated"}, cold=run.sent_cold())
    run.hold_kept()
    run.hold_order()
    run.hold_every_limit()
    assert (run.report.run.status, run.report.run.exit_code, run.report.run.stops) == ("finished", 0, ())
    window = run.report.run.window
    assert (window is not None) is (run.named.window is not None)
    if window is not None and window.start is not None:
        assert run.report.run.started_at >= window.start
    assert {file.suffix for file in run.files} >= {".json", ".html"}


@every_plan
async def test_protected_targets_refuse_it(path: Path, tmp_path: Path) -> None:
    """Every example has a guard: where its targets carry the tag `protected`, nothing at all is sent."""
    run = plan_trial(tmp_path, load_plan(path))
    assert run.named.guard.protect is not None
    groups = run.node.scenario.model_dump()["vms"]
    tagged = [{**group, "user_tags": (*group["user_tags"], "protected")} for group in groups]
    run = PlanTrial(tmp_path, {**run.scenario, "vms": tagged}, scale=SCALE, file=run.file)
    with pytest.raises(RefusedError, match=r"must not be (stopped|touched)"):
        await run.go()
    assert run.preview.problems
    assert not [request for request in run.node.record.requests if request.vm_uuid in run.node.vms]


async def test_the_hosts_of_the_evacuation_end_in_maintenance(tmp_path: Path) -> None:
    """As its comment says: where all can move nothing is stopped, routers move too, and both hosts end in maintenance."""
    run = await plan_trial(tmp_path, load_plan(FOLDER / "evacuate-hosts.yaml")).go()
    assert not run.node.record.stops
    assert {host.state for host in run.report.hosts} == {"Maintenance"}
    assert [[act.outcome for act in host.actions] for host in run.report.hosts] == [["done"] * 3] * 2
    assert {vm.type for vm in run.report.vms} == {"UserVm", "ApplianceVm"}
    assert run.node.record.peak_migrations() <= 8
    assert all(run.node.record.peak_migrations_per_host(uuid) <= 2 for uuid in run.node.hosts)


async def test_the_canary_that_fails_ends_the_rehearsal(tmp_path: Path) -> None:
    """As its comment says: with the failing guests for targets, one is sent, the others are not reached, exit code 4."""
    text, meant = (FOLDER / "canary.yaml").read_text(encoding="utf-8"), '[cluster.name=rack-12, "name~=web-%"]'
    assert meant in text
    changed = plan_from_text(text.replace(meant, '["name~=broken-%"]'), name="canary.yaml", folder=FOLDER)
    run = await plan_trial(tmp_path, changed).go()
    run.hold_true(cold=list(run.outcomes))
    assert sorted(str(vm.outcome) for vm in run.report.vms) == ["failed", "not_reached", "not_reached"]
    assert len({stop.vm_uuid for stop in run.node.record.stops}) == 1
    assert (run.report.run.ended_by, run.report.run.exit_code) == ("ramp", 4)
