"""Hosts that are emptied, over the scripted cloud, in virtual time."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.clouds.interface import QueryRefusedError
from orchestrator.clouds.memory import Guest, Machine, MemoryCloud
from orchestrator.engine.again import kept_plan, take_up
from orchestrator.engine.clock import Clock
from orchestrator.engine.prepare import prepare
from orchestrator.engine.records import Prepared, opening, run_record
from orchestrator.engine.run import JournalLostError, Run
from orchestrator.engine.undo import plan_undo, reversed_plan
from orchestrator.journal.interface import JournalWriteError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.model.event import Event
from orchestrator.model.fault import NodeError, own_error
from orchestrator.model.outcome import HostOutcome, Outcome, Reason
from orchestrator.model.report import HostRecord, ReportDocument, VmRecord
from orchestrator.model.target import HostRow, Lost, Refused, Seen, SendResult, VmRow
from orchestrator.observe.picture import Picture
from orchestrator.plan.load import plan_from_text
from orchestrator.reports.verdict import verdict
from tests.contract.journals import DEAD
from tests.virtual import run_virtual

OLD, SPARE = ("a1", "a2"), ("s1", "s2")


class SteadyClock(Clock):
    """The wall clock goes with the loop's virtual time."""

    def unix(self) -> float:
        """Seconds since 1970."""
        return 1_800_000_000.0 + self.now()


def machines() -> list[Machine]:
    """Two hosts to be emptied, and two that have room."""
    return [Machine(HostRow(uuid, f"host-{uuid}", "Connected", "Enabled")) for uuid in (*OLD, *SPARE)]


def guests(count: int, **script: Any) -> list[Guest]:
    """Running VMs on the two hosts to be emptied."""
    return [guest(number, OLD[number % 2], **script) for number in range(count)]


def guest(number: int, host: str | None, *, kind: str = "UserVm", state: str = "Running", **script: Any) -> Guest:
    """One VM."""
    return Guest(VmRow(f"{number:032x}", f"vm-{number}", kind, state, host, "c", None), **script)


def uuid(number: int) -> str:
    """The UUID of a guest."""
    return f"{number:032x}"


class Trial:
    """One evacuation, of one process after the other."""

    def __init__(
        self,
        some: Sequence[Guest],
        *,
        evacuate: str = "{}",
        more: str = "",
        hosts: Sequence[Machine] | None = None,
        old: Sequence[str] = OLD,
    ) -> None:
        self.cloud = MemoryCloud(some, machines() if hosts is None else hosts)
        self.journal = MemoryJournal()
        self.plan = plan_from_text(
            "version: 1\nname: empty\n"
            f"targets: {{hosts: {{where: [['uuid?={','.join(old)}']]}}}}\nevacuate: {evacuate}\n{more}\n",
            name="plan.yaml",
            folder=Path.cwd(),
        )
        self.events: list[Event] = []

    async def begin(self) -> Run:
        """A run, not yet begun."""
        prepared = await prepare(self.plan, self.cloud, strict=False)
        wall = SteadyClock().wall()
        record = run_record(prepared, run_id="first", started_at=wall, started_by="t@t", tool_version="0")
        return self.of(opening(prepared, record))

    def of(self, opened: Any) -> Run:
        """The run of an opening."""
        return Run(opened, self.cloud, self.journal, owner=DEAD, clock=SteadyClock(), listeners=[self.events.append])

    async def resume(self) -> Run:
        """The same run in another process."""
        await self.journal.take_over("first", DEAD)
        kept = kept_plan(self.journal.plan_file("first"))
        run = self.journal.report("first").run
        return self.of(take_up(run, kept, self.journal, self.cloud, ahead_seconds=0.0, clock=SteadyClock()))

    def report(self) -> ReportDocument:
        """What the journal holds."""
        return self.journal.report("first").document()

    def to_the_end(self, meanwhile: Callable[[Run], Any] | None = None) -> ReportDocument:
        """The whole run, with somebody else's doings beside it."""

        async def go() -> None:
            run = await self.begin()
            async with anyio.create_task_group() as tasks:
                if meanwhile is not None:
                    tasks.start_soon(meanwhile, run)
                await run.run()
                tasks.cancel_scope.cancel()

        run_virtual(go)
        return self.report()


def host(report: ReportDocument, uuid: str) -> HostRecord:
    """One host of a report."""
    return next(one for one in report.hosts if one.uuid == uuid)


def acts(report: ReportDocument, uuid: str) -> list[tuple[str, str | None]]:
    """What was done to one host."""
    return [(action.action, action.outcome) for action in host(report, uuid).actions]


def vm(report: ReportDocument, number: int) -> VmRecord:
    """One VM of a report."""
    return next(one for one in report.vms if one.uuid == uuid(number))


EMPTIED = [("disable", HostOutcome.DONE), ("empty", HostOutcome.DONE), ("maintain", HostOutcome.DONE)]


# ── order ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_hosts_are_disabled_then_emptied_then_maintained() -> None:
    """Nothing is stopped before every host is disabled; a host goes into maintenance after its last VM."""
    trial = Trial(guests(6))
    report = trial.to_the_end()
    assert (report.run.status, report.run.exit_code) == ("finished", 0)
    assert {one.outcome for one in report.vms} == {Outcome.STOPPED_CLEAN}
    assert [acts(report, one) for one in OLD] == [EMPTIED, EMPTIED]
    disabled = [at for at, request in trial.cloud.changed if request.event == "disable"]
    maintained = [at for at, request in trial.cloud.changed if request.event == "maintain"]
    stops = [at for at, _ in trial.cloud.sent]
    assert max(disabled) + 1.0 <= min(stops)
    assert max(stops) < min(maintained)
    assert [trial.cloud.machines[one].row.state for one in OLD] == ["Maintenance", "Maintenance"]
    assert all(one.left_on_host == () for one in report.hosts)
    assert report.run.evacuate is not None


