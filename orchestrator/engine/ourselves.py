"""Which machine this is, so that a run never stops the ground it stands on."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from orchestrator.model.target import Addresses

_NETWORK_CARDS = Path("/sys/class/net")
_NOBODY = "00:00:00:00:00:00"


@dataclass(frozen=True, slots=True)
class Ourselves:
    """`macs`: of this machine's network cards, lower case. `ips`: the management node's."""

    macs: frozenset[str]
    ips: frozenset[str]

    def clause(self, addresses: Addresses) -> str:
        """Why a VM with these addresses must never be stopped; empty where it may be."""
        if any(mac.lower() in self.macs for mac in addresses.macs):
            return "it is the machine this program runs on"
        if any(ip in self.ips for ip in addresses.ips):
            return "it is the management node itself"
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
