"""Conditions are split as the node splits them, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.conditions import (
    OPERATORS,
    Condition,
    condition_warnings,
    parse_condition,
    picks_running_only,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cluster.name=rack-12", Condition("cluster.name", "=", "rack-12")),
        ("name!=a", Condition("name", "!=", "a")),
        ("cpuNum>=4", Condition("cpuNum", ">=", "4")),
        ("cpuNum<=4", Condition("cpuNum", "<=", "4")),
        ("cpuNum>4", Condition("cpuNum", ">", "4")),
        ("cpuNum<4", Condition("cpuNum", "<", "4")),
        ("uuid?=a,b", Condition("uuid", "?=", "a,b")),
        ("uuid!?=a,b", Condition("uuid", "!?=", "a,b")),
        ("name~=app-%", Condition("name", "~=", "app-%")),
        ("name!~=app-%", Condition("name", "!~=", "app-%")),
        ("__systemTag__~=ha::%", Condition("__systemTag__", "~=", "ha::%")),
        ("hostUuid is null", Condition("hostUuid", "is null", "")),
        ("hostUuid not null", Condition("hostUuid", "not null", "")),
        (" name =a=b", Condition("name", "=", "a=b")),
        ("name=is null", Condition("name", "=", "is null")),
    ],
)
def test_split(text: str, expected: Condition) -> None:
    """Each operator is found, the field is trimmed and the value is not."""
    assert parse_condition(text) == expected


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("name=a>=b", 'searches for `>=` before `=`, wherever it stands, and would take "name=a"'),
        ("name=a!=b", "searches for `!=` before `=`"),
        ("name>a=b", "searches for `=` before `>`"),
        ("name<>a", "searches for `>` before `<`"),
        ("rack-12", "without an operator"),
        ("", "without an operator"),
        ("name=", "value is missing after `=`"),
        ("name= ", "value is missing"),
        ("=a", "field name is missing"),
        ("na me=a", '"na me" is no field name'),
        (".name=a", "no field name"),
        ("naïve=a", "no field name"),
        ("name==a", "write one `=`: `name=a`"),
        ("hostUuid IS NULL", "lower case"),
        ("hostUuid is not null", "write `hostUuid not null`"),
        ("hostUuid is null now", "nothing may follow"),
        ("name=a\x1b[31m", r"control character"),
        ("uuid?=" + ",".join(["a" * 32] * 80), "`uuid_files`"),
        ("name=" + "é" * 400, "once encoded"),
    ],
)
def test_refused(text: str, piece: str) -> None:
    """A condition that the node would misread or refuse is refused with the remedy."""
    with pytest.raises(ValueError, match="found") as raised:
        parse_condition(text)
    assert piece in str(raised.value)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("hostUuid=null", "`hostUuid is null`"),
        ("hostUuid!=NULL", "`hostUuid not null`"),
        ("name~=app", "no implicit wildcard"),
        ("name!~=app", "no implicit wildcard"),
        ("name=~app", "`~=`"),
        ("name= app", "keeps the blanks"),
    ],
)
def test_warned(text: str, piece: str) -> None:
    """What the node accepts but hardly anybody means is a warning."""
    (message,) = condition_warnings(parse_condition(text))
    assert piece in message


def test_running_only() -> None:
    """Only a condition on Running alone misses the Paused ones."""
    assert picks_running_only(parse_condition("state=Running"))
    assert picks_running_only(parse_condition("state?=Running"))
    assert not picks_running_only(parse_condition("state?=Running,Paused"))
    assert not picks_running_only(parse_condition("host.state=Running"))


@given(st.text(alphabet="ab.=!<>?~ %isnul", max_size=20))
def test_as_the_node_splits(text: str) -> None:
    """Whatever is accepted is split at the operator that the node finds first."""
    try:
        condition = parse_condition(text)
    except ValueError:
        return
    first = next(operator for operator in OPERATORS if operator in text)
    field, _, value = text.partition(first)
    assert condition == Condition(field.strip(), first, "" if first.endswith("null") else value)
