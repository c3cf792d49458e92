"""The hosts of a run's targets after it, and whether each is really empty."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import anyio

from orchestrator.clouds.interface import Cloud, NodeAwayError, QueryRefusedError
from orchestrator.engine.records import Settled, totals_of
from orchestrator.engine.verify import left_why
from orchestrator.model.fault import fault_of
from orchestrator.model.outcome import BAD, Outcome
from orchestrator.model.report import HostRecord, LeftOnHost, VmRecord
from orchestrator.model.target import HostRow, Seen

_PATIENCE_SECONDS = 60.0


async def read_hosts(
    cloud: Cloud | None,
    records: Mapping[str, VmRecord | Settled],
    excluded: frozenset[str],
    *,
    emptied: bool = True,
    changed: Mapping[str, str | None] = MappingProxyType({}),
) -> tuple[list[HostRecord], str | None]:
    """The hosts of `records` (by UUID), and a warning where what is left on them could not be read.

    `cloud` None: nobody asks it any more.

    `emptied`: what is left on them is of interest, as after a stop.
    `changed`: hosts that are named first, with VMs or without, and what they were called when they were found.
    """
    by_host: dict[str, list[VmRecord | Settled]] = {uuid: [] for uuid in changed}
    for record in records.values():
        if record.host_uuid is not None:
            by_host.setdefault(record.host_uuid, []).append(record)
    rows: Mapping[str, HostRow] = {}
    left: Mapping[str, list[Seen]] | None = None
    warning = None
    if by_host and cloud is not None:
        try:
            with anyio.fail_after(_PATIENCE_SECONDS):
                left = await cloud.running_on(list(by_host)) if emptied else None
                rows = await cloud.hosts(list(by_host))
        except (NodeAwayError, QueryRefusedError) as error:
            warning = f"the hosts could not be read whole: {error.detail}"
        except TimeoutError:
            warning = f"the hosts could not be read whole within {_PATIENCE_SECONDS:.0f} s"
    told = {uuid: (record.outcome, record.reason) for uuid, record in records.items() if record.outcome is not None}

    def left_on(host: str) -> tuple[LeftOnHost, ...] | None:
        if left is None:
            return None
        return tuple(
            LeftOnHost(
                uuid=seen.row.uuid,
                name=seen.row.name,
                type=seen.row.type,
                state=seen.row.state,
                why=left_why(seen.row.uuid, told, excluded, seen.row.type),
            )
            for seen in left.get(host, [])
        )

    made = [
        HostRecord(
            uuid=host,
            name=rows[host].name if host in rows else changed.get(host),
            status=rows[host].status if host in rows else None,
            state=rows[host].state if host in rows else None,
            totals={key: count for key, count in totals_of(members).items() if count},
            left_on_host=left_on(host),
        )
        for host, members in by_host.items()
    ]
    return made, warning


def with_causes(hosts: Sequence[HostRecord], read: Callable[[list[str]], Iterable[VmRecord]]) -> list[HostRecord]:
    """The same, with what the failures of VMs that are left rest on. `read`: their records by UUID."""
    told_of = {*BAD, Outcome.SKIPPED}
    left = [vm.uuid for host in hosts for vm in host.left_on_host or () if vm.why in told_of]
    causes = (
        {vm.uuid: fault_of(vm.error).chain() if vm.error is not None else vm.reason for vm in read(left)} if left else {}
    )

    def told(vm: LeftOnHost) -> LeftOnHost:
        cause = causes.get(vm.uuid)
        return vm if cause is None else vm.model_copy(update={"cause": str(cause)})

    return [
        host if not host.left_on_host else host.model_copy(update={"left_on_host": tuple(map(told, host.left_on_host))})
        for host in hosts
    ]
