"""What hosts are called: for a person's eyes alone, so that a node which does not tell them ends and refuses nothing."""

import contextlib
from collections.abc import Iterable, Mapping

import anyio

from orchestrator.clouds.interface import Cloud, NodeAwayError, QueryRefusedError
from orchestrator.model.target import HostRow

_PATIENCE_SECONDS = 10.0


async def told_hosts(cloud: Cloud, uuids: Iterable[str | None]) -> Mapping[str, HostRow]:
    """The hosts' rows, as far as the node tells them in a few seconds."""
    wanted = [uuid for uuid in dict.fromkeys(uuids) if uuid is not None]
    if wanted:
        with contextlib.suppress(NodeAwayError, QueryRefusedError), anyio.move_on_after(_PATIENCE_SECONDS):
            return await cloud.hosts(wanted)
    return {}


async def host_names(cloud: Cloud, uuids: Iterable[str | None]) -> dict[str, str]:
    """Their names, of those that have one."""
    return {uuid: row.name for uuid, row in (await told_hosts(cloud, uuids)).items() if row.name is not None}
