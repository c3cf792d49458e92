"""What durability costs: `make bench-journal`.

Three figures: the cost of the journal per VM (on against off, in one process, alternating), the time until a killed run
is carried on, and the bytes a VM takes. "Off" writes nothing and makes no text of a stop's state either.
"""

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import platform
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from statistics import median
from typing import Any, Literal
from unittest import mock

import anyio
from pydantic import SecretStr

from orchestrator import app
from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.clouds.zstack.query import seen_vm
from orchestrator.engine import again, pump
from orchestrator.engine.aside import Aside
from orchestrator.engine.prepare import prepare
from orchestrator.engine.records import keep_plan, opening, run_record
from orchestrator.engine.run import Run
from orchestrator.journal.interface import HostKept, Journal, JournalEvent
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.owner import Owner, this_process
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.event import Event, Listener
from orchestrator.model.outcome import STOPPED, Outcome
from orchestrator.model.report import AttemptRecord, HostRecord, RunRecord, RunReport, VmRecord, WaveRecord
from orchestrator.model.target import (
    Accepted,
    JobAnswer,
    JobRunning,
    JobSucceeded,
    Request,
    Seen,
    SendResult,
    StopRequest,
)
from orchestrator.plan.load import PlanFile, plan_from_text
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import ClusterSpec, Scenario, VmGroup
from orchestrator.simulator import Guest as SimulatedGuest
from orchestrator.simulator.spread import between
from orchestrator.simulator.world import World

ROOT = Path(__file__).resolve().parent.parent
SHUTDOWN = (3.0, 40.0)
"""Seconds a simulated guest takes; compressed for a run against the node."""
QUICK = 1000.0
"""Time so compressed that a run over the scripted cloud waits for next to nothing."""
Kind = Literal["off", "memory", "file"]
MEASURES = {"wall": "wall ms", "cpu": "CPU ms"}
KINDS: tuple[Kind, ...] = ("off", "memory", "file")


