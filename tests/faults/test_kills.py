"""A run killed at any instant, again and again, is carried on to an end whose report is true.

ORCHESTRATOR_KILLS sets how many kills, ORCHESTRATOR_KILL_SEED where to begin; a failing walk names the seed that replays it.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from orchestrator.model.report import ReportDocument
from orchestrator.simulator import Fault, Guest, Scenario, VmGroup
from orchestrator.simulator.spread import between
from tests.cli.support import TIME_SCALE, Cli, fleet, refused, wait_until
from tests.faults.killing import KILLED, KILLS_IN_A_WALK, Instant, Nursery, Walk, instants, killed_fleet, spawn

KILLS = int(os.environ.get("ORCHESTRATOR_KILLS", "200"))
SEED = int(os.environ.get("ORCHESTRATOR_KILL_SEED", "1"))
SEEDS_A_PART = 100


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Where commands are forked."""
    with Nursery() as made:
        yield made


@pytest.fixture(scope="module")
def surplus() -> list[int]:
    """Kills that earlier parts have spent beyond their share; a walk is walked to its end."""
    return [0]


@pytest.mark.parametrize("part", range(-(-KILLS // KILLS_IN_A_WALK)))
def test_killed_again_and_again(tmp_path: Path, nursery: Nursery, surplus: list[int], part: int) -> None:
    """No VM is lost, none is stopped twice, and every report equals the node's record, wherever the kills strike."""
    spent = surplus.pop()
    surplus.append(0)
    for seed in count(SEED + part * SEEDS_A_PART):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with Walk(folder, killed_fleet(seed), nursery.start) as walk:
            try:
                walk.go(instants(seed))
            except AssertionError as error:
                kills = ", ".join(map(str, walk.spent))
                replay = f"ORCHESTRATOR_KILL_SEED={seed} ORCHESTRATOR_KILLS=1"
                raise AssertionError(f"seed {seed} (replay: {replay}), killed at {kills}\n{error}") from error
            spent += len(walk.spent)
        if spent >= KILLS_IN_A_WALK:
            surplus[0] = spent - KILLS_IN_A_WALK
            return


def test_processes_of_their_own(tmp_path: Path) -> None:
    """The same with commands as a person starts them, so that nothing rests on how the others are forked."""
    plan = [
        Instant("before stop", 4),
        Instant("after stop", 6, zombie=True),
        Instant("vm.outcome", 9),
        Instant("run.verifying"),
    ]
    with Walk(tmp_path, killed_fleet(1), spawn) as walk:
        walk.go(iter(plan), kills=len(plan))
        assert walk.spent == plan


@pytest.mark.parametrize("seed", [1, 3])
def test_killed_between_waves(tmp_path: Path, nursery: Nursery, seed: int) -> None:
    """Killed again and again, a run keeps the order of its waves: the second waits for the first."""
    waves = [{"name": "first", "where": [["name~=obey-%"], ["name~=deaf-%"]]}, {"name": "rest", "after": ["first"]}]
    sections = {"waves": waves, "budget": {"per_wave": "100%"}}
    with Walk(tmp_path, killed_fleet(seed), nursery.start, **sections) as walk:
        walk.go(instants(seed), kills=12)
        stops = walk.node.sim.record.stops
        first = {vm.uuid for vm in walk.node.sim.vms.values() if vm.name.startswith(("obey", "deaf"))}
        ends = [stop.ended for stop in stops if stop.vm_uuid in first]
        assert max(end or 0.0 for end in ends) <= min(stop.accepted for stop in stops if stop.vm_uuid not in first)


def test_a_run_at_work_is_left_alone(tmp_path: Path, nursery: Nursery) -> None:
    """`resume` of a run at work, and a run with a VM in common, are refused by the name of its owner and send nothing."""
    hanging = fleet(VmGroup(name="app-{n}", count=2, guest=Guest(behaviour="hangs")))
    with Walk(tmp_path, hanging, nursery.start, stop={"grace_timeout": "10m", "power_cut_after": "60s"}) as walk:
        owner = walk.begin("run")
        wait_until(lambda: walk.puts() == 2, "both stops are at the node")
        other = walk.cli.plan("other.yaml", targets={"where": [["name=app-1"]]})
        for argv in (["resume", "last", "--yes"], ["run", str(other), "--yes"]):
            refused(nursery.start(walk.cli, argv).end(), 3, f"{getpass.getuser()}@{socket.gethostname()}", str(owner.pid))
        assert walk.puts() == 2
        owner.signal()


def test_two_resume_at_once(tmp_path: Path, nursery: Nursery) -> None:
    """Of two that take over a dead one's run at the same moment, one does it, and the other is refused by its name."""
    with Walk(tmp_path, killed_fleet(1), nursery.start) as walk:
        assert walk.play("run", Instant("after stop", 8)).code == KILLED
        both = [walk.begin("resume") for _ in range(2)]
        winner, loser = sorted(both, key=lambda child: child.end().code)
        assert loser.end().code == 3
        assert f"process {winner.pid}" in loser.end().err
        walk.hold(winner.end())


def test_left_at_once_and_resumed(tmp_path: Path, nursery: Nursery) -> None:
    """Ctrl-C twice is 130 in mid-run, nobody stays logged in, and `resume` brings the run to its end."""
    with Walk(tmp_path, killed_fleet(1), nursery.start) as walk:
        child = walk.begin("run")
        wait_until(lambda: walk.puts() >= 8, "some stops are at the node")
        child.signal(signal.SIGINT)
        wait_until(lambda: "run.halted" in child.err.read_text("utf-8"), "the first signal is told")
        child.signal(signal.SIGINT)
        assert child.end().code == 130
        assert walk.report().run.status == "interrupted"
        trial = walk.hold(walk.play("resume"))
        assert trial.report.totals["not_reached"] == 0


def test_a_stop_sent_again_has_its_whole_time(tmp_path: Path, nursery: Nursery) -> None:
    """Never arrived, sent again after its time was over, killed again: its time counts from when it left last."""
    scenario = Scenario(accounts=fleet().accounts, vms=(VmGroup(name="deaf", guest=Guest(behaviour="ignores_acpi")),))
    plan = [Instant("lost stop", pause=2.5), Instant("after stop")]
    with Walk(tmp_path, scenario, nursery.start) as walk:
        walk.go(iter(plan), kills=len(plan))
        assert walk.spent == plan


@pytest.mark.parametrize("half", [False, True])
def test_killed_while_the_journal_was_made(tmp_path: Path, half: bool) -> None:
    """A journal that is empty, or whose first transaction was cut off, holds no run: 2, as where there is none."""
    cli = Cli(tmp_path)
    if half:
        with contextlib.closing(sqlite3.connect(tmp_path / "whole", isolation_level=None)) as whole:
            for statement in ("PRAGMA cache_size=1", "BEGIN", "CREATE TABLE run (id)"):
                whole.execute(statement)
            whole.executemany("INSERT INTO run VALUES (zeroblob(4000))", [()] * 20)
            for name in ("whole", "whole-journal"):
                shutil.copy(tmp_path / name, tmp_path / name.replace("whole", "journal.sqlite"))
    else:
        (tmp_path / "journal.sqlite").touch(mode=0o600)
    refused(cli.inside("resume", "last", "--yes"), 2)


@pytest.mark.parametrize("manner", ["lost", "after"])
def test_resumed_a_day_later(tmp_path: Path, nursery: Nursery, manner: str) -> None:
    """The node has forgotten its jobs: what is Stopped gets no call, what still runs is sent again under a new id."""
    gone = Fault(kind="result_gone", seconds=20)
    vms = (
        VmGroup(name="app-{n}", count=12, guest=Guest(shutdown=between(8, 14))),
        VmGroup(name="deaf-{n}", count=3, guest=Guest(behaviour="ignores_acpi")),
    )
    scenario = Scenario(accounts=fleet().accounts, vms=vms, faults=(gone,))
    with Walk(tmp_path, scenario, nursery.start, limits={"concurrency": 6, "requests_per_second": 500}) as walk:
        assert walk.play("run", Instant(f"{manner} stop", 8), yesterday=True).code == KILLED
        record = walk.node.sim.record
        late = gone.seconds / TIME_SCALE

        def forgotten() -> bool:
            now = time.monotonic()
            return all(stop.ended is not None and now > stop.accepted + late for stop in record.stops)

        wait_until(lambda: walk.node.ask(forgotten), "every job has ended and is forgotten")
        walk.node.ask(lambda: walk.node.sim.faults.remove(gone))
        running = {uuid for uuid, vm in walk.node.sim.vms.items() if vm.state == "Running"}
        puts = {uuid: record.stop_puts(uuid) for uuid in walk.node.sim.vms}
        asked = {uuid for uuid, count in puts.items() if count}
        assert len(asked) >= 8
        assert len(asked & running) == (manner == "lost")
        kept = ReportDocument.model_validate_json(walk.cli.inside("report", "last", "--format", "json").out)
        old = {attempt.job_uuid for vm in kept.vms for attempt in vm.attempts}
        done = walk.play("resume")
        trial = walk.hold(done, {"*": ("stopped_clean", "stopped_forced", "already_stopped")})
        assert done.code == 0
        assert {uuid: record.stop_puts(uuid) - before for uuid, before in puts.items()} == {
            uuid: int(uuid in running) for uuid in puts
        }
        for uuid in running:
            assert {stop.job for stop in record.stops if stop.vm_uuid == uuid}.isdisjoint(old), trial.why(uuid)
