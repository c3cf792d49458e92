"""The maintenance window as an operator meets it: the wait, the refusals, what stands in preview, question and report."""

import signal
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from orchestrator.simulator import Guest, VmGroup
from tests.cli.support import Cli, Node, quick, refused, wait_until
from tests.cli.test_terminal import Terminal


def soon(seconds: float) -> str:
    """So long from now, as a plan writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def test_it_waits_for_the_start(cli: Cli, node: Node) -> None:
    """Given before the start: it says until when it waits, nothing is sent before, and then it runs to its end."""
    start = soon(3.0)
    done = cli("run", cli.plan(window={"start": start, "end": soon(600)}), "--yes")
    assert done.code == 0
    assert "waiting for the window's start at " in done.err
    report = cli.report()
    assert report["run"]["started_at"] >= report["run"]["window"]["start"]
    assert min(vm["attempts"][0]["sent_at"] for vm in report["vms"]) >= report["run"]["window"]["start"]
    assert node.stops == 3


def test_ctrl_c_while_it_waits(cli: Cli, node: Node) -> None:
    """Ctrl-C before the start: 130, nothing was sent, no run in the journal, logged out."""
    running = cli.start("run", cli.plan(window={"start": soon(3600), "end": soon(7200)}), "--yes")
    wait_until(lambda: "waiting for the window's start" in running.err, "it waits")
    running.process.send_signal(signal.SIGINT)
    done = running.wait()
    assert done.code == 130
    assert "nothing was sent" in done.err
    assert node.stops == 0
    assert cli("runs").out == ""


def test_what_changed_while_it_waited(cli: Cli, node: Node) -> None:
    """A VM destroyed before the start: the second list is what runs, and the difference is said and in the report."""
    running = cli.start("run", cli.plan(window={"start": soon(4.0), "end": soon(600)}), "--yes")
    wait_until(lambda: "waiting for the window's start" in running.err, "it waits")
    gone = node.ask(lambda: node.sim.vm("app-2").uuid)
    node.ask(lambda: node.sim.act(gone, "expunge"))
    done = running.wait()
    assert (done.code, node.stops) == (0, 2)
    words = f"since the command was given: app-2 ({gone}) vanished"
    assert words in done.err
    assert words in cli.report()["run"]["warnings"]


@pytest.mark.parametrize("command", ["preview", "run"])
def test_a_window_that_is_over(cli: Cli, node: Node, command: str) -> None:
    """3 with the remedy, and nothing was sent."""
    plan = cli.plan(window={"end": soon(-60)})
    args = (command, plan, "--yes") if command == "run" else (command, plan)
    refused(cli(*args), 3, "the window ended at", "write a later window.end")
    assert node.stops == 0


def test_a_time_without_an_offset(cli: Cli) -> None:
    """2 at its place, with what would be right; on the command line too."""
    refused(cli.inside("validate", cli.plan(window={"end": "2036-11-29T02:00:00"})), 2, "time without an offset", "+08:00")
    for command in ("resume", "retry"):
        done = cli.inside(command, "last", "--window-end", "2036-11-29T02:00:00")
        assert done.code == 2
        assert "time without an offset" in done.err


def test_the_question_shows_forecast_and_window(cli: Cli, node: Node) -> None:
    """Preview and the question before a run: the window with its reserve, and the forecast as a range with its ground."""
    plan = cli.plan(window={"end": soon(3600), "reserve": "15m", "at_end": "cold"})
    words = (
        ", nothing is begun that would end in the last 15 min; at its end: what is in flight gets a cold stop",
        "  forecast: 0 s to ",
        "; it rests on an assumption of 0.5 s a VM",
    )
    done = cli("preview", plan)
    assert done.code == 0
    terminal = Terminal(cli, "run", plan)
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    terminal.type("yes\n")
    assert terminal.end() == 0
    for word in words:
        assert word in done.out
        assert word in terminal.seen
    for uuid in node.ask(lambda: list(node.sim.vms)):
        node.ask(partial(node.sim.act, uuid, "start"))
    again = cli("preview", plan)
    assert "; it rests on what all 3 VMs took last time" in again.out


@pytest.mark.parametrize(
    "node", [(VmGroup(name="app-{n}", count=40, guest=Guest(shutdown=quick().shutdown)),)], indirect=True
)
def test_a_window_too_short(cli: Cli, node: Node) -> None:
    """Forty VMs one by one in two seconds: warned beforehand, those without a turn not reached, 4, and why in the report."""
    limits = {"requests_per_second": 500, "concurrency": 1}
    plan = cli.plan(window={"end": soon(6.0)}, limits=limits)
    done = cli("run", plan, "--yes")
    assert done.code == 4
    report = cli.report()
    assert report["run"]["ended_by"] == "window"
    left = [vm for vm in report["vms"] if vm["outcome"] == "not_reached"]
    assert left
    assert {vm["reason"] for vm in left} == {"window"}
    assert any(warning.startswith("the forecast crosses the window") for warning in report["run"]["warnings"])
    calls = [(vm["outcome"], attempt["sent_at"]) for vm in report["vms"] for attempt in vm["attempts"]]
    assert all(sent_at < report["run"]["window"]["end"] for _, sent_at in calls if sent_at is not None)
    # The window may close between an intent and its call, which is held back then.
    assert {outcome for outcome, sent_at in calls if sent_at is None} <= {"not_reached"}
    assert "the window has closed" in done.err
    retried = cli("retry", "last", "--yes", "--window-end", soon(600))
    assert retried.code == 0
    assert cli.report()["totals"]["targets"] == len(left)
    refused(cli("retry", "last", "--yes", "--window-end", soon(-1)), 2, "has passed")


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=40, guest=quick()),)], indirect=True)
def test_a_retry_keeps_the_end_that_a_resume_was_given(cli: Cli, node: Node) -> None:
    """A plan without a window, resumed with an end: once it has passed, a retry is refused, and with an end it runs."""
    limits = {"requests_per_second": 500, "concurrency": 1}
    running = cli.start("run", cli.plan(limits=limits), "--yes")
    wait_until(lambda: node.stops, "the first stop is at the node")
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    end = datetime.now(UTC) + timedelta(seconds=3)
    assert cli("resume", "last", "--yes", "--window-end", end.isoformat(timespec="milliseconds")).code == 4
    before = node.stops
    wait_until(lambda: datetime.now(UTC) > end, "the window's end")
    refused(cli("retry", "last", "--yes"), 3, "the window ended at", "--window-end TIME")
    assert node.stops == before < 40
    assert cli("retry", "last", "--yes", "--window-end", soon(600)).code == 0
    assert node.stops == 40
    # Whoever is killed logs nobody out: that session is not what this test looks at.
    for session in node.open_sessions:
        node.ask(partial(node.sim.record.sessions.update, {session: False}))


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=10, guest=quick()),)], indirect=True)
def test_cold_stops_are_quick(cli: Cli, node: Node) -> None:
    """A plan of cold stops is forecast as such, whatever graceful ones took: a reserve leaves nobody out that would fit."""
    assert cli("run", cli.plan(), "--yes").code == 0
    for uuid in node.ask(lambda: list(node.sim.vms)):
        node.ask(partial(node.sim.act, uuid, "start"))
    # A time so little compressed that 25 s for each VM, or what a power cut takes, would not fit.
    plan = cli.plan("cold.yaml", stop={"type": "cold", "power_cut_after": "60s"}, window={"end": soon(70), "reserve": "50s"})
    shown = cli("preview", plan)
    assert "; it rests on an assumption of 5 s a VM" in shown.out
    done = cli("run", plan, "--yes")
    assert done.code == 0, done
    assert cli.report()["totals"]["stopped_cold"] == 10
    for uuid in node.ask(lambda: list(node.sim.vms)):
        node.ask(partial(node.sim.act, uuid, "start"))
    known = cli("preview", cli.plan())
    assert "; it rests on what all 10 VMs took last time" in known.out


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=2, guest=Guest(behaviour="hangs")),)], indirect=True)
def test_ctrl_c_after_a_resume_past_the_end(cli: Cli, node: Node) -> None:
    """Carried on past the end only to watch: the first Ctrl-C is answered, the second leaves; nobody was left out."""
    stop = {"grace_timeout": "10m", "power_cut_after": "60s"}
    end = datetime.now(UTC) + timedelta(seconds=4)
    plan = cli.plan(stop=stop, window={"end": end.isoformat(timespec="milliseconds")}, report={"formats": []})
    running = cli.start("run", plan, "--yes")
    wait_until(lambda: node.stops == 2, "both stops are at the node")
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    wait_until(lambda: datetime.now(UTC) > end, "the window's end")
    running = cli.start("resume", "last", "--yes")
    wait_until(lambda: "nothing more is sent (window)" in running.err, "it watches")
    assert "Ctrl-C twice leaves at once" in running.err
    running.process.send_signal(signal.SIGINT)
    wait_until(lambda: "nothing more is sent (operator)" in running.err, "the first is answered")
    assert "Ctrl-C again leaves at once" in running.err
    running.process.send_signal(signal.SIGINT)
    assert running.wait().code == 130
    assert cli.report()["run"]["stops"] == []
    for session in node.open_sessions:
        node.ask(partial(node.sim.record.sessions.update, {session: False}))
