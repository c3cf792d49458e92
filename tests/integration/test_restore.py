"""Stop and restore over real sockets: what was stopped is started, once, where it was, and nothing else is touched."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator import app
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import ReportDocument, RunReport
from orchestrator.plan.load import plan_from_text
from tests.integration.conftest import Trial, settings_for

QUICK = {"shutdown": [1, 6]}


def group(name: str, count: int = 1, guest: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Some VMs."""
    return {"name": name, "count": count, "guest": guest or QUICK, **more}


@dataclass
class Undone(Trial):
    """A run, and restores of it. `between` happens after the run."""

    between: Callable[["Undone"], None] = lambda trial: None
    times: int = 1
    before_hosts: dict[str, str | None] = field(default_factory=dict)
    restored: list[ReportDocument | None] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def go(self) -> "Undone":
        """The run, and its restores."""
        async with self.node:
            self.before_hosts = {uuid: vm.host_uuid for uuid, vm in self.node.vms.items()}
            plan = plan_from_text(self.plan_text(), name="plan.json", folder=self.folder, json=True)
            journal = SqliteJournal(self.folder / "journal.sqlite")
            try:
                stopped = await app.run(plan, settings_for(self.node), journal=journal)
                self.report = stopped.document()
                self.between(self)
                for _ in range(self.times):
                    back: RunReport | None = await app.restore(
                        stopped.run, settings_for(self.node), journal=journal, say=lambda _, text: self.said.append(text)
                    )
                    self.restored.append(None if back is None else back.document())
            finally:
                await journal.close()
        return self

    def hold_back(self, names: Sequence[str]) -> ReportDocument:
        """The first restore started exactly these, once each, and left every other VM alone."""
        report = self.restored[0]
        assert report is not None
        started = {vm.name for vm in report.vms if vm.outcome is Outcome.STARTED}
        assert started == set(names)
        for uuid, vm in self.node.vms.items():
            steps = [step for step in self.node.record.transitions_of(uuid) if step.after == "Running" and step.job]
            puts = {request.job for request in self.node.record.requests if self.starts(request, uuid)}
            assert len(steps) == (1 if vm.name in started else 0), f"{vm.name} was started {len(steps)} times"
            assert (vm.state == "Running") is (vm.name in started or bool(vm.host_uuid))
            if vm.name in started:
                record = next(each for each in report.vms if each.uuid == uuid)
                assert puts <= {attempt.job_uuid for attempt in record.attempts}
                assert record.host_uuid == vm.host_uuid
            else:
                assert not puts
        assert self.node.record.open_sessions() == []
        return report

    @staticmethod
    def starts(request: Any, uuid: str) -> bool:
        """Is it a start of this VM?"""
        return request.action == "startVmInstance" and uuid in request.path


Undoing = Callable[..., Undone]


@pytest.fixture
def undone(tmp_path: Any) -> Undoing:
    """Makes one in a folder of its own."""
    return lambda scenario, **options: Undone(tmp_path, scenario, **options)


async def test_there_and_back(undone: Undoing) -> None:
    """Everything that ran runs again, each VM on its host; what was Stopped before stays so; twice does nothing more."""
    scenario = {
        "clusters": [{"name": "rack", "hosts": 4}],
        "vms": [group("app-{n}", 12), group("off-{n}", 2, state="Stopped"), group("router", type="ApplianceVm")],
    }
    run = await undone(scenario, times=2).go()
    report = run.hold_back([f"app-{n}" for n in range(1, 13)])
    assert {uuid: vm.host_uuid for uuid, vm in run.node.vms.items()} == run.before_hosts
    assert (report.run.exit_code, report.run.parent_run) == (0, run.report.run.id)
    assert run.restored[1] is None


