"""`runs`, `show`, `report`: what the journal holds. They only read."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from orchestrator import app
from orchestrator.cli import completing
from orchestrator.cli.journals import reading, vm_named
from orchestrator.cli.options import journal_option
from orchestrator.cli.streams import print_report
from orchestrator.engine.again import is_unfinished
from orchestrator.errors import UnknownRunError, UsageError
from orchestrator.journal.interface import HostKept
from orchestrator.model.counts import counted
from orchestrator.model.fault import fault_of
from orchestrator.model.report import AttemptRecord
from orchestrator.model.safe import one_line
from orchestrator.reports import RENDERERS


@click.command()
@journal_option
def runs(*, journal: str | None) -> None:
    """List the runs of the journal, the newest first.

    Example: orchestrator runs
    """
    with reading(journal) as opened:
        for run in opened.runs():
            code = "-" if run.exit_code is None else run.exit_code
            line = f"{run.id}  {run.status:<13} exit {code:<3} {one_line(run.plan)}  {run.endpoint}"
            if is_unfinished(run):
                held = opened.lock(run.id)
                alive = held is not None and held.alive
                line += f"  (at work: {held.worker})" if held is not None and alive else "  (nobody works on it: resume it)"
            click.echo(line)


@click.command()
@click.argument("run", shell_complete=completing.runs)
@click.argument("vm", required=False, shell_complete=completing.vms)
@journal_option
def show(run: str, vm: str | None, *, journal: str | None) -> None:
    """Show the state of RUN, or every step of one VM or host (UUID or name) with its times.

    Example: orchestrator show last 0b54a1d0a1c34f5f9d1f5e0f7d6c2b11
    """
    with reading(journal, run) as opened:
        record = app.find_run(opened, run)
        click.echo(f"run {record.id}", err=True)
        if vm is None:
            print_report(opened.report(record.id))
            return
        plain, kept = vm.replace("-", "").lower(), opened.hosts(record.id)
        hosts = [host for host in kept if host.row.uuid == plain] or [host for host in kept if host.row.name == vm]
        if len(hosts) > 1:
            raise UnknownRunError(f"{len(hosts)} hosts of run {record.id} are called {vm!r}: give the UUID of one")
        if hosts:
            for line in _host_lines(hosts[0]):
                click.echo(line)
            return
        found, events = opened.vm(record.id, vm_named(opened, record, vm, what="VM or host"))
        click.echo(f"{one_line(found.name or '')} {found.uuid}: {found.outcome or 'no outcome yet'}")
        if found.evidence is not None:
            click.echo(f"  {one_line(found.evidence.text)}")
        for event in events:
            data = {key: value for key, value in (event.data or {}).items() if value is not None}
            words = ", ".join(f"{key} {one_line(str(value))}" for key, value in data.items())
            click.echo(f"  {event.at} {event.kind} {words}".rstrip())
        for attempt in found.attempts:
            to = record.destinations.get(attempt.host_uuid or "", attempt.host_uuid)
            click.echo(f"  {_attempt_line(attempt, to)}")


def _host_lines(host: HostKept) -> Iterator[str]:
    yield f"host {one_line(host.row.name or '')} {host.row.uuid}: {counted(len(host.actions), 'step')}"
    for action in host.actions:
        states = f", {action.state_before} before" if action.state_before is not None else ""
        states += f", {action.state} when last read" if action.state is not None else ""
        outcome = action.outcome or "no outcome yet"
        yield f"  {action.finished_at or action.started_at or 'not begun'} {action.action}: {outcome}{one_line(states)}"
        if action.evidence:
            yield f"    {one_line(action.evidence)}"
        for attempt in action.attempts:
            yield f"    {_attempt_line(attempt, None)}"
            if attempt.error is not None:
                yield f"      {one_line(fault_of(attempt.error).sentence())}"


def _attempt_line(attempt: AttemptRecord, to: str | None) -> str:
    where = f" to host {one_line(to)}" if to is not None else ""
    line = f"{attempt.sent_at or 'not sent'} {attempt.type}{where} ({attempt.reason}) job {attempt.job_uuid}: "
    return f"{line}{attempt.result} {attempt.ended_at or ''}".rstrip()


@click.command()
@click.argument("run", shell_complete=completing.runs)
@click.option("--format", "form", required=True, type=click.Choice(["json", "html", "markdown", "csv", "junit", "text"]))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write there instead of to the terminal (mode 0600).",
)
@journal_option
def report(run: str, *, form: str, output: Path | None, journal: str | None) -> None:
    """Render RUN again, finished or not, from the journal.

    Example: orchestrator report last --format html -o report.html
    """
    with reading(journal, run) as opened:
        record = app.find_run(opened, run)
        click.echo(f"run {record.id}", err=True)
        made = opened.report(record.id)
        if output is None:
            RENDERERS[form].render(made, sys.stdout)
            return
        try:
            with app.private_file(output) as out:
                RENDERERS[form].render(made, out)
        except OSError as error:
            raise UsageError(
                f"the report cannot be written to {output} ({error.strerror}): name a file you may write"
            ) from None
