"""The long parts of the HTML report, streamed VM by VM: the checklist and the table."""

import html
from collections.abc import Iterator
from itertools import islice

from orchestrator.model.report import RunReport, VmRecord
from orchestrator.model.safe import clip
from orchestrator.reports.explain import attempts_text, cause_of, seconds_text, words_of
from orchestrator.reports.hosts import HostNames
from orchestrator.reports.wording import SIMPLE, counted, needs_attention, reason_phrase, tone

FULL_TABLE = 5000
"""Up to this many targets every VM has a row; above it only those that are not simply stopped."""

LONGEST_TABLE = 20_000
"""A browser stays usable up to about here; what is left out is counted."""

LONGEST_CHECKLIST = 5000


def checklist(report: RunReport, total: int) -> Iterator[str]:
    """The VMs to look at once they run again, with boxes to tick on the screen or on paper."""
    if not total:
        return
    names = HostNames(report.hosts)
    when = "Check after start" if report.run.action == "stop" else "Check now that they run"
    yield f"<h2>{when} <small>{counted(total)} whose power was or may have been cut</small></h2>"
    yield '<ul class="check">'
    marked = (vm for vm in report.vms() if vm.check_after_start)
    for vm in islice(marked, LONGEST_CHECKLIST):
        outcome = (vm.outcome or "no outcome").replace("_", " ")
        yield (
            f'<li><label><input type="checkbox">{_data(vm.name or vm.uuid)}'
            f"<small>{_data(names.shown(vm.host_uuid))}, {outcome}</small></label></li>"
        )
    yield "</ul>"
    if total > LONGEST_CHECKLIST:
        more = total - LONGEST_CHECKLIST
        yield f'<p class="more">and {more} more, marked in report.csv and report.json</p>'


def vm_tables(report: RunReport) -> Iterator[str]:
    """One row a VM: those that are not simply stopped first, then, in a small run, the others."""
    targets = report.totals.get("targets", 0)
    simple = sum(report.totals.get(word, 0) for word in SIMPLE)
    marked = (vm for vm in report.vms() if needs_attention(vm))
    done = "stopped" if report.run.action == "stop" else "started"
    yield from _table(f"VMs that are not simply {done}", marked, targets - simple, report)
    if targets <= FULL_TABLE:
        others = (vm for vm in report.vms() if not needs_attention(vm))
        yield from _table("All other VMs" if targets > simple else "All VMs", others, simple, report)
    elif simple:
        yield f'<p class="more">The other {counted(simple)} are in report.csv and report.json.</p>'


def _table(title: str, vms: Iterator[VmRecord], total: int, report: RunReport) -> Iterator[str]:
    if not total:
        return
    yield f"<h2>{title} <small>{total} of {report.totals.get('targets', 0)}</small></h2>"
    names, waves = HostNames(report.hosts), len(report.waves) > 1
    columns = ("VM", "Outcome", "Host", "State", "Evidence", "Sent", "Error")
    yield '<div class="scroll"><table><thead><tr>' + "".join(f"<th>{column}</th>" for column in columns)
    yield "</tr></thead><tbody>"
    for vm in islice(vms, LONGEST_TABLE):
        yield _row(vm, names, waves=waves)
    yield "</tbody></table></div>"
    if total > LONGEST_TABLE:
        yield f'<p class="more">and {total - LONGEST_TABLE} more, in report.csv and report.json</p>'


def _row(vm: VmRecord, names: HostNames, *, waves: bool) -> str:
    cells = (
        (' class="name"', _name(vm)),
        ("", _outcome(vm)),
        (' class="name"', _both(names.shown(vm.host_uuid), f"wave {vm.wave}" if waves and vm.wave else "")),
        ("", f"{_data(vm.state_before or 'not read')} \u2192 {_data(vm.state or 'not read')}"),
        (' class="words"' if vm.evidence else "", _evidence(vm)),
        ("", _both(attempts_text(vm.attempts), _elapsed(vm))),
        (' class="words"' if vm.error is not None else "", _error(vm)),
    )
    return "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in cells) + "</tr>"


def _name(vm: VmRecord) -> str:
    return _data(vm.name or vm.uuid) + (f'<small class="id">{_data(vm.uuid)}</small>' if vm.name else "")


def _outcome(vm: VmRecord) -> str:
    word = vm.outcome or "(none)"
    badge = f'<span class="tag {tone(word)}">{word.replace("_", " ")}</span>'
    details = [
        reason_phrase(vm.reason),
        "late" if vm.late else "",
        "check after start" if vm.check_after_start else "",
    ]
    return badge + "".join(f"<small>{_data(text)}</small>" for text in details if text)


def _evidence(vm: VmRecord) -> str:
    if vm.evidence is None:
        return ""
    seconds = seconds_text(vm.evidence.seconds)
    return _both(vm.evidence.text, f"{seconds} s, by the {vm.evidence.basis}" if seconds else "", 400)


def _elapsed(vm: VmRecord) -> str:
    seconds = seconds_text(vm.elapsed_seconds)
    return f"{seconds} s in all" if seconds else ""


def _error(vm: VmRecord) -> str:
    if vm.error is None:
        return ""
    words = words_of(vm.error)
    return f"<code>{_data(cause_of(vm.error), 500)}</code>" + (f"<small>{_data(words, 600)}</small>" if words else "")


def _both(text: str, small: str, limit: int = 120) -> str:
    return _data(text, limit) + (f"<small>{_data(small)}</small>" if small else "")


def _data(text: str, limit: int = 120) -> str:
    return html.escape(clip(text, limit))
