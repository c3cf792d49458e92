"""A machine that runs short of file descriptors, or falls asleep, under the real command."""

import signal
import time

import pytest

from orchestrator.simulator import Guest, VmGroup
from orchestrator.simulator.spread import between
from tests.cli.support import PATIENCE, Cli, Done, Node, quick, refused, wait_until
from tests.faults.trials import held, start_with

FLEET = (VmGroup(name="app-{n:02}", count=40, guest=Guest(shutdown=between(2, 15))),)
FEW_FILES = "resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))"
LIMITS = {"requests_per_second": 1000, "concurrency": 40, "per_host": 20}


def hold_command(cli: Cli, node: Node, done: Done, expected: dict[str, str | tuple[str, ...]]) -> None:
    """The report that the command left is true."""
    run = held(node.sim, cli.report(), cli.folder)
    run.hold(expected)
    assert done.code == run.report.run.exit_code


# ── file descriptors ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("node", [FLEET], indirect=True)
def test_few_file_descriptors(cli: Cli, node: Node) -> None:
    """Fewer descriptors than the forty connections wanted: every VM is stopped once and has its outcome."""
    plan = cli.plan(limits=LIMITS, report={"formats": []})
    done = start_with(cli, FEW_FILES.format(16), "run", plan, "--yes", "--log-format", "json").wait()
    hold_command(cli, node, done, {"app-*": "stopped_clean"})


def test_too_few_file_descriptors_to_begin(cli: Cli, node: Node) -> None:
    """Not enough to begin with: one sentence that names the remedy and 3, and the node is not even asked."""
    refused(start_with(cli, FEW_FILES.format(8), "run", cli.plan(), "--yes").wait(), 3, "ulimit -n")
    assert node.asked == 0


def test_any_number_of_file_descriptors(cli: Cli, node: Node) -> None:
    """Whatever is opened last before there are none left: a whole run, or a refusal in one sentence; no defect of ours."""
    plan = cli.plan(report={"formats": []})
    running = [
        start_with(cli, FEW_FILES.format(files), "run", plan, "--yes", "--quiet", "--journal", f"{files}.sqlite")
        for files in (5, 11, 12, 13)
    ]
    ended = [(one.process.wait(PATIENCE), one) for one in running]
    assert {code for code, _ in ended} <= {0, 3}
    for _, one in ended:
        one.wait()  # no traceback


# ── sleep ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
SLEEPERS = (
    VmGroup(name="app-quick-{n}", count=3, guest=quick()),
    VmGroup(name="app-slow-{n}", count=3, guest=Guest(shutdown=between(20, 40))),
    VmGroup(name="app-deaf-{n}", count=2, guest=Guest(behaviour="ignores_acpi")),
)


@pytest.mark.parametrize("node", [SLEEPERS], indirect=True)
def test_a_process_that_is_stopped_for_longer_than_the_grace_timeout(cli: Cli, node: Node) -> None:
    """Stopped and continued by the system: outcomes are still true, and no VM is sent anything for the time it lost."""
    stop = {"grace_timeout": "1500ms", "cold_timeout": "1s", "power_cut_after": "1200ms"}
    running = cli.start("run", cli.plan(stop=stop, report={"formats": []}), "--yes")
    wait_until(lambda: node.stops == 8, "every stop is at the node")
    running.process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)  # what is tested is that time passes
    running.process.send_signal(signal.SIGCONT)
    done = running.wait()
    hold_command(
        cli,
        node,
        done,
        {
            "app-quick-*": ("stopped_clean", "stopped_forced"),
            "app-slow-*": ("stopped_clean", "stopped_forced"),
            "app-deaf-*": "stopped_forced",
        },
    )
    assert node.stops == 8


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=8, guest=Guest(shutdown=between(5, 15))),)], indirect=True)
def test_a_process_that_is_stopped_again_and_again(cli: Cli, node: Node) -> None:
    """Stopped and continued many times while it sends: every VM is sent once and stopped."""
    plan = cli.plan(limits={"requests_per_second": 500, "concurrency": 2}, report={"formats": []})
    running = cli.start("run", plan, "--yes")
    for _ in range(7):
        before = node.stops
        wait_until(lambda: node.stops > before or running.process.poll() is not None, "the next stop is at the node")  # noqa: B023 - called at once
        running.process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        running.process.send_signal(signal.SIGCONT)
    hold_command(cli, node, running.wait(), {"app-*": "stopped_clean"})
    assert node.stops == 8
