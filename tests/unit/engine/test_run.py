"""A whole run over the scripted cloud, in virtual time: minutes of waiting, nothing slept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.engine.aside import Aside
from orchestrator.engine.prepare import new_run_id, prepare
from orchestrator.engine.records import Prepared, opening, run_record
from orchestrator.engine.run import JournalLostError, Run
from orchestrator.errors import JournalError
from orchestrator.journal.interface import JournalWriteError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.owner import this_process
from orchestrator.model.event import Event
from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import AttemptRecord, ReportDocument, RunReport, VmRecord
from orchestrator.model.target import JobMissing, JobRunning, Lost, VmRow
from orchestrator.plan.load import plan_from_text
from tests.virtual import run_virtual

PLAN = """
version: 1
name: test
targets:
  where: [[type=UserVm]]
limits: {{concurrency: {concurrency}, per_host: {per_host}, node_outage: 2m}}
stop: {{fallback: {fallback}}}
verify: {{after: {verify}}}
"""


def guest(number: int, host: int = 0, **changes: object) -> Guest:
    """A Running VM on a host."""
    row = VmRow(f"{number:032x}", f"vm-{number}", "UserVm", "Running", f"h{host}", "c", None)
    return Guest(row, **changes)  # type: ignore[arg-type]


def chain(*codes: str) -> NodeError:
    """A chain of errors, outermost first."""
    error: NodeError | None = None
    for code in reversed(codes):
        error = NodeError(code=code, cause=error)
    assert error is not None
    return error


class Trial:
    """One run with everything a test may want to look at."""

    def __init__(self, guests: Sequence[Guest], **options: object) -> None:
        values = {"concurrency": 10, "per_host": 5, "fallback": "cold", "verify": "2m"} | options
        self.cloud = MemoryCloud(guests)
        self.journal = MemoryJournal()
        self.plan = plan_from_text(PLAN.format(**values), name="plan.yaml", folder=Path.cwd())
        self.events: list[Event] = []
        self.during: list[Callable[..., object]] = []
        self.began = self.seconds = 0.0
        self.the_run: Run | None = None

    async def go(self) -> ReportDocument:
        """Run it; `during` are coroutine functions that run beside it."""
        self.began = anyio.current_time()
        with Aside() as aside:
            return await self._go(await prepare(self.plan, self.cloud, strict=False, aside=aside))

    async def _go(self, prepared: Prepared) -> ReportDocument:
        now = datetime.now(UTC)
        record = run_record(prepared, run_id=new_run_id(now), started_at=now.isoformat(), started_by="t@t", tool_version="0")
        self.the_run = Run(
            opening(prepared, record), self.cloud, self.journal, owner=this_process("t@t"), listeners=[self.events.append]
        )
        report: RunReport | None = None
        lost: JournalLostError | None = None
        async with anyio.create_task_group() as tasks:
            for act in self.during:
                tasks.start_soon(act, self)  # type: ignore[arg-type]
            try:
                report = await self.the_run.run()
            except JournalLostError as error:
                lost = error  # raised below: a task group would wrap it
            self.seconds = anyio.current_time() - self.began
            tasks.cancel_scope.cancel()
        if lost is not None:
            raise lost
        assert report is not None
        return report.document()


def outcomes(report: ReportDocument) -> list[Outcome | None]:
    """The outcomes in the plan's order."""
    return [vm.outcome for vm in report.vms]


def test_obeying_guests_stop_clean() -> None:
    """Twenty VMs that obey end stopped_clean, totals sum up, exit code 0, and the limits held."""
    trial = Trial([guest(n, n % 2) for n in range(20)])
    report = run_virtual(trial.go)
    assert set(outcomes(report)) == {Outcome.STOPPED_CLEAN}
    assert report.run.exit_code == 0
    assert report.run.status == "finished"
    assert report.totals["targets"] == 20 == sum(v for k, v in report.totals.items() if k != "targets")
    assert trial.cloud.peak <= 10
    assert all(vm.attempts[0].result == "succeeded" for vm in report.vms)
    assert {host.uuid: host.left_on_host for host in report.hosts} == {"h0": (), "h1": ()}