def test_a_host_without_vms_is_a_target_too() -> None:
    """An empty host goes into maintenance, and the run of a plan without a single VM is a run."""
    report = Trial([]).to_the_end()
    assert (report.run.exit_code, report.totals["targets"]) == (0, 0)
    assert acts(report, "a1") == EMPTIED


@pytest.mark.parametrize(("goal", "left"), [("disable", EMPTIED[:2]), ("leave", EMPTIED[1:2])])
def test_what_the_plan_does_not_ask_for_is_not_done_to_hosts(goal: str, left: list[Any]) -> None:
    """`disable` disables and no more, `leave` touches no host; whether it is empty is said all the same."""
    trial = Trial(guests(2), evacuate=f"{{hosts: {goal}}}")
    report = trial.to_the_end()
    assert acts(report, "a1") == left
    assert {request.event for _, request in trial.cloud.changed} == ({"disable"} if goal == "disable" else set())
    assert report.run.exit_code == 0


def test_a_host_that_was_closed_already_is_left_as_it_was() -> None:
    """A host that was Disabled or in maintenance before is not disabled by us, and the report says so."""
    hosts = machines()
    hosts[0].row = replace(hosts[0].row, state="Disabled")
    hosts[1].row = replace(hosts[1].row, state="Maintenance")
    trial = Trial([guest(0, "a1")], hosts=hosts)
    report = trial.to_the_end()
    assert acts(report, "a1") == [("disable", HostOutcome.ALREADY), *EMPTIED[1:]]
    assert acts(report, "a2") == [("disable", "already"), ("empty", "done"), ("maintain", "already")]
    assert host(report, "a1").actions[0].state_before == "Disabled"
    assert [request.host_uuid for _, request in trial.cloud.changed] == ["a1"]


def test_a_host_that_cannot_be_disabled_keeps_its_vms() -> None:
    """Nothing is done to what is on it, for the node may place more there; the other host is emptied."""
    hosts = machines()
    hosts[0].error = NodeError(code="SYS.1006")
    trial = Trial(guests(4), hosts=hosts)
    report = trial.to_the_end()
    assert acts(report, "a1") == [("disable", HostOutcome.FAILED)]
    assert acts(report, "a2") == EMPTIED
    assert {(one.outcome, one.reason) for one in report.vms if one.host_uuid == "a1"} == {(Outcome.NOT_REACHED, Reason.HOST)}
    assert (report.run.status, report.run.ended_by, report.run.exit_code) == ("stopped_early", "host", 4)
    assert len(host(report, "a1").left_on_host or ()) == 2
    assert host(report, "a1").actions[0].error == {"code": "SYS.1006"}


def test_a_host_that_is_not_empty_stays_disabled() -> None:
    """One VM that cannot be stopped keeps its host out of maintenance; it is named there, and the exit code is 1."""
    some = guests(4)
    some[0].error, some[0].cold_seconds = NodeError(code="SYS.1006"), None
    trial = Trial(some, more="stop: {fallback: none}")
    report = trial.to_the_end()
    assert acts(report, "a1") == [EMPTIED[0], ("empty", HostOutcome.NOT_EMPTY)]
    assert "vm-0 (Running)" in str(host(report, "a1").actions[1].evidence)
    assert acts(report, "a2") == EMPTIED
    assert [(one.uuid, one.why) for one in host(report, "a1").left_on_host or ()] == [(uuid(0), "failed")]
    assert report.run.exit_code == 1
    assert trial.cloud.machines["a1"].row.state == "Disabled"


# ── what turns up ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_vm_that_turns_up_is_a_target() -> None:
    """Started by somebody on a host that is being emptied: it is found, stopped and reported."""
    trial = Trial([*guests(4, seconds=20.0), guest(9, None, state="Stopped")])

    async def somebody(_: Run) -> None:
        await anyio.sleep(15.0)
        late = trial.cloud.guests[uuid(9)]
        late.row = replace(late.row, state="Running", host_uuid="a2")

    report = trial.to_the_end(somebody)
    assert vm(report, 9).outcome is Outcome.STOPPED_CLEAN
    assert report.totals["targets"] == 5
    assert acts(report, "a2") == EMPTIED
    assert [event.data["vms"] for event in trial.events if event.kind == "vms.found"] == [1]
    assert report.run.exit_code == 0


def test_a_vm_that_turns_up_and_is_excluded_is_left() -> None:
    """Whoever the plan spares is spared when it turns up, and its host stays out of maintenance."""
    trial = Trial(
        [*guests(4, seconds=20.0), guest(9, None, kind="Odd", state="Stopped")],
        more="exclude: {where: [[type=Odd]], may_be_empty: true}",
    )

    async def somebody(_: Run) -> None:
        await anyio.sleep(15.0)
        late = trial.cloud.guests[uuid(9)]
        late.row = replace(late.row, state="Running", host_uuid="a2")

    report = trial.to_the_end(somebody)
    assert report.totals["targets"] == 4
    assert [one.why for one in host(report, "a2").left_on_host or ()] == ["excluded"]
    assert acts(report, "a2")[-1] == ("empty", HostOutcome.NOT_EMPTY)
    assert report.run.exit_code == 1


def test_a_vm_that_has_left_the_hosts_is_left_alone() -> None:
    """Whoever was migrated off by somebody else before its turn is not stopped where it is now."""
    trial = Trial(guests(4), more="limits: {concurrency: 1}")

    async def somebody(_: Run) -> None:
        await anyio.sleep(3.0)
        gone = trial.cloud.guests[uuid(3)]
        gone.row = replace(gone.row, host_uuid="s1")

    report = trial.to_the_end(somebody)
    assert (vm(report, 3).outcome, vm(report, 3).reason) == (Outcome.SKIPPED, Reason.ELSEWHERE)
    assert uuid(3) not in [request.vm_uuid for _, request in trial.cloud.sent]
    assert report.run.exit_code == 0


