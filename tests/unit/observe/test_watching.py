"""What a terminal and a log of plain lines show of a run, event by event."""

import io
import re
import time
from typing import Any

import pytest
from rich.console import Console

from orchestrator.model.event import Event
from orchestrator.model.moment import rfc3339
from orchestrator.model.outcome import HostOutcome
from orchestrator.observe.metrics import Metrics
from orchestrator.observe.picture import Picture
from orchestrator.observe.progress import EVERY_SECONDS, Progress
from orchestrator.observe.screen import Screen
from orchestrator.observe.words import counts, missed_lines, news, outcomes, slow_line

NOW = 1_800_000_000.0


def event(kind: str, vm: str | None = None, at: float = NOW, **data: Any) -> Event:
    """One event, at a second since 1970."""
    return Event(kind, rfc3339(at), vm, data)


def begun(targets: int = 4, **more: Any) -> Event:
    """The first event of a run with two waves."""
    data: dict[str, Any] = {
        "plan": "rack-12", "targets": targets, "to_stop": targets, "waves": {"app": 3, "db": 1}, "closes": None,
        "requests_per_second": 50.0, "in_flight": 50,
    }  # fmt: skip
    return event("run.started", **{**data, **more})


def started(vm: str, host: str = "h1", wave: str = "app", at: float = NOW, usual: float = 20.0) -> Event:
    """Its turn has come."""
    return event("vm.started", vm, at, name=f"vm {vm}", host=host, host_name=f"kvm-{host}", wave=wave, usual_seconds=usual)


def sent(vm: str, type_: str = "grace", at: float = NOW, then: str | None = "cold") -> Event:
    """Its stop has left: 60 s to the node's power cut, 250 s to the end of our wait."""
    cut = rfc3339(at + 60) if type_ == "grace" else None
    return event("vm.sent", vm, at, type=type_, job_uuid="j", power_cut_at=cut, until=rfc3339(at + 250), then=then)


def ended(vm: str, outcome: str = "stopped_clean", cause: str | None = None, **more: Any) -> Event:
    """It has its outcome."""
    data = {
        "name": f"vm {vm}",
        "host": "h1",
        "wave": "app",
        "outcome": outcome,
        "reason": None,
        "evidence": "seen",
        "cause": cause,
    }
    return event("vm.outcome", vm, **{**data, **more})


def picture_of(*events: Event) -> Picture:
    """What they make together."""
    picture = Picture()
    for one in events:
        picture(one)
    return picture


def test_the_picture_counts_what_is_done_and_in_flight() -> None:
    """By the run, by wave and by host, under the host's name."""
    picture = picture_of(begun(), started("a"), started("b"), started("c", "h2", "db"), ended("a"))
    assert counts(picture) == "1/4 done, 2 in flight"
    assert outcomes(picture) == "1 stopped_clean"
    app, db = picture.waves["app"], picture.waves["db"]
    assert [(app.to_do, app.in_flight, app.done), (db.to_do, db.in_flight, db.done)] == [(3, 1, 1), (1, 1, 0)]
    assert {name: tally.in_flight for name, tally in picture.hosts.items()} == {"kvm-h1": 1, "kvm-h2": 1}


def test_an_outcome_that_changes_is_counted_once() -> None:
    """What verification judges anew leaves its old outcome, and its old cause."""
    failed = ended("a", "failed", "VM.1002")
    picture = picture_of(begun(), started("a"), failed, ended("a", "stopped_clean"))
    assert (outcomes(picture), picture.done, picture.causes) == ("1 stopped_clean", 1, {})
    picture = picture_of(begun(), started("a"), ended("a"), ended("a", "came_back"))
    assert (outcomes(picture), picture.done) == ("1 came_back", 1)
    assert {cause: dict(hosts) for cause, hosts in picture.causes.items()} == {"came_back": {"kvm-h1": 1}}


def test_a_run_that_is_carried_on_counts_what_was_left() -> None:
    """Outcomes of the process before are not told again, and not counted as left."""
    resumed = begun(10)
    picture = picture_of(event("run.resumed", **{**resumed.data, "to_stop": 2, "under_way": 1}), started("a"), ended("a"))
    assert counts(picture) == "1/2 done, 0 in flight"
    assert picture.targets == 10


