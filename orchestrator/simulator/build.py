"""A scenario to its fleet: the same seed gives the same rows."""

import random
from asyncio import Event
from datetime import UTC, datetime, timedelta

from orchestrator.simulator.fleet import (
    POWERED,
    Fleet,
    Nic,
    SimulatedCluster,
    SimulatedHost,
    SimulatedVm,
    Tag,
    Thing,
    Volume,
)
from orchestrator.simulator.lanes import Lane
from orchestrator.simulator.scenario import Scenario, VmGroup

EPOCH = datetime(2025, 3, 3, 1, 5, 1, tzinfo=UTC)
"""When the first row was made; a fixed day, so that two runs have the same rows."""
HOSTLESS = frozenset({"Stopped", "Created", "Destroyed", "Error"})
GIB = 1 << 30


class _Builder:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rng = random.Random(f"{scenario.seed}:fleet")
        self.fleet = Fleet()
        self.rows = 0
        self.addresses = 0

    def uuid(self) -> str:
        return f"{self.rng.getrandbits(128):032x}"

    def date(self) -> datetime:
        self.rows += 1
        return EPOCH + timedelta(minutes=self.rows)

    def thing(self, name: str, **extra: object) -> Thing:
        return Thing(self.uuid(), name, self.date(), dict(extra))

    def build(self) -> Fleet:
        fleet = self.fleet
        fleet.management_uuid = self.uuid()
        fleet.images.append(self.thing("image-linux", platform="Linux", format="qcow2"))
        fleet.offerings.append(self.thing("offering-standard"))
        fleet.networks.append(self.thing("l3-main", type="L3BasicNetwork"))
        fleet.storages.extend(self.thing(f"storage-{n}", type="NFS") for n in (1, 2))
        for cluster in self.scenario.clusters:
            self.cluster(cluster.name, cluster.zone)
            for spec in cluster.host_specs():
                self.host(spec.name, spec.status, spec.state)
        for group in self.scenario.vms:
            self.group(group)
        return fleet

    def cluster(self, name: str, zone_name: str) -> None:
        zones = self.fleet.zones
        zone = next((zone for zone in zones.values() if zone.name == zone_name), None)
        if zone is None:
            zone = self.thing(zone_name)
            zones[zone.uuid] = zone
        self.here = SimulatedCluster(self.uuid(), name, zone, self.date())
        self.fleet.clusters[self.here.uuid] = self.here

    def host(self, name: str, status: str, state: str) -> None:
        number, made = len(self.fleet.hosts), self.date()
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        lane = Lane(self.scenario.node.host_slots)
        host = SimulatedHost(self.uuid(), name, self.here, address, status, state, made, made, lane)
        self.fleet.hosts[host.uuid] = host

    def group(self, group: VmGroup) -> None:
        hosts = [host for host in self.fleet.hosts.values() if _takes(group, host)]
        hosts = hosts or list(self.fleet.hosts.values())
        for number, name in enumerate(group.names()):
            self.vm(group, name, hosts[number % len(hosts)])

    def vm(self, group: VmGroup, name: str, host: SimulatedHost) -> None:
        fleet, made, uuid = self.fleet, self.date(), self.uuid()
        hostless = group.state in HOSTLESS
        off = Event()
        if not (group.state in POWERED if group.powered is None else group.powered):
            off.set()
        vm = SimulatedVm(
            uuid=uuid,
            name=name,
            number=len(fleet.vms) + 1,
            state=group.state,
            cluster=host.cluster,
            host=None if hostless else host,
            last_host=host if hostless and group.state != "Created" else None,
            type=group.type,
            platform=group.platform,
            cpus=group.cpus,
            memory=group.memory_gib * GIB,
            guest=group.guest,
            ha_level=group.ha_level,
            account=group.account,
            image=fleet.images[0],
            offering=fleet.offerings[0],
            network=fleet.networks[0],
            created=made,
            changed=made + timedelta(days=10),
            nics=[self.nic(uuid, device, made) for device in range(group.nics)],
            volumes=[self.volume(uuid, device, made) for device in range(1 + group.data_volumes)],
            cdrom_uuid=self.uuid(),
            lane=Lane(1),
            off=off,
            pinned=group.pinned,
            paused=group.state == "Paused",
        )
        fleet.vms[uuid] = vm
        for tag in group.user_tags:
            fleet.tag(Tag(self.uuid(), uuid, "VmInstanceVO", tag, system=False, created=made))
        # Older releases keep the HA level as a system tag, newer ones as a deprecated tag besides the table.
        ha = () if group.ha_level is None else (f"ha::{group.ha_level}",)
        for tag in (*group.system_tags, *ha):
            fleet.tag(Tag(self.uuid(), uuid, "VmInstanceVO", tag, system=True, created=made))

    def nic(self, vm_uuid: str, device: int, made: datetime) -> Nic:
        self.addresses += 1
        number = self.addresses
        low = f"{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        ip = f"192.{168 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        return Nic(self.uuid(), vm_uuid, device, f"fa:16:3e:{low}", ip, self.uuid(), self.fleet.networks[0], made)

    def volume(self, vm_uuid: str, device: int, made: datetime) -> Volume:
        fleet, uuid = self.fleet, self.uuid()
        root = device == 0
        return Volume(
            uuid=uuid,
            name=f"ROOT-for-{vm_uuid}" if root else f"DATA-{device}-for-{vm_uuid}",
            vm_uuid=vm_uuid,
            type="Root" if root else "Data",
            device=device,
            size=100 * GIB,
            actual_size=2 * GIB,
            storage=fleet.storages[self.rng.randrange(len(fleet.storages))],
            offering=fleet.offerings[0],
            image=fleet.images[0] if root else None,
            created=made,
        )


def _takes(group: VmGroup, host: SimulatedHost) -> bool:
    if group.hosts:
        return host.name in group.hosts
    if group.clusters:
        return host.cluster.name in group.clusters and host.status == "Connected"
    return host.status == "Connected"


def build_fleet(scenario: Scenario) -> Fleet:
    """The rows of a scenario."""
    return _Builder(scenario).build()
