"""Which machine this is, so that a run never stops the ground it stands on."""

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from orchestrator.clouds.interface import Cloud
from orchestrator.model.target import Addresses

_NETWORK_CARDS = Path("/sys/class/net")
_NOBODY = "00:00:00:00:00:00"


_MACHINE, _NODE = "it is the machine this program runs on", "it is the management node itself"


@dataclass(frozen=True, slots=True)
class Ourselves:
    """`macs`: of this machine's network cards, lower case. `ips`: the management node's.

    `machine` and `node`: UUIDs of VMs that the node has named as such.
    """

    macs: frozenset[str]
    ips: frozenset[str]
    machine: frozenset[str] = frozenset()
    node: frozenset[str] = frozenset()

    async def ask(self, cloud: Cloud) -> "Ourselves":
        """The same with the UUIDs, for rows without addresses. Raises NodeAwayError, QueryRefusedError."""
        machine = await cloud.holders(Addresses(macs=tuple(sorted(self.macs))))
        return replace(self, machine=machine, node=await cloud.holders(Addresses(ips=tuple(sorted(self.ips)))))

    def clause(self, uuid: str, addresses: Addresses) -> str:
        """Why this VM must never be stopped; empty where it may be."""
        if uuid in self.machine or any(mac.lower() in self.macs for mac in addresses.macs):
            return _MACHINE
        if uuid in self.node or any(ip in self.ips for ip in addresses.ips):
            return _NODE
        return ""


async def find_ourselves(endpoint: str) -> Ourselves:
    """Who must stay up whatever the plan says."""
    return Ourselves(local_macs(), await endpoint_addresses(endpoint))


def local_macs() -> frozenset[str]:
    """MAC addresses of this machine's network cards, lower case."""
    found = set()
    if _NETWORK_CARDS.is_dir():
        for card in _NETWORK_CARDS.iterdir():
            try:
                found.add((card / "address").read_text(encoding="ascii").strip().lower())
            except (OSError, UnicodeDecodeError):
                continue
    else:
        node = uuid.getnode()
        if not (node >> 40) & 1:  # a made-up one has this bit set
            found.add(":".join(f"{node >> shift & 0xFF:02x}" for shift in range(40, -1, -8)))
    return frozenset(found - {_NOBODY, ""})


async def endpoint_addresses(endpoint: str) -> frozenset[str]:
    """Addresses the endpoint's name stands for; empty where it cannot be looked up."""
    host = urlsplit(endpoint).hostname
    if host is None:
        return frozenset()
    try:
        found = await anyio.getaddrinfo(host, None)
    except OSError:
        return frozenset()
    return frozenset(str(entry[4][0]) for entry in found)