def test_slow_or_never() -> None:
    """A VM past one and a half times its usual time is named with phase, seconds and the next step with its time."""
    picture = picture_of(begun(), started("a"), sent("a"), started("b", usual=100.0), sent("b"))
    assert picture.slow(NOW + 29) == []
    (slow,) = picture.slow(NOW + 31)
    words = "vm a on kvm-h1: shutting down for 31 s, usually 20 s in all; "
    assert slow_line(slow, NOW + 31) == f"{words}{rfc3339(NOW + 60)[11:19]}Z: the node cuts its power"
    assert slow_line(slow, NOW + 61).endswith(f"{rfc3339(NOW + 250)[11:19]}Z: a cold stop")
    assert slow_line(slow, NOW + 251).endswith("usually 20 s in all")
    picture(sent("a", "cold", NOW + 251))
    assert slow_line(picture.slow(NOW + 300)[0], NOW + 300).startswith("vm a on kvm-h1: cold stop for 49 s, ")
    picture(sent("a", then=None))
    assert "given up" in slow_line(picture.slow(NOW + 300)[0], NOW + 100)


def test_those_longest_in_flight_come_first() -> None:
    """The one to look at first is named first, also among those not sent yet."""
    picture = picture_of(begun(), started("young", at=NOW + 5), started("old"))
    assert [flight.uuid for flight in picture.slow(NOW + 100)] == ["old", "young"]
    assert "not sent yet for 100 s" in slow_line(picture.slow(NOW + 100)[0], NOW + 100)


class Lines:
    """Plain progress with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.progress = Progress(self.lines.append, monotonic=lambda: self.now)

    def hear(self, *events: Event) -> list[str]:
        """What these events write."""
        before = len(self.lines)
        for one in events:
            self.progress(one)
        return self.lines[before:]

    def after(self, seconds: float) -> list[str]:
        """What that many seconds write."""
        before = len(self.lines)
        self.now += seconds
        self.progress.tick()
        return self.lines[before:]


def test_without_a_terminal_a_change_has_a_line_at_once() -> None:
    """Failures, waves, budgets, pauses; a VM that simply stops has none of its own."""
    lines = Lines()
    assert lines.hear(begun()) == ["4 targets, 4 to stop"]
    assert lines.hear(event("wave.opened", wave="app")) == ["wave app is open"]
    assert lines.hear(started("a"), sent("a"), ended("a")) == []
    assert lines.hear(started("b"), ended("b", "failed", "VM.1002")) == ["failed: vm b: seen"]
    paused = event("run.paused", by="ops@jump1", in_flight=2, hosts_under_way=0)
    assert lines.hear(paused) == ["paused by ops@jump1: nothing more is started, 2 VMs in flight go on"]


def test_without_a_terminal_a_count_comes_every_fifteen_seconds() -> None:
    """Not before, not twice, with what is slow beneath it, and none where nothing is in flight and nothing has changed."""
    lines = Lines()
    began = time.time() - 100
    lines.hear(begun(), started("a", at=began), sent("a", at=began), started("b"), ended("b"))
    assert lines.after(EVERY_SECONDS - 1) == []
    count, slow = lines.after(1)
    assert count == "1/4 done, 1 in flight: 1 stopped_clean"
    assert re.fullmatch(
        r"slow or never\? vm a on kvm-h1: shutting down for 10\d s, usually 20 s in all; .*Z: a cold stop", slow
    )
    assert lines.after(EVERY_SECONDS - 1) == []
    lines.hear(ended("a"))
    assert lines.after(1) == ["2/4 done, 0 in flight: 2 stopped_clean"]
    assert lines.after(EVERY_SECONDS) == []
    lines.hear(event("run.finished", status="finished", exit_code=0))
    assert lines.after(EVERY_SECONDS) == []


def screen(monkeypatch: pytest.MonkeyPatch, *events: Event, encoding: str = "utf-8", front: bool = True) -> tuple[str, str]:
    """What stands on a terminal after these events, and everything that was written to it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace", write_through=True)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    view = Screen(stream, "20261128T140000Z-7f3a", color=False, keys=True, visible=lambda: front)
    for one in events:
        view(one)
    console = Console(file=io.StringIO(), width=100, no_color=True)
    console.print(view._drawn(NOW + 40))
    view.tick()
    view.close()
    stream.seek(0)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue(), stream.read()


