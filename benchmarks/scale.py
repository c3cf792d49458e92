"""How large it may be: the memory of a run by its targets, and the time that a filter takes to resolve by the VMs it meets.

Memory is the most that the command's own process ever held, as its system tells; the node is another process. Resolving is
what a preview does first: every VM that a filter meets, page by page, and who must stay up. It is measured in CPU of this
process, beside bare aiohttp that receives the same pages and does nothing with them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import anyio

from benchmarks.journal import Meter, node
from orchestrator.clouds.zstack import query
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.engine.resolve import resolve
from orchestrator.plan.load import plan_from_text
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import ClusterSpec, Scenario, VmGroup
from orchestrator.simulator import Guest as SimulatedGuest
from orchestrator.simulator.spread import between

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT, PER_HOST, TIME_SCALE = 2000, 10, 4.0
FIRST, LARGE = 10_000, 100_000
ROUNDS = 3
_LAUNCHER = """
import os, subprocess, sys
run = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(run.pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Starts the run from a process that holds next to nothing: a program counts as large as whoever started it was."""
MUST = {
    f"memory of a run of {LARGE} VMs, MB": 200.0,
    f"memory a target from {FIRST} to {LARGE}, KB": 1.2,
    f"resolving {LARGE} VMs, CPU above receiving, us a VM": 40.0,
    f"the same over that of {FIRST} VMs": 1.2,
}
"""What each figure must reach, at most. That resolving is linear is a matter of its last ratio."""


def fleet(vms: int) -> Scenario:
    """Guests that obey, on as many hosts as 2000 in flight take."""
    group = VmGroup(name="vm-{n:06}", count=vms, nics=2, data_volumes=1, guest=SimulatedGuest(shutdown=between(5, 45)))
    return Scenario(clusters=(ClusterSpec(name="rack", hosts=IN_FLIGHT // PER_HOST),), vms=(group,))


def memory(vms: int) -> float:
    """MB at the peak of one `orchestrator run` over so many VMs, 2000 in flight, with journal, log and report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with node(folder, fleet(vms), TIME_SCALE) as settings:
            return _run(folder, settings, vms)


def _run(folder: Path, settings: ConnectionSettings, vms: int) -> float:
    cut = round(60_000 / TIME_SCALE)
    plan = {
        "version": 1,
        "name": "scale",
        "targets": {"where": [["type=UserVm"]]},
        "stop": {"power_cut_after": f"{cut}ms", "grace_timeout": f"{cut * 16}ms"},
        "limits": {"concurrency": IN_FLIGHT, "per_host": PER_HOST, "requests_per_second": 5000},
        "guard": {"max_targets": vms},
        "verify": {"after": "1s"},
        "report": {"directory": str(folder / "reports"), "formats": []},
    }
    path = folder / "plan.json"
    path.write_text(json.dumps(plan), "utf-8")
    environment = {
        **os.environ,
        "ZSTACK_ENDPOINT": settings.base_url(),
        "ZSTACK_ACCOUNT_NAME": "admin",
        "ZSTACK_ACCOUNT_PASSWORD": "password",
    }
    command = [sys.executable, "-m", "orchestrator", "run", str(path), "--yes", "--log-format", "json"]
    command += ["--journal", str(folder / "journal.sqlite")]
    size = folder / "size"
    with (folder / "log").open("wb") as log, (folder / "out").open("w+b") as out:
        launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(size)]
        ended = subprocess.run([*launcher, *command], stdout=out, stderr=log, env=environment, cwd=ROOT, check=False)
        out.seek(0)
        if ended.returncode != 0:
            raise SystemExit(f"the run went wrong ({ended.returncode}): {out.read(2000).decode()}")
    return int(size.read_text("ascii")) / 1024


def resolving(vms: int) -> float:
    """Microseconds of CPU a VM, above those that receiving the pages takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with node(folder, fleet(vms), TIME_SCALE) as settings:
            return anyio.run(_resolve, folder, settings, vms)


async def _resolve(folder: Path, settings: ConnectionSettings, vms: int) -> float:
    text = {"version": 1, "name": "scale", "targets": {"where": [["type=UserVm"]]}}
    plan = plan_from_text(json.dumps(text), name="plan.json", folder=folder, json=True)
    async with ZStackClient(settings) as client:
        headers = await client.auth.headers(client.http, "GET", "/v1/vm-instances")
        with Meter() as ours:
            resolution = await resolve(plan, ZStackCloud(client))
        if len(resolution.targets) != vms:
            raise SystemExit(f"{len(resolution.targets)} targets of {vms} were found")
        bare = await _receive(settings, headers, vms)
    return (ours.cpu - bare) / vms * 1e6


async def _receive(settings: ConnectionSettings, headers: Mapping[str, str], vms: int) -> float:
    async with aiohttp.ClientSession() as session:
        with Meter() as meter:
            for start in range(0, vms, query.PAGE - 1):
                options: dict[str, Any] = {"fields": query.ROW_FIELDS, "sort": "+uuid", "start": start, "limit": query.PAGE}
                path = f"{settings.base_url()}/v1/vm-instances?{query.encode(['type=UserVm'], **options)}"
                async with session.get(path, headers=headers) as answer:
                    await answer.read()
    return meter.cpu


def measure(*, full: bool) -> dict[str, float]:
    """Every figure; those of the large number only where `full`, for they take a quarter of an hour."""
    small = memory(FIRST)
    found = {f"memory of a run of {FIRST} VMs, MB": small}
    if full:
        large = memory(LARGE)
        found[f"memory of a run of {LARGE} VMs, MB"] = large
        found[f"memory a target from {FIRST} to {LARGE}, KB"] = (large - small) * 1024 / (LARGE - FIRST)
    sizes = (FIRST, LARGE) if full else (FIRST,)
    taken = zip(*[[resolving(vms) for vms in sizes] for _ in range(ROUNDS)], strict=True)
    first, *last = map(statistics.median, taken)
    found[f"resolving {FIRST} VMs, CPU above receiving, us a VM"] = first
    for figure in last:
        found[f"resolving {LARGE} VMs, CPU above receiving, us a VM"] = figure
        found[f"the same over that of {FIRST} VMs"] = figure / first
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="with a hundred thousand VMs")
    parser.add_argument("--memory", type=int, metavar="VMS", help="only the memory of a run of so many")
    options = parser.parse_args()
    found = {"memory, MB": memory(options.memory)} if options.memory else measure(full=options.full)
    print("\n".join(f"{name}: {value:.4g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
