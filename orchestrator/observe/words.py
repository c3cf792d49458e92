"""What an event, and what is slow, say to a person: one plain line each, everything from outside made safe."""

from collections.abc import Mapping
from typing import Any

from orchestrator.model.counts import are, counted, first_few, go_on
from orchestrator.model.event import Event
from orchestrator.model.hostwords import host_state, host_words
from orchestrator.model.moment import rfc3339
from orchestrator.model.outcome import GOOD, HOST_GOOD, HostOutcome, Outcome
from orchestrator.model.safe import one_line
from orchestrator.observe.picture import Flight, Picture, to_come

_ONLY_WAVE = "all"
_AT_END = {
    "finish": ("ends by the plan's rules", "end by the plan's rules"),
    "cold": ("gets a cold stop", "get a cold stop"),
    "abandon": ("is read once and left", "are read once and left"),
}
"""What becomes of one VM in flight, and of several."""
_STEPS = {
    "power_cut": "the node cuts its power",
    "cold": "a cold stop",
    "stop": "it is given up, and stopped if it still runs",
    "give_up": "it is given up, and read once more",
}
_PHASES = {
    "read": "not sent yet",
    "waiting": "waits to be sent",
    "grace": "shutting down",
    "cold": "cold stop",
    "start": "starting",
    "migrate": "migrating",
}
_MEANT = {"maintain": 0, "empty": 1, "disable": 2}
"""What a count of hosts is about, where several things were done to them: what is done last to one that is emptied."""
_FEW = 3
_BUDGETS = {
    "failures": "failures", "host_budget": "failures on one host", "same_cause": "failures of one cause",
    "power_cuts": "power cuts",
}  # fmt: skip
_DONE = (HostOutcome.DONE, HostOutcome.ALREADY)


def news(event: Event, before: Picture) -> str | None:
    """What is worth a line at once; None for all else. `before`: the picture without this event."""
    data = event.data
    match event.kind:
        case "run.started":
            return f"{counted(data['targets'], 'target')}, {_to_do(data)}{_to_empty(data)}"
        case "run.resumed":
            return (
                f"carried on: {counted(data['targets'], 'target')}, {to_come(data)} of them without an outcome, "
                f"{data['under_way']} of those sent already{_to_empty(data)}"
            )
        case "vm.outcome":
            outcome = Outcome(data["outcome"])
            if outcome in GOOD | {Outcome.NOT_REACHED}:
                return None
            name = one_line(str(data["name"] or event.vm_uuid))
            return f"{outcome}: {name}: {one_line(str(data['evidence'] or ''))}"
        case "host.outcome":
            return _host_news(event)
        case "vms.found":
            waves = ", ".join(f"{one_line(wave)} {count}" for wave, count in data["waves"].items() if wave != _ONLY_WAVE)
            where = first_few((f"host {one_line(before.host_name(host), 60)}" for host in data["hosts"]), _FEW)
            spared, due = data["spared"], data["vms"] - len(data["spared"])
            parts = []
            if due:
                names = first_few((one_line(name, 60) for name in data["names"]), total=due)
                parts.append(f"to have a turn too{f' ({waves})' if waves else ''}: {names}")
            if spared:
                names = first_few(one_line(name, 60) for name in spared)
                parts.append(f"left alone, for {'it is' if len(spared) == 1 else 'they are'} protected: {names}")
            have = "has" if data["vms"] == 1 else "have"
            return f"{counted(data['vms'])} {have} turned up on {where}, {'; '.join(parts)}"
        case "node.away":
            return f"the node is away ({one_line(str(data['detail']))}); nothing is sent until it is back"
        case "node.back":
            return "the node is back"
        case "run.halted":
            return (
                f"nothing more is sent ({data['reason']}); jobs that go on at the node: {data['jobs']}, "
                f"watched to their end; Ctrl-C {'again' if data['reason'] == 'operator' else 'twice'} leaves at once"
            )
        case "brake.lowered" if before.braked is None:
            limits = f"{data['requests_per_second']:.3g} requests a second and {data['in_flight']} VMs in flight"
            return f"slower for the node's sake ({one_line(data['why'])}): for now at most {limits}"
        case "brake.released":
            return "the node answers as usual again: the plan's own limits are back"
        case "wave.opened":
            return None if data["wave"] == _ONLY_WAVE else f"wave {one_line(data['wave'])} is open"
        case "budget.crossed":
            scope = data["scope"]
            if scope.startswith("host "):
                scope = f"host {before.host_name(scope.removeprefix('host '))}"
            kind = _BUDGETS.get(data["kind"], data["kind"].replace("_", " "))
            what = f"a budget is crossed: {data['count']} {kind} ({one_line(scope)}), more than {data['limit']}"
            return what + (f"; {counted(data['vms'])} {are(data['vms'])} not reached for it" if data["vms"] else "")
        case "run.forecast":
            low, likely, high = (clock(data[key]) for key in ("low", "likely", "high"))
            return f"forecast: over at {likely} ({low} to {high}); it rests on {data['rests_on']}"
        case "window.crossed":
            return f"the forecast has crossed the window: {data['likely']}, and it closes at {data['closes']}"
        case "window.fits":
            return f"the forecast is back within the window, which closes at {data['closes']}"
        case "window.closed":
            left = f"{counted(data['not_reached'])} {are(data['not_reached'])} not reached, {data['in_flight']} in flight"
            return f"the window has closed: {left}"
        case "window.ended":
            return f"the window has ended with {counted(data['in_flight'])} in flight: {_in_flight_at_end(data)}"
        case "run.paused":
            flying = go_on(data["in_flight"], data["hosts_under_way"])
            return f"paused by {one_line(data['by'])}: nothing more is started, {flying}"
        case "run.continued":
            return f"{one_line(data['by'])} lets the run go on"
        case "run.verifying":
            return f"verification of {counted(data['vms'])} in {data['in_seconds']:g} s"
        case "run.verification_failed":
            return "verification could not read every VM"
        case _:
            return None


