"""The plan: what the operator wrote, with the defaults filled in. Frozen; unknown keys are refused."""

from orchestrator.plan.fields import Expect, Line, Prose, Section, Version
from orchestrator.plan.sections import (
    Appliances,
    Fallback,
    FallbackReason,
    Guard,
    Limits,
    ReportFormat,
    ReportOptions,
    Selection,
    StopOptions,
    StopType,
    Verify,
)

__all__ = [
    "Appliances",
    "Expect",
    "Fallback",
    "FallbackReason",
    "Guard",
    "Limits",
    "Plan",
    "ReportFormat",
    "ReportOptions",
    "Selection",
    "StopOptions",
    "StopType",
    "Verify",
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
    targets: Selection
    """The VMs to stop: the union of uuids, uuid_files and where."""
    exclude: Selection | None = None
    """VMs that are taken out of the targets before anything else; absent (None) excludes none."""
    stop: StopOptions = StopOptions()
    """How a VM is stopped."""
    limits: Limits = Limits()
    """How much happens at once."""
    guard: Guard = Guard()
    """What refuses a run before its first change."""
    verify: Verify = Verify()
    """When everything that was stopped is read again."""
    report: ReportOptions = ReportOptions()
    """Which reports are written, and where."""
