"""`make demo`: a simulated node on a free loopback port, and plans/demo.yaml run against it.

The run's environment holds that node's address and nothing of yours: every ZSTACK_* is left out.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCENARIO = ROOT / "orchestrator" / "simulator" / "scenarios" / "demo.yaml"
TIME_SCALE = "20"


def main() -> int:
    """Start the node, run the plan, end the node; returns the run's exit code where it is none of 0 and 1."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ZSTACK_", "ORCHESTRATOR_"))}
    orchestrator = [sys.executable, "-m", "orchestrator"]
    node = subprocess.Popen(
        [*orchestrator, "simulate", "--port", "0", "--scenario", str(SCENARIO), "--time-scale", TIME_SCALE],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean,
    )
    try:
        assert node.stdout is not None
        line = node.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+\S*?(?=[:\s])", line)
        if found is None:
            print("the simulated node did not start")
            return 3
        print(line.strip(), flush=True)
        run = subprocess.run(
            [*orchestrator, "run", "plans/demo.yaml", "--yes", "--journal", str(ROOT / "build" / "demo.sqlite")],
            cwd=ROOT,
            env={
                **clean,
                "ZSTACK_ENDPOINT": found[0],
                "ZSTACK_ACCOUNT_NAME": "admin",
                "ZSTACK_ACCOUNT_PASSWORD": "password",
            },
            check=False,
        )
    finally:
        node.terminate()
        node.wait(timeout=10)
    print(f"exit code {run.returncode}: some of these guests are made to fail, and the run says so")
    return 0 if run.returncode in {0, 1} else run.returncode


if __name__ == "__main__":
    sys.exit(main())
