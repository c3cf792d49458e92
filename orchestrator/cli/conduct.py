"""What `run`, `resume` and `retry` have in common: the question, the signals, the progress, the reports at the end."""

import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec

import anyio
import click

from orchestrator import app
from orchestrator.cli.onlookers import Job, Onlookers
from orchestrator.cli.options import Decorator
from orchestrator.cli.signals import Signals, as_interrupts
from orchestrator.cli.streams import drop, interactive, print_report, voice
from orchestrator.engine.clock import Clock
from orchestrator.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.journal.interface import REPORTED, Journal, JournalEvent, JournalWriteError
from orchestrator.model.event import Listener
from orchestrator.model.report import RunReport
from orchestrator.model.safe import one_line, visible

LEFT_EARLY = 130
MANY = 100
"""More VMs than this ask for the plan's name: a yes is typed too easily."""

P = ParamSpec("P")
_OPTIONS: tuple[Decorator, ...] = (
    click.option("--yes", is_flag=True, help="Answer every question with yes."),
    click.option("--quiet", is_flag=True, help="No progress; the summary only."),
    click.option(
        "--log-format",
        type=click.Choice(["console", "json"]),
        help="Every event as a log line instead of progress.",
    ),
    click.option(
        "--metrics-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Keep the run's metrics in this file, for Prometheus' textfile collector.",
    ),
    click.option(
        "--metrics-port",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Serve them to a Prometheus on this machine, at /metrics; 0 is any free port.",
    ),
    click.option(
        "--serve", metavar="[HOST:]PORT", help="Show the run as a page that follows it, at this place; 0 is any free port."
    ),
    click.option(
        "--serve-tls",
        nargs=2,
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="CERT KEY",
        help="PEM files, for --serve beyond this machine.",
    ),
    click.option("--allow-commands", is_flag=True, help="Run the commands under the plan's notify; else they are left out."),
    click.option("--no-color", is_flag=True, help="No colours [env: NO_COLOR]."),
)


def conduct_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--yes, --quiet, --log-format, --metrics-file, --metrics-port, --serve, --serve-tls, --allow-commands, --no-color."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


async def ask_yes(question: str, name: str | None = None) -> bool:
    """Ask on the terminal; anything but yes is no. Where a `name` is given, it is asked for instead, letter by letter."""
    wanted = "yes" if name is None else f"the plan's name, {one_line(name)},"
    click.echo(f"{question} Type {wanted} to go on: ", nl=False)
    try:
        await anyio.wait_readable(sys.stdin)
        answer = sys.stdin.readline()
    except (NotImplementedError, OSError):
        answer = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    if name is not None:
        return answer.strip() == name
    return answer.strip().lower() in {"y", "yes"}


class Conductor:
    """One command that works on VMs, from its options to its exit code."""

    def __init__(
        self,
        *,
        yes: bool,
        quiet: bool,
        log_format: Literal["console", "json"] | None,
        metrics_file: Path | None,
        metrics_port: int | None,
        serve: str | None,
        serve_tls: tuple[Path, Path] | None,
        allow_commands: bool,
        no_color: bool,
        journal: str | None,
    ) -> None:
        self.attended = interactive()
        self.say = voice(log_format)
        self._yes = yes
        self._quiet = quiet
        self._log_format = log_format
        color = not no_color and not os.environ.get("NO_COLOR") and sys.stderr.isatty()
        self.onlookers = Onlookers(
            self.say, quiet=quiet, log_format=log_format, color=color, metrics_file=metrics_file, metrics_port=metrics_port,
            serve=serve, serve_tls=serve_tls, allow_commands=allow_commands,
        )  # fmt: skip
        self.journal = journal
        self._told: str | None = None
        self._begun: str | None = None
        self._over = False

    def tell_run(self, run_id: str) -> None:
        """Which run it is, once."""
        if self._told != run_id:
            self._told = run_id
            self.say("info", f"run {run_id}")

    def check_confirmation(self, shown_by: str) -> None:
        """Is there somebody to ask, or no need to? Raises UsageError. `shown_by`: the command that shows it beforehand."""
        if not self._yes and not self.attended:
            raise UsageError(f"without a terminal nobody can confirm: add --yes once you have seen '{shown_by}'")

    def asking(self, confirm: Callable[P, Awaitable[bool]]) -> Callable[P, Awaitable[bool]] | None:
        """The question, None where it is answered already."""
        return None if self._yes else confirm

    def listeners(self, run_id: str) -> Sequence[Listener]:
        """Who listens to the run's events; asked for when a run begins."""
        self._begun = run_id
        if not self._quiet and self._log_format is None:
            self.tell_run(run_id)
        return self.onlookers.listeners(run_id)

    def conduct(self, prepare: Callable[[], Job], *, nothing: str = "") -> int:
        """Do the job that `prepare` makes, write its reports, and return the exit code.

        `nothing`: what to say where there was nothing to do. An error is one line of JSON where the log is JSON.
        """
        try:
            return anyio.run(self._go, prepare(), nothing)
        except KeyboardInterrupt:
            if self._begun is None:
                raise
            drop(sys.stdout)  # what is left in it may be what nobody takes
            run = self._begun
            if self._over:
                self.say("error", f"interrupted: run {run} is over and in the journal, 'orchestrator report {run}' shows it")
            else:
                self.say("error", f"interrupted: what run {run} sent is in the journal, 'orchestrator resume {run}' goes on")
            return LEFT_EARLY
        except OrchestratorError as error:
            if self._log_format != "json":
                raise
            self.say("error", str(error))
            return error.exit_code

    async def _go(self, job: Job, nothing: str) -> int:
        journal = app.open_journal(self.journal)
        try:
            report, code = None, 0
            async with Signals() as signals, self.onlookers.invited(journal):
                report = await self.onlookers.accompany(job, journal, signals)
                if report is not None:
                    signals.rest()
                    self._begun, self._over = report.run.id, report.run.status != "interrupted"
                    with as_interrupts():
                        code = self._tell(report, journal)
                    if self._over:
                        await self.onlookers.take_leave()
            if signals.early:
                self.say("info", "interrupted before the first change: nothing was sent")
                return LEFT_EARLY
            if report is None:
                self.say("info", nothing)
                return 0
            return code
        finally:
            with anyio.CancelScope(shield=True):
                await journal.close()

    def _tell(self, report: RunReport, journal: Journal) -> int:
        """The files first: whoever reads the terminal may be gone. Nothing here changes what became of the run."""
        options = app.plan_of(journal, report.run.id).plan.report
        try:
            paths = app.write_reports(report, options.formats, options.directory)
            with contextlib.suppress(JournalWriteError):
                journal.event(report.run.id, JournalEvent(Clock().wall(), REPORTED))
        except RefusedError as error:
            paths = []
            again = f"orchestrator report {report.run.id} --format json -o FILE"
            self.say("error", f"{error}; the run itself is over and in the journal, '{again}' renders it again")
        try:
            print_report(report)
            for path in paths:
                click.echo(f"report: {visible(str(path))}")
        except OSError:
            drop(sys.stdout)
        code = report.run.exit_code
        return 1 if code is None else code
