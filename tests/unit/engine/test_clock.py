"""The run's clocks, on machines that sleep and under wall clocks that jump."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from orchestrator.clouds.memory import MemoryCloud
from orchestrator.engine import clock
from orchestrator.model.outcome import Outcome
from orchestrator.model.target import Request, SendResult
from tests.unit.engine.test_run import Trial, guest
from tests.virtual import run_virtual


def test_sleep_counts_into_what_a_stop_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine sleeps through the guest's shutdown: five seconds awake were minutes at the node, and the report knows."""
    slept = [1000.0]
    monkeypatch.setattr(clock, "sleep_seconds", lambda: slept[0])

    class Sleepy(MemoryCloud):
        async def states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
            states = await super().states(uuids)
            if "Stopped" in states.values():
                slept[0] = 1300.0
            return states

    trial = Trial([guest(1)])
    trial.cloud = Sleepy([guest(1)])
    (vm,) = run_virtual(trial.go).vms
    assert vm.outcome is Outcome.STOPPED_FORCED
    assert vm.evidence is not None
    assert vm.evidence.seconds is not None
    assert vm.evidence.seconds > 300


def test_what_was_read_before_a_sleep_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine sleeps between the last read and the PUT: nothing is sent on a state that is minutes old."""
    slept = [0.0]
    monkeypatch.setattr(clock, "sleep_seconds", lambda: slept[0])

    class Sleepy(MemoryCloud):
        async def send(self, request: Request, leaving: Callable[[], bool]) -> SendResult:
            if not slept[0]:
                slept[0] = 600.0
                guest_now = self.guests[request.vm_uuid]
                guest_now.row = replace(guest_now.row, state="Stopped")
            return await super().send(request, leaving)

    trial = Trial([guest(1)])
    trial.cloud = Sleepy([guest(1)])
    (vm,) = run_virtual(trial.go).vms
    assert vm.outcome is Outcome.ALREADY_STOPPED
    assert trial.cloud.sent == []
