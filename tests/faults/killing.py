"""Commands that are killed at chosen instants, again and again, and what is left held against the node's own record.

Commands are forked from a nursery, a process with the program already imported: a start takes milliseconds, not a second.
"""

import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self
from unittest import mock

from orchestrator.model.report import ReportDocument
from orchestrator.simulator import Fault, Guest, Scenario, VmGroup
from orchestrator.simulator.calls import Answer, Call
from orchestrator.simulator.front import Front
from orchestrator.simulator.guests import Behaviour
from orchestrator.simulator.routes import Route
from orchestrator.simulator.scenario import ClusterSpec, HostSpec, NodeSettings
from orchestrator.simulator.server import Server
from orchestrator.simulator.spread import between
from orchestrator.simulator.world import World
from tests.cli.support import CANARIES, PATIENCE, Cli, Done, Node, clean, fleet, wait_until
from tests.integration.conftest import Trial

KILLS_IN_A_WALK = 25
KILLED = -signal.SIGKILL
_ROOT = Path(__file__).parents[2]
_WARM = ("app", "cli.main", "cli.running", "cli.restoring", "cli.looking", "cli.signals", "clouds.zstack.client", "reports")
_DAY_SECONDS = 86400.0


# ── the nursery ────────────────────────────────────────────────────────────────────────────────────────────────────
def nurse() -> None:
    """What the nursery does: fork a command, tell whether one has ended, reap one; until nobody asks any more."""
    for name in (*(f"orchestrator.{name}" for name in _WARM), "aiohttp.web", "sqlite3", "anyio._backends._asyncio"):
        import_module(name)
    gc.collect()
    gc.freeze()
    born: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        answer: int | None
        if "argv" in order:
            answer = os.fork() or _become(order)
            born.add(answer)
        elif "look" in order:
            answer = end_of(order["look"])
        else:
            answer = os.waitpid(order["reap"], 0)[1]
            born.discard(order["reap"])
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    for pid in born:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become(order: Mapping[str, Any]) -> NoReturn:
    """The forked child: the command itself."""
    code: object = 70
    try:
        os.setsid()
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["env"])
        for number, path in enumerate((os.devnull, order["out"], order["err"])):
            opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - they last as long as the process
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        if order["yesterday"]:
            _live_yesterday()
        from orchestrator.cli.main import main

        main(order["argv"])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 0)


def _live_yesterday() -> None:
    """What this process writes down of times, it writes as of the day before."""
    from orchestrator.engine.clock import Clock

    Clock.unix = lambda self: time.time() - _DAY_SECONDS  # type: ignore[method-assign]


def end_of(pid: int) -> int | None:
    """How a child of ours ended, a signal as a negative number; None while it lives. It stays as it is, unreaped."""
    seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if seen is None:
        return None
    return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status