def test_a_terminal_shows_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress, forecast, window, waves, busiest hosts, failures by cause, what is slow, and the keys."""
    forecast: dict[str, Any] = {name: rfc3339(NOW + 60 * late) for late, name in enumerate(("low", "likely", "high"), 1)}
    drawn, _ = screen(
        monkeypatch,
        begun(closes=rfc3339(NOW + 3600)),
        *(started(vm) for vm in "abc"),
        started("d", "h2", "db"),
        sent("b"),
        ended("a", "failed", "VM.1002 <- HOST.1011"),
        event("run.forecast", **forecast, rests_on="this run"),
    )
    for words in (
        "rack-12  run 20261128T140000Z-7f3a",
        "1/4 done, 3 in flight",
        f"over at {rfc3339(NOW + 120)[11:19]}Z",
        f"the window closes at {rfc3339(NOW + 3600)[11:19]}Z",
        "so far  1 failed",
        "kvm-h1 2, kvm-h2 1",
        "1: VM.1002 <- HOST.1011, on kvm-h1",
        "vm b on kvm-h1: shutting down for 40 s, usually 20 s in all",
        "keys: p pauses, q ends as Ctrl-C does",
    ):
        assert words in drawn, drawn
    assert re.search(r"wave  app +\S+ +1/3  2 in flight", drawn), drawn
    assert max(map(len, drawn.splitlines())) <= 100


def test_a_terminal_says_what_holds_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause, a node that is away, a halt and the verification each have their words; keys are offered while they act."""
    paused = event("run.paused", by="ops", in_flight=1, hosts_under_way=0)
    drawn, said = screen(monkeypatch, begun(), started("a"), paused)
    assert "1 in flight, paused" in drawn
    assert "paused: nothing more is started until somebody lets it go on" in drawn
    assert "p goes on" in drawn
    assert "paused by ops: nothing more is started, 1 VM in flight goes on" in said
    drawn, _ = screen(monkeypatch, begun(), event("node.away", detail="refused"))
    assert "the node is away: nothing is sent until it is back" in drawn
    drawn, _ = screen(monkeypatch, begun(), event("run.halted", reason="operator", jobs=1))
    assert "nothing more is sent (operator)" in drawn
    assert "keys:" not in drawn
    drawn, _ = screen(monkeypatch, begun(), event("run.verifying", vms=3, in_seconds=120.0))
    assert "verifying: every VM is read again" in drawn


def test_a_thousand_failures_do_not_roll_over_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first dozen have a line each, the others are in the count by cause."""
    failures = [one for number in range(1000) for one in (started(str(number)), ended(str(number), "failed", "VM.1"))]
    drawn, said = screen(monkeypatch, begun(1000), *failures)
    assert said.count("failed: vm ") == 12
    assert "1000: VM.1, on kvm-h1" in drawn


@pytest.mark.parametrize("name", ["\x1b[31mred\x1b]0;title\x07", "a\u202eb\u2028c", "[bold]no[/bold] :smile:", "n" * 5000])
def test_names_do_not_steer_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever a VM, host, wave, plan or cause is called, what stands there is its text on one line."""
    drawn, said = screen(
        monkeypatch,
        begun(plan=name, waves={name: 1, "db": 1}),
        event("vm.started", "a", name=name, host="h", host_name=name, wave=name, usual_seconds=1.0),
        event("vm.started", "b", name=name, host="h", host_name=name, wave=name, usual_seconds=1.0),
        ended("b", "failed", name, name=name, evidence=name, wave=name),
        event("run.paused", by=name, in_flight=1, hosts_under_way=0),
    )
    for text in (drawn, re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said)):
        assert not set("\x1b\x07\u202e\u2028") & set(text)
    assert "\x1b[31m" not in said
    assert max(map(len, drawn.splitlines())) <= 100
    if name.startswith("[bold]"):
        assert name in drawn


def test_a_terminal_that_knows_ascii_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars are made of what it can show."""
    _, said = screen(monkeypatch, begun(), started("a"), started("b"), ended("a"), encoding="ascii")
    assert "#######++++++++..............." in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", said)
    assert "\\x" not in said


def test_from_the_background_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands on the terminal is somebody else's then; news are lines as of any program."""
    _, said = screen(monkeypatch, begun(), started("a"), ended("a", "failed", "VM.1"), front=False)
    assert re.sub(r"\x1b\[[\d;]*m", "", said) == "failed: vm a: seen\n"


