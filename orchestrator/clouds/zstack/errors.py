"""The node's refusals as values and sentences (zstack-rest.md 2.2, 6)."""

from typing import Any

from pydantic import ValidationError

from orchestrator.clouds.zstack.http import Answer
from orchestrator.model.fault import NodeError, own_error

SESSION_GONE = "ID.1001"
_NOT_READY = frozenset({"SYS.1009", "SYS.1010", "SYS.1011", "SYS.1012"})


def node_error(answer: Answer) -> NodeError:
    """What a not-successful answer says: the chain where there is one, else its text under the code `http.STATUS`."""
    error = _chain_in(answer.json())
    return error if error is not None else own_error(f"http.{answer.status}", answer.text().strip() or "empty answer")


def has_chain(answer: Answer) -> bool:
    """Does the body hold the node's own error object? A 503 without one is not a verdict but a broken answer."""
    return _chain_in(answer.json()) is not None


def not_ready(error: NodeError) -> bool:
    """Is this the node saying that it is starting or lost its peer, whatever was asked?"""
    return any(code in _NOT_READY for code in error.codes())


def session_gone(error: NodeError) -> bool:
    """Does the node not know the session any more?"""
    return SESSION_GONE in error.codes()


def _chain_in(data: Any) -> NodeError | None:
    if not isinstance(data, dict) or not isinstance(data.get("error"), dict):
        return None
    try:
        return NodeError.model_validate(data["error"])
    except (ValidationError, RecursionError):
        return own_error("http.503", str(data["error"]))