# ── migration ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_vms_are_migrated_within_their_limits() -> None:
    """Each goes to a host outside those that are emptied; two a host at both ends, and no more than planned in all."""
    trial = Trial(guests(10), evacuate="{vms: migrate, migrate: {per_host: 2, concurrency: 3}}")
    report = trial.to_the_end()
    assert {one.outcome for one in report.vms} == {Outcome.MIGRATED}
    assert {one.migrated_to for one in report.vms} == set(report.run.destinations) == set(SPARE)
    assert report.run.destinations == {one: f"host-{one}" for one in SPARE}
    assert all(f"host-{one.migrated_to}" in str(one.evidence and one.evidence.text) for one in report.vms)
    assert trial.cloud.peak == 3
    assert trial.cloud.sent == []
    assert [acts(report, one) for one in OLD] == [EMPTIED, EMPTIED]
    assert report.run.exit_code == 0


def test_the_far_end_is_not_overrun() -> None:
    """With one host to go to, no more migrate at a time than it takes."""
    hosts = machines()[:3]
    trial = Trial(guests(6), evacuate="{vms: migrate, migrate: {per_host: 2, concurrency: 8}}", hosts=hosts)
    report = trial.to_the_end()
    assert trial.cloud.peak == 2
    assert report.totals["migrated"] == 6


def test_what_cannot_be_migrated_is_stopped_where_the_plan_says_so() -> None:
    """Refused, failed half-way, without a candidate: each is stopped by the plan's rules, and the evidence tells both."""
    some = guests(4)
    some[0].candidates = []
    some[1].migrate_error = NodeError(code="VM.1007", cause=NodeError(code="HOST.1006"))
    some[2].answers = [Refused(NodeError(code="SYS.1007"), 503)]
    trial = Trial(some, evacuate="{vms: migrate_then_stop}")
    report = trial.to_the_end()
    assert [vm(report, n).outcome for n in range(4)] == [*[Outcome.STOPPED_CLEAN] * 3, Outcome.MIGRATED]
    assert "no host" in str(vm(report, 0).evidence)
    assert "VM.1007 <- HOST.1006" in str(vm(report, 1).evidence)
    assert [attempt.type for attempt in vm(report, 1).attempts] == ["migrate", "grace"]
    assert [attempt.type for attempt in vm(report, 0).attempts] == ["grace"]
    assert report.run.exit_code == 0


def test_what_cannot_be_migrated_is_left_where_the_plan_only_migrates() -> None:
    """It is failed, nothing is stopped, and its host stays disabled."""
    some = guests(2)
    some[0].candidates = []
    trial = Trial(some, evacuate="{vms: migrate}")
    report = trial.to_the_end()
    assert (vm(report, 0).outcome, vm(report, 0).reason) == (Outcome.FAILED, Reason.NO_CANDIDATE)
    assert trial.cloud.sent == []
    assert acts(report, "a1")[-1] == ("empty", HostOutcome.NOT_EMPTY)
    assert report.run.exit_code == 1


def test_a_migration_that_never_ends_is_given_up_after_its_own_time() -> None:
    """Still Migrating when its time is over: unknown, nothing is stopped, and the host is not maintained."""
    some = guests(2)
    some[0].migrate_seconds = None
    trial = Trial(some, evacuate="{vms: migrate_then_stop, migrate: {timeout: 5m}}")
    report = trial.to_the_end()
    assert (vm(report, 0).outcome, vm(report, 0).reason) == (Outcome.UNKNOWN, Reason.STILL_MIGRATING)
    assert vm(report, 0).attempts[0].api_timeout_seconds == 300
    assert [request.vm_uuid for _, request in trial.cloud.sent] == []
    assert trial.cloud.machines["a1"].row.state == "Disabled"


@pytest.mark.parametrize(("appliances", "outcome"), [("skip", Outcome.MIGRATED), ("include", Outcome.STOPPED_CLEAN)])
def test_appliances_are_migrated_unless_they_are_included(appliances: str, outcome: Outcome) -> None:
    """Where all else is stopped, a router is moved, so that its networks live on; included, it is stopped as all are."""
    trial = Trial([guest(0, "a1", kind="ApplianceVm"), guest(1, "a1")], more=f"stop: {{appliances: {appliances}}}")
    report = trial.to_the_end()
    assert vm(report, 0).outcome is outcome
    assert vm(report, 1).outcome is Outcome.STOPPED_CLEAN
    assert acts(report, "a1") == EMPTIED


def test_an_appliance_that_cannot_move_is_never_stopped() -> None:
    """Not even where what cannot be migrated is stopped."""
    trial = Trial([guest(0, "a1", kind="ApplianceVm", candidates=[])], evacuate="{vms: migrate_then_stop}")
    report = trial.to_the_end()
    assert vm(report, 0).outcome is Outcome.FAILED
    assert trial.cloud.sent == []


# ── waves, budgets, halts ──────────────────────────────────────────────────────────────────────────────────────────
def test_waves_hold_and_migrations_share_their_limit_over_all_of_them() -> None:
    """A wave comes after the one before; side by side, waves have one limit of migrations."""
    waves = "waves: [{name: a, where: [[name=vm-0], [name=vm-1], [name=vm-2]]}, {name: b}]"
    trial = Trial(guests(8), evacuate="{vms: migrate, migrate: {per_host: 8, concurrency: 2}}", more=waves)
    report = trial.to_the_end()
    assert report.totals["migrated"] == 8
    assert trial.cloud.peak == 2
    after = Trial(guests(4), more="waves: [{name: a, where: [[name=vm-0]]}, {name: b, after: [a]}]")
    report = after.to_the_end()
    ended = {one.uuid: str(one.finished_at) for one in report.vms}
    assert ended[uuid(0)] <= min(str(one.started_at) for one in report.vms if one.uuid != uuid(0))


