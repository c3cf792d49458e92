"""`steer`: a word to a run in another terminal, through the journal: who may write it may steer."""

import anyio
import click

from orchestrator import app
from orchestrator.cli.completing import runs, vms
from orchestrator.cli.journals import vm_named
from orchestrator.cli.options import journal_option
from orchestrator.engine.again import is_unfinished
from orchestrator.errors import RefusedError, UsageError
from orchestrator.model.safe import one_line

_WAIT_SECONDS = 10.0
"""How long the run's answer is waited for; it looks every second."""


@click.command()
@click.argument("run", shell_complete=runs)
@click.argument("word", type=click.Choice(["pause", "go", "skip"]))
@click.argument("vm", required=False, shell_complete=vms)
@journal_option
def steer(run: str, word: str, vm: str | None, *, journal: str | None) -> int:
    """Give a word to RUN, at which another process works: who and when are journalled.

    pause: nothing more is started, what is in flight goes on. go: after a pause. skip VM: it is taken out, where the run has
    not begun with it; VM is a UUID, or a name that only one target has.

    Example: orchestrator steer last pause
    """
    if (vm is None) is (word == "skip"):
        raise UsageError(
            "'skip' takes a VM, by UUID or name: 'orchestrator steer RUN skip VM'"
            if word == "skip"
            else f"{word!r} takes no VM: leave {vm!r} out"
        )
    return anyio.run(_steer, run, word, vm, journal)


async def _steer(run: str, what: str, vm: str | None, url: str | None) -> int:
    journal = app.open_journal(url)
    try:
        record = app.find_run(journal, run, able=lambda _, found: is_unfinished(found), to="that has not ended")
        click.echo(f"run {record.id}", err=True)
        if not is_unfinished(record):
            raise RefusedError(f"run {record.id} has ended: there is nothing to steer any more")
        held = journal.lock(record.id)
        alive = held is not None and held.alive
        if not alive and what != "skip":
            raise RefusedError(f"nobody works on run {record.id}: carry it on with 'orchestrator resume {record.id}'")
        target = None if vm is None else vm_named(journal, record, vm)
        answer = await app.tell(record, journal, what, target, patience_seconds=_WAIT_SECONDS * alive)
    finally:
        await journal.close()
    if answer is None:
        click.echo("told; the run has not answered yet" if alive else "told; whoever resumes the run will heed it")
        return 0
    click.echo(one_line(answer))
    return 0
