"""One VM as the run knows it, and the node's answers about it as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.model.fault import NodeError


@dataclass(frozen=True, slots=True)
class VmRow:
    """A VM as one query returned it. `read_at` is the monotonic second of the answer; None fields were not sent."""

    uuid: str
    name: str | None
    type: str | None
    state: str | None
    host_uuid: str | None
    cluster_uuid: str | None
    last_op: float | None
    """`lastOpDate` as seconds since 1970 by the node's clock, whole seconds; None where unreadable."""
    storages: tuple[str, ...] = ()
    """Primary storages that hold one of its volumes."""
    read_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A VM as read with everything the node said of it; `inventory` is JSON-ready, with the node's own names."""

    row: VmRow
    inventory: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Addresses:
    """MAC and IP addresses of a VM's network cards, as the node writes them."""

    macs: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host as the node lists it."""

    uuid: str
    name: str | None
    status: str | None
    state: str | None
    host_uuid: None = None
    last_op: None = None
    """It changes with the host's status as well, and so says nothing of its state."""


@dataclass(frozen=True, slots=True)
class StopRequest:
    """One PUT that stops a VM. `job_uuid` is ours, 32 hex; `api_timeout_seconds` whole seconds."""

    vm_uuid: str
    type: str
    job_uuid: str
    api_timeout_seconds: int
    stop_ha: bool
    system_tags: tuple[str, ...] = ()
    user_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StartRequest:
    """One PUT that starts a VM. `host_uuid`: where; None leaves it to the node."""

    vm_uuid: str
    job_uuid: str
    api_timeout_seconds: int
    host_uuid: str | None = None
    system_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MigrateRequest:
    """One PUT that migrates a VM to this host."""

    vm_uuid: str
    job_uuid: str
    api_timeout_seconds: int
    host_uuid: str
    system_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostRequest:
    """One PUT that changes a host's state: `disable`, `maintain` or `enable`."""

    host_uuid: str
    event: str
    job_uuid: str
    api_timeout_seconds: int
    system_tags: tuple[str, ...] = ()


Request = StopRequest | StartRequest | MigrateRequest
"""What is done to a VM."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The node took the job. `duplicate` says that it had it already (400 "Duplicate job")."""

    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The node answered the PUT with a no; `status` is the HTTP status."""

    error: NodeError
    status: int


UNSENT, HELD_BACK = "http.unsent", "http.held_back"
"""Codes of a `Lost` whose PUT did not leave: it could not, or we did not let it ourselves."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The PUT went out, or may have, and no answer came that says what became of it."""

    error: NodeError


SendResult = Accepted | Refused | Lost


@dataclass(frozen=True, slots=True)
class JobRunning:
    """202: not ended."""


@dataclass(frozen=True, slots=True)
class JobSucceeded:
    """200. `seen` is None where the body held no readable inventory; `text` then keeps what came."""

    seen: Seen | None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class JobFailed:
    """503: the node's verdict."""

    error: NodeError


@dataclass(frozen=True, slots=True)
class JobMissing:
    """404: never recorded, or expired."""


@dataclass(frozen=True, slots=True)
class JobUnreadable:
    """Something else came instead of a verdict."""

    error: NodeError


JobAnswer = JobRunning | JobSucceeded | JobFailed | JobMissing | JobUnreadable
