"""The hosts in the HTML report: whether each is empty, what was done to it, and what is left on it."""

from collections.abc import Iterator

from orchestrator.model.counts import counted
from orchestrator.model.report import HostActionRecord, HostRecord, RunReport
from orchestrator.reports.explain import attempts_text
from orchestrator.reports.goals import Goal, action_why, by_goal, goal, standings_known, subjects
from orchestrator.reports.hosts import HostNames, Standing, hosts_sentence, left_phrase, standing, standing_phrase
from orchestrator.reports.html_data import NAME_COLUMNS
from orchestrator.reports.html_parts import data, rows_of, show
from orchestrator.reports.wording import host_tone, totals_phrase

_FEW = 12
"""More hosts than this on which nobody has to do anything are folded away."""

_STANDING_TONES = {
    Standing.OCCUPIED: "bad",
    Standing.DOUBTFUL: "warn",
    Standing.UNREAD: "warn",
    Standing.EMPTY: "good",
}


def hosts_part(report: RunReport) -> Iterator[str]:
    """The section; nothing of a run that neither emptied hosts nor changed any."""
    known, acted = standings_known(report), any(host.actions for host in report.hosts)
    hosts = [host for host in by_goal(report.hosts, report.run) if known or host.actions]
    if not hosts:
        return
    names, meant = HostNames.of(report), {host.uuid for host in subjects(report)}
    columns = (
        "Host",
        *["Standing"] * known,
        *["Done to the host"] * acted,
        *["Still there after the run"] * known,
        "Its targets",
    )
    yield f"<h2>Hosts <small>{data(hosts_sentence(hosts), 300) if known else ''}</small></h2>"

    def fine(host: HostRecord) -> bool:
        good = host.uuid not in meant or goal(host, report.run) is Goal.REACHED
        return good and (not known or standing(host) is Standing.EMPTY)

    others, well = [host for host in hosts if not fine(host)], [host for host in hosts if fine(host)]
    yield from rows_of(columns, (_host(host, names, acted=acted, known=known) for host in others), len(others))
    if well:
        what = "empty host" if known else "host"
        folded = "" if len(well) <= _FEW else f'<details data-fold="hosts"><summary>{counted(len(well), what)}</summary>'
        yield folded
        yield from rows_of(columns, (_host(host, names, acted=acted, known=known) for host in well), len(well))
        yield "</details>" if folded else ""


def _host(host: HostRecord, names: HostNames, *, acted: bool, known: bool) -> str:
    name = show("host", names.shown(host.uuid), data(host.name or host.uuid), NAME_COLUMNS)
    name += f'<small class="id">{data(host.uuid)}</small>' if host.name else ""
    totals = data(totals_phrase(host.totals).replace("_", " "), 400)
    cells = [("name", name)]
    if known:
        cells.append(("name", _standing(host)))
    if acted:
        cells.append(("deeds", "".join(_deed(host, number, action) for number, action in enumerate(host.actions))))
    if known:
        cells.append(("words" if acted else "wide", _left(host)))
    cells.append(("words", totals))
    return "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in cells) + "</tr>"


def _standing(host: HostRecord) -> str:
    stand = standing(host)
    badge = f'<span class="tag {_STANDING_TONES[stand]}">{stand}</span>'
    return badge if stand is Standing.EMPTY else f"{badge}<small>{data(standing_phrase(host), 300)}</small>"


def _left(host: HostRecord) -> str:
    left = host.left_on_host or ()
    items = [f"<li>{data(left_phrase(vm), 200)}</li>" for vm in left[:10]]
    if len(left) > 10:
        items.append(f"<li>and {len(left) - 10} more</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _deed(host: HostRecord, number: int, action: HostActionRecord) -> str:
    """One thing that was to be done to it; a click shows the rest, also where scripts are not allowed."""
    outcome = "under way" if action.outcome is None else action.outcome.replace("_", " ")
    when, why = _clock(action.finished_at or action.started_at), action_why(action)
    wrong = action.outcome is not None and host_tone(action.outcome) != "good"
    badge = f'<span class="tag {host_tone(action.outcome)}">{data(action.action)}: {outcome}</span>'
    summary = f"<summary>{badge} {when}{f'<small>{data(why, 200)}</small>' if wrong else ''}</summary>"
    lines = (
        action.outcome.sentence if action.outcome is not None else "",
        "" if wrong and len(why) < 200 else why,
        action.evidence if action.error is not None else "",
        _states(action),
        f"From {_clock(action.started_at)} to {_clock(action.finished_at) or 'now'}" if action.started_at else "",
        f"Sent: {attempts_text(action.attempts)}" if action.attempts else "",
    )
    more = "".join(f"<small>{data(line, 400)}</small>" for line in dict.fromkeys(lines) if line)
    return f'<details class="deed" data-fold="{data(host.uuid)} {number}">{summary}{more}</details>'


def _states(action: HostActionRecord) -> str:
    """Of what changes none there is nothing to say."""
    known = action.state_before or action.state
    return f"State {action.state_before or 'not read'} \u2192 {action.state or 'not read'}" if known else ""


def _clock(moment: str | None) -> str:
    return f"{data(moment[11:19])}Z" if moment else ""
