"""The same fleet stopped by what people use today: `make bench` puts it beside the program.

Peers: curl and xargs polling once a second, an Ansible playbook (uri with until, forks equal to our concurrency), a poller
as the vendor's SDK is one, and the same one VM after the other. They stand in `benchmarks/others`. Each has a simulated node
of its own with the same fleet, of the same seed; time is real. What is told of the node is read from its own record. A
second round, in compressed time, has faults: what each tool says of every VM is held against what is true then.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.journal import node
from orchestrator.model.outcome import STOPPED, Outcome
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import ClusterSpec, Fault, Scenario, VmGroup
from orchestrator.simulator import Guest as SimulatedGuest
from orchestrator.simulator.spread import between

ROOT = Path(__file__).resolve().parent.parent
OTHERS = ROOT / "benchmarks" / "others"
ANSIBLE = ROOT / ".venv-ansible" / "bin" / "ansible-playbook"
_ACCOUNT, _DIGEST = "admin", hashlib.sha512(b"password").hexdigest()
_SAMPLE_SECONDS, _SETTLE_SECONDS = 0.25, 40.0
"""Between two looks at a tool's memory; simulated time after which what it said is held against what is."""
_FAULT_SCALE = 10.0
_AT_ONCE = 3
"""Tools that meet the faults at one time: what they say is looked at there, not how long they take."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What every tool is given: the fleet, how many at once, and how much faster than real its time goes."""

    scenario: Scenario
    in_flight: int
    time_scale: float
    timeout_seconds: float
    """After which a tool gives up on a job, simulated."""


@dataclass(frozen=True, slots=True)
class Job:
    """One tool's one run: where it may write, whom it asks, and whom it is to stop."""

    folder: Path
    endpoint: str
    uuids: Path
    trial: Trial

    @property
    def poll(self) -> float:
        """A simulated second, for those that poll once in one."""
        return 1.0 / self.trial.time_scale

    @property
    def timeout(self) -> float:
        """The real one."""
        return self.trial.timeout_seconds / self.trial.time_scale