def test_what_nobody_has_measured_is_called_assumed() -> None:
    """In a journal's first run, before any VM has ended."""
    first = event("vm.started", "a", **started("a").data, assumed=True)
    (slow,) = picture_of(begun(), first, sent("a")).slow(NOW + 40)
    assert slow_line(slow, NOW + 40).startswith("vm a on kvm-h1: shutting down for 40 s, assumed 20 s in all; ")


def test_after_a_halt_no_cold_stop_is_announced() -> None:
    """Once nothing more is sent, a VM past its time is given up at the end of its wait, and that is what is said."""
    halted = event("run.halted", reason="operator", jobs=2)
    picture = picture_of(begun(), started("a"), sent("a"), halted, started("b"), sent("b"))
    for flight in picture.slow(NOW + 100):
        assert "cold" not in slow_line(flight, NOW + 100)
    ended_window = event("window.ended", in_flight=1, migrating=0, at_end="abandon")
    (slow,) = picture_of(begun(), started("a"), sent("a"), ended_window).slow(NOW + 100)
    assert slow.next_step(NOW + 100) is None


@pytest.mark.parametrize(
    ("at_end", "in_flight", "migrating", "words"),
    [
        ("finish", 3, 2, "3 VMs in flight: they end by the plan's rules"),
        ("abandon", 1, 1, "1 VM in flight: it is read once and left"),
        ("cold", 2, 0, "2 VMs in flight: they get a cold stop"),
        ("cold", 3, 2, "3 VMs in flight: 1 gets a cold stop, 2 that are being migrated are followed to their end"),
        ("cold", 1, 1, "1 VM in flight: 1 that is being migrated is followed to its end"),
    ],
)
def test_the_windows_end_says_what_becomes_of_whom(at_end: str, in_flight: int, migrating: int, words: str) -> None:
    """A migration has no power to cut."""
    ended = event("window.ended", in_flight=in_flight, migrating=migrating, at_end=at_end)
    assert news(ended, Picture()) == f"the window has ended with {words}"


def test_what_another_process_began_with_is_shown_as_it_is() -> None:
    """A run that is carried on knows what was sent before, and since when."""
    resumed = event("run.resumed", **{**begun().data, "under_way": 1})
    sent_before = {"since": rfc3339(NOW - 50), "sent_at": rfc3339(NOW - 45), **sent("a", at=NOW - 45).data}
    (slow,) = picture_of(resumed, event("vm.started", "a", **{**started("a").data, **sent_before})).slow(NOW)
    assert slow_line(slow, NOW).startswith("vm a on kvm-h1: shutting down for 45 s, ")


def test_what_is_found_otherwise_later_is_counted() -> None:
    """A run that is carried on counts what came back of its earlier process's VMs, and who was taken out, but none twice."""
    resumed = event("run.resumed", **{**begun(10).data, "to_stop": 2, "under_way": 0})
    picture = picture_of(resumed, started("a"), ended("a"), ended("old", "came_back"), ended("b", "skipped"))
    assert counts(picture) == "2/2 done, 0 in flight"
    assert outcomes(picture) == "1 came_back, 1 skipped, 1 stopped_clean"


EVACUATION = {"to_stop": 1, "to_migrate": 3, "hosts": 4}


def host(action: str, outcome: str | None, number: int = 1, **more: Any) -> Event:
    """What is done to a host: sent, or with its outcome."""
    data: dict[str, Any] = {"host": f"h{number}", "name": f"rack-12-host-{number:02}", "action": action}
    if outcome is None:
        return event("host.sent", **data, job_uuid="j", until=rfc3339(NOW + 600))
    return event("host.outcome", **{**data, "outcome": outcome, "evidence": None, "cause": None, **more})


def found(vms: int, **waves: int) -> Event:
    """So many VMs have turned up, in these waves."""
    names = [f"vm-{number}" for number in range(vms)][:10]
    return event("vms.found", vms=vms, waves=waves, hosts=["h1"], names=names, spared=[])


