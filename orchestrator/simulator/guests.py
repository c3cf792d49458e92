"""How a guest takes a stop, as a scenario says it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.simulator.spread import Seconds, Spread, between

Behaviour = Literal[
    "obeys",
    "ignores_acpi",
    "fails",
    "fails_grace_only",
    "plugin_refuses",
    "hangs",
    "late_success",
    "crashes",
]
"""obeys: shuts down on ACPI after `shutdown`. ignores_acpi: power cut after the ACPI wait, the job succeeds all the same.
fails: every stop ends with `chain`. fails_grace_only: grace ends with `chain`, cold works. plugin_refuses: a plug-in
refuses before anything is touched. hangs: the job never ends. late_success: the job fails with SYS.1001 after
`fails_after`, and `late_after` later the VM is Stopped. crashes: midway the VM becomes Unknown."""

ErrorCode = Annotated[str, Field(pattern=r"^[A-Z_]+\.\d+$")]


class Guest(BaseModel):
    """What the guest and its agent do when told to stop. Durations are simulated seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    behaviour: Behaviour = "obeys"
    shutdown: Spread = between(3, 40)
    """From ACPI to off; above the node's `acpi_wait` the power is cut."""
    cold: Spread | None = None
    """How long a power cut takes; None is the node's `cold`."""
    chain: Annotated[tuple[ErrorCode, ...], Field(min_length=1)] = ("VM.1002", "HOST.1006")
    """Codes of `fails` and `fails_grace_only`, outermost first (zstack-rest.md 6.2)."""
    fails_after: Seconds = 5.0
    late_after: Seconds = 20.0
    hang_state: Literal["Stopping", "Running"] = "Stopping"
    holds_slot: bool = False
    """Whether a hanging stop keeps its host slot too; the VM's own queue it always keeps."""
