"""The benchmarks run and tell what they promise to; how fast anything is, is not tested."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import journal, peers
from orchestrator.simulator import ClusterSpec, Guest, Scenario, VmGroup
from orchestrator.simulator.spread import between

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


def test_peers_say_what_is_true_where_nothing_goes_wrong() -> None:
    """Shell script and poller stop four VMs of a compressed node, and their words are understood; so are Ansible's."""
    guest = Guest(shutdown=between(3, 6))
    rack = Scenario(clusters=(ClusterSpec(name="rack", hosts=2),), vms=(VmGroup(name="vm-{n}", count=4, guest=guest),))
    trial = peers.Trial(rack, 4, 10.0, 240.0)
    for tool in (peers.OURS, *(tool for tool in peers.PEERS if "Ansible" not in tool.name)):
        result = peers.go(tool, trial)
        assert (result.vms, result.wrong, result.unknown, result.left_on) == (4, 0, 0, 0), tool.name
        assert result.requests >= 8
        assert min(result.makespan, result.cpu, result.memory, result.peak) > 0
    recap = "PLAY RECAP ****\na1 : ok=2 changed=0 unreachable=0 failed=0\nb2 : ok=1 changed=0 unreachable=0 failed=1\n"
    [ansible] = [tool for tool in peers.PEERS if "Ansible" in tool.name]
    assert ansible.said(peers.Job(Path(), "", Path(), trial), recap) == {"a1": "stopped", "b2": "failed"}


def test_who_is_better_is_said() -> None:
    """A peer that needs less of something is named with both figures; one that needs as much is not."""
    ours = peers.Result(10.0, 100, 5, 2.0, 50.0, vms=10, wrong=0, unknown=1, left_on=0)
    theirs = replace(ours, cpu=1.0, wrong=3, makespan=9.9)
    found = [("ours", ours, ours), ("theirs", theirs, theirs), ("same", ours, ours)]
    assert peers.better(found) == [
        "- theirs, better than ours in: CPU (1 against 2).",
        "- same, better than ours in: nothing.",
    ]
    assert "| theirs | 9.9 | 10.0 | 5 | 1.0 | 50 | 3 of 10 | 1 | 0 |" in peers.rows(found)
