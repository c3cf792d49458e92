"""What people and logs read: a stream that breaks never ends a run, and every line of a JSON log is JSON."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

import click

from orchestrator.model.event import Event, Listener
from orchestrator.model.report import RunReport
from orchestrator.model.safe import visible
from orchestrator.reports import TextReport

Say = Callable[[str, str], None]
"""Tells a person one thing: the level (`info`, `warning`, `error`), and the words."""


def prepare_streams() -> None:
    """Closed streams become the null device, and a character that a terminal cannot show is written as an escape."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, so that no file of ours does
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def interactive() -> bool:
    """Is there somebody to ask?"""
    return sys.stdin.isatty() and sys.stdout.isatty()


def print_report(report: RunReport) -> None:
    """The summary, no wider than the terminal. Raises OSError."""
    columns = 0
    with contextlib.suppress(OSError, ValueError):
        columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    renderer = TextReport(columns) if columns else TextReport()  # some terminals do not know how wide they are
    renderer.render(report, sys.stdout)


def drop(stream: TextIO) -> None:
    """Nobody reads it any more: what is left in it and what still comes goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def complain(text: str) -> None:
    """A line for stderr, without anything that could steer a terminal; a broken stderr is left alone."""
    try:
        click.echo(visible(text), err=True)
    except OSError:
        drop(sys.stderr)


def voice(log_format: str | None) -> Say:
    """How to tell a person something beside the events: plain lines, or JSON ones where the log is JSON."""

    def plain(level: str, text: str) -> None:
        for line in text.split("\n"):
            complain(f"warning: {line}" if level == "warning" else line)

    def as_json(level: str, text: str) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        complain(json.dumps({"event": "message", "level": level, "at": at, "text": text}))

    return as_json if log_format == "json" else plain


def unbreakable(listener: Listener) -> Listener:
    """A terminal that hung up, or a pipe nobody reads, must not end a run."""

    def listen(event: Event) -> None:
        with contextlib.suppress(OSError, ValueError):
            listener(event)

    return listen
