"""Metrics of a run as a file in Prometheus' text format, as a node exporter's textfile collector picks it up."""

import os
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orchestrator.model.event import Event
from orchestrator.model.outcome import Outcome

_EVERY_SECONDS = 5.0
_FIRST, _LAST = frozenset({"run.started", "run.resumed"}), "run.finished"


class Metrics:
    """A listener that keeps counts and writes the whole file anew, at most every 5 s and at a run's beginning and end.

    `write` is given the text; what it raises goes to the caller.
    """

    def __init__(self, write: Callable[[str], None], run_id: str) -> None:
        self._write = write
        self._run = run_id
        self._values: dict[str, float] = {
            "targets": 0, "in_flight": 0, "finished": 0, "node_away": 0, "paused": 0,
            "limit_requests_per_second": 0, "limit_in_flight": 0, "brake_lowered_total": 0,
            "last_event_timestamp_seconds": 0,
        }  # fmt: skip
        self._in_flight: set[str] = set()
        self._of: dict[str, Outcome] = {}
        self._outcomes: Counter[str] = Counter()
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self._count(event)
        at = datetime.fromisoformat(event.at).timestamp()
        self._values["last_event_timestamp_seconds"] = at
        if event.kind in _FIRST or event.kind == _LAST or abs(at - self._last) >= _EVERY_SECONDS:
            self._last = at
            self._write(self.text())

    def text(self) -> str:
        """The file's text now."""
        self._values["in_flight"] = len(self._in_flight)
        lines = []
        for name, value in self._values.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            full = f"orchestrator_run_{name}"
            lines += [f"# HELP {full} {_HELP[name]}", f"# TYPE {full} {kind}", f'{full}{{run="{self._run}"}} {value:.15g}']
        full = "orchestrator_run_vms"
        lines += [f"# HELP {full} VMs by the outcome that they have.", f"# TYPE {full} gauge"]
        lines += [f'{full}{{run="{self._run}",outcome="{word}"}} {self._outcomes[word]}' for word in Outcome]
        return "\n".join(lines) + "\n"

    def _count(self, event: Event) -> None:
        values, data, uuid = self._values, event.data, str(event.vm_uuid)
        match event.kind:
            case "run.started" | "run.resumed":
                values["targets"] = data["targets"]
                self._limit(event)
            case "brake.lowered":
                values["brake_lowered_total"] += 1
                self._limit(event)
            case "brake.raised" | "brake.released":
                self._limit(event)
            case "node.away" | "node.back":
                values["node_away"] = float(event.kind == "node.away")
            case "run.paused" | "run.continued":
                values["paused"] = float(event.kind == "run.paused")
            case "run.finished":
                values["finished"] = 1
                self._in_flight.clear()
            case "vm.started":
                self._in_flight.add(uuid)
            case "vm.outcome":
                self._in_flight.discard(uuid)
                earlier, word = self._of.get(uuid), Outcome(data["outcome"])
                if earlier is not None:
                    self._outcomes[earlier] -= 1
                self._of[uuid] = word
                self._outcomes[word] += 1

    def _limit(self, event: Event) -> None:
        self._values["limit_requests_per_second"] = event.data["requests_per_second"]
        self._values["limit_in_flight"] = event.data["in_flight"]


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