def test_hosts_are_counted_by_what_was_done_last() -> None:
    """Disabled first, then in maintenance; what was so already counts, what is under way does not yet."""
    picture = picture_of(begun(**EVACUATION))
    assert (picture.hosts_to_empty, counts(picture)) == (4, "0/4 done, 0 in flight; 4 hosts to empty")
    for number in range(1, 5):
        picture(host("disable", "already" if number == 1 else "done", number))
    assert counts(picture) == "0/4 done, 0 in flight; 4/4 hosts disabled"
    picture(host("maintain", None))
    assert counts(picture).endswith("; 0/4 hosts in maintenance")
    picture(host("maintain", "done"))
    picture(host("maintain", "not_empty", 2))
    assert counts(picture).endswith("; 1/4 hosts in maintenance")
    assert picture.host_deeds["h1"] == {"disable": HostOutcome.ALREADY, "maintain": HostOutcome.DONE}
    assert picture.hosts_missed() == [("rack-12-host-02", "maintain", HostOutcome.NOT_EMPTY)]


def test_hosts_that_are_done_with_already_are_counted() -> None:
    """A run that is carried on knows what an earlier process did to hosts; a restore, which hosts it is to open."""
    data = {**begun(**EVACUATION).data, "under_way": 0}
    known = {"h1": {"disable": "done", "empty": "done", "maintain": "done"}, "h2": {"disable": "done", "maintain": "failed"}}
    picture = picture_of(event("run.resumed", **data, host_actions=known))
    assert counts(picture).endswith("; 1/4 hosts in maintenance")
    assert picture.hosts_missed() == [("h2", "maintain", HostOutcome.FAILED)]
    start: dict[str, Any] = {"plan": "p", "targets": 1, "to_start": 1, "waves": {"all": 1}, "closes": None}
    picture = picture_of(event("run.started", **start, host_actions={"h1": {"enable": None}, "h2": {"enable": "already"}}))
    assert counts(picture).endswith("; 1/2 hosts back")


def test_the_hosts_of_a_restore_are_counted() -> None:
    """Enabled, or disabled as they were before: both are back."""
    start: dict[str, Any] = {"plan": "p", "targets": 1, "to_start": 1, "waves": {"all": 1}, "closes": None}
    picture = picture_of(event("run.started", **start), host("enable", "done"), host("disable", "done", 2))
    picture(host("enable", "failed", 3))
    assert counts(picture) == "0/1 done, 0 in flight; 2/3 hosts back"


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (host("disable", "done"), "host rack-12-host-01 is disabled"),
        (host("empty", "done"), "host rack-12-host-01 is empty"),
        (host("maintain", "done"), "host rack-12-host-01 is in maintenance"),
        (host("enable", "left"), "host rack-12-host-01 was left alone, for somebody has had it since"),
        (host("disable", "already"), None),
        (host("disable", None), None),
        (
            host("maintain", "not_empty", evidence="2 VMs are left on it: a, b"),
            "not_empty: host rack-12-host-01 was not put into maintenance, for it is not empty: 2 VMs are left on it: a, b",
        ),
        (
            host("maintain", "failed", cause="HOST.1001"),
            "failed: host rack-12-host-01 could not be put into maintenance: HOST.1001",
        ),
        (host("maintain", "unknown"), "unknown: host rack-12-host-01 may or may not be in maintenance"),
        (host("disable", "done", name=None), "host h1 is disabled"),
        (host("disable", "done", name="a\x1b[1m\nb"), "host a\\x1b[1m b is disabled"),
        (found(3, app=2, db=1), "3 VMs have turned up on host h1, to have a turn too (app 2, db 1): vm-0, vm-1, vm-2"),
        (
            event("vms.found", vms=2, waves={"all": 1}, hosts=["h1"], names=["guest"], spared=["keeper"]),
            "2 VMs have turned up on host h1, to have a turn too: guest; left alone, for it is protected: keeper",
        ),
        (
            Event("budget.crossed", "", None, {"kind": "host_budget", "scope": "host h1", "count": 2, "limit": 1, "vms": 0}),
            "a budget is crossed: 2 failures on one host (host h1), more than 1",
        ),
        (found(1, all=1), "1 VM has turned up on host h1, to have a turn too: vm-0"),
        (begun(**EVACUATION), "4 targets, 3 to migrate, 1 to stop; 4 hosts to be emptied"),
        (
            begun(**EVACUATION, evacuate="migrate_then_stop"),
            "4 targets, 3 to migrate or else to stop, 1 to stop; 4 hosts to be emptied",
        ),
        (begun(**{**EVACUATION, "to_stop": 0}), "4 targets, 3 to migrate; 4 hosts to be emptied"),
        (begun(to_migrate=None, hosts=None), "4 targets, 4 to stop"),
        (
            event("run.resumed", **begun(9, **EVACUATION).data, under_way=2),
            "carried on: 9 targets, 4 of them without an outcome, 2 of those sent already; 4 hosts to be emptied",
        ),
    ],
)
def test_what_becomes_of_a_host_has_a_line(told: Event, line: str | None) -> None:
    """Whatever was done or not, in the words of its evidence; nothing of what was so already."""
    assert news(told, Picture()) == line


