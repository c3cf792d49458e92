"""The report as one page that opens anywhere: nothing fetched, no script but our own, everything from outside escaped.

What decides stands in the page's own text. The script adds the timeline and the table of VMs, from data in the page.
"""

import base64
import hashlib
import html
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import TextIO

from orchestrator.model.counts import counted
from orchestrator.model.report import RunReport
from orchestrator.model.safe import clip, visible
from orchestrator.reports.facts import Facts, gather
from orchestrator.reports.html_data import CAUSE_COLUMNS, NAME_COLUMNS, PageData
from orchestrator.reports.html_hosts import hosts_part
from orchestrator.reports.html_parts import bullets, data, show, some, table
from orchestrator.reports.onward import onward
from orchestrator.reports.verdict import verdict, verdict_tone
from orchestrator.reports.wording import (
    action_words,
    breakdown,
    deed_of,
    evacuates,
    how_stopped,
    selected_noun,
    stop_line,
    tone,
    totals_phrase,
    window_line,
)


class HtmlReport:
    """Self-contained HTML that is read in a browser and on paper."""

    format = "html"
    extension = "html"

    def render(self, report: RunReport, out: TextIO) -> None:
        """What to know first comes first; the table of VMs comes last and is streamed."""
        facts = gather(report)
        out.write(_opening(title_of(report), _policy(page_script())) + '<div id="top">\n')
        out.writelines(f"{line}\n" for line in top(report, facts))
        out.write("</div>\n")
        for part in (_TIMELINE, _VMS, _CHECKLIST):
            out.writelines(f"{line}\n" for line in part)
        out.writelines(f"{line}\n" for line in _plan(report))
        out.write(f'{_CLOSING}<script type="application/json" id="data">')
        out.writelines(PageData(report).pieces())
        out.write(f"</script>\n<script>{page_script()}</script>\n</body>\n</html>\n")


def live_page() -> tuple[str, str]:
    """The same page without a word of any run, whose script asks the server for it; and its policy, as a header."""
    script = page_script() + resource("live.js")
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
    yield from hosts_part(report)
    yield from _waves(report)


def _opening(title: str, policy: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{data(title, 400)}</title>\n<style>{resource('page.css')}</style>\n</head>\n<body>\n<main>\n"
    )


_CLOSING = '</main>\n<dialog id="vm" aria-labelledby="vm-name"></dialog>\n'


@cache
def resource(name: str) -> str:
    """A file of the page."""
    return files("orchestrator.reports").joinpath(name).read_text("utf-8")


_SCRIPT = ("rows.js", "table.js", "dialog.js", "timeline.js", "drawing.js", "page.js")
"""In this order; they share one scope, and what stands in it is seen by nothing else on the page."""


@cache
def page_script() -> str:
    """What the page does by itself, of a finished run: the data stands in it."""
    parts = "\n".join(resource(name) for name in _SCRIPT)
    begin = 'if (document.getElementById("data")) page.begin(JSON.parse(document.getElementById("data").textContent));'
    return f'"use strict";\nconst page = (() => {{\n{parts}\nreturn {{ begin, update }};\n}})();\n\n{begin}\n'


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


def _head(report: RunReport) -> Iterator[str]:
    run = report.run
    what = "Evacuation" if evacuates(run) else "Stop" if run.action == "stop" else "Start"
    yield f"<header><p>{what} run {data(run.id)}</p>"
    yield f"<h1>{data(run.plan)}</h1></header>"
    yield f'<div class="verdict {verdict_tone(report)}"><p>{data(verdict(report), 1000)}</p>'
    if how := how_stopped(report.totals):
        yield f"<p>{data(how, 1000)}</p>"
    if text := onward(report):
        yield f"<p>{data(text, 500)}</p>"
    yield "</div>\n<dl>"
    node = f" (ZStack {run.node_version})" if run.node_version else ""
    for key, value in (
        ("Reference", run.reference),
        ("To do", action_words(run) if evacuates(run) else None),
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
            yield f"<dt>{key}</dt><dd>{data(value, 500)}</dd>"
    yield "</dl>"


def _totals(report: RunReport) -> Iterator[str]:
    rows = breakdown(report.totals, deed_of(report.run))
    if rows:
        yield f"<h2>Totals <small>{counted(report.totals.get('targets', 0), 'target')}</small></h2>"
        yield '<div class="totals">'
        for count, word, sentence in rows:
            badge = f'<span class="tag {tone(word)}">{data(word.replace("_", " "))}</span>'
            number = show("outcome", word, f"<b>{count}</b>{badge}", NAME_COLUMNS)
            yield f'<div class="total">{number}<p>{data(sentence, 300)}</p></div>'
        yield "</div>"


def _notes(report: RunReport, facts: Facts | None) -> Iterator[str]:
    run = report.run
    yield from bullets("What ended it early", map(stop_line, run.stops))
    yield from bullets("Warnings", run.warnings)
    yield from bullets("Worth knowing", facts.notes() if facts is not None else ())


def _causes(report: RunReport) -> Iterator[str]:
    causes = sorted(report.causes, key=lambda cause: -cause.count)
    rows = (
        f'<tr><td class="number">{show("cause", cause.cause, str(cause.count), CAUSE_COLUMNS)}</td><td class="words">'
        f"<code>{data(cause.cause, 1000)}</code></td><td>{data(some(cause.hosts), 1000)}</td></tr>"
        for cause in causes
    )
    yield from table("Causes", "equal chains of errors", ("VMs", "Cause", "Hosts"), rows, len(causes))


def _waves(report: RunReport) -> Iterator[str]:
    if len(report.waves) < 2:
        return
    rows = (
        f"<tr><td>{data(wave.name)}</td><td>{data(wave.started_at)}</td><td>{data(wave.finished_at)}</td>"
        f'<td class="words">{data(totals_phrase(wave.totals).replace("_", " "), 400)}</td></tr>'
        for wave in report.waves
    )
    yield from table("Waves", "", ("Wave", "From", "To", "Outcomes"), rows, len(report.waves))


def _plan(report: RunReport) -> Iterator[str]:
    run = report.run
    yield from bullets("Selectors", (f"{item.where}: {counted(item.matched, selected_noun(run))}" for item in run.selectors))
    yield from bullets("Excluded by the plan", (f"{item.name or item.uuid}: {item.selector}" for item in run.excluded))
    if run.plan_text:
        text = "\n".join(html.escape(visible(line)) for line in run.plan_text.splitlines())
        yield f"<h2>Plan</h2>\n<details><summary>As it was written</summary>\n<pre>{text}</pre></details>"
