"""The node's JSON as typed models: held against the vendor's page and the protocol's own field lists."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import NoneType
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orchestrator.clouds.zstack.errors import has_chain, node_error
from orchestrator.clouds.zstack.http import Answer
from orchestrator.clouds.zstack.query import addresses_of, seen_vm
from orchestrator.clouds.zstack.wire import (
    CdRom,
    NodeTime,
    UsedIp,
    VmInventory,
    VmNic,
    Volume,
    parse_node_time,
    plain_inventory,
)
from orchestrator.model.fault import NodeError
from orchestrator.model.target import Addresses

DATA = Path(__file__).parents[2] / "data"
UUID = "02b75a26397b347a8cf5cfaf5ce93ed1"
Row = dict[str, Any]

# The lists of zstack-rest.md 5.2.
FULLER: dict[str, dict[str, str]] = json.loads((DATA / "vm_fields.json").read_text("utf-8"))
MODELS: dict[str, type[BaseModel]] = {
    "error": NodeError,
    "inventory": VmInventory,
    "vmNics": VmNic,
    "usedIps": UsedIp,
    "allVolumes": Volume,
    "vmCdRoms": CdRom,
}
PYTHON_TYPES: dict[str, Any] = {
    "String": str,
    "Long": int,
    "long": int,
    "Integer": int,
    "Timestamp": NodeTime,
    "Boolean": bool,
    "List": tuple,
    "LinkedHashMap": dict,
    "ErrorCode": NodeError,
}
SAMPLES: dict[str, object] = {
    "String": "text",
    "Integer": 7,
    "Timestamp": "Nov 14, 2017 10:20:57 PM",
    "Boolean": True,
    "List": [],
}
ODD_VALUES: list[object] = [
    None,
    True,
    -1,
    1.5,
    float("inf"),
    1e300,
    "",
    "\ud800",
    "1e999",
    [],
    [None],
    [[{}]],
    [{"uuid": 5, "ip": [], "mac": {}, "usedIps": {"a": 1}, "primaryStorageUuid": 3}],
    {},
    {"a": {"b": [1]}},
]


def page_response() -> Row:
    """The vendor page's sample, freshly read."""
    data: Row = json.loads((DATA / "stop_vm_response.json").read_text("utf-8"))
    return data


def page_fields() -> dict[str, dict[str, str]]:
    """The vendor page's field tables: name to type."""
    data: dict[str, dict[str, str]] = json.loads((DATA / "stop_vm_fields.json").read_text("utf-8"))
    return data


def full_row() -> Row:
    """A row with every field of the protocol's lists set, at every level."""
    made = {part: {name: SAMPLES[kind] for name, kind in fields.items()} for part, fields in FULLER.items()}
    address = {**made["usedIps"], "ipInBinary": [-64, -88, 1, 10]}
    nic = {**made["vmNics"], "usedIps": [address]}
    return {
        **made["inventory"],
        "uuid": UUID,
        "vmNics": [nic],
        "allVolumes": [made["allVolumes"]],
        "vmCdRoms": [made["vmCdRoms"]],
    }


def kind_of(model: type[BaseModel], alias: str) -> Any:
    """The Python type of the field that the node calls `alias`, without None and without what a list holds."""
    field = next(field for name, field in model.model_fields.items() if (field.alias or name) == alias)
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
    kind = kinds[0]
    if getattr(kind, "__metadata__", None):
        kind = kind.__origin__
    return getattr(kind, "__origin__", None) or kind


@pytest.mark.parametrize(
    ("part", "name", "kind"),
    [(part, name, kind) for part, fields in page_fields().items() for name, kind in fields.items()],
)
def test_every_field_of_the_page_is_an_alias_with_its_type(part: str, name: str, kind: str) -> None:
    """Whatever the vendor's page names is a typed field of ours under exactly that name."""
    assert kind_of(MODELS[part], name) is PYTHON_TYPES[kind]


