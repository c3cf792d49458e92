"""A run on a terminal: what is asked, and what an answer does."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.simulator import Guest, VmGroup
from orchestrator.simulator.spread import between
from tests.cli.support import PATIENCE, Cli, Node, clean, quick, wait_until

_IN_FOREGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A command with a terminal for all its streams, in its foreground."""

    def __init__(self, cli: Cli, *args: str | Path, program: Sequence[str] = (), columns: int = 0) -> None:
        self._ours, theirs = pty.openpty()
        if columns:
            termios.tcsetwinsize(theirs, (40, columns))
        os.set_blocking(self._ours, False)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_FOREGROUND, *(program or [sys.executable, "-m", "orchestrator", *map(str, args)])],
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

    @property
    def one_by_one(self) -> bool:
        """Is each key handed out as it is pressed, and not shown?"""
        return not termios.tcgetattr(self._ours)[3] & (termios.ICANON | termios.ECHO)

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


def test_a_narrow_terminal(cli: Cli, node: Node) -> None:
    """The summary is no wider than it."""
    assert cli("run", cli.plan(), "--yes").code == 0
    terminal = Terminal(cli, "show", "last", columns=72)
    assert terminal.end() == 0
    assert "All 3 VMs are stopped." in terminal.seen
    assert 60 < max(map(len, terminal.seen.splitlines())) <= 72


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


slow_node = pytest.mark.parametrize(
    "node", [(VmGroup(name="app-{n}", count=6, guest=Guest(shutdown=between(35, 45))),)], indirect=True
)


def words_to(cli: Cli) -> list[tuple[str, str]]:
    """What was said to the newest run, and by whom."""
    journal = SqliteJournal(cli.folder / "journal.sqlite", read_only=True)
    return [(word.what, word.who) for word in journal.words(journal.runs()[0].id)]


@slow_node
def test_p_pauses_and_goes_on(cli: Cli, node: Node) -> None:
    """Nothing more is started until p is pressed again; both are in the journal as steer's words are, with who said so."""
    terminal = Terminal(cli, "run", cli.plan(limits={"requests_per_second": 500, "concurrency": 1}), "--yes")
    wait_until(lambda: node.stops and terminal.one_by_one, "the first stop is at the node")
    terminal.type("p")
    wait_until(lambda: "paused by " in terminal.seen, "the run is paused")
    wait_until(lambda: "0 in flight, paused" in terminal.seen, "what was in flight has ended")
    before = node.stops
    assert before < 6
    terminal.type("xp")
    assert terminal.end() == 0
    assert node.stops == 6
    assert "lets the run go on" in terminal.seen
    who = cli.report()["run"]["started_by"]
    assert words_to(cli) == [("pause", who), ("go", who)]


@slow_node
def test_q_is_as_the_first_ctrl_c(cli: Cli, node: Node) -> None:
    """What is in flight is watched to its end, the rest is not reached: 4. The terminal is as it was; again does nothing."""
    terminal = Terminal(cli, "run", cli.plan(limits={"requests_per_second": 500, "concurrency": 1}), "--yes")
    wait_until(lambda: node.stops and terminal.one_by_one, "the first stop is at the node")
    terminal.type("qQ")
    wait_until(lambda: not terminal.one_by_one, "the terminal is as it was")
    assert terminal.end() == 4
    assert cli.report()["run"]["ended_by"] == "operator"
    assert "nothing more is sent (operator)" in terminal.seen
    assert node.stops < 6


@slow_node
def test_put_into_the_background_it_goes_on(cli: Cli, node: Node) -> None:
    """Ctrl-Z and `bg`: the run ends and writes its reports, and draws nothing over the shell's prompt meanwhile."""
    shell = Terminal(cli, program=["bash", "--norc", "--noprofile", "-i"])
    wait_until(lambda: re.search(r"[$#] ", shell.seen), "the prompt")
    run = f"{sys.executable} -m orchestrator run {cli.plan(limits={'requests_per_second': 500, 'concurrency': 1})} --yes"
    shell.type(f"{run}\n")
    wait_until(lambda: node.stops and shell.one_by_one, "the first stop is at the node")
    shell.type("\x1a")
    wait_until(lambda: "Stopped" in shell.seen, "the shell is back")
    shell.type("bg\n")
    wait_until(lambda: list((cli.folder / "reports").glob("*/report.json")), "the reports are written")
    assert cli.report()["run"]["status"] == "finished"
    assert "\x1b[2K" not in shell.seen.rpartition("bg\n")[2]
    shell.type("exit\nexit\n")
    assert shell.end() == 0
