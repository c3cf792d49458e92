"""A selection with its files read: what the engine asks the node for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selected:
    """Which VMs a part of the plan selects. `sources` names each list of UUIDs with all its entries.

    `uuids` holds each UUID once, in the order first seen: those of the plan, then those of the files.
    `may_be_empty` is always False for targets and waves.
    """

    uuids: tuple[str, ...]
    where: tuple[tuple[str, ...], ...]
    may_be_empty: bool
    sources: tuple[tuple[str, tuple[str, ...]], ...]

    def selectors(self) -> tuple[str, ...]:
        """The names people know the selectors by: `uuids`, each file as the plan names it, each where group."""
        return (*(name for name, _ in self.sources), *(selector_name(group) for group in self.where))


def selector_name(group: tuple[str, ...]) -> str:
    """The name of a where group: its conditions, joined with " and "."""
    return " and ".join(group)
