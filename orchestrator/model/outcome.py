"""The one answer each target gets, and the closed lists of words in it (`interface.md` 5)."""

from enum import StrEnum


class Outcome(StrEnum):
    """Exactly one for every target; the sentence beneath each is what a report says of it."""

    STARTED = "started"
    ALREADY_RUNNING = "already_running"
    MIGRATED = "migrated"
    ALREADY_STOPPED = "already_stopped"
    STOPPED_CLEAN = "stopped_clean"
    STOPPED_FORCED = "stopped_forced"
    STOPPED_COLD = "stopped_cold"
    CAME_BACK = "came_back"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    NOT_FOUND = "not_found"
    NOT_REACHED = "not_reached"

    @property
    def sentence(self) -> str:
        """What the outcome means, for a person."""
        return _SENTENCES[self]


_SENTENCES = {
    Outcome.STARTED: "Started by this run.",
    Outcome.ALREADY_RUNNING: "It ran already; this run did not start it.",
    Outcome.MIGRATED: "Moved by this run to a host that is not emptied; it was not stopped.",
    Outcome.ALREADY_STOPPED: "Stopped, but not by this run.",
    Outcome.STOPPED_CLEAN: "Stopped; it ended well before the node cuts the power, so the guest most likely shut down.",
    Outcome.STOPPED_FORCED: "Stopped, but so late, or from such a state, that the power was most likely cut.",
    Outcome.STOPPED_COLD: "Stopped by a cold stop: the power was cut.",
    Outcome.CAME_BACK: "It was stopped and runs again.",
    Outcome.FAILED: "Not stopped; it was last read running or in a state that is not Stopped.",
    Outcome.UNKNOWN: "Something was sent and nobody can say whether it runs.",
    Outcome.SKIPPED: "Left alone, because of the plan, its state or a person; its reason says which.",
    Outcome.NOT_FOUND: "The node does not know it, or it was destroyed during the run.",
    Outcome.NOT_REACHED: "Its turn never came; nothing was sent.",
}

STOPPED = frozenset({Outcome.STOPPED_CLEAN, Outcome.STOPPED_FORCED, Outcome.STOPPED_COLD})
"""Stopped by this run."""

BAD = frozenset({Outcome.FAILED, Outcome.UNKNOWN, Outcome.CAME_BACK, Outcome.NOT_FOUND})
"""Outcomes with a cause that a report groups them by; they make the exit code 1."""

RETRIED = frozenset({Outcome.FAILED, Outcome.UNKNOWN, Outcome.CAME_BACK, Outcome.NOT_REACHED})
"""What a retry takes up, and nothing else."""

GOOD = STOPPED | {
    Outcome.ALREADY_STOPPED,
    Outcome.SKIPPED,
    Outcome.STARTED,
    Outcome.ALREADY_RUNNING,
    Outcome.MIGRATED,
}
"""Outcomes that leave exit code 0."""


class Reason(StrEnum):
    """Why an outcome is what it is, where the outcome alone does not say."""

    UNKNOWN_UUID = "unknown_uuid"
    DESTROYED_DURING_RUN = "destroyed_during_run"
    APPLIANCE = "appliance"
    STATE = "state"
    STILL_STOPPING = "still_stopping"
    STILL_STARTING = "still_starting"
    STILL_MIGRATING = "still_migrating"
    NO_CANDIDATE = "no_candidate"
    ELSEWHERE = "elsewhere"
    PROTECTED = "protected"
    TOUCHED = "touched"
    STATE_UNKNOWN = "state_unknown"
    UNREADABLE = "unreadable"
    FALLBACK_WITHHELD = "fallback_withheld"
    BUDGET = "budget"
    HOST_BUDGET = "host_budget"
    RAMP = "ramp"
    WAVE = "wave"
    WINDOW = "window"
    OPERATOR = "operator"
    NODE = "node"
    JOURNAL = "journal"
    HOST = "host"
    HA = "ha"


class AttemptType(StrEnum):
    """What was sent: the last three to a host, all others to a VM."""

    GRACE = "grace"
    COLD = "cold"
    START = "start"
    MIGRATE = "migrate"
    DISABLE = "disable"
    MAINTAIN = "maintain"
    ENABLE = "enable"


class AttemptReason(StrEnum):
    """Why it was sent."""

    PLAN = "plan"
    TIMEOUT = "timeout"
    ERROR = "error"
    WINDOW = "window"


class AttemptResult(StrEnum):
    """How it ended: `lost` has no answer at all, `running` none yet."""

    SUCCEEDED = "succeeded"
    NO_OP = "no_op"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    RUNNING = "running"


class HostOutcome(StrEnum):
    """What became of one thing that was to be done to a host."""

    DONE = "done"
    ALREADY = "already"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_EMPTY = "not_empty"
    NOT_REACHED = "not_reached"
    CAME_BACK = "came_back"
    LEFT = "left"

    @property
    def sentence(self) -> str:
        """What it means, for a person."""
        return _HOST_SENTENCES[self]


_HOST_SENTENCES = {
    HostOutcome.DONE: "Done by this run.",
    HostOutcome.ALREADY: "It was so already; nothing was sent.",
    HostOutcome.FAILED: "Not done.",
    HostOutcome.UNKNOWN: "It was sent, and nobody can say what became of it.",
    HostOutcome.NOT_EMPTY: "Not sent: something is left on the host.",
    HostOutcome.NOT_REACHED: "Its turn never came; nothing was sent.",
    HostOutcome.CAME_BACK: "It was done, and somebody has undone it since.",
    HostOutcome.LEFT: "Left alone: somebody has had the host since.",
}

HOST_GOOD = frozenset({HostOutcome.DONE, HostOutcome.ALREADY, HostOutcome.LEFT})
"""Outcomes of a host that leave exit code 0."""
