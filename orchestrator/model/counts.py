"""How a count is said."""


def counted(count: int, noun: str = "VM") -> str:
    """`1 VM`, `2 VMs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def go_on(vms: int, hosts: int) -> str:
    """`3 VMs in flight go on`, `3 VMs in flight and 1 host under way go on`: what a pause does not hold up."""
    parts = [f"{counted(vms)} in flight"] if vms or not hosts else []
    parts += [f"{counted(hosts, 'host')} under way"] if hosts else []
    return f"{' and '.join(parts)} {'goes' if vms + hosts == 1 else 'go'} on"


def are(count: int) -> str:
    """`is` after one of something, else `are`."""
    return "is" if count == 1 else "are"
