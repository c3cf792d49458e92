"""Whoever looks at a run may fail; the run does not."""

from typing import Any, cast

import anyio
import pytest

from orchestrator.cli.onlookers import Onlookers
from orchestrator.errors import JournalError
from orchestrator.journal.interface import Journal
from orchestrator.observe.progress import Progress


@pytest.fixture
def said() -> list[str]:
    """What a person was told."""
    return []


@pytest.fixture
def onlookers(said: list[str]) -> Onlookers:
    """Those of a command without options."""
    made = Onlookers(
        lambda level, text: said.append(f"{level}: {text}"), quiet=False, log_format=None, color=False, metrics_file=None,
        metrics_port=None, serve=None, serve_tls=None, allow_commands=False,
    )  # fmt: skip
    made._run_id = "20261128T220000Z-7f3a"
    made._view = Progress(said.append)
    return made


async def test_a_key_that_the_journal_does_not_take(onlookers: Onlookers, said: list[str]) -> None:
    """`p` while the journal cannot be read: a warning, and nothing else."""

    class Broken:
        def run(self, run_id: str) -> Any:
            raise JournalError("the journal cannot be read just now")

    await onlookers._pause_or_go(cast("Journal", Broken()))
    assert said == ["warning: the key was not heard: the journal cannot be read just now"]


async def test_a_view_with_a_defect_is_left_out(
    onlookers: Onlookers, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once, and nobody draws any more."""

    def tick(_: Progress) -> None:
        raise KeyError("kvm-7")

    monkeypatch.setattr(Progress, "tick", tick)
    begun = anyio.Event()
    begun.set()
    with anyio.fail_after(5):
        await onlookers._tick(begun)
    assert said == ["warning: the picture of the run has a defect (KeyError('kvm-7')) and is left out from here on"]


async def test_a_terminal_that_takes_nothing(onlookers: Onlookers, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, for it may take something later; there is nobody to tell meanwhile."""
    tried, again = 0, anyio.Event()

    def tick(_: Progress) -> None:
        nonlocal tried
        tried += 1
        if tried == 2:
            again.set()
        raise BlockingIOError

    monkeypatch.setattr(Progress, "tick", tick)
    begun = anyio.Event()
    begun.set()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(onlookers._tick, begun)
            await again.wait()
            tasks.cancel_scope.cancel()
    assert said == []
