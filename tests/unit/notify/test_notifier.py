"""What those who are told of a run are told at its end."""

import sys
from typing import Any

import anyio
import pytest

from orchestrator.model.event import Event
from orchestrator.notify import notifier as module
from orchestrator.notify.notifier import Notifier
from orchestrator.notify.targets import Command

AT = "2026-11-28T22:00:00.000Z"
BEGUN = {
    "plan": "rack-12", "targets": 2, "to_stop": 0, "to_migrate": 2, "hosts": 8, "waves": {"all": 2}, "closes": None,
}  # fmt: skip


async def told(monkeypatch: pytest.MonkeyPatch, *events: Event) -> list[str]:
    """The texts of a run's messages."""
    texts = list[str]()

    async def run(_: Any, message: bytes, __: Any) -> None:
        texts.append(message.decode())

    monkeypatch.setattr(module, "run", run)
    target = Command("notify[0]", frozenset({"started", "finished"}), (sys.executable,))
    notifier = Notifier("r1", [target], {}, pytest.fail)
    async with anyio.create_task_group() as tasks:
        notifier.begin(tasks)
        for event in events:
            notifier(event)
        await notifier.drain()
        tasks.cancel_scope.cancel()
    return texts


async def test_the_end_names_hosts_that_are_not_as_they_were_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first five with what was not done to them, and how many more; those where all was done are not named."""

    def host(number: int, outcome: str) -> Event:
        data = {"host": f"h{number}", "name": f"host-{number}", "action": "maintain", "outcome": outcome}
        return Event("host.outcome", AT, None, {**data, "evidence": None, "cause": None})

    first, last = await told(
        monkeypatch,
        Event("run.started", AT, None, BEGUN),
        host(0, "done"),
        *(host(number, "not_empty" if number == 1 else "failed") for number in range(1, 8)),
        Event("run.finished", AT, None, {"status": "finished", "exit_code": 1}),
    )
    assert "rack-12: 2 targets, 2 to migrate; 8 hosts to be emptied (run r1)" in first
    assert "host host-1 was not put into maintenance, for it is not empty; host host-2 could not be put into" in last
    assert "and 2 hosts more (run r1)" in last
    assert "host-0" not in last


async def test_the_end_of_any_other_run_says_nothing_of_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text is what it was."""
    finished = Event("run.finished", AT, None, {"status": "finished", "exit_code": 0})
    (last,) = await told(monkeypatch, finished)
    assert ": finished, exit code 0: no VM has an outcome (run r1)" in last