# ── fleets, plans, nodes ───────────────────────────────────────────────────────────────────────────────────────────
def fleet(vms: int, in_flight: int) -> Scenario:
    """Guests that obey, on as many hosts as it takes; two network cards and two volumes each: some 4 KB of inventory."""
    guests = VmGroup(name="vm-{n:05}", count=vms, nics=2, data_volumes=1, guest=SimulatedGuest(shutdown=between(*SHUTDOWN)))
    return Scenario(clusters=(ClusterSpec(name="rack", hosts=max(1, in_flight // 5)),), vms=(guests,))


def plan(folder: Path, in_flight: int, time_scale: float) -> PlanFile:
    """Stop everything, in time that is compressed as much as the node's."""
    cut = round(60_000 / time_scale)
    text = {
        "version": 1,
        "name": "durability",
        "targets": {"where": [["type=UserVm"]]},
        "stop": {"power_cut_after": f"{cut}ms", "grace_timeout": "4m"},
        "limits": {"concurrency": in_flight, "per_host": 10, "requests_per_second": 500},
        "verify": {"after": "500ms"},
        "report": {"directory": str(folder / "reports")},
    }
    return plan_from_text(json.dumps(text), name="plan.json", folder=folder, json=True)


def seen_in(scenario: Scenario) -> list[Seen]:
    """Its VMs as a client sees them."""
    world = World(scenario, 1.0)
    seen = (seen_vm(world.inventories.vm(vm), None, 0.0) for vm in world.fleet.vms.values())
    return [vm for vm in seen if vm is not None]


@contextlib.contextmanager
def node(folder: Path, scenario: Scenario, time_scale: float) -> Iterator[ConnectionSettings]:
    """A simulated node in a process of its own, and how to reach it."""
    path = folder / "scenario.json"
    path.write_text(scenario.model_dump_json(), "utf-8")
    options = ["--port", "0", "--scenario", str(path), "--time-scale", f"{time_scale:g}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "simulate", *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+\S*?(?=[:\s])", line)
        if found is None:
            raise SystemExit(f"the simulated node did not start: {line!r}")
        yield ConnectionSettings(endpoint=found[0], account_name="admin", account_password=SecretStr("password"))
    finally:
        process.terminate()
        process.communicate(timeout=30)


class InstantCloud(MemoryCloud):
    """Stops take no time and no lookup takes longer for there being many; the first `ending` stops end, the others never."""

    def __init__(self, vms: Sequence[Seen], ending: int) -> None:
        super().__init__([Guest(vm.row) for vm in vms])
        self._inventories = {vm.row.uuid: vm.inventory for vm in vms}
        self._ending = ending
        self._of: dict[str, str] = {}

    async def send(self, request: Request, leaving: Callable[[], bool]) -> SendResult:
        """Stopped as it is accepted."""
        leaving()
        guest = self.guests[request.vm_uuid]
        ends = len(self.sent) < self._ending
        assert isinstance(request, StopRequest)
        self.sent.append((anyio.current_time(), request))
        guest.row = replace(guest.row, state="Stopped" if ends else "Stopping")
        self._of[request.job_uuid] = request.vm_uuid
        return Accepted()

    async def look(self, job_uuid: str) -> JobAnswer:
        """Ended, where it ends at all."""
        guest = self.guests[self._of[job_uuid]]
        return JobSucceeded(self._seen(guest)) if guest.row.state == "Stopped" else JobRunning()

    def _settle(self) -> None:
        """There is nothing to wait for."""

    def _seen(self, guest: Guest) -> Seen:
        row = replace(guest.row, read_at=anyio.current_time())
        return Seen(row, {**self._inventories[row.uuid], "state": row.state})


# ── journals ───────────────────────────────────────────────────────────────────────────────────────────────────────
class NoJournal(MemoryJournal):
    """Writes nothing; what it keeps is the outcome of each VM, to check the run by."""

    def __init__(self) -> None:
        super().__init__()
        self._outcomes: dict[str, Outcome | None] = {}
        self._run: RunRecord | None = None

    async def begin(
        self,
        run: RunRecord,
        vms: Iterable[VmRecord],
        plan_file: Mapping[str, Any],
        owner: Owner,
        hosts: Sequence[HostKept] = (),
    ) -> None:
        """Nothing, as all that follows."""

    def beat(self, run_id: str) -> None:
        """Nothing."""

    async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """Nothing."""

    def note(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """Nothing."""

    def event(self, run_id: str, event: JournalEvent) -> None:
        """Nothing."""

    async def settle(self, run_id: str, vm: VmRecord, took_seconds: float | None = None) -> None:
        """Its outcome, for the count."""
        self._outcomes[vm.uuid] = vm.outcome

    async def finish(self, run: RunRecord, hosts: Sequence[HostRecord], waves: Sequence[WaveRecord]) -> None:
        """The run's record, for the report."""
        self._run = run

    def report(self, run_id: str) -> RunReport:
        """The count."""
        assert self._run is not None
        counts = Counter(outcome.value for outcome in self._outcomes.values() if outcome is not None)
        return RunReport(self._run, dict(counts), (), (), (), lambda: iter(()))


class WatchedJournal(SqliteJournal):
    """In a file; it knows how long each PUT waited for its intent, in seconds."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.waits: list[float] = []

    async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """Durable when it returns."""
        began = time.perf_counter()
        await super().intend(run_id, vm_uuid, number, attempt, state)
        self.waits.append(time.perf_counter() - began)


@contextlib.asynccontextmanager
async def journal_of(kind: Kind, path: Path) -> AsyncIterator[Journal]:
    """A journal of that kind; without one, no state is put into words either."""
    journal: Journal = NoJournal() if kind == "off" else MemoryJournal() if kind == "memory" else WatchedJournal(path)
    unsaved = mock.patch.object(pump, "save", return_value="")
    try:
        with unsaved if kind == "off" else contextlib.nullcontext():
            yield journal
    finally:
        await journal.close()


# ── the cost per VM ────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Cost:
    """Milliseconds a VM, of each run of one kind; `waits` are those of the PUTs for their intents."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


class Meter:
    """Wall and CPU of this process, all its threads, over a block."""

    def __enter__(self) -> "Meter":
        gc.collect()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *exit_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu


def check(report: RunReport, vms: int) -> None:
    """A run that stopped something else than all of them is not the one to be measured."""
    stopped = sum(report.totals.get(outcome.value, 0) for outcome in STOPPED)
    if stopped != vms:
        raise SystemExit(f"the run went wrong, its figures are worth nothing: {report.totals}")


async def at_node(
    kind: Kind, path: Path, settings: ConnectionSettings, plan_file: PlanFile, *, vms: int, cost: Cost
) -> None:
    """One run over sockets, from login to report."""
    async with journal_of(kind, path) as journal:
        with Meter() as meter:
            report = await app.run(plan_file, settings, journal=journal, terminal=True)
        check(report, vms)
        if isinstance(journal, WatchedJournal):
            cost.waits += journal.waits
    cost.wall.append(meter.wall / vms * 1000)
    cost.cpu.append(meter.cpu / vms * 1000)


async def new_run(
    cloud: InstantCloud,
    journal: Journal,
    plan_file: PlanFile,
    listener: Listener | None = None,
    kept: PlanFile | None = None,
    *,
    aside: Aside,
) -> Run:
    """A run over the scripted cloud, not yet begun. `kept`: another plan for the journal to keep."""
    prepared = await prepare(plan_file, cloud, strict=False, terminal=True, aside=aside)
    record = run_record(
        prepared,
        run_id="20261128T220000Z-0000",
        started_at="2026-11-28T22:00:00.000Z",
        started_by="bench@localhost",
        tool_version=app.TOOL_VERSION,
    )
    begun = replace(opening(prepared, record), plan_file=keep_plan(kept or plan_file))
    owner = this_process(record.started_by)
    return Run(begun, cloud, journal, owner=owner, listeners=[] if listener is None else [listener])


async def scripted(kind: Kind, path: Path, plan_file: PlanFile, seen: Sequence[Seen], cost: Cost) -> None:
    """One run without a network, from its first write to its report."""
    vms = len(seen)
    async with journal_of(kind, path) as journal:
        with Aside() as aside:
            run = await new_run(InstantCloud(seen, vms), journal, plan_file, aside=aside)
            with Meter() as meter:
                check(await run.run(), vms)
    cost.wall.append(meter.wall / vms * 1000)
    cost.cpu.append(meter.cpu / vms * 1000)


@dataclass(frozen=True)
class Patience:
    """How many rounds; none is begun but the first once `until` (of time.perf_counter) is past."""

    rounds: int
    until: float

    def __iter__(self) -> Iterator[int]:
        for number in range(self.rounds):
            if number == 0 or time.perf_counter() < self.until:
                yield number


def alternate(kinds: Sequence[Kind], rounds: Patience, once: Callable[[Kind, Cost], None]) -> dict[str, Cost]:
    """Every kind in every round, forwards and backwards in turn, so that none has the quieter machine."""
    costs: dict[str, Cost] = {kind: Cost() for kind in kinds}
    for number in rounds:
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            once(kind, costs[kind])
    return costs


def cost_at_node(folder: Path, vms: int, in_flight: int, seconds: float, rounds: Patience) -> dict[str, Cost]:
    """A node so fast that the run, bound by its guests, takes about so many seconds."""
    scale = max(1.0, sum(SHUTDOWN) / 2 * vms / in_flight / seconds)
    scenario, plan_file = fleet(vms, in_flight), plan(folder, in_flight, scale)

    def once(kind: Kind, cost: Cost) -> None:
        with node(folder, scenario, scale) as settings:
            anyio.run(partial(at_node, kind, fresh(folder), settings, plan_file, vms=vms, cost=cost))

    return alternate(("off", "file"), rounds, once)


def cost_of_our_own(folder: Path, vms: int, in_flight: int, rounds: Patience) -> tuple[dict[str, Cost], Path]:
    """Without a node; and the last journal, for its size."""
    seen, plan_file = seen_in(fleet(vms, in_flight)), plan(folder, in_flight, QUICK)

    def once(kind: Kind, cost: Cost) -> None:
        path = kept if kind == "file" else fresh(folder)
        if kind == "file":
            discard(path)
        anyio.run(partial(scripted, kind, path, plan_file, seen, cost))

    kept = folder / "finished.sqlite"
    return alternate(KINDS, rounds, once), kept


def fresh(folder: Path) -> Path:
    """A journal's path with nothing there."""
    path = folder / "journal.sqlite"
    discard(path)
    return path


def discard(path: Path) -> None:
    """The file and what SQLite keeps beside it."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def sync_milliseconds(folder: Path) -> float:
    """What one small write takes to reach this disk: the median of many."""
    taken = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return median(taken) * 1000


# ── resume ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def be_killed(path: Path, folder: Path, vms: int, ended: int, under_way: int) -> None:
    """A run that is killed when so many VMs have their outcome and so many a job at the node. In a process of its own."""
    counts: Counter[str] = Counter()

    def heed(event: Event) -> None:
        counts[event.kind] += 1
        if counts["vm.outcome"] == ended and counts["vm.sent"] == ended + under_way:
            os.kill(os.getpid(), signal.SIGKILL)

    async def go() -> None:
        # The plan to carry on by has real time, and some more slots: a new VM waits for no old one.
        kept = plan(folder, under_way + max(1, under_way // 10), 1.0)
        cloud, quick = InstantCloud(seen_in(fleet(vms, under_way)), ended), plan(folder, under_way, QUICK)
        with Aside() as aside:
            run = await new_run(cloud, SqliteJournal(path), quick, heed, kept, aside=aside)
            await run.run()

    anyio.run(go)


class Stopwatch:
    """Calls and seconds of functions, by name; what a timed one calls of the others is in theirs alone."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    def on(self, owner: Any, name: str) -> Any:
        """A patch that times one."""
        real = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            with self._timed(name):
                return real(*args, **options)

        async def timed_async(*args: Any, **options: Any) -> Any:
            with self._timed(name):
                return await real(*args, **options)

        return mock.patch.object(owner, name, timed_async if iscoroutinefunction(real) else timed)

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        self._inner.append(0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            whole = time.perf_counter() - began
            self.calls[name] += 1
            self.seconds[name] = self.seconds.get(name, 0.0) + whole - self._inner.pop()
            self._inner[-1] += whole


def carry_on(path: Path, settings: ConnectionSettings) -> dict[str, float]:
    """Resume until the first look at an old job and the first new VM, then leave. In a process of its own."""
    return anyio.run(_carry_on, path, settings)


async def _carry_on(path: Path, settings: ConnectionSettings) -> dict[str, float]:
    watch, marks, own = Stopwatch(), dict[str, float](), dict[str, float]()
    runs: list[Run] = []
    began, used = time.perf_counter(), 0.0
    journal = SqliteJournal(path)
    opened = time.perf_counter() - began
    run = app.find_run(journal, "last")
    gc.collect()
    before = memory_mb("VmRSS")
    under_way = turns = 0

    def mark(name: str) -> None:
        marks.setdefault(name, time.perf_counter() - began)
        if len(marks) == 3:
            runs[0].leave()

    def heed(event: Event) -> None:
        nonlocal under_way, turns
        if event.kind == "run.resumed":
            under_way = event.data["under_way"]
        elif event.kind == "vm.started":
            turns += 1
            if turns > under_way:
                mark("first_new_vm_seconds")

    def started(run: Run) -> None:
        runs.append(run)
        mark("taken_up_seconds")
        own["cpu"] = time.process_time() - used
        own.update(watch.seconds)

    real = ZStackCloud.look

    async def look(self: ZStackCloud, job_uuid: str) -> JobAnswer:
        if runs:  # before that it is the dry run's job
            mark("first_look_seconds")
        return await real(self, job_uuid)

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(ZStackCloud, "look", look))
        for owner, name in (
            (app, "node_facts"), (app, "check_permission"), (app, "take_up"), (again, "load"), (SqliteJournal, "take_over"),
            (SqliteJournal, "states"), (ZStackCloud, "row_of"),
        ):  # fmt: skip
            patches.enter_context(watch.on(owner, name))
        began, used = time.perf_counter(), time.process_time()
        try:
            await app.resume(run, settings, journal=journal, started=started, listeners=lambda run_id: (heed,))
        finally:
            await journal.close()
    return {
        "open_seconds": opened,
        "node_seconds": own["node_facts"] + own["check_permission"],
        "lock_seconds": own["take_over"],
        "vms_seconds": own["take_up"] + own["states"],
        "rebuild_seconds": own["load"] + own["row_of"],
        **marks,
        "taken_up_cpu_seconds": own["cpu"],
        "memory_before_mb": before,
        "memory_peak_mb": memory_mb("VmHWM"),
    }


def memory_mb(what: str) -> float:
    """This process's memory now (VmRSS) or at its most (VmHWM); 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
        return int(found[1]) / 1024 if found is not None else 0.0
    return 0.0


def resume(folder: Path, vms: int, rounds: Patience) -> dict[str, Any]:
    """A journal of a killed run, carried on again and again from a copy of the same file."""
    ended, under_way = max(1, vms * 3 // 10), max(1, vms * 3 // 100)
    killed, spawn = folder / "killed.sqlite", multiprocessing.get_context("spawn")
    process = spawn.Process(target=be_killed, args=(killed, folder, vms, ended, under_way))
    process.start()
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise SystemExit(f"the run that was to be killed ended by itself ({process.exitcode})")
    tries = []
    with node(folder, fleet(vms, under_way), 1.0) as settings:
        for _ in rounds:
            path = fresh(folder)
            for end in ("", "-wal"):
                shutil.copyfile(killed.with_name(killed.name + end), path.with_name(path.name + end))
            with ProcessPoolExecutor(1, spawn) as processes:
                tries.append(processes.submit(carry_on, path, settings).result())
    found = {name: summary([one[name] for one in tries]) for name in tries[0]}
    return {
        "vms": vms,
        "with_outcome": ended,
        "under_way": under_way,
        "waiting": vms - ended - under_way,
        "rounds": len(tries),
        **found,
    }


# ── bytes ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def size(path: Path, vms: int) -> dict[str, Any]:
    """Bytes a VM of a finished run: the file after a checkpoint, and each table with its indexes."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            rows = connection.execute(
                "SELECT tbl_name, sum(pgsize), sum(payload) FROM dbstat JOIN sqlite_master USING (name) GROUP BY tbl_name"
            ).fetchall()
            by = "pages"
        except sqlite3.OperationalError:
            rows, by = [(table, n, n) for table, n in lengths(connection)], "lengths of what is in it"
        inventory = "SELECT avg(length(json_extract(record, '$.inventory'))) FROM vm"
        return {
            "vms": vms,
            "file": path.stat().st_size / vms,
            "tables": {table: held / vms for table, held, _ in sorted(rows, key=lambda row: -row[1])},
            "content": {table: full / vms for table, _, full in rows},
            "tables_by": by,
            "inventory": connection.execute(inventory).fetchone()[0],
            "events": connection.execute("SELECT count(*) FROM event").fetchone()[0] / vms,
        }
    finally:
        connection.close()


def lengths(connection: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """Each table's content, where SQLite was built without dbstat."""
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        whole = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in columns)
        yield table, connection.execute(f"SELECT coalesce(sum({whole}), 0) FROM {table}").fetchone()[0]


# ── the command ────────────────────────────────────────────────────────────────────────────────────────────────────
def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and spread."""
    return {"median": median(values), "least": min(values), "most": max(values)}


def compared(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Each kind's milliseconds a VM, and in each round the file's against none."""
    found: dict[str, Any] = {"rounds": len(costs["off"].wall)}
    for measure in MEASURES:
        taken = {kind: getattr(cost, measure) for kind, cost in costs.items()}
        pairs = list(zip(taken["off"], taken["file"], strict=True))
        found[f"{measure}_ms_per_vm"] = {kind: summary(values) for kind, values in taken.items()}
        found[f"{measure}_ratio"] = summary([on / off for off, on in pairs])
        found[f"{measure}_more_ms"] = summary([on - off for off, on in pairs])
    if waits := sorted(costs["file"].waits):
        found["intent_wait_ms"] = {"median": median(waits) * 1000, "p99": waits[len(waits) * 99 // 100] * 1000}
    return found


def measure_all(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, as it is written with --json."""
    began = time.perf_counter()
    cost: dict[str, Any] = {}

    def patience(share: float) -> Patience:
        return Patience(options.rounds, began + share * options.patience)

    for number, in_flight in enumerate(options.in_flight, 1):
        say(f"cost at a simulated node, {in_flight} in flight ...")
        costs = cost_at_node(
            folder, options.vms, in_flight, options.seconds, patience(0.6 * number / len(options.in_flight))
        )
        cost[f"node_{in_flight}"] = {"vms": options.vms, "in_flight": in_flight, **compared(costs)}
    say("cost without a node ...")
    most = max(options.in_flight)
    costs, finished = cost_of_our_own(folder, options.scripted_vms, most, patience(0.75))
    cost["scripted"] = {"vms": options.scripted_vms, "in_flight": most, **compared(costs)}
    say("resume ...")
    return {
        "sqlite": sqlite3.sqlite_version,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "sync_ms": sync_milliseconds(folder),
        "cost": cost,
        "resume": resume(folder, options.resume_vms, patience(0.9)),
        "bytes_per_vm": size(finished, options.scripted_vms),
        "seconds": time.perf_counter() - began,
    }


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(text, file=sys.stderr, flush=True)


def show(found: Mapping[str, Any]) -> None:
    """The tables."""
    print(
        f"{found['cores']} cores, Python {found['python']}, SQLite {found['sqlite']}, a sync of this disk "
        f"{found['sync_ms']:.2f} ms; medians (least to most)\n"
    )
    print(
        f"{'cost of durability per VM':<38}{'off':>8}{'memory':>8}{'file':>8}  {'file against off':<24}{'ms more':<24}rounds"
    )
    for key, cost in found["cost"].items():
        where = f"{'scripted cloud' if key == 'scripted' else 'simulated node'}, {cost['in_flight']} in flight"
        for measure, words in MEASURES.items():
            if key == "scripted" and measure == "wall":
                continue  # nothing but the pace at which the run looks
            by_kind = cost[f"{measure}_ms_per_vm"]
            cells = "".join(f"{by_kind[kind]['median']:8.2f}" if kind in by_kind else " " * 8 for kind in KINDS)
            ratio, more = spread(cost[f"{measure}_ratio"], "x"), spread(cost[f"{measure}_more_ms"])
            print(f"{where:<30}{words:<8}{cells}  {ratio:<24}{more:<24}{cost['rounds']} of {cost['vms']}")
        if waits := cost.get("intent_wait_ms"):
            print(f"{'':<30}a PUT waits {waits['median']:.1f} ms for its intent, 1 % of them {waits['p99']:.1f} or more")
    carried, sizes = found["resume"], found["bytes_per_vm"]
    print(
        f"\nresume of {carried['vms']} VMs: {carried['with_outcome']} with an outcome, {carried['under_way']} with a job "
        f"at the node, {carried['waiting']} waiting; {carried['rounds']} rounds"
    )
    for name, words in RESUME.items():
        print(f"{words:<64}{spread(carried[name])}")
    print(f"\njournal bytes per VM, a finished run of {sizes['vms']} VMs: file {sizes['file']:.0f}")
    for table, held in sizes["tables"].items():
        print(f"{table:<16}{held:8.0f}, of it content {sizes['content'][table]:8.0f}")
    print(f"an inventory has {sizes['inventory']:.0f}, a VM {sizes['events']:.1f} events; tables by {sizes['tables_by']}")
    print(f"\nmeasured in {found['seconds']:.0f} s")


RESUME = {
    "first_look_seconds": "seconds to the first look at a job",
    "first_new_vm_seconds": "seconds to the first new VM",
    "taken_up_cpu_seconds": "CPU seconds until the run is taken up",
    "taken_up_seconds": "seconds until the run is taken up, and of these",
    "node_seconds": "  the node: login, version, clock, permission",
    "lock_seconds": "  the lock",
    "vms_seconds": "  the journal: its VMs and states read one by one",
    "rebuild_seconds": "  rows and states of stops made from what was read",
    "open_seconds": "seconds to open the journal, before all that",
    "memory_before_mb": "MB of memory before",
    "memory_peak_mb": "MB at the most",
}


def spread(found: Mapping[str, float], unit: str = "") -> str:
    """`1.02x (0.98 to 1.10)`."""
    return f"{found['median']:.2f}{unit} ({found['least']:.2f} to {found['most']:.2f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vms", type=int, default=1000, help="VMs of a run against the simulated node")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[50, 300], help="VMs in flight there")
    parser.add_argument("--seconds", type=float, default=8.0, help="about how long the guests make such a run last")
    parser.add_argument("--scripted-vms", type=int, default=2000, help="VMs of a run without a node")
    parser.add_argument("--resume-vms", type=int, default=10_000, help="VMs of the killed run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--patience", type=float, default=180.0, help="seconds after which a slow machine makes fewer rounds"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="on the disk that is to be measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures for a program")
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ZSTACK_", "ORCHESTRATOR_"))}
    with (
        mock.patch.dict(os.environ, ours, clear=True),
        tempfile.TemporaryDirectory(prefix="bench-journal-", dir=options.folder) as name,
    ):
        found = measure_all(options, Path(name))
    show(found)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
