"""`Cloud` over a ZStack management node: reads that survive odd answers, PUTs that leave at most once."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import anyio

from orchestrator.clouds.interface import VM_CHUNK, HaLevels, Heard, NodeAwayError, NodeFacts, QueryRefusedError
from orchestrator.clouds.zstack import query
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.errors import has_chain, node_error, not_ready, session_gone
from orchestrator.clouds.zstack.http import PAUSES, TOO_MANY, ExchangeError
from orchestrator.clouds.zstack.wire import text_or_none
from orchestrator.errors import LoginError, NodeUnreachableError
from orchestrator.model.fault import NodeError, own_error
from orchestrator.model.states import OF_HOSTS, Verb
from orchestrator.model.target import (
    UNSENT,
    Addresses,
    HostRequest,
    HostRow,
    JobAnswer,
    JobFailed,
    JobRunning,
    JobSucceeded,
    JobUnreadable,
    Lost,
    MigrateRequest,
    Refused,
    Request,
    Seen,
    SendResult,
    StartRequest,
    StopRequest,
    VmRow,
)

NOBODY = "f" * 8 + uuid4().hex[8:]
"""A UUID no VM has: what a dry run asks for."""
_DENIED = ("ID.", "LICENSE.", "LOGIN_CONTROL.")
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+")
_HA_TAG = "ha::"
_MANY_TAGS = 1000
"""VMs above which the tags of all are read."""
_MOST_PASSES = 5
_NAMELESS = "a row of the answer has no usable uuid"


class ZStackCloud:
    """A management node, seen through one client."""

    def __init__(self, client: ZStackClient) -> None:
        self._client = client

    def heed(self, heard: Heard | None) -> None:
        """Tell it of each answer from now on."""
        self._client.http.heard = heard

    def pace(self, requests_per_second: float) -> None:
        """Ask for no more than this from now on."""
        self._client.http.pace(requests_per_second)

    async def facts(self) -> NodeFacts:
        """Version, clock and zone. Raises NodeUnreachableError, LoginError."""
        version = await self._client.version()
        try:
            await self._client.learn_clock()
        except ExchangeError as error:
            raise NodeAwayError(error.detail) from None
        return NodeFacts(
            self._client.endpoint,
            version,
            self._client.ahead,
            str(self._client.zone) if self._client.zone else None,
        )

    async def permission(self, verb: Verb = Verb.STOP) -> str | None:
        """Dry-run it for a UUID nobody has; None where the node would let this account do it to VMs."""
        error = await self._dry_run(stop_ha=True, send_false=False, verb=verb)
        if error is None:
            return None
        codes = list(error.codes())
        if any(code.startswith(_DENIED) for code in codes) or "SYS.1006" in codes:
            return error.sentence()
        return None

    async def learn_stop_ha(self) -> None:
        """Find out whether this node takes `stopHA: "false"`; those that do have true as their default."""
        error = await self._dry_run(stop_ha=False, send_false=True)
        codes = set(error.codes()) if error is not None else set()
        self._client.send_false = error is None or "SYS.1003" in codes

    async def _dry_run(self, *, stop_ha: bool, send_false: bool, verb: Verb = Verb.STOP) -> NodeError | None:
        """The node's no to a call that changes nothing; a session that ended just then is renewed once."""
        error = await self._dry_run_once(verb, stop_ha=stop_ha, send_false=send_false)
        if error is not None and session_gone(error):
            error = await self._dry_run_once(verb, stop_ha=stop_ha, send_false=send_false)
        return error

    async def _dry_run_once(self, verb: Verb, *, stop_ha: bool, send_false: bool) -> NodeError | None:
        job, tags = uuid4().hex, ("validationOnly",)
        request: Request | HostRequest
        match verb:
            case Verb.STOP:
                request = StopRequest(NOBODY, "grace", job, 15, stop_ha, system_tags=tags)
            case Verb.MIGRATE:
                request = MigrateRequest(NOBODY, job, 15, NOBODY, system_tags=tags)
            case _ if verb in OF_HOSTS:
                request = HostRequest(NOBODY, verb, job, 15, system_tags=tags)
            case _:
                request = StartRequest(NOBODY, job, 15, system_tags=tags)
        before, self._client.send_false = self._client.send_false, send_false
        try:
            for pause in (*PAUSES, None):
                result = await self._client.send(request)
                if not isinstance(result, Lost):
                    break
                if pause is None:
                    raise NodeAwayError(result.error.details or "no answer")
                await anyio.sleep(pause)
        finally:
            self._client.send_false = before
        if isinstance(result, Refused):
            return result.error
        with anyio.move_on_after(20):
            while True:
                try:
                    answer: JobAnswer = await self.look(request.job_uuid)
                except NodeAwayError as error:
                    answer = JobUnreadable(own_error("http.lost", error.detail))
                if isinstance(answer, JobFailed):
                    return answer.error
                if isinstance(answer, JobSucceeded) or (
                    isinstance(answer, JobUnreadable) and answer.error.code == "http.200"
                ):
                    return None
                await anyio.sleep(0.05 if isinstance(answer, JobRunning) else 0.5)
        return None

    async def select(self, conditions: Sequence[str], *, whole: bool = True) -> AsyncIterator[list[Seen]]:
        """Pages of VMs by uuid; a VM may come twice where rows came or went meanwhile."""
        fields = {} if whole else {"fields": query.ROW_FIELDS}
        async for page in self._pages("/v1/vm-instances", conditions, "VMs", fields):
            yield self._see_all(page)

    async def holders(self, addresses: Addresses) -> frozenset[str]:
        """Whoever has one of them on a network card (zstack-rest.md 7.3)."""
        found = set[str]()
        for key, values in (("mac", addresses.macs), ("ip", addresses.ips)):
            for chunk in query.chunks([value for value in values if _ADDRESS.fullmatch(value)], VM_CHUNK):
                conditions = [f"vmNics.{key}?={','.join(chunk)}"]
                async for page in self._pages("/v1/vm-instances", conditions, "VMs", {"fields": "uuid"}):
                    found.update(str(row.get("uuid")) for row in page)
        return frozenset(found)

    async def _pages(
        self, path: str, conditions: Sequence[str], what: str, options: Mapping[str, str] | None = None
    ) -> AsyncIterator[list[Mapping[str, Any]]]:
        """Rows by uuid. Each page begins with the last row of the one before: where that row is not found there, rows came
        or went meanwhile and the offsets moved, so the pages are read anew.
        """
        for _ in range(_MOST_PASSES):
            start, last, known = 0, None, set[object]()
            while True:
                params = query.encode(conditions, sort="+uuid", start=start, limit=query.PAGE, **(options or {}))
                page = await self._rows(path, params)
                if last is not None and (not page or page[0].get("uuid") != last):
                    break
                yield page
                if len(page) < query.PAGE:
                    return
                before = len(known)
                known.update(str(row.get("uuid")) for row in page)
                if len(known) == before:
                    raise NodeAwayError(f"its list of {what} has no end: a whole page of it brings no other")
                start += query.PAGE - 1
                last = page[-1].get("uuid")
        raise NodeAwayError(f"the list of {what} changes faster than it can be read: try again in a quieter minute")

    async def read(self, uuids: Sequence[str]) -> Mapping[str, Seen]:
        """Whole rows by UUID, `VM_CHUNK` a request."""
        found: dict[str, Seen] = {}
        for chunk in query.chunks(uuids, VM_CHUNK):
            params = query.encode([f"uuid?={','.join(chunk)}"], limit=len(chunk))
            rows = await self._rows("/v1/vm-instances", params)
            for vm in self._see_all(rows):
                found[vm.row.uuid] = vm
        return found

    def row_of(self, inventory: Mapping[str, Any]) -> VmRow | None:
        """A VM's row as an earlier inventory tells it."""
        return query.vm_row(inventory, self._client.zone, 0.0)

    def addresses_of(self, inventory: Mapping[str, Any]) -> Addresses:
        """From its network cards."""
        return query.addresses_of(inventory)

    async def states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
        """State words by UUID, `VM_CHUNK` a request."""
        return await self._states("/v1/vm-instances", uuids)

    async def _states(self, path: str, uuids: Sequence[str]) -> Mapping[str, str | None]:
        found: dict[str, str | None] = {}
        for chunk in query.chunks(uuids, VM_CHUNK):
            params = query.encode([f"uuid?={','.join(chunk)}"], fields="uuid,state", limit=len(chunk))
            for row in await self._rows(path, params):
                if not query.is_uuid(row.get("uuid")):
                    raise QueryRefusedError(_NAMELESS)
                found[row["uuid"]] = text_or_none(row, "state")
        return found

    async def send(self, request: Request, leaving: Callable[[], bool]) -> SendResult:
        """One PUT; a login that is refused or cannot be reached leaves it unsent."""
        try:
            return await self._client.send(request, leaving)
        except (LoginError, NodeUnreachableError) as error:
            return Lost(own_error(UNSENT, str(error)))

    async def change_host(self, request: HostRequest, leaving: Callable[[], bool]) -> SendResult:
        """One PUT; as `send`."""
        try:
            return await self._client.send(request, leaving)
        except (LoginError, NodeUnreachableError) as error:
            return Lost(own_error(UNSENT, str(error)))

    async def look(self, job_uuid: str) -> JobAnswer:
        """The job's answer now."""
        try:
            return await self._client.look(job_uuid)
        except ExchangeError as error:
            raise NodeAwayError(error.detail) from None

    async def hosts(self, uuids: Sequence[str]) -> Mapping[str, HostRow]:
        """Hosts by UUID."""
        found: dict[str, HostRow] = {}
        for chunk in query.chunks([uuid for uuid in uuids if query.is_uuid(uuid)], VM_CHUNK):
            params = query.encode([f"uuid?={','.join(chunk)}"], limit=len(chunk))
            for row in await self._rows("/v1/hosts", params):
                host = query.host_row(row)
                if host is not None:
                    found[host.uuid] = host
        return found

    async def select_hosts(self, conditions: Sequence[str]) -> list[HostRow]:
        """Hosts by uuid; one comes once, however often the pages show it."""
        found: dict[str, HostRow] = {}
        async for page in self._pages("/v1/hosts", conditions, "hosts"):
            found |= {host.uuid: host for row in page if (host := query.host_row(row)) is not None}
        return list(found.values())

    async def host_states(self, uuids: Sequence[str]) -> Mapping[str, str | None]:
        """State words by UUID, `VM_CHUNK` a request."""
        return await self._states("/v1/hosts", uuids)

    async def candidates(self, vm_uuid: str) -> list[HostRow]:
        """What the node offers (zstack-rest.md 9, GetVmMigrationCandidateHosts)."""
        rows = await self._rows(f"/v1/vm-instances/{vm_uuid}/migration-target-hosts", "")
        return [host for row in rows if (host := query.host_row(row)) is not None and query.is_uuid(host.uuid)]

    async def running_on(self, host_uuids: Sequence[str]) -> Mapping[str, list[Seen]]:
        """What is on these hosts now, in whatever state but Stopped."""
        found: dict[str, list[Seen]] = {uuid: [] for uuid in host_uuids}
        for chunk in query.chunks([uuid for uuid in host_uuids if query.is_uuid(uuid)], VM_CHUNK):
            async for page in self.select([f"hostUuid?={','.join(chunk)}"], whole=False):
                for vm in page:
                    if vm.row.state != "Stopped" and vm.row.host_uuid in found:
                        found[vm.row.host_uuid].append(vm)
        return found

    async def ha_levels(self, uuids: Sequence[str]) -> HaLevels:
        """HA levels from the system tags (`ha::NeverStop`), which newer nodes keep too (zstack-rest.md 4.4)."""
        levels: dict[str, str] = {}
        tagged, wanted = f"tag~={_HA_TAG}%", frozenset(uuids)
        # Of many VMs it is quicker to read the tags of all: few have one.
        which = (
            [[tagged]]
            if len(uuids) > _MANY_TAGS
            else [[tagged, f"resourceUuid?={','.join(chunk)}"] for chunk in query.chunks(uuids, VM_CHUNK)]
        )
        try:
            for conditions in which:
                async for page in self._pages("/v1/system-tags", conditions, "tags"):
                    for row in page:
                        tag, uuid = text_or_none(row, "tag"), text_or_none(row, "resourceUuid")
                        if tag and uuid in wanted and uuid and tag.startswith(_HA_TAG):
                            levels[uuid] = tag.removeprefix(_HA_TAG)
        except (QueryRefusedError, NodeAwayError) as error:
            return HaLevels(levels, error.detail)
        return HaLevels(levels)

    async def _rows(self, path: str, params: str) -> list[Mapping[str, Any]]:
        try:
            answer = await self._client.call("GET", path, params=params)
        except ExchangeError as error:
            raise NodeAwayError(error.detail) from None
        except (LoginError, NodeUnreachableError) as error:
            raise NodeAwayError(str(error)) from None
        rows = query.inventories(answer.json()) if answer.status == 200 else None
        if rows is not None:
            return rows
        refusal = node_error(answer)
        if answer.status == 200:
            raise QueryRefusedError(f"the answer is no list of rows ({' '.join(answer.text().split())[:200]!r})")
        if answer.status == 400 or (answer.status == 503 and has_chain(answer) and not not_ready(refusal)):
            raise QueryRefusedError(refusal.sentence())
        words = f"it answers {answer.status} with no list ({' '.join(refusal.sentence().split())[:200]})"
        raise NodeAwayError(words, busy=answer.status == TOO_MANY)

    def _see_all(self, rows: Sequence[Mapping[str, Any]]) -> list[Seen]:
        """Every row or none: a VM is gone only where a whole answer leaves it out."""
        now, zone = anyio.current_time(), self._client.zone
        seen = [vm for row in rows if (vm := query.seen_vm(row, zone, now)) is not None]
        if len(seen) != len(rows):
            raise QueryRefusedError(_NAMELESS)
        return seen
