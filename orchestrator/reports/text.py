"""The report for the terminal after a run: what to know first comes first, and it stays a screen or two."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TextIO

from orchestrator.model.counts import counted
from orchestrator.model.outcome import Outcome
from orchestrator.model.report import Cause, HostRecord, RunReport, WaveRecord
from orchestrator.model.safe import clip, columns, visible, wrap
from orchestrator.reports.facts import Facts, gather
from orchestrator.reports.goals import host_line, notable, standings_known
from orchestrator.reports.hosts import Standing, hosts_sentence, left_phrase, standing
from orchestrator.reports.onward import onward
from orchestrator.reports.verdict import verdict
from orchestrator.reports.wording import (
    action_words,
    breakdown,
    deed_of,
    how_stopped,
    stop_line,
    totals_phrase,
    window_line,
)

WIDTH, NARROWEST = 96, 60
"""Columns of a line at most, and at least however narrow the terminal is."""

LONGEST_LIST = 10
"""Lines of one list; the rest is counted, and every VM is in the other formats."""


@dataclass(frozen=True, slots=True)
class _Page:
    width: int

    def wrap(self, text: str, *, first: str = "", rest: str = "") -> str:
        return wrap(text, width=self.width, first=first, rest=rest)

    def item(self, text: str) -> str:
        return self.wrap(text, first="  ", rest="    ")


class TextReport:
    """For a terminal of so many columns: no colours, no control characters."""

    format = "text"
    extension = "txt"

    def __init__(self, width: int = WIDTH) -> None:
        self.width = max(NARROWEST, min(width, WIDTH))

    def render(self, report: RunReport, out: TextIO) -> None:
        """Verdict, run, totals, causes, VMs to follow up, hosts, notes, and what can be done next."""
        facts, page = gather(report), _Page(self.width)
        sections = (
            _head(page, report),
            _run(page, report),
            _totals(page, report),
            _stops(page, report),
            _causes(page, report.causes),
            _named(page, facts),
            _hosts(page, report),
            _waves(page, report.waves),
            _notes(page, report, facts),
            _onward(page, report),
        )
        between = ""
        for section in sections:
            lines = list(section)
            if lines:
                out.write(between + "\n".join(lines) + "\n")
                between = "\n"


def _head(page: _Page, report: RunReport) -> Iterator[str]:
    yield page.wrap(verdict(report))
    if how := how_stopped(report.totals):
        yield page.wrap(how)


def _run(page: _Page, report: RunReport) -> Iterator[str]:
    run = report.run
    reference = f" ({clip(run.reference, 40)})" if run.reference else ""
    yield page.wrap(f"Run {visible(run.id)}, plan {clip(run.plan, 60)}{reference}", rest="  ")
    code = "" if run.exit_code is None else f", exit code {run.exit_code}"
    times = f"{run.started_at} to {run.finished_at or 'now'}"
    yield page.wrap(visible(f"{times}{code}, {action_words(run)} at {run.endpoint}"), rest="  ")
    yield page.wrap(clip(f"Started by {run.started_by}", 200), rest="  ")
    if run.parent_run:
        yield f"Follows run {visible(run.parent_run)}"
    if run.window is not None:
        yield page.wrap(window_line(run.window), rest="  ")
    if run.resumed_at:
        yield visible(f"Resumed {counted(len(run.resumed_at), 'time')}, last at {run.resumed_at[-1]}")


def _totals(page: _Page, report: RunReport) -> Iterator[str]:
    rows = breakdown(report.totals, deed_of(report.run))
    if not rows:
        return
    yield f"Totals, of {counted(report.totals.get('targets', 0), 'target')}"
    digits = max(len(str(count)) for count, _, _ in rows)
    longest = max(columns(word) for _, word, _ in rows)
    indent = " " * (digits + longest + 6)
    for count, word, sentence in rows:
        first = f"  {count:>{digits}}  {word}{' ' * (longest - columns(word))}  "
        yield page.wrap(sentence, first=first, rest=indent)


def _stops(page: _Page, report: RunReport) -> Iterator[str]:
    if report.run.stops:
        yield "Ended early" if report.run.ended_by else "Stopped short"
        yield from _bounded((page.item(stop_line(stop)) for stop in report.run.stops), len(report.run.stops))


def _causes(page: _Page, causes: tuple[Cause, ...]) -> Iterator[str]:
    if causes:
        yield "Causes"
        ordered = sorted(causes, key=lambda cause: -cause.count)
        yield from _bounded((page.item(_cause(cause)) for cause in ordered), len(ordered))


def _cause(cause: Cause) -> str:
    hosts = [clip(host, 40) for host in cause.hosts[:5]]
    if more := len(cause.hosts) - len(hosts):
        hosts.append(f"and {more} more")
    on = f" ({'host' if len(cause.hosts) == 1 else 'hosts'} {', '.join(hosts)})" if hosts else ""
    return f"{counted(cause.count)}: {clip(cause.cause, 300)}{on}"


_TITLES = {
    Outcome.CAME_BACK: "Came back: {back}",
    Outcome.UNKNOWN: "Unknown: may still run",
    Outcome.FAILED: "Failed: {done}",
    Outcome.NOT_FOUND: "Not found",
}


_UNDONE = {
    "stop": "not stopped",
    "start": "not started",
    "migrate": "not migrated",
    "migrate_then_stop": "neither migrated nor stopped",
}


_BACK = {
    "migrate": "migrated, and on a host that is emptied again",
    "migrate_then_stop": "running again, or on a host that is emptied again",
}


def _named(page: _Page, facts: Facts) -> Iterator[str]:
    for outcome, vms in facts.named.items():
        if not vms:
            continue
        back = _BACK.get(facts.deed, "stopped, and running again")
        yield _TITLES[outcome].format(done=_UNDONE[facts.deed], back=back)
        lines = (
            page.item(
                f"{clip(vm.name, 40)} on {clip(vm.host, 40)}"
                + (f": {clip(vm.why, 160)}" if vm.why else "")
                + ("" if vm.name == vm.uuid else f" [{clip(vm.uuid, 36)}]")
            )
            for vm in vms
        )
        yield from _bounded(lines, facts.counts[outcome])


def _hosts(page: _Page, report: RunReport) -> Iterator[str]:
    hosts = notable(report)
    known = standings_known(report)
    if not report.hosts or not (known or hosts):
        return
    yield page.wrap(hosts_sentence(report.hosts)) if known else "Hosts"
    # One host that is not empty shows ten VMs, ten hosts show two each: the list stays short either way.
    occupied = sum(standing(host) is Standing.OCCUPIED for host in hosts)
    share = max(2, LONGEST_LIST // max(occupied, 1))
    yield from _bounded((_host(page, host, report, share) for host in hosts), len(hosts))


def _host(page: _Page, host: HostRecord, report: RunReport, share: int) -> str:
    lines = [page.item(f"{clip(host.name or host.uuid, 60)}: {clip(host_line(host, report), 300)}")]
    left = host.left_on_host or ()
    lines += [page.wrap(clip(left_phrase(vm), 120), first="      ", rest="        ") for vm in left[:share]]
    if (more := len(left) - share) > 0:
        lines.append(f"      and {more} more")
    return "\n".join(lines)


def _waves(page: _Page, waves: tuple[WaveRecord, ...]) -> Iterator[str]:
    if len(waves) > 1:
        yield "Waves"
        lines = (page.item(f"{clip(wave.name, 40)}: " + totals_phrase(wave.totals)) for wave in waves)
        yield from _bounded(lines, len(waves))


def _notes(page: _Page, report: RunReport, facts: Facts) -> Iterator[str]:
    notes = [facts.check_sentence(), *facts.notes()]
    if excluded := len(report.run.excluded):
        notes.append(f"{counted(excluded)} excluded by the plan.")
    for note in notes:
        if note:
            yield page.wrap(note, rest="  ")
    warnings = report.run.warnings
    yield from _bounded((page.item(f"Warning: {clip(text, 400)}") for text in warnings), len(warnings))


def _onward(page: _Page, report: RunReport) -> Iterator[str]:
    if text := onward(report):
        yield page.wrap(text, rest="  ")


def _bounded(lines: Iterable[str], total: int) -> Iterator[str]:
    shown = list(islice(lines, LONGEST_LIST))
    yield from shown
    if total > len(shown):
        yield f"  and {total - len(shown)} more"
