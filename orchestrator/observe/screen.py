"""Progress on a terminal: a picture of the run that is drawn over itself, news above it."""

import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.model.event import Event
from orchestrator.model.outcome import HOST_GOOD
from orchestrator.model.safe import one_line, visible
from orchestrator.observe.picture import Picture, Tally
from orchestrator.observe.words import clock, counts, hosts_lines, news, outcomes, slow_line, standing

_BAR = 30
_WAVES, _HOSTS, _CAUSES, _SLOW, _MISSED = 8, 5, 5, 8, 5
"""How many of each are shown; the rest is counted."""
_NAMED = 12
"""VMs that failed, and hosts, that get a line above the picture."""
_QUIET = frozenset({"run.forecast", "run.started", "wave.opened"})
"""News that the picture itself shows."""


class Screen:
    """A listener; `tick` draws, and is to be called a few times a second. `close` leaves the last picture standing.

    `visible`: is this process in the terminal's foreground? From the background nothing is drawn over what stands there.
    """

    def __init__(self, stream: TextIO, run_id: str, *, color: bool, keys: bool, visible: Callable[[], bool]) -> None:
        self._console = Console(file=stream, no_color=not color, highlight=False, markup=False, emoji=False)
        self._run_id = run_id
        self._keys = keys
        self._visible = visible
        self._picture = Picture()
        self._live: Live | None = None
        self._open = False
        self._named = {"vm.outcome": 0, "host.outcome": 0}
        self._bars = "#+." if self._console.options.ascii_only else "█▒░"

    @property
    def paused(self) -> bool:
        """Is the run paused?"""
        return self._picture.paused

    def __call__(self, event: Event) -> None:
        """Take one event."""
        line = news(event, self._picture)
        self._picture(event)
        if not self._open and event.kind in {"run.started", "run.resumed"}:
            self._open = True
        if line is not None and event.kind not in _QUIET:
            self._print(line, event)
        if event.kind in {"run.halted", "run.verifying", "run.finished"}:
            self.tick()

    def _print(self, line: str, event: Event) -> None:
        if event.kind in self._named:
            self._named[event.kind] += 1
            if self._named[event.kind] > _NAMED:
                return
            if self._named[event.kind] == _NAMED:
                line += "  (further ones are counted below, and named in the report)"
        self._console.print(Text(line, style=_style(event)), soft_wrap=True)

    def say(self, text: str) -> bool:
        """Words that are no event's, above the picture; False where there is none."""
        if self._live is not None:
            self._console.print(Text(visible(text)), soft_wrap=True)
        return self._live is not None

    def tick(self) -> None:
        """Draw the run as it is now."""
        if not self._open:
            return
        if not self._visible():
            self._stop()
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
            self._console.show_cursor(True)  # whoever stops us with Ctrl-Z has it again
        self._live.update(self._drawn(time.time()), refresh=True)

    def close(self) -> None:
        """No more is drawn."""
        self._open = False
        self._stop()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _drawn(self, now: float) -> RenderableType:
        picture = self._picture
        parts: list[RenderableType] = [self._head(), _overall(picture, self._bars)]
        if len(picture.waves) > 1:
            parts.append(_waves(picture, self._bars))
        for title, lines in (
            ("so far", [outcomes(picture)] if picture.done else []),
            ("hosts", hosts_lines(picture, _MISSED)),
            ("busiest hosts", _busiest(picture)),
            ("failed", _failed(picture)),
            ("slow or never?", _limited([slow_line(flight, now) for flight in picture.slow(now)], _SLOW)),
        ):
            if lines:
                parts.append(_block(title, lines))
        if self._keys and not picture.finished and not picture.verifying and picture.halted is None:
            parts.append(Text(f"keys: p {'goes on' if picture.paused else 'pauses'}, q ends as Ctrl-C does", style="dim"))
        return Group(*parts)

    def _head(self) -> Text:
        title = Text(one_line(self._picture.plan, 60), style="bold", no_wrap=True, overflow="ellipsis")
        return title.append(f"  run {self._run_id}", style="not bold dim")


def _overall(picture: Picture, bars: str) -> RenderableType:
    line = _bar(picture.done, len(picture.flights), picture.to_come, bars)
    line.append(f" {counts(picture)}")
    times = Text(no_wrap=True, overflow="ellipsis")
    times.append(standing(picture), style="yellow" if picture.halted or picture.away or picture.paused else "")
    if picture.closes is not None and not picture.finished:
        late = picture.outlook is not None and picture.outlook.likely > picture.closes
        times.append("; " if times.plain else "")
        times.append(f"the window closes at {clock(picture.closes)}", style="red" if late else "")
    return Group(line, times) if times.plain else line


def _bar(done: int, flying: int, total: int, bars: str) -> Text:
    """Done, in flight, and still to come, in `_BAR` columns; `bars` has a character for each."""
    total = max(total, done + flying, 1)
    full = done * _BAR // total
    half = min(_BAR - full, -(-flying * _BAR // total))
    bar = Text(no_wrap=True, overflow="ellipsis")
    for character, width, style in zip(bars, (full, half, _BAR - full - half), ("green", "cyan", "dim"), strict=True):
        bar.append(character * width, style=style)
    return bar


def _waves(picture: Picture, bars: str) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, tally in list(picture.waves.items())[:_WAVES]:
        state = "done" if tally.finished else f"{tally.in_flight} in flight" if tally.in_flight else "waits"
        table.add_row(
            Text("wave", style="dim"), Text(one_line(name, 30)), _bar(tally.done, tally.in_flight, tally.to_do, bars),
            Text(f"{tally.done}/{tally.to_do}", justify="right"), Text(state),
        )  # fmt: skip
    if len(picture.waves) > _WAVES:
        table.add_row("", Text(f"and {len(picture.waves) - _WAVES} more", style="dim"))
    return table


def _busiest(picture: Picture) -> list[str]:
    def load(item: tuple[str, Tally]) -> tuple[int, int]:
        return -item[1].in_flight, -item[1].done

    busy = [(name, tally) for name, tally in picture.hosts.items() if tally.in_flight]
    if not busy:
        return []
    shown = sorted(busy, key=load)[:_HOSTS]
    more = f", and {len(busy) - _HOSTS} more" if len(busy) > _HOSTS else ""
    return [", ".join(f"{one_line(name, 30)} {tally.in_flight}" for name, tally in shown) + more]


def _failed(picture: Picture) -> list[str]:
    lines = []
    for cause, hosts in sorted(picture.causes.items(), key=lambda item: -item[1].total()):
        named = [one_line(host, 30) for host, count in hosts.most_common(4) if count]
        where = ", ".join(named[:3]) + (", …" if len(named) > 3 else "")
        lines.append(f"{hosts.total()}: {one_line(cause, 80)}, on {where}")
    return _limited(lines, _CAUSES)


def _limited(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]


def _block(title: str, lines: list[str]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for number, line in enumerate(lines):
        table.add_row(Text(title if not number else "", style="dim"), Text(line))
    return table


def _style(event: Event) -> str:
    if event.kind in {"budget.crossed", "run.halted", "node.away", "window.crossed", "window.closed", "window.ended"}:
        return "yellow"
    if event.kind == "host.outcome":
        return "" if event.data["outcome"] in HOST_GOOD else "red"
    return "red" if event.kind == "vm.outcome" else ""
