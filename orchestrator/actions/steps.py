"""What the stop action is told and what it asks for: signals in, steps out. Times are monotonic seconds."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.actions.judge import Judgement
from orchestrator.model.outcome import AttemptReason, AttemptType, Reason
from orchestrator.model.target import HostRow, JobAnswer, SendResult, VmRow


# ── signals ────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Read:
    """The row of the VM or host was read: None means that the node has no such row; `unreadable` that nobody could say."""

    now: float
    row: VmRow | HostRow | None
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """The PUT of the last `Send` or `Resend` left at `at` and this came back. `node_at`: `at` by the node's clock."""

    now: float
    at: float
    node_at: float | None
    job_uuid: str
    result: SendResult


@dataclass(frozen=True, slots=True)
class Looked:
    """A job's answer, and when it was seen."""

    now: float
    job_uuid: str
    answer: JobAnswer


@dataclass(frozen=True, slots=True)
class Saw:
    """The watch read a state word in passing (None: no such row)."""

    now: float
    state: str | None


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The time a step asked for is over."""

    now: float


@dataclass(frozen=True, slots=True)
class Halt:
    """From now on no PUT of any kind leaves. The step under way goes on."""

    now: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class Close:
    """The window takes no VM any more that the node has not begun with. The step under way goes on."""

    now: float


@dataclass(frozen=True, slots=True)
class Expire:
    """The window has ended: `cold` sends a cold stop to what is in flight without one, `abandon` reads it once and leaves.

    The wait or watch under way is over.
    """

    now: float
    at_end: Literal["cold", "abandon"]


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Instead of `Answered`, of a migration: the node offers no host that it could go to; `why` is a clause."""

    now: float
    why: str


Signal = Read | Answered | Unplaced | Looked | Saw | Elapsed | Halt | Close | Expire


# ── steps ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class ReadVm:
    """Read the VM now; answer with `Read`."""


@dataclass(frozen=True, slots=True)
class Send:
    """A new PUT under a new job id, its intent durable first; answer with `Answered`."""

    type: AttemptType
    reason: AttemptReason
    api_timeout_seconds: int


@dataclass(frozen=True, slots=True)
class Resend:
    """The last attempt's PUT once more, under the same id; answer with `Answered`."""

    job_uuid: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch job and state: `Saw` for each state read, `Looked` for a verdict, `Elapsed` at `until`."""

    job_uuid: str
    until: float


@dataclass(frozen=True, slots=True)
class Look:
    """Ask for this job once; answer with `Looked`."""

    job_uuid: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until then; answer with `Elapsed`."""

    until: float


@dataclass(frozen=True, slots=True)
class Done:
    """The end."""

    judgement: Judgement


Step = ReadVm | Send | Resend | Watch | Look | Wait | Done