@pytest.mark.parametrize(
    ("part", "name", "kind"),
    [(part, name, kind) for part, fields in FULLER.items() for name, kind in fields.items()],
)
def test_every_field_of_the_protocol_is_an_alias_with_its_type(part: str, name: str, kind: str) -> None:
    """The same for the fuller lists of zstack-rest.md 5.2."""
    assert kind_of(MODELS[part], name) is PYTHON_TYPES[kind]


def test_the_models_name_nothing_that_neither_list_has() -> None:
    """A typed field exists because the node sends it, so a misspelt alias cannot hide."""
    for part, fields in FULLER.items():
        ours = {field.alias or name for name, field in MODELS[part].model_fields.items()}
        assert ours == set(fields)


def test_the_pages_sample_is_read_with_every_value() -> None:
    """The vendor's own response parses; each value arrives, with numbers as whole numbers and times as times."""
    vm = VmInventory.model_validate(page_response()["inventory"])
    assert (vm.uuid, vm.name, vm.description) == (UUID, "Test-VM", "web server VM")
    assert (vm.zone_uuid, vm.cluster_uuid) == ("2a9974ad7f7a343f908709094b509567", "e8626869bf793e0984bd4834c36582c4")
    assert vm.image_uuid == "7020002bfd163c9e8bf59e94b3948b3b"
    assert (vm.host_uuid, vm.last_host_uuid) == ("7cfc6cb3cb0d310281452e452f6fd8a5", "e8b813355af136bdb5c34b1a760e52d4")
    assert vm.instance_offering_uuid == "c8e4bc576e8633698b340ca572f45ae8"
    assert vm.root_volume_uuid == "96b787ec9551331c907060238dff530f"
    assert vm.default_l3_network_uuid == "6721d14d610037f193c17cb3b6f361b4"
    assert (vm.platform, vm.type, vm.hypervisor_type, vm.state) == ("Linux", "UserVm", "KVM", "Stopped")
    assert vm.allocator_strategy == "LastHostPreferredAllocatorStrategy"
    assert (vm.memory_size, vm.cpu_num, vm.cpu_speed) == (8589934592, 1, None)
    assert type(vm.memory_size) is int
    assert type(vm.cpu_num) is int
    when = datetime(2017, 11, 14, 22, 20, 57)  # noqa: DTZ001 - the node's wall clock
    assert vm.create_date == vm.last_op_date == NodeTime("Nov 14, 2017 10:20:57 PM", when)
    assert vm.vm_nics is not None
    (nic,) = vm.vm_nics
    assert (nic.ip, nic.mac, nic.netmask, nic.gateway) == (
        "192.168.1.10",
        "00:0c:29:bd:99:fc",
        "255.255.255.0",
        "192.168.1.1",
    )
    assert (nic.used_ip_uuid, nic.device_id, nic.used_ips) == ("9f7711d4a8b43c1ea582cedf98f44759", 0, None)
    assert vm.all_volumes is not None
    (volume,) = vm.all_volumes
    assert (volume.size, volume.actual_size, volume.device_id) == (107374182400, 21474836480, 0)
    assert (volume.type, volume.format, volume.state, volume.status) == ("Root", "qcow2", "Enabled", "Ready")
    assert volume.install_path is not None
    assert volume.install_path.endswith("/96b787ec9551331c907060238dff530f.qcow2")
    assert volume.is_shareable is None
    assert vm.vm_cd_roms is None


def test_the_pages_sample_goes_out_as_it_came() -> None:
    """`plain()` loses no key and no value of the sample, and whole numbers are written whole."""
    inventory = page_response()["inventory"]
    plain = VmInventory.model_validate(inventory).plain()
    assert plain == inventory
    assert json.dumps(plain["memorySize"]) == "8589934592"
    assert json.dumps(plain["allVolumes"][0]["size"]) == "107374182400"


