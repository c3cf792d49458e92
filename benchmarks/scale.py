"""How large it may be: memory of a run by the number of its targets, and the time to resolve VMs by a filter.

Memory is the most that the command's own process ever held, as its system tells; the node is another process. Resolving is
timed in the same way as a preview does it, page by page, beside bare aiohttp receiving the same pages.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.journal import node
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import ClusterSpec, Scenario, VmGroup
from orchestrator.simulator import Guest as SimulatedGuest
from orchestrator.simulator.spread import between

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT, PER_HOST, TIME_SCALE = 2000, 10, 4.0


def fleet(vms: int) -> Scenario:
    """Guests that obey, on as many hosts as 2000 in flight take."""
    group = VmGroup(name="vm-{n:06}", count=vms, nics=2, data_volumes=1, guest=SimulatedGuest(shutdown=between(5, 45)))
    return Scenario(clusters=(ClusterSpec(name="rack", hosts=IN_FLIGHT // PER_HOST),), vms=(group,))


def run(folder: Path, settings: ConnectionSettings, vms: int) -> float:
    """MB at the peak of one `orchestrator run` over all of them, in a process of its own."""
    cut = round(60_000 / TIME_SCALE)
    plan = {
        "version": 1,
        "name": "scale",
        "targets": {"where": [["type=UserVm"]]},
        "stop": {"power_cut_after": f"{cut}ms", "grace_timeout": f"{cut * 4}ms"},
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
    with (folder / "log").open("wb") as log, (folder / "out").open("w+b") as out:
        process = subprocess.Popen(
            [*command, "--journal", str(folder / "journal.sqlite")], stdout=out, stderr=log, env=environment, cwd=ROOT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        if process.returncode != 0:
            raise SystemExit(f"the run went wrong ({process.returncode}): {out.read(2000).decode()}")
    print(vms, usage.ru_maxrss / 1024, (usage.ru_utime + usage.ru_stime) / vms * 1000, file=sys.stderr)
    return usage.ru_maxrss / 1024


def memory(vms: int) -> float:
    """The same on a node of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with node(folder, fleet(vms), TIME_SCALE) as settings:
            return run(folder, settings, vms)


if __name__ == "__main__":
    memory(int(sys.argv[1]))
