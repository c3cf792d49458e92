"""The import rules bite: a planted violation is found."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("engine/watch.py", "import orchestrator.clouds.zstack.client", "The engine imports no implementation"),
        ("actions/judge.py", "import time", "Decisions know no clock, no loop, no wire"),
        ("simulator/stop.py", "import orchestrator.model.states", "The simulated node shares nothing with the client"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """The check fails, and names the contract that the planted import breaks."""
    shutil.copytree(ROOT / "orchestrator", tmp_path / "orchestrator", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    planted = tmp_path / "orchestrator" / module
    planted.write_text(planted.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    found = subprocess.run(
        [LINT, "--no-cache"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    words = " ".join(found.stdout.split())
    assert found.returncode != 0
    assert f"{contract} BROKEN" in words
