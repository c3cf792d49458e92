"""What is done to VMs on hosts that are emptied, and to the hosts: the machine's rules and judgements, without I/O."""

from dataclasses import replace

import pytest

from orchestrator.actions.machine import Done, Expire, Read, ReadVm, Resend, Send, Unplaced, Wait, Watch, advance
from orchestrator.actions.rules import Rules
from orchestrator.model.outcome import AttemptType, HostOutcome, Outcome, Reason
from orchestrator.model.states import Verb
from orchestrator.model.target import HostRow, JobMissing, JobSucceeded, Seen
from tests.unit.actions.driver import BOTH, GONE_ROW, UNREADABLE, Stop, failed, rules, vm_row

LEAVING = frozenset({"host-1", "host-2"})
AWAY = "host-9"


def migrating() -> Rules:
    """One migration off host-1, which is emptied; host-9 is not."""
    return replace(rules(), type=AttemptType.MIGRATE, grace_seconds=1800.0, verb=Verb.MIGRATE, leaving=LEAVING)


def stopping() -> Rules:
    """A stop on a host that is emptied."""
    return replace(rules(*BOTH), leaving=LEAVING)


def moved(stop: Stop) -> JobSucceeded:
    """The job's success, with where the VM is."""
    return JobSucceeded(Seen(vm_row("Running", host=AWAY), {}))


# ── a migration's turn ─────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("word", "where", "outcome", "reason"),
    [
        ("Running", AWAY, Outcome.SKIPPED, Reason.ELSEWHERE),
        ("Stopped", None, Outcome.ALREADY_STOPPED, None),
        ("Destroyed", None, Outcome.NOT_FOUND, Reason.DESTROYED_DURING_RUN),
        ("Paused", "host-1", Outcome.FAILED, Reason.STATE),
        ("Crashed", "host-1", Outcome.FAILED, Reason.STATE),
        ("Unknown", "host-1", Outcome.FAILED, Reason.STATE),
    ],
)
def test_its_state_decides_before_anything_is_sent(word: str, where: str | None, outcome: Outcome, reason: Reason) -> None:
    """Only a Running VM on a host that is emptied is migrated."""
    move = Stop(migrating()).read(word, host=where)
    assert (move.judgement.outcome, move.judgement.reason, move.sends) == (outcome, reason, [])


def test_without_a_candidate_it_has_failed() -> None:
    """Nothing is sent, and the reason says that there is no host for it."""
    move = Stop(migrating()).read("Running")
    assert isinstance(move.step, Send)
    state, step = advance(move.state, Unplaced(move.now, "the node offers no host"))
    assert isinstance(step, Done)
    assert (step.judgement.outcome, step.judgement.reason) == (Outcome.FAILED, Reason.NO_CANDIDATE)
    assert state.attempts == ()


# ── what it becomes ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("word", "where", "outcome", "reason"),
    [
        ("Running", AWAY, Outcome.MIGRATED, None),
        ("Running", "host-1", Outcome.FAILED, None),
        ("Running", "host-2", Outcome.FAILED, None),
        ("Stopped", None, Outcome.ALREADY_STOPPED, None),
        (GONE_ROW, None, Outcome.NOT_FOUND, Reason.DESTROYED_DURING_RUN),
        ("Unknown", "host-1", Outcome.UNKNOWN, Reason.STATE_UNKNOWN),
    ],
)
def test_where_it_is_afterwards_decides(word: str, where: str | None, outcome: Outcome, reason: Reason | None) -> None:
    """Whether the job said success, failure or nothing: the host it is read on tells; another that is emptied is no goal."""
    for answer in ("ok", "failed"):
        move = Stop(migrating()).read("Running").accept()
        move.job(moved(move) if answer == "ok" else failed("VM.1007", "HOST.1006")).read(word, host=where)
        assert (move.judgement.outcome, move.judgement.reason) == (outcome, reason), answer
        assert len(move.sends) == 1


