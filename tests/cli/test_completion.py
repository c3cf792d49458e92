"""What a shell offers after Tab, and the signals of systems whose loops cannot be told of them."""

import os
import shutil
import signal
import subprocess

import anyio
import pytest

from orchestrator.cli import signals
from tests.cli.support import Cli, Node


def offered(cli: Cli, *words: str) -> list[str]:
    """What bash would offer for the last of these words."""
    done = cli(
        env={
            "_ORCHESTRATOR_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("orchestrator", *words)),
            "COMP_CWORD": str(len(words)),
        }
    )
    assert done.err == ""
    return [line.partition(",")[2] for line in done.out.splitlines() if line]


def test_commands_options_and_words(cli: Cli) -> None:
    """Commands by their beginning, options of a command, and words of a closed list."""
    assert offered(cli, "re") == ["report", "resume", "retry", "restore"]
    assert "--serve-tls" in offered(cli, "run", "--serve")
    assert offered(cli, "steer", "last", "") == ["pause", "go", "skip"]
    assert offered(cli, "report", "last", "--format", "h") == ["html"]


def test_runs_and_their_vms(cli: Cli, node: Node) -> None:
    """Run ids and `last` from the journal, a run's VMs by the beginning of their UUID; without a journal nothing at all."""
    assert offered(cli, "show", "") == []
    assert cli("run", cli.plan(), "--yes").code == 0
    report = cli.report()
    run = report["run"]["id"]
    assert offered(cli, "resume", "") == ["last", run]
    assert offered(cli, "show", run[:6]) == [run]
    uuids = [vm["uuid"] for vm in report["vms"]]
    assert offered(cli, "show", "last", "") == uuids
    assert offered(cli, "steer", "last", "skip", uuids[1][:8].upper()) == [uuids[1]]
    assert offered(cli, "show", "nobody", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one(cli: Cli, shell: str) -> None:
    """Each shell's script calls this program back, and is taken by the shell where it is installed."""
    done = cli("completion", shell)
    assert done.code == 0
    assert "_ORCHESTRATOR_COMPLETE" in done.out
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=done.out, text=True, check=True)


def test_signals_by_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a loop takes no signals (Windows), they come by handlers, which are gone afterwards."""
    monkeypatch.setattr(signals, "_BY_HANDLER", True)
    before = signal.getsignal(signal.SIGUSR1)
    seen = []

    async def two() -> None:
        with signals.received(signal.SIGUSR1) as received, anyio.fail_after(10):
            os.kill(os.getpid(), signal.SIGUSR1)
            async for number in received:
                seen.append(number)
                if len(seen) == 2:
                    return
                os.kill(os.getpid(), signal.SIGUSR1)

    anyio.run(two)
    assert seen == [signal.SIGUSR1, signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) is before
