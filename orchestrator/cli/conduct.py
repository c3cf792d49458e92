"""What `run`, `resume` and `retry` have in common: the question, the signals, the progress, the reports at the end."""

import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import anyio
import click

from orchestrator import app
from orchestrator.cli import keys
from orchestrator.cli.options import Decorator
from orchestrator.cli.signals import Signals, as_interrupts
from orchestrator.cli.streams import drop, interactive, unbreakable, voice
from orchestrator.engine.clock import Clock
from orchestrator.engine.run import Run
from orchestrator.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.journal.interface import REPORTED, Journal, JournalEvent, JournalWriteError
from orchestrator.model.event import Event, Listener
from orchestrator.model.report import RunReport
from orchestrator.model.safe import one_line, visible
from orchestrator.observe.logs import log_listener
from orchestrator.observe.metrics import Metrics, to_file
from orchestrator.observe.progress import Progress
from orchestrator.reports import RENDERERS

if TYPE_CHECKING:
    from orchestrator.live.feed import Feed
    from orchestrator.observe.screen import Screen

LEFT_EARLY = 130
_TICK_SECONDS = 0.5
MANY = 100
"""More VMs than this ask for the plan's name: a yes is typed too easily."""

P = ParamSpec("P")
Started = Callable[[Run], None]
Job = Callable[[Journal, Started], Awaitable[RunReport | None]]
"""The work itself; its report, or None where there was nothing to do."""

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
    click.option("--no-color", is_flag=True, help="No colours [env: NO_COLOR]."),
)


def conduct_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--yes, --quiet, --log-format, --metrics-file, --metrics-port, --serve, --serve-tls, --no-color."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _draws() -> bool:
    """Is progress read on a terminal that can be drawn on?"""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}


