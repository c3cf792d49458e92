"""Whole runs with waves, ramp, budgets, a window, an operator: whatever crosses when, every target is accounted for."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.clouds.memory import Guest, MemoryCloud
from orchestrator.engine.run import Run
from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import AttemptReason, Outcome, Reason
from orchestrator.model.report import ReportDocument, VmRecord
from orchestrator.model.target import Request, SendResult
from tests.unit.engine.test_run import chain, guest
from tests.unit.engine.test_steering import say
from tests.unit.engine.test_window import Trial, moment
from tests.virtual import run_virtual

ERRORS: tuple[NodeError | None, ...] = (None, None, None, chain("VM.1002", "SYS.1006"), chain("VM.1002", "HOST.1006"))
WAVES = {
    "none": "",
    "chain": "waves:\n  - {name: a, where: [[host_uuid=h0]]}\n  - {name: b, after: [a], where: [[host_uuid=h1]]}\n"
    "  - {name: c, after: [b]}\n",
    "fork": "waves:\n  - {name: a, where: [[host_uuid=h0]]}\n  - {name: b, where: [[host_uuid=h1]]}\n"
    "  - {name: c, after: [a, b], limits: {concurrency: 1}}\n",
}
AFTER = {"none": {}, "chain": {"b": {"a"}, "c": {"a", "b"}}, "fork": {"c": {"a", "b"}}}
"""By shape, which waves must have ended before each begins."""


class Counting(MemoryCloud):
    """Keeps the most in flight on each host; what is in flight is what has an attempt and no outcome yet."""

    def __init__(self, guests: list[Guest]) -> None:
        super().__init__(guests)
        self.busiest: Counter[str] = Counter()

    async def send(self, request: Request, leaving: Callable[[], bool]) -> SendResult:
        """One PUT, counted."""
        host = self.guests[request.vm_uuid].row.host_uuid or ""
        result = await super().send(request, leaving)
        busy = sum(self.guests[uuid].row.host_uuid == host for uuid in self.in_flight)
        self.busiest[host] = max(self.busiest[host], busy)
        return result


@dataclass(frozen=True)
class Story:
    """A fleet, a plan's brakes, and what happens in between."""

    vms: list[tuple[int, float | None, int]]
    """Host, seconds of a stop (None hangs), and which error."""
    shape: str
    concurrency: int
    per_host: int
    ramp: str
    budget: dict[str, Any]
    window: tuple[float, str, float] | None
    """Seconds to its end, at_end, seconds of reserve."""
    words: list[tuple[float, str, int]]
    """After so many seconds: a word, and to which VM."""
    interrupt: float | None

    def text(self) -> str:
        """The plan beyond its targets."""
        lines = [WAVES[self.shape], "stop: {grace_timeout: 80s, cold_timeout: 30s}\n"]
        ramp = f", ramp: {self.ramp}" if self.ramp else ""
        lines.append(f"limits: {{concurrency: {self.concurrency}, per_host: {self.per_host}{ramp}}}\n")
        if self.budget:
            lines.append(f"budget: {{{', '.join(f'{key}: {value}' for key, value in self.budget.items())}}}\n")
        if self.window is not None:
            end, at_end, reserve = self.window
            lines.append(f"window: {{end: '{moment(end)}', at_end: {at_end}, reserve: {reserve:g}s}}\n")
        return "".join(lines)


stories = st.builds(
    Story,
    vms=st.lists(
        st.tuples(st.integers(0, 2), st.none() | st.floats(1, 70), st.integers(0, len(ERRORS) - 1)), min_size=1, max_size=14
    ),
    shape=st.sampled_from(sorted(WAVES)),
    concurrency=st.integers(1, 6),
    per_host=st.integers(1, 3),
    ramp=st.sampled_from(["", "[1, 50%, 100%]", "[2, 100%]"]),
    budget=st.fixed_dictionaries(
        {},
        optional={
            "failures": st.sampled_from(["0", "2", "20%"]),
            "per_host": st.integers(0, 2),
            "per_wave": st.sampled_from(["1", "50%"]),
            "same_cause": st.integers(0, 2),
            "power_cuts": st.sampled_from(["0", "1", "30%"]),
        },
    ),
    window=st.none()
    | st.tuples(st.floats(12, 150), st.sampled_from(["finish", "cold", "abandon"]), st.sampled_from([0.0, 10.0])),
    words=st.lists(st.tuples(st.floats(0, 90), st.sampled_from(["pause", "go", "skip"]), st.integers(0, 13)), max_size=4),
    interrupt=st.none() | st.floats(0, 120),
)


