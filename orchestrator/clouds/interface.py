"""What the engine asks of a cloud. Transport trouble is `NodeAwayError`; everything about one VM is a value."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.model.states import Verb
from orchestrator.model.target import Addresses, HostRequest, HostRow, JobAnswer, Request, Seen, SendResult, VmRow

VM_CHUNK = 100
"""UUIDs a query carries: 33 bytes each, and the node's front end takes 8 KB of request line and headers."""


class NodeAwayError(Exception):
    """The node cannot be reached, is not ready, or refuses the login in mid-run; nothing is known of any VM by this.

    `detail` is one clear clause; `busy`: it is there, and says that we ask too much. Raised by every read; never by
    `send`, whose doubt is `Lost`.
    """

    def __init__(self, detail: str, *, busy: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.busy = busy


class QueryRefusedError(Exception):
    """The node answers and does not take this query; `detail` says in its words why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is learned of the node before a run. `clock_ahead_seconds`: its clock minus ours, None where not told."""

    endpoint: str
    version: str | None
    clock_ahead_seconds: float | None
    time_zone: str | None


@dataclass(frozen=True, slots=True)
class HaLevels:
    """HA levels by UUID, of VMs that have one. `unreadable`: why the node does not tell them, None if it does."""

    levels: Mapping[str, str] = field(default_factory=dict)
    unreadable: str | None = None


class Heard(Protocol):
    """Who is told of each answer of the node, or of its failure to come."""

    def __call__(self, kind: str, size: int | None, seconds: float, *, too_many: bool) -> None:
        """`kind`: what was asked, in a few words. `size`: bytes, None where no whole answer came. `seconds`: it took, or was
        waited for. `too_many`: the node said 429.
        """
        ...


class Cloud(Protocol):
    """A management node, or something that behaves as one."""

    def heed(self, heard: Heard | None) -> None:
        """Tell `heard` of each answer from now on; None tells nobody."""
        ...

    def pace(self, requests_per_second: float) -> None:
        """Ask for no more than this from now on."""
        ...

    async def facts(self) -> NodeFacts:
        """Version, clock and zone. Raises NodeAwayError."""
        ...

    async def permission(self, verb: Verb = Verb.STOP) -> str | None:
        """None where this account may do that, else the node's words; asked by a dry run of a UUID nobody has."""
        ...

    def select(self, conditions: Sequence[str], *, whole: bool = True) -> AsyncIterator[list[Seen]]:
        """VMs that meet all conditions, in pages of a stable order. Raises NodeAwayError, QueryRefusedError.

        `whole` False: rows without `last_op` and `storages`, and next to no inventory, at a small part of the cost.
        """
        ...

    async def read(self, uuids: Sequence[str]) -> Mapping[str, Seen]:
        """These VMs, whole; who is missing is not known to the node. Any number; split under the URL's limit."""
        ...

    def row_of(self, inventory: Mapping[str, Any]) -> VmRow | None:
        """A VM's row as an inventory of this cloud, kept earlier, tells it; None where it names no VM."""
        ...

    async def holders(self, addresses: Addresses) -> frozenset[str]:
        """UUIDs of VMs that have one of these addresses. Raises NodeAwayError, QueryRefusedError."""
        ...

    def addresses_of(self, inventory: Mapping[str, Any]) -> Addresses:
        """The VM's addresses as an inventory of this cloud tells them."""
        ...

    async def states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
        """The state word of each of these VMs, nothing else; missing ones are gone. One request a `VM_CHUNK`."""
        ...

    async def send(self, request: Request, leaving: Callable[[], bool]) -> SendResult:
        """One PUT, sent at most once on the wire. `leaving` is called as it leaves; where it says False, it does not."""
        ...

    async def change_host(self, request: HostRequest, leaving: Callable[[], bool]) -> SendResult:
        """The same for a host's state."""
        ...

    async def look(self, job_uuid: str) -> JobAnswer:
        """The job's answer now. Raises NodeAwayError."""
        ...

    async def hosts(self, uuids: Sequence[str]) -> Mapping[str, HostRow]:
        """These hosts. Raises NodeAwayError."""
        ...

    async def select_hosts(self, conditions: Sequence[str]) -> list[HostRow]:
        """Hosts that meet all conditions, by uuid. Raises NodeAwayError, QueryRefusedError."""
        ...

    async def host_states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
        """The state word of each of these hosts; missing ones are gone. Raises NodeAwayError, QueryRefusedError."""
        ...

    async def candidates(self, vm_uuid: str) -> list[HostRow]:
        """Hosts that the node would migrate this VM to. Raises NodeAwayError, QueryRefusedError."""
        ...

    async def running_on(self, host_uuids: Sequence[str]) -> Mapping[str, list[Seen]]:
        """Every VM that has one of these hosts now and is not Stopped. Raises NodeAwayError."""
        ...

    async def learn_stop_ha(self) -> None:
        """Find out how this node is told not to touch HA; before the first stop with `stop_ha` false."""
        ...

    async def ha_levels(self, uuids: Sequence[str]) -> HaLevels:
        """HA levels of those VMs that have one in their tags."""
        ...