def _in_flight_at_end(data: Mapping[str, Any]) -> str:
    """`they get a cold stop`; `2 get a cold stop, 3 that are being migrated are followed to their end`."""
    count, moving = data["in_flight"], data["migrating"] if data["at_end"] == "cold" else 0
    singular, plural = _AT_END[data["at_end"]]
    if not moving:
        return f"it {singular}" if count == 1 else f"they {plural}"
    followed = (
        f"{moving} that {are(moving)} being migrated {are(moving)} followed to {'its' if moving == 1 else 'their'} end"
    )
    cut = count - moving
    return f"{cut} {singular if cut == 1 else plural}, {followed}" if cut else followed


def _to_empty(data: Mapping[str, Any]) -> str:
    return f"; {counted(data['hosts'], 'host')} to be emptied" if data.get("hosts") else ""


def _to_do(data: Mapping[str, Any]) -> str:
    """`300 to stop`, `30 to migrate, 10 to stop`."""
    start, stop, migrate = (data.get(f"to_{verb}") for verb in ("start", "stop", "migrate"))
    if start is not None:
        hosts = sum(None in actions.values() for actions in (data.get("host_actions") or {}).values())
        return f"{start} to start" + (f"; {counted(hosts, 'host')} to open first" if hosts else "")
    if not migrate:
        return f"{stop} to stop"
    otherwise = " or else to stop" if data.get("evacuate") == "migrate_then_stop" else ""
    return f"{migrate} to migrate{otherwise}" + (f", {stop} to stop" if stop else "")


def _host_news(event: Event) -> str | None:
    data, outcome = event.data, HostOutcome(event.data["outcome"])
    host = f"host {one_line(str(data['name'] or data['host']), 60)}"
    if outcome is HostOutcome.ALREADY:
        return None
    if outcome in HOST_GOOD:
        return f"{host} {host_words(data['action'], outcome)}"
    why = data["evidence"] or data["cause"]
    return f"{outcome}: {host} {host_words(data['action'], outcome)}" + (f": {one_line(str(why))}" if why else "")


def clock(at: str) -> str:
    """`14:02:11Z` of an RFC 3339 time in UTC."""
    return f"{at[11:19]}Z"


