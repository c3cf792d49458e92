"""What the node manages: zones, clusters, hosts, VMs and what hangs on them."""

import random
from asyncio import Event, Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.simulator.guests import Guest
from orchestrator.simulator.lanes import Lane

POWERED = frozenset({"Running", "Paused", "Unknown", "Stopping", "Migrating", "Rebooting", "Pausing", "Resuming"})
"""States in which a guest is on, unless the scenario says otherwise."""


@dataclass(slots=True, eq=False)
class Thing:
    """A row that only is looked at: zone, cluster, image, offering, network, storage. `extra` are its other fields."""

    uuid: str
    name: str
    created: datetime
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class SimulatedCluster:
    """A cluster in its zone."""

    uuid: str
    name: str
    zone: Thing
    created: datetime


@dataclass(slots=True, eq=False)
class SimulatedHost:
    """A KVM host with its command slots. `calls` are agent calls that fail when the host is lost.

    `losses` counts how often it was. `jobs` is the queue of what is done to the host itself.
    """

    uuid: str
    name: str
    cluster: SimulatedCluster
    management_ip: str
    status: str
    state: str
    created: datetime
    changed: datetime
    lane: Lane
    calls: set[Future[Any]] = field(default_factory=set)
    losses: int = 0
    jobs: Lane = field(default_factory=lambda: Lane(1))
    changes: int = 0
    """Changes of its state so far, to draw another duration each time."""

    def rng(self, seed: int) -> random.Random:
        """A generator of this host's own."""
        return random.Random(f"{seed}:{self.uuid}:{self.changes}")


@dataclass(slots=True, eq=False)
class Nic:
    """A network card with its address."""

    uuid: str
    vm_uuid: str
    device: int
    mac: str
    ip: str
    used_ip_uuid: str
    network: Thing
    created: datetime


@dataclass(slots=True, eq=False)
class Volume:
    """A root or data volume; sizes in bytes."""

    uuid: str
    name: str
    vm_uuid: str
    type: str
    device: int
    size: int
    actual_size: int
    storage: Thing
    offering: Thing
    image: Thing | None
    created: datetime


@dataclass(slots=True, eq=False)
class Tag:
    """A tag on a resource; `system` tells the two kinds apart."""

    uuid: str
    resource_uuid: str
    resource_type: str
    tag: str
    system: bool
    created: datetime


@dataclass(slots=True, eq=False)
class SimulatedVm:
    """A VM as the database has it (`state`, `host`) and as it really is (`powered`, `found_on`).

    `host` None: the VM is on no host. `found_on`: where a migration brought it that the database doesn't know of yet.
    `inhibited`: HA leaves it down (zstack-rest.md 4.4). `off` is set while the guest is off. `gone`: the row was expunged.
    `pinned`: it can run on its host only. `moving`: agents are at it, wanted by the node or not.
    """

    uuid: str
    name: str
    number: int
    state: str
    cluster: SimulatedCluster
    host: SimulatedHost | None
    last_host: SimulatedHost | None
    type: str
    platform: str
    cpus: int
    memory: int
    guest: Guest
    ha_level: str | None
    account: str
    image: Thing
    offering: Thing
    network: Thing
    created: datetime
    changed: datetime
    nics: list[Nic]
    volumes: list[Volume]
    cdrom_uuid: str
    lane: Lane
    off: Event
    agents: int = 0
    """Agent calls under way on its host, wanted by the node or not."""
    stops: int = 0
    """Stops so far, to draw another duration each time."""
    found_on: SimulatedHost | None = None
    moving: bool = False
    pinned: bool = False
    paused: bool = False
    inhibited: bool = False
    gone: bool = False

    @property
    def host_uuid(self) -> str | None:
        """The host it is on; None when Stopped."""
        return None if self.host is None else self.host.uuid

    @property
    def last_host_uuid(self) -> str | None:
        """The host it was on before; None until the first stop or migration."""
        return None if self.last_host is None else self.last_host.uuid

    @property
    def truly_on(self) -> SimulatedHost | None:
        """The host where the guest really is."""
        return self.found_on or self.host

    @property
    def powered(self) -> bool:
        """Whether the guest really is on, whatever the database says."""
        return not self.off.is_set()

    def rng(self, seed: int) -> random.Random:
        """A generator of this VM's own, so that durations don't depend on who comes first."""
        return random.Random(f"{seed}:{self.uuid}:{self.stops}")


@dataclass(slots=True)
class Fleet:
    """All rows; VMs, hosts and clusters by UUID."""

    zones: dict[str, Thing] = field(default_factory=dict)
    clusters: dict[str, SimulatedCluster] = field(default_factory=dict)
    hosts: dict[str, SimulatedHost] = field(default_factory=dict)
    vms: dict[str, SimulatedVm] = field(default_factory=dict)
    images: list[Thing] = field(default_factory=list)
    offerings: list[Thing] = field(default_factory=list)
    networks: list[Thing] = field(default_factory=list)
    storages: list[Thing] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    tags_of: dict[str, list[Tag]] = field(default_factory=dict)
    management_uuid: str = ""

    def tag(self, tag: Tag) -> None:
        """Add a tag to its resource."""
        self.tags.append(tag)
        self.tags_of.setdefault(tag.resource_uuid, []).append(tag)
