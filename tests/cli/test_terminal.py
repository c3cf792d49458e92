"""A run on a terminal: what is asked, and what an answer does."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.simulator import Guest, VmGroup
from tests.cli.support import PATIENCE, Cli, Node, clean, quick, wait_until


class Terminal:
    """A command with a terminal for all its streams."""

    def __init__(self, cli: Cli, *args: str | Path) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *map(str, args)],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=cli.folder, env=cli.env | {"TERM": "xterm"},
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._seen = b""

    @property
    def seen(self) -> str:
        """What stands on the screen so far."""
        with contextlib.suppress(OSError):  # nothing yet, or the other end is closed
            while chunk := os.read(self._ours, 65536):
                self._seen += chunk
        return self._seen.decode("utf-8", "replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._ours, text.encode())

    def hang_up(self) -> None:
        """The connection to the terminal is lost: whatever is written there fails from now on."""
        os.close(self._ours)
        self.process.send_signal(signal.SIGHUP)

    def end(self) -> int:
        """Its exit code."""
        try:
            wait_until(lambda: (self.seen, self.process.poll())[1] is not None, "the command ends")
            clean(self.seen)
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            os.close(self._ours)


@pytest.mark.parametrize("answer", ["no", "", "y e s"])
def test_anything_but_yes_is_no(cli: Cli, node: Node, answer: str) -> None:
    """The question shows the counts; whatever is not a yes: 3, and nothing was sent."""
    terminal = Terminal(cli, "run", cli.plan())
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    assert "3 targets" in terminal.seen
    assert "selector name~=app-%: 3 VMs" in terminal.seen
    assert f"Stop 3 VMs at {node.endpoint}?" in terminal.seen
    terminal.type(f"{answer}\n")
    assert terminal.end() == 3
    assert "not confirmed: nothing was sent" in terminal.seen
    assert node.stops == 0


def test_yes_begins(cli: Cli, node: Node) -> None:
    """yes at the question: the run goes to its end; an exclude that matches nothing was a warning above it."""
    terminal = Terminal(cli, "run", cli.plan(exclude={"where": [["name=nobdy"]]}))
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    assert re.search(r"warning: .*name=nobdy", terminal.seen)
    terminal.type("yes\n")
    assert terminal.end() == 0
    assert node.stops == 3


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=101, guest=quick()),)], indirect=True)
@pytest.mark.parametrize(("answer", "code"), [("yes", 3), ("Cli", 3), ("cli", 0)])
def test_many_vms_ask_for_the_plans_name(cli: Cli, node: Node, answer: str, code: int) -> None:
    """More than 100 VMs: a yes is not enough. Node, version, account and hosts stand above the question."""
    limits = {"requests_per_second": 2000, "concurrency": 101, "per_host": 60}
    terminal = Terminal(cli, "run", cli.plan(limits=limits))
    wait_until(lambda: "Type the plan's name, cli, to go on" in terminal.seen, "the question")
    assert f"node {node.endpoint}, ZStack 5.2.1, as account admin" in terminal.seen
    assert len(re.findall(r"^    rack-1-host-\d+: \d+ VMs, at most \d+\.\d min$", terminal.seen, re.M)) == 2
    terminal.type(f"{answer}\n")
    assert terminal.end() == code
    assert node.stops == (101 if code == 0 else 0)


def test_yes_as_a_flag_asks_nothing(cli: Cli, node: Node) -> None:
    """--yes on a terminal: no question."""
    terminal = Terminal(cli, "run", cli.plan(), "--yes")
    assert terminal.end() == 0
    assert "Type yes" not in terminal.seen
    assert node.stops == 3


def test_ctrl_c_at_the_question(cli: Cli, node: Node) -> None:
    """Ctrl-C instead of an answer: 130, nothing was sent, logged out."""
    terminal = Terminal(cli, "run", cli.plan())
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "nothing was sent" in terminal.seen
    assert node.stops == 0
    assert node.open_sessions == []


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=3, guest=Guest(behaviour="ignores_acpi")),)], indirect=True)
def test_a_terminal_that_hangs_up(cli: Cli, node: Node) -> None:
    """A lost connection in mid-run: as one Ctrl-C, 4 and a whole report, though nothing can be written to the terminal."""
    terminal = Terminal(cli, "run", cli.plan(limits={"requests_per_second": 500, "concurrency": 1}), "--yes")
    wait_until(lambda: node.stops, "the first stop is at the node")
    terminal.hang_up()
    assert terminal.process.wait(PATIENCE) == 4
    report = cli.report()
    assert report["run"]["ended_by"] == "operator"
    assert report["totals"]["not_reached"] >= 1
    assert node.open_sessions == []