@dataclass(slots=True)
class Child:
    """A command that runs. Dead and not reaped it is a zombie."""

    pid: int
    out: Path
    err: Path
    look: Callable[[], int | None]
    """Its exit code or the signal that ended it; None while it lives."""
    wait: Callable[[], object]
    reaped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def signal(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, unless its id may be somebody else's by now. From any thread."""
        with self._lock:
            if not self.reaped:
                os.kill(self.pid, number)

    def reap(self) -> None:
        """Let the dead one go."""
        with self._lock:
            if not self.reaped:
                self.wait()
            self.reaped = True

    def end(self) -> Done:
        """Its end, whenever it comes."""
        began = time.monotonic()
        while (code := self.look()) is None:
            if time.monotonic() > began + PATIENCE:
                self.signal()
                raise AssertionError(f"waited {PATIENCE:g} s in vain for a command's end: {self.err.read_text('utf-8')}")
            time.sleep(0.002)
        done = Done(code, self.out.read_text("utf-8"), self.err.read_text("utf-8"))
        clean(done.said)
        return done


Start = Callable[..., Child]
"""Begins a command, given a `Cli` and its arguments."""


class Nursery:
    """Forks commands."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.faults.killing import nurse; nurse()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            text=True,
            start_new_session=True,
        )
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def start(self, cli: Cli, argv: Sequence[str], *, yesterday: bool = False) -> Child:
        """Begin a command as the command line would."""
        self._count += 1
        out, err = cli.folder / f"forked-{self._count}.out", cli.folder / f"forked-{self._count}.err"
        order = {"argv": list(argv), "env": cli.env, "folder": str(cli.folder), "yesterday": yesterday}
        pid = self._ask({**order, "out": str(out), "err": str(err)})
        assert isinstance(pid, int)
        # The files are there before the child has opened them.
        out.touch()
        err.touch()
        return Child(pid, out, err, lambda: self._ask({"look": pid}), lambda: self._ask({"reap": pid}))

    def _ask(self, order: Mapping[str, Any]) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer is None or isinstance(answer, int)
        return answer


def spawn(cli: Cli, argv: Sequence[str]) -> Child:
    """Begin a command as a process of its own, like a person."""
    running = cli.start(*argv)
    process = running.process
    return Child(process.pid, running._out, running._err, lambda: end_of(process.pid), process.wait)


# ── instants ───────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Instant:
    """When to kill a command: upon its `nth` sign of a kind, `seconds` later; the sign `begin` is its beginning.

    A sign is an event of its log (`vm.sent`), a file that appears (`*.part`), or a request at the node: `before stop`, it is
    carried out though nobody is there any more; `late stop`, the same a while later; `lost stop`, it never arrives; `after
    stop`, it is carried out and not answered.
    """

    sign: str
    nth: int = 1
    seconds: float = 0.0
    latest: float = PATIENCE
    """Seconds after its beginning when it is killed even without the sign."""
    zombie: bool = False
    """Whether the dead process is left unreaped while the next command works."""
    pause: float = 0.0
    """Seconds until the next command."""

    def __str__(self) -> str:
        words = [f"{self.sign}#{self.nth}", f"+{self.seconds:.3f}s" * bool(self.seconds), "zombie" * self.zombie]
        return " ".join(filter(None, [*words, f"pause {self.pause:.1f}s" * bool(self.pause)]))


_OFTEN = {"before stop": 3, "after stop": 5, "lost stop": 2, "late stop": 3, "before poll": 1, "after poll": 2,
          "after query": 3, "vm.started": 1, "vm.sending": 2, "vm.sent": 2, "vm.outcome": 4}  # fmt: skip
"""Signs that come again and again in every command."""
_EARLY = {"after other": 2, "lost login": 1, "after login": 2, "run.started": 1, "run.resumed": 2}
_FINAL = {"run.verifying": 3, "run.finished": 3, "*.part": 3, "report.json": 1, "before logout": 1, "after logout": 2}


def instants(seed: int) -> Iterator[Instant]:
    """Instants without end, the same for the same seed."""
    rng = random.Random(f"instants {seed}")

    def one(weights: Mapping[str, int]) -> str:
        return rng.choices(list(weights), list(weights.values()))[0]

    while True:
        latest = rng.uniform(0.2, 0.7)
        match one({"time": 8, "often": 13, "early": 2, "final": 2}):
            case "time":
                chosen = Instant("begin", seconds=rng.uniform(0.0, rng.choice((0.15, 0.4, 0.6))))
            case "often":
                chosen = Instant(one(_OFTEN), rng.randint(1, 12), latest=latest)
            case "early":
                chosen = Instant(one(_EARLY), latest=latest)
            case _:
                chosen = Instant(one(_FINAL), seconds=rng.choice((0.0, 0.0, 0.005, 0.02)), latest=1.5)
        yield replace(chosen, zombie=rng.random() < 0.2, pause=rng.uniform(0.2, 2.5) if rng.random() < 0.06 else 0.0)


class Trap:
    """Waits at the node for an instant, and kills there and then. Lives in the node's thread but for `arm` and `disarm`."""

    def __init__(self, journal: Path) -> None:
        self.pending = 0
        """Requests of the dead that are yet to be carried out."""
        self.unwritten: list[str] = []
        """Jobs that came before their intent was in the journal."""
        self._journal = journal
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._instant = Instant("begin")
        self._seen = 0

    def arm(self, child: Child, instant: Instant) -> None:
        """From now on this command at this instant."""
        with self._lock:
            self._child, self._instant, self._seen = child, instant, 0

    def disarm(self) -> None:
        """No more."""
        with self._lock:
            self._child = None

    def check_intent(self, job: str) -> None:
        """What is sent is there: it was written down before it left."""
        with contextlib.closing(sqlite3.connect(f"file:{self._journal}?mode=ro", uri=True)) as reader:
            of_vms = "SELECT count(*) FROM attempt WHERE job_uuid = :job"
            of_hosts = "SELECT count(*) FROM host_action WHERE instr(record, :job)"
            if not any(reader.execute(asked, {"job": job}).fetchone()[0] for asked in (of_vms, of_hosts)):
                self.unwritten.append(job)

    def seen(self, kind: str) -> tuple[str, Child] | None:
        """A request of this kind is there. Is it the one, and in which manner?"""
        with self._lock:
            manner, _, wanted = self._instant.sign.partition(" ")
            if self._child is None or wanted != kind:
                return None
            self._seen += 1
            if self._seen != self._instant.nth:
                return None
            child, self._child = self._child, None
            return manner, child


class WatchedFront(Front):
    """A node's front end with a trap in it."""

    def __init__(self, world: World, server: Server, *, trap: Trap) -> None:
        super().__init__(world, server)
        self._trap = trap

    async def _carry_out(self, call: Call, route: Route) -> Answer:
        kind = kind_of(call, route)
        if kind in {"stop", "migrate", "host"}:
            self._trap.check_intent(call.headers["X-Job-UUID"])
        caught = self._trap.seen(kind)
        if caught is None:
            return await super()._carry_out(call, route)
        manner, child = caught
        if manner == "after":
            answer = await super()._carry_out(call, route)
            child.signal()
            return answer
        child.signal()
        if manner == "lost":
            return Answer(500, b"nobody reads this")
        self._trap.pending += 1
        try:
            await asyncio.sleep(0.3 if manner == "late" else 0.0)
            return await super()._carry_out(call, route)
        finally:
            self._trap.pending -= 1


def kind_of(call: Call, route: Route) -> str:
    """The word for a request in an instant's sign."""
    if route.kind == "poll":
        return "poll"
    if route.kind in {"query", "one"}:
        return "query"
    targets = {
        "stopVmInstance": "stop", "migrateVm": "migrate", "changeHostState": "host",
        "logInByAccount": "login", "logOut": "logout",
    }  # fmt: skip
    return "other" if "validationOnly" in call.system_tags() else targets.get(route.target, "other")


# ── the fleet ──────────────────────────────────────────────────────────────────────────────────────────────────────
CLEAN = ("stopped_clean", "stopped_forced")
"""Who looks late, because it was dead when the job ended, cannot tell a shutdown from a power cut."""
EXPECTED: Mapping[str, tuple[str, ...]] = {
    "obey-*": CLEAN,
    "ha-*": CLEAN,
    "deaf-*": ("stopped_forced",),
    "paused": ("stopped_forced",),
    "stuck-*": ("stopped_cold",),
    "crash": ("stopped_cold", "stopped_forced"),
    "late-*": ("stopped_cold", "stopped_forced"),
    "broken": ("failed",),
    "refused": ("failed",),
    "cut-off": ("failed",),
    "hang-up": ("failed",),
    "hang": ("unknown",),
    "dark": ("unknown",),
    "off-*": ("already_stopped",),
    "router": ("skipped",),
}
WARRANTED = frozenset({"broken", "stuck-1", "stuck-2", "stuck-3", "crash", "late-1", "late-2", "late-3", "hang", "hang-up"})
"""Guests whose grace fails or never ends: a cold stop may follow."""


def killed_fleet(seed: int) -> Scenario:
    """Guests of every kind on six hosts, one of them lost. Even seeds have guests that hang, every third a bad wire."""
    quick = between(1, 15)

    def failing(behaviour: Behaviour) -> Guest:
        return Guest(behaviour=behaviour, fails_after=4.0, late_after=5.0)

    hanging = (
        VmGroup(name="hang", guest=Guest(behaviour="hangs")),
        VmGroup(name="hang-up", guest=Guest(behaviour="hangs", hang_state="Running")),
    )
    groups = (
        *(hanging if seed % 2 == 0 else ()),
        VmGroup(name="obey-{n}", count=30, guest=Guest(shutdown=quick)),
        VmGroup(name="ha-{n}", count=3, guest=Guest(shutdown=quick), ha_level="NeverStop"),
        VmGroup(name="deaf-{n}", count=4, guest=Guest(behaviour="ignores_acpi")),
        VmGroup(name="stuck-{n}", count=3, guest=failing("fails_grace_only")),
        VmGroup(name="late-{n}", count=3, guest=failing("late_success")),
        VmGroup(name="broken", guest=failing("fails")),
        VmGroup(name="crash", guest=failing("crashes")),
        VmGroup(name="refused", guest=Guest(behaviour="plugin_refuses")),
        VmGroup(name="paused", state="Paused"),
        VmGroup(name="off-{n}", count=3, state="Stopped"),
        VmGroup(name="router", type="ApplianceVm"),
        VmGroup(name="cut-off", hosts=("lost",)),
        VmGroup(name="dark", hosts=("lost",), state="Unknown"),
    )
    ours = ("*-*",)  # not the UUID that is asked for to learn the permission: without that answer no command begins
    bad_wire = (
        Fault(kind="drop_after", vms=ours, every=7),
        Fault(kind="drop_before", vms=ours, every=9),
        Fault(kind="slow", on="stop", vms=ours, every=5, seconds=0.1),
        Fault(kind="drop_after", on="poll", vms=ours, every=11),
    )
    return Scenario(
        seed=seed,
        node=NodeSettings(host_sync=2),
        accounts=fleet().accounts,
        clusters=(
            ClusterSpec(name="rack-1", hosts=3),
            ClusterSpec(name="rack-2", hosts=2),
            ClusterSpec(name="rack-3", hosts=(HostSpec(name="lost", status="Disconnected"),)),
        ),
        vms=groups,
        faults=bad_wire if seed % 3 == 2 else (),
    )


# ── the walk ───────────────────────────────────────────────────────────────────────────────────────────────────────
class Walk:
    """One run, its kills, and its end; `cli.folder` holds what the processes leave."""

    def __init__(self, folder: Path, scenario: Scenario, start: Start, **sections: Any) -> None:
        self.cli = Cli(folder)
        self.start = start
        self.trap = Trap(folder / "journal.sqlite")
        with mock.patch("orchestrator.simulator.node.Front", partial(WatchedFront, trap=self.trap)):
            self.node = Node(scenario)
        base: dict[str, Any] = {
            "targets": {"where": [["name~=%"]]},
            "stop": {"power_cut_after": "1200ms", "grace_timeout": "1500ms", "cold_timeout": "1s"},
            "limits": {"concurrency": 10, "per_host": 3, "requests_per_second": 500},
            "verify": {"after": "300ms"},
            "report": {"formats": ["json", "csv", "markdown"]},
        }
        self.plan = self.cli.plan(**{**base, **sections})
        self.name = "last"
        """What `resume` is told."""
        self.spent: list[Instant] = []
        self.resumes = 0
        self.resumes_told = 0
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        self.node.__enter__()
        self.cli.at(self.node)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.trap.disarm()
        for child in self._children:
            child.signal()
            child.reap()
        self.settle()
        self.node.__exit__(kind, error, trace)

    def settle(self) -> None:
        """Until what the dead have asked for is carried out."""
        wait_until(lambda: not self.node.ask(lambda: self.trap.pending), "the requests of the dead are carried out")

    def puts(self) -> int:
        """Stops that reached the node for VMs it has."""
        return self.node.ask(lambda: sum(self.node.sim.record.stop_puts(uuid) for uuid in self.node.sim.vms))

    def begin(self, verb: str, **options: Any) -> Child:
        """Begin `run` or `resume`; the options are the start's."""
        self.resumes += verb == "resume"
        argv = [verb, str(self.plan) if verb == "run" else self.name, "--yes", "--log-format", "json"]
        self._children.append(self.start(self.cli, argv, **options))
        return self._children[-1]

    def play(self, verb: str, instant: Instant | None = None, **options: Any) -> Done:
        """A command to its end, its own or the one at the instant."""
        child = self.begin(verb, **options)
        try:
            if instant is not None:
                self._hunt(child, instant)
            done = child.end()
        finally:
            self.trap.disarm()
            if instant is None or not instant.zombie or child.look() is None:
                child.signal()
                child.reap()
        if instant is not None and done.code == KILLED:
            self.spent.append(instant)
        self.resumes_told += '"event": "run.resumed"' in done.err
        return done

    def _hunt(self, child: Child, instant: Instant) -> None:
        """Kill it at its instant, unless it ends before."""
        began = time.monotonic()
        due = began + (instant.seconds if instant.sign == "begin" else instant.latest)
        shown = instant.sign == "begin"
        if " " in instant.sign:
            self.trap.arm(child, instant)
        while child.look() is None and time.monotonic() < began + PATIENCE:
            if not shown and self._shows(child, instant):
                due, shown = time.monotonic() + instant.seconds, True
            if time.monotonic() >= due:
                child.signal()
                return
            time.sleep(0.001)

    def _shows(self, child: Child, instant: Instant) -> bool:
        if "." not in instant.sign:
            return False
        if instant.sign in {"*.part", "report.json"}:
            return any(self.cli.folder.glob(f"reports/*/{instant.sign}"))
        return child.err.read_text("utf-8").count(f'"event": "{instant.sign}"') >= instant.nth

    def go(self, plan: Iterator[Instant], kills: int = KILLS_IN_A_WALK) -> None:
        """Run, be killed, resume, until the end; then hold what was reported."""
        verb = "run"
        while True:
            instant = next(plan) if len(self.spent) < kills else None
            done = self.play(verb, instant)
            if done.code == KILLED:
                verb = "resume"
                time.sleep(self.spent[-1].pause)
            elif verb == "resume" and done.code == 2 and self.name == "last":
                verb = self._why_nothing(done)
            else:
                self.hold(done)
                return

    def _why_nothing(self, done: Done) -> str:
        """`last` was killed before its first word or after its last one; returns what to do then."""
        runs = self.cli.inside("runs").out.split() if (self.cli.folder / "journal.sqlite").exists() else []
        if runs:
            self.name = runs[0]
            return "resume"
        assert self.puts() == 0, f"sent, and no run is known: {done}"
        return "run"

    # ── holding ────────────────────────────────────────────────────────────────────────────────────────────────────
    def report(self) -> ReportDocument:
        """The run's report.json; there is one run."""
        paths = list((self.cli.folder / "reports").glob("*/report.json"))
        assert len(paths) == 1, f"{len(paths)} runs have a report"
        return ReportDocument.model_validate_json(paths[0].read_text("utf-8"))

    def trial(self) -> Trial:
        """The report beside the node's record."""
        trial = Trial(self.cli.folder, {})
        trial.node, trial.report = self.node.sim, self.report()
        return trial

    def hold(self, done: Done, expected: Mapping[str, tuple[str, ...]] = EXPECTED) -> Trial:
        """The report of a run that ended with `done` is true; nothing was lost, nothing done twice, nothing is left over."""
        self.settle()
        assert done.code in {0, 1, 4}, done
        trial = self.trial()
        self.node.ask(partial(self._hold_true, trial, expected))
        run = trial.report.run
        assert run.exit_code == done.code
        assert run.status == "finished", run
        assert self.resumes_told <= len(run.resumed_at) <= self.resumes, (run.resumed_at, self.resumes)
        assert not list(self.cli.folder.glob("reports/*/*.part"))
        assert self.cli.leaks(CANARIES) == []
        self._hold_still(trial.report)
        return trial

    def _hold_true(self, trial: Trial, expected: Mapping[str, tuple[str, ...]]) -> None:
        record = trial.node.record
        assert not self.trap.unwritten, f"sent before it was written down: {self.trap.unwritten}"
        left_open = record.open_sessions()
        assert len(left_open) <= len(self.spent), f"{len(left_open)} sessions left open by {len(self.spent)} kills"
        targets = {vm.uuid for vm in trial.report.vms}
        assert targets == set(trial.node.vms), "a VM of the plan is lost"
        trial.hold(expected, cold=WARRANTED, given=left_open)
        for uuid in targets:
            graces = [stop.job for stop in record.stops if stop.vm_uuid == uuid and stop.type == "grace"]
            assert len(graces) <= 1, f"{len(graces)} graces were accepted: {trial.why(uuid)}"

    def _hold_still(self, report: ReportDocument) -> None:
        """To resume a run that is over sends nothing, and writes the same reports again."""
        before, folder = self.puts(), self.cli.folder / "reports" / report.run.id
        names = sorted(path.name for path in folder.iterdir())
        for path in folder.iterdir():
            path.unlink()
        self.name = report.run.id
        done = self.play("resume")
        assert done.code == report.run.exit_code, done
        assert self.puts() == before
        assert sorted(path.name for path in folder.iterdir()) == names
        assert self.report() == report
