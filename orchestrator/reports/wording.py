"""What a report says in words: the same sentences in every format that a person reads."""

from orchestrator.model.outcome import STOPPED, Outcome
from orchestrator.model.report import RunReport, StopRecord, VmRecord, WindowRecord
from orchestrator.model.safe import visible

_DONE = frozenset({Outcome.STOPPED_CLEAN, Outcome.ALREADY_STOPPED, Outcome.STARTED, Outcome.ALREADY_RUNNING})
SIMPLE = _DONE | {Outcome.SKIPPED}
"""Outcomes that nobody has to look at."""

_REASONS = {
    "unknown_uuid": "the node does not know the UUID",
    "destroyed_during_run": "it was destroyed during the run",
    "appliance": "it is an appliance, and the plan leaves appliances alone",
    "state": "its state",
    "still_stopping": "still stopping when it was read last",
    "still_starting": "still starting when it was read last",
    "touched": "somebody has had it since it was stopped",
    "state_unknown": "the node itself does not know its state",
    "unreadable": "its state could not be read",
    "fallback_withheld": "no cold stop was sent, because the run had been asked to end",
    "budget": "the failure budget was crossed",
    "host_budget": "the failure budget of its host was crossed",
    "ramp": "a ramp step before it had too many failures",
    "wave": "a wave before it had too many failures",
    "window": "the time window ended",
    "operator": "an operator ended the run or took it out",
    "node": "the node was away or refused the login",
    "journal": "the journal could not be written",
    "ha": "HA most likely started it again",
}

_ENDED_BY = {
    "budget": "the failure budget was crossed",
    "ramp": "a ramp step had too many failures",
    "window": "the time window ended",
    "operator": "an operator ended it",
    "node": "the node was away or refused the login",
    "journal": "the journal could not be written",
}


