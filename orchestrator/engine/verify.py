"""After the last stop: who came back, and what failed has stopped meanwhile."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.actions.judge import judge_again
from orchestrator.actions.rules import StopRules
from orchestrator.actions.stop import StopState
from orchestrator.model.outcome import GOOD, Outcome
from orchestrator.model.report import Evidence, VmRecord
from orchestrator.model.target import Seen

_KEPT = frozenset({Outcome.SKIPPED, Outcome.NOT_FOUND, Outcome.NOT_REACHED})


def to_verify(record: VmRecord) -> bool:
    """Everything that was sent, or was already Stopped."""
    return record.outcome is not None and record.outcome not in _KEPT


def verified(record: VmRecord, seen: Seen | None, state: StopState | None, rules: StopRules, at: str) -> VmRecord:
    """The record after a read at verification.

    `seen` None: the node has no such row. `state`: what was sent, None if nothing.
    """
    assert record.outcome is not None
    word = seen.row.state if seen is not None else None
    changes: dict[str, object] = {"verified_at": at, "state": word}
    if seen is not None:
        changes["inventory"] = dict(seen.inventory)
    facts_state = state if state is not None else StopState(rules=rules, turn_at=0.0)
    facts_state = replace(facts_state, state=word, gone_row=seen is None)
    judgement = judge_again(record.outcome, facts_state.facts(), rules, unstopped_sent=facts_state.sent)
    if judgement is not None:
        changes |= {
            "outcome": judgement.outcome,
            "reason": judgement.reason,
            "evidence": judgement.evidence,
            "check_after_start": judgement.check_after_start,
            "late": record.outcome not in GOOD,
        }
    elif record.outcome in GOOD and record.evidence is not None:
        words = f"; at verification {'the node has no such VM any more' if seen is None else f'its state reads {word}'}"
        changes["evidence"] = Evidence(
            text=record.evidence.text + words, seconds=record.evidence.seconds, basis=record.evidence.basis
        )
    return record.model_copy(update=changes)


def left_why(uuid: str, outcomes: Mapping[str, Outcome], excluded: frozenset[str], type_: str | None) -> str:
    """Why a VM is still on a host after the run."""
    if uuid in outcomes:
        return "appliance" if outcomes[uuid] is Outcome.SKIPPED and type_ == "ApplianceVm" else outcomes[uuid].value
    if uuid in excluded:
        return "excluded"
    return "not_a_target"
