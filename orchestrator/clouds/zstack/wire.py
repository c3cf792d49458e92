"""The node's JSON as typed models: every field named in the protocol typed, every other kept (zstack-rest.md 5).

Attribute names are Python's, keys the node's: `inventory.memory_size` is `memorySize`. Numbers come as integers or as
`8.589934592E9`, and are integers here. A field the node did not send is None. What the node sent goes out again
by `plain()`, unchanged but for the numbers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Annotated, Any, get_args

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

_STAMP = re.compile(r"([A-Z][a-z]{2}) (\d{1,2}),? (\d{4}),? (\d{1,2}):(\d\d):(\d\d) ([AP]M)")
_DIGITS = re.compile(r"-?\d{1,19}")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PM, _HALF_DAY = "PM", 12
_USUAL_LENGTH = 40
"""Characters; longer text is no timestamp, and is not kept."""


@dataclass(frozen=True, slots=True)
class NodeTime:
    """A timestamp as the node writes it: its local wall clock, no zone. `local` is None where it cannot be read."""

    text: str
    local: datetime | None

    def at(self, zone: tzinfo) -> datetime | None:
        """The instant, given the node's zone; None where the text cannot be read."""
        return None if self.local is None else self.local.replace(tzinfo=zone)


def parse_node_time(value: object) -> NodeTime:
    """`Nov 14, 2017 10:20:57 PM`, with a second comma (JDK 9) or U+202F before PM (JDK 20) just as well."""
    if isinstance(value, NodeTime):
        return value
    try:
        text = str(value)
    except RecursionError:
        return NodeTime("nested too deeply to be shown", None)
    return _parsed(text) if len(text) <= _USUAL_LENGTH else _parsed.__wrapped__(text)


@lru_cache(4096)  # an inventory holds a dozen stamps, and most of them stand in the one read before just so
def _parsed(text: str) -> NodeTime:
    match = _STAMP.fullmatch(" ".join(text.split()))
    if match is None or match[1] not in _MONTHS:
        return NodeTime(text, None)
    if not 1 <= int(match[4]) <= _HALF_DAY:
        return NodeTime(text, None)
    hour = int(match[4]) % _HALF_DAY + (_HALF_DAY if match[7] == _PM else 0)
    try:
        local = datetime(  # noqa: DTZ001 - the node sends no zone; `at` adds it
            int(match[3]), _MONTHS.index(match[1]) + 1, int(match[2]), hour, int(match[5]), int(match[6])
        )
    except ValueError:
        return NodeTime(text, None)
    return NodeTime(text, local)


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        try:
            number = int(value) if _DIGITS.fullmatch(value) else _whole(float(value))
        except ValueError:
            return value
        return number if isinstance(number, int) else value
    return value


Int = Annotated[int, BeforeValidator(_whole)]
Stamp = Annotated[NodeTime, BeforeValidator(parse_node_time), PlainSerializer(lambda time: time.text)]


