"""How a count is said."""


def counted(count: int, noun: str = "VM") -> str:
    """`1 VM`, `2 VMs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def are(count: int) -> str:
    """`is` after one of something, else `are`."""
    return "is" if count == 1 else "are"
