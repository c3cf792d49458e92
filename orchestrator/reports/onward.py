"""What can be done after a run that has ended, as the commands that do it."""

from orchestrator.model.counts import are, counted
from orchestrator.model.outcome import RETRIED, STOPPED, HostOutcome
from orchestrator.model.report import RunReport
from orchestrator.model.safe import visible
from orchestrator.reports.goals import Goal, goal, settled, subjects


def onward(report: RunReport) -> str:
    """A sentence; empty where nothing is left to be done, or where the verdict says how a run is carried on."""
    run = report.run
    if not settled(run):
        return ""
    stops, first = run.action == "stop", report.first or run.id
    hosts = [host for host in subjects(report) if host.state is not None]  # of one that is gone nothing can be taken up
    left = any(report.totals.get(word, 0) for word in RETRIED) or any(goal(host, run) is Goal.MISSED for host in hosts)
    parts = []
    if left:
        again = f"retry {visible(run.id)}" if stops else f"restore {visible(run.parent_run or first)}"
        ended = " (after the window's end with --window-end TIME)" if stops and run.window is not None else ""
        kept = [vm for host in hosts for vm in host.left_on_host or () if vm.why == "protected"]
        moved = f", once {counted(len(kept))} that {are(len(kept))} protected {are(len(kept))} off the hosts" if kept else ""
        parts.append(f"'orchestrator {again}' takes up what is left{ended}{moved}")
    undone = ["starts what was stopped"] if any(report.totals.get(word, 0) for word in STOPPED) else []
    if any(action.outcome is HostOutcome.DONE and action.action != "empty" for host in hosts for action in host.actions):
        undone.insert(0, "opens the hosts again")
    if stops and undone:  # a retry is undone together with the run that it takes up
        parts.append(f"'orchestrator restore {visible(first)}' {' and '.join(undone)}")
    return f"Next: {'; '.join(parts)}." if parts else ""
