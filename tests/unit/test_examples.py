"""What we ship as examples is usable as it is."""

import inspect
import re
import shlex
from pathlib import Path

import click
import pytest

from orchestrator.cli.main import cli
from orchestrator.plan.load import load_plan

ROOT = Path(__file__).resolve().parents[2]
PLANS = sorted((ROOT / "plans").glob("*.yaml"))


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_every_example_plan_is_valid(path: Path) -> None:
    """It loads, without a warning, and its first line says when to use it."""
    assert load_plan(path).warnings == ()
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_there_is_an_example() -> None:
    """The test above looked at something."""
    assert PLANS


def test_public_names_are_sorted_and_importable() -> None:
    """Everything in `__all__` exists, and the list is sorted."""
    import orchestrator

    assert list(orchestrator.__all__) == sorted(orchestrator.__all__)
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name) is not None


def test_every_example_in_the_help_can_be_typed() -> None:
    """Each command has one; its options are known, its words are of their lists, and the plans it names are there."""
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        shown = re.findall(r"^ *(?:Example: )?orchestrator (\S+)(.*)$", inspect.cleandoc(command.help or ""), re.M)
        assert shown, name
        for word, rest in shown:
            assert word == name
            words = shlex.split(rest.partition(">")[0])
            command.make_context(name, words, resilient_parsing=False)
            assert all(list(ROOT.glob(plan)) for plan in words if plan.startswith("plans/")), rest