def test_failures_of_migrations_count_in_the_budget() -> None:
    """A crossed budget starts nothing more; hosts that still hold VMs stay disabled."""
    some = guests(8, candidates=[])
    trial = Trial(some, evacuate="{vms: migrate}", more="budget: {failures: 1}\nlimits: {concurrency: 1}")
    report = trial.to_the_end()
    assert report.totals["failed"] == 2
    assert report.totals["not_reached"] == 6
    assert {acts(report, one)[-1] for one in OLD} == {("empty", HostOutcome.NOT_EMPTY)}
    assert report.run.exit_code == 4


def test_an_operator_stops_it_between_hosts_and_vms() -> None:
    """Ctrl-C while hosts are disabled: no VM is touched, no host is maintained, and what was disabled is in the report."""
    hosts = machines()
    hosts[0].seconds = 30.0
    trial = Trial(guests(4), hosts=hosts)

    async def press(run: Run) -> None:
        await anyio.sleep(5.0)
        run.interrupt()

    report = trial.to_the_end(press)
    assert trial.cloud.sent == []
    assert {(one.outcome, one.reason) for one in report.vms} == {(Outcome.NOT_REACHED, Reason.OPERATOR)}
    assert acts(report, "a1")[0] == ("disable", HostOutcome.DONE)
    assert acts(report, "a2")[0] == ("disable", HostOutcome.DONE)
    assert {acts(report, one)[-1] for one in OLD} == {("empty", HostOutcome.NOT_REACHED)}
    assert report.run.exit_code == 4


def test_a_pause_holds_for_hosts_too() -> None:
    """While somebody has paused the run no host goes into maintenance, and afterwards it does."""
    trial = Trial(guests(2))

    async def pause(run: Run) -> None:
        await anyio.sleep(3.0)
        assert "paused" in run._pause_or_go(pause=True, who="ops@jump1")
        await anyio.sleep(300.0)
        assert [request.event for _, request in trial.cloud.changed] == ["disable", "disable"]
        run._pause_or_go(pause=False, who="ops@jump1")

    report = trial.to_the_end(pause)
    assert [acts(report, one) for one in OLD] == [EMPTIED, EMPTIED]


def test_a_pause_holds_for_hosts_that_are_disabled_too() -> None:
    """Ten are disabled side by side; those that have begun go on, and the rest wait for the run to go on."""
    many = [f"h{number:02}" for number in range(24)]
    hosts = [Machine(HostRow(one, one, "Connected", "Enabled"), seconds=20.0) for one in many]
    trial = Trial([guest(number, one) for number, one in enumerate(many)], hosts=[*hosts, *machines()[2:]], old=many)

    async def pause(run: Run) -> None:
        await anyio.sleep(5.0)
        said = run._pause_or_go(pause=True, who="ops@jump1")
        assert said == "paused: nothing more is started, 10 hosts under way go on"
        await anyio.sleep(300.0)
        assert len(trial.cloud.changed) == 10
        run._pause_or_go(pause=False, who="ops@jump1")

    report = trial.to_the_end(pause)
    assert {tuple(acts(report, one)) for one in many} == {tuple(EMPTIED)}


def test_who_ends_a_paused_run_ends_it_for_hosts_too() -> None:
    """The rest of the hosts have no turn any more, and say so."""
    many = [f"h{number:02}" for number in range(12)]
    hosts = [Machine(HostRow(one, one, "Connected", "Enabled"), seconds=20.0) for one in many]
    trial = Trial([guest(number, one) for number, one in enumerate(many)], hosts=hosts, old=many)

    async def pause(run: Run) -> None:
        await anyio.sleep(5.0)
        run._pause_or_go(pause=True, who="ops@jump1")
        await anyio.sleep(100.0)
        run.interrupt()

    report = trial.to_the_end(pause)
    assert len(trial.cloud.changed) == 10
    disabled = Counter(acts(report, one)[0] for one in many)
    assert disabled == {("disable", HostOutcome.DONE): 10, ("disable", HostOutcome.NOT_REACHED): 2}
    assert report.run.exit_code == 4


@pytest.mark.parametrize("at_end", ["finish", "cold", "abandon"])
@pytest.mark.parametrize("paused_at", [0.5, 6.0])
def test_a_pause_does_not_hold_the_window_open(at_end: str, paused_at: float) -> None:
    """Nobody lets it go on: at the window's end the run ends by itself, and no host is put into maintenance afterwards."""
    hosts = machines()
    trial = Trial(guests(2), hosts=hosts, more=f"window: {{end: 2027-01-15T08:17:40Z, at_end: {at_end}}}")
    for one in hosts:
        one.seconds = 3.0

    async def pause(run: Run) -> None:
        await anyio.sleep(paused_at)
        assert "paused" in run._pause_or_go(pause=True, who="ops@jump1")
        await anyio.sleep(10_000.0)

    report = trial.to_the_end(pause)
    assert {request.event for _, request in trial.cloud.changed} == {"disable"}
    done = [("disable", HostOutcome.DONE)]
    not_begun = [*done, ("empty", HostOutcome.NOT_EMPTY)]
    emptied = [*done, ("empty", HostOutcome.DONE), ("maintain", HostOutcome.NOT_REACHED)]
    assert [acts(report, one) for one in OLD] == [emptied if paused_at > 1.0 else not_begun] * 2
    assert report.run.exit_code == 4


def test_at_the_windows_close_nothing_waits_for_a_destination_any_more() -> None:
    """One migration at a time: what waits behind it has its outcome at once, and is not called in flight."""
    end = "window: {end: 2027-01-15T08:17:40Z, at_end: cold}"
    migrate = "{vms: migrate, migrate: {per_host: 1}}"
    trial = Trial(guests(4, migrate_seconds=200.0), evacuate=migrate, hosts=machines()[:3], more=end)
    report = trial.to_the_end()
    [ended] = [event.data for event in trial.events if event.kind == "window.ended"]
    assert (ended["in_flight"], ended["migrating"]) == (1, 1)
    assert (report.totals["migrated"], report.totals["not_reached"]) == (1, 3)
    late = [one for one in report.vms if one.outcome is Outcome.NOT_REACHED]
    assert {one.reason for one in late} == {Reason.WINDOW}
    assert {str(one.finished_at)[:19] for one in late} == {"2027-01-15T08:17:40"}


