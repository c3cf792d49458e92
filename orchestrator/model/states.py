"""The words the node has for a VM's state, sorted by what they mean for a verb (zstack-rest.md 4.1, `outcomes.md`)."""

from enum import StrEnum


class Verb(StrEnum):
    """What a run does to its VMs."""

    STOP = "stop"
    START = "start"


class End(StrEnum):
    """What a state means when it is read at the end: `outcomes.md` calls the goal of a stop `off`, and all else `up`."""

    GOAL = "goal"
    MID = "mid"
    GONE = "gone"
    DARK = "dark"
    ELSE = "else"


GONE_STATES = frozenset({"Destroying", "Destroyed", "Expunging"})
DARK_STATES = frozenset({"Unknown", "NoState"})
TRANSITIONAL_STATES = frozenset(
    {
        "Starting",
        "Stopping",
        "Rebooting",
        "Migrating",
        "VolumeMigrating",
        "VolumeRecovering",
        "Pausing",
        "Resuming",
    }
)
"""States that pass by themselves; nothing is sent while a VM is in one."""

LEFT_ALONE_STATES = frozenset({"Created", "Destroyed", "Expunging"})
"""Found in one of these when the plan is resolved, a VM is skipped: there is nothing to stop."""


GOALS = {Verb.STOP: "Stopped", Verb.START: "Running"}
"""The state that a verb is for."""
MIDS = {Verb.STOP: "Stopping", Verb.START: "Starting"}
"""The state that a VM is in while the node carries a verb out."""


def end_of(state: str | None, verb: Verb = Verb.STOP) -> End:
    """Class of a state; None means that it could not be read. Words nobody listed are neither goal nor on the way."""
    if state is None or state in DARK_STATES:
        return End.DARK
    if state == GOALS[verb]:
        return End.GOAL
    if state == MIDS[verb]:
        return End.MID
    if state in GONE_STATES:
        return End.GONE
    return End.ELSE
