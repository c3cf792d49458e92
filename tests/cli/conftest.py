"""A command line in a folder of its own, and a node for it; at the end nobody is left logged in and no secret on disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import CANARIES, Cli, Node, fleet, wait_until


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line; no file that it leaves holds a secret."""
    made = Cli(tmp_path)
    yield made
    assert made.leaks(CANARIES) == []


@pytest.fixture
def node(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Node]:
    """A node with three quick VMs, or with the groups a test is parametrised with."""
    with Node(fleet(*getattr(request, "param", ()))) as made:
        cli.at(made)
        yield made
        wait_until(lambda: not made.open_sessions, "every session is logged out")
        assert cli.leaks(tuple(made.sessions) or CANARIES) == []
