"""The plan: what the operator wrote, with the defaults filled in. Frozen; unknown keys are refused."""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, ValidationInfo, model_validator

from orchestrator.plan.fields import Expect, Line, Prose, Section, Version
from orchestrator.plan.order import order_breaches, overlap_message, taken_twice
from orchestrator.plan.quantities import Quantity
from orchestrator.plan.rules import Breach, evacuation_breaches
from orchestrator.plan.sections import (
    Appliances,
    AtEnd,
    Budget,
    Evacuate,
    Fallback,
    FallbackReason,
    Guard,
    HostSelection,
    Limits,
    Migrate,
    Notify,
    Occasion,
    ReportFormat,
    ReportOptions,
    Selection,
    StopOptions,
    StopType,
    Targets,
    Verify,
    WaveBudget,
    WaveLimits,
    WaveStop,
    Window,
    refuse,
)
from orchestrator.plan.waves import Wave, budget_over, outlines, overridden, override_breaches, stop_over

__all__ = [
    "Appliances",
    "AtEnd",
    "Budget",
    "Evacuate",
    "Expect",
    "Fallback",
    "FallbackReason",
    "Guard",
    "HostSelection",
    "Limits",
    "Migrate",
    "Notify",
    "Occasion",
    "Plan",
    "Quantity",
    "ReportFormat",
    "ReportOptions",
    "Selection",
    "StopOptions",
    "StopType",
    "Targets",
    "Verify",
    "Wave",
    "WaveBudget",
    "WaveLimits",
    "WaveStop",
    "Window",
]


class Plan(Section):
    """Which VMs are stopped, how, and within which limits."""

    version: Version
    """The version of this format: 1."""
    name: Line
    """What the operator calls the plan, one line; runs and reports carry it."""
    reference: Line | None = None
    """A ticket or change number for the report, one line; absent (None) is none."""
    description: Prose | None = None
    """Free text for the report; absent (None) is none."""
    targets: Targets
    """The VMs to stop: the union of uuids, uuid_files and where; or, under hosts, the hosts to empty."""
    exclude: Selection | None = None
    """VMs that are taken out of the targets before anything else; absent (None) excludes none."""
    waves: tuple[Wave, ...] = Field(default=(), min_length=1)
    """Parts of the targets with an order between them; absent is one wave with all of them."""
    stop: StopOptions = StopOptions()
    """How a VM is stopped."""
    evacuate: Evacuate | None = None
    """What becomes of the hosts under targets.hosts and of the VMs on them; absent (None) where no hosts are emptied."""
    limits: Limits = Limits()
    """How much happens at once."""
    budget: Budget = Budget()
    """How much may go wrong before nothing more is started."""
    guard: Guard = Guard()
    """What refuses a run before its first change."""
    window: Window | None = None
    """When the run may work; absent (None) is at any time, without an end."""
    verify: Verify = Verify()
    """When everything that was stopped is read again."""
    report: ReportOptions = ReportOptions()
    """Which reports are written, and where."""
    notify: tuple[Notify, ...] = Field(default=(), min_length=1)
    """Who is told while it runs; absent is nobody."""

    def stop_of(self, wave: Wave | None) -> StopOptions:
        """How the VMs of a wave are stopped. None is the one wave of a plan without waves."""
        return self.stop if wave is None else stop_over(self.stop, wave.stop)

    def limits_of(self, wave: Wave | None) -> Limits:
        """The limits that hold inside a wave, its ramp among them, in addition to the run's own."""
        return self.limits if wave is None else overridden(self.limits, wave.limits)

    def budget_of(self, wave: Wave | None) -> WaveBudget:
        """The budget counted over a wave's VMs: `per_wave`, the plan's unless the wave wrote its own."""
        return budget_over(self.budget, WaveBudget() if wave is None else wave.budget)

    @model_validator(mode="after")
    def _holds(self, info: ValidationInfo) -> Self:
        refuse(self._breaches(), info)
        return self

    def _breaches(self) -> Iterator[Breach]:
        for _, message in order_breaches(outlines(self.waves)):
            yield Breach(("waves",), message)
        for _, owner, uuid, count in taken_twice((at, at, wave.uuids) for at, wave in enumerate(self.waves)):
            yield Breach(("waves",), overlap_message(uuid, count, self.waves[owner].name))
        named = [key for key in type(self.targets).model_fields if getattr(self.targets, key)]
        for path, message in evacuation_breaches(named, evacuates=self.evacuate is not None):
            yield Breach(path[:1], message)
        for wave in self.waves:
            yield from override_breaches(self.stop, wave.stop)
