"""The second look at everything that a run did, some VMs at a time: read, judged again, written."""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import anyio

from orchestrator.actions.rules import Rules
from orchestrator.actions.state import ActionState
from orchestrator.engine.clock import Clock
from orchestrator.engine.ledger import Ledger
from orchestrator.engine.outage import NodeGoneError
from orchestrator.engine.read import Reader, UnreadableError
from orchestrator.engine.verify import comes_back, verified
from orchestrator.errors import JournalError
from orchestrator.journal.interface import Journal
from orchestrator.model.report import VmRecord
from orchestrator.model.target import Seen

_TOGETHER = 500
"""VMs that are verified in one go."""


async def verify_all(
    due: Sequence[str],
    run_id: str,
    reader: Reader[Seen],
    *,
    journal: Journal,
    ledger: Ledger,
    clock: Clock,
    states: Mapping[str, ActionState],
    rules_of: Callable[[VmRecord], Rules],
    host_names: Callable[[Iterable[str | None]], Awaitable[dict[str, str]]],
) -> int:
    """These VMs; returns how many could not be read, and keep their outcome. `states`: of what was sent, as far as known."""
    unread = 0
    for start in range(0, len(due), _TOGETHER):
        chunk = due[start : start + _TOGETHER]
        try:
            part = list(journal.vms(run_id, chunk))
        except JournalError:  # a row of it that cannot be read ends no run whose stops are all done
            unread += len(chunk)
            continue
        seen: dict[str, Seen | None] = {}
        async with anyio.create_task_group() as reads:
            for record in part:
                reads.start_soon(_read_into, seen, reader, record.uuid)
        at = clock.wall()
        names = await host_names(
            vm.row.host_uuid for record in part if (vm := seen.get(record.uuid)) is not None and comes_back(record, vm)
        )
        unread += len(part) - len(seen)
        await ledger.settle_all(
            [
                verified(record, seen[record.uuid], states.get(record.uuid), rules_of(record), at, host_names=names)
                for record in part
                if record.uuid in seen
            ]
        )
    return unread


async def _read_into(seen: dict[str, Seen | None], reader: Reader[Seen], uuid: str) -> None:
    with contextlib.suppress(UnreadableError, NodeGoneError):
        seen[uuid] = await reader.read(uuid)
