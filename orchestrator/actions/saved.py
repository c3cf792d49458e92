"""The state of an action as the journal keeps it, and as another process takes it up again. Pure.

In a process times are monotonic seconds, which mean nothing to the next one: they are kept as seconds since 1970 by
the wall clock. Where that clock was set back meanwhile, what lies in the past stays there.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from orchestrator.actions.alter import altered
from orchestrator.actions.judge import Attempt, Verdict
from orchestrator.actions.rules import Rules
from orchestrator.actions.state import ActionState
from orchestrator.model.states import Verb

_STATE = TypeAdapter(ActionState)


@dataclass(frozen=True, slots=True)
class Saved:
    """An action under way. `put`: the PUT that was on its way, None where its answer was known. `earlier`: attempts made
    before it in the same turn, for something else.
    """

    state: ActionState
    started_at: str
    """When its turn came: RFC 3339 in UTC."""
    put: "Put | None" = None
    earlier: int = 0

    @property
    def undecided(self) -> bool:
        """Is there a job at the node, or may there be one, whose word is not known?"""
        return self.put is not None or self.state.last.verdict is Verdict.PENDING


@dataclass(frozen=True, slots=True)
class Put:
    """A PUT that may have left: its job, and when it was meant to leave, by our clock and by the node's."""

    job_uuid: str
    at: float
    node_at: float | None


def save(saved: Saved, unix_ahead: float) -> str:
    """As text. `unix_ahead`: seconds since 1970 minus monotonic seconds, now."""
    shifted = _shifted(saved, lambda at: at + unix_ahead)
    put = shifted.put
    state = _STATE.dump_json(shifted.state, exclude={"rules", "taken_up_at"}, exclude_defaults=True).decode()
    rest = {
        "started_at": shifted.started_at,
        "put": None if put is None else [put.job_uuid, put.at, put.node_at],
        "verb": saved.state.rules.verb.value,
        "earlier": saved.earlier,
    }
    return f'{{"state":{state},{json.dumps(rest, separators=(",", ":"))[1:]}'


def load(
    text: str, rules_of: Callable[[Verb | None], Rules], unix_ahead: float, now: float, node_ahead: float | None = None
) -> Saved:
    """From text. `unix_ahead` is this process's; `now` its monotonic second.

    `rules_of`: those of a verb; None where an earlier version did not keep it, and the run had one alone.

    `node_ahead`: the node's clock, seconds since 1970, minus monotonic seconds. Where it is known, a PUT left when the node
    says: our wall clock may have been set meanwhile.
    """
    data = json.loads(text)
    rules = rules_of(Verb(data["verb"]) if "verb" in data else None)
    state = _STATE.validate_python({**data["state"], "rules": rules})
    put_kept = None if data["put"] is None else Put(*data["put"])
    saved = Saved(state, data["started_at"], put_kept, data.get("earlier", 0))
    put = saved.put or (Put("", state.last.at, state.last.node_at) if state.attempts else None)
    if node_ahead is not None and put is not None and put.node_at is not None:
        unix_ahead = put.at - (put.node_at - node_ahead)
    return _shifted(saved, lambda at: min(at - unix_ahead, now))


def _shifted(saved: Saved, move: Callable[[float], float]) -> Saved:
    def moved(at: float | None) -> float | None:
        return None if at is None else move(at)

    def attempt(one: Attempt) -> Attempt:
        at = move(one.at)
        return altered(one, at=at, deadline=at + one.deadline - one.at, ended_at=moved(one.ended_at))

    state = saved.state
    turn_at = move(state.turn_at)
    state = altered(
        state,
        turn_at=turn_at,
        grace_until=turn_at + state.grace_until - state.turn_at,
        first_off_at=moved(state.first_off_at),
        attempts=tuple(attempt(one) for one in state.attempts),
    )
    put = saved.put
    return replace(saved, state=state, put=None if put is None else replace(put, at=move(put.at)))
