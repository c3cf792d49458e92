"""Signals over a real process: what still happens, which code, and that nobody stays logged in."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from orchestrator.simulator import Fault, Guest, VmGroup
from tests.cli.support import Cli, Node, wait_until

MUTE = (VmGroup(name="app-{n}", count=4, guest=Guest(behaviour="ignores_acpi")),)
HANGING = (VmGroup(name="app-{n}", count=2, guest=Guest(behaviour="hangs")),)
ONE_BY_ONE = {"requests_per_second": 500, "concurrency": 1}


@pytest.mark.parametrize("node", [MUTE], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_all_sending(cli: Cli, node: Node, number: signal.Signals) -> None:
    """One signal: what is in flight is watched to its end, the rest is not_reached (operator), and the code is 4."""
    running = cli.start("run", cli.plan(limits=ONE_BY_ONE, report={"formats": []}), "--yes")
    wait_until(lambda: node.stops, "the first stop is at the node")
    running.process.send_signal(number)
    if number is signal.SIGHUP:  # which may come twice from one terminal
        wait_until(lambda: "nothing more is sent" in running.err, "the first is told")
        running.process.send_signal(number)
    done = running.wait()
    assert done.code == 4, done
    assert "nothing more is sent (operator)" in done.err
    assert "jobs that go on at the node: 1" in done.err
    report = cli.report()
    assert (report["run"]["status"], report["run"]["ended_by"]) == ("stopped_early", "operator")
    assert report["totals"]["not_reached"] >= 1
    assert {vm["reason"] for vm in report["vms"] if vm["outcome"] == "not_reached"} == {"operator"}
    assert node.stops == 4 - report["totals"]["not_reached"]
    assert node.open_sessions == []


@pytest.mark.parametrize("node", [HANGING], indirect=True)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_leaves_at_once(cli: Cli, node: Node, second: signal.Signals) -> None:
    """Ctrl-C and another: 130 without waiting for a job that never ends; logged out, and the report says interrupted."""
    stop = {"grace_timeout": "10m", "power_cut_after": "60s"}
    running = cli.start("run", cli.plan(stop=stop, report={"formats": []}), "--yes")
    wait_until(lambda: node.stops == 2, "both stops are at the node")
    running.process.send_signal(signal.SIGINT)
    wait_until(lambda: "nothing more is sent" in running.err, "the first signal is told")
    running.process.send_signal(second)
    done = running.wait()
    assert done.code == 130, done
    assert cli.report()["run"]["status"] == "interrupted"
    assert node.open_sessions == []
    assert "exit 130" in cli.inside("runs").out


@pytest.mark.parametrize(
    ("args", "number"),
    [
        (("run", "plan.yaml", "--yes"), signal.SIGINT),
        (("run", "plan.yaml", "--yes"), signal.SIGHUP),
        (("preview", "plan.yaml"), signal.SIGTERM),
        (("doctor",), signal.SIGTERM),
    ],
    ids=["run INT", "run HUP", "preview TERM", "doctor TERM"],
)
def test_before_the_run_begins_a_signal_leaves(cli: Cli, node: Node, args: tuple[str, ...], number: signal.Signals) -> None:
    """While the node is still being asked: 130, nothing was sent, logged out, and no run is in the journal."""
    cli.plan()
    node.ask(lambda: node.sim.faults.add(Fault(kind="slow", on="stop", seconds=60)))
    running = cli.start(*args)
    wait_until(
        lambda: node.ask(lambda: any(request.action == "stopVmInstance" for request in node.sim.record.requests)),
        "the permission is being asked for",
    )
    running.process.send_signal(number)
    done = running.wait()
    assert done.code == 130, done
    assert "interrupted" in done.err
    assert node.stops == 0
    assert node.open_sessions == []
    assert not (cli.folder / "reports").exists() or not list((cli.folder / "reports").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_report_is_told(cli: Cli, node: Node, number: signal.Signals) -> None:
    """Nobody takes the summary, and a signal ends the wait: 130, and what is said is that the run is over, and its id."""
    taken, given = os.pipe()
    os.set_blocking(given, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(given, b"x" * 4096)
    os.set_blocking(given, True)
    cli.plan()
    err = cli.folder / "err"
    with err.open("wb") as err_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "run", "plan.yaml", "--yes"],
            stdin=subprocess.DEVNULL, stdout=given, stderr=err_file, cwd=cli.folder, env=cli.env, start_new_session=True,
        )  # fmt: skip
    os.close(given)
    try:
        wait_until(lambda: list(cli.folder.glob("**/*.html")), "a report is written, and the summary is to come")
        process.send_signal(number)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
        os.close(taken)
    assert node.stops == 3
    run_id = cli.report()["run"]["id"]
    said = err.read_text("utf-8")
    assert f"interrupted: run {run_id} is over and in the journal, 'orchestrator report {run_id}' shows it" in said
    assert "nothing was sent" not in said
