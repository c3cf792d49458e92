"""The node's refusals as values and sentences (zstack-rest.md 2.2, 6)."""

import json
from collections.abc import Mapping
from types import NoneType
from typing import Any

from pydantic import ValidationError

from orchestrator.clouds.zstack.http import Answer
from orchestrator.model.fault import MAX_TEXT, NodeError, own_error

SESSION_GONE = "ID.1001"
_TEXTS = frozenset({"description", "details", "elaboration"})
_DEEPEST = 100
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
        return _tolerant(data["error"], 0)


def _tolerant(data: Mapping[str, Any], depth: int) -> NodeError:
    """The chain where some key has an unforeseen type: its JSON stands in its place, and no code is lost."""
    fields: dict[str, Any] = dict(data)
    for key in _TEXTS & fields.keys():
        if fields[key] is not None and not isinstance(fields[key], str):
            fields[key] = _as_text(fields[key])
    if not isinstance(fields.get("opaque"), (dict, NoneType)):
        fields["opaque"] = {"value": fields["opaque"]}
    if fields.get("cause") is not None:
        fields["cause"] = _child(fields["cause"], depth)
    if "causes" in fields:
        causes = [] if fields["causes"] is None else fields["causes"]
        fields["causes"] = tuple(_child(child, depth) for child in (causes if isinstance(causes, list) else [causes]))
    try:
        return NodeError.model_validate(fields)
    except (ValidationError, RecursionError):
        return own_error(_as_text(data.get("code", "")), _as_text(data))


def _child(value: object, depth: int) -> NodeError:
    if isinstance(value, dict) and depth < _DEEPEST:
        return _tolerant(value, depth + 1)
    return NodeError(details=_as_text(value))


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value[:MAX_TEXT]
    try:
        return json.dumps(value, ensure_ascii=False)[:MAX_TEXT]
    except RecursionError:
        return "nested too deeply to be shown"
