"""The words the node has for the state of a VM or a host, sorted by what they mean for a verb (zstack-rest.md 4.1 and 9,
`outcomes.md`).
"""

from enum import StrEnum


class Verb(StrEnum):
    """What is done to a VM, or to a host."""

    STOP = "stop"
    START = "start"
    MIGRATE = "migrate"
    DISABLE = "disable"
    MAINTAIN = "maintain"
    ENABLE = "enable"


OF_HOSTS = frozenset({Verb.DISABLE, Verb.MAINTAIN, Verb.ENABLE})
"""What is done to hosts; all else is done to VMs."""


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
        "PreMaintenance",
    }
)
"""States that pass by themselves; nothing is sent while a VM is in one."""

LEFT_ALONE_STATES = frozenset({"Created", "Destroyed", "Expunging"})
"""Found in one of these when the plan is resolved, a VM is skipped: there is nothing to stop."""


GOALS = {
    Verb.STOP: "Stopped",
    Verb.START: "Running",
    Verb.DISABLE: "Disabled",
    Verb.MAINTAIN: "Maintenance",
    Verb.ENABLE: "Enabled",
}
"""The state that a verb is for. A migration is for another host, whatever the state."""
MIDS = {
    Verb.STOP: "Stopping",
    Verb.START: "Starting",
    Verb.MIGRATE: "Migrating",
    Verb.MAINTAIN: "PreMaintenance",
}
"""The state while the node carries a verb out; for others there is none."""


def end_of(state: str | None, verb: Verb = Verb.STOP, *, moved: bool = False) -> End:
    """Class of a state; None means that it could not be read. Words nobody listed are neither goal nor on the way.

    `moved`: it is on a host that it was to go to, or may be on; what a migration is for.
    """
    if state is None or state in DARK_STATES:
        return End.DARK
    if state == MIDS.get(verb):
        return End.MID
    if state == GOALS.get(verb) or (verb is Verb.MIGRATE and moved):
        return End.GOAL
    if state in GONE_STATES:
        return End.GONE
    return End.ELSE
