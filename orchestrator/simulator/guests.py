"""How a guest takes a stop and a migration, as a scenario says it."""

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

MigrationBehaviour = Literal["obeys", "refused", "fails_halfway", "hangs", "late_success"]
"""obeys: is on its new host after the node's `migrate`. refused: a plug-in refuses before anything is touched.
fails_halfway: Migrating, and after `migration_fails_after` Running where it was, with `migration_chain`. hangs: the job
never ends, and the VM stays Migrating. late_success: the job fails with SYS.1001 after `migration_fails_after`, and
`migration_late_after` later the guest is on its new host; the row follows by host sync."""

ErrorCode = Annotated[str, Field(pattern=r"^[A-Z_]+\.\d+$")]


class Guest(BaseModel):
    """What the guest and its agent do when told to stop or to move. Durations are simulated seconds."""

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
    """Whether a hanging stop or migration keeps its host slots too; the VM's own queue it always keeps."""
    migration: MigrationBehaviour = "obeys"
    migration_chain: Annotated[tuple[ErrorCode, ...], Field(min_length=1)] = ("VM.1007", "HOST.1006")
    """Codes of `fails_halfway`, outermost first."""
    migration_fails_after: Seconds = 5.0
    migration_late_after: Seconds = 20.0
