"""The report of a made-up run that emptied four hosts, and of its restore."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.model.outcome import AttemptReason, AttemptResult, AttemptType, HostOutcome, Outcome, Reason
from orchestrator.model.report import (
    AttemptRecord,
    EvacuationRecord,
    Evidence,
    HostAction,
    HostActionRecord,
    HostRecord,
    LeftOnHost,
    RunRecord,
    RunReport,
    VmRecord,
    WaveRecord,
    cause_of_failure,
)
from orchestrator.model.report import Cause as CauseRecord

START = datetime(2026, 11, 28, 14, tzinfo=UTC)
HOSTS = tuple(f"{number:032x}" for number in range(1, 5))
ELSEWHERE = ("e" * 32, "d" * 32)
"""Hosts that are not emptied and not in the report."""
ENTER = {"code": "HOST.1001", "details": "not entered", "cause": {"code": "SYS.1003", "details": "a volume is busy"}}
NO_MOVE = {"code": "HOST.1007", "details": "not migrated", "cause": {"code": "KVM.1000", "details": "it kept writing"}}


def at(seconds: float) -> str:
    """So many seconds after the run's start."""
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def name_of(host: str) -> str:
    """What a host of the run is called."""
    return f"rack-12-host-{int(host, 16):02}"


def attempt(
    type_: AttemptType, sent: float, ended: float | None, *, host: str | None = None, error: dict[str, Any] | None = None,
    reason: AttemptReason = AttemptReason.PLAN,
) -> AttemptRecord:  # fmt: skip
    """One call, over so many seconds after the run's start; None: it still runs."""
    result = AttemptResult.RUNNING if ended is None else AttemptResult.SUCCEEDED if error is None else AttemptResult.FAILED
    return AttemptRecord(
        type=type_, reason=reason, job_uuid=f"{int(sent * 10):032x}", api_timeout_seconds=300, sent_at=at(sent),
        ended_at=None if ended is None else at(ended), result=result, error=error, host_uuid=host,
    )  # fmt: skip


def deed(
    action: HostAction, outcome: HostOutcome | None, begun: float, ended: float | None = None, *, evidence: str = "",
    error: dict[str, Any] | None = None, states: tuple[str, str] = ("Enabled", "Disabled"),
) -> HostActionRecord:  # fmt: skip
    """One thing that was to be done to a host."""
    sent = outcome in {None, HostOutcome.DONE, HostOutcome.FAILED, HostOutcome.UNKNOWN}
    return HostActionRecord(
        action=action, outcome=outcome, evidence=evidence or None, state_before=states[0],
        state=states[1] if outcome is HostOutcome.DONE else states[0], started_at=at(begun),
        finished_at=None if outcome is None else at(ended if ended is not None else begun + 2),
        attempts=(attempt(AttemptType(action), begun, ended, error=error),) if sent else (), error=error,
    )  # fmt: skip


def disabled(begun: float = 1.0) -> HostActionRecord:
    """The host was disabled."""
    return deed("disable", HostOutcome.DONE, begun, begun + 2, evidence="the node says that it is Disabled")


def maintained(begun: float) -> HostActionRecord:
    """And put into maintenance."""
    evidence = "it is empty, and the node says that it is in Maintenance"
    return deed("maintain", HostOutcome.DONE, begun, begun + 12, evidence=evidence, states=("Disabled", "Maintenance"))


STAYS = ("Disabled", "Disabled")
NOT_EMPTY = deed("maintain", HostOutcome.NOT_EMPTY, 300, 301, evidence="2 VMs are left on it: db-3, keeper", states=STAYS)
REFUSED = deed("maintain", HostOutcome.FAILED, 200, 230, error=ENTER, states=STAYS)
UNDER_WAY = deed("maintain", None, 200, states=STAYS)


def moved(number: int, host: str, begun: float) -> VmRecord:
    """A VM that migrated."""
    to = ELSEWHERE[number % 2]
    return VmRecord(
        uuid=f"a{number:031x}", name=f"app-{number}", type="UserVm", host_uuid=host, wave="app", outcome=Outcome.MIGRATED,
        state_before="Running", state="Running", migrated_to=to, started_at=at(begun), finished_at=at(begun + 25),
        elapsed_seconds=25.0, verified_at=at(600), attempts=(attempt(AttemptType.MIGRATE, begun, begun + 25, host=to),),
        evidence=Evidence(text=f"it runs on rack-9-host-0{number % 2 + 1} now", seconds=25.0, basis="job"),
    )  # fmt: skip


def stopped(number: int, host: str, begun: float) -> VmRecord:
    """A VM whose migration failed, and that was stopped for it."""
    calls = (
        attempt(AttemptType.MIGRATE, begun, begun + 20, host=ELSEWHERE[0], error=NO_MOVE),
        attempt(AttemptType.GRACE, begun + 20, begun + 41, reason=AttemptReason.ERROR),
    )
    return VmRecord(
        uuid=f"b{number:031x}", name=f"db-{number}", type="UserVm", host_uuid=host, wave="db", outcome=Outcome.STOPPED_CLEAN,
        state_before="Running", state="Stopped", started_at=at(begun), finished_at=at(begun + 41), elapsed_seconds=41.0,
        verified_at=at(600), attempts=calls,
        evidence=Evidence(text="it took effect 21 s after it was sent", seconds=21.0, basis="job"),
    )  # fmt: skip


