"""`steer` in one process, the run in another."""

import pytest

from orchestrator.simulator import Guest, VmGroup
from orchestrator.simulator.spread import between
from tests.cli.support import Cli, Node, refused, wait_until

# One after the other: however slow the machine, some still wait when the pause has come.
SLOW = [(VmGroup(name="app-{n}", count=12, guest=Guest(shutdown=between(35, 45))),)]
ONE = {"requests_per_second": 500, "concurrency": 1}


@pytest.mark.parametrize("node", SLOW, indirect=True)
def test_pause_skip_go(cli: Cli, node: Node) -> None:
    """Paused in mid-run, a VM taken out by name, and on again: who and when stand in the journal, the rest is stopped."""
    running = cli.start("run", cli.plan(limits=ONE), "--yes")
    wait_until(lambda: node.stops, "the first stop is at the node")
    paused = cli("steer", "last", "pause")
    assert (paused.code, paused.out.startswith("paused: nothing more is started")) == (0, True)
    waiting = node.ask(lambda: [vm.name for vm in node.sim.vms.values() if vm.state == "Running"])
    assert len(waiting) > 1
    skipped = cli("steer", "last", "skip", waiting[-1])
    assert (skipped.code, skipped.out) == (0, "skipped\n")
    assert cli("steer", "last", "go").out == "the run goes on\n"
    done = running.wait()
    assert done.code == 0
    assert "paused by " in done.err
    totals = cli.report()["totals"]
    assert totals["skipped"] == 1
    assert totals["skipped"] + totals["stopped_clean"] + totals["stopped_forced"] == 12
    refused(cli("steer", "last", "pause"), 2, "that has not ended")


def test_what_cannot_be_said(cli: Cli, node: Node) -> None:
    """Words that make no sense, runs that have ended or are not known: one sentence each."""
    refused(cli.inside("steer", "last", "skip"), 2, "takes a VM, by UUID or name: 'orchestrator steer RUN skip VM'")
    refused(cli.inside("steer", "last", "pause", "app-1"), 2, "takes no VM")
    refused(cli.inside("steer", "last", "pause"), 2, "no run yet")
    assert cli("run", cli.plan(), "--yes").code == 0
    run = cli.report()["run"]["id"]
    refused(cli.inside("steer", run, "pause"), 3, "has ended")
