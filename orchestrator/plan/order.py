"""What must hold between waves: names, the graph of `after`, and each VM in one wave. Pure, and apart from the models,
so that waves which are wrong elsewhere are judged too."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from orchestrator.plan.tree import Path
from orchestrator.plan.wording import closest, listed, shown, visible

_MOST_TOLD = 8
"""Waves of one cycle, or names, that a message lists."""

_MOST_SEARCHED = 1000
"""Names among which the one that was meant is looked for."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Outline:
    """One wave for these rules. A name that is None is wrong in itself, which is told elsewhere."""

    name: str | None
    after: tuple[str | None, ...]
    takes_the_rest: bool


def order_breaches(waves: Sequence[Outline]) -> Iterator[tuple[Path, str]]:
    """Every broken rule: the path from the list of waves to the value at fault, and its message."""
    first: dict[str, int] = {}
    rest: int | None = None
    for index, wave in enumerate(waves):
        if wave.name is not None and first.setdefault(wave.name, index) != index:
            yield (index, "name"), f"found {shown(wave.name)}, as in wave {first[wave.name] + 1}; give each its own name"
        if wave.takes_the_rest and rest is not None:
            yield (
                (index,),
                f"no selector, as in wave {_called(waves, rest)}; only one wave takes what no other took: add `uuids`, "
                "`uuid_files` or `where`",
            )
        if wave.takes_the_rest and rest is None:
            rest = index
    all_known = all(wave.name is not None for wave in waves)
    for index, wave in enumerate(waves):
        yield from _after_breaches(index, wave, first, all_known=all_known)
    for cycle in _cycles(waves, first):
        names = [str(waves[index].name) for index in cycle]
        chain = " after ".join(shown(name) for name in names[:_MOST_TOLD])
        more = " after …" if len(names) > _MOST_TOLD else ""
        yield (
            (cycle[0], "after"),
            f"these waves wait for each other: {chain}{more} after {shown(names[0])}; take out one of their `after`",
        )


def _after_breaches(index: int, wave: Outline, known: dict[str, int], *, all_known: bool) -> Iterator[tuple[Path, str]]:
    seen: set[str] = set()
    for position, name in enumerate(wave.after):
        path = (index, "after", position)
        if name is None:
            continue
        if name == wave.name:
            yield path, f"found {shown(name)}, the wave itself; name the waves that come before it"
        elif name in seen:
            yield path, f"found {shown(name)} a second time; once is enough"
        elif name not in known and all_known:
            others = [other for other in islice(known, _MOST_SEARCHED) if other != wave.name]
            better = closest(name, others)
            if better:
                hint = f"did you mean `{visible(better)}`?"
            elif others:
                hint = f"{listed(visible(other) for other in others[:_MOST_TOLD])} is expected"
            else:
                hint = "there is no other wave to wait for: remove it"
            yield path, f"found {shown(name)}, and no wave is called that; {hint}"
        seen.add(name)


def _cycles(waves: Sequence[Outline], known: dict[str, int]) -> Iterator[list[int]]:
    """Waves that wait for each other, each wave in at most one of the cycles; itself and unknown names aside."""
    before = [[known[name] for name in wave.after if name in known and known[name] != at] for at, wave in enumerate(waves)]
    done: set[int] = set()
    for root in range(len(waves)):
        trail: list[int] = []
        depth: dict[int, int] = {}
        pending = [] if root in done else [root]
        while pending or trail:
            if pending:
                node = pending.pop()
                depth[node] = len(trail)
                trail.append(node)
            node = trail[-1]
            while before[node] and (before[node][-1] in done):
                before[node].pop()
            if not before[node]:
                done.add(trail.pop())
                del depth[node]
                continue
            towards = before[node].pop()
            if towards not in depth:
                pending.append(towards)
                continue
            cycle = trail[depth[towards] :]
            start = cycle.index(min(cycle))
            yield cycle[start:] + cycle[:start]
            for member in cycle:
                del depth[member]
            done.update(cycle)
            del trail[-len(cycle) :]


def taken_twice(lists: Iterable[tuple[int, _T, Iterable[str]]]) -> Iterator[tuple[_T, int, str, int]]:
    """Lists of UUIDs, each with its wave, that name VMs of an earlier wave.

    Of each such list: what stands for it, that wave, the first of those UUIDs, and how many there are.
    """
    owner: dict[str, int] = {}
    for wave, what, uuids in lists:
        stolen = [uuid for uuid in dict.fromkeys(uuids) if owner.setdefault(uuid, wave) != wave]
        if stolen:
            yield what, owner[stolen[0]], stolen[0], len(stolen)


def overlap_message(uuid: str, count: int, wave: str) -> str:
    """What is told of a list that names VMs of another wave."""
    many = f"{count} VMs that another wave has, the first " if count > 1 else ""
    return f"found {many}{uuid}, which wave {shown(wave)} has already; name each VM in one wave"


def _called(waves: Sequence[Outline], index: int) -> str:
    name = waves[index].name
    return shown(name) if name is not None else str(index + 1)
