"""What a report says in words: the same sentences in every format that a person reads."""

from orchestrator.model.outcome import HostOutcome, Outcome
from orchestrator.model.report import RunRecord, StopRecord, VmRecord, WindowRecord
from orchestrator.model.safe import visible

_DONE = frozenset(
    {Outcome.STOPPED_CLEAN, Outcome.ALREADY_STOPPED, Outcome.STARTED, Outcome.ALREADY_RUNNING, Outcome.MIGRATED}
)
SIMPLE = _DONE | {Outcome.SKIPPED}
"""Outcomes that nobody has to look at."""

_REASONS = {
    "unknown_uuid": "the node does not know the UUID",
    "destroyed_during_run": "it was destroyed during the run",
    "appliance": "it is an appliance, and the plan leaves appliances alone",
    "state": "its state does not allow it",
    "still_stopping": "still stopping when it was read last",
    "still_starting": "still starting when it was read last",
    "still_migrating": "still migrating when it was read last",
    "no_candidate": "no other host can take it",
    "elsewhere": "it is on a host that is not emptied",
    "protected": "it is protected",
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
    "host": "its host could not be made ready",
    "ha": "HA most likely started it again",
}


_DONE_WORDS = {"stop": "stopped", "start": "started", "migrate": "migrated", "migrate_then_stop": "migrated or stopped"}


def selected_noun(run: RunRecord) -> str:
    """What the selectors of the targets match."""
    return "VM" if run.evacuate is None else "host"


def evacuates(run: RunRecord) -> bool:
    """Was the run to empty hosts?"""
    return run.evacuate is not None and run.action == "stop"


def deed_of(run: RunRecord) -> str:
    """What a run was to do with its VMs: `stop`, `start`, `migrate` or `migrate_then_stop`."""
    return run.evacuate.vms if run.evacuate is not None and run.action == "stop" else run.action


def done_words(deed: str) -> str:
    """What its VMs are afterwards: `stopped`, `migrated or stopped`."""
    return _DONE_WORDS.get(deed, deed)


_HOSTS_AFTER = {"disable": "are disabled", "maintain": "are put into maintenance", "leave": "are left as they are"}


def action_words(run: RunRecord) -> str:
    """`stop`, `start`, or `empty hosts (migrate then stop VMs; the hosts are put into maintenance)`."""
    if run.evacuate is None or not evacuates(run):
        return run.action
    return f"empty hosts ({run.evacuate.vms.replace('_', ' ')} VMs; the hosts {_HOSTS_AFTER[run.evacuate.hosts]})"


_IN_OTHER_WORDS = {
    "start": {
        Outcome.FAILED: "Not started; it was last read in a state that is not Running.",
        Outcome.UNKNOWN: "A start was sent and nobody can say whether it runs.",
    },
    "migrate": {
        Outcome.FAILED: "Not migrated; it was last read on the host that is emptied.",
        Outcome.UNKNOWN: "A migration was sent and nobody can say what became of it.",
        Outcome.CAME_BACK: "It was migrated, and is on a host that is emptied again.",
    },
    "migrate_then_stop": {
        Outcome.FAILED: "Neither migrated nor stopped; it was last read in a state that is not Stopped.",
        Outcome.UNKNOWN: "Something was sent and nobody can say whether it still runs on the host that is emptied.",
        Outcome.CAME_BACK: "It was stopped and runs again, or was migrated and is on a host that is emptied again.",
    },
}


def outcome_sentence(word: str, deed: str = "stop") -> str:
    """What an outcome means where that was to be done; a word that nobody listed stands for itself."""
    try:
        outcome = Outcome(word)
        return _IN_OTHER_WORDS.get(deed, {}).get(outcome, outcome.sentence)
    except ValueError:
        return visible(word.replace("_", " ").capitalize()) + "."


def reason_phrase(reason: str | None) -> str:
    """Why, without a capital and a full stop; empty without a reason."""
    return _REASONS.get(reason, reason) if reason else ""


def without_outcome(totals: dict[str, int]) -> int:
    """How many targets have no outcome (yet)."""
    given = sum(count for word, count in totals.items() if word != "targets")
    return max(totals.get("targets", 0) - given, 0)


def breakdown(totals: dict[str, int], deed: str = "stop") -> list[tuple[int, str, str]]:
    """Every outcome that occurs, as count, word and sentence, in the order of the totals."""
    counts = [(count, word) for word, count in totals.items() if word != "targets" and count]
    found = [(count, visible(word), outcome_sentence(word, deed)) for count, word in counts]
    if missing := without_outcome(totals):
        found.append((missing, "(none)", "No outcome in this report; nothing is claimed about it."))
    return found


def simply_done(vm: VmRecord) -> bool:
    """It is where the run was to bring it, and nobody lost its power for it."""
    return vm.outcome in _DONE


def needs_attention(vm: VmRecord) -> bool:
    """Not simply stopped or left alone."""
    return vm.outcome not in SIMPLE


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
    """How an outcome is coloured where there is colour: `good`, `moved`, `warn`, `bad`, or empty."""
    match word:
        case "stopped_clean" | "already_stopped" | "started" | "already_running":
            return "good"
        case "migrated":
            return "moved"
        case "stopped_forced" | "stopped_cold" | "not_reached":
            return "warn"
        case "failed" | "unknown" | "came_back" | "not_found":
            return "bad"
        case _:
            return ""


def host_tone(outcome: HostOutcome | None) -> str:
    """The same of what was done to a host."""
    match outcome:
        case HostOutcome.DONE | HostOutcome.ALREADY:
            return "good"
        case HostOutcome.FAILED | HostOutcome.UNKNOWN | HostOutcome.NOT_EMPTY | HostOutcome.CAME_BACK:
            return "bad"
        case HostOutcome.NOT_REACHED:
            return "warn"
        case _:
            return ""
