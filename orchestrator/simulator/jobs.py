"""Asynchronous calls and their results (zstack-rest.md 2.2, 2.3, 2.5)."""

from dataclasses import dataclass, field
from typing import Any

from orchestrator.simulator.clock import Clock
from orchestrator.simulator.failures import Failure
from orchestrator.simulator.record import Migration


class DroppedError(Exception):
    """The task waited in its queue for longer than its timeout: no event is published, the job polls as 202 for ever."""


@dataclass(slots=True)
class Job:
    """One asynchronous call. `submitted` is real monotonic seconds, `timeout` real seconds.

    `done` False: processing, polls as 202. `failure` None with `done`: success with `result`. `muted`: the work goes on
    and its event is lost. `gone_after`: real seconds after submission from which it polls as 404, None by the node's rule.
    """

    uuid: str
    action: str
    target_uuid: str
    submitted: float
    timeout: float
    done: bool = False
    result: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    muted: bool = False
    gone_after: float | None = None
    migration: Migration | None = None
    """What the record has of it, if it is a MigrateVm."""


class Jobs:
    """The job table. Processing rows are never deleted, nor failed by a restart."""

    def __init__(self, clock: Clock, life: float) -> None:
        self.clock = clock
        self.life = life
        self._rows: dict[str, Job] = {}

    def __contains__(self, uuid: str) -> bool:
        return self._rows.get(uuid) is not None

    def add(self, job: Job) -> None:
        """Put a row in."""
        self._rows[job.uuid] = job

    def peek(self, uuid: str) -> Job | None:
        """The row, whether it may still be read or not."""
        return self._rows.get(uuid)

    def get(self, uuid: str) -> Job | None:
        """The row; None if unknown or expired: done, and older than the result life since submission."""
        job = self._rows.get(uuid)
        if job is None:
            return None
        age = self.clock.monotonic() - job.submitted
        if job.gone_after is not None and age >= job.gone_after:
            return None
        if job.done and age > self.clock.real(self.life):
            del self._rows[uuid]
            return None
        return job