def _as_async(act: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def acting() -> None:
        act()

    return acting


def _leave_targets_alone(event: Event) -> None:
    """What a run has made of its targets lasts as long as it does: the garbage collector need not go through a hundred
    thousand of them again and again, nor wait for a quarter as much garbage to come together.
    """
    if event.kind in {"run.started", "run.resumed"}:
        gc.freeze()


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
        no_color: bool,
        journal: str | None,
    ) -> None:
        if metrics_file is not None and not (metrics_file.parent.is_dir() and os.access(metrics_file.parent, os.W_OK)):
            raise UsageError(f"--metrics-file {metrics_file}: its folder cannot be written to; name a file in one that can")
        if serve_tls is not None and serve is None:
            raise UsageError("--serve-tls belongs to --serve [HOST:]PORT: say where the page is to be served")
        self._place = None
        if serve is not None:
            from orchestrator.live.server import place_of  # noqa: PLC0415 - a web server, where one is wanted

            self._place = place_of(serve, serve_tls)
        self._feed: Feed | None = None
        self._metrics_file, self._metrics_port = metrics_file, metrics_port
        self._metrics: Metrics | None = None
        self.attended = interactive()
        self.say = voice(log_format)
        self._yes = yes
        self._quiet = quiet
        self._log_format = log_format
        self._color = not no_color and not os.environ.get("NO_COLOR") and sys.stderr.isatty()
        self.journal = journal
        self._view: Progress | Screen | None = None
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
        listeners: list[Listener] = [_leave_targets_alone]
        if self._metrics_file is not None or self._metrics_port is not None:
            write = to_file(self._metrics_file) if self._metrics_file is not None else lambda text: None
            self._metrics = Metrics(write, run_id)
            listeners.append(unbreakable(self._metrics))
        if self._feed is not None:
            self._feed.follow(run_id)
            listeners.append(self._feed)
        if self._quiet:
            return listeners
        if self._log_format is not None:
            return [*listeners, unbreakable(log_listener(sys.stderr, self._log_format, color=self._color, run_id=run_id))]
        self.tell_run(run_id)
        if _draws():
            from orchestrator.observe.screen import Screen  # noqa: PLC0415 - of no use to anybody else

            self._view = Screen(sys.stderr, run_id, color=self._color, keys=keys.usable())
        else:
            self._view = Progress(lambda line: click.echo(line, err=True))
        return [*listeners, unbreakable(self._view)]

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
            report = None
            async with Signals() as signals, self._serving(journal):
                with self._drawing():
                    report = await self._watched(job, journal, signals)
            if signals.early:
                self.say("info", "interrupted before the first change: nothing was sent")
                return LEFT_EARLY
            if report is None:
                self.say("info", nothing)
                return 0
            self._begun, self._over = report.run.id, report.run.status != "interrupted"
            with as_interrupts():
                return self._tell(report, journal)
        finally:
            with anyio.CancelScope(shield=True):
                await journal.close()

    @contextlib.asynccontextmanager
    async def _serving(self, journal: Journal) -> AsyncIterator[None]:
        """The run's page and its metrics, while the body runs."""
        async with contextlib.AsyncExitStack() as stack:
            if self._metrics_port is not None:
                from orchestrator.live.metrics_port import metrics_served  # noqa: PLC0415 - a web server, where one is wanted

                port = await stack.enter_async_context(metrics_served(self._metrics_port, self._metrics_text))
                click.echo(f"metrics: http://127.0.0.1:{port}/metrics")
            if self._place is not None:
                from orchestrator.live.feed import Feed  # noqa: PLC0415
                from orchestrator.live.server import Server  # noqa: PLC0415

                self._feed = Feed(journal)
                server = Server(self._place, self._feed, partial(self.say, "warning"))
                await stack.enter_async_context(server.serving())
                click.echo(f"page: {server.url}")
            sys.stdout.flush()
            yield

    def _metrics_text(self) -> str | None:
        return None if self._metrics is None else self._metrics.text()

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """The terminal is as it was afterwards, however the body ends."""
        try:
            yield
        finally:
            if self._view is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._view.close()

    async def _watched(self, job: Job, journal: Journal, signals: Signals) -> RunReport | None:
        """The job, with a view that goes on where nothing happens, and the keys once there is a run."""
        begun = anyio.Event()

        def started(run: Run) -> None:
            signals.take(run)
            begun.set()

        async def view() -> None:
            await begun.wait()
            while self._view is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._view.tick()
                await anyio.sleep(_TICK_SECONDS)

        async def press() -> None:
            await begun.wait()
            if self._begun is not None and _draws() and self._view is not None:
                await keys.listen({"p": partial(self._pause_or_go, journal, self._begun), "q": _as_async(signals.press)})

        found, failed = None, None
        async with anyio.create_task_group() as beside:
            beside.start_soon(view)
            beside.start_soon(press)
            try:
                found = await job(journal, started)
            except Exception as error:  # raised below as it is: a task group would wrap it
                failed = error
            beside.cancel_scope.cancel()
        if failed is not None:
            raise failed
        return found

    async def _pause_or_go(self, journal: Journal, run_id: str) -> None:
        """As `steer` would from another terminal: through the journal, with who and when."""
        word = "go" if self._view is not None and self._view.paused else "pause"
        with contextlib.suppress(JournalWriteError):  # which the run finds out by itself
            await app.tell(journal.run(run_id), journal, word, None, patience_seconds=0)

    def _tell(self, report: RunReport, journal: Journal) -> int:
        """The files first: whoever reads the terminal may be gone. Nothing here changes what became of the run."""
        options = app.report_options(journal, report.run.id)
        try:
            paths = app.write_reports(report, options.formats, options.directory)
            with contextlib.suppress(JournalWriteError):
                journal.event(report.run.id, JournalEvent(Clock().wall(), REPORTED))
        except RefusedError as error:
            paths = []
            again = f"orchestrator report {report.run.id} --format json -o FILE"
            self.say("error", f"{error}; the run itself is over and in the journal, '{again}' renders it again")
        try:
            RENDERERS["text"].render(report, sys.stdout)
            for path in paths:
                click.echo(f"report: {visible(str(path))}")
        except OSError:
            drop(sys.stdout)
        code = report.run.exit_code
        return 1 if code is None else code