async def test_waves_come_back_in_reverse(undone: Undoing) -> None:
    """By the node's own record the databases run before the first application is started."""
    waves = [{"name": "app", "where": [["name~=app-%"]]}, {"name": "db", "after": ["app"], "where": [["name~=db-%"]]}]
    made = undone({"vms": [group("app-{n}", 6), group("db-{n}", 3)]})
    text = made.plan_text()
    made.plan_text = lambda: text[:-1] + f', "waves": {waves!r}}}'.replace("'", '"')  # type: ignore[method-assign]
    run = await made.go()
    report = run.hold_back([*(f"app-{n}" for n in range(1, 7)), *(f"db-{n}" for n in range(1, 4))])
    assert [wave.name for wave in report.waves] == ["db", "app"]
    at = {"db": list[float](), "app": list[float]()}
    for step in run.node.record.transitions:
        if step.job and step.after in {"Starting", "Running"}:
            at[run.node.vms[step.vm_uuid].name.split("-")[0]].append(step.at)
    assert max(at["db"]) <= min(at["app"])


async def test_a_host_that_takes_nothing_any_more(undone: Undoing) -> None:
    """One host is in maintenance: its VMs are started on another one, and the report says where."""

    def maintain(run: Undone) -> None:
        next(iter(run.node.hosts.values())).state = "Maintenance"

    scenario = {"clusters": [{"name": "rack", "hosts": 2}], "vms": [group("vm-{n}", 6)]}
    run = await undone(scenario, between=maintain).go()
    report = run.hold_back([f"vm-{n}" for n in range(1, 7)])
    shut = next(iter(run.node.hosts))
    moved = [vm for vm in report.vms if run.before_hosts[vm.uuid] == shut]
    assert moved
    assert all(vm.host_uuid != shut and [a.reason for a in vm.attempts] == ["plan", "error"] for vm in moved)


async def test_what_others_did_meanwhile(undone: Undoing) -> None:
    """Started, destroyed, started and stopped again by others: named, and nothing is sent to any of them."""

    def meddle(run: Undone) -> None:
        run.node.act(run.sim("vm-1").uuid, "start")
        run.node.act(run.sim("vm-2").uuid, "destroy")

    run = await undone({"vms": [group("vm-{n}", 5)]}, between=meddle).go()
    report = run.restored[0]
    assert report is not None
    found = {vm.name: (vm.outcome, vm.reason) for vm in report.vms}
    assert found["vm-1"] == (Outcome.ALREADY_RUNNING, None)
    assert found["vm-2"] == (Outcome.NOT_FOUND, Reason.UNKNOWN_UUID)
    assert [found[f"vm-{n}"][0] for n in (3, 4, 5)] == [Outcome.STARTED] * 3
    for name in ("vm-1", "vm-2"):
        assert not [r for r in run.node.record.requests if Undone.starts(r, run.vm(name).uuid)]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "slow", "html"])
async def test_starts_whose_answer_is_lost(undone: Undoing, kind: str) -> None:
    """Whatever becomes of the answers to the starts: every VM is started once."""
    fault = {"kind": kind, "on": "start", "every": 2, "first": 4, "seconds": 1, "handled": True}
    run = await undone({"vms": [group("vm-{n}", 8)], "faults": [fault]}).go()
    run.hold_back([f"vm-{n}" for n in range(1, 9)])


async def test_a_node_that_restarts_while_it_starts(undone: Undoing) -> None:
    """The node is away for a while in mid-restore: nothing is started twice, and everything runs at the end."""
    fault = {"kind": "slow_start", "seconds": 5}
    tasks: list[asyncio.Task[None]] = []

    async def restart(run: Undone) -> None:
        await asyncio.sleep(0.3)
        await run.node.restart(10.0)

    made = undone(
        {"vms": [group("vm-{n}", 6)], "faults": [fault]},
        plan={"limits": {"concurrency": 2}},
        between=lambda run: tasks.append(asyncio.create_task(restart(run))),
    )
    run = await made.go()
    report = run.restored[0]
    assert report is not None
    for vm in report.vms:
        steps = [s for s in run.node.record.transitions_of(vm.uuid) if s.after == "Starting" and s.job]
        assert len(steps) <= 1, f"{vm.name} was started twice"
        assert vm.outcome in {Outcome.STARTED, Outcome.ALREADY_RUNNING}, (vm.name, vm.outcome, vm.evidence)