def test_the_intent_is_written_before_the_put() -> None:
    """Every job id the cloud sees was in the journal when its PUT left."""
    written: list[str] = []

    class Spy(MemoryJournal):
        async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
            await super().intend(run_id, vm_uuid, number, attempt, state)
            written.append(attempt.job_uuid)

    class Cloud(MemoryCloud):
        async def send(self, request, leaving):  # type: ignore[no-untyped-def]
            assert request.job_uuid in written
            return await super().send(request, leaving)

    trial = Trial([guest(1)])
    trial.journal = Spy()
    trial.cloud = Cloud(list(trial.cloud.guests.values()))
    assert outcomes(run_virtual(trial.go)) == [Outcome.STOPPED_CLEAN]


def test_a_job_that_never_ends_meets_our_deadline_and_gets_cold() -> None:
    """Grace hangs for ever: after grace_timeout and 10 s the state is read, then cold is sent once."""
    trial = Trial([guest(1, seconds=None)])
    report = run_virtual(trial.go)
    assert outcomes(report) == [Outcome.STOPPED_COLD]
    grace, cold = report.vms[0].attempts
    assert (grace.result, cold.type, cold.reason) == ("timed_out", "cold", "timeout")
    assert trial.cloud.sent[1][0] - trial.cloud.sent[0][0] == pytest.approx(250, abs=1)


def test_without_fallback_a_hung_job_is_unknown_while_stopping() -> None:
    """fallback: none with a hung job and Stopping is unknown, still_stopping."""
    report = run_virtual(Trial([guest(1, seconds=None)], fallback="none").go)
    assert outcomes(report) == [Outcome.UNKNOWN]
    assert report.vms[0].reason is Reason.STILL_STOPPING
    assert report.run.exit_code == 1


def test_equal_failures_are_one_cause() -> None:
    """Fourteen VMs of one dead host are one line of causes with that host, and none got cold."""
    error = chain("VM.1002", "HOST.1011", "HOST.1010")
    trial = Trial([guest(n, error=error, seconds=0.5) for n in range(14)] + [guest(99, 1)])
    report = run_virtual(trial.go)
    assert report.totals["failed"] == 14
    assert [(cause.cause, cause.count) for cause in report.causes] == [("VM.1002 <- HOST.1011 <- HOST.1010", 14)]
    assert report.causes[0].hosts == ("host-h0",)
    assert all(request.type == "grace" for _, request in trial.cloud.sent)
    left = next(host for host in report.hosts if host.uuid == "h0").left_on_host
    assert left is not None
    assert {vm.why for vm in left} == {"failed"}


def test_first_ctrl_c_ends_all_sending_and_watches_what_is_in_flight() -> None:
    """After the first signal no PUT leaves; VMs in flight get their outcome, the others are not_reached (operator)."""
    trial = Trial([guest(n, seconds=20.0) for n in range(12)], per_host=4)

    async def press(this: Trial) -> None:
        await anyio.sleep(5)
        assert this.the_run is not None
        this.the_run.interrupt()

    trial.during.append(press)
    report = run_virtual(trial.go)
    assert len(trial.cloud.sent) == 4
    assert report.totals["stopped_clean"] == 4
    assert report.totals["not_reached"] == 8
    assert {vm.reason for vm in report.vms if vm.outcome is Outcome.NOT_REACHED} == {Reason.OPERATOR}
    assert (report.run.status, report.run.ended_by, report.run.exit_code) == ("stopped_early", "operator", 4)


def test_no_cold_after_a_signal() -> None:
    """A grace that times out after Ctrl-C gets no cold: failed or unknown, never a power cut."""
    trial = Trial([guest(1, seconds=None)])

    async def press(this: Trial) -> None:
        await anyio.sleep(5)
        assert this.the_run is not None
        this.the_run.interrupt()

    trial.during.append(press)
    report = run_virtual(trial.go)
    assert [request.type for _, request in trial.cloud.sent] == ["grace"]
    assert outcomes(report) == [Outcome.UNKNOWN]


def test_second_ctrl_c_leaves_at_once() -> None:
    """130: VMs in flight keep no outcome, the run is interrupted, and it took no longer than the signals."""
    trial = Trial([guest(n, seconds=100.0) for n in range(3)])

    async def press(this: Trial) -> None:
        assert this.the_run is not None
        await anyio.sleep(5)
        this.the_run.interrupt()
        await anyio.sleep(1)
        this.the_run.leave()

    trial.during.append(press)
    report = run_virtual(trial.go)
    assert (report.run.status, report.run.exit_code) == ("interrupted", 130)
    assert outcomes(report) == [None, None, None]
    assert trial.seconds < 10