def test_vms_that_turn_up_are_to_come_too() -> None:
    """They are targets, and their wave, though it was over, goes on."""
    picture = picture_of(begun(**EVACUATION), event("wave.finished", wave="db"), found(3, db=2, late=1))
    assert (picture.targets, counts(picture)[:8]) == (7, "0/7 done")
    waves = [(name, tally.to_do, tally.finished) for name, tally in picture.waves.items()]
    assert waves == [("app", 3, False), ("db", 3, False), ("late", 1, False)]


def test_a_migration_is_told_as_one() -> None:
    """It has no power cut; what follows one that fails is a stop, and after a halt nothing."""
    migration = event("vm.sent", "a", type="migrate", job_uuid="j", power_cut_at=None, until=rfc3339(NOW + 250), then="stop")
    picture = picture_of(begun(**EVACUATION), started("a"), migration)
    (slow,) = picture.slow(NOW + 40)
    words = "vm a on kvm-h1: migrating for 40 s, usually 20 s in all"
    assert (
        slow_line(slow, NOW + 40) == f"{words}; {rfc3339(NOW + 250)[11:19]}Z: it is given up, and stopped if it still runs"
    )
    picture(event("run.halted", reason="operator", jobs=1))
    assert "given up" in slow_line(slow, NOW + 40)
    picture(ended("a", "migrated"))
    assert outcomes(picture) == "1 migrated"


def test_a_terminal_has_a_line_of_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done to how many, and the first of those to which it was not; many hosts do not roll over it."""
    disabled = [host("disable", "done", number) for number in range(1, 41)]
    refused = [host("maintain", "failed", number, cause="HOST.1001") for number in range(1, 9)]
    first = begun(**{**EVACUATION, "hosts": 40})
    drawn, said = screen(monkeypatch, first, *disabled, host("maintain", "done", 9), *refused)
    assert "0/4 done, 0 in flight; 1/40 hosts in maintenance" in drawn
    assert re.search(r"hosts +40 disabled; 1 in maintenance, 8 failed", drawn), drawn
    assert drawn.count("could not be put into maintenance") == 5
    assert "and 3 hosts more" in drawn
    assert said.count("is disabled") == 12


def test_metrics_count_hosts() -> None:
    """By what was done to them and its outcome, each from the beginning on, and how many are to be emptied."""
    written = list[str]()
    metrics = Metrics(written.append, "r")
    metrics(begun(**EVACUATION))
    assert 'orchestrator_run_hosts{run="r",action="maintain",outcome="done"} 0' in written[-1]
    for one in (
        host("disable", "done"),
        host("disable", "done", 2),
        host("maintain", "not_empty", 2),
        ended("a", "migrated"),
    ):
        metrics(one)
    text = metrics.text()
    for line in (
        "# TYPE orchestrator_run_hosts gauge",
        'orchestrator_run_hosts{run="r",action="disable",outcome="done"} 2',
        'orchestrator_run_hosts{run="r",action="maintain",outcome="not_empty"} 1',
        'orchestrator_run_hosts_to_empty{run="r"} 4',
        'orchestrator_run_vms{run="r",outcome="migrated"} 1',
    ):
        assert line in text.splitlines()


def test_hosts_that_were_missed_are_named_up_to_a_number() -> None:
    """The rest is counted."""
    picture = picture_of(*(host("maintain", "failed", number) for number in range(1, 4)))
    wanted = "host rack-12-host-01 could not be put into maintenance"
    assert missed_lines(picture, 1) == [wanted, "and 2 hosts more"]
    assert len(missed_lines(picture, 3)) == 3
