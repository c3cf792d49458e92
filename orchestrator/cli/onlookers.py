"""Who looks at a run while it goes on: a terminal or a log, a page, Prometheus, and whom the plan's `notify` names."""

import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
import click
from anyio.abc import TaskGroup

from orchestrator import app
from orchestrator.cli import keys
from orchestrator.cli.signals import Signals
from orchestrator.cli.streams import Say, unbreakable
from orchestrator.engine.run import Run
from orchestrator.errors import JournalError, UsageError
from orchestrator.journal.interface import Journal
from orchestrator.model.event import Event, Listener
from orchestrator.model.report import RunReport
from orchestrator.observe.logs import log_listener
from orchestrator.observe.metrics import Metrics, to_file
from orchestrator.observe.progress import Progress
from orchestrator.plan.load import PlanFile

if TYPE_CHECKING:
    from orchestrator.live.feed import Feed
    from orchestrator.live.server import Server
    from orchestrator.notify.notifier import Notifier
    from orchestrator.notify.targets import Target
    from orchestrator.observe.screen import Screen

_TICK_SECONDS = 0.5
_LEAVE_SECONDS = 20.0
"""How long the end of a run waits for those who are still to be told of it."""

Started = Callable[[Run], None]
Job = Callable[[Journal, Started], Awaitable[RunReport | None]]
"""The work itself; its report, or None where there was nothing to do."""


