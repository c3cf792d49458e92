"""The report for a build server: JUnit XML, one test case a VM, and one for each host that the run was to change."""

from datetime import datetime
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

from orchestrator.model.outcome import Outcome
from orchestrator.model.report import HostRecord, RunReport, VmRecord
from orchestrator.model.safe import clip, visible
from orchestrator.reports.explain import attempts_text, cause_of, explanation, seconds_text
from orchestrator.reports.goals import action_line, missed, shortfall
from orchestrator.reports.hosts import HostNames
from orchestrator.reports.verdict import verdict
from orchestrator.reports.wording import deed_of, how_stopped, outcome_sentence, reason_phrase, stop_line, without_outcome

FAILURES = (Outcome.FAILED, Outcome.UNKNOWN, Outcome.CAME_BACK, Outcome.NOT_FOUND)
"""What makes a test case fail."""

SKIPS = (Outcome.SKIPPED, Outcome.NOT_REACHED)
"""What makes a test case skipped; so does having no outcome yet."""

_HOSTS = "hosts"
"""The class name of hosts' own test cases."""


class JunitReport:
    """One suite in the plan's order, so that it streams; the class name is the host: servers group by it."""

    format = "junit"
    extension = "xml"

    def render(self, report: RunReport, out: TextIO) -> None:
        """The counts come from the totals, for they stand before the first case."""
        run, totals, names = report.run, report.totals, HostNames.of(report)
        hosts = [host for host in report.hosts if host.actions]
        failures = sum(totals.get(outcome, 0) for outcome in FAILURES) + sum(bool(missed(host)) for host in hosts)
        skipped = sum(totals.get(outcome, 0) for outcome in SKIPS) + without_outcome(totals) + sum(map(_unfinished, hosts))
        counts = (
            f'tests="{totals.get("targets", 0) + len(hosts)}" failures="{failures}" errors="0" skipped="{skipped}"'
            f' time="{_duration(run.started_at, run.finished_at)}"'
        )
        name = _attribute(run.plan)
        out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
        out.write(f"<testsuites name={name} {counts}>\n")
        out.write(f"<testsuite name={name} {counts} timestamp={_attribute(run.started_at)}>\n<properties>\n")
        for key, value in (
            ("run", run.id),
            ("status", run.status),
            ("action", run.action),
            ("endpoint", run.endpoint),
            ("reference", run.reference or ""),
            ("exit_code", "" if run.exit_code is None else str(run.exit_code)),
        ):
            out.write(f'<property name="{key}" value={_attribute(value)}/>\n')
        out.write("</properties>\n")
        for host in hosts:
            _host_case(host, out)
        for vm in report.vms():
            _case(vm, names, deed_of(run), out)
        words = [verdict(report), how_stopped(totals), *map(stop_line, run.stops), *run.warnings]
        out.write("<system-out>" + "\n".join(escape(visible(line)) for line in words if line))
        out.write("</system-out>\n</testsuite>\n</testsuites>\n")


def _unfinished(host: HostRecord) -> bool:
    return not missed(host) and any(action.outcome is None for action in host.actions)


def _host_case(host: HostRecord, out: TextIO) -> None:
    title = f"{clip(host.name, 200)} [{visible(host.uuid)}]" if host.name else visible(host.uuid)
    times = [moment for action in host.actions for moment in (action.started_at, action.finished_at) if moment is not None]
    seconds = _duration(min(times), max(times)) if times else "0"
    out.write(f'<testcase classname="{_HOSTS}" name={quoteattr(title)} time="{seconds}"')
    if wrong := missed(host):
        out.write(f">\n<failure message={_attribute(shortfall(host))} type={_attribute(str(wrong[0].outcome))}>")
        out.write("\n".join(escape(visible(action_line(action))) for action in host.actions))
        out.write("</failure>\n</testcase>\n")
    elif _unfinished(host):
        out.write('>\n<skipped message="unfinished: no outcome yet"/>\n</testcase>\n')
    else:
        out.write("/>\n")


def _case(vm: VmRecord, names: HostNames, deed: str, out: TextIO) -> None:
    title = f"{clip(vm.name, 200)} [{visible(vm.uuid)}]" if vm.name else visible(vm.uuid)
    seconds = seconds_text(vm.elapsed_seconds) or "0"
    out.write(f'<testcase classname={_attribute(names.shown(vm.host_uuid))} name={quoteattr(title)} time="{seconds}"')
    if vm.outcome in FAILURES:
        message = cause_of(vm.error) or reason_phrase(vm.reason) or vm.outcome
        out.write(f">\n<failure message={_attribute(message)} type={_attribute(vm.outcome)}>")
        out.write("\n".join(escape(visible(line)) for line in _story(vm, deed)))
        out.write("</failure>\n</testcase>\n")
    elif vm.outcome in SKIPS or vm.outcome is None:
        message = "no outcome yet" if vm.outcome is None else reason_phrase(vm.reason)
        word = vm.outcome or "unfinished"
        out.write(f">\n<skipped message={_attribute(f'{word}: {message}' if message else word)}/>\n</testcase>\n")
    else:
        out.write("/>\n")


def _story(vm: VmRecord, deed: str) -> list[str]:
    lines = [outcome_sentence(vm.outcome or "", deed), explanation(vm)]
    if vm.evidence:
        lines.append(f"Evidence: {vm.evidence.text}")
    lines.append(f"State before: {vm.state_before or 'not read'}; last: {vm.state or 'not read'}")
    if vm.attempts:
        lines.append(f"Sent: {attempts_text(vm.attempts)}")
    return [line for line in dict.fromkeys(lines) if line]


def _attribute(text: str) -> str:
    return quoteattr(visible(text))


def _duration(start: str, end: str | None) -> str:
    try:
        seconds = (datetime.fromisoformat(end or "") - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return "0"
    return f"{max(seconds, 0):.1f}"