@pytest.mark.parametrize("sent", [8589934592, 8.589934592e9, "8589934592", "8.589934592E9"])
def test_numbers_in_either_form_are_whole(sent: object) -> None:
    """Plain integers, floats of the page's form and their texts all become the same int."""
    vm = VmInventory.model_validate({"uuid": UUID, "memorySize": sent})
    assert vm.memory_size == 8589934592
    assert type(vm.plain()["memorySize"]) is int


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_no_digit_of_a_long_is_lost(number: int) -> None:
    """Every 64-bit value survives, as a number and as text."""
    for sent in (number, str(number)):
        assert VmInventory.model_validate({"uuid": UUID, "memorySize": sent}).memory_size == number


def test_every_typed_field_survives_the_round_trip() -> None:
    """A row with every field of 5.2 set, CD-ROM and addresses included, comes out as it went in."""
    row = full_row()
    assert VmInventory.model_validate(row).plain() == row


def test_unknown_keys_survive_at_every_level() -> None:
    """What a newer node adds, wherever it adds it, is kept and goes out again."""
    row = full_row()
    extra = {"newer": {"deep": [1, 2.5, "x", None, True]}, "über": "naïve \u003c"}
    for part in (row, row["vmNics"][0], row["vmNics"][0]["usedIps"][0], row["allVolumes"][0], row["vmCdRoms"][0]):
        part.update(extra)
    assert VmInventory.model_validate(row).plain() == row


def in_order(value: object) -> str:
    """As JSON, which tells 7 from 7.0, whatever the order of keys."""
    return json.dumps(value, sort_keys=True)


