"""How a count is said."""

from collections.abc import Iterable


def counted(count: int, noun: str = "VM") -> str:
    """`1 VM`, `2 VMs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def was(count: int) -> str:
    """`was` after one of something, else `were`."""
    return "was" if count == 1 else "were"


def first_few(names: Iterable[str], most: int = 10, total: int | None = None) -> str:
    """`a, b and 3 more`. `total`: how many there are, where these are but the first."""
    names = list(names)
    left = (len(names) if total is None else total) - len(names[:most])
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def go_on(vms: int, hosts: int) -> str:
    """`3 VMs in flight go on`, `3 VMs in flight and 1 host under way go on`: what a pause does not hold up."""
    parts = [f"{counted(vms)} in flight"] if vms or not hosts else []
    parts += [f"{counted(hosts, 'host')} under way"] if hosts else []
    return f"{' and '.join(parts)} {'goes' if vms + hosts == 1 else 'go'} on"


def are(count: int) -> str:
    """`is` after one of something, else `are`."""
    return "is" if count == 1 else "are"
