"""Which machine this is, so that a run never stops the ground it stands on."""

import uuid
from pathlib import Path
from urllib.parse import urlsplit

import anyio

_NETWORK_CARDS = Path("/sys/class/net")
_NOBODY = "00:00:00:00:00:00"


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
