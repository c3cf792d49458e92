"""`resume` and `retry`: runs that follow from another."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from orchestrator import app
from orchestrator.cli.completing import runs
from orchestrator.cli.conduct import MANY, Conductor, ask_yes, conduct_options
from orchestrator.cli.journals import reading
from orchestrator.cli.onlookers import Job, Started
from orchestrator.cli.options import connection_options, journal_option, settings_from, who_asks, window_end_option
from orchestrator.cli.running import confirm_run
from orchestrator.engine.again import is_unfinished
from orchestrator.journal.interface import Journal
from orchestrator.journal.owner import Held
from orchestrator.model.counts import counted
from orchestrator.model.report import RunRecord, RunReport
from orchestrator.model.safe import one_line
from orchestrator.settings import ConnectionSettings


@click.command()
@click.argument("run", shell_complete=runs)
@window_end_option
@conduct_options
@journal_option
@connection_options
def resume(
    run: str, *, window_end: datetime | None, endpoint: str | None, ca_file: str | None, insecure: bool, **options: Any
) -> int:
    """Carry on RUN, which was killed or interrupted, with the jobs that it had sent.

    Its targets, limits, window and node are those of the journal. A run that has ended is only reported again.

    Example: orchestrator resume last --yes
    """
    conductor = Conductor(**options)

    def took_over(before: Held) -> None:
        conductor.say(
            "warning",
            f"took over the run from {before.worker}, which has ended without a word "
            f"(its last sign was {before.silent_seconds:.0f} s ago)",
        )

    def prepare() -> Job:
        record = find(conductor, run, able=app.can_resume, to="to carry on")
        settings = None
        if is_unfinished(record):
            settings = reach(conductor, record, endpoint, ca_file, insecure=insecure)
        else:
            conductor.say("info", f"run {record.id} has ended: nothing to carry on, its reports are written again")

        async def job(journal: Journal, started: Started) -> RunReport:
            if settings is None:
                return journal.report(record.id)
            return await app.resume(
                record, settings, journal=journal, confirm=conductor.asking(_confirm_resume), took_over=took_over,
                listeners=conductor.listeners, started=started, window_end=window_end, say=conductor.say,
            )  # fmt: skip

        return job

    return conductor.conduct(prepare)


@click.command()
@click.argument("run", shell_complete=runs)
@click.option("--strict", is_flag=True, help="Warnings about the plan refuse the run.")
@window_end_option
@conduct_options
@journal_option
@connection_options
def retry(
    run: str, *, strict: bool, window_end: datetime | None, endpoint: str | None, ca_file: str | None, insecure: bool,
    **options: Any,
) -> int:  # fmt: skip
    """A new run over what RUN left failed, unknown, came_back or not_reached, and nothing else.

    States are read anew; limits and what the plan excludes and protects stay.

    Example: orchestrator retry last --yes
    """
    conductor = Conductor(**options)

    def prepare() -> Job:
        record = find(conductor, run, able=app.can_retry, to="that has ended")
        settings = reach(conductor, record, endpoint, ca_file, insecure=insecure)

        async def job(journal: Journal, started: Started) -> RunReport | None:
            return await app.retry(
                record, settings, journal=journal, strict=strict, terminal=conductor.attended,
                confirm=conductor.asking(confirm_run(who_asks(settings))), listeners=conductor.listeners, started=started,
                window_end=window_end, say=conductor.say,
            )  # fmt: skip

        return job

    return conductor.conduct(
        prepare,
        nothing="nothing to retry: the run left no VM failed, unknown, came_back or not_reached, and each host as it was to",
    )


def find(conductor: Conductor, name: str, *, able: Callable[[Journal, RunRecord], bool], to: str) -> RunRecord:
    """The run that is meant, printed before anything happens."""
    with reading(conductor.journal, name) as journal:
        record = app.find_run(journal, name, able=able, to=to)
    conductor.tell_run(record.id)
    return record


def reach(
    conductor: Conductor, record: RunRecord, endpoint: str | None, ca_file: str | None, *, insecure: bool
) -> ConnectionSettings:
    """How to reach the run's node, once there is somebody to ask or nothing to be asked."""
    conductor.check_confirmation(f"orchestrator show {record.id}")
    settings = app.settings_for(record, settings_from(endpoint, ca_file, insecure=insecure, say=conductor.say))
    settings.credential_kind()
    return settings


async def _confirm_resume(report: RunReport) -> bool:
    run = report.run
    click.echo(f"plan {one_line(run.plan)} at {run.endpoint}, begun {run.started_at} by {one_line(run.started_by)}")
    found = Counter(
        "sent and without an outcome" if vm.attempts else "not sent yet" for vm in report.vms() if vm.outcome is None
    )
    for word, count in report.totals.items():
        if count:
            click.echo(f"  {count:>6} {word}")
    for words, count in found.items():
        click.echo(f"  {count:>6} {words}")
    hosts = f" and {counted(len(report.hosts), 'host')}" if any(host.actions for host in report.hosts) else ""
    return await ask_yes(f"Carry on with {counted(found.total())}{hosts}?", run.plan if found.total() > MANY else None)
