"""Shell completion: commands and options by click itself, plans as files, runs and their VMs from the journal."""

import contextlib
from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem, get_completion_class

from orchestrator import app
from orchestrator.cli.journals import reading_if_any
from orchestrator.errors import OrchestratorError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.safe import one_line

_MOST_RUNS, _MOST_VMS = 50, 500


@contextlib.contextmanager
def _journal(context: click.Context) -> Iterator[SqliteJournal | None]:
    """The journal that the command would read; whatever is wrong with it, completion is silent."""
    with reading_if_any(context.params.get("journal")) as journal:
        yield journal


def runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of runs that begin so, the newest first, each with its plan and status; and `last`."""
    with contextlib.suppress(OrchestratorError, OSError), _journal(context) as journal:
        if journal is None:
            return []
        found = [run for run in journal.runs() if run.id.startswith(incomplete)][:_MOST_RUNS]
        last = [CompletionItem("last", help="the newest that this can act on")] if "last".startswith(incomplete) else []
        return last + [CompletionItem(run.id, help=f"{one_line(run.plan, 40)}, {run.status}") for run in found]
    return []


def vms(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """UUIDs of a run's targets that begin so, each with its name and outcome."""
    named = context.params.get("run")
    with contextlib.suppress(OrchestratorError, OSError), _journal(context) as journal:
        if journal is None or not named:
            return []
        found = []
        for vm in journal.vms(app.find_run(journal, named).id):
            if vm.uuid.startswith(incomplete.lower()):
                found.append(CompletionItem(vm.uuid, help=f"{one_line(vm.name or '', 40)} {vm.outcome or ''}".strip()))
            if len(found) == _MOST_VMS:
                break
        return found
    return []


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options, plan files, run ids and VMs in SHELL.

    \b
    Example: orchestrator completion bash > ~/.local/share/bash-completion/completions/orchestrator
             orchestrator completion zsh > "${fpath[1]}/_orchestrator"
             orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish
    """
    made = get_completion_class(shell)
    assert made is not None, "those that the choice names are known"
    root = context.find_root()
    click.echo(made(root.command, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE").source())