def test_unreadable_after_success_rests_on_the_job() -> None:
    """The job's word is all there is, and the evidence says so."""
    move = Stop(migrating()).read("Running").accept()
    move.job(moved(move)).read(UNREADABLE)
    while not isinstance(move.step, Done):
        move.elapse() if not isinstance(move.step, ReadVm) else move.read(UNREADABLE)
    assert move.outcome is Outcome.MIGRATED
    assert "not re-read" in move.judgement.evidence.text


def test_a_timed_out_migration_that_arrived_is_migrated() -> None:
    """The job never answered, and the VM is elsewhere at its deadline."""
    move = Stop(migrating()).read("Running").accept()
    assert isinstance(move.step, Watch)
    move.elapse().read("Running", host=AWAY)
    assert move.outcome is Outcome.MIGRATED
    assert "never answered" in move.judgement.evidence.text


def test_still_migrating_at_the_deadline_is_unknown() -> None:
    """Nobody can say where it will be."""
    move = Stop(migrating()).read("Running").accept().elapse().read("Migrating")
    assert (move.outcome, move.judgement.reason) == (Outcome.UNKNOWN, Reason.STILL_MIGRATING)


def test_refused_by_all_and_elsewhere_was_moved_by_somebody() -> None:
    """A call that did nothing moves nothing: what is elsewhere then is not called migrated."""
    move = Stop(migrating()).read("Running").accept().job(failed("VM.1007", "VM.1010")).read("Running", host=AWAY)
    assert (move.outcome, move.judgement.reason) == (Outcome.SKIPPED, Reason.ELSEWHERE)


def test_a_broken_agent_call_is_not_sent_again() -> None:
    """It may have begun: a second migration could move the VM twice."""
    move = Stop(migrating()).read("Running").accept().job(failed("VM.1007", "HOST.1011", "SYS.1015")).read("Running")
    while isinstance(move.step, Wait):
        move.elapse().read("Running")
    assert (move.outcome, len(move.sends)) == (Outcome.FAILED, 1)


@pytest.mark.parametrize("codes", [("VM.1007", "SYS.1001"), ("VM.1007", "HOST.1011", "SYS.1016")])
def test_a_migration_that_may_go_on_is_waited_for(codes: tuple[str, ...]) -> None:
    """The node has given up, and the VM arrives a minute later: migrated, nothing else is done to it."""
    move = Stop(migrating()).read("Running").accept().job(failed(*codes)).read("Running")
    for _ in range(12):
        assert isinstance(move.step, Wait)
        move.elapse().read("Running")
    move.elapse().read("Running", host=AWAY)
    assert move.outcome is Outcome.MIGRATED
    assert "all the same" in move.judgement.evidence.text


def test_a_node_that_is_not_ready_is_tried_again() -> None:
    """Class R: nothing was done, and it is sent anew."""
    move = Stop(migrating()).read("Running").refuse("SYS.1010").read("Running").elapse().read("Running")
    assert isinstance(move.step, Send)


# ── a stop of what has left ────────────────────────────────────────────────────────────────────────────────────────
def test_no_stop_is_sent_again_to_a_vm_that_has_left() -> None:
    """Its PUT never arrived, and somebody has moved it off: it is left alone where it is."""
    stop = Stop(stopping()).read("Running").lose().elapse().job(JobMissing()).read("Running", host=AWAY)
    assert not isinstance(stop.step, Resend)
    assert (stop.outcome, stop.judgement.reason, len(stop.sends)) == (Outcome.SKIPPED, Reason.ELSEWHERE, 1)


@pytest.mark.parametrize("codes", [("VM.1002", "HOST.1006"), ("SYS.1010",), ("SYS.1000",)])
def test_no_power_is_cut_of_a_vm_that_has_left(codes: tuple[str, ...]) -> None:
    """Its grace failed, and it runs on a host that is not emptied: neither cold nor grace follows."""
    stop = Stop(stopping()).read("Running").accept().job(failed(*codes)).read("Running", host=AWAY)
    assert (stop.outcome, stop.judgement.reason, len(stop.sends)) == (Outcome.SKIPPED, Reason.ELSEWHERE, 1)