class _Wire(BaseModel):
    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        populate_by_name=True,
        alias_generator=AliasGenerator(alias=to_camel),
        arbitrary_types_allowed=True,
    )

    def plain(self) -> dict[str, Any]:
        """JSON-ready, with the node's names; fields it did not send stay absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class UsedIp(_Wire):
    """An address a NIC holds; `ip_in_binary` is a list of signed bytes."""

    uuid: str | None = None
    ip_range_uuid: str | None = None
    l3_network_uuid: str | None = None
    ip_version: Int | None = None
    ip: str | None = None
    netmask: str | None = None
    gateway: str | None = None
    used_for: str | None = None
    meta_data: str | None = None
    ip_in_long: Int | None = None
    ip_in_binary: tuple[Int, ...] | None = None
    vm_nic_uuid: str | None = None
    create_date: Stamp | None = None
    last_op_date: Stamp | None = None


class VmNic(_Wire):
    """A network card."""

    uuid: str | None = None
    vm_instance_uuid: str | None = None
    used_ip_uuid: str | None = None
    l3_network_uuid: str | None = None
    ip: str | None = None
    mac: str | None = None
    hypervisor_type: str | None = None
    netmask: str | None = None
    gateway: str | None = None
    meta_data: str | None = None
    ip_version: Int | None = None
    driver_type: str | None = None
    used_ips: tuple[UsedIp, ...] | None = None
    internal_name: str | None = None
    device_id: Int | None = None
    type: str | None = None
    state: str | None = None
    create_date: Stamp | None = None
    last_op_date: Stamp | None = None


class Volume(_Wire):
    """A disk; sizes are bytes."""

    uuid: str | None = None
    name: str | None = None
    description: str | None = None
    primary_storage_uuid: str | None = None
    vm_instance_uuid: str | None = None
    disk_offering_uuid: str | None = None
    root_image_uuid: str | None = None
    install_path: str | None = None
    type: str | None = None
    format: str | None = None
    size: Int | None = None
    actual_size: Int | None = None
    device_id: Int | None = None
    state: str | None = None
    status: str | None = None
    create_date: Stamp | None = None
    last_op_date: Stamp | None = None
    is_shareable: bool | None = None
    volume_qos: str | None = None
    last_detach_date: Stamp | None = None
    last_vm_instance_uuid: str | None = None
    last_attach_date: Stamp | None = None
    protocol: str | None = None


class CdRom(_Wire):
    """A CD-ROM drive."""

    uuid: str | None = None
    vm_instance_uuid: str | None = None
    device_id: Int | None = None
    iso_uuid: str | None = None
    iso_install_path: str | None = None
    name: str | None = None
    description: str | None = None
    protocol: str | None = None
    create_date: Stamp | None = None
    last_op_date: Stamp | None = None


class VmInventory(_Wire):
    """A VM as the node describes it (zstack-rest.md 5.2); memory in bytes. `host_uuid` is None once Stopped."""

    uuid: str
    name: str | None = None
    description: str | None = None
    zone_uuid: str | None = None
    cluster_uuid: str | None = None
    image_uuid: str | None = None
    host_uuid: str | None = None
    last_host_uuid: str | None = None
    instance_offering_uuid: str | None = None
    root_volume_uuid: str | None = None
    platform: str | None = None
    architecture: str | None = None
    guest_os_type: str | None = None
    default_l3_network_uuid: str | None = None
    type: str | None = None
    hypervisor_type: str | None = None
    memory_size: Int | None = None
    reserved_memory_size: Int | None = None
    cpu_num: Int | None = None
    cpu_speed: Int | None = None
    internal_id: Int | None = None
    allocator_strategy: str | None = None
    create_date: Stamp | None = None
    last_op_date: Stamp | None = None
    state: str | None = None
    vm_nics: tuple[VmNic, ...] | None = None
    all_volumes: tuple[Volume, ...] | None = None
    vm_cd_roms: tuple[CdRom, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Where a model has whole numbers, by the node's names: fields, lists of them, and lists of rows that have some."""

    fields: frozenset[str]
    lists: frozenset[str]
    rows: Mapping[str, "_Numbers"]


def _numbers_of(model: type[_Wire]) -> _Numbers:
    fields, lists, rows = set[str](), set[str](), dict[str, _Numbers]()
    for field in model.model_fields.values():
        assert field.alias is not None
        for kind in get_args(field.annotation):
            if kind == Int:
                fields.add(field.alias)
            elif get_args(kind)[:1] == (Int,):
                lists.add(field.alias)
            elif isinstance(inner := (get_args(kind) or (None,))[0], type) and issubclass(inner, _Wire):
                rows[field.alias] = _numbers_of(inner)
    return _Numbers(frozenset(fields), frozenset(lists), rows)


_OF_A_VM = _numbers_of(VmInventory)


def plain_inventory(data: Mapping[str, Any]) -> dict[str, Any]:
    """What `VmInventory.plain` gives, without the model, which takes four times as long: a run does this thrice for each VM.

    What is not as the protocol says stays as it came.
    """
    return _with_whole_numbers(data, _OF_A_VM)


def _with_whole_numbers(data: Mapping[str, Any], numbers: _Numbers) -> dict[str, Any]:
    made = dict(data)
    for key in numbers.fields & made.keys():
        made[key] = _whole(made[key])
    for key in numbers.lists & made.keys():
        if isinstance(values := made[key], list):
            made[key] = [_whole(value) for value in values]
    for key in numbers.rows.keys() & made.keys():
        if isinstance(rows := made[key], list):
            inner = numbers.rows[key]
            made[key] = [_with_whole_numbers(row, inner) if isinstance(row, dict) else row for row in rows]
    return made


def text_or_none(data: Mapping[str, Any], key: str) -> str | None:
    """A field that should be text; anything else the node put there counts as not sent."""
    value = data.get(key)
    return value if isinstance(value, str) and value else None
