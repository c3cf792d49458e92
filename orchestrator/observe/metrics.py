"""Metrics of a run as a file in Prometheus' text format, as a node exporter's textfile collector picks it up."""

import os
from collections.abc import Callable
from pathlib import Path

from orchestrator.model.event import Event
from orchestrator.model.outcome import Outcome
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
        lines = []
        for name, value in self._values().items():
            kind = "counter" if name.endswith("_total") else "gauge"
            full = f"orchestrator_run_{name}"
            lines += [f"# HELP {full} {_HELP[name]}", f"# TYPE {full} {kind}", f'{full}{{run="{self._run}"}} {value:.15g}']
        full = "orchestrator_run_vms"
        lines += [f"# HELP {full} VMs by the outcome that they have.", f"# TYPE {full} gauge"]
        counts = self._picture.outcomes
        lines += [f'{full}{{run="{self._run}",outcome="{word}"}} {counts[word]}' for word in Outcome]
        return "\n".join(lines) + "\n"

    def _values(self) -> dict[str, float]:
        picture = self._picture
        return {
            "targets": picture.targets,
            "in_flight": len(picture.flights),
            "finished": picture.finished,
            "node_away": picture.away,
            "paused": picture.paused,
            "limit_requests_per_second": self._requests_per_second,
            "limit_in_flight": self._in_flight,
            "brake_lowered_total": self._lowered,
            "last_event_timestamp_seconds": self._at,
        }


_HELP = {
    "targets": "VMs of the run.",
    "in_flight": "VMs that have had their turn and no outcome yet.",
    "finished": "1 once the run is over.",
    "node_away": "1 while the node takes no query.",
    "paused": "1 while an operator pauses the run.",
    "limit_requests_per_second": "Requests a second that are allowed now: the plan's, or the brake's.",
    "limit_in_flight": "VMs in flight that are allowed now: the plan's, or the brake's.",
    "brake_lowered_total": "How often the brake has lowered the limits.",
    "last_event_timestamp_seconds": "When the last event happened, since 1970.",
}


def to_file(path: Path) -> Callable[[str], None]:
    """Whole or not at all: who reads never sees half of it. Raises OSError as it is written."""
    half = path.with_name(f"{path.name}.{os.getpid()}.part")

    def write(text: str) -> None:
        half.write_text(text, "utf-8")
        half.replace(path)

    return write
