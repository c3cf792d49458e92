"""Progress for a person: one plain line for what matters, and a count now and then."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from orchestrator.model.event import Event
from orchestrator.model.outcome import GOOD, Outcome
from orchestrator.model.safe import one_line

_EVERY_SECONDS = 5.0
_ONLY_WAVE = "all"


_AT_END = {
    "finish": "they end by the plan's rules",
    "cold": "they get a cold stop",
    "abandon": "they are read once and left",
}


class Progress:
    """A listener that writes lines. A count comes at most every 5 s; troubles come at once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._targets = 0
        self._counts: Counter[str] = Counter()
        self._of: dict[str, Outcome] = {}  # and no text of its own for each of many thousands
        self._in_flight: set[str] = set()
        self._last = 0.0
        self._carried_on = False
        self._braked: float | None = None
        """Requests a second while the brake is on."""

    def __call__(self, event: Event) -> None:
        """Take one event."""
        data = event.data
        match event.kind:
            case "run.started":
                self._targets = data["targets"]
                verb = "stop" if "to_stop" in data else "start"
                self._write(f"{data['targets']} targets, {data[f'to_{verb}']} to {verb}")
            case "run.resumed":
                left = data["to_stop"] if "to_stop" in data else data["to_start"]
                self._targets, self._carried_on = left, True
                self._write(
                    f"carried on: {data['targets']} targets, {left} of them without an outcome, "
                    f"{data['under_way']} of those sent already"
                )
            case "vm.started":
                self._in_flight.add(str(event.vm_uuid))
            case "vm.outcome":
                self._outcome(event)
            case "node.away":
                self._write(f"the node is away ({one_line(str(data['detail']))}); nothing is sent until it is back")
            case "node.back":
                self._write("the node is back")
            case "run.halted":
                self._write(
                    f"nothing more is sent ({data['reason']}); jobs that go on at the node: {data['jobs']}, "
                    f"watched to their end; Ctrl-C {'again' if data['reason'] == 'operator' else 'twice'} leaves at once"
                )
            case "brake.lowered" if self._braked is None:
                self._braked = data["requests_per_second"]
                limits = f"{self._braked:.3g} requests a second and {data['in_flight']} VMs in flight"
                self._write(f"slower for the node's sake ({one_line(data['why'])}): for now at most {limits}")
            case "brake.lowered" | "brake.raised":
                self._braked = data["requests_per_second"]
            case "brake.released":
                self._braked = None
                self._write("the node answers as usual again: the plan's own limits are back")
            case "wave.opened":
                if data["wave"] != _ONLY_WAVE:
                    self._write(f"wave {one_line(data['wave'])} is open")
            case "budget.crossed":
                count = f"{data['count']}, more than {data['limit']}"
                what = f"{data['kind'].replace('_', ' ')}, {one_line(data['scope'])}: {count}"
                self._write(f"{what}; {data['vms']} VMs are not reached for it")
            case "run.forecast":
                low, likely, high = (f"{data[key][11:19]}Z" for key in ("low", "likely", "high"))
                self._write(f"forecast: over at {likely} ({low} to {high}); it rests on {data['rests_on']}")
            case "window.crossed":
                self._write(f"the forecast has crossed the window: {data['likely']}, and it closes at {data['closes']}")
            case "window.fits":
                self._write(f"the forecast is back within the window, which closes at {data['closes']}")
            case "window.closed":
                left = f"{data['not_reached']} VMs are not reached, {data['in_flight']} in flight"
                self._write(f"the window has closed: {left}")
            case "window.ended":
                self._write(f"the window has ended with {data['in_flight']} VMs in flight: {_AT_END[data['at_end']]}")
            case "run.paused":
                flight = f"{data['in_flight']} in flight go on"
                self._write(f"paused by {one_line(data['by'])}: nothing more is started, {flight}")
            case "run.continued":
                self._write(f"{one_line(data['by'])} lets the run go on")
            case "run.verifying":
                self._count(event, force=True)
                self._write(f"verification of {data['vms']} VM{'s' * (data['vms'] != 1)} in {data['in_seconds']:g} s")
            case "run.verification_failed":
                self._write("verification could not read every VM")
            case _:
                return
        self._count(event, force=False)

    def _outcome(self, event: Event) -> None:
        uuid, outcome = str(event.vm_uuid), Outcome(event.data["outcome"])
        earlier = self._of.get(uuid)
        if earlier is not None:
            self._counts[earlier] -= 1
        if uuid in self._in_flight or earlier is not None or outcome == Outcome.NOT_REACHED or not self._carried_on:
            self._of[uuid] = outcome  # else an earlier process has counted it
            self._counts[outcome] += 1
        self._in_flight.discard(uuid)
        if outcome not in GOOD | {Outcome.NOT_REACHED}:
            name = one_line(str(event.data["name"] or uuid))
            self._write(f"{outcome}: {name}: {one_line(str(event.data['evidence'] or ''))}")

    def _count(self, event: Event, *, force: bool) -> None:
        at = datetime.fromisoformat(event.at).timestamp()
        if not force and at - self._last < _EVERY_SECONDS:
            return
        self._last = at
        done = len(self._of)
        parts = ", ".join(f"{count} {word}" for word, count in sorted(self._counts.items()) if count)
        braked = "" if self._braked is None else f", braked to {self._braked:.3g} requests a second"
        self._write(f"{done}/{self._targets} done, {len(self._in_flight)} in flight{braked}{': ' + parts if parts else ''}")
