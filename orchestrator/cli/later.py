"""Commands of the contract that this version does not have yet: they say so, and touch nothing."""

import click

from orchestrator.errors import NotSupportedError


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("rest", nargs=-1)
def resume(rest: tuple[str, ...]) -> None:
    """Carry on a run that was killed or interrupted (not supported yet)."""
    raise NotSupportedError(
        "resume is not supported yet: see 'orchestrator show RUN' for what was sent, and run the plan again "
        "when those jobs have ended (VMs that are Stopped by then get no call)"
    )


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("rest", nargs=-1)
def retry(rest: tuple[str, ...]) -> None:
    """Run again over what failed (not supported yet)."""
    raise NotSupportedError("retry is not supported yet: run the plan again; VMs that are Stopped by then get no call")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("rest", nargs=-1)
def restore(rest: tuple[str, ...]) -> None:
    """Start again what a run stopped (not supported yet)."""
    raise NotSupportedError("restore is not supported yet: report.csv lists what the run stopped")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("rest", nargs=-1)
def steer(rest: tuple[str, ...]) -> None:
    """Give a word to a run in another terminal (not supported yet)."""
    raise NotSupportedError("steer is not supported yet: Ctrl-C in the run's own terminal ends all sending")