def failed(number: int, host: str, begun: float) -> VmRecord:
    """A VM that could neither be migrated nor stopped."""
    return VmRecord(
        uuid=f"c{number:031x}", name=f"db-{number}", type="UserVm", host_uuid=host, wave="db", outcome=Outcome.FAILED,
        state_before="Running", state="Running", started_at=at(begun), finished_at=at(begun + 90), elapsed_seconds=90.0,
        verified_at=at(600), error=NO_MOVE, evidence=Evidence(text="it runs where it ran"),
        attempts=(attempt(AttemptType.MIGRATE, begun, begun + 90, host=ELSEWHERE[1], error=NO_MOVE),),
    )  # fmt: skip


def protected(host: str) -> VmRecord:
    """A VM that must stay where it is."""
    return VmRecord(
        uuid="d" * 32, name="keeper", type="UserVm", host_uuid=host, wave="app", outcome=Outcome.SKIPPED,
        reason=Reason.PROTECTED, state_before="Running", state="Running", evidence=Evidence(text="nothing was sent"),
    )  # fmt: skip


def the_vms() -> list[VmRecord]:
    """Of the first three hosts; there are none on the fourth."""
    one, two, three, _ = HOSTS
    vms = [moved(number, HOSTS[number % 3], 4 + 25.0 * (number // 6)) for number in range(24)]
    vms += [stopped(1, one, 104), stopped(2, three, 104), failed(3, two, 130), protected(two)]
    return vms


LEFT = (
    LeftOnHost(uuid=f"c{3:031x}", name="db-3", type="UserVm", state="Running", why="failed", cause="HOST.1007 <- KVM.1000"),
    LeftOnHost(uuid="d" * 32, name="keeper", type="UserVm", state="Running", why="protected"),
)


def totals_of(vms: list[VmRecord]) -> dict[str, int]:
    """The totals that belong to these VMs."""
    counts = Counter(vm.outcome for vm in vms)
    return {"targets": len(vms), **{outcome.value: counts[outcome] for outcome in Outcome}}


def host(uuid: str, vms: list[VmRecord], *actions: HostActionRecord, **given: Any) -> HostRecord:
    """One host, empty but for what is given."""
    totals = totals_of([vm for vm in vms if vm.host_uuid == uuid])
    state = next((action.state for action in reversed(actions)), "Enabled")
    values: dict[str, Any] = {"name": name_of(uuid), "status": "Connected", "state": state, "left_on_host": (), **given}
    return HostRecord(uuid=uuid, totals={key: count for key, count in totals.items() if count}, actions=actions, **values)


def evacuated(*, last: HostActionRecord | None = None, **run: Any) -> RunReport:
    """The run. `last`: what became of the fourth host's maintenance; it was done without it."""
    vms = the_vms()
    one, two, three, four = HOSTS
    already = deed("disable", HostOutcome.ALREADY, 1, evidence="it was Disabled", states=STAYS)
    hosts = (
        host(one, vms, disabled(), maintained(150)),
        host(two, vms, disabled(), NOT_EMPTY, left_on_host=LEFT),
        host(three, vms, already, maintained(146)),
        host(four, vms, disabled(), last or maintained(4)),
    )
    return report_of(vms, hosts, **run)


def report_of(vms: list[VmRecord], hosts: tuple[HostRecord, ...], **run: Any) -> RunReport:
    """A report over these."""
    given: dict[str, Any] = {
        "status": "finished", "finished_at": at(620), "exit_code": 1,
        "evacuate": EvacuationRecord(vms="migrate_then_stop", hosts="maintain"),
        "destinations": {ELSEWHERE[0]: "rack-9-host-01"}, **run,
    }  # fmt: skip
    causes = [vm for vm in vms if cause_of_failure(vm) is not None]
    return RunReport(
        run=RunRecord(
            id="20261128T140000Z-7f3a", plan="rack-12-evacuate", reference="CHG-20417", plan_digest="sha256:00",
            plan_text="name: x", endpoint="http://mn.example:8080/zstack", tool_version="0.1.0", started_by="ops@jump1",
            started_at=at(0), **given,
        ),
        totals=totals_of(vms),
        causes=tuple(
            CauseRecord(cause=str(cause_of_failure(vm)), count=1, hosts=(name_of(vm.host_uuid or "0"),), vms=(vm.uuid,))
            for vm in causes
        ),
        waves=(
            WaveRecord(name="app", started_at=at(4), finished_at=at(104), totals=totals_of(vms)),
            WaveRecord(name="db", started_at=at(104), finished_at=at(220), totals=totals_of(vms)),
        ),
        hosts=hosts,
        vms=lambda: iter(vms),
    )  # fmt: skip


def restored(*actions: HostActionRecord, vms: list[VmRecord] | None = None, **run: Any) -> RunReport:
    """A restore with these actions, each on a host of its own."""
    started = vms if vms is not None else [VmRecord(uuid="b" * 32, name="db-1", host_uuid=HOSTS[0], outcome=Outcome.STARTED)]
    hosts = tuple(host(uuid, started, action, left_on_host=None) for uuid, action in zip(HOSTS, actions, strict=False))
    return report_of(started, hosts, **{"action": "start", "evacuate": None, **run})