def played(story: Story) -> tuple[Trial, Counting, ReportDocument]:
    """The run to its end."""
    cloud = Counting(
        [guest(n, host, seconds=seconds, error=ERRORS[error]) for n, (host, seconds, error) in enumerate(story.vms)]
    )
    trial = Trial([], more=story.text())
    trial.cloud = cloud

    async def talk(run: Run) -> None:
        began = anyio.current_time()
        for at, word, vm in sorted(story.words):
            await anyio.sleep(max(0.0, began + at - anyio.current_time()))
            await say(trial, word, vm if word == "skip" else None)
        # A pause that nobody ends would last for ever.
        await anyio.sleep(max(0.0, began + 100.0 - anyio.current_time()))
        await say(trial, "go")

    async def go() -> None:
        run = await trial.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk, run)
            if story.interrupt is not None:
                tasks.start_soon(interrupt, run, story.interrupt)
            await run.run()
            tasks.cancel_scope.cancel()

    run_virtual(go)
    return trial, cloud, trial.report()


async def interrupt(run: Run, after: float) -> None:
    """Ctrl-C."""
    await anyio.sleep(after)
    run.interrupt()


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(stories)
def test_every_target_is_accounted_for(story: Story) -> None:
    """One outcome each with evidence; limits and order hold; nothing begins after the close, and nothing after Ctrl-C."""
    trial, cloud, report = played(story)
    assert len(report.vms) == len(story.vms) == report.totals["targets"]
    assert sum(count for word, count in report.totals.items() if word != "targets") == len(story.vms)
    assert all(vm.outcome is not None and vm.evidence is not None for vm in report.vms)
    hold_words(report)
    assert cloud.peak <= story.concurrency
    assert all(busy <= story.per_host for busy in cloud.busiest.values())
    hold_order(story, report)
    first: dict[str, float] = {}
    for at, request in cloud.sent:
        first.setdefault(request.vm_uuid, at - 1000.0)
    if story.window is not None:
        assert all(at < story.window[0] - story.window[2] + 0.001 for at in first.values())
    if story.interrupt is not None:
        assert all(at - 1000.0 <= story.interrupt + 0.001 for at, _ in cloud.sent)
    colds = Counter(request.vm_uuid for _, request in cloud.sent if request.type == "cold")
    assert all(count == 1 for count in colds.values())
    assert trial.told("run.finished")


def hold_words(report: ReportDocument) -> None:
    """What the run says of itself goes with what its VMs say."""
    left = [vm for vm in report.vms if vm.outcome is Outcome.NOT_REACHED]
    assert (report.run.status == "stopped_early") is bool(left)
    assert (report.run.exit_code == 4) is bool(left)
    assert all((vm.reason is not None and not vm.attempts) or vm.reason is Reason.WINDOW for vm in left)
    kinds = {stop.kind for stop in report.run.stops}
    for reason, known in (
        (Reason.WINDOW, {"window"}),
        (Reason.OPERATOR, {"operator"}),
        (Reason.HOST_BUDGET, {"host_budget"}),
        (Reason.RAMP, {"ramp"}),
        (Reason.BUDGET, {"failures", "same_cause", "power_cuts"}),
    ):
        assert not any(vm.reason is reason for vm in left) or kinds & known, (reason, kinds)
    asked = [vm for vm in report.vms if any(attempt.reason is AttemptReason.WINDOW for attempt in vm.attempts)]
    assert not asked or "VMs in flight, cold" in {stop.scope for stop in report.run.stops}


def hold_order(story: Story, report: ReportDocument) -> None:
    """No VM has its turn before every VM of the waves before it has its outcome."""
    by_wave: dict[str, list[VmRecord]] = {}
    for vm in report.vms:
        by_wave.setdefault(vm.wave or "", []).append(vm)
    for wave, before in AFTER[story.shape].items():
        begun = [vm.started_at for vm in by_wave.get(wave, ()) if vm.started_at is not None]
        ended = [vm.finished_at for name in before for vm in by_wave.get(name, ()) if vm.started_at is not None]
        assert not begun or not ended or min(begun) >= max(str(at) for at in ended)