def test_a_node_away_for_less_than_the_limit_fails_nobody() -> None:
    """The line is cut for a minute of the two allowed: every VM is stopped all the same."""
    trial = Trial([guest(n, seconds=20.0) for n in range(8)], per_host=2)

    async def cut(this: Trial) -> None:
        await anyio.sleep(10)
        this.cloud.away = True
        await anyio.sleep(60)
        this.cloud.away = False

    trial.during.append(cut)
    report = run_virtual(trial.go)
    assert report.totals["failed"] == report.totals["unknown"] == report.totals["not_reached"] == 0
    assert {"node.away", "node.back"} <= {event.kind for event in trial.events}


def test_a_node_away_for_longer_ends_the_run() -> None:
    """After node_outage: sent ones are unknown, the rest not_reached (node), exit code 4."""
    trial = Trial([guest(n, seconds=20.0) for n in range(8)], per_host=2)

    async def cut(this: Trial) -> None:
        await anyio.sleep(10)
        this.cloud.away = True

    trial.during.append(cut)
    report = run_virtual(trial.go)
    assert report.totals["unknown"] == 2
    assert report.totals["not_reached"] == 6
    assert {vm.reason for vm in report.vms if vm.outcome is Outcome.NOT_REACHED} == {Reason.NODE}
    assert (report.run.ended_by, report.run.exit_code) == ("node", 4)


def test_who_comes_back_is_found_by_verification() -> None:
    """A VM that runs again two minutes after the last stop is came_back, and its host is not empty."""
    trial = Trial([guest(1), guest(2)])

    async def ha(this: Trial) -> None:
        await anyio.sleep(60)
        back = this.cloud.guests[f"{1:032x}"]
        back.row = replace(back.row, state="Running")

    trial.during.append(ha)
    report = run_virtual(trial.go)
    assert outcomes(report) == [Outcome.CAME_BACK, Outcome.STOPPED_CLEAN]
    assert report.run.exit_code == 1
    assert all(vm.verified_at for vm in report.vms)


def test_a_late_stop_is_judged_again() -> None:
    """Unknown at its deadline, Stopped at verification: judged again, late."""
    trial = Trial([guest(1, seconds=300.0)], fallback="none")
    report = run_virtual(trial.go)
    assert outcomes(report) == [Outcome.STOPPED_FORCED]
    assert report.vms[0].late
    assert report.vms[0].check_after_start


def test_already_stopped_gets_no_call() -> None:
    """A VM found Stopped is already_stopped, with its inventory, and nothing was sent to it."""
    off = guest(1)
    off.row = replace(off.row, state="Stopped", host_uuid=None)
    trial = Trial([off, guest(2)])
    report = run_virtual(trial.go)
    assert outcomes(report) == [Outcome.ALREADY_STOPPED, Outcome.STOPPED_CLEAN]
    assert report.vms[0].inventory is not None
    assert [request.vm_uuid for _, request in trial.cloud.sent] == [f"{2:032x}"]


def test_a_lost_put_goes_out_again_under_the_same_id() -> None:
    """The answer is lost and the node knows no such job: the same id is sent again, one attempt in the report."""
    trial = Trial([guest(1, answers=[Lost(chain("http.lost"))])])
    report = run_virtual(trial.go)
    assert outcomes(report) == [Outcome.STOPPED_CLEAN]
    first, second = (request.job_uuid for _, request in trial.cloud.sent)
    assert first == second
    assert len(report.vms[0].attempts) == 1


def test_a_vm_that_moved_takes_its_slot_on_the_new_host() -> None:
    """Read on another host at its turn, a VM waits for a slot there: per_host holds on the host last read."""
    guests = [guest(n, 0, seconds=30.0) for n in range(2)] + [guest(9, 1, seconds=30.0)]
    trial = Trial(guests, per_host=1)

    class Cloud(MemoryCloud):
        async def read(self, uuids):  # type: ignore[no-untyped-def]
            moved = self.guests[f"{9:032x}"]
            moved.row = replace(moved.row, host_uuid="h0")
            return await super().read(uuids)

    trial.cloud = Cloud(guests)
    report = run_virtual(trial.go)
    assert set(outcomes(report)) == {Outcome.STOPPED_CLEAN}
    assert trial.cloud.peak == 1