def counts(picture: Picture) -> str:
    """`120/300 done, 48 in flight`, what holds it up, and `1/4 hosts in maintenance`."""
    braked = "" if picture.braked is None else f", braked to {picture.braked:.3g} requests a second"
    paused = ", paused" if picture.paused else ""
    text = hosts_count(picture)
    if text and not picture.to_come:  # there are hosts alone
        return f"{text}{paused}{braked}"
    hosts = f"; {text}" if text else ""
    return f"{picture.done}/{picture.to_come} done, {len(picture.flights)} in flight{paused}{braked}{hosts}"


def hosts_count(picture: Picture) -> str:
    """`1/4 hosts in maintenance`; empty for a run that changes no hosts."""
    found = picture.host_counts()
    if not picture.hosts_to_empty and not found:
        return ""
    total = max(picture.hosts_to_empty, len(picture.host_deeds))
    if not found:
        return f"{counted(total, 'host')} to empty"
    if picture.starts:
        back = sum(all(outcome in _DONE for outcome in deeds.values()) for deeds in picture.host_deeds.values())
        return f"{back}/{counted(total, 'host')} back"
    action = min(found, key=lambda action: _MEANT.get(action, len(_MEANT)))
    done = sum(found[action][outcome] for outcome in _DONE)
    return f"{done}/{counted(total, 'host')} {host_state(action)}"


def hosts_lines(picture: Picture, most: int) -> list[str]:
    """What has been done to hosts, counted, and the first of those to which something was not done."""
    parts = []
    for action, outcomes_of in picture.host_counts().items():
        done = sum(outcomes_of[outcome] for outcome in _DONE)
        others = [f"{count} {outcome}" for outcome, count in outcomes_of.items() if count and outcome not in _DONE]
        parts.append(", ".join([f"{done} {host_state(action)}", *others]))
    return ["; ".join(parts), *missed_lines(picture, most)] if parts else []


def missed_lines(picture: Picture, most: int) -> list[str]:
    """`host rack-12-host-02 was not put into maintenance, for it is not empty`, for so many hosts; the rest is counted."""
    missed = picture.hosts_missed()
    lines = [f"host {one_line(name, 60)} {host_words(action, outcome)}" for name, action, outcome in missed[:most]]
    return [*lines, f"and {counted(len(missed) - most, 'host')} more"] if len(missed) > most else lines


def standing(picture: Picture) -> str:
    """Where the run is: what holds it up, what it does last, or when it is expected to be over; empty before a forecast."""
    if picture.finished:
        return "over"
    if picture.verifying:
        return "verifying: every VM is read again"
    if picture.halted is not None:
        return f"nothing more is sent ({picture.halted}); what is in flight is watched to its end"
    if picture.away:
        return "the node is away: nothing is sent until it is back"
    if picture.paused:
        return "paused: nothing more is started until somebody lets it go on"
    if (outlook := picture.outlook) is not None:
        return f"over at {clock(outlook.likely)} ({clock(outlook.low)} to {clock(outlook.high)})"
    return ""


def outcomes(picture: Picture) -> str:
    """`118 stopped_clean, 2 failed`; empty before the first."""
    return ", ".join(f"{count} {word}" for word, count in sorted(picture.outcomes.items()) if count)


def slow_line(flight: Flight, now: float) -> str:
    """`db-7 on kvm-3: shutting down for 95 s, usually 25 s in all; 14:02:11Z: a cold stop`."""
    where = f"{one_line(flight.name or flight.uuid, 60)} on {one_line(flight.host or 'no host', 40)}"
    since = flight.since if flight.sent is None else flight.sent
    phase = f"{_PHASES.get(flight.phase, one_line(flight.phase))} for {now - since:.0f} s"
    known = "assumed" if flight.assumed else "usually"
    usual = f", {known} {flight.usual_seconds:.0f} s in all" if flight.usual_seconds is not None else ""
    following = flight.next_step(now)
    if following is None:
        return f"{where}: {phase}{usual}"
    at, what = following
    return f"{where}: {phase}{usual}; {clock(rfc3339(at))}: {_STEPS[what]}"
