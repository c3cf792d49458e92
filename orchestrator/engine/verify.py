"""After the last stop: who came back, and what failed has stopped meanwhile."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.actions import migrate, start
from orchestrator.actions.judge import judge_again
from orchestrator.actions.rules import Rules
from orchestrator.actions.state import ActionState
from orchestrator.model.moment import rfc3339
from orchestrator.model.outcome import GOOD, STOPPED, Outcome, Reason
from orchestrator.model.report import Evidence, VmRecord
from orchestrator.model.safe import one_line
from orchestrator.model.states import End, Verb, end_of
from orchestrator.model.target import Seen, VmRow

_KEPT = frozenset({Outcome.SKIPPED, Outcome.NOT_FOUND, Outcome.NOT_REACHED})


def to_verify(outcome: Outcome | None) -> bool:
    """Is it of what was sent, or was already Stopped?"""
    return outcome is not None and outcome not in _KEPT


def comes_back(record: VmRecord, seen: Seen | None) -> bool:
    """Was it stopped, and is it up now?"""
    stopped = STOPPED | {Outcome.ALREADY_STOPPED, Outcome.CAME_BACK}
    return record.outcome in stopped and seen is not None and end_of(seen.row.state) is End.ELSE


def back_where(record: VmRecord, row: VmRow, host_name: str | None) -> VmRecord:
    """A VM that came back, with where it runs, since when by the node's clock, and why, as far as that is known."""
    assert record.evidence is not None
    host = f" on host {one_line(host_name or row.host_uuid, 100)}" if row.host_uuid is not None else ""
    since = f" since {rfc3339(row.last_op)}" if row.last_op is not None else ""
    why = f"HA most likely, its level is {one_line(record.ha_level, 60)}" if record.ha_level else "why is not known"
    text = f"{record.evidence.text}; it runs{host}{since} ({why})"
    reason = Reason.HA if record.ha_level else None
    return replace(record, reason=reason, evidence=replace(record.evidence, text=text))


def verified(
    record: VmRecord,
    seen: Seen | None,
    state: ActionState | None,
    rules: Rules,
    at: str,
    *,
    host_names: Mapping[str, str] | None = None,
) -> VmRecord:
    """The record after a read at verification.

    `seen` None: the node has no such row. `state`: what was sent, None if nothing. `host_names`: of hosts that VMs came
    back on.
    """
    assert record.outcome is not None
    word = seen.row.state if seen is not None else None
    changes: dict[str, Any] = {"verified_at": at, "state": word}
    if seen is not None:
        changes["inventory"] = dict(seen.inventory)
    facts_state = state if state is not None else ActionState(rules=rules, turn_at=0.0)
    rules = facts_state.rules
    facts_state = replace(
        facts_state, state=word, gone_row=seen is None, host=seen.row.host_uuid if seen is not None else None
    )
    if rules.verb is Verb.MIGRATE:
        judgement = migrate.judge_again(record.outcome, facts_state.facts(), rules, sent=facts_state.sent)
    elif rules.verb is Verb.STOP:
        judgement = judge_again(record.outcome, facts_state.facts(), rules, unstopped_sent=facts_state.sent)
    else:
        judgement = start.judge_again(record.outcome, facts_state.facts(), rules, sent=facts_state.sent)
    left = rules.leaving and seen is not None and seen.row.host_uuid is not None and seen.row.host_uuid not in rules.leaving
    if judgement is None and left and rules.verb is Verb.STOP and record.outcome in {Outcome.FAILED, Outcome.UNKNOWN}:
        late = migrate.arrived_late(record.attempts)  # of a VM that was neither migrated nor stopped at its turn
        judgement = late and replace(
            late, evidence=replace(late.evidence, text=f"{late.evidence.text}; seen at verification")
        )
    if judgement is not None:
        changes |= {
            "outcome": judgement.of_vm,
            "reason": judgement.reason,
            "evidence": judgement.evidence,
            "check_after_start": record.check_after_start if rules.verb is Verb.START else judgement.check_after_start,
            "late": record.outcome not in GOOD,
        }
        if judgement.outcome is Outcome.MIGRATED and seen is not None:
            changes["migrated_to"] = seen.row.host_uuid
    elif record.outcome in GOOD and record.evidence is not None:
        words = f"; at verification {'the node has no such VM any more' if seen is None else f'its state reads {word}'}"
        changes["evidence"] = Evidence(
            text=record.evidence.text + words, seconds=record.evidence.seconds, basis=record.evidence.basis
        )
    made = replace(record, **changes)
    if seen is not None and comes_back(record, seen) and record.outcome is not Outcome.CAME_BACK:
        return back_where(made, seen.row, (host_names or {}).get(seen.row.host_uuid or ""))
    return made


def left_why(
    uuid: str, told: Mapping[str, tuple[Outcome, Reason | None]], excluded: frozenset[str], type_: str | None
) -> str:
    """Why a VM is still on a host after the run. `told`: outcomes with their reasons."""
    if uuid in told:
        outcome, reason = told[uuid]
        if outcome is Outcome.SKIPPED and reason is Reason.PROTECTED:
            return "protected"
        return "appliance" if outcome is Outcome.SKIPPED and type_ == "ApplianceVm" else outcome.value
    if uuid in excluded:
        return "excluded"
    return "not_a_target"