def as_gson(value: object) -> object:
    """The same with every whole number as the node may write it."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case dict():
            return {key: as_gson(inner) for key, inner in value.items()}
        case list():
            return [as_gson(inner) for inner in value]
    return value


def test_an_inventory_is_made_plain_without_the_model() -> None:
    """The short way gives what the model gives, to the type of each number, wherever in the row it stands."""
    for row in (full_row(), page_response()["inventory"]):
        sent = as_gson(row)
        assert isinstance(sent, dict)
        made = plain_inventory(sent)
        by_model = VmInventory.model_validate(sent).plain()
        assert in_order(made) == in_order(by_model)
        assert type(made["memorySize"]) is int


@given(st.dictionaries(st.sampled_from(sorted(full_row())), st.sampled_from([*ODD_VALUES, 3, 3.0, "3", "3E2", 2.5])))
def test_what_does_not_fit_stays_as_it_came(changes: dict[str, object]) -> None:
    """An odd field is left alone, and takes nothing from the others."""
    row = full_row()
    made = plain_inventory({**as_gson(row), **changes})  # type: ignore[dict-item]
    for key, value in made.items():
        came = changes.get(key, row[key])
        as_number = key in {"memorySize", "reservedMemorySize", "cpuNum", "cpuSpeed", "internalId"}
        if key in changes and as_number and isinstance(came, str | float):
            came = (
                {"3": 3, "3E2": 300}.get(came, came) if isinstance(came, str) else int(came) if came.is_integer() else came
            )
        assert in_order(value) == in_order(came)
    assert made.keys() == {**row, **changes}.keys()


def test_cd_roms_are_typed() -> None:
    """A CD-ROM drive is a typed member like a NIC."""
    drive = {"uuid": "c" * 32, "deviceId": 1.0, "isoUuid": "d" * 32, "createDate": "Mar 3, 2025 9:05:01 AM"}
    vm = VmInventory.model_validate({"uuid": UUID, "vmCdRoms": [drive]})
    assert vm.vm_cd_roms is not None
    assert (vm.vm_cd_roms[0].device_id, vm.vm_cd_roms[0].iso_uuid) == (1, "d" * 32)
    assert vm.plain()["vmCdRoms"] == [drive]


def test_a_field_that_was_not_sent_stays_absent() -> None:
    """The node omits nulls, and so do we: a Stopped VM has no hostUuid key in the report either."""
    vm = VmInventory.model_validate({"uuid": UUID, "state": "Stopped"})
    assert vm.host_uuid is None
    assert vm.plain() == {"uuid": UUID, "state": "Stopped"}


PM_1020 = datetime(2017, 11, 14, 22, 20, 57)  # noqa: DTZ001 - the node's wall clock


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("Nov 14, 2017 10:20:57 PM", PM_1020),
        ("Nov 14, 2017, 10:20:57 PM", PM_1020),
        ("Nov 14, 2017, 10:20:57\u202fPM", PM_1020),
        ("Nov 14, 2017 10:20:57\u00a0PM", PM_1020),
        ("Mar 3, 2025 9:05:01 AM", datetime(2025, 3, 3, 9, 5, 1)),  # noqa: DTZ001
        ("Mar 3, 2025, 9:05:01\u202fAM", datetime(2025, 3, 3, 9, 5, 1)),  # noqa: DTZ001
        ("Jan 1, 2024 12:00:00 AM", datetime(2024, 1, 1, 0, 0, 0)),  # noqa: DTZ001
        ("Jan 1, 2024 12:00:00 PM", datetime(2024, 1, 1, 12, 0, 0)),  # noqa: DTZ001
        ("Feb 29, 2024, 12:59:59\u202fPM", datetime(2024, 2, 29, 12, 59, 59)),  # noqa: DTZ001
        ("Dec 31, 2025 11:59:59 PM", datetime(2025, 12, 31, 23, 59, 59)),  # noqa: DTZ001
    ],
)
def test_timestamps_of_every_jdk(text: str, local: datetime) -> None:
    """JDK 8, 9 and 20 write the same moment in three ways, with days and hours unpadded."""
    assert parse_node_time(text) == NodeTime(text, local)


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2199, 12, 31)),  # noqa: DTZ001
    st.sampled_from([" ", ", "]),
    st.sampled_from([" ", "\u202f"]),
)
def test_timestamps_of_every_moment(moment: datetime, comma: str, space: str) -> None:
    """Whatever moment the node writes, the same moment is read."""
    moment = moment.replace(microsecond=0)
    month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][moment.month - 1]
    text = (
        f"{month} {moment.day}, {moment.year}{comma}"
        f"{moment.hour % 12 or 12}:{moment:%M:%S}{space}{'AM' if moment.hour < 12 else 'PM'}"
    )
    assert parse_node_time(text).local == moment


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "yesterday",
        "2017-11-14T22:20:57Z",
        "Nov 31, 2017 10:20:57 PM",
        "Feb 29, 2023 1:00:00 AM",
        "Foo 14, 2017 10:20:57 PM",
        "Nov 14, 0000 10:20:57 PM",
        "Nov 14, 2017 99:20:57 PM",
        "Nov 14, 2017 13:20:57 PM",
        "Nov 14, 2017 10:61:57 PM",
        "Nov 14, 2017 10:20:57",
        "Nov 14, 2017 10:20:57 PM extra",
        "14 nov. 2017 22:20:57",
        1510698057000,
        None,
        [],
        {},
    ],
)
def test_a_timestamp_that_is_none_keeps_its_text_and_has_no_moment(garbage: object) -> None:
    """Garbage is kept as it came, is no moment, and is no error."""
    read = parse_node_time(garbage)
    assert read.local is None
    assert read.text == str(garbage)
    assert read.at(UTC) is None


def test_a_timestamp_becomes_an_instant_in_the_nodes_zone() -> None:
    """The text holds no zone: the node's gives it its meaning."""
    read = parse_node_time("Nov 14, 2017 10:20:57 PM")
    assert read.at(ZoneInfo("Asia/Shanghai")) == datetime(2017, 11, 14, 14, 20, 57, tzinfo=UTC)
    assert read.at(timezone(timedelta(hours=-5))) == datetime(2017, 11, 15, 3, 20, 57, tzinfo=UTC)