def test_a_host_whose_vms_cannot_be_read_is_not_maintained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node takes no query of it: nobody knows whether it is empty, and it stays disabled."""
    trial = Trial(guests(2))
    whole = trial.cloud.running_on

    async def refused(uuids: Sequence[str]) -> Mapping[str, list[Seen]]:
        if trial.cloud.sent:
            raise QueryRefusedError("unknown field")
        return await whole(uuids)

    monkeypatch.setattr(trial.cloud, "running_on", refused)
    report = trial.to_the_end()
    assert {request.event for _, request in trial.cloud.changed} == {"disable"}
    assert {acts(report, one)[-1] for one in OLD} == {("empty", HostOutcome.UNKNOWN)}
    assert report.run.exit_code == 1


def test_a_vm_that_turns_up_on_hosts_without_any_is_a_target() -> None:
    """The run of hosts without a single VM takes in what somebody starts there meanwhile."""
    hosts = machines()
    hosts[0].seconds = 30.0
    trial = Trial([guest(9, None, state="Stopped")], hosts=hosts)

    async def somebody(_: Run) -> None:
        await anyio.sleep(10.0)
        late = trial.cloud.guests[uuid(9)]
        late.row = replace(late.row, state="Running", host_uuid="a2")

    report = trial.to_the_end(somebody)
    assert vm(report, 9).outcome is Outcome.STOPPED_CLEAN
    assert [acts(report, one) for one in OLD] == [EMPTIED, EMPTIED]


# ── verification ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_migrated_vm_that_is_back_has_come_back() -> None:
    """Moved back by somebody before verification: came_back, and with a host that was only disabled, not empty."""
    trial = Trial(guests(2), evacuate="{vms: migrate, hosts: disable}")

    async def somebody(_: Run) -> None:
        await anyio.sleep(60.0)
        back = trial.cloud.guests[uuid(0)]
        back.row = replace(back.row, host_uuid="a1")

    report = trial.to_the_end(somebody)
    assert vm(report, 0).outcome is Outcome.CAME_BACK
    assert acts(report, "a1")[-1] == ("empty", HostOutcome.NOT_EMPTY)
    assert report.run.exit_code == 1


def test_a_host_that_somebody_enables_has_come_back() -> None:
    """Maintained by us, enabled by somebody before the run's last words: came_back, exit code 1."""
    trial = Trial(guests(2))

    async def somebody(_: Run) -> None:
        await anyio.sleep(100.0)
        one = trial.cloud.machines["a1"]
        one.row = replace(one.row, state="Enabled")

    report = trial.to_the_end(somebody)
    assert acts(report, "a1")[-1] == ("maintain", HostOutcome.CAME_BACK)
    assert acts(report, "a2") == EMPTIED
    assert report.run.exit_code == 1


def test_what_stops_late_empties_its_host_after_all() -> None:
    """Failed at its turn and Stopped at verification: the host is looked at once more, and goes into maintenance."""
    some = guests(2)
    some[0].error = NodeError(code="SYS.1000")
    trial = Trial(some, more="stop: {fallback: none}")

    async def late(_: Run) -> None:
        await anyio.sleep(60.0)
        one = trial.cloud.guests[uuid(0)]
        one.row = replace(one.row, state="Stopped", host_uuid=None)

    report = trial.to_the_end(late)
    assert vm(report, 0).late
    assert acts(report, "a1") == EMPTIED
    assert report.run.exit_code == 0


# ── what must never happen ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("answer", [Lost(own_error("http.lost", "gone")), Refused(NodeError(code="SYS.1010"), 503)])
def test_a_maintenance_is_never_sent_again_to_a_host_with_a_vm(answer: SendResult) -> None:
    """Its first call is lost, or refused with nothing done, and somebody starts an excluded VM meanwhile: no second call."""
    hosts = machines()
    trial = Trial(
        [*guests(2), guest(9, None, kind="Odd", state="Stopped")], hosts=hosts,
        more="exclude: {where: [[type=Odd]], may_be_empty: true}",
    )  # fmt: skip

    async def somebody(_: Run) -> None:
        await anyio.sleep(3.0)
        hosts[0].answers = [answer] * 6
        while not any(request.event == "maintain" for _, request in trial.cloud.changed):  # noqa: ASYNC110 - virtual time
            await anyio.sleep(0.05)
        late = trial.cloud.guests[uuid(9)]
        late.row = replace(late.row, state="Running", host_uuid="a1")

    report = trial.to_the_end(somebody)
    assert [request.host_uuid for _, request in trial.cloud.changed if request.event == "maintain"].count("a1") == 1
    assert acts(report, "a1")[1:] == [("empty", HostOutcome.NOT_EMPTY), ("maintain", HostOutcome.NOT_EMPTY)]
    assert acts(report, "a2") == EMPTIED
    assert report.run.exit_code == 1


@pytest.mark.parametrize("at_end", ["cold", "abandon"])
def test_the_windows_end_changes_no_host_and_cuts_no_migration(at_end: str) -> None:
    """What is migrating then is not stopped on top, what is emptied later is not maintained, and nothing is sent twice."""
    some, hosts = guests(3), machines()
    some[0].migrate_seconds, some[0].migrate_error = 100.0, NodeError(code="VM.1007")
    some[1].migrate_seconds = 5.0
    hosts[1].seconds = 1.0
    end = f"window: {{end: 2027-01-15T08:17:40Z, at_end: {at_end}}}\nlimits: {{concurrency: 3}}"
    trial = Trial(some, evacuate="{vms: migrate_then_stop}", hosts=hosts, more=end)
    report = trial.to_the_end()
    assert trial.cloud.sent == []
    changed = [(request.host_uuid, request.event) for _, request in trial.cloud.changed]
    assert len(changed) == len(set(changed))
    assert ("a1", "maintain") not in changed
    assert acts(report, "a2") == EMPTIED
    assert report.run.exit_code in {1, 4}
    [ended] = [event.data for event in trial.events if event.kind == "window.ended"]
    assert (ended["in_flight"], ended["migrating"]) == (1, 1)
    cut = [("VMs in flight, abandoned", 1)] if at_end == "abandon" else []
    assert [(stop.scope, stop.count) for stop in report.run.stops if stop.scope != "run"] == cut


