"""How a run has ended, and what it is called: the run's status, what ended it, its exit code. Pure."""

from collections.abc import Iterable

from orchestrator.engine.records import Settled
from orchestrator.model.outcome import GOOD, Outcome, Reason
from orchestrator.model.report import EndedBy, RunStatus, VmRecord

_ENDED_BY: dict[Reason, EndedBy] = {
    Reason.NODE: "node",
    Reason.JOURNAL: "journal",
    Reason.OPERATOR: "operator",
    Reason.WINDOW: "window",
    Reason.BUDGET: "budget",
    Reason.RAMP: "ramp",
    Reason.HOST_BUDGET: "budget",
    Reason.WAVE: "budget",
    Reason.HOST: "host",
}
"""What a run is said to be ended by, for the first of these reasons that some VM was not reached for."""


def ending(
    records: Iterable[VmRecord | Settled], halted: Reason | None, *, hosts_unreached: bool, hosts_succeeded: bool
) -> tuple[RunStatus, EndedBy | None, int]:
    """Of a run that was not left: every VM has an outcome. `halted`: what ended all sending, None where nothing did."""
    kinds = {(record.outcome, record.reason) for record in records}
    unreached = {reason for outcome, reason in kinds if outcome is Outcome.NOT_REACHED}
    if unreached or hosts_unreached:
        reasons = unreached or {halted or Reason.WINDOW}
        return "stopped_early", next((word for reason, word in _ENDED_BY.items() if reason in reasons), "operator"), 4
    good = hosts_succeeded and all(outcome in GOOD for outcome, _ in kinds)
    return "finished", None, 0 if good else 1
