"""One condition of a query: the operator scan, and the test of a value (zstack-rest.md 7.2)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.simulator.failures import FailedError, RefusedError, chain

OPERATORS = ("!=", ">=", "<=", "!?=", "?=", "!~=", "~=", "=", ">", "<", "is null", "not null")
"""In the order in which the server looks for them, anywhere in the condition's text; the first one found wins."""
POSITIVE = {"!=": "=", "!?=": "?=", "!~=": "~=", "not null": "is null"}


@dataclass(frozen=True, slots=True)
class Condition:
    """`path` is a field, maybe behind joins; `value` is empty for the null tests."""

    path: tuple[str, ...]
    operator: str
    value: str


def read_condition(text: str) -> Condition:
    """Split at the first operator found; 400 without one or without a value."""
    for operator in OPERATORS:
        name, found, value = text.partition(operator)
        if found:
            break
    else:
        raise RefusedError(
            400, f"Invalid query parameter. The '{text}' in the parameter[q] doesn't contain any query operator"
        )
    name = name.strip()
    if not name or (not value and not operator.endswith("null")):
        raise RefusedError(
            400, f"Invalid query parameter. The '{text}' in the parameter[q] is not a key-value pair split by {operator}"
        )
    return Condition(tuple(name.split(".")), operator, value)


def value_test(operator: str, text: str) -> Callable[[Any], bool]:
    """The test of one value. Null passes `is null` only, as in SQL."""
    match operator:
        case "is null":
            return lambda value: value is None
        case "not null":
            return lambda value: value is not None
        case "?=" | "!?=":
            wanted, among = frozenset(text.split(",")), operator == "?="
            return lambda value: value is not None and (_text(value) in wanted) is among
        case "~=" | "!~=":
            like, hit = _like(text), operator == "~="
            return lambda value: value is not None and (like.fullmatch(_text(value)) is not None) is hit
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "=": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        "<": lambda a, b: a < b,
    }
    test = compare[operator]
    return lambda value: value is not None and test(value, _like_value(value, text))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _like_value(value: Any, text: str) -> Any:
    """The condition's text as a value of the column's type."""
    try:
        match value:
            case bool():
                return text.lower() == "true"
            case int():
                return int(text)
            case datetime():
                moment = datetime.fromisoformat(text)
                return moment if moment.tzinfo else moment.replace(tzinfo=value.tzinfo)
    except ValueError:
        raise bad_query(f"the value {text!r} doesn't fit the column") from None
    return text


def _like(pattern: str) -> re.Pattern[str]:
    parts = (".*" if sign == "%" else "." if sign == "_" else re.escape(sign) for sign in pattern)
    return re.compile("".join(parts), re.DOTALL)


def bad_query(details: str) -> FailedError:
    """SYS.1000: a query that the server can't make sense of."""
    return chain("SYS.1000", details=details)