class Onlookers:
    """Those of one command. None of them changes what becomes of the run. Raises UsageError for places that cannot be."""

    def __init__(
        self,
        say: Say,
        *,
        quiet: bool,
        log_format: Literal["console", "json"] | None,
        color: bool,
        metrics_file: Path | None,
        metrics_port: int | None,
        serve: str | None,
        serve_tls: tuple[Path, Path] | None,
        allow_commands: bool,
    ) -> None:
        if metrics_file is not None and not (metrics_file.parent.is_dir() and os.access(metrics_file.parent, os.W_OK)):
            raise UsageError(f"--metrics-file {metrics_file}: its folder cannot be written to; name a file in one that can")
        if serve_tls is not None and serve is None:
            raise UsageError("--serve-tls belongs to --serve [HOST:]PORT: say where the page is to be served")
        self._place = None
        if serve is not None:
            from orchestrator.live.server import place_of  # noqa: PLC0415 - a web server, where one is wanted

            self._place = place_of(serve, serve_tls)
        self._say = say
        self._quiet, self._log_format, self._color = quiet, log_format, color
        self._metrics_file, self._metrics_port = metrics_file, metrics_port
        self._allow_commands = allow_commands
        self._journal: Journal | None = None
        self._run_id: str | None = None
        self._metrics: Metrics | None = None
        self._feed: Feed | None = None
        self._server: Server | None = None
        self._notifier: Notifier | None = None
        self._telling: TaskGroup | None = None
        self._view: Progress | Screen | None = None
        self._left_out = set[str]()

    def say(self, level: str, text: str) -> None:
        """Tell a person one thing beside the events, also while the terminal has a picture on it."""
        if self._view is None or not self._view.say(f"warning: {text}" if level == "warning" else text):
            self._say(level, text)

    def check(self, plan_file: PlanFile) -> None:
        """Before anything is sent: can those be told whom the plan names? Raises UsageError."""
        self._targets(plan_file, strict=True)

    def listeners(self, run_id: str) -> Sequence[Listener]:
        """Who listens to the run's events; asked for when a run begins."""
        self._run_id = run_id
        listeners: list[Listener] = [_leave_targets_alone]
        if self._metrics_file is not None or self._metrics_port is not None:
            write = to_file(self._metrics_file) if self._metrics_file is not None else lambda text: None
            self._metrics = Metrics(write, run_id)
            listeners.append(unbreakable(self._metrics))
        if self._feed is not None:
            self._feed.follow(run_id)
            listeners.append(self._feed)
        listeners.append(self._notify)
        if self._quiet:
            return listeners
        if self._log_format is not None:
            return [*listeners, unbreakable(log_listener(sys.stderr, self._log_format, color=self._color, run_id=run_id))]
        if _draws():
            from orchestrator.observe.screen import Screen  # noqa: PLC0415 - of no use to anybody else

            self._view = Screen(sys.stderr, run_id, color=self._color, keys=keys.usable(), visible=_in_front)
        else:
            self._view = Progress(lambda line: click.echo(line, err=True))
        return [*listeners, unbreakable(self._view)]

    @contextlib.asynccontextmanager
    async def invited(self, journal: Journal) -> AsyncIterator[None]:
        """The run's page, its metrics, and those who are told of it, while the body runs.

        Raises UsageError where a port cannot be had.
        """
        self._journal = journal
        failed: BaseException | None = None
        async with contextlib.AsyncExitStack() as stack:
            if self._metrics_port is not None:
                from orchestrator.live.metrics_port import metrics_served  # noqa: PLC0415 - as above

                port = await stack.enter_async_context(metrics_served(self._metrics_port, self._metrics_text))
                click.echo(f"metrics: http://127.0.0.1:{port}/metrics")
            if self._place is not None:
                from orchestrator.live.feed import Feed  # noqa: PLC0415
                from orchestrator.live.server import Server  # noqa: PLC0415

                self._feed = Feed(journal)
                self._server = Server(self._place, self._feed, partial(self.say, "warning"))
                await stack.enter_async_context(self._server.serving())
                click.echo(f"page: {self._server.url}")
            sys.stdout.flush()
            async with anyio.create_task_group() as self._telling:
                try:
                    yield
                except BaseException as error:  # raised below as it is: a task group would wrap it
                    failed = error
                self._telling.cancel_scope.cancel()
            if failed is not None:
                raise failed

    async def accompany(self, job: Job, journal: Journal, signals: Signals) -> RunReport | None:
        """The job, with a view that goes on where nothing happens, and the keys."""
        begun = anyio.Event()

        def started(run: Run) -> None:
            signals.take(run)
            begun.set()

        found, failed = None, None
        with self._drawing():
            async with anyio.create_task_group() as beside:
                beside.start_soon(self._tick, begun)
                beside.start_soon(self._press, begun, journal, signals)
                try:
                    found = await job(journal, started)
                except Exception as error:  # as above
                    failed = error
                beside.cancel_scope.cancel()
        if failed is not None:
            raise failed
        return found

    async def take_leave(self) -> None:
        """The run is over and its reports are written: readers of the page, and those who are told, have a moment yet."""
        with anyio.move_on_after(_LEAVE_SECONDS) as limit:
            async with anyio.create_task_group() as leaving:
                if self._notifier is not None:
                    leaving.start_soon(self._notifier.drain)
                if self._server is not None:
                    leaving.start_soon(self._server.take_leave)
        if limit.cancelled_caught:
            self.say("warning", "not everybody could be told of the run's end in time")

    # ── the view and its keys ──────────────────────────────────────────────────────────────────────────────────────
    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """The terminal is as it was afterwards, however the body ends."""
        try:
            yield
        finally:
            if self._view is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._view.close()

    async def _tick(self, begun: anyio.Event) -> None:
        await begun.wait()
        while self._view is not None:
            try:
                with contextlib.suppress(OSError, ValueError):  # a terminal that is gone, or takes nothing just now
                    self._view.tick()
            except Exception as error:
                self._say("warning", f"the picture of the run has a defect ({error!r}) and is left out from here on")
                self._view.close()
                return
            await anyio.sleep(_TICK_SECONDS)

    async def _press(self, begun: anyio.Event, journal: Journal, signals: Signals) -> None:
        await begun.wait()
        if self._view is not None and _draws():
            await keys.listen({"p": partial(self._pause_or_go, journal), "q": _as_async(signals.press)})

    async def _pause_or_go(self, journal: Journal) -> None:
        """As `steer` would from another terminal: through the journal, with who and when."""
        if self._run_id is None or self._view is None:
            return
        word = "go" if self._view.paused else "pause"
        try:
            await app.tell(journal.run(self._run_id), journal, word, None, patience_seconds=0)
        except JournalError as error:  # the run finds out by itself where that is more than a moment's trouble
            self.say("warning", f"the key was not heard: {error}")

    def _metrics_text(self) -> str | None:
        return None if self._metrics is None else self._metrics.text()

    # ── those who are told ─────────────────────────────────────────────────────────────────────────────────────────
    def _notify(self, event: Event) -> None:
        """A listener: from the run's beginning on, where its plan names anybody."""
        if event.kind in {"run.started", "run.resumed"}:
            self._notifier = self._notifier_of(self._run_id)
        if self._notifier is not None:
            self._notifier(event)

    def _notifier_of(self, run_id: str | None) -> "Notifier | None":
        assert self._journal is not None
        assert self._telling is not None
        assert run_id is not None
        try:
            plan_file = app.plan_of(self._journal, run_id)
        except JournalError as error:
            self.say("warning", f"nobody is told of the run: {error}")
            return None
        if not plan_file.plan.notify:
            return None
        from orchestrator.notify.notifier import Notifier  # noqa: PLC0415 - most runs tell nobody
        from orchestrator.notify.targets import secret_names  # noqa: PLC0415

        # Without our credentials, and without what others are told by.
        hidden = secret_names(plan_file.plan.notify)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("ZSTACK_") and name not in hidden
        }
        targets = self._targets(plan_file, strict=False)
        notifier = Notifier(run_id, targets, environment, partial(self.say, "warning"))
        notifier.begin(self._telling)
        return notifier

    def _targets(self, plan_file: PlanFile, *, strict: bool) -> "list[Target]":
        found: list[Target] = []
        if not plan_file.plan.notify:
            return found
        from orchestrator.notify.targets import target_of  # noqa: PLC0415 - as above

        for number, entry in enumerate(plan_file.plan.notify):
            if entry.command is not None and not self._allow_commands:
                self._leave_out(f"notify[{number}]: commands are left out without --allow-commands")
                continue
            try:
                found.append(target_of(entry, number, plan_file.path.parent, os.environ))
            except UsageError as error:
                if strict:
                    raise
                self._leave_out(f"{error}; nobody is told by it")
        return found

    def _leave_out(self, text: str) -> None:
        if text not in self._left_out:
            self._left_out.add(text)
            self.say("warning", text)


def _draws() -> bool:
    """Is progress read on a terminal that can be drawn on?"""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}


def _in_front() -> bool:
    """Is this process in the foreground of the terminal that progress is drawn on?"""
    try:
        return os.tcgetpgrp(sys.stderr.fileno()) == os.getpgrp()
    except (AttributeError, OSError):
        return True  # no such thing here, or a terminal that is not ours to ask


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
