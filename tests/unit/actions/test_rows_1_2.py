"""outcomes.md C, rows 1 and 2: what has its outcome before the run begins."""

import pytest

from orchestrator.actions.machine import Send
from orchestrator.clouds.interface import NodeFacts
from orchestrator.engine.admit import Verdict, admit
from orchestrator.engine.resolve import Resolution, Target
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.target import VmRow
from orchestrator.plan.model import Appliances, Plan, StopOptions, Targets
from tests.unit.actions.driver import VM, Stop


def _admit(state: str | None, *, type_: str = "UserVm", appliances: Appliances = "skip") -> Verdict:
    row = VmRow(VM, "vm-1", type_, state, "host-1", "cluster-1", None)
    target = Target(VM, row if state is not None else None)
    resolution = Resolution(NodeFacts("http://mn:8080/zstack", None, None, None), (target,), (), (), {}, {}, (), ())
    plan = Plan(version=1, name="p", targets=Targets(uuids=(VM,)), stop=StopOptions(appliances=appliances))
    (verdict,) = admit(resolution, plan)
    return verdict


def test_row_1_unknown_uuid() -> None:
    """A UUID the node does not know at resolve: not_found (unknown_uuid)."""
    verdict = _admit(None)
    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_FOUND, Reason.UNKNOWN_UUID)


@pytest.mark.parametrize("state", ["Running", "Stopped", "Unknown"])
def test_row_2_appliance(state: str) -> None:
    """An appliance under `appliances: skip`: skipped, before row 3 is asked."""
    verdict = _admit(state, type_="ApplianceVm")
    assert (verdict.outcome, verdict.reason) == (Outcome.SKIPPED, Reason.APPLIANCE)


def test_row_2_appliance_included() -> None:
    """An appliance under `appliances: include` is a target like any other."""
    assert _admit("Running", type_="ApplianceVm", appliances="include").outcome is None


@pytest.mark.parametrize("state", ["Created", "Destroyed", "Expunging"])
def test_row_2_state(state: str) -> None:
    """Created, Destroyed or Expunging when resolved: skipped."""
    assert _admit(state).outcome is Outcome.SKIPPED


def test_row_2_created_at_its_turn() -> None:
    """Created at the last read before its PUT: skipped, nothing sent."""
    stop = Stop().read("Created")
    assert stop.outcome is Outcome.SKIPPED
    assert not stop.sends


def test_row_3_at_resolve() -> None:
    """Stopped when resolved: already_stopped."""
    assert _admit("Stopped").outcome is Outcome.ALREADY_STOPPED


@pytest.mark.parametrize("state", ["Running", "Paused", "Crashed", "Unknown", "NoState"])
def test_these_are_sent_to(state: str) -> None:
    """Every other state that does not pass is sent to, Unknown ones too."""
    assert _admit(state).outcome is None
    assert isinstance(Stop().read(state).step, Send)