def test_a_maintenance_in_flight_at_the_windows_end_is_sent_once() -> None:
    """`at_end: cold` is about power: the change of a host goes on to its end, and its call is not repeated."""
    hosts = machines()
    trial = Trial(guests(2), hosts=hosts, more="window: {end: 2027-01-15T08:17:40Z, at_end: cold}")

    async def slow(_: Run) -> None:
        await anyio.sleep(3.0)
        hosts[0].seconds = hosts[1].seconds = 120.0

    report = trial.to_the_end(slow)
    assert [acts(report, one) for one in OLD] == [EMPTIED, EMPTIED]
    assert len(trial.cloud.changed) == 4


def test_a_migration_that_succeeds_late_is_not_stopped() -> None:
    """Its job times out at the node, and a minute later the VM is elsewhere: migrated, nothing else was sent."""
    some = guests(2)
    some[0].migrate_error = NodeError(code="VM.1007", cause=NodeError(code="SYS.1001"))
    trial = Trial(some, evacuate="{vms: migrate_then_stop}")

    async def arrives(_: Run) -> None:
        await anyio.sleep(75.0)
        some[0].row = replace(some[0].row, host_uuid="s1")

    report = trial.to_the_end(arrives)
    assert (vm(report, 0).outcome, vm(report, 0).migrated_to) == (Outcome.MIGRATED, "s1")
    assert trial.cloud.sent == []


def test_nobody_is_stopped_whose_migration_was_never_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not say where VMs could go is asked again; where it never does, they are failed, and run on."""
    trial = Trial(guests(2), evacuate="{vms: migrate_then_stop}")
    asked: list[str] = []

    async def moody(vm_uuid: str) -> list[HostRow]:
        asked.append(vm_uuid)
        raise QueryRefusedError("SYS.1000: an internal error")

    monkeypatch.setattr(trial.cloud, "candidates", moody)
    report = trial.to_the_end()
    assert {one.outcome for one in report.vms} == {Outcome.FAILED}
    assert trial.cloud.sent == []
    assert asked.count(uuid(0)) > 2


def test_a_vm_on_a_closed_host_is_not_begun_with_when_it_turns_up() -> None:
    """A host whose budget is crossed takes no newcomer: not reached (host_budget)."""
    some = [guest(0, "a1", error=NodeError(code="SYS.1006")), guest(2, "a1", seconds=40.0), guest(9, None, state="Stopped")]
    trial = Trial(some, more="stop: {fallback: none}\nbudget: {per_host: 0}")

    async def somebody(_: Run) -> None:
        await anyio.sleep(15.0)
        late = trial.cloud.guests[uuid(9)]
        late.row = replace(late.row, state="Running", host_uuid="a1")

    report = trial.to_the_end(somebody)
    assert (vm(report, 9).outcome, vm(report, 9).reason) == (Outcome.NOT_REACHED, Reason.HOST_BUDGET)
    assert len(trial.cloud.sent) == 2


def test_no_more_turn_up_than_the_plan_allows() -> None:
    """`guard.max_targets` holds for VMs that turn up as well: they are left, and the report warns of it."""
    trial = Trial([*guests(2, seconds=20.0), guest(9, None, state="Stopped")], more="guard: {max_targets: 2}")

    async def somebody(_: Run) -> None:
        await anyio.sleep(10.0)
        late = trial.cloud.guests[uuid(9)]
        late.row = replace(late.row, state="Running", host_uuid="a2")

    report = trial.to_the_end(somebody)
    assert len(trial.cloud.sent) == 2
    assert any("guard.max_targets 2" in warning for warning in report.run.warnings)
    assert acts(report, "a2")[-1] == ("empty", HostOutcome.NOT_EMPTY)


def test_a_lost_journal_while_a_vm_joins_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when somebody turns up: all sending stops, and the run says so instead of breaking off."""
    trial = Trial([*guests(2, seconds=20.0), guest(9, None, state="Stopped")])

    async def full(run_id: str, vms: Sequence[VmRecord]) -> None:
        raise JournalWriteError("disk full")

    async def go() -> None:
        run = await trial.begin()
        monkeypatch.setattr(trial.journal, "join", full)
        late = trial.cloud.guests[uuid(9)]
        late.row = replace(late.row, state="Running", host_uuid="a2")
        with pytest.raises(JournalLostError, match="disk full"):
            await run.run()

    run_virtual(go)
    assert trial.cloud.sent == []


def test_a_host_that_is_emptied_twice_while_it_waits_is_maintained_once() -> None:
    """Behind ten others it waits for its maintenance, and somebody starts a VM on it meanwhile: emptied again, sent once."""
    hosts = [Machine(HostRow(f"b{n}", f"host-b{n}", "Connected", "Enabled")) for n in range(12)]
    trial = Trial([guest(9, None, state="Stopped")], hosts=hosts)
    names = ",".join(one.row.uuid for one in hosts)
    text = f"version: 1\nname: many\ntargets: {{hosts: {{where: [['uuid?={names}']]}}}}\nevacuate: {{}}\n"
    trial.plan = plan_from_text(text, name="plan.yaml", folder=Path.cwd())

    async def somebody(_: Run) -> None:
        await anyio.sleep(3.0)
        for one in hosts:
            one.seconds = 60.0
        while not any(request.event == "maintain" for _, request in trial.cloud.changed):  # noqa: ASYNC110 - virtual time
            await anyio.sleep(0.05)
        late = trial.cloud.guests[uuid(9)]
        late.row = replace(late.row, state="Running", host_uuid="b11")

    report = trial.to_the_end(somebody)
    assert [acts(report, one.row.uuid) for one in hosts] == [EMPTIED] * 12
    maintained = [request.host_uuid for _, request in trial.cloud.changed if request.event == "maintain"]
    assert sorted(maintained) == sorted(one.row.uuid for one in hosts)
    assert report.run.exit_code == 0


