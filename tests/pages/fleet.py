"""Reports of made-up runs of any size, for pages to be looked at."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from orchestrator.model.outcome import AttemptReason, AttemptResult, AttemptType, Outcome, Reason
from orchestrator.model.report import (
    AttemptRecord,
    Cause,
    Evidence,
    HostRecord,
    RunRecord,
    RunReport,
    VmRecord,
    WaveRecord,
    WindowRecord,
)

START = datetime(2026, 11, 28, 14, tzinfo=UTC)
CAUSE = "VM.1002 <- HOST.1011"
ERROR = {"code": "VM.1002", "details": "grace failed", "cause": {"code": "HOST.1011", "details": "the host is away"}}
_OUTCOMES = (
    [Outcome.STOPPED_CLEAN] * 42 + [Outcome.STOPPED_FORCED] * 2 + [Outcome.FAILED] * 2
    + [Outcome.STOPPED_COLD, Outcome.UNKNOWN, Outcome.ALREADY_STOPPED, Outcome.NOT_REACHED]
)  # fmt: skip
_UNSENT = {Outcome.ALREADY_STOPPED, Outcome.NOT_REACHED}


def at(seconds: float) -> str:
    """So many seconds after the run's start."""
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def fleet(count: int, *, hosts: int | None = None, seed: int = 1) -> RunReport:
    """A run of `count` VMs in two waves, five at a time on each host, with every kind of outcome among them."""
    chance = random.Random(seed)
    uuids = [f"{number:032x}" for number in range(hosts or max(2, count // 10))]
    free = {uuid: [0.0] * 5 for uuid in uuids}
    vms = [_vm(number, uuids[number % len(uuids)], free, chance) for number in range(count)]
    end = max(max(lanes) for lanes in free.values())
    return report_of(vms, uuids, end)


def report_of(vms: list[VmRecord], hosts: list[str], end: float, **run: Any) -> RunReport:
    """The report over these VMs, its run over `end` seconds after its start."""
    totals = _totals(vms)
    by_host = {uuid: list[VmRecord]() for uuid in hosts}
    for vm in vms:
        if vm.host_uuid in by_host:
            by_host[vm.host_uuid].append(vm)
    failed = tuple(vm.uuid for vm in vms if vm.outcome is Outcome.FAILED)
    given: dict[str, Any] = {"finished_at": at(end + 20), "status": "finished", "exit_code": 1, **run}
    return RunReport(
        run=RunRecord(
            id="20261128T140000Z-7f3a", plan="rack-12-power", reference="CHG-20417", plan_digest="sha256:00",
            plan_text="name: x", endpoint="http://mn.example:8080/zstack", node_version="5.2.1", tool_version="0.1.0",
            started_by="ops@jump1", started_at=at(0),
            window=WindowRecord(start=at(-1), end=at(end + 60), at_end="finish", reserve_seconds=30), **given,
        ),
        totals=totals,
        causes=(Cause(cause=CAUSE, count=len(failed), hosts=("kvm-0",), vms=failed),) if failed else (),
        waves=(
            WaveRecord(name="app", started_at=at(0), finished_at=at(end / 2), totals=totals),
            WaveRecord(name="db", started_at=at(end / 2), finished_at=at(end), totals=totals),
        ),
        hosts=tuple(
            HostRecord(
                uuid=uuid, name=f"kvm-{number}", status="Connected", state="Enabled", left_on_host=(),
                totals=_totals(by_host[uuid]),
            )
            for number, uuid in enumerate(hosts)
        ),
        vms=lambda: iter(vms),
    )  # fmt: skip


def _totals(vms: list[VmRecord]) -> dict[str, int]:
    counts = Counter(vm.outcome for vm in vms)
    return {"targets": len(vms), **{outcome.value: counts[outcome] for outcome in Outcome if counts[outcome]}}


def _vm(number: int, host: str, free: dict[str, list[float]], chance: random.Random) -> VmRecord:
    outcome = _OUTCOMES[number % len(_OUTCOMES)]
    common: dict[str, Any] = {
        "uuid": f"{chance.getrandbits(128):032x}", "name": f"vm-{number}", "type": "UserVm", "outcome": outcome,
        "wave": "db" if number % 3 == 0 else "app", "state_before": "Running", "state": "Stopped",
    }  # fmt: skip
    if outcome in _UNSENT:
        reason = Reason.BUDGET if outcome is Outcome.NOT_REACHED else None
        return VmRecord(**common, reason=reason, evidence=Evidence(text="nothing was sent"))
    lasting = round(chance.uniform(5, 45), 1) + (60 if outcome in {Outcome.STOPPED_FORCED, Outcome.STOPPED_COLD} else 0)
    lane = min(range(5), key=lambda lane: free[host][lane])
    begun = free[host][lane]
    free[host][lane] = begun + lasting
    failed = outcome is Outcome.FAILED
    attempt = AttemptRecord(
        type=AttemptType.GRACE, reason=AttemptReason.PLAN, job_uuid=f"{chance.getrandbits(128):032x}",
        api_timeout_seconds=240, sent_at=at(begun), ended_at=at(begun + lasting),
        result=AttemptResult.FAILED if failed else AttemptResult.SUCCEEDED, error=ERROR if failed else None,
    )  # fmt: skip
    return VmRecord(
        **common, host_uuid=host, started_at=at(begun), finished_at=at(begun + lasting), elapsed_seconds=lasting,
        evidence=Evidence(text=f"it took effect {lasting} s after it was sent", seconds=lasting, basis="job"),
        verified_at=at(9000), check_after_start=outcome in {Outcome.STOPPED_FORCED, Outcome.STOPPED_COLD},
        attempts=(attempt,), error=ERROR if failed else None,
    )  # fmt: skip
