"""The benchmarks run and tell what they promise to; how fast anything is, is not tested."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import journal

TINY = (
    "--vms",
    "10",
    "--in-flight",
    "10",
    "--seconds",
    "0.2",
    "--scripted-vms",
    "20",
    "--resume-vms",
    "40",
    "--rounds",
    "1",
)


def numbers(found: Any) -> list[float]:
    """Every number in it, however deep."""
    if isinstance(found, dict):
        return [number for value in found.values() for number in numbers(value)]
    return [found] if isinstance(found, int | float) else []


def test_the_journal_benchmark_prints_its_three_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cost per VM, seconds to resume, and bytes per VM are printed, and written as JSON, as positive numbers."""
    out = tmp_path / "figures.json"
    journal.main([*TINY, "--folder", str(tmp_path), "--json", str(out)])
    printed, found = capsys.readouterr().out, json.loads(out.read_text("utf-8"))
    for figure in (
        r"simulated node, 10 in flight +wall ms +([\d.]+) +([\d.]+) +([\d.]+)x",
        r"scripted cloud, 10 in flight +CPU ms +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)x",
        r"seconds to the first look at a job +([\d.]+)",
        r"seconds to the first new VM +([\d.]+)",
        r"MB at the most +([\d.]+)",
        r"journal bytes per VM, a finished run of 20 VMs: file (\d+)",
    ):
        match = re.search(figure, printed)
        assert match is not None, f"{figure} is not in\n{printed}"
        assert all(float(number) > 0 for number in match.groups()), match[0]
    for cost in found["cost"].values():
        assert all(number > 0 for number in numbers({k: v for k, v in cost.items() if "more" not in k}))
    sizes = found["bytes_per_vm"]
    assert sizes["file"] > sizes["tables"]["vm"] > sizes["inventory"] > 0
    carried = found["resume"]
    assert carried["taken_up_seconds"]["median"] <= carried["first_look_seconds"]["median"]
    assert carried["with_outcome"] + carried["under_way"] + carried["waiting"] == 40
    assert [path.name for path in tmp_path.iterdir()] == [out.name], "its journals stay behind"
