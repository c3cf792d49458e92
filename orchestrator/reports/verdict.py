"""The first sentence of a report and its colour: how the run ended, and how many hosts and VMs stand where they should."""

from orchestrator.model.counts import counted
from orchestrator.model.outcome import STOPPED, Outcome
from orchestrator.model.report import RunReport
from orchestrator.model.safe import visible
from orchestrator.reports.goals import Goal, goal, goals_sentence, settled, subjects
from orchestrator.reports.wording import deed_of, done_words, evacuates, host_tone, tone, without_outcome

_ENDED_BY = {
    "budget": "a budget was crossed",
    "ramp": "a ramp step had too many failures",
    "window": "the time window ended",
    "operator": "an operator ended it",
    "node": "the node was away or refused the login",
    "journal": "the journal could not be written",
    "host": "a host could not be made ready",
}


def verdict(report: RunReport) -> str:
    """How it ended, first of all, and how many of the targets stand where they should."""
    totals, run = report.totals, report.run
    targets = totals.get("targets", 0)
    match run.status:
        case "refused":
            whom = " or ".join(counted(n, noun) for n, noun in ((targets, "VM"), (len(subjects(report)), "host")) if n)
            sent = f"nothing was sent to any of {whom}" if whom else "nothing was sent"
            return f"Refused before the first change: {sent}."
        case "running":
            lead = _unfinished(report)
        case "interrupted":
            resume = f"'orchestrator resume {visible(run.id)}'"
            pending = without_outcome(totals) or any(goal(host, run) is Goal.PENDING for host in subjects(report))
            does = "carries on" if pending else "reads everything once more and ends it"
            lead = f"Interrupted; jobs may go on at the node, and {resume} {does}. "
        case "stopped_early":
            why = _ENDED_BY[run.ended_by] if run.ended_by else "some VMs never had their turn"
            lead = f"Stopped early: {why}. "
        case "finished":
            lead = ""
    return lead + " ".join(filter(None, (goals_sentence(report), _standing(report))))


def _unfinished(report: RunReport) -> str:
    worker = report.worker
    if worker is not None:
        name = f"{visible(worker.who)}, process {worker.pid},"
        return f"This run is not finished: {name} works on it (last sign {worker.silent_seconds:.0f} s ago). "
    return f"This run is not finished, and nobody works on it: 'orchestrator resume {visible(report.run.id)}' carries on. "


def _standing(report: RunReport) -> str:
    totals = report.totals
    targets = totals.get("targets", 0)
    if targets == 0:
        return "No VM was a target."
    done, state = _done(report)
    ended = settled(report.run)
    one = done == 1 or targets == 1
    are = ("is" if one else "are") if ended else f"{'was' if one else 'were'}, when last read,"
    if done == targets:
        return f"{'The only VM' if targets == 1 else f'All {targets} VMs'} {are} {state}."
    others = "; ".join(_others(totals, moves=deed_of(report.run).startswith("migrate")))
    return f"{done} of {counted(targets)} {are} {state}" + (f"; {others}." if others else ".")


def _done(report: RunReport) -> tuple[int, str]:
    """How many VMs are where they should be, and what they are there."""
    totals, run = report.totals, report.run
    if run.action == "start":
        return totals.get("started", 0) + totals.get("already_running", 0), "running"
    moved = totals.get("migrated", 0)
    stopped = sum(totals.get(word, 0) for word in STOPPED | {Outcome.ALREADY_STOPPED})
    if moved and stopped:
        return moved + stopped, f"migrated or stopped ({moved} migrated, {stopped} stopped)"
    if moved or stopped or not evacuates(run):
        return moved + stopped, "migrated" if moved else "stopped"
    return 0, done_words(deed_of(run))


def _others(totals: dict[str, int], *, moves: bool) -> list[str]:
    back = ("{n} came back", "{n} came back") if moves else ("{n} came back and runs again", "{n} came back and run again")
    phrases = (
        ("failed", "{n} failed", "{n} failed"),
        ("unknown", "{n} is unknown and may still run", "{n} are unknown and may still run"),
        ("came_back", *back),
        ("not_found", "{n} was not found", "{n} were not found"),
        ("not_reached", "{n} never had its turn", "{n} never had their turn"),
        ("skipped", "{n} was left alone", "{n} were left alone"),
        ("", "{n} has no outcome", "{n} have no outcome"),
    )
    counts = {**totals, "": without_outcome(totals)}
    return [(one if counts[word] == 1 else many).format(n=counts[word]) for word, one, many in phrases if counts.get(word)]


def verdict_tone(report: RunReport) -> str:
    """`good` only for a run that came to its end with every target and every host where it should be."""
    hosts = subjects(report)
    tones = {tone(word) for word, count in report.totals.items() if count}
    tones |= {host_tone(action.outcome) for host in hosts for action in host.actions}
    if "bad" in tones or report.run.status in ("refused", "interrupted"):
        return "bad"
    if report.run.status != "finished" or without_outcome(report.totals) or report.totals.get("not_reached"):
        return "warn"
    if not {goal(host, report.run) for host in hosts} <= {Goal.REACHED, Goal.LEFT}:
        return "warn"
    return "good"
