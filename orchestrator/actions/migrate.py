"""Which outcome a VM gets that was to be migrated off a host that is emptied. Without I/O.

The goal is another host, Migrating is on the way. The read at the end tells, whatever the job said: a migration that timed
out may have got there, and one that succeeded may be back.
"""

from collections.abc import Sequence

from orchestrator.actions.judge import Attempt, Facts, Judgement, Verdict, said_of
from orchestrator.actions.rules import Rules, migration_never_began
from orchestrator.model.fault import fault_of
from orchestrator.model.outcome import AttemptResult, AttemptType, Outcome, Reason
from orchestrator.model.report import AttemptRecord, Basis, Evidence
from orchestrator.model.states import End, Verb, end_of


def at_turn(word: str | None, end: End) -> Judgement | None:
    """What its state decides before anything is sent; None where it is to be migrated, or in transition.

    The node migrates a Running VM only (zstack-rest.md 9).
    """
    match end:
        case End.GOAL:
            return _say(Outcome.SKIPPED, "it has left the hosts that are emptied", Reason.ELSEWHERE)
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed while the run went on", Reason.DESTROYED_DURING_RUN)
        case _ if word == "Stopped":
            return _say(Outcome.ALREADY_STOPPED, "Stopped before anything was sent")
        case _ if word != "Running":
            return _say(Outcome.FAILED, f"its state reads {word}, from where no VM is migrated", Reason.STATE)
        case _:
            return None


def unsent(end: End) -> Judgement | None:
    """Of a VM whose call never reached the node; None where its state says nothing."""
    match end:
        case End.GOAL:
            return _say(Outcome.SKIPPED, "somebody else moved it; our call never reached the node", Reason.ELSEWHERE)
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed while the run went on", Reason.DESTROYED_DURING_RUN)
        case _:
            return None


def judge(facts: Facts, rules: Rules) -> Judgement:
    """A migration was sent. The first row that matches."""
    sent = [attempt for attempt in facts.attempts if not attempt.never_arrived]
    assert sent, "what was never sent is judged by its state"
    said, ok = said_of("its migration", sent[-1]), any(attempt.verdict is Verdict.OK for attempt in sent)
    match _end(facts, rules):
        case End.GONE:
            return _say(Outcome.NOT_FOUND, "destroyed while the run went on", Reason.DESTROYED_DURING_RUN)
        case End.GOAL:
            return _moved(sent, said)
        case End.MID:
            left = facts.abandoned and sent[-1].verdict is Verdict.NONE
            when = (
                " when it was left at the end of the window, and its job may still act" if left else " at the last deadline"
            )
            return _say(Outcome.UNKNOWN, f"still Migrating{when}", Reason.STILL_MIGRATING)
        case End.DARK if facts.state is not None:
            return _say(Outcome.UNKNOWN, f"{said}; its state reads {facts.state}", Reason.STATE_UNKNOWN)
        case End.DARK if any(attempt.stopped and attempt.verdict is Verdict.OK for attempt in sent):
            return _say(Outcome.MIGRATED, "its migration succeeded (not re-read)", basis="job")
        case End.DARK:
            return _say(Outcome.UNKNOWN, f"{said}; its state could not be read", Reason.UNREADABLE, basis="none")
        case _ if facts.state == "Stopped":
            return _say(Outcome.ALREADY_STOPPED, f"{said}, and somebody stopped it")
        case _ if ok:
            words = f"its migration succeeded, and afterwards it is {facts.state} on a host that is emptied"
            return _say(Outcome.FAILED, words)
        case _:
            return _say(Outcome.FAILED, f"{said}; it is {facts.state} where it was")


def judge_again(outcome: Outcome, facts: Facts, rules: Rules, *, sent: bool) -> Judgement | None:
    """At verification: a new judgement, or None where the old one stands. `sent`: something had reached the node."""
    end = _end(facts, rules)
    if outcome is Outcome.MIGRATED and end is End.ELSE and facts.state != "Stopped":
        return _say(Outcome.CAME_BACK, f"it was migrated, and at verification it is {facts.state} on a host that is emptied")
    if outcome not in {Outcome.FAILED, Outcome.UNKNOWN}:
        return None
    arrived = [attempt for attempt in facts.attempts if not attempt.never_arrived]
    if end is End.GOAL and sent and arrived:
        judged = _moved(arrived, said_of("its migration", arrived[-1]))
        return _say(judged.of_vm, f"{judged.evidence.text}; seen at verification", judged.reason)
    if end is End.GOAL:
        words = "it had left the host at verification, and nothing of ours had reached the node"
        return _say(Outcome.SKIPPED, words, Reason.ELSEWHERE)
    if facts.state == "Stopped":
        return _say(Outcome.ALREADY_STOPPED, "Stopped at verification, by somebody else")
    return None


def arrived_late(attempts: Sequence[AttemptRecord]) -> Judgement | None:
    """Of a VM that is on another host now: was it by a migration of ours that had not been seen to succeed? None if not."""
    for attempt in attempts:
        if attempt.type is not AttemptType.MIGRATE or attempt.result in {AttemptResult.LOST, AttemptResult.REFUSED}:
            continue
        error = fault_of(attempt.error) if attempt.error is not None else None
        if error is None or not migration_never_began(error):
            said = "never answered" if error is None else f"failed with {error.chain()}"
            return _say(Outcome.MIGRATED, f"its migration {said}, and it is on another host all the same")
    return None


def _end(facts: Facts, rules: Rules) -> End:
    if facts.gone_row:
        return End.GONE
    return end_of(facts.state, Verb.MIGRATE, moved=facts.host is not None and facts.host not in rules.leaving)


def _moved(sent: Sequence[Attempt], said: str) -> Judgement:
    last = sent[-1]
    if all(_refused(attempt) for attempt in sent):
        return _say(Outcome.SKIPPED, f"{said}, and somebody else moved it", Reason.ELSEWHERE)
    if last.verdict is not Verdict.OK:
        return _say(Outcome.MIGRATED, f"{said}, and it is on another host all the same")
    seconds = None if last.ended_at is None else round(last.ended_at - last.at, 3)
    return Judgement(Outcome.MIGRATED, Evidence(text=said, seconds=seconds, basis="job"))


def _refused(attempt: Attempt) -> bool:
    error = attempt.error
    return attempt.verdict is Verdict.ERR and error is not None and migration_never_began(error, attempt.status)


def _say(outcome: Outcome, text: str, reason: Reason | None = None, basis: Basis = "state") -> Judgement:
    return Judgement(outcome, Evidence(text=text, basis=basis), reason)