def test_a_journal_that_breaks_stops_all_sending() -> None:
    """Once an intent cannot be written no PUT leaves any more, and the run ends with one sentence and exit code 4."""

    class Full(MemoryJournal):
        async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
            if len(trial.cloud.sent) >= 3:
                raise JournalWriteError("the journal cannot be written (disk full)")
            await super().intend(run_id, vm_uuid, number, attempt, state)

    trial = Trial([guest(n, seconds=10.0) for n in range(20)], per_host=1)
    trial.journal = Full()
    with pytest.raises(JournalLostError, match="disk full") as caught:
        run_virtual(trial.go)
    assert caught.value.exit_code == 4
    assert len(trial.cloud.sent) == 3


def test_a_not_reached_vm_keeps_its_inventory() -> None:
    """The last inventory seen is in the report of a VM whose turn never came."""
    trial = Trial([guest(n, seconds=30.0) for n in range(3)], per_host=1)

    async def press(this: Trial) -> None:
        await anyio.sleep(1)
        assert this.the_run is not None
        this.the_run.interrupt()

    trial.during.append(press)
    report = run_virtual(trial.go)
    assert outcomes(report).count(Outcome.NOT_REACHED) == 2
    assert all(vm.inventory is not None and vm.inventory["uuid"] == vm.uuid for vm in report.vms)


def test_a_job_that_turns_up_late_counts_as_sent() -> None:
    """Unknown to the node at first, then running: the call arrived after all, and the VM's end is ours."""

    class Slow(MemoryCloud):
        late = 0

        async def send(self, request, leaving):  # type: ignore[no-untyped-def]
            await super().send(request, leaving)
            return Lost(chain("http.lost"))

        async def look(self, job_uuid):  # type: ignore[no-untyped-def]
            self.late += 1
            if self.late <= 2:
                return JobMissing()
            return JobRunning()

    trial = Trial([guest(1, seconds=20.0)])
    trial.cloud = Slow(list(trial.cloud.guests.values()))
    report = run_virtual(trial.go)
    assert outcomes(report) == [Outcome.STOPPED_CLEAN]
    assert len(trial.cloud.sent) == 1
    assert report.vms[0].attempts[0].result == "timed_out"


def test_the_last_inventory_is_kept_where_no_newer_one_comes() -> None:
    """The node goes away for good after a PUT: the report has the VM as it was read at its turn, not as it was resolved."""
    trial = Trial([guest(0, seconds=30.0), guest(1, seconds=None)], concurrency=1)
    second = list(trial.cloud.guests.values())[1]

    async def meddle(this: Trial) -> None:
        await anyio.sleep(10)
        second.row = replace(second.row, host_uuid="f" * 32)
        await anyio.sleep(40)  # the first one has ended, and the second is sent
        assert [request.vm_uuid for _, request in this.cloud.sent][-1] == second.row.uuid
        this.cloud.away = True

    trial.during.append(meddle)
    report = run_virtual(trial.go)
    assert report.vms[1].outcome is Outcome.UNKNOWN
    assert report.vms[1].inventory is not None
    assert report.vms[1].inventory["hostUuid"] == "f" * 32


def test_a_journal_that_cannot_be_read_at_verification_ends_no_run() -> None:
    """Every stop is done and durable: the outcomes stay as they are, and a warning says that nobody looked again."""

    class Unreadable(MemoryJournal):
        def vms(self, run_id: str, uuids: Sequence[str] | None = None) -> Iterator[VmRecord]:
            if uuids is not None:
                raise JournalError("a row of it makes no sense")
            return super().vms(run_id)

    trial = Trial([guest(n) for n in range(3)])
    trial.journal = Unreadable()
    report = run_virtual(trial.go)
    assert outcomes(report) == [Outcome.STOPPED_CLEAN] * 3
    assert report.run.status == "finished"
    assert "verification could not read 3 VMs" in report.run.warnings[-1]
