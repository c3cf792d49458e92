"""The words the node has for a VM's state, sorted by what they mean for a stop (zstack-rest.md 4.1, `outcomes.md`)."""

from enum import StrEnum


class End(StrEnum):
    """What a state means when it is read at the end."""

    OFF = "off"
    MID = "mid"
    GONE = "gone"
    DARK = "dark"
    UP = "up"


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


def end_of(state: str | None) -> End:
    """Class of a state; None means that it could not be read. Words nobody listed count as running."""
    if state is None or state in DARK_STATES:
        return End.DARK
    if state == "Stopped":
        return End.OFF
    if state == "Stopping":
        return End.MID
    if state in GONE_STATES:
        return End.GONE
    return End.UP
