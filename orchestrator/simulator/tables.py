"""What can be queried: fields and joins of each kind of row (zstack-rest.md 7.3)."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from orchestrator.simulator.fleet import Fleet, Nic, SimulatedHost, SimulatedVm, Tag, Thing, Volume
from orchestrator.simulator.inventory import Inventories, Json
from orchestrator.simulator.query import Table
from orchestrator.simulator.world import World

Getter = Callable[[Any], Any]


def _fields(**names: str) -> dict[str, Getter]:
    return {name: attrgetter(path) for name, path in names.items()}


def _constant(value: Any) -> Getter:
    return lambda row: value


_DATES = {"createDate": "created", "lastOpDate": "created"}
_NAMED = {"uuid": "uuid", "name": "name"}


def _one(path: str) -> Callable[[Any], list[Any]]:
    """A join to one row, or to none."""
    get = attrgetter(path)

    def follow(row: Any) -> list[Any]:
        found = get(row)
        return [] if found is None else [found]

    return follow


def _things(name: str, rows: Callable[[], list[Thing]], *extra: str) -> Table:
    fields = _fields(**_NAMED, **_DATES)
    fields |= {key: lambda row, key=key: row.extra.get(key) for key in extra}  # type: ignore[misc]
    fields["state"] = _constant("Enabled")
    return Table(f"org.zstack.header.{name}", rows, fields, Inventories.thing, {})


VM_FIELDS: dict[str, Getter] = {
    **_fields(
        **_NAMED,
        zoneUuid="cluster.zone.uuid",
        clusterUuid="cluster.uuid",
        imageUuid="image.uuid",
        hostUuid="host_uuid",
        lastHostUuid="last_host_uuid",
        instanceOfferingUuid="offering.uuid",
        platform="platform",
        guestOsType="platform",
        defaultL3NetworkUuid="network.uuid",
        type="type",
        memorySize="memory",
        cpuNum="cpus",
        state="state",
        createDate="created",
        lastOpDate="changed",
    ),
    "rootVolumeUuid": lambda vm: vm.volumes[0].uuid,
    "description": _constant(None),
    "architecture": _constant("x86_64"),
    "hypervisorType": _constant("KVM"),
    "reservedMemorySize": _constant(None),
    "cpuSpeed": _constant(0),
    "allocatorStrategy": _constant("LeastVmPreferredHostAllocatorStrategy"),
}
HOST_FIELDS: dict[str, Getter] = {
    **_fields(
        **_NAMED,
        zoneUuid="cluster.zone.uuid",
        clusterUuid="cluster.uuid",
        managementIp="management_ip",
        state="state",
        status="status",
        createDate="created",
        lastOpDate="changed",
    ),
    "hypervisorType": _constant("KVM"),
    "architecture": _constant("x86_64"),
}
CLUSTER_FIELDS: dict[str, Getter] = {
    **_fields(**_NAMED, **_DATES, zoneUuid="zone.uuid"),
    "state": _constant("Enabled"),
    "hypervisorType": _constant("KVM"),
    "type": _constant("zstack"),
}
NIC_FIELDS: dict[str, Getter] = {
    **_fields(
        uuid="uuid", vmInstanceUuid="vm_uuid", l3NetworkUuid="network.uuid", ip="ip", mac="mac", deviceId="device", **_DATES
    ),
    "netmask": _constant("255.255.0.0"),
    "gateway": _constant("192.168.0.1"),
    "hypervisorType": _constant("KVM"),
    "state": _constant("enable"),
    "type": _constant("VNIC"),
}
VOLUME_FIELDS: dict[str, Getter] = {
    **_fields(
        **_NAMED,
        **_DATES,
        primaryStorageUuid="storage.uuid",
        vmInstanceUuid="vm_uuid",
        diskOfferingUuid="offering.uuid",
        type="type",
        size="size",
        actualSize="actual_size",
        deviceId="device",
    ),
    "rootImageUuid": lambda volume: None if volume.image is None else volume.image.uuid,
    "format": _constant("qcow2"),
    "state": _constant("Enabled"),
    "status": _constant("Ready"),
    "isShareable": _constant(False),
}
TAG_FIELDS: dict[str, Getter] = {
    **_fields(uuid="uuid", resourceUuid="resource_uuid", resourceType="resource_type", tag="tag", **_DATES),
    "type": lambda tag: "System" if tag.system else "User",
}


def make_tables(world: World) -> dict[str, Table]:
    """The tables over a world's rows, by the names that joins and routes use."""
    fleet = world.fleet
    vms, hosts, clusters = fleet.vms, fleet.hosts, fleet.clusters

    def tags(row: Any) -> list[tuple[bool, str]]:
        return [(tag.system, tag.tag) for tag in fleet.tags_of.get(row.uuid, ())]

    def owner_of(vm_uuid: str) -> str | None:
        vm = vms.get(vm_uuid)
        return None if vm is None else vm.account

    to_cluster = {"cluster": ("cluster", _one("cluster")), "zone": ("zone", _one("cluster.zone"))}
    vm_joins: dict[str, tuple[str, Callable[[Any], list[Any]]]] = {
        **to_cluster,
        "host": ("host", _one("host")),
        "image": ("image", _one("image")),
        "instanceOffering": ("offering", _one("offering")),
        "rootVolume": ("volume", lambda vm: vm.volumes[:1]),
        "vmNics": ("nic", attrgetter("nics")),
        "allVolumes": ("volume", attrgetter("volumes")),
    }
    by_vm: tuple[str, Callable[[Any], list[Any]]] = ("vm", lambda row: [vms[row.vm_uuid]] if row.vm_uuid in vms else [])
    nic_joins = {"vmInstance": by_vm, "l3Network": ("network", _one("network"))}
    volume_joins = {"vmInstance": by_vm, "primaryStorage": ("storage", _one("storage")), "image": ("image", _one("image"))}

    def hosted(host: SimulatedHost) -> list[SimulatedVm]:
        return [vm for vm in vms.values() if vm.host is host]

    return {
        "vm": Table(
            "org.zstack.header.vm.VmInstanceInventory", lambda: list(vms.values()), VM_FIELDS,
            lambda made, vm: made.vm(vm, hidden=False), vm_joins, tags, vms.get, attrgetter("account"),
        ),
        "host": Table(
            "org.zstack.kvm.KVMHostInventory", lambda: list(hosts.values()), HOST_FIELDS, Inventories.host,
            {**to_cluster, "vmInstance": ("vm", hosted)}, tags, hosts.get,
        ),
        "cluster": Table(
            "org.zstack.header.cluster.ClusterInventory", lambda: list(clusters.values()), CLUSTER_FIELDS,
            Inventories.cluster,
            {
                "zone": ("zone", _one("zone")),
                "host": ("host", lambda row: [host for host in hosts.values() if host.cluster is row]),
            },
            tags, clusters.get,
        ),
        "zone": _things("zone.ZoneInventory", lambda: list(fleet.zones.values())),
        "image": _things("image.ImageInventory", lambda: fleet.images, "platform", "format"),
        "offering": _things("configuration.InstanceOfferingInventory", lambda: fleet.offerings),
        "network": _things("network.l3.L3NetworkInventory", lambda: fleet.networks, "type"),
        "storage": _things("storage.primary.PrimaryStorageInventory", lambda: fleet.storages, "type"),
        "nic": Table(
            "org.zstack.header.vm.VmNicInventory", lambda: _all_nics(fleet), NIC_FIELDS,
            lambda made, nic: made.nic(nic, hidden=False), nic_joins, owner=lambda nic: owner_of(nic.vm_uuid),
        ),
        "volume": Table(
            "org.zstack.header.volume.VolumeInventory", lambda: _all_volumes(fleet), VOLUME_FIELDS, Inventories.volume,
            volume_joins, owner=lambda volume: owner_of(volume.vm_uuid),
        ),
        "system_tag": _tag_table(fleet, owner_of, system=True),
        "user_tag": _tag_table(fleet, owner_of, system=False),
        "config": _configuration(world),
        "node": _management_nodes(world),
    }  # fmt: skip


