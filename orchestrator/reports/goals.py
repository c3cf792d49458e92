"""Which hosts are as the run was to leave them, and what is wrong with the others."""

from collections.abc import Iterable
from enum import StrEnum

from orchestrator.model.counts import are, counted
from orchestrator.model.hostwords import host_state, host_words
from orchestrator.model.outcome import HOST_GOOD, HostOutcome
from orchestrator.model.report import HostActionRecord, HostRecord, RunRecord, RunReport
from orchestrator.model.safe import clip
from orchestrator.reports.explain import cause_of, words_of
from orchestrator.reports.hosts import HostNames, Standing, by_standing, standing, standing_phrase
from orchestrator.reports.wording import evacuates

_NAMED = 3
"""Hosts that the verdict names."""


class Goal(StrEnum):
    """How a host stands against what the run was to do with it, worst first."""

    MISSED = "missed"
    PENDING = "pending"
    LEFT = "left alone"
    REACHED = "reached"


def subjects(report: RunReport) -> list[HostRecord]:
    """Hosts that the run was to change: all of those that it was to empty, else those to which something was done."""
    return [host for host in report.hosts if host.actions or evacuates(report.run)]


def settled(run: RunRecord) -> bool:
    """Did it come to its end? Before that its hosts have not been read again, and a count is what was last seen."""
    return run.status in ("finished", "stopped_early")


def goal(host: HostRecord, run: RunRecord) -> Goal:
    """A host that was emptied has reached its goal only where nothing speaks against its being empty, too."""
    if missed(host):
        return Goal.MISSED
    if HostOutcome.LEFT in _outcomes(host):
        return Goal.LEFT
    if not settled(run):
        return Goal.REACHED if _all_done(host, run) else Goal.PENDING
    empty = not evacuates(run) or standing(host) is Standing.EMPTY
    return Goal.REACHED if empty and _all_done(host, run) else Goal.MISSED


def missed(host: HostRecord) -> list[HostActionRecord]:
    """What was to be done to it and was not."""
    return [action for action in host.actions if action.outcome is not None and action.outcome not in HOST_GOOD]


def _outcomes(host: HostRecord) -> list[HostOutcome | None]:
    return [action.outcome for action in host.actions]


def _all_done(host: HostRecord, run: RunRecord) -> bool:
    last = run.evacuate.hosts if run.evacuate is not None and evacuates(run) else None
    if last == "leave":
        return settled(run)  # for whether it is empty is known at the end alone
    there = last is None or any(action.action == last for action in host.actions)
    return there and None not in _outcomes(host)


def shortfall(host: HostRecord) -> str:
    """What is wrong with a host that has not reached its goal, shortly; raw text."""
    parts = []
    left = standing_phrase(host) if host.left_on_host else ""
    for action in missed(host):
        if action.outcome is not HostOutcome.NOT_EMPTY or not left:
            cause = cause_of(action.error)
            parts.append(host_words(action.action, action.outcome) + (f": {cause}" if cause else ""))
    if left:
        parts.append(left)
    elif standing(host) is not Standing.EMPTY and not parts:
        parts.append(standing_phrase(host))
    return ", ".join(parts) or "it was not all done"


def action_line(action: HostActionRecord) -> str:
    """`maintain failed: HOST.1001: ...`: one thing that was to be done to a host and what became of it; raw text."""
    outcome = "under way" if action.outcome is None else str(action.outcome).replace("_", " ")
    why = action_why(action)
    told = action.outcome not in {HostOutcome.DONE, HostOutcome.ALREADY}
    words = outcome if action.outcome is HostOutcome.NOT_EMPTY else f"{action.action} {outcome}"
    return words + (f": {why}" if why and told else "")


def action_why(action: HostActionRecord) -> str:
    """The error, else the evidence, else what the outcome means; raw text."""
    if action.error is not None:
        return ": ".join(filter(None, (cause_of(action.error), words_of(action.error))))
    return action.evidence or (action.outcome.sentence if action.outcome is not None else "")


def host_line(host: HostRecord, report: RunReport) -> str:
    """Whether it is empty, where that is known, and what was done to it; raw text."""
    stand = [standing_phrase(host)] if standings_known(report) else []
    # What is left on it is said by its standing, and listed.
    told = [action for action in host.actions if not (action.action == "empty" and host.left_on_host)]
    return "; ".join([*stand, *map(action_line, told)])


def standings_known(report: RunReport) -> bool:
    """Does the report say what is left on its hosts? Of a run that empties them it lists them before that can be known."""
    return report.run.action == "stop" and (settled(report.run) or not evacuates(report.run))


def notable(report: RunReport) -> list[HostRecord]:
    """Hosts that somebody has to look at, the worst first: not empty, or not as the run was to leave them. While it goes on
    also those with which it has begun.
    """
    known, run = standings_known(report), report.run
    meant = {host.uuid for host in subjects(report)}

    def fine(host: HostRecord) -> bool:
        stand = goal(host, run) if host.uuid in meant else None
        if stand in {Goal.MISSED, Goal.LEFT} or (stand is Goal.PENDING and host.actions):
            return False
        return not known or standing(host) is Standing.EMPTY

    return [host for host in by_goal(report.hosts, run) if not fine(host)]


def by_goal(hosts: Iterable[HostRecord], run: RunRecord) -> list[HostRecord]:
    """The hosts that need somebody first, in their own order otherwise."""
    order = list(Goal)
    return sorted(by_standing(hosts), key=lambda host: order.index(goal(host, run)))


def goals_sentence(report: RunReport) -> str:
    """`3 of 4 hosts are empty and in maintenance; 1 is not: rack-12-host-02 (2 VMs left).` Empty where no host is meant."""
    run, hosts = report.run, subjects(report)
    ended = settled(run)
    if not hosts or (not ended and evacuates(run) and run.evacuate is not None and run.evacuate.hosts == "leave"):
        return ""
    by: dict[Goal, list[HostRecord]] = {word: [] for word in Goal}
    for host in hosts:
        by[goal(host, run)].append(host)
    reached = len(by[Goal.REACHED])
    one = reached == 1 or len(hosts) == 1
    be = are(int(one)) if ended else f"{'was' if one else 'were'}, when last read,"
    if reached == len(hosts):
        which = "The only host" if reached == 1 else f"All {reached} hosts"
        return f"{which} {be} {_state(run, reached)}."
    parts = [f"{reached} of {counted(len(hosts), 'host')} {be} {_state(run, reached)}"]
    if wrong := by[Goal.MISSED]:
        parts.append(f"{len(wrong)} {are(len(wrong))} not: {_named(wrong, HostNames.of(report))}")
    if left := len(by[Goal.LEFT]):
        parts.append(f"{left} {'was' if left == 1 else 'were'} left alone")
    if pending := len(by[Goal.PENDING]):
        parts.append(f"{pending} {'has' if pending == 1 else 'have'} no outcome")
    return "; ".join(parts) + "."


def _state(run: RunRecord, count: int) -> str:
    if run.evacuate is None or not evacuates(run):
        return "back as it was" if count == 1 else "back as they were"
    after = "" if run.evacuate.hosts == "leave" else host_state(run.evacuate.hosts)
    return " and ".join(filter(None, ("empty" if settled(run) else "", after)))


def _named(hosts: list[HostRecord], names: HostNames) -> str:
    shown = [f"{clip(names.shown(host.uuid), 40)} ({clip(shortfall(host), 120)})" for host in hosts[:_NAMED]]
    if more := len(hosts) - len(shown):
        shown.append(f"and {more} more")
    return ", ".join(shown)
