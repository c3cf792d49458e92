"""`restore` as an operator meets it: the question, what it says, and a process that is killed on the way."""

import signal
from functools import partial

import pytest

from orchestrator.simulator import VmGroup
from tests.cli.support import Cli, Node, quick, refused, wait_until
from tests.cli.test_terminal import Terminal


def states(node: Node) -> list[str]:
    """Every VM's state."""
    return node.ask(lambda: [vm.state for vm in node.sim.vms.values()])


def test_there_and_back(cli: Cli, node: Node) -> None:
    """Stopped, restored, restored again: 0, a report of its own, and with nothing to do a sentence."""
    assert cli("run", cli.plan(), "--yes").code == 0
    stopped = cli.report()["run"]["id"]
    done = cli("restore", "last", "--yes")
    assert done.code == 0
    assert f"run {stopped}" in done.err
    assert "3 targets, 3 to start" in done.err
    assert "All 3 VMs are running." in done.out
    report = cli.report()
    assert (report["run"]["action"], report["run"]["parent_run"], report["totals"]["started"]) == ("start", stopped, 3)
    assert states(node) == ["Running"] * 3
    before = node.asked
    again = cli("restore", "last", "--yes")
    assert (again.code, again.out) == (0, "")
    assert "nothing to restore" in again.err
    assert before < node.asked < before + 10
    refused(cli("restore", report["run"]["id"], "--yes"), 3, "is a restore itself", stopped)
    refused(cli("retry", report["run"]["id"], "--yes"), 3, "is a restore", f"orchestrator restore {stopped}")


def test_the_question(cli: Cli, node: Node) -> None:
    """It shows how many are started, what is left and why, node and account; no is no."""
    assert cli("run", cli.plan(), "--yes").code == 0
    gone = node.ask(lambda: node.sim.vm("app-2").uuid)
    node.ask(lambda: node.sim.act(gone, "destroy"))
    origin = {vm["host_uuid"] for vm in cli.report()["vms"] if vm["uuid"] != gone}
    hosts, away = len(origin), sorted(origin)[0]
    node.ask(lambda: node.sim.disconnect_host(away))
    terminal = Terminal(cli, "restore", "last")
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    for words in (
        "       2 to start",
        " hosts, where the VMs came from" if hosts > 1 else "1 host, where the VMs came from",
        "; Disconnected, Enabled, so that they may start elsewhere",
        "  forecast: 0 s to ",
        f"left: app-2 ({gone}): it is gone since it was stopped",
        f"node {node.endpoint}, ZStack 5.2.1, as account admin",
        f"Start 2 VMs at {node.endpoint}?",
    ):
        assert words in terminal.seen
    terminal.type("no\n")
    assert terminal.end() == 3
    assert states(node).count("Running") == 0


def test_an_account_that_may_not(cli: Cli, node: Node) -> None:
    """Without a terminal and without --yes: 2; at another node: 3; a run that is not known: 2."""
    assert cli("run", cli.plan(), "--yes").code == 0
    refused(cli.inside("restore", "last"), 2, "add --yes")
    refused(cli.inside("restore", "nobody", "--yes"), 2, "no run is called")
    refused(cli("restore", "last", "--yes", "--endpoint", "http://127.0.0.1:1/zstack"), 3, "was made at")


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=8, guest=quick()),)], indirect=True)
@pytest.mark.parametrize("after", [0, 2, 5])
def test_killed_on_the_way(cli: Cli, node: Node, after: int) -> None:
    """Killed after some starts have reached the node, and carried on: each VM was started once, and all run."""
    assert cli("run", cli.plan(), "--yes").code == 0

    def started() -> int:
        return node.ask(lambda: sum(request.action == "startVmInstance" for request in node.sim.record.requests))

    running = cli.start("restore", "last", "--yes")
    wait_until(lambda: started() > after + 1, "some starts are at the node")  # one was the dry run
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    done = cli("resume", "last", "--yes")
    assert done.code == 0, done
    report = cli.report()
    assert report["run"]["action"] == "start"
    assert report["totals"]["started"] + report["totals"]["already_running"] == 8
    assert states(node) == ["Running"] * 8
    steps = node.ask(lambda: [s.vm_uuid for s in node.sim.record.transitions if s.after == "Starting"])
    assert sorted(steps) == sorted(set(steps)), "a VM was started twice"
    # Whoever is killed logs nobody out: that session is not what the next test looks at.
    for session in node.open_sessions:
        node.ask(partial(node.sim.record.sessions.update, {session: False}))


def test_an_account_that_sees_none_of_them(cli: Cli, node: Node) -> None:
    """To somebody else's account they look gone: 3, never success, and nothing was started."""
    assert cli("run", cli.plan(), "--yes").code == 0
    viewer: dict[str, str | None] = {"ZSTACK_ACCOUNT_NAME": "viewer"}
    refused(cli.inside("restore", "last", "--yes", env=viewer), 3, "none of the 3 VMs", "this account does not see them")
    assert states(node) == ["Stopped"] * 3


def test_the_last_that_stopped_something(cli: Cli, node: Node) -> None:
    """A run that found everything off stopped nothing: `last` is the one before it."""
    assert cli("run", cli.plan(), "--yes").code == 0
    stopped = cli.report()["run"]["id"]
    assert cli("run", cli.plan(), "--yes").code == 0
    assert cli.report()["totals"]["already_stopped"] == 3
    done = cli("restore", "last", "--yes")
    assert done.code == 0
    assert f"run {stopped}\n" in done.err
    assert states(node) == ["Running"] * 3


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=6, guest=quick()),)], indirect=True)
@pytest.mark.parametrize("by", ["last", "id"])
def test_the_last_was_a_retry(cli: Cli, node: Node, by: str) -> None:
    """`last` is the whole night, retries and all; a retry that is named itself starts its own part, and says so."""
    limits = {"requests_per_second": 500, "concurrency": 1}
    running = cli.start("run", cli.plan(limits=limits), "--yes")
    wait_until(lambda: node.stops, "the first stop is at the node")
    running.process.send_signal(signal.SIGINT)
    assert running.wait().code == 4
    first = cli.report()
    assert cli("retry", "last", "--yes").code == 0
    retried = cli.report()
    assert retried["run"]["parent_run"] == first["run"]["id"]
    done = cli("restore", "last" if by == "last" else retried["run"]["id"], "--yes")
    assert done.code == 0
    assert cli.report()["totals"]["started"] == (6 if by == "last" else first["totals"]["not_reached"])
    said = (
        f"is a retry of run {first['run']['id']}: 'orchestrator restore {first['run']['id']}' starts what both have stopped"
    )
    assert (said in done.err) is (by == "id")