@dataclass(frozen=True, slots=True)
class Tool:
    """A way to stop VMs: its command, and what it says of each afterwards (`stopped`, `failed`, `unknown`)."""

    name: str
    command: Callable[[Job], list[str]]
    said: Callable[[Job, str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of a tool came to. Seconds are real; `memory` is MB, the most of all its processes together."""

    makespan: float
    requests: int
    peak: int
    cpu: float
    memory: float
    vms: int
    wrong: int
    unknown: int
    left_on: int


# ── the tools ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _plan(job: Job) -> list[str]:
    def real(seconds: float) -> str:
        return f"{round(seconds * 1000 / job.trial.time_scale)}ms"

    plan = {
        "version": 1,
        "name": "peers",
        "targets": {"uuid_files": [str(job.uuids)]},
        "stop": {"power_cut_after": real(60), "grace_timeout": real(job.trial.timeout_seconds), "fallback": "none"},
        "limits": {"concurrency": job.trial.in_flight, "per_host": job.trial.in_flight},
        "verify": {"after": real(30)},
        "report": {"directory": str(job.folder / "reports"), "formats": []},
    }
    path = job.folder / "plan.json"
    path.write_text(json.dumps(plan), "utf-8")
    options = ["--yes", "--quiet", "--journal", str(job.folder / "journal.sqlite")]
    return [sys.executable, "-m", "orchestrator", "run", str(path), *options]


def _report(job: Job, out: str) -> dict[str, str]:
    [path] = (job.folder / "reports").glob("*/report.json")
    words = {**dict.fromkeys([*STOPPED, Outcome.ALREADY_STOPPED], "stopped"), Outcome.UNKNOWN: "unknown"}
    return {vm["uuid"]: words.get(vm["outcome"], "failed") for vm in json.loads(path.read_text("utf-8"))["vms"]}


def _script(*words: str) -> Callable[[Job], list[str]]:
    return lambda job: [*words, str(job.uuids), str(job.trial.in_flight), f"{job.timeout:g}"]


def _serial(job: Job) -> list[str]:
    return [sys.executable, str(OTHERS / "poller.py"), str(job.uuids), "1", f"{job.timeout:g}"]


def _lines(job: Job, out: str) -> dict[str, str]:
    return {words[0]: words[1] for line in out.splitlines() if len(words := line.split()) == 2}


def _playbook(job: Job) -> list[str]:
    hosts = "".join(f"{uuid}\n" for uuid in job.uuids.read_text("utf-8").split())
    here = "ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'"
    inventory, extra = job.folder / "inventory.ini", job.folder / "extra.json"
    inventory.write_text(f"localhost {here}\n[vms]\n{hosts}[vms:vars]\n" + here.replace(" ", "\n", 1) + "\n", "utf-8")
    values = {
        "endpoint": job.endpoint, "account": _ACCOUNT, "digest": _DIGEST, "concurrency": job.trial.in_flight,
        "poll": max(1, round(job.poll)), "timeout": job.timeout,
    }  # fmt: skip
    extra.write_text(json.dumps(values), "utf-8")
    return [
        str(ANSIBLE), "-i", str(inventory), "-e", f"@{extra}", "-f", str(job.trial.in_flight), str(OTHERS / "stop.yaml"),
    ]  # fmt: skip


def _recap(job: Job, out: str) -> dict[str, str]:
    lines = [line.split() for line in out.partition("PLAY RECAP")[2].splitlines()[1:] if " : " in line]
    return {words[0]: "stopped" if {"failed=0", "unreachable=0"} <= set(words) else "failed" for words in lines}


OURS = Tool("orchestrator", _plan, _report)
SERIAL = Tool("one after the other, polling each second", _serial, _lines)
PEERS = (
    Tool("curl and xargs -P, polling each second", _script("sh", str(OTHERS / "stop.sh")), _lines),
    Tool("Ansible, uri with until", _playbook, _recap),
    Tool("threads polling each second, as the SDK", _script(sys.executable, str(OTHERS / "poller.py")), _lines),
)


# ── fleets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def well(vms: int, in_flight: int, longest: float) -> Trial:
    """Guests that obey within a ninth of `longest` seconds to all of it; time is real."""
    guest = SimulatedGuest(shutdown=between(longest / 9, longest))
    group = VmGroup(name="vm-{n:03}", count=vms, nics=2, data_volumes=1, guest=guest)
    hosts = ClusterSpec(name="rack", hosts=max(2, vms // 5))
    return Trial(Scenario(clusters=(hosts,), vms=(group,)), in_flight, 1.0, 240.0)


def good_night(*, full: bool) -> Trial:
    """What is timed."""
    return well(40, 10, 45.0) if full else well(20, 10, 18.0)


def troubled(in_flight: int) -> Trial:
    """What goes wrong on ordinary nights, a few VMs of each kind."""
    quick = between(5, 45)
    kinds: dict[str, tuple[int, dict[str, Any]]] = {
        "good": (12, {"shutdown": quick}),
        "refused": (2, {"behaviour": "fails"}),
        "mute": (2, {"behaviour": "ignores_acpi"}),
        "late": (2, {"behaviour": "late_success"}),
        "lost": (2, {"shutdown": quick}),
        "forgotten": (1, {"shutdown": between(30, 40)}),
        "hanging": (1, {"behaviour": "hangs"}),
        "endless": (1, {"shutdown": quick}),
        "busy": (2, {"shutdown": quick}),
        "proxied": (2, {"shutdown": between(30, 40)}),
        "kept": (2, {"shutdown": quick}),
    }
    groups = [
        VmGroup(
            name=f"{name}-{{n}}",
            count=count,
            guest=SimulatedGuest.model_validate(guest),
            ha_level="NeverStop" if name == "kept" else None,
        )
        for name, (count, guest) in kinds.items()
    ]
    faults = [
        Fault(kind="drop_after", on="stop", vms=("lost-*",), first=2),
        Fault(kind="result_gone", on="stop", vms=("forgotten-*",), seconds=10),
        Fault(kind="never_ends", on="stop", vms=("endless-*",)),
        Fault(kind="too_many_requests", on="stop", vms=("busy-*",), first=2),
        Fault(kind="html", on="poll", vms=("proxied-*",), status=502, first=2),
    ]
    scenario = Scenario(clusters=(ClusterSpec(name="rack", hosts=5),), vms=tuple(groups), faults=tuple(faults))
    return Trial(scenario, in_flight, _FAULT_SCALE, 240.0)


# ── measuring ──────────────────────────────────────────────────────────────────────────────────────────────────────
class _Memory(threading.Thread):
    """The most that a process and all that it started held together, in MB, as sampled."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.most = 0.0
        self._process = process
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self.most = max(self.most, sum(map(_proportional, _family(self._process))))

    def stop(self) -> float:
        """What it came to."""
        self._over.set()
        self.join()
        return self.most


def _family(process: int) -> list[Path]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (path / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(path.name))
    found, left = [Path("/proc") / str(process)], [process]
    while left:
        of_one = children.get(left.pop(), [])
        left += of_one
        found += [Path("/proc") / str(child) for child in of_one]
    return found


def _proportional(path: Path) -> float:
    """A process's memory with its part of what it shares, in MB; 0 where it is gone."""
    with contextlib.suppress(OSError):
        for line in (path / "smaps_rollup").read_text("utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def ask(settings: ConnectionSettings, path: str, *, root: bool = False) -> Any:
    """JSON of a GET, as the administrator; `root`: outside the node's context path."""
    base = settings.base_url()
    login = {"logInByAccount": {"accountName": _ACCOUNT, "password": _DIGEST}}
    headers = {"Content-Type": "application/json"}
    if not root:
        request = Request(f"{base}/v1/accounts/login", json.dumps(login).encode(), headers, method="PUT")  # noqa: S310
        with urlopen(request) as answer:  # noqa: S310
            headers["Authorization"] = f"OAuth {json.load(answer)['inventory']['uuid']}"
    with urlopen(Request(f"{base.rsplit('/', 1)[0] if root else base}{path}", headers=headers)) as answer:  # noqa: S310
        return json.load(answer)


def states(settings: ConnectionSettings) -> dict[str, str]:
    """State words of all VMs by UUID."""
    return {vm["uuid"]: vm["state"] for vm in ask(settings, "/v1/vm-instances?limit=1000")["inventories"]}


def go(tool: Tool, trial: Trial) -> Result:
    """One run of a tool, on a node of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with node(folder, trial.scenario, trial.time_scale) as settings:
            uuids = folder / "uuids"
            uuids.write_text("".join(f"{uuid}\n" for uuid in sorted(states(settings))), "utf-8")
            job = Job(folder, settings.base_url(), uuids, trial)
            before = len(ask(settings, "/simulator/record", root=True)["requests"])
            out, cpu, memory = _carry_out(tool.command(job), job)
            record = ask(settings, "/simulator/record", root=True)
            if trial.time_scale > 1:
                time.sleep(_SETTLE_SECONDS / trial.time_scale)
            truth, said = states(settings), tool.said(job, out)
    stops = record["stops"]
    ended = [stop["ended"] for stop in stops if stop["ended"] is not None]
    requests = record["requests"][before:]
    right = {uuid: "stopped" if state == "Stopped" else "failed" for uuid, state in truth.items()}
    return Result(
        makespan=max(ended) - min(stop["accepted"] for stop in stops),
        requests=len(requests),
        peak=max(Counter(int(request["at"]) for request in requests).values()),
        cpu=cpu,
        memory=memory,
        vms=len(truth),
        wrong=sum(said.get(uuid, "nothing") not in {word, "unknown"} for uuid, word in right.items()),
        unknown=sum(said.get(uuid) == "unknown" for uuid in right),
        left_on=sum(word == "failed" for word in right.values()),
    )


def _carry_out(command: Sequence[str], job: Job) -> tuple[str, float, float]:
    """What it wrote, its CPU seconds and its memory. A tool that fails has said so of some VM: that is no trouble here."""
    environment = {
        **os.environ,
        "ENDPOINT": job.endpoint,
        "ACCOUNT": _ACCOUNT,
        "DIGEST": _DIGEST,
        "POLL": f"{job.poll:g}",
        "ZSTACK_ENDPOINT": job.endpoint,
        "ZSTACK_ACCOUNT_NAME": _ACCOUNT,
        "ZSTACK_ACCOUNT_PASSWORD": "password",
        "ANSIBLE_HOME": str(job.folder / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
    }
    with (job.folder / "out").open("w+b") as out, (job.folder / "err").open("w+b") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, cwd=ROOT)
        memory = _Memory(process.pid)
        memory.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        most = memory.stop()
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
        if not text:
            err.seek(0)
            raise SystemExit(f"{command[0]} said nothing (exit {process.returncode}): {err.read().decode()[-2000:]}")
    return text, usage.ru_utime + usage.ru_stime, most


def measure(*, full: bool) -> list[tuple[str, Result, Result]]:
    """Of each tool its run on a good night, and its run among faults. The serial ones, which wait, go beside the rest."""
    good, bad = good_night(full=full), troubled(10)
    tools = [OURS, *(tool for tool in PEERS if ANSIBLE.exists() or tool.command is not _playbook)]
    with ThreadPoolExecutor(2) as beside, ThreadPoolExecutor(_AT_ONCE) as side_by_side:
        serial = beside.submit(go, SERIAL, good), beside.submit(go, SERIAL, bad)
        quiet = [go(tool, good) for tool in tools]
        loud = list(side_by_side.map(lambda tool: go(tool, bad), tools))
        tools.append(SERIAL)
        quiet.append(serial[0].result())
        loud.append(serial[1].result())
    return [(tool.name, *both) for tool, *both in zip(tools, quiet, loud, strict=True)]  # type: ignore[misc]


def rows(found: Sequence[tuple[str, Result, Result]]) -> list[str]:
    """A line a tool."""
    lines = [
        "| tool | makespan, s | requests a VM | most requests/s | CPU, s | memory, MB | wrong | not known | left on |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, good, bad in found:
        cells = [
            f"{good.makespan:.1f}", f"{good.requests / good.vms:.1f}", f"{good.peak}",
            f"{good.cpu:.1f}", f"{good.memory:.0f}",
            f"{bad.wrong} of {bad.vms}", f"{bad.unknown}", f"{bad.left_on}",
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


FIGURES: dict[str, Callable[[Result, Result], float]] = {
    "makespan": lambda good, bad: good.makespan,
    "requests": lambda good, bad: good.requests,
    "peak of requests": lambda good, bad: good.peak,
    "CPU": lambda good, bad: good.cpu,
    "memory": lambda good, bad: good.memory,
    "words that are wrong": lambda good, bad: bad.wrong,
    "VMs left on": lambda good, bad: bad.left_on,
}
"""What less is better of."""
_CLEARLY = 0.97


def better(found: Sequence[tuple[str, Result, Result]]) -> list[str]:
    """A line for each peer that needs clearly less of something than the program does."""
    (ours, *mine), *peers = found
    lines = []
    for name, *theirs in peers:
        less = [
            f"{figure} ({of(*theirs):.3g} against {of(*mine):.3g})"
            for figure, of in FIGURES.items()
            if of(*theirs) < _CLEARLY * of(*mine)
        ]
        lines.append(f"- {name}, better than {ours} in: {', '.join(less) if less else 'nothing'}.")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="twice the VMs, for as long as real ones take")
    options = parser.parse_args()
    if shutil.which("curl") is None:
        raise SystemExit("curl is not here: install it, it is one of the peers")
    found = measure(full=options.full)
    print("\n".join([*rows(found), "", *better(found)]))


if __name__ == "__main__":
    main()
