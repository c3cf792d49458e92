"""Runs that empty hosts, and restores that open them, killed at any instant again and again, held against the node's record.

ORCHESTRATOR_KILLS and ORCHESTRATOR_KILL_SEED as for test_kills; a failing walk names the seed that replays it.
"""

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.outcome import Outcome
from orchestrator.simulator import Fault, Guest, Scenario, VmGroup
from orchestrator.simulator.scenario import ClusterSpec, HostSpec, NodeSettings
from orchestrator.simulator.spread import between
from tests.cli.support import fleet
from tests.faults.killing import CLEAN, KILLED, Instant, Nursery, Walk, instants
from tests.integration.conftest import Trial
from tests.integration.emptying import hold_hosts, hold_migration_limits, hold_moves, watch_maintenance

WALKS = max(3, int(os.environ.get("ORCHESTRATOR_KILLS", "200")) // 66)
SEED = int(os.environ.get("ORCHESTRATOR_KILL_SEED", "1"))
OLD = ("old-1", "old-2", "old-3")
MOVED = ("migrated",)
EXPECTED: Mapping[str, tuple[str, ...]] = {
    "vm-*": MOVED,
    "router": MOVED,
    "late": ("migrated", *CLEAN),
    "half-*": CLEAN,
    "refused": CLEAN,
    "pinned-*": CLEAN,
    "stuck": ("stopped_cold",),
}
_SIGNS = {"before host": 3, "after host": 4, "lost host": 2, "late host": 2, "before migrate": 3, "after migrate": 4,
          "lost migrate": 2, "late migrate": 2, "after stop": 2, "lost stop": 1, "after query": 3, "after poll": 2,
          "host.sent": 3, "host.outcome": 5, "vm.sending": 1, "vm.sent": 2, "vm.outcome": 3}  # fmt: skip
"""What a run that empties hosts does again and again."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Where commands are forked."""
    with Nursery() as made:
        yield made


def emptied_fleet(seed: int) -> Scenario:
    """Three hosts to be emptied, one of them Disabled before, with guests of every kind; every third seed has a bad wire."""

    def moving(how: Any) -> Guest:
        late = {"migration_fails_after": 3.0, "migration_late_after": 5.0}
        return Guest.model_validate({"shutdown": [1, 8], "migration": how, **late})

    bad_wire = (
        Fault(kind="drop_after", on="migrate", vms=("*-*",), every=4),
        Fault(kind="drop_before", on="migrate", vms=("*-*",), every=5),
        Fault(kind="drop_after", on="host", hosts=("old-*",), every=3),
        Fault(kind="drop_before", on="host", hosts=("old-*",), every=4),
    )
    return Scenario(
        seed=seed,
        node=NodeSettings(host_sync=2, migrate=between(4, 14), host_change=between(1, 8), reconnect=between(2, 6)),
        accounts=fleet().accounts,
        clusters=(
            ClusterSpec(
                name="rack",
                hosts=tuple(
                    HostSpec(name=name, state="Disabled" if name == "old-2" else "Enabled")
                    for name in (*OLD, "new-1", "new-2")
                ),
            ),
        ),
        vms=(
            VmGroup(name="vm-{n}", count=15, hosts=OLD, guest=moving("obeys")),
            VmGroup(name="router", hosts=("old-3",), type="ApplianceVm"),
            VmGroup(name="half-{n}", count=2, hosts=OLD, guest=moving("fails_halfway")),
            VmGroup(name="late", hosts=("old-1",), guest=moving("late_success")),
            VmGroup(name="refused", hosts=("old-2",), guest=moving("refused")),
            VmGroup(name="pinned-{n}", count=3, hosts=("old-1", "old-3"), pinned=True, guest=moving("obeys")),
            VmGroup(name="stuck", hosts=("old-3",), pinned=True, guest=Guest(behaviour="fails_grace_only", fails_after=3)),
            VmGroup(name="else-{n}", count=3, hosts=("new-1", "new-2"), guest=moving("obeys")),
        ),
        faults=bad_wire if seed % 3 == 2 else (),
    )


class Evacuated(Walk):
    """A run that empties hosts, its kills, and its end; `restore` goes on from there."""

    def __init__(self, folder: Path, seed: int, nursery: Nursery) -> None:
        sections: dict[str, Any] = {
            "targets": {"hosts": {"names": list(OLD)}},
            "evacuate": {"vms": "migrate_then_stop", "migrate": {"timeout": "3s", "concurrency": 4}, "host_timeout": "3s"},
        }
        super().__init__(folder, emptied_fleet(seed), nursery.start, **sections)
        self.met: list[tuple[str, str | None, tuple[str, ...]]] = []
        watch_maintenance(self.node.sim, self.met)

    def _hold_true(self, trial: Trial, expected: Mapping[str, tuple[str, ...]]) -> None:
        record = trial.node.record
        assert not self.trap.unwritten, f"sent before it was written down: {self.trap.unwritten}"
        left_open = record.open_sessions()
        assert len(left_open) <= len(self.spent), f"{len(left_open)} sessions left open by {len(self.spent)} kills"
        assert not [one for one in self.met if one[2]], "a host went into maintenance with VMs on it"
        if trial.report.run.action == "start":
            self._hold_opened(trial)
            return
        here = {uuid for uuid, vm in trial.node.vms.items() if not vm.name.startswith("else")}
        assert {vm.uuid for vm in trial.report.vms} == here, "a VM is lost, or one that is nobody's business was touched"
        trial.hold(EXPECTED, cold={"stuck"}, given=left_open)
        hold_moves(trial, OLD)
        hold_hosts(trial, OLD)
        hold_migration_limits(trial, 4, 2)
        trial.hold_limits(concurrency=10, per_host=3)
        for host in trial.report.hosts:
            sim = trial.node.hosts[host.uuid]
            if sim.name in OLD:
                words = [(act.action, str(act.outcome)) for act in host.actions]
                first = "already" if sim.name == "old-2" else "done"
                assert words == [("disable", first), ("empty", "done"), ("maintain", "done")], (sim.name, words)
                assert sim.state == "Maintenance"
                steps = [step.after for step in record.host_transitions_of(host.uuid)]
                assert steps == [*(["Disabled"] * (first == "done")), "PreMaintenance", "Maintenance"], (sim.name, steps)
        for vm in trial.report.vms:
            accepted = [one for one in record.migrations if one.vm_uuid == vm.uuid]
            assert len(accepted) <= 1, f"{len(accepted)} migrations were accepted: {trial.why(vm.uuid)}"

    def _hold_opened(self, trial: Trial) -> None:
        record, hosts = trial.node.record, trial.node.hosts.values()
        assert {host.name: (host.state, host.status) for host in hosts if host.name in OLD} == {
            "old-1": ("Enabled", "Connected"), "old-2": ("Disabled", "Connected"), "old-3": ("Enabled", "Connected"),
        }  # fmt: skip
        assert {vm.outcome for vm in trial.report.vms} == {Outcome.STARTED}
        for vm in trial.report.vms:
            begun = [step for step in record.transitions_of(vm.uuid) if step.after == "Starting"]
            assert len(begun) == 1, f"started {len(begun)} times: {trial.why(vm.uuid)}"
        for host in hosts:
            steps = [step.after for step in record.host_transitions_of(host.uuid)]
            if host.name in OLD:
                assert steps.count("Enabled" if host.name != "old-2" else "Disabled") == 1, (host.name, steps)
        moves = {one.job for one in record.migrations}
        puts = [one for one in record.requests if one.action == "migrateVm" and one.vm_uuid in trial.node.vms]
        assert moves <= {one.job for one in puts}

    def restore(self, plan: Iterator[Instant], kills: int) -> None:
        """Undo it, be killed, resume, until the end; then hold what was reported."""
        (self.cli.folder / "reports").rename(self.cli.folder / "reports-of-the-run")
        self.resumes = self.resumes_told = 0
        before, verb = len(self.spent), "restore"
        while True:
            done = self.play(verb, next(plan) if len(self.spent) - before < kills else None)
            if done.code == KILLED:
                runs = self.cli.inside("runs").out.splitlines()
                if len(runs) > 1:
                    verb, self.name = "resume", runs[0].split()[0]
                continue
            self.hold(done)
            return


def evacuating(seed: int) -> Iterator[Instant]:
    """Instants without end, most of them of hosts and migrations."""
    rng = random.Random(f"evacuating {seed}")
    for instant in instants(seed):
        if rng.random() < 0.3 or " " not in instant.sign:
            yield instant
        else:
            sign = rng.choices(list(_SIGNS), list(_SIGNS.values()))[0]
            yield replace(instant, sign=sign, nth=rng.randint(1, 5), seconds=0.0)


@pytest.mark.parametrize("walk", range(WALKS))
def test_killed_while_hosts_are_emptied(tmp_path: Path, nursery: Nursery, walk: int) -> None:
    """Each host is changed once per direction, each VM moved or stopped once, and nothing is lost, wherever kills strike."""
    seed = SEED + walk
    with Evacuated(tmp_path, seed, nursery) as made:
        try:
            made.go(evacuating(seed), kills=18)
            made.restore(evacuating(seed + 1000), kills=5)
        except AssertionError as error:
            kills = ", ".join(map(str, made.spent))
            raise AssertionError(f"seed {seed} (ORCHESTRATOR_KILL_SEED={seed}), killed at {kills}\n{error}") from error


@pytest.mark.parametrize(
    "plan",
    [
        ["before host", "after host", "lost host", "host.outcome"],
        ["lost migrate", "late migrate", "after migrate", "vm.sent"],
        ["host.outcome 4", "after host 4", "host.sent 4", "run.verifying"],
    ],
    ids=["disabled", "migrated", "maintained"],
)
def test_killed_between_two_steps(tmp_path: Path, nursery: Nursery, plan: list[str]) -> None:
    """Before, after and between what is sent to hosts and for migrations, one kill after the other."""
    made = [
        Instant(sign, int(nth or 1))
        for sign, _, nth in (part.rpartition(" ") if part[-1].isdigit() else (part, "", "") for part in plan)
    ]
    with Evacuated(tmp_path, 1, nursery) as walk:
        walk.go(iter(made), kills=len(made))
        assert walk.spent
