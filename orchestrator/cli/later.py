"""Commands of the contract that this version does not have yet: they say so, and touch nothing."""

import click

from orchestrator.errors import NotSupportedError


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("rest", nargs=-1)
def steer(rest: tuple[str, ...]) -> None:
    """Give a word to a run in another terminal (not supported yet)."""
    raise NotSupportedError("steer is not supported yet: Ctrl-C in the run's own terminal ends all sending")