CHAIN: Row = {
    "code": "VM.1002",
    "description": "Unable to stop a vm",
    "details": "cannot stop",
    "elaboration": "what to do",
    "opaque": {"key": {"nested": [1]}},
    "cost": "3ms",
    "messages": {"message_en": "x", "code": 7},
    "cause": {
        "code": "HOST.1011",
        "details": "主机未连接",
        "location": "here",
        "causes": [
            {"code": "HOST.1010", "details": "status[Disconnected]", "i18nDetails": "y"},
            {"code": "SYS.1015", "cause": {"code": "SYS.1016", "opaque": {}}},
        ],
    },
}


def verdict(error: object) -> Answer:
    """The answer of a failed job."""
    return Answer(503, json.dumps({"error": error}).encode())


def test_the_whole_error_chain_is_kept() -> None:
    """Elaboration, opaque, cause, causes and keys nobody named come out as they went in."""
    error = node_error(verdict(CHAIN))
    assert error.plain() == CHAIN
    assert (error.code, error.elaboration, error.opaque) == ("VM.1002", "what to do", {"key": {"nested": [1]}})
    assert error.cause is not None
    assert [child.code for child in error.cause.causes] == ["HOST.1010", "SYS.1015"]
    assert list(error.codes()) == ["VM.1002", "HOST.1011", "HOST.1010", "SYS.1015", "SYS.1016"]
    assert error.chain() == "VM.1002 <- HOST.1011 <- HOST.1010 <- SYS.1015 <- SYS.1016"
    assert "主机未连接" in error.sentence()


def test_the_chain_groups_by_codes_never_by_details() -> None:
    """Details are localised free text: two failures with the same codes are the same cause."""
    one, other = dict(CHAIN, details="a"), dict(CHAIN, details="b")
    assert node_error(verdict(one)).chain() == node_error(verdict(other)).chain()


@pytest.mark.parametrize("key", ["description", "details", "elaboration", "opaque", "cause", "causes"])
@pytest.mark.parametrize("odd", ODD_VALUES, ids=repr)
def test_an_odd_value_in_an_error_never_costs_its_code(key: str, odd: object) -> None:
    """One key of an unforeseen type leaves the code, the only thing to branch on, and the other keys readable."""
    error = node_error(verdict({**CHAIN, key: odd}))
    assert error.code == "VM.1002"
    assert has_chain(verdict({**CHAIN, key: odd}))
    assert key == "description" or error.description == "Unable to stop a vm"
    if key != "cause":
        assert error.cause is not None
        assert error.cause.code == "HOST.1011"


def test_an_unforeseen_value_in_an_error_is_kept_as_text() -> None:
    """What does not fit is not dropped: its JSON stands in its place."""
    assert node_error(verdict({"code": "VM.1002", "details": {"why": [1]}})).details == '{"why": [1]}'
    cause = node_error(verdict({"code": "VM.1002", "cause": "the host is gone"})).cause
    assert cause is not None
    assert cause.details == "the host is gone"


@pytest.mark.parametrize("depth", [1, 50, 200, 254, 255, 256, 400, 900, 970, 990, 1100, 100_000])
def test_a_deep_error_never_breaks_the_reader(depth: int) -> None:
    """A chain of any depth is read, or is no chain; it raises nothing, and up to 50 it is read whole."""
    body = b'{"code":"VM.1002","cause":' * depth + b"{}" + b"}" * depth
    answer = Answer(503, b'{"error":' + body + b"}")
    error = node_error(answer)
    assert error.sentence()
    assert error.code in {"VM.1002", "http.503"}
    has_chain(answer)
    if depth <= 50:
        assert len(list(error.codes())) == depth


@pytest.mark.parametrize("depth", [10, 200, 254, 255, 256, 500, 850])
@pytest.mark.parametrize("key", ["name", "state", "lastOpDate", "vmNics", "memorySize", "newer"])
def test_deep_nesting_never_loses_the_row(key: str, depth: int) -> None:
    """A field nested as deep as JSON can be read leaves the rest of the row usable."""
    data = Answer(
        200, b'{"uuid":"%s","state":"Running","%s":' % (UUID.encode(), key.encode()) + b"[" * depth + b"]" * depth + b"}"
    )
    row = data.json()
    assert isinstance(row, dict)
    seen = seen_vm(row, UTC, 1.0)
    assert seen is not None
    assert seen.row.uuid == UUID
    assert key == "state" or seen.row.state == "Running"


