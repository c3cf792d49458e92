"""Metrics of a run as a file in Prometheus' text format, as a node exporter's textfile collector picks it up."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from orchestrator.model.event import Event
from orchestrator.model.outcome import HostOutcome, Outcome
from orchestrator.model.report import HostAction
from orchestrator.observe.picture import Picture, moment

_EVERY_SECONDS = 5.0
_FIRST, _LAST = frozenset({"run.started", "run.resumed"}), "run.finished"


class Metrics:
    """A listener that keeps counts and writes the whole file anew, at most every 5 s and at a run's beginning and end.

    `write` is given the text; what it raises goes to the caller.
    """

    def __init__(self, write: Callable[[str], None], run_id: str) -> None:
        self._write = write
        self._run = run_id
        self._picture = Picture()
        self._requests_per_second = self._in_flight = 0.0
        self._lowered = 0
        self._at = self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self._picture(event)
        if event.kind in _FIRST or event.kind.startswith("brake."):
            self._requests_per_second = event.data["requests_per_second"]
            self._in_flight = event.data["in_flight"]
            self._lowered += event.kind == "brake.lowered"
        self._at = moment(event.at)
        if event.kind in _FIRST or event.kind == _LAST or abs(self._at - self._last) >= _EVERY_SECONDS:
            self._last = self._at
            self._write(self.text())

    def text(self) -> str:
        """The file's text now."""
        values, counts, lines = self._values(), self._picture.outcomes, list[str]()
        for name, kind, text in METRICS:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            if name == _HOSTS:
                lines += self._hosts()
            elif name == _VMS:
                lines += [f'{name}{{run="{self._run}",outcome="{word}"}} {counts[word]}' for word in Outcome]
            else:
                lines.append(f'{name}{{run="{self._run}"}} {values[name.removeprefix(_PREFIX)]:.15g}')
        return "\n".join(lines) + "\n"

    def _hosts(self) -> list[str]:
        counts, run = self._picture.host_counts(), self._run
        return [
            f'{_HOSTS}{{run="{run}",action="{action}",outcome="{word}"}} {counts[action][word] if action in counts else 0}'
            for action in get_args(HostAction)
            for word in HostOutcome
        ]

    def _values(self) -> dict[str, float]:
        picture = self._picture
        return {
            "targets": picture.targets,
            "hosts_to_empty": picture.hosts_to_empty,
            "in_flight": len(picture.flights),
            "finished": picture.finished,
            "node_away": picture.away,
            "paused": picture.paused,
            "limit_requests_per_second": self._requests_per_second,
            "limit_in_flight": self._in_flight,
            "brake_lowered_total": self._lowered,
            "last_event_timestamp_seconds": self._at,
        }


_PREFIX, _VMS, _HOSTS = "orchestrator_run_", "orchestrator_run_vms", "orchestrator_run_hosts"
METRICS = (
    ("orchestrator_run_targets", "gauge", "VMs of the run."),
    ("orchestrator_run_in_flight", "gauge", "VMs that have had their turn and no outcome yet."),
    (_VMS, "gauge", "VMs by the outcome that they have."),
    ("orchestrator_run_hosts_to_empty", "gauge", "Hosts that the run is to empty."),
    (_HOSTS, "gauge", "Hosts by what was done to them (`action`) and the outcome that it has."),
    ("orchestrator_run_finished", "gauge", "1 once the run is over."),
    ("orchestrator_run_node_away", "gauge", "1 while the node takes no query."),
    ("orchestrator_run_paused", "gauge", "1 while an operator pauses the run."),
    (
        "orchestrator_run_limit_requests_per_second",
        "gauge",
        "Requests a second that are allowed now: the plan's, or the brake's.",
    ),
    ("orchestrator_run_limit_in_flight", "gauge", "VMs in flight that are allowed now: the plan's, or the brake's."),
    ("orchestrator_run_brake_lowered_total", "counter", "How often the brake has lowered the limits."),
    ("orchestrator_run_last_event_timestamp_seconds", "gauge", "When the last event happened, seconds since 1970."),
)
"""Name, type and meaning; the names follow Prometheus' conventions."""


def to_file(path: Path) -> Callable[[str], None]:
    """Whole or not at all: who reads never sees half of it. Raises OSError as it is written."""
    half = path.with_name(f"{path.name}.{os.getpid()}.part")

    def write(text: str) -> None:
        half.write_text(text, "utf-8")
        half.replace(path)

    return write
