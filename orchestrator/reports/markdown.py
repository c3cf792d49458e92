"""The report for a ticket: tables of what somebody has to follow up, and counts of the rest."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TextIO

from orchestrator.model.counts import counted
from orchestrator.model.report import HostRecord, RunReport, VmRecord
from orchestrator.model.safe import clip
from orchestrator.reports.explain import explanation, seconds_text
from orchestrator.reports.facts import Facts, gather
from orchestrator.reports.goals import Goal, action_line, by_goal, goal, shortfall, standings_known, subjects
from orchestrator.reports.hosts import NO_HOST, HostNames, hosts_sentence, left_phrase, standing_phrase
from orchestrator.reports.onward import onward
from orchestrator.reports.verdict import verdict
from orchestrator.reports.wording import (
    SIMPLE,
    action_words,
    breakdown,
    deed_of,
    done_words,
    how_stopped,
    needs_attention,
    reason_phrase,
    selected_noun,
    stop_line,
    totals_phrase,
)

FULL_TABLE = 1000
"""Up to this many targets, and up to this many that need somebody, every one has a row."""

LONGEST_LIST = 50
"""Rows of any other table; the rest is counted."""

# Entities where a backslash is not enough: table cells split at pipes first, and HTML ignores backslashes.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
_MARKER = re.compile(r"^(?:[-+]|\d{1,9}[.)])")
_SPECIAL = re.compile(r"[\\`*_\[\]~#$!|<>&]")


class MarkdownReport:
    """GitHub-flavoured Markdown."""

    format = "markdown"
    extension = "md"

    def render(self, report: RunReport, out: TextIO) -> None:
        """Verdict, totals, causes, hosts, then the VMs: those that need somebody first."""
        facts = gather(report)
        for line in _head(report, facts):
            out.write(f"{line}\n")
        for line in _checklist(report):
            out.write(f"{line}\n")
        for line in _vms(report):
            out.write(f"{line}\n")


def _head(report: RunReport, facts: Facts) -> Iterator[str]:
    run = report.run
    yield f"# {_data(run.plan)}: run {_data(run.id)}\n"
    yield f"**{_data(verdict(report), 1000)}** {how_stopped(report.totals)}".rstrip() + "\n"
    if text := onward(report):
        yield f"{_data(text, 500)}\n"
    about = [
        ("Reference", run.reference),
        ("Action", action_words(run)),
        ("Endpoint", run.endpoint),
        ("Started by", run.started_by),
        ("From", run.started_at),
        ("To", run.finished_at or "not finished"),
        ("Status", run.status.replace("_", " ")),
        ("Exit code", None if run.exit_code is None else str(run.exit_code)),
        ("Follows run", run.parent_run),
    ]
    yield from _table(("Run", _data(run.id)), ((key, _data(value)) for key, value in about if value))
    if rows := breakdown(report.totals, deed_of(run)):
        yield "\n## Totals\n"
        # What the words mean is our own text; only the words may come from elsewhere.
        yield from _table(("VMs", "Outcome", "Meaning"), ((str(n), _data(word), _data(text)) for n, word, text in rows))
    yield from _list("Stops", [stop_line(stop) for stop in run.stops])
    if report.causes:
        yield "\n## Causes\n"
        causes = sorted(report.causes, key=lambda cause: -cause.count)
        rows_of_causes = ((str(cause.count), _data(cause.cause, 500), _data(_some(cause.hosts), 500)) for cause in causes)
        yield from _table(("VMs", "Cause", "Hosts"), rows_of_causes, LONGEST_LIST, len(causes))
    yield from _hosts(report)
    if len(report.waves) > 1:
        yield "\n## Waves\n"
        waves = (
            (
                _data(wave.name),
                _data(wave.started_at),
                _data(wave.finished_at),
                _data(totals_phrase(wave.totals), 400),
            )
            for wave in report.waves
        )
        yield from _table(("Wave", "From", "To", "Outcomes"), waves, LONGEST_LIST, len(report.waves))
    yield from _list("Notes", [*filter(None, [facts.check_sentence()]), *facts.notes()])
    yield from _list("Warnings", run.warnings)
    yield from _list("Selectors", [f"{item.where}: {counted(item.matched, selected_noun(run))}" for item in run.selectors])
    yield from _list("Excluded by the plan", [f"{item.name or item.uuid}: {item.selector}" for item in run.excluded])


def _hosts(report: RunReport) -> Iterator[str]:
    acted, known = any(host.actions for host in report.hosts), standings_known(report)
    if not report.hosts or not (acted or known):
        return
    yield f"\n## Hosts\n\n{hosts_sentence(report.hosts)}\n" if known else "\n## Hosts\n"
    columns = ["Host", *["Standing"] * known, *["Done to it"] * acted, *["Still there"] * known]
    hosts = (_host(host, acted=acted, known=known) for host in by_goal(report.hosts, report.run))
    yield from _table(tuple(columns), hosts, LONGEST_LIST, len(report.hosts))


def _host(host: HostRecord, *, acted: bool, known: bool) -> tuple[str, ...]:
    cells = [_data(host.name or host.uuid)]
    if known:
        cells.append(_data(standing_phrase(host), 300))
    if acted:
        cells.append("; ".join(_data(action_line(action), 300) for action in host.actions))
    if known:
        cells.append(_data(_some([left_phrase(vm) for vm in host.left_on_host or ()]), 2000))
    return tuple(cells)


def _checklist(report: RunReport) -> Iterator[str]:
    """Of a run that changed hosts: what is left to be done by hand, to be ticked off in the ticket."""
    hosts = [host for host in by_goal(subjects(report), report.run) if goal(host, report.run) is Goal.MISSED]
    vms = sum(count for word, count in report.totals.items() if word != "targets" and word not in SIMPLE)
    if not subjects(report) or not (hosts or vms):
        return
    yield "\n## To do\n"
    names = HostNames.of(report)
    yield from (_host_entry(host, names) for host in hosts[:LONGEST_LIST])
    if (more := len(hosts) - LONGEST_LIST) > 0:
        yield f"- [ ] and {counted(more, 'host')} more"
    wanted = (vm for vm in report.vms() if vm.outcome is not None and needs_attention(vm))
    yield from (_vm_entry(vm, names) for vm in islice(wanted, LONGEST_LIST))
    if (more := vms - LONGEST_LIST) > 0:
        yield f"- [ ] and {counted(more)} more"


def _host_entry(host: HostRecord, names: HostNames) -> str:
    left = _some([left_phrase(vm) for vm in host.left_on_host or ()])
    text = f"{clip(names.shown(host.uuid), 120)}: {clip(shortfall(host), 300)}"
    return "- [ ] Host " + _data(f"{text}: {left}" if left else text, 1000)


def _vm_entry(vm: VmRecord, names: HostNames) -> str:
    why = explanation(vm)
    text = f"{clip(vm.name or vm.uuid, 120)} on {clip(names.shown(vm.host_uuid), 80)}: {vm.outcome}"
    return "- [ ] VM " + _data(f"{text}: {why}" if why else text, 500)


def _vms(report: RunReport) -> Iterator[str]:
    names = HostNames.of(report)
    columns = ("VM", "UUID", "Host", "Outcome", "Why", "Evidence", "Check")
    targets = report.totals.get("targets", 0)
    simple = sum(report.totals.get(word, 0) for word in SIMPLE)
    if attention := targets - simple:
        yield f"\n## VMs that are not simply {done_words(deed_of(report.run))}\n"
        rows = (_row(vm, names) for vm in report.vms() if needs_attention(vm))
        yield from _table(columns, rows, FULL_TABLE, attention)
    if not simple:
        return
    yield "\n## All other VMs\n"
    if targets <= FULL_TABLE:
        yield from _table(columns, (_row(vm, names) for vm in report.vms() if not needs_attention(vm)))
        return
    yield from _table(("Host", "VMs", "Outcomes"), _per_host(report))


def _per_host(report: RunReport) -> Iterator[tuple[str, str, str]]:
    rest: dict[str, int] = {word: report.totals.get(word, 0) for word in sorted(SIMPLE)}
    for host in report.hosts:
        counts: dict[str, int] = {word: host.totals.get(word, 0) for word in rest}
        for word, count in counts.items():
            rest[word] -= count
        yield from _counts(_data(host.name or host.uuid), counts)
    # A VM that was stopped all along is on no host.
    yield from _counts(NO_HOST, rest)


def _counts(host: str, counts: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    found = [f"{count} {word}" for word, count in counts.items() if count > 0]
    if found:
        yield host, str(sum(count for count in counts.values() if count > 0)), ", ".join(found)


def _row(vm: VmRecord, names: HostNames) -> tuple[str, ...]:
    seconds = seconds_text(vm.evidence.seconds if vm.evidence else None)
    evidence = _data(vm.evidence.text, 300) if vm.evidence else ""
    why = explanation(vm) if vm.error is not None else reason_phrase(vm.reason)
    return (
        _data(vm.name),
        _data(vm.uuid),
        _data(names.shown(vm.host_uuid)),
        vm.outcome or "(none)",
        _data(why, 500),
        f"{evidence} ({seconds} s)" if seconds else evidence,
        "after start" if vm.check_after_start else "",
    )


def _table(
    columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], limit: int | None = None, total: int = 0
) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    yield from (f"| {' | '.join(row)} |" for row in islice(rows, limit))
    if limit is not None and total > limit:
        yield f"\nand {total - limit} more, in `report.json` and `report.csv`."


def _list(title: str, lines: Iterable[str]) -> Iterator[str]:
    items = list(lines)
    if items:
        yield f"\n## {title}\n"
        # What would begin a list or a rule of its own within the item is escaped as well.
        yield from (f"- {_MARKER.sub(_escaped_end, _data(line.lstrip(), 500))}" for line in items[:LONGEST_LIST])
        if len(items) > LONGEST_LIST:
            yield f"- and {len(items) - LONGEST_LIST} more"


def _escaped_end(match: re.Match[str]) -> str:
    marker = match.group()
    return f"{marker[:-1]}\\{marker[-1]}"


def _some(words: Iterable[str]) -> str:
    items = list(words)
    more = f", and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(clip(word, 120) for word in items[:10]) + more


def _data(text: str | None, limit: int = 120) -> str:
    """Text from outside on one line, cut, and without a character that Markdown would act on."""
    return _SPECIAL.sub(_neutral, clip(text, limit)) if text else ""


def _neutral(match: re.Match[str]) -> str:
    character = match.group()
    return _ENTITIES.get(character, f"\\{character}")
