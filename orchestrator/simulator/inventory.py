"""Rows as the node answers them: every field of zstack-rest.md 5.2, nulls left out."""

import ipaddress
from typing import Any

from orchestrator.simulator.fleet import (
    Nic,
    SimulatedCluster,
    SimulatedHost,
    SimulatedVm,
    Tag,
    Thing,
    Volume,
)
from orchestrator.simulator.wire import Wire

Json = dict[str, Any]


class Inventories:
    """Builds inventories in one wire form. What never changes of a VM is built once."""

    def __init__(self, wire: Wire, extra_fields: bool) -> None:
        self.wire = wire
        self.extra_fields = extra_fields
        self._parts: dict[str, Json] = {}

    def vm(self, vm: SimulatedVm, *, hidden: bool = True) -> Json:
        """A VM with its NICs, volumes and CD-ROMs; `hidden` also tells internalId, as jobs do and queries don't."""
        moment = self.wire.timestamp
        fields = {
            "uuid": vm.uuid,
            "name": vm.name,
            "description": None,
            "zoneUuid": vm.cluster.zone.uuid,
            "clusterUuid": vm.cluster.uuid,
            "imageUuid": vm.image.uuid,
            "hostUuid": vm.host_uuid,
            "lastHostUuid": vm.last_host_uuid,
            "instanceOfferingUuid": vm.offering.uuid,
            "rootVolumeUuid": vm.volumes[0].uuid,
            "platform": vm.platform,
            "architecture": "x86_64",
            "guestOsType": vm.platform,
            "defaultL3NetworkUuid": vm.network.uuid if vm.nics else None,
            "type": vm.type,
            "hypervisorType": "KVM",
            "memorySize": vm.memory,
            "cpuNum": vm.cpus,
            "cpuSpeed": 0,
            "internalId": vm.number if hidden else None,
            "allocatorStrategy": "LeastVmPreferredHostAllocatorStrategy",
            "state": vm.state,
            "createDate": moment(vm.created),
            "lastOpDate": moment(vm.changed),
            **self._nested(vm),
        }
        if self.extra_fields:
            fields |= {"vmSchedulerGroup": {"mode": "soft"}, "bootMode": "UEFI", "guestToolsState": ["unknown"]}
        return self.wire.shuffled(fields)

    def _nested(self, vm: SimulatedVm) -> Json:
        parts = self._parts.get(vm.uuid)
        if parts is None:
            drive = {
                "uuid": vm.cdrom_uuid,
                "vmInstanceUuid": vm.uuid,
                "deviceId": 0,
                "name": f"vm-{vm.uuid}-cdRom",
                "createDate": self.wire.timestamp(vm.created),
                "lastOpDate": self.wire.timestamp(vm.created),
            }
            parts = self._parts[vm.uuid] = {
                "vmNics": [self.nic(nic) for nic in sorted(vm.nics, key=lambda nic: nic.device)],
                "allVolumes": [self.volume(volume) for volume in reversed(vm.volumes)],
                "vmCdRoms": [drive],
            }
        return parts

    def nic(self, nic: Nic, *, hidden: bool = True) -> Json:
        """A NIC with its used IPs; `hidden` also tells usedIpUuid."""
        made = self.wire.timestamp(nic.created)
        address = ipaddress.IPv4Address(nic.ip)
        common = {"l3NetworkUuid": nic.network.uuid, "ip": nic.ip, "netmask": "255.255.0.0", "gateway": "192.168.0.1"}
        dates = {"createDate": made, "lastOpDate": made}
        used = {
            **common,
            **dates,
            "uuid": nic.used_ip_uuid,
            "ipRangeUuid": nic.network.uuid,
            "ipVersion": 4,
            "ipInLong": int(address),
            "ipInBinary": [byte - 256 if byte > 127 else byte for byte in address.packed],
            "vmNicUuid": nic.uuid,
        }
        return self.wire.shuffled(
            {
                **common,
                **dates,
                "uuid": nic.uuid,
                "vmInstanceUuid": nic.vm_uuid,
                "usedIpUuid": nic.used_ip_uuid if hidden else None,
                "mac": nic.mac,
                "hypervisorType": "KVM",
                "driverType": "virtio",
                "usedIps": [used],
                "internalName": f"vnic{nic.device}.{nic.device}",
                "deviceId": nic.device,
                "type": "VNIC",
                "state": "enable",
            }
        )

    def volume(self, volume: Volume) -> Json:
        """A volume."""
        made = self.wire.timestamp(volume.created)
        return self.wire.shuffled(
            {
                "uuid": volume.uuid,
                "name": volume.name,
                "primaryStorageUuid": volume.storage.uuid,
                "vmInstanceUuid": volume.vm_uuid,
                "diskOfferingUuid": volume.offering.uuid,
                "rootImageUuid": None if volume.image is None else volume.image.uuid,
                "installPath": f"/storage/volumes/vol-{volume.uuid}/{volume.uuid}.qcow2",
                "type": volume.type,
                "format": "qcow2",
                "size": volume.size,
                "actualSize": volume.actual_size,
                "deviceId": volume.device,
                "state": "Enabled",
                "status": "Ready",
                "createDate": made,
                "lastOpDate": made,
                "isShareable": False,
            }
        )

    def host(self, host: SimulatedHost) -> Json:
        """A host."""
        return self.wire.shuffled(
            {
                "uuid": host.uuid,
                "name": host.name,
                "zoneUuid": host.cluster.zone.uuid,
                "clusterUuid": host.cluster.uuid,
                "managementIp": host.management_ip,
                "username": "root",
                "sshPort": 22,
                "hypervisorType": "KVM",
                "state": host.state,
                "status": host.status,
                "architecture": "x86_64",
                "totalCpuCapacity": 640,
                "totalMemoryCapacity": 549755813888,
                "createDate": self.wire.timestamp(host.created),
                "lastOpDate": self.wire.timestamp(host.changed),
            }
        )

    def cluster(self, cluster: SimulatedCluster) -> Json:
        """A cluster."""
        made = self.wire.timestamp(cluster.created)
        return self.wire.shuffled(
            {
                "uuid": cluster.uuid,
                "name": cluster.name,
                "zoneUuid": cluster.zone.uuid,
                "state": "Enabled",
                "hypervisorType": "KVM",
                "type": "zstack",
                "createDate": made,
                "lastOpDate": made,
            }
        )

    def thing(self, thing: Thing) -> Json:
        """A zone, image, offering, network or storage."""
        made = self.wire.timestamp(thing.created)
        plain = {"uuid": thing.uuid, "name": thing.name, "state": "Enabled", "createDate": made, "lastOpDate": made}
        return self.wire.shuffled(plain | thing.extra)

    def tag(self, tag: Tag) -> Json:
        """A system or user tag."""
        made = self.wire.timestamp(tag.created)
        return self.wire.shuffled(
            {
                "uuid": tag.uuid,
                "resourceUuid": tag.resource_uuid,
                "resourceType": tag.resource_type,
                "tag": tag.tag,
                "type": "System" if tag.system else "User",
                "inherent": False if tag.system else None,
                "createDate": made,
                "lastOpDate": made,
            }
        )


CLASSES = {
    "": "org.zstack.header.vm.VmInstanceInventory",
    "vmNics": "org.zstack.header.vm.VmNicInventory",
    "usedIps": "org.zstack.header.network.l3.UsedIpInventory",
    "allVolumes": "org.zstack.header.volume.VolumeInventory",
    "vmCdRoms": "org.zstack.header.vm.cdrom.VmCdRomInventory",
}


def schema_of(prefix: str, name: str, inventory: Json) -> dict[str, str]:
    """The `schema` entries of one inventory and what it nests: `inventories[0].vmNics[0]` to its class name."""
    schema = {prefix: name}
    for key, value in inventory.items():
        if key in CLASSES and isinstance(value, list):
            for number, item in enumerate(value):
                schema |= schema_of(f"{prefix}.{key}[{number}]", CLASSES[key], item)
    return schema