def _all_nics(fleet: Fleet) -> list[Nic]:
    return [nic for vm in fleet.vms.values() for nic in vm.nics]


def _all_volumes(fleet: Fleet) -> list[Volume]:
    return [volume for vm in fleet.vms.values() for volume in vm.volumes]


def _tag_table(fleet: Fleet, owner_of: Callable[[str], str | None], *, system: bool) -> Table:
    def rows() -> list[Tag]:
        return [tag for tag in fleet.tags if tag.system is system and tag.resource_uuid in fleet.vms]

    name = f"org.zstack.header.tag.{'System' if system else 'User'}TagInventory"
    return Table(name, rows, TAG_FIELDS, Inventories.tag, {}, owner=lambda tag: owner_of(tag.resource_uuid))


def _configuration(world: World) -> Table:
    node = world.node
    values = [
        ("kvm", "host.syncLevel", node.host_slots, 10),
        ("kvm", "vm.migrationQuantity", node.migration_quantity, 2),
        ("host", "host.maintenance.policy", node.maintenance_policy, "StopVmOnMigrationFailure"),
        ("identity", "session.timeout", round(node.session_life), 7200),
        ("identity", "session.maxConcurrent", node.max_sessions, 500),
        ("identity", "enable.unique.session", str(node.unique_session).lower(), "false"),
        ("rest", "checkTimeZone", str(node.check_time_zone).lower(), "false"),
        ("apiTimeout", "org.zstack.header.vm.APIStopVmInstanceMsg", f"{round(node.api_timeout)}s", "30m"),
        ("apiTimeout", "org.zstack.header.vm.APIMigrateVmMsg", f"{round(node.migrate_api_timeout)}s", "1h"),
    ]
    rows = [
        {"category": category, "name": name, "value": str(value), "defaultValue": str(default), "description": name}
        for category, name, value, default in values
    ]
    fields = {key: (lambda row, key=key: row[key]) for key in rows[0]}

    def inventory(made: Inventories, row: Json) -> Json:
        return made.wire.shuffled(row)

    return Table("org.zstack.core.config.GlobalConfigInventory", lambda: rows, fields, inventory, {})


def _management_nodes(world: World) -> Table:
    def rows() -> list[Json]:
        now = world.clock.now()
        host = world.node.location_host.partition(":")[0]
        return [{"uuid": world.fleet.management_uuid, "hostName": host, "joinDate": now, "heartBeat": now}]

    def inventory(made: Inventories, row: Json) -> Json:
        moment = made.wire.timestamp
        return made.wire.shuffled(row | {"joinDate": moment(row["joinDate"]), "heartBeat": moment(row["heartBeat"])})

    fields = {key: (lambda row, key=key: row[key]) for key in ("uuid", "hostName", "joinDate", "heartBeat")}
    name = "org.zstack.header.managementnode.ManagementNodeInventory"
    return Table(name, rows, fields, inventory, {})
