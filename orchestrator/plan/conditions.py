"""ZStack's query conditions, read exactly as the node reads them.

The node does not parse a condition: it searches the whole text for one operator after the other, in the order of
`OPERATORS`, and splits at the first one it finds anywhere. So `name=a>=b` means field `name=a`, operator `>=`.
A condition that would be split elsewhere than it reads is refused here, before it picks the wrong VMs.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from orchestrator.plan.wording import shown, visible

COMPARISONS: Final = ("!=", ">=", "<=", "!?=", "?=", "!~=", "~=", "=", ">", "<")
NULL_TESTS: Final = ("is null", "not null")
OPERATORS: Final = (*COMPARISONS, *NULL_TESTS)
"""The node's operators in the order in which it searches for them."""

LONGEST: Final = 2000
"""Characters of one condition once percent-encoded. The node's web server takes 8 KB for the whole request line."""

_FIELD = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_LEFTMOST = re.compile("|".join(re.escape(sign) for sign in sorted(COMPARISONS, key=len, reverse=True)))


class ConditionError(ValueError):
    """The condition is refused; the message says why and what to write. `no_operator`: none of them is in it."""

    def __init__(self, message: str, *, no_operator: bool = False) -> None:
        super().__init__(message)
        self.no_operator = no_operator


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as the node splits it. `value` is "" for `is null` and `not null`, and is sent untrimmed."""

    field: str
    operator: str
    value: str


def parse_condition(text: str) -> Condition:
    """Split a condition as the node does. Raises ConditionError (a ValueError) where that is not what it reads as."""
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text):
        raise ConditionError(f"found {shown(text)}, which holds a control character; remove it")
    if encoded_length(text) > LONGEST:
        raise ConditionError(
            f"found {shown(text)}, {encoded_length(text)} characters once encoded; the node takes {LONGEST}: "
            "put long lists of UUIDs into a file and name it under `uuid_files`"
        )
    operator = next((sign for sign in OPERATORS if sign in text), None)
    if operator is None:
        raise ConditionError(_without_operator(text), no_operator=True)
    field, _, value = text.partition(operator)
    _refuse_wrong_split(text, operator, field)
    field = field.strip()
    if not field:
        raise ConditionError(f"found {shown(text)}; a field name is missing before `{operator}`")
    if not _FIELD.fullmatch(field):
        raise ConditionError(_strange_field(text, field, operator))
    if operator in NULL_TESTS:
        if value.strip():
            raise ConditionError(f"found {shown(text)}; nothing may follow `{operator}`")
        return Condition(field, operator, "")
    if not value.strip():
        raise ConditionError(
            f"found {shown(text)}; a value is missing after `{operator}`. For fields without a value write `{field} is null`"
        )
    if value.startswith("=") and operator == "=":
        raise ConditionError(f"found {shown(text)}; write one `=`: `{field}={visible(value.lstrip('='))}`")
    return Condition(field, operator, value)


def condition_warnings(condition: Condition) -> tuple[str, ...]:
    """What the node accepts but hardly anybody means, one sentence each."""
    field, operator, value = condition.field, condition.operator, condition.value
    found = []
    if operator in ("=", "!=") and value.strip().lower() == "null":
        meant = "is null" if operator == "=" else "not null"
        found.append(f"`{operator}` compares with the text {shown(value)}; for an empty field write `{field} {meant}`")
    if operator in ("~=", "!~=") and not {"%", "_"} & set(value):
        found.append(
            f"`{operator}` has no implicit wildcard, so {shown(value)} matches only itself; "
            f"write `%` where anything may stand: `{field}{operator}%{visible(value)}%`"
        )
    if operator == "=" and value.startswith(("~", "?", "!")):
        found.append(f"the value {shown(value)} begins with `{value[0]}`; the operator is written `{value[0]}=`")
    if operator not in NULL_TESTS and value != value.strip():
        found.append(
            f"the node keeps the blanks around the value {shown(value)}; write `{field}{operator}{visible(value.strip())}`"
        )
    return tuple(found)


def picks_running_only(condition: Condition) -> bool:
    """Whether the condition takes Running VMs alone, so that Paused or Unknown ones would be missed."""
    return condition.field == "state" and condition.operator in ("=", "?=") and condition.value.strip() == "Running"


def encoded_length(text: str) -> int:
    """Characters the condition takes in a URL."""
    return len(quote(text, safe="", errors="replace"))


def _without_operator(text: str) -> str:
    if re.search(r"\b(is|not)\s+null\b", text, re.IGNORECASE):
        return f"found {shown(text)}; write `is null` or `not null` in lower case with one blank"
    return f"found {shown(text)}, a condition without an operator; write it like `cluster.name=rack-12`"


def _refuse_wrong_split(text: str, operator: str, field: str) -> None:
    """Refuse where the operator that reads first is not the one the node searches for first."""
    leftmost = _LEFTMOST.search(text)
    if leftmost is None or leftmost.start() >= len(field):
        return
    meant = text[: leftmost.start()].strip()
    raise ConditionError(
        f"found {shown(text)}; the node searches for `{operator}` before `{leftmost[0]}`, wherever it stands, and would "
        f"take {shown(field)} for the field name. The value cannot be written in a condition: use `{visible(meant)}~=` "
        "with `_` in place of the signs, or name the VMs by `uuids`"
    )


def _strange_field(text: str, field: str, operator: str) -> str:
    if operator == "not null" and field.endswith(" is"):
        return f"found {shown(text)}; write `{visible(field.removesuffix(' is').strip())} not null`, without `is`"
    return f"found {shown(text)}; {shown(field)} is no field name: letters, digits and `_`, joined with dots"
