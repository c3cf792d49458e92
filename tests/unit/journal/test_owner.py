"""Whether the process that holds a lock still lives."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orchestrator.journal import owner
from orchestrator.journal.owner import Owner, lives, this_process

ME = this_process("ops@jump1")
LONG = 1e6
"""Seconds of silence."""
GONE = 2**22 + 1
"""An id that no process has: above the largest there is."""


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits for its end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as made:
        yield made
        if made.returncode is None:
            made.kill()


def owner_of(pid: int) -> Owner:
    """An owner that is this process of this machine."""
    return ME.model_copy(update={"pid": pid, "began": owner._began(pid)})


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without /proc."""
    monkeypatch.setattr(owner, "_machine", lambda: None)
    monkeypatch.setattr(owner, "_began", lambda pid: None)


def test_we_live() -> None:
    """This process lives, however long it has said nothing."""
    assert ME.machine is not None
    assert ME.began is not None
    assert lives(ME, LONG)


def test_two_holdings_have_two_tokens() -> None:
    """One process that holds twice can be told apart."""
    assert this_process("ops@jump1").token != ME.token


def test_a_name_in_brackets_misleads_nobody() -> None:
    """A process whose name looks like the fields behind it began when it began."""
    code = "import sys; open('/proc/self/comm', 'w').write(') Z 1 (x) y'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as odd:
        assert odd.stdout is not None
        odd.stdout.readline()
        mine, its = owner._began(os.getpid()), owner._began(odd.pid)
        odd.kill()
    assert mine is not None
    assert its is not None
    assert its >= mine


def test_a_child_at_work_lives_and_a_stopped_one_too(child: "subprocess.Popen[bytes]") -> None:
    """A process that sleeps, or that somebody has suspended, is not dead."""
    its = owner_of(child.pid)
    assert lives(its, LONG)
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert lives(its, LONG)


def test_a_killed_child_that_nobody_has_waited_for_is_dead(child: "subprocess.Popen[bytes]") -> None:
    """What is left of a killed process holds nothing, though its id is still taken and it spoke a moment ago."""
    its = owner_of(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    os.kill(child.pid, 0)  # the id is taken
    assert not lives(its, 0.0)
    child.wait()
    assert not lives(its, 0.0)


def test_an_id_that_was_given_again_is_another_process() -> None:
    """The process of that id began at another tick: ours is dead."""
    assert ME.began is not None
    assert not lives(ME.model_copy(update={"began": ME.began - 1}), 0.0)
    assert not lives(ME.model_copy(update={"began": None}), 0.0)


@pytest.mark.parametrize(("silent", "alive"), [(0.0, True), (59.0, True), (61.0, False), (LONG, False)])
def test_of_another_container_only_the_heartbeat_tells(silent: float, alive: bool) -> None:
    """The same boot seen from another container: its process ids mean nothing here."""
    assert ME.machine is not None
    other = ME.model_copy(update={"machine": f"{ME.machine.split()[0]} pid:[1]", "pid": GONE, "began": 1})
    assert lives(other, silent) is alive


@pytest.mark.parametrize("silent", [0.0, 59.0, -LONG])
def test_an_earlier_boot_is_over(silent: float) -> None:
    """The machine was started again since, whatever its clock said then: nobody of that time lives."""
    assert not lives(ME.model_copy(update={"machine": "another-boot pid:[1]"}), silent)


def test_a_heartbeat_from_the_future_is_no_sign_of_life() -> None:
    """The clock was set back: a process of another container that spoke `in an hour` does not count as heard."""
    assert ME.machine is not None
    assert not lives(ME.model_copy(update={"machine": f"{ME.machine.split()[0]} pid:[1]"}), -LONG)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize(("silent", "alive"), [(59.0, True), (61.0, False)])
def test_without_proc_only_the_heartbeat_tells(silent: float, alive: bool) -> None:
    """A process that is there lives as long as it speaks: its id may be another's by now."""
    assert lives(this_process("ops@jump1"), silent) is alive


@pytest.mark.usefixtures("blind")
def test_without_proc_an_id_that_is_free_is_dead() -> None:
    """On the same host a process that is not there is dead at once; of another host's nothing is known."""
    here = this_process("ops@jump1").model_copy(update={"pid": GONE})
    assert here.host == socket.gethostname()
    assert not lives(here, 0.0)
    assert lives(here.model_copy(update={"host": "elsewhere.example"}), 0.0)


def test_an_owner_with_proc_is_seen_from_a_place_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where we cannot tell which machine we are on, a machine that could is taken for another one."""
    monkeypatch.setattr(owner, "_machine", lambda: None)
    assert lives(ME, 59.0)
    assert not lives(ME, 61.0)
