"""The node's front end on the socket: limits, faults, cookies, headers, and the record of every request."""

import asyncio
import logging
import re
from collections import Counter, deque
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import hdrs, web

from orchestrator.simulator.calls import Answer, Call, html
from orchestrator.simulator.failures import RefusedError
from orchestrator.simulator.faults import ANSWERED_INSTEAD, DELAYS, WIRE, Fault
from orchestrator.simulator.mishaps import break_off, cut, instead
from orchestrator.simulator.record import Request
from orchestrator.simulator.routes import HOST_JOBS, Route
from orchestrator.simulator.server import Server, request_kinds
from orchestrator.simulator.world import World

_ILLEGAL = re.compile(r'[<>|\[\]{}"\\^`\s]')
"""What the servlet container refuses raw in a URL (zstack-rest.md 7.2)."""
_MINUTE = 60.0
PARSER_LIMIT = 1 << 20
"""aiohttp's own limits are raised to this, so that the answer to a long request is the node's page."""

_log = logging.getLogger(__name__)


class Front:
    """Takes requests off the socket."""

    def __init__(self, world: World, server: Server) -> None:
        self.world = world
        self.server = server
        self._recent: dict[str, deque[float]] = {}
        self._served: dict[Fault, float] = {}
        """When an overloaded node is through with all that it has taken."""

    def application(self) -> web.Application:
        """An aiohttp application with this front end behind every path."""
        app = web.Application(client_max_size=PARSER_LIMIT)
        app.router.add_route("*", "/{path:.*}", self.handle)
        app.on_response_prepare.append(_bare)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, from reading to writing."""
        if request.path in {"/simulator/record", "/simulator/summary"}:
            return self._tell(request.path)
        raw_path, _, raw_query = request.raw_path.partition("?")
        context = self.world.node.context_path
        inside = raw_path.startswith(context + "/")
        call = Call(
            method=request.method,
            path=unquote(raw_path[len(context) :] if inside else raw_path),
            query=parse_qsl(raw_query, keep_blank_values=True),
            headers=request.headers,
            body=await request.read(),
        )
        note = self._note(request, call, unquote(raw_query))
        answer = await self._answer(request, call, note, inside=inside)
        if answer is None:
            return web.Response()  # the connection is closed already, so nobody gets this
        note.status = answer.status
        return self._write(request, answer)

    async def _answer(self, request: web.Request, call: Call, note: Request, *, inside: bool) -> Answer | None:
        """The answer; None if the fault took the connection."""
        if self.world.node.latency:
            await asyncio.sleep(self.world.node.latency)
        size = len(request.method) + len(request.raw_path) + len(" HTTP/1.1\r\n") + 1
        size += sum(len(name) + len(value) + 4 for name, value in request.raw_headers) + 2
        if size > self.world.node.max_header_bytes or _ILLEGAL.search(request.raw_path):
            return html(400, "Bad Request")
        if not inside:
            return html(404, "Not Found")
        if self._too_many(request.remote or ""):
            return Answer(429, b"Rate limit exceeded")
        route: Route | None = None
        refused: Answer | None = None
        try:
            route = self.server.route(call)
        except RefusedError as error:
            refused = Answer(error.status, error.text.encode())
        self._complete(note, call, route)
        return await self._through_faults(request, call, route, refused, note)

    async def _through_faults(
        self, request: web.Request, call: Call, route: Route | None, refused: Answer | None, note: Request
    ) -> Answer | None:
        world = self.world
        faults: list[Fault] = []
        if len(world.faults):
            names, hosts = world.names(note.vm_uuid, note.host_uuid)
            faults = world.faults.strike(WIRE, request_kinds(call, route), call.path, names, world.clock.age(), hosts=hosts)
        note.fault = ",".join(fault.kind for fault in faults) or None
        for fault in faults:
            if fault.kind == "slow":
                await asyncio.sleep(fault.seconds)
            elif fault.kind == "overloaded" and not await self._queued(fault):
                return Answer(429, b"Rate limit exceeded")
        spoiler = next((fault for fault in faults if fault.kind not in DELAYS), None)
        if spoiler is not None and spoiler.kind == "drop_before":
            cut(request)
            return None
        unhandled = spoiler is not None and spoiler.kind in ANSWERED_INSTEAD and not spoiler.handled
        answer = refused
        if answer is None and route is not None and not unhandled:
            answer = await self._carry_out(call, route)
            note.job = note.job or call.job_uuid
        return answer if spoiler is None else await self._spoil(request, spoiler, answer)

    async def _spoil(self, request: web.Request, fault: Fault, answer: Answer | None) -> Answer | None:
        answer = answer or Answer(200, b"{}")
        match fault.kind:
            case "drop_after":
                cut(request)
                return None
            case "close_after_headers" | "truncated" | "trickle":
                await break_off(request, fault, answer)
                return None
            case _:
                return instead(fault, self.server.verdict())

    async def _carry_out(self, call: Call, route: Route) -> Answer:
        try:
            return await self.server.answer(call, route)
        except RefusedError as error:
            return Answer(error.status, error.text.encode())

    async def _queued(self, fault: Fault) -> bool:
        """Wait in the line of an overloaded node; False where that is too long."""
        now = self.world.clock.monotonic()
        served = max(self._served.get(fault, now), now) + 1 / fault.per_second
        if served - now > fault.seconds:
            return False
        self._served[fault] = served
        await asyncio.sleep(served - now)
        return True

    def _too_many(self, address: str) -> bool:
        limit = self.world.node.rate_limit
        if limit is None:
            return False
        now = self.world.clock.monotonic()
        recent = self._recent.setdefault(address, deque())
        while recent and recent[0] <= now - _MINUTE:
            recent.popleft()
        if len(recent) >= limit:
            return True
        recent.append(now)
        return False

    def _note(self, request: web.Request, call: Call, query: str) -> Request:
        authorization = request.headers.get("Authorization", "")
        session = authorization.removeprefix("OAuth").strip() if authorization.startswith("OAuth") else None
        note = Request(
            at=self.world.clock.monotonic(),
            method=call.method,
            path=call.path,
            query=query,
            job=request.headers.get("X-Job-UUID"),
            api_timeout=request.headers.get("X-API-Timeout"),
            session=session,
            action=None,
            body=None,
        )
        self.world.record.requests.append(note)
        return note

    def _complete(self, note: Request, call: Call, route: Route | None) -> None:
        uuid = call.uuids.get("uuid")
        if route is not None and route.kind == "poll":
            note.job = uuid
            job = self.world.jobs.peek(uuid or "")
            if job is not None and job.action in HOST_JOBS:
                note.host_uuid = job.target_uuid
            elif job is not None:
                note.vm_uuid = job.target_uuid
        elif call.path.startswith("/v1/vm-instances/"):
            note.vm_uuid = uuid
        elif call.path.startswith("/v1/hosts/"):
            note.host_uuid = uuid
        if call.action is not None:
            note.action = call.action
            # A password in the record would end up in somebody's log.
            note.body = {key: value for key, value in call.params.items() if key != "password"}
            self.world.record.add_put(note)

    def _write(self, request: web.Request, answer: Answer) -> web.Response:
        response = web.Response(status=answer.status, body=answer.body)
        if answer.content_type is not None:
            response.headers[hdrs.CONTENT_TYPE] = answer.content_type
        if "JSESSIONID" not in request.cookies and answer.content_type is None:
            servlet = f"{self.world.rng.getrandbits(128):032X}"
            path = self.world.node.context_path or "/"
            response.headers[hdrs.SET_COOKIE] = f"JSESSIONID={servlet}; Path={path}; HttpOnly"
        return response

    def _tell(self, path: str) -> web.Response:
        record = self.world.record
        if path.endswith("/record"):
            return web.json_response(record.as_json())
        states: Counter[str] = Counter(vm.state for vm in self.world.fleet.vms.values())
        return web.json_response(record.summary(states))


async def _bare(request: web.Request, response: web.StreamResponse) -> None:
    """The REST server sets no content type and no server name; aiohttp adds both."""
    headers: Any = response.headers
    if headers.get(hdrs.CONTENT_TYPE) == "application/octet-stream":
        del headers[hdrs.CONTENT_TYPE]
    headers.pop(hdrs.SERVER, None)
