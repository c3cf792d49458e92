"""The report as one page that opens anywhere: nothing fetched, no script but our own, everything from outside escaped.

What decides stands in the page's own text. The script adds the timeline and the table of VMs, from data in the page.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import TextIO

from orchestrator.model.report import HostRecord, RunReport
from orchestrator.model.safe import clip, visible
from orchestrator.reports.facts import Facts, gather
from orchestrator.reports.hosts import (
    HostNames,
    Standing,
    by_standing,
    hosts_sentence,
    left_phrase,
    standing,
    standing_phrase,
)
from orchestrator.reports.html_data import CAUSE_COLUMNS, NAME_COLUMNS, PageData
from orchestrator.reports.wording import (
    breakdown,
    counted,
    how_stopped,
    stop_line,
    tone,
    totals_phrase,
    verdict,
    verdict_tone,
    window_line,
)

_FEW = 12
"""More empty hosts than this are folded away."""

LONGEST_LIST = 200
"""Rows of any table but the VMs'; the rest is counted."""

_STANDING_TONES = {
    Standing.OCCUPIED: "bad",
    Standing.DOUBTFUL: "warn",
    Standing.UNREAD: "warn",
    Standing.EMPTY: "good",
}


class HtmlReport:
    """Self-contained HTML that is read in a browser and on paper."""

    format = "html"
    extension = "html"

    def render(self, report: RunReport, out: TextIO) -> None:
        """What to know first comes first; the table of VMs comes last and is streamed."""
        facts = gather(report)
        out.write(_opening(title_of(report), _policy(resource("page.js"))) + '<div id="top">\n')
        out.writelines(f"{line}\n" for line in top(report, facts))
        out.write("</div>\n")
        for part in (_TIMELINE, _VMS, _CHECKLIST):
            out.writelines(f"{line}\n" for line in part)
        out.writelines(f"{line}\n" for line in _plan(report))
        out.write(f'{_CLOSING}<script type="application/json" id="data">')
        out.writelines(PageData(report).pieces())
        out.write(f"</script>\n<script>{resource('page.js')}</script>\n</body>\n</html>\n")


def live_page() -> tuple[str, str]:
    """The same page without a word of any run, whose script asks the server for it; and its policy, as a header."""
    script = resource("page.js") + resource("live.js")
    policy = _policy(script, "; connect-src 'self'")
    parts = "\n".join(line for part in (_TIMELINE, _VMS, _CHECKLIST) for line in part)
    status = (
        '<p id="status" role="status">Connecting to the run.</p>\n<div id="now" aria-live="off"></div>\n<div id="top"></div>'
    )
    page = f"{_opening('A run', policy)}{status}\n{parts}\n{_CLOSING}<script>{script}</script>\n</body>\n</html>\n"
    return page, policy


def title_of(report: RunReport) -> str:
    """What a browser's tab says."""
    return f"{clip(report.run.plan, 120)}: {verdict(report)}"


def top(report: RunReport, facts: Facts | None = None) -> Iterator[str]:
    """Everything above the timeline. Without `facts`, as while a run goes on, no notes on all of its VMs."""
    yield from _head(report)
    yield from _totals(report)
    yield from _notes(report, facts)
    yield from _causes(report)
    yield from _hosts(report)
    yield from _waves(report)


def _opening(title: str, policy: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_data(title, 400)}</title>\n<style>{resource('page.css')}</style>\n</head>\n<body>\n<main>\n"
    )


_CLOSING = '</main>\n<dialog id="vm" aria-labelledby="vm-name"></dialog>\n'


@cache
def resource(name: str) -> str:
    """A file of the page."""
    return files("orchestrator.reports").joinpath(name).read_text("utf-8")