@pytest.mark.parametrize("odd", ODD_VALUES, ids=repr)
@pytest.mark.parametrize("key", [*sorted(set(FULLER["inventory"]) - {"uuid"}), "newer"])
def test_one_odd_field_never_loses_the_row(key: str, odd: object) -> None:
    """Each field in turn gets each wrong type: the row stays, and every other field of it too."""
    right = full_row()
    expected = seen_vm(right, UTC, 1.0)
    seen = seen_vm({**right, key: odd}, UTC, 1.0)
    assert expected is not None
    assert seen is not None
    dependent = {
        "name": "name",
        "type": "type",
        "state": "state",
        "hostUuid": "host_uuid",
        "clusterUuid": "cluster_uuid",
        "lastOpDate": "last_op",
        "allVolumes": "storages",
    }
    for field in ("uuid", "name", "type", "state", "host_uuid", "cluster_uuid", "last_op", "storages"):
        if dependent.get(key) != field:
            assert getattr(seen.row, field) == getattr(expected.row, field)
    if key != "vmNics":
        assert addresses_of(seen.inventory) == addresses_of(expected.inventory)
    kept = dict(seen.inventory)
    for other in right:
        if other != key:
            assert kept[other] == right[other]
    assert key in kept


@pytest.mark.parametrize("uuid", [None, 5, "", "x" * 32, UUID.upper(), UUID[:-1], UUID + "\n", f"{UUID}/../..", []])
def test_a_row_without_a_usable_uuid_is_no_vm(uuid: object) -> None:
    """A UUID may become part of a URL, so only 32 lower-case hex is one."""
    assert seen_vm({**full_row(), "uuid": uuid}, UTC, 1.0) is None


def test_a_row_says_where_the_vm_is_and_what_it_holds() -> None:
    """Host, storages, MACs and every address, once each, come from the right keys."""
    row = page_response()["inventory"]
    row["vmNics"][0]["usedIps"] = [{"ip": "192.168.1.10"}, {"ip": "fe80::1"}, {"ip": None}]
    seen = seen_vm(row, ZoneInfo("Asia/Shanghai"), 12.5)
    assert seen is not None
    assert seen.row.host_uuid == "7cfc6cb3cb0d310281452e452f6fd8a5"
    assert seen.row.storages == ("d265ae8ea11d346cb0e657d46b6f2f86",)
    assert addresses_of(seen.inventory) == Addresses(("00:0c:29:bd:99:fc",), ("192.168.1.10", "fe80::1"))
    assert addresses_of(dict(seen.inventory)) == addresses_of(seen.inventory)
    assert seen.row.last_op == datetime(2017, 11, 14, 14, 20, 57, tzinfo=UTC).timestamp()
    assert seen.row.read_at == 12.5


def test_without_the_nodes_zone_there_is_no_moment() -> None:
    """A wall clock of an unknown zone is not taken for UTC."""
    seen = seen_vm(page_response()["inventory"], None, 1.0)
    assert seen is not None
    assert seen.row.last_op is None
    assert seen.inventory["lastOpDate"] == "Nov 14, 2017 10:20:57 PM"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(set(FULLER["inventory"]) - {"uuid"})), json_values))
def test_no_json_at_all_loses_a_row(fields: Row) -> None:
    """Whatever the node puts into the fields, the VM is seen and its keys are kept."""
    seen = seen_vm({**fields, "uuid": UUID}, UTC, 0.0)
    assert seen is not None
    assert set(seen.inventory) == {*fields, "uuid"}


@given(json_values)
def test_no_json_at_all_breaks_the_error_reader(value: object) -> None:
    """Whatever stands where the error should be, a sentence comes out."""
    assert node_error(verdict(value)).sentence()