def test_somebody_elses_maintenance_is_not_ended() -> None:
    """PreMaintenance when we come, Maintenance a moment later: that is as good, and nothing is sent to the host."""
    hosts = machines()
    hosts[0].row = replace(hosts[0].row, state="PreMaintenance")
    trial = Trial([guest(1, "a2")], hosts=hosts)

    async def theirs(_: Run) -> None:
        await anyio.sleep(10.0)
        hosts[0].row = replace(hosts[0].row, state="Maintenance")

    report = trial.to_the_end(theirs)
    assert [request.host_uuid for _, request in trial.cloud.changed] == ["a2", "a2"]
    assert acts(report, "a1")[0] == ("disable", HostOutcome.ALREADY)
    assert report.run.exit_code == 0


def test_a_host_that_somebody_enables_before_it_is_empty_is_not_maintained() -> None:
    """The node may have placed something on it by then: it has come back, and no maintenance is sent."""
    hosts = machines()
    trial = Trial(guests(2, seconds=20.0), hosts=hosts)

    async def somebody(_: Run) -> None:
        await anyio.sleep(10.0)
        hosts[0].row = replace(hosts[0].row, state="Enabled")

    report = trial.to_the_end(somebody)
    assert [request.event for _, request in trial.cloud.changed if request.host_uuid == "a1"] == ["disable"]
    assert acts(report, "a1")[0] == ("disable", HostOutcome.CAME_BACK)
    assert acts(report, "a1")[-1] == ("maintain", HostOutcome.FAILED)


def test_a_halt_in_verification_takes_no_word_back() -> None:
    """Ctrl-C when all is emptied: what was seen to be empty stays so, and the jobs under way are counted."""
    trial = Trial(guests(2), evacuate="{hosts: disable}")

    async def press(run: Run) -> None:
        await anyio.sleep(60.0)
        run.interrupt()

    report = trial.to_the_end(press)
    assert [acts(report, one) for one in OLD] == [EMPTIED[:2], EMPTIED[:2]]
    assert (report.run.status, report.run.exit_code) == ("finished", 0)


def test_ctrl_c_counts_the_hosts_whose_jobs_go_on() -> None:
    """Two maintenances under way at the node are two jobs that go on."""
    hosts = machines()
    trial = Trial(guests(2), hosts=hosts)

    async def press(run: Run) -> None:
        await anyio.sleep(3.0)
        hosts[0].seconds = hosts[1].seconds = 60.0
        await anyio.sleep(10.0)
        run.interrupt()

    trial.to_the_end(press)
    assert [event.data["jobs"] for event in trial.events if event.kind == "run.halted"] == [2]


def test_a_migration_under_way_counts_where_it_goes_in_the_next_process() -> None:
    """Killed with two migrations to the only host under way, and carried on: never more than two a host."""
    trial = Trial(
        guests(6, migrate_seconds=30.0), hosts=machines()[:3],
        evacuate="{vms: migrate, migrate: {per_host: 2, concurrency: 8}}",
    )  # fmt: skip

    async def go() -> None:
        run = await trial.begin()
        with anyio.move_on_after(8.0):
            await run.run()
        assert len(trial.cloud.in_flight) == 2
        await anyio.sleep(1.0)
        await (await trial.resume()).run()

    run_virtual(go)
    assert trial.report().totals["migrated"] == 6
    assert trial.cloud.peak == 2


def test_where_a_migration_of_an_earlier_process_went_is_told_by_its_name() -> None:
    """Nobody asks for candidates any more in the process that sees it arrive."""
    trial = Trial(guests(2, migrate_seconds=30.0), evacuate="{vms: migrate}", hosts=machines()[:3])

    async def go() -> None:
        run = await trial.begin()
        with anyio.move_on_after(8.0):
            await run.run()
        await (await trial.resume()).run()

    run_virtual(go)
    texts = [one.evidence.text for one in trial.report().vms if one.evidence is not None]
    assert [text.split("; ")[1] for text in texts] == ["it is on host host-s1"] * 2
    assert trial.report().run.destinations == {"s1": "host-s1"}


# ── carried on ─────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("vms", ["stop", "migrate", "migrate_then_stop"])
@pytest.mark.parametrize("every", [0.3, 0.7, 1.9, 4.3, 9.0, 23.0])
def test_killed_again_and_again_it_comes_to_the_same_end(vms: str, every: float) -> None:
    """Killed between any two steps: each host is changed once, each VM sent once, and all is done in the end."""
    hosts = machines()
    for one in hosts:
        one.seconds = 2.0
    some = guests(5, seconds=7.0)
    some[4].candidates = [] if vms == "migrate_then_stop" else None
    trial = Trial(some, evacuate=f"{{vms: {vms}}}", hosts=hosts, more="verify: {after: 20s}")

    async def go() -> None:
        run = await trial.begin()
        for _ in range(400):
            with anyio.move_on_after(every):
                await run.run()
            if trial.report().run.status != "running":
                return
            await anyio.sleep(1.0)
            run = await trial.resume()
        raise AssertionError("it never ends")

    run_virtual(go)
    report = trial.report()
    assert report.run.exit_code == 0, [(one.name, one.outcome, one.evidence) for one in report.vms]
    assert [acts(report, one) for one in OLD] == [EMPTIED, EMPTIED]
    sent = [request.vm_uuid for _, request in trial.cloud.sent]
    sent += [request.vm_uuid for _, request in trial.cloud.migrated]
    assert sorted(sent) == sorted(trial.cloud.guests)
    changed = [(request.host_uuid, request.event) for _, request in trial.cloud.changed]
    assert sorted(changed) == sorted((one, event) for one in OLD for event in ("disable", "maintain"))
    begun = max(number for number, event in enumerate(trial.events) if event.kind in {"run.started", "run.resumed"})
    picture = Picture()
    for event in trial.events[begun:]:
        picture(event)
    assert picture.host_deeds == {host.uuid: dict(acts(report, host.uuid)) for host in report.hosts if host.uuid in OLD}