@cache
def _policy(script: str, more: str = "") -> str:
    """What a browser may do with the page: its own style, and this one script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'{more}"


_TIMELINE = (
    '<section id="timeline" hidden>\n<h2>Timeline <small></small></h2>\n<div class="bar"><span class="legend"></span>'
    '<button type="button" data-zoom="out" aria-label="Show more time">&minus;</button>'
    '<button type="button" data-zoom="in" aria-label="Show less time">+</button>'
    '<button type="button" data-zoom="all">whole run</button></div>',
    '<div class="chart" tabindex="0" role="img" aria-label="Hosts by time; the table below has the same VMs">'
    '<div class="sheet"><canvas></canvas></div></div>\n<p class="tip">&nbsp;</p>\n</section>',
)


_FILTERS = (("outcome", "every outcome"), ("host", "every host"), ("wave", "every wave"), ("cause", "every cause"))
_VMS = (
    '<section id="vms" hidden>\n<h2>VMs <small class="count"></small></h2>\n<div class="bar" role="search">',
    '<input type="search" aria-label="Search" placeholder="Search names, UUIDs, errors">',
    *(
        f'<select data-filter="{name}" aria-label="Show {name}"><option value="">{every}</option></select>'
        for name, every in _FILTERS
    ),
    '<button type="button" class="clear">show all</button></div>',
    '<div class="scroll rows"><table><thead><tr></tr></thead><tbody></tbody></table></div>',
    '<p class="more"></p>\n</section>',
    """<p class="plain">The list of VMs needs a browser that runs this page's script; report.csv has it too.</p>""",
)
_CHECKLIST = ('<section id="check" hidden><h2><span></span> <small></small></h2><ul class="check"></ul></section>',)


def _show(kind: str, value: str, text: str, limit: int) -> str:
    """Words that a click turns into a filter of the table."""
    return f'<button type="button" class="show" data-{kind}="{_data(value, limit)}">{text}</button>'


def _head(report: RunReport) -> Iterator[str]:
    run = report.run
    yield f"<header><p>{'Stop' if run.action == 'stop' else 'Start'} run {_data(run.id)}</p>"
    yield f"<h1>{_data(run.plan)}</h1></header>"
    yield f'<div class="verdict {verdict_tone(report)}"><p>{_data(verdict(report), 1000)}</p>'
    if how := how_stopped(report.totals):
        yield f"<p>{_data(how, 1000)}</p>"
    yield "</div>\n<dl>"
    node = f" (ZStack {run.node_version})" if run.node_version else ""
    for key, value in (
        ("Reference", run.reference),
        ("Node", run.endpoint + node),
        ("Started by", run.started_by),
        ("From", run.started_at),
        ("To", run.finished_at or "not finished"),
        ("Window", window_line(run.window).removeprefix("Window ") if run.window is not None else None),
        ("Resumed", ", ".join(run.resumed_at)),
        ("Follows run", run.parent_run),
        ("Exit code", None if run.exit_code is None else str(run.exit_code)),
        ("Plan digest", run.plan_digest),
        ("Written by", f"orchestrator {run.tool_version}"),
    ):
        if value:
            yield f"<dt>{key}</dt><dd>{_data(value, 500)}</dd>"
    yield "</dl>"


def _totals(report: RunReport) -> Iterator[str]:
    rows = breakdown(report.totals, report.run.action)
    if rows:
        yield f"<h2>Totals <small>{counted(report.totals.get('targets', 0), 'target')}</small></h2>"
        yield '<div class="totals">'
        for count, word, sentence in rows:
            badge = f'<span class="tag {tone(word)}">{_data(word.replace("_", " "))}</span>'
            number = _show("outcome", word, f"<b>{count}</b>{badge}", NAME_COLUMNS)
            yield f'<div class="total">{number}<p>{_data(sentence, 300)}</p></div>'
        yield "</div>"


def _notes(report: RunReport, facts: Facts | None) -> Iterator[str]:
    run = report.run
    yield from _list("What ended it early", map(stop_line, run.stops))
    yield from _list("Warnings", run.warnings)
    yield from _list("Worth knowing", facts.notes() if facts is not None else ())


def _causes(report: RunReport) -> Iterator[str]:
    causes = sorted(report.causes, key=lambda cause: -cause.count)
    rows = (
        f'<tr><td class="number">{_show("cause", cause.cause, str(cause.count), CAUSE_COLUMNS)}</td><td class="words">'
        f"<code>{_data(cause.cause, 1000)}</code></td><td>{_data(_some(cause.hosts), 1000)}</td></tr>"
        for cause in causes
    )
    yield from _table("Causes", "equal chains of errors", ("VMs", "Cause", "Hosts"), rows, len(causes))


