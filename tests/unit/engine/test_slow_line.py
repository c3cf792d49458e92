"""A run at a rate that its VMs in flight are too many for: a stop waits longer for its turn than its read may age."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import anyio
import pytest

from orchestrator.clouds.memory import MemoryCloud
from orchestrator.clouds.zstack.http import LINE_SECONDS, Pace
from orchestrator.model.fault import own_error
from orchestrator.model.outcome import Outcome
from orchestrator.model.target import HELD_BACK, JobAnswer, Lost, Request, Seen, SendResult
from orchestrator.plan.load import plan_from_text
from tests.unit.engine.test_run import Trial, guest
from tests.virtual import run_virtual


class Paced(MemoryCloud):
    """Answers at once, and is asked no faster than the plan allows once the run has begun."""

    line: Pace | None = None
    held_back = 0
    longest = math.inf
    """The loop's second at which the run must long have ended."""

    def pace(self, requests_per_second: float) -> None:
        """As the client does."""
        if self.line is not None:
            self.line.change(requests_per_second)

    async def _urgent(self) -> None:
        if self.line is not None:
            await self.line.turn(urgent=True)

    async def read(self, uuids: Sequence[str]) -> Mapping[str, Seen]:
        """An urgent read."""
        await self._urgent()
        return await super().read(uuids)

    async def states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
        """The bulk query, urgent."""
        assert anyio.current_time() < self.longest, f"{len(self.sent)} sent, {self.held_back} held back"
        await self._urgent()
        return await super().states(uuids)

    async def look(self, job_uuid: str) -> JobAnswer:
        """A look, urgent."""
        await self._urgent()
        return await super().look(job_uuid)

    async def send(self, request: Request, leaving: Callable[[], bool]) -> SendResult:
        """A PUT that waits in line."""
        assert self.line is not None
        if not await self.line.turn(urgent=False, within_seconds=LINE_SECONDS):
            self.held_back += 1
            return Lost(own_error(HELD_BACK, "its turn did not come"))
        return await super().send(request, leaving)


@pytest.mark.parametrize(("vms", "in_flight", "rate"), [(50, 50, 1.0), (200, 200, 2.0), (60, 30, 0.5), (5, 5, 0.1)])
def test_every_vm_is_stopped_however_slow_the_line(vms: int, in_flight: int, rate: float) -> None:
    """Whoever waited too long is read anew and waits again, at no cost to the others: all end, and none is given up."""
    trial = Trial([guest(n, n, seconds=25.0) for n in range(vms)])
    trial.plan = plan_from_text(
        f"version: 1\nname: slow\ntargets: {{where: [[type=UserVm]]}}\nverify: {{after: 0s}}\n"
        f"limits: {{concurrency: {in_flight}, requests_per_second: {rate}}}\n",
        name="plan.yaml",
        folder=trial.plan.path.parent,
    )
    cloud = trial.cloud = Paced(list(trial.cloud.guests.values()))

    async def go() -> Counter[Outcome]:
        cloud.line = Pace(rate)
        cloud.longest = anyio.current_time() + 15 * vms / rate
        report = await trial.go()
        return Counter(Outcome(vm.outcome) for vm in report.vms if vm.outcome is not None)

    outcomes = run_virtual(go)
    # Where the line is slow an end may be seen late, and then the word for it is the careful one.
    assert outcomes.keys() <= {Outcome.STOPPED_CLEAN, Outcome.STOPPED_FORCED}
    assert outcomes.total() == len(cloud.sent) == len({request.vm_uuid for _, request in cloud.sent}) == vms
    assert cloud.held_back > 0
