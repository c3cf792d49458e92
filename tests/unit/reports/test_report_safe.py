"""Text from outside, made safe to show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.safe import clip, columns, visible, wrap

ANYTHING = st.text(st.characters(codec=None, categories=None))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00e9 \u751f\u4ea7", "plain \u00e9 \u751f\u4ea7"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31m\x00\x9b", "\\x1b[31m\\x00\\x9b"),
        ("\u202e\u2066\u200b", "\\u202e\\u2066\\u200b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_the_unseen_is_written_out(text: str, shown: str) -> None:
    """Control, bidi and invisible characters are spelt; letters of every script stay."""
    assert visible(text) == shown


@given(ANYTHING)
def test_what_is_visible_can_be_written_anywhere(text: str) -> None:
    """The result is one line, encodes as UTF-8 and holds no control character."""
    shown = visible(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert shown == visible(shown)


@given(ANYTHING, st.integers(min_value=2, max_value=50))
def test_clipped_text_fits(text: str, limit: int) -> None:
    """No text takes more columns than it was given, wide characters counted twice."""
    assert columns(clip(text, limit)) <= limit


def test_clipping_says_that_something_is_missing() -> None:
    """An ellipsis stands where text was cut, and nowhere else."""
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdefg", 6) == "abcde\u2026"
    assert clip("\u751f\u4ea7\u5e93", 5) == "\u751f\u4ea7\u2026"
    assert clip("\n" * 4, 6) == "\\n\\n\\\u2026"


@given(ANYTHING.map(visible), st.integers(min_value=10, max_value=40))
def test_wrapped_text_fits(text: str, width: int) -> None:
    """Every line keeps to the width, and nothing but blanks is lost."""
    lines = wrap(text, width=width, first="- ", rest="    ").split("\n")
    assert all(columns(line) <= width for line in lines)
    kept = "".join(line[2:] if index == 0 else line[4:] for index, line in enumerate(lines))
    assert kept.replace(" ", "") == text.replace(" ", "")
