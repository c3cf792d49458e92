"""Files that are no YAML or JSON, or try to be more than a plan needs."""

import pytest

from tests.unit.plan.examples import SMALL, assert_told, problems

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join(['*' + chr(97 + level)] * 10)}]\n" for level in range(8)
)


@pytest.mark.parametrize(
    ("text", "line", "column", "piece"),
    [
        ("version: 1\n\tname: a\n", 2, 1, "found a tab"),
        ("version: 1\nname: a: b\n", 2, 8, "into quotes"),
        ("version: 1\nname: @x\n", 2, 7, "into quotes"),
        ("version: 1\ntargets: [a\nname: x\n", 3, 5, "not valid YAML"),
        ("targets:\n  where: [[name~=app-{1,2}]]\n", 2, 22, "into quotes"),
        (SMALL + "---\nversion: 1\n", 5, 1, "a second document"),
        ("%YAML 1.1\n---\nversion: 1\n", 2, 1, "YAML 1.2"),
        ("version: 1\nname: *x\n", 2, 7, "no anchor of that name"),
        ("version: &x [*x]\n", 1, 14, "inside what it repeats"),
        ("version: " + "[" * 65, 1, 73, "nested more than 64"),
        ("version: " + "{a: " * 3000, 1, 10 + 4 * 63, "nested more than 64"),
        ('name: "\\UFFFFFFFF"', 1, 1, "not valid YAML"),
        ("version: 1\nname: a\x00b\n", 2, 8, r"\x00"),
        ("a: &a " + "[" * 60 + "]" * 60 + "\nb: [[[[[[*a]]]]]]\n", 2, 10, "nested more than 64"),
        (BOMB, 4, 1, "aliases repeat more than 10000"),
    ],
)
def test_yaml(text: str, line: int, column: int, piece: str) -> None:
    """What YAML refuses, and what is too much of it, is told at its place."""
    told = problems(text)[-1]
    assert piece in told.message
    assert told.line == line
    assert text is BOMB or told.column == column


@pytest.mark.parametrize(
    ("text", "line", "column", "piece"),
    [
        ('{"version": 1,\n "name" "a"}', 2, 9, "Expecting ':' delimiter"),
        ('{"version": 1\n "name": "a"}', 2, 2, "Expecting ',' delimiter"),
        ("version: 1", 1, 1, "Expecting value"),
        ('{"version": NaN}', 1, 13, "not JSON"),
        ('{"version": 1, "version": 1}', 1, 16, "already in line 1"),
        ('{"a": 1e999}', 1, 7, "not finite"),
        ('{"a": ' + "9" * 5000 + "}", 1, 7, "not finite"),
        ('{"a": "\\ud800"}', 1, 7, "surrogate"),
        ("[" * 100_000, None, None, "nested"),
        ("[" * 70 + "]" * 70, None, None, "nested"),
    ],
)
def test_json(text: str, line: int | None, column: int | None, piece: str) -> None:
    """JSON's mistakes are told in JSON's terms."""
    told = problems(text, json=True)
    assert [p for p in told if (p.line, p.column) == (line, column) and piece in p.message], told


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "null\n", "\ufeff"])
@pytest.mark.parametrize("json", [False, True])
def test_empty(text: str, json: bool) -> None:
    """An empty file is told as such, without a place."""
    if json and text.strip("\n\ufeff") not in ("", "null"):
        pytest.skip("not empty in JSON's eyes")
    assert_told(problems(text, json=json), (None, None, "the file is empty"))
