"""Queries: how conditions become a URL, and rows become values (zstack-rest.md 7)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from functools import lru_cache
from sys import intern
from typing import Any
from urllib.parse import quote

from orchestrator.clouds.zstack.wire import parse_node_time, plain_inventory, text_or_none
from orchestrator.model.target import Addresses, HostRow, Seen, VmRow

PAGE = 500
"""VMs a page; the node's own default of 1000 would cut lists silently."""
ROW_FIELDS = "uuid,name,type,state,hostUuid,clusterUuid"
"""What a VM's row is made of, as far as a query's `fields` can name it."""
_UUID = re.compile(r"[0-9a-f]{32}")


def encode(conditions: Iterable[str] = (), **parameters: str | int) -> str:
    """Query string: one `q` a condition, all AND-ed, then the parameters."""
    parts = [f"q={quote(condition, safe='!?~=,:')}" for condition in conditions]
    parts += [f"{key}={quote(str(value), safe=',')}" for key, value in parameters.items()]
    return "&".join(parts)


def chunks(uuids: Sequence[str], size: int) -> list[Sequence[str]]:
    """Lists short enough for one URL."""
    return [uuids[start : start + size] for start in range(0, len(uuids), size)]


def is_uuid(text: object) -> bool:
    """32 lower-case hex: the only form that may become part of a URL."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def inventories(data: object) -> list[Mapping[str, Any]] | None:
    """The rows of a query's reply; None where it is not such a reply."""
    if not isinstance(data, dict) or not isinstance(data.get("inventories"), list):
        return None
    return [row if isinstance(row, dict) else {} for row in data["inventories"]]


def seen_vm(data: Mapping[str, Any], zone: tzinfo | None, now: float) -> Seen | None:
    """A VM's row and everything sent of it; None without a usable UUID. One odd field never loses the others."""
    row = vm_row(data, zone, now)
    return None if row is None else Seen(row, _Plain(data))


def vm_row(data: Mapping[str, Any], zone: tzinfo | None, now: float) -> VmRow | None:
    """Its row alone."""
    uuid = data.get("uuid")
    if not isinstance(uuid, str) or _UUID.fullmatch(uuid) is None:
        return None
    last_op = parse_node_time(data["lastOpDate"]).at(zone or UTC) if "lastOpDate" in data else None
    volumes = data.get("allVolumes")
    return VmRow(
        uuid=uuid,
        name=text_or_none(data, "name"),
        type=_shared(data, "type"),
        state=_shared(data, "state"),
        host_uuid=_shared(data, "hostUuid"),
        cluster_uuid=_shared(data, "clusterUuid"),
        last_op=last_op.timestamp() if last_op is not None and zone is not None else None,
        storages=_same(_texts(volumes, "primaryStorageUuid")) if volumes else (),
        read_at=now,
    )


def addresses_of(inventory: Mapping[str, Any]) -> Addresses:
    """What its network cards have."""
    data = inventory.sent if isinstance(inventory, _Plain) else inventory
    nics = data.get("vmNics")
    ips = _texts(nics, "ip")
    for nic in nics if isinstance(nics, list) else ():
        if isinstance(nic, dict) and (used := nic.get("usedIps")):
            ips += tuple(ip for ip in _texts(used, "ip") if ip not in ips)
    return Addresses(_texts(nics, "mac"), ips)


class _Plain(Mapping[str, Any]):
    """`plain_inventory`, made when it is first looked at: most of what is read of a VM is replaced by a later read."""

    __slots__ = ("_made", "sent")

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.sent = data
        """As it came, or as it was made."""
        self._made: Mapping[str, Any] | None = None

    def _inventory(self) -> Mapping[str, Any]:
        if self._made is None:
            self._made = self.sent = plain_inventory(self.sent)
        return self._made

    def __getitem__(self, key: str) -> Any:
        return self._inventory()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inventory())

    def __len__(self) -> int:
        return len(self._inventory())


def host_row(data: Mapping[str, Any]) -> HostRow | None:
    """A host's row; None without a UUID."""
    uuid = text_or_none(data, "uuid")
    if uuid is None:
        return None
    return HostRow(uuid, text_or_none(data, "name"), text_or_none(data, "status"), text_or_none(data, "state"))


def _shared(data: Mapping[str, Any], key: str) -> str | None:
    """A text that many rows have; they share one copy of it."""
    value = text_or_none(data, key)
    return None if value is None else intern(value)


@lru_cache(1024)
def _same(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Lists that many rows have; they share one copy of it."""
    return texts


def _texts(rows: object, key: str) -> tuple[str, ...]:
    """The texts that rows have under a key, each once; what is no list of rows has none."""
    if not isinstance(rows, list):
        return ()
    found = [value for row in rows if isinstance(row, dict) and isinstance(value := row.get(key), str) and value]
    return tuple(found) if len(found) < 2 else tuple(dict.fromkeys(found))