def counted(count: int, noun: str = "VM") -> str:
    """`1 VM`, `2 VMs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_OF_A_START = {
    Outcome.FAILED: "Not started; it was last read in a state that is not Running.",
    Outcome.UNKNOWN: "A start was sent and nobody can say whether it runs.",
}


def outcome_sentence(word: str, action: str = "stop") -> str:
    """What an outcome means in a run of that action; a word that nobody listed stands for itself."""
    try:
        outcome = Outcome(word)
        return _OF_A_START.get(outcome, outcome.sentence) if action == "start" else outcome.sentence
    except ValueError:
        return visible(word.replace("_", " ").capitalize()) + "."


def reason_phrase(reason: str | None) -> str:
    """Why, without a capital and a full stop; empty without a reason."""
    return _REASONS.get(reason, reason) if reason else ""


def without_outcome(totals: dict[str, int]) -> int:
    """How many targets have no outcome (yet)."""
    given = sum(count for word, count in totals.items() if word != "targets")
    return max(totals.get("targets", 0) - given, 0)


def breakdown(totals: dict[str, int], action: str = "stop") -> list[tuple[int, str, str]]:
    """Every outcome that occurs, as count, word and sentence, in the order of the totals."""
    counts = [(count, word) for word, count in totals.items() if word != "targets" and count]
    found = [(count, visible(word), outcome_sentence(word, action)) for count, word in counts]
    if missing := without_outcome(totals):
        found.append((missing, "(none)", "No outcome in this report; nothing is claimed about it."))
    return found


def simply_done(vm: VmRecord) -> bool:
    """It is where the run was to bring it, and nobody lost its power for it."""
    return vm.outcome in _DONE


def needs_attention(vm: VmRecord) -> bool:
    """Not simply stopped or left alone."""
    return vm.outcome not in SIMPLE


def verdict(report: RunReport) -> str:
    """How it ended, first of all, and how many of the targets stand where they should."""
    totals, run = report.totals, report.run
    targets = totals.get("targets", 0)
    match run.status:
        case "refused":
            sent = f"nothing was sent to any of {counted(targets)}" if targets else "nothing was sent"
            return f"Refused before the first change: {sent}."
        case "running":
            lead = _unfinished(report)
        case "interrupted":
            resume = f"`orchestrator resume {visible(run.id)}`"
            lead = f"Interrupted; jobs may go on at the node, and {resume} carries on. "
        case "stopped_early":
            why = _ENDED_BY[run.ended_by] if run.ended_by else "some VMs never had their turn"
            lead = f"Stopped early: {why}. "
        case "finished":
            lead = ""
    # Only a run that came to its end has read the fleet again; before that a count is what was last seen.
    settled = run.status in ("finished", "stopped_early")
    return lead + _standing(report, settled=settled)


def _unfinished(report: RunReport) -> str:
    worker = report.worker
    if worker is not None:
        name = f"{visible(worker.who)}, process {worker.pid},"
        return f"This run is not finished: {name} works on it (last sign {worker.silent_seconds:.0f} s ago). "
    return f"This run is not finished, and nobody works on it: `orchestrator resume {visible(report.run.id)}` carries on. "


def _standing(report: RunReport, *, settled: bool) -> str:
    totals = report.totals
    targets = totals.get("targets", 0)
    if targets == 0:
        return "No VM was a target."
    if report.run.action == "start":
        done, state = totals.get("started", 0) + totals.get("already_running", 0), "running"
    else:
        done, state = sum(totals.get(word, 0) for word in STOPPED | {Outcome.ALREADY_STOPPED}), "stopped"
    are = "are" if settled else "were, when last read,"
    if done == targets:
        return (
            f"The only VM {'is' if settled else 'was, when last read,'} {state}."
            if targets == 1
            else (f"All {targets} VMs {are} {state}.")
        )
    others = "; ".join(_others(totals))
    return f"{done} of {counted(targets)} {are} {state}" + (f"; {others}." if others else ".")


def _others(totals: dict[str, int]) -> list[str]:
    phrases = (
        ("failed", "{n} failed", "{n} failed"),
        ("unknown", "{n} is unknown and may still run", "{n} are unknown and may still run"),
        ("came_back", "{n} came back and runs again", "{n} came back and run again"),
        ("not_found", "{n} was not found", "{n} were not found"),
        ("not_reached", "{n} never had its turn", "{n} never had their turn"),
        ("skipped", "{n} was left alone", "{n} were left alone"),
        ("", "{n} has no outcome", "{n} have no outcome"),
    )
    counts = {**totals, "": without_outcome(totals)}
    return [(one if counts[word] == 1 else many).format(n=counts[word]) for word, one, many in phrases if counts.get(word)]


def how_stopped(totals: dict[str, int]) -> str:
    """How those that are stopped got there, inferences worded as such; empty when none is."""
    phrases = (
        ("stopped_clean", "most likely shut down by the guest"),
        ("stopped_forced", "most likely with the power cut"),
        ("stopped_cold", "with the power cut by a cold stop"),
        ("already_stopped", "not by this run"),
    )
    parts = [f"{totals[word]} {phrase}" for word, phrase in phrases if totals.get(word)]
    return f"Of the stopped: {', '.join(parts)}." if parts else ""


def totals_phrase(totals: dict[str, int]) -> str:
    """The outcomes of one wave or host, counted."""
    return ", ".join(f"{count} {word}" for count, word, _ in breakdown(totals)) or "no targets"


def stop_line(stop: StopRecord) -> str:
    """One thing that ended the run or a host early."""
    text = f"{stop.at}: {stop.kind.replace('_', ' ')}, {stop.scope}"
    if stop.count is not None:
        text += f", count {stop.count}" + (f", limit {stop.limit}" if stop.limit is not None else "")
    return visible(text)


def window_line(window: WindowRecord) -> str:
    """The window that the run kept to."""
    start = f"from {window.start} " if window.start is not None else ""
    reserve = f", its last {window.reserve_seconds:g} s reserved" if window.reserve_seconds else ""
    return f"Window {start}to {window.end}{reserve}, at its end {window.at_end}"


def tone(word: str) -> str:
    """How an outcome is coloured where there is colour: `good`, `warn`, `bad`, or empty."""
    match word:
        case "stopped_clean" | "already_stopped" | "started" | "already_running":
            return "good"
        case "stopped_forced" | "stopped_cold" | "not_reached":
            return "warn"
        case "failed" | "unknown" | "came_back" | "not_found":
            return "bad"
        case _:
            return ""


def verdict_tone(report: RunReport) -> str:
    """`good` only for a run that came to its end with every target where it should be."""
    tones = {tone(word) for word, count in report.totals.items() if count}
    if "bad" in tones or report.run.status in ("refused", "interrupted"):
        return "bad"
    if report.run.status != "finished" or without_outcome(report.totals) or report.totals.get("not_reached"):
        return "warn"
    return "good"