def test_a_stop_that_worked_and_came_back_elsewhere_has_come_back() -> None:
    """HA has started it on another host: that is told, not hidden behind its having left."""
    stop = Stop(stopping()).read("Running").accept().ok().read("Running", host=AWAY)
    assert stop.outcome is Outcome.CAME_BACK


# ── hosts ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class Change(Stop):
    """One host's change of state."""

    def __init__(self, verb: Verb) -> None:
        super().__init__(replace(rules(), type=AttemptType(verb.value), grace_seconds=600.0, verb=verb))

    def row(self, word: str) -> "Change":
        """Answer a `ReadVm` with a host's row."""
        assert isinstance(self.step, ReadVm)
        self.now += 0.1
        self._go(Read(self.now, HostRow("host-1", "kvm-1", "Connected", word)))
        return self

    @property
    def became(self) -> HostOutcome:
        """The outcome, which must be there."""
        return self.judgement.of_host


@pytest.mark.parametrize(
    ("verb", "before", "after", "outcome"),
    [
        (Verb.DISABLE, "Enabled", "Disabled", HostOutcome.DONE),
        (Verb.MAINTAIN, "Disabled", "Maintenance", HostOutcome.DONE),
        (Verb.ENABLE, "Maintenance", "Enabled", HostOutcome.DONE),
        (Verb.DISABLE, "Enabled", "Enabled", HostOutcome.FAILED),
        (Verb.MAINTAIN, "Disabled", "Disabled", HostOutcome.FAILED),
    ],
)
@pytest.mark.parametrize("answer", ["ok", "failed"])
def test_a_hosts_state_afterwards_decides(verb: Verb, before: str, after: str, outcome: HostOutcome, answer: str) -> None:
    """Whatever its job said; and nothing is sent twice."""
    change = Change(verb)
    change.row(before).accept()
    change.ok(state=after) if answer == "ok" else change.job(failed("HOST.1001", "SYS.1006"))
    change.row(after)
    assert (change.became, len(change.sends)) == (outcome, 1)


def test_a_host_that_is_so_already_is_sent_nothing() -> None:
    """And says so."""
    change = Change(Verb.DISABLE).row("Disabled")
    assert (change.became, change.sends) == (HostOutcome.ALREADY, [])


@pytest.mark.parametrize(("word", "outcome"), [("Maintenance", HostOutcome.ALREADY), ("Enabled", HostOutcome.FAILED)])
def test_a_host_is_not_maintained_that_somebody_has_opened(word: str, outcome: HostOutcome) -> None:
    """Enabled again since it was disabled: the node may have placed something on it, and nothing is sent."""
    change = Change(Verb.MAINTAIN).row(word)
    assert (change.became, change.sends) == (outcome, [])


def test_the_windows_end_sends_a_host_nothing() -> None:
    """`at_end: cold` is about power: a change of a host is followed to its end, and never sent twice."""
    change = Change(Verb.MAINTAIN).row("Disabled")
    change.accept()
    change.state, _ = advance(change.state, Expire(change.now, "cold"))
    change.elapse()
    change.row("Disabled")
    assert (change.became, len(change.sends)) == (HostOutcome.FAILED, 1)


def test_a_host_on_its_way_into_maintenance_is_waited_for() -> None:
    """Somebody else is at it: nothing is sent while it is PreMaintenance, and what it becomes decides."""
    change = Change(Verb.MAINTAIN).row("PreMaintenance")
    assert change.sends == []
    change.elapse().row("Maintenance")
    assert (change.became, change.sends) == (HostOutcome.ALREADY, [])


def test_a_maintenance_that_takes_too_long_is_unknown() -> None:
    """Still PreMaintenance at its deadline: nobody can say what becomes of it."""
    change = Change(Verb.MAINTAIN).row("Disabled")
    change.accept().elapse()
    change.row("PreMaintenance")
    assert change.became is HostOutcome.UNKNOWN
