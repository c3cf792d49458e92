"""Where VMs are migrated to: a host that the node offers, outside those that are emptied, with room for one more."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import anyio

from orchestrator.clouds.interface import Cloud, QueryRefusedError
from orchestrator.engine.halt import Halt
from orchestrator.engine.outage import Outage
from orchestrator.model.safe import one_line
from orchestrator.model.target import HostRow

_TRIES, _PAUSE_SECONDS = 3, 2.0
"""How often a VM's candidates are asked for where the node does not take the query, and the pause between."""
_FRESH_SECONDS = 30.0
"""How long a VM's candidates are waited for before they are asked for anew."""


@dataclass(frozen=True, slots=True)
class Found:
    """A host's UUID; None where there is none, and then why, as a clause. `unsure`: nobody could say."""

    host: str | None
    why: str = ""
    unsure: bool = False


class Destinations:
    """Hosts that VMs go to. `leaving`: those that are emptied; `per_host`: migrations that one host takes at a time;
    `chosen`: those that an earlier process has chosen; `told` is handed the name of each that is chosen for the first time.

    Of the node's candidates the one with the fewest migrations under way is taken, and among those the one that was given
    the fewest VMs: the node's own order may send all to one. `scale` compresses our own pace.
    """

    def __init__(
        self,
        cloud: Cloud,
        outage: Outage,
        halt: Halt,
        leaving: frozenset[str],
        *,
        per_host: int,
        scale: float = 1.0,
        chosen: Iterable[str] = (),
        told: Callable[[Mapping[str, str]], None] = lambda names: None,
    ) -> None:
        self._cloud = cloud
        self._outage = outage
        self._halt = halt
        self._leaving = leaving
        self._per_host = per_host
        self._scale = scale
        self._coming = Counter[str]()
        self._given = Counter[str]()
        self._names: dict[str, str] = {}
        self._chosen = set(chosen)
        self._told = told
        self._freed = anyio.Event()

    def name(self, host: str) -> str:
        """What a host is called, as far as it was ever a candidate, or learned."""
        return self._names.get(host, host)

    @property
    def names(self) -> dict[str, str]:
        """By UUID, of those that were ever chosen, as far as they are known."""
        return {host: self._names[host] for host in sorted(self._chosen) if host in self._names}

    def learn(self, names: Mapping[str, str]) -> None:
        """What hosts are called that an earlier process has chosen."""
        self._names |= {host: one_line(name, 100) for host, name in names.items()}

    async def take(self, vm_uuid: str, *, begun: bool) -> Found:
        """A host for this VM, which counts there until it is given back; waits while all are busy.

        A halt ends the waiting, and the window's close that of a VM that is not `begun` with: the host that is returned then
        is of no use, and must be given back all the same.
        Raises NodeGoneError.
        """
        refused = 0
        while True:
            try:
                rows = await self._outage.call(lambda: self._cloud.candidates(vm_uuid))
            except QueryRefusedError as error:
                refused += 1
                if refused == _TRIES or self._halt:
                    why = f"the node does not tell where it could go ({one_line(error.detail, 200)})"
                    return Found(None, why, unsure=True)
                await anyio.sleep(_PAUSE_SECONDS * self._scale)
                continue
            fit = usable(rows, self._leaving)
            if not fit:
                return Found(None, "the node offers no host for it outside those that are emptied")
            self._names |= {row.uuid: one_line(row.name or row.uuid, 100) for row in fit}
            with anyio.move_on_after(_FRESH_SECONDS):
                return Found(await self._free_one([row.uuid for row in fit], begun=begun))

    async def _free_one(self, hosts: list[str], *, begun: bool) -> str:
        while True:
            changes = self._halt.changes
            best = min(hosts, key=lambda host: (self._coming[host], self._given[host]))
            if self._coming[best] < self._per_host or self._halt or (self._halt.closed and not begun):
                self._coming[best] += 1
                self._given[best] += 1
                if best not in self._chosen:
                    self._chosen.add(best)
                    self._told({best: self.name(best)})
                return best
            self._freed = anyio.Event() if self._freed.is_set() else self._freed
            async with anyio.create_task_group() as either:
                for wait in (self._freed.wait, partial(self._halt.changed, changes)):
                    either.start_soon(_first, wait, either.cancel_scope.cancel)

    def counts(self, host: str) -> None:
        """A migration that goes there is under way already, from an earlier process."""
        self._coming[host] += 1

    def give_back(self, host: str) -> None:
        """The migration there has ended."""
        self._coming[host] -= 1
        self._freed.set()


def usable(rows: list[HostRow], leaving: frozenset[str]) -> list[HostRow]:
    """Candidates that a VM may really go to."""
    return [row for row in rows if row.uuid not in leaving and row.status == "Connected" and row.state == "Enabled"]


async def _first(wait: Callable[[], Awaitable[None]], done: Callable[[], None]) -> None:
    await wait()
    done()