def test_what_migrates_already_counts_at_the_far_end() -> None:
    """Carried on, a run sends no more to a host than it takes, with those from the process before."""
    trial = Trial(guests(6, migrate_seconds=30.0), evacuate="{vms: migrate}", hosts=machines()[:3])

    async def go() -> None:
        run = await trial.begin()
        for seconds in (12.0, 11.0, 400.0):
            with anyio.move_on_after(seconds):
                await run.run()
                return
            run = await trial.resume()

    run_virtual(go)
    assert trial.report().totals["migrated"] == 6
    assert trial.cloud.peak == 2


# ── the way back ───────────────────────────────────────────────────────────────────────────────────────────────────
async def restore(trial: Trial) -> Run:
    """A restore of the first run, not yet begun."""
    parent = trial.journal.report("first").run
    undo = await plan_undo([parent], trial.journal, trial.cloud, include_late=False, took=trial.journal.took)
    changes = {
        "id": "second", "action": "start", "parent_run": "first", "status": "running", "exit_code": None,
        "finished_at": None, "started_at": SteadyClock().wall(), "evacuate": None,
    }  # fmt: skip
    kept = trial.journal.plan_file("first")
    return trial.of(undo.opening(reversed_plan(trial.plan.plan), parent.model_copy(update=changes), kept))


@pytest.mark.parametrize("killed", [False, True])
def test_a_restore_waits_until_its_hosts_are_connected(killed: bool) -> None:
    """Killed while it waits or not: no VM is started before the host it came from is Connected again."""
    hosts = machines()
    trial = Trial(guests(4), hosts=hosts)
    connected: list[float] = []

    async def connect() -> None:
        for one in hosts[:2]:
            while one.row.state != "Enabled":  # noqa: ASYNC110 - virtual time
                await anyio.sleep(0.1)
            one.row = replace(one.row, status="Connecting")
        await anyio.sleep(60.0)
        connected.append(anyio.current_time())
        for one in hosts[:2]:
            one.row = replace(one.row, status="Connected")

    async def go() -> None:
        await (await trial.begin()).run()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect)
            run = await restore(trial)
            if killed:
                with anyio.move_on_after(10.0):
                    await run.run()
                waiting = trial.journal.report("second").document()
                assert [acts(waiting, one) for one in OLD] == [[("enable", None)]] * 2
                assert "0 of 2 hosts" in verdict(trial.journal.report("second"))
                await trial.journal.take_over("second", DEAD)
                kept = kept_plan(trial.journal.plan_file("second"))
                kept = replace(kept, plan=reversed_plan(kept.plan))
                second = trial.journal.report("second").run
                run = trial.of(take_up(second, kept, trial.journal, trial.cloud, ahead_seconds=0.0, clock=SteadyClock()))
            await run.run()

    run_virtual(go)
    report = trial.journal.report("second").document()
    assert (report.totals["started"], report.run.exit_code) == (4, 0)
    assert min(at for at, _ in trial.cloud.started) > connected[0]
    assert [acts(report, one) for one in OLD] == [[("enable", HostOutcome.DONE)]] * 2
    assert [event for _, request in trial.cloud.changed if (event := request.event) == "enable"] == ["enable"] * 2
    told = [
        event.data["outcome"] for event in trial.events if event.kind == "host.outcome" and event.data["action"] == "enable"
    ]
    assert told == ["done", "done"], "once each, when they are connected"


def test_what_was_disabled_before_is_disabled_afterwards() -> None:
    """A host that was Disabled before the run put it into maintenance is taken out of that, and not enabled."""
    hosts = machines()
    hosts[0].row = replace(hosts[0].row, state="Disabled")
    trial = Trial(guests(2), hosts=hosts)

    async def go() -> None:
        await (await trial.begin()).run()
        await (await restore(trial)).run()

    run_virtual(go)
    assert [trial.cloud.machines[one].row.state for one in OLD] == ["Disabled", "Enabled"]
    report = trial.journal.report("second").document()
    assert [acts(report, one) for one in OLD] == [[("disable", HostOutcome.DONE)], [("enable", HostOutcome.DONE)]]


def test_a_host_that_somebody_has_had_since_is_left() -> None:
    """Enabled by somebody it is so already; in another state than we left it in it is left, and named."""
    trial = Trial(guests(2))

    async def go() -> None:
        await (await trial.begin()).run()
        for uuid, state in (("a1", "Enabled"), ("a2", "Disabled")):
            one = trial.cloud.machines[uuid]
            one.row = replace(one.row, state=state)
        await (await restore(trial)).run()

    run_virtual(go)
    report = trial.journal.report("second").document()
    assert [acts(report, one) for one in OLD] == [[("enable", HostOutcome.ALREADY)], [("enable", HostOutcome.LEFT)]]
    assert not [request for _, request in trial.cloud.changed if request.event == "enable"]


def test_what_migrations_took_is_known_the_next_time() -> None:
    """The forecast of a second run rests on what the VMs took to migrate in the first."""
    trial = Trial(guests(4), evacuate="{vms: migrate, hosts: leave}")
    trial.to_the_end()
    took = trial.journal.took("migrate", [uuid(n) for n in range(4)])
    assert all(9.0 < seconds[0] < 15.0 for seconds in took.values())
    assert len(took) == 4
    for one in trial.cloud.guests.values():
        one.row = replace(one.row, host_uuid=OLD[int(one.row.uuid, 16) % 2])

    async def again() -> Prepared:
        return await prepare(trial.plan, trial.cloud, strict=False, took=trial.journal.took)

    forecast = run_virtual(again).preview.forecast
    assert forecast is not None
    assert "what all 4 VMs took last time" in forecast.rests_on