def _hosts(report: RunReport) -> Iterator[str]:
    if report.run.action != "stop":
        return
    hosts, names = by_standing(report.hosts), HostNames(report.hosts)
    if not hosts:
        return
    columns = ("Host", "Standing", "Still there after the run", "Its targets")
    yield f"<h2>Hosts <small>{_data(hosts_sentence(hosts), 300)}</small></h2>"
    empty = [host for host in hosts if standing(host) is Standing.EMPTY]
    others = hosts[: len(hosts) - len(empty)]
    yield from _rows(columns, (_host(host, names) for host in others), len(others))
    if empty:
        folded = "" if len(empty) <= _FEW else "<details><summary>" + counted(len(empty), "empty host") + "</summary>"
        yield folded
        yield from _rows(columns, (_host(host, names) for host in empty), len(empty))
        yield "</details>" if folded else ""


def _host(host: HostRecord, names: HostNames) -> str:
    name = _show("host", names.shown(host.uuid), _data(host.name or host.uuid), NAME_COLUMNS)
    name += f'<small class="id">{_data(host.uuid)}</small>' if host.name else ""
    stand = standing(host)
    badge = f'<span class="tag {_STANDING_TONES[stand]}">{stand}</span>'
    if stand is not Standing.EMPTY:
        badge += f"<small>{_data(standing_phrase(host), 300)}</small>"
    left = host.left_on_host or ()
    items = [f"<li>{_data(left_phrase(vm), 200)}</li>" for vm in left[:10]]
    if len(left) > 10:
        items.append(f"<li>and {len(left) - 10} more</li>")
    there = f"<ul>{''.join(items)}</ul>" if items else ""
    totals = _data(totals_phrase(host.totals).replace("_", " "), 400)
    cells = (("name", name), ("name", badge), ("wide", there), ("words", totals))
    return "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in cells) + "</tr>"


def _waves(report: RunReport) -> Iterator[str]:
    if len(report.waves) < 2:
        return
    rows = (
        f"<tr><td>{_data(wave.name)}</td><td>{_data(wave.started_at)}</td><td>{_data(wave.finished_at)}</td>"
        f'<td class="words">{_data(totals_phrase(wave.totals).replace("_", " "), 400)}</td></tr>'
        for wave in report.waves
    )
    yield from _table("Waves", "", ("Wave", "From", "To", "Outcomes"), rows, len(report.waves))


def _plan(report: RunReport) -> Iterator[str]:
    run = report.run
    yield from _list("Selectors", (f"{item.where}: {counted(item.matched)}" for item in run.selectors))
    yield from _list("Excluded by the plan", (f"{item.name or item.uuid}: {item.selector}" for item in run.excluded))
    if run.plan_text:
        text = "\n".join(html.escape(visible(line)) for line in run.plan_text.splitlines())
        yield f"<h2>Plan</h2>\n<details><summary>As it was written</summary>\n<pre>{text}</pre></details>"


def _table(title: str, aside: str, columns: tuple[str, ...], rows: Iterable[str], total: int) -> Iterator[str]:
    if total:
        yield f"<h2>{title}" + (f" <small>{_data(aside, 300)}</small>" if aside else "") + "</h2>"
        yield from _rows(columns, rows, total)


def _rows(columns: tuple[str, ...], rows: Iterable[str], total: int) -> Iterator[str]:
    if not total:
        return
    yield '<div class="scroll"><table><thead><tr>' + "".join(f"<th>{column}</th>" for column in columns)
    yield "</tr></thead><tbody>"
    yield from islice(rows, LONGEST_LIST)
    yield "</tbody></table></div>"
    if total > LONGEST_LIST:
        yield f'<p class="more">and {total - LONGEST_LIST} more</p>'


def _list(title: str, lines: Iterable[str]) -> Iterator[str]:
    items = list(lines)
    if items:
        yield f"<h2>{title}</h2>\n<ul>"
        yield from (f"<li>{_data(line, 500)}</li>" for line in items[:LONGEST_LIST])
        if len(items) > LONGEST_LIST:
            yield f"<li>and {len(items) - LONGEST_LIST} more</li>"
        yield "</ul>"


def _some(words: tuple[str, ...]) -> str:
    more = f", and {len(words) - 20} more" if len(words) > 20 else ""
    return ", ".join(clip(word, 80) for word in words[:20]) + more


def _data(text: str | None, limit: int = 120) -> str:
    return html.escape(clip(text, limit)) if text else ""
