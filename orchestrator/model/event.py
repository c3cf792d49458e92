"""What happens in a run, as one stream: journal, log, progress and pages all listen to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is a name of `EVENTS`; `at` is RFC 3339 in UTC; `vm_uuid` None for the run itself."""

    kind: str
    at: str
    vm_uuid: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of event says, and its fields; one whose value is null may be left out of a log line. Names are stable."""

    sentence: str
    fields: tuple[str, ...] = ()
    warning: bool = False
    logged: bool = True


_BEGUN = (
    "plan", "targets", "to_stop", "to_start", "to_migrate", "evacuate", "hosts", "host_actions", "waves", "closes",
    "requests_per_second", "in_flight",
)  # fmt: skip
_LIMITS = ("requests_per_second", "in_flight")

EVENTS: Mapping[str, Kind] = {
    "run.started": Kind(
        "A run begins: what is to be done by wave, when its window closes, its limits; `hosts` are to be emptied, their VMs "
        "as `evacuate` says, and `host_actions` by host are what is known already of what is done to hosts.",
        _BEGUN,
    ),
    "run.resumed": Kind("Another process carries a run on; `under_way` had been sent already.", (*_BEGUN, "under_way")),
    "run.hosts": Kind("What hosts are called, by their UUIDs (not in the log).", ("names",), logged=False),
    "run.forecast": Kind(
        "When it is expected to be over, and what that rests on.", ("low", "likely", "high", "seconds", "rests_on")
    ),
    "run.paused": Kind("Nothing more is started until somebody lets it go on.", ("by", "in_flight", "hosts_under_way")),
    "run.continued": Kind("After a pause.", ("by", "in_flight", "hosts_under_way")),
    "run.halted": Kind(
        "Nothing more is sent, for this `reason`; `jobs` go on at the node.", ("reason", "jobs", "by"), warning=True
    ),
    "run.verifying": Kind("So many VMs are read again, in so many seconds.", ("vms", "in_seconds")),
    "run.verification_failed": Kind("So many VMs could not be read again.", ("vms",), warning=True),
    "run.finished": Kind("The run is over.", ("status", "exit_code")),
    "run.reported": Kind("Its reports are written (in the journal alone)."),
    "host.sent": Kind("A call that changes a host's state leaves.", ("host", "name", "action", "job_uuid", "until")),
    "host.outcome": Kind(
        "What became of a host's change of state, or why it is not sent.",
        ("host", "name", "action", "outcome", "evidence", "cause"),
    ),
    "vms.found": Kind(
        "VMs have turned up on hosts that are emptied: they have their turn too, by wave; `spared` must not be touched.",
        ("vms", "waves", "hosts", "names", "spared"),
    ),
    "wave.opened": Kind("The VMs of a wave have their turn from now on.", ("wave",)),
    "wave.finished": Kind("All VMs of a wave have an outcome.", ("wave",)),
    "budget.crossed": Kind(
        "A failure budget is crossed, and `vms` are not reached for it.",
        ("kind", "scope", "count", "limit", "vms"),
        warning=True,
    ),
    "window.crossed": Kind("The forecast has crossed the window's close.", ("closes", "end", "likely"), warning=True),
    "window.fits": Kind("The forecast is back within the window.", ("closes", "end", "likely")),
    "window.closed": Kind("No VM is begun with any more.", ("not_reached", "in_flight"), warning=True),
    "window.ended": Kind("The window has ended with VMs in flight.", ("in_flight", "migrating", "at_end"), warning=True),
    "node.away": Kind("The node does not answer, or takes no query; nothing is sent.", ("detail",), warning=True),
    "node.back": Kind("It answers again.", ("detail",)),
    "brake.lowered": Kind(
        "The node falls behind: less is asked, and fewer VMs are in flight.", (*_LIMITS, "why"), warning=True
    ),
    "brake.raised": Kind("A step back towards the plan's limits.", _LIMITS),
    "brake.released": Kind("The plan's limits are back.", _LIMITS),
    "vm.started": Kind(
        "A VM has its turn, and is expected to take so long (`assumed`: nobody has measured that); the rest is of one that "
        "another process has begun with.",
        (
            "name",
            "host",
            "host_name",
            "wave",
            "usual_seconds",
            "assumed",
            "since",
            "type",
            "sent_at",
            "power_cut_at",
            "until",
            "then",
        ),
    ),
    "vm.sending": Kind("A call is durable in the journal and waits for its turn at the node.", ("type", "job_uuid")),
    "vm.sent": Kind(
        "It leaves. By itself: the node cuts the power, we wait `until`, and then a cold stop or nothing.",
        ("type", "job_uuid", "power_cut_at", "until", "then"),
    ),
    "vm.outcome": Kind(
        "A VM has an outcome; one that is judged again has another later.",
        ("name", "host", "wave", "outcome", "reason", "evidence", "cause"),
    ),
}
