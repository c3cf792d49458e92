"""Pieces of the fault suite: a trial that knows whether its fault struck, a wire that can be cut, and smaller machines."""

import asyncio
import contextlib
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio

from orchestrator.model.event import Event
from orchestrator.model.report import ReportDocument
from orchestrator.simulator import SimulatedNode
from tests.cli.support import Cli, Running
from tests.integration.conftest import Trial

QUICK = {"shutdown": [1, 8]}
"""A guest that is off after 0.03 to 0.3 s of ours: never near the power cut."""
Moment = tuple[Callable[["FaultTrial"], object], Callable[["FaultTrial"], Any]]
"""When it holds, do it, once."""


def group(name: str, guest: Mapping[str, Any] | None = None, count: int = 1, **more: Any) -> dict[str, Any]:
    """Some VMs of a scenario."""
    return {"name": name, "count": count, "guest": dict(guest or QUICK), **more}


def stops(count: int) -> Callable[["FaultTrial"], bool]:
    """So many stops are at the node."""
    return lambda run: len(run.node.record.stops) >= count


def stopping(name: str) -> Callable[["FaultTrial"], bool]:
    """The VM is Stopping."""
    return lambda run: run.sim(name).state == "Stopping"


@dataclass
class FaultTrial(Trial):
    """A trial that is true only if every fault of it struck and every moment of it came."""

    moments: Sequence[Moment] = ()
    wire: "Wire | None" = None
    events: list[Event] = field(default_factory=list)
    came: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.plan = {"verify": {"after": "100ms"}, **self.plan}
        listen, beside = self.on_event, self.beside

        def on_event(event: Event) -> None:
            self.events.append(event)
            if listen is not None:
                listen(event)

        async def both(run: Trial) -> None:
            async with anyio.create_task_group() as tasks:
                for moment in self.moments:
                    tasks.start_soon(self._await, moment)
                if beside is not None:
                    tasks.start_soon(beside, run)

        self.on_event, self.beside = on_event, both

    async def _await(self, moment: Moment) -> None:
        holds, act = moment
        while not holds(self):  # noqa: ASYNC110 - of the node, which tells nobody
            await anyio.sleep(0.003)
        self.came += 1
        done = act(self)
        if inspect.isawaitable(done):
            await done

    async def go(self) -> "FaultTrial":
        """The run, through the wire where there is one."""
        async with contextlib.nullcontext() if self.wire is None else self.wire.to(self.node):
            await super().go()
        return self

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────────────
    def kinds(self, kind: str) -> list[Event]:
        """The run's own events of one kind."""
        return [event for event in self.events if event.kind == kind]

    def tries(self) -> Counter[str]:
        """PUTs that the run let go, by job."""
        return Counter((event.data or {})["job_uuid"] for event in self.kinds("vm.sent"))

    def arrived(self) -> Counter[str]:
        """Stops of real VMs that came in at the node, by job."""
        asked = self.node.record.requests
        return Counter(r.job or "" for r in asked if r.action == "stopVmInstance" and r.vm_uuid in self.node.vms)

    def answers(self, name: str) -> list[int | None]:
        """What the polls of this VM's jobs were answered."""
        uuid = self.vm(name).uuid
        return [r.status for r in self.node.record.requests if "/api-jobs/" in r.path and r.vm_uuid == uuid]

    def by_outcome(self) -> dict[str | None, set[str | None]]:
        """Reasons by outcome."""
        found: dict[str | None, set[str | None]] = {}
        for vm in self.report.vms:
            found.setdefault(vm.outcome, set()).add(vm.reason)
        return found

    # ── holding ────────────────────────────────────────────────────────────────────────────────────────────────────
    def hold_true(self, *, cold: Collection[str] = (), theirs: Collection[str] = (), given: Collection[str] = ()) -> None:
        """What must hold whatever went wrong, and that it did go wrong."""
        idle = [fault for fault in self.node.faults if fault.at is None and not self.node.faults.struck(fault)]
        assert not idle, f"never struck: {idle}"
        assert self.came == len(self.moments), "a moment never came"
        late = [fault for fault in self.node.faults if fault.at is not None and fault.at > self.node._world.clock.age()]
        assert not late, f"not yet: {late}"
        super().hold_true(cold=cold, theirs=theirs, given=given)


def held(node: SimulatedNode, report: Any, folder: Path) -> FaultTrial:
    """A report that came from elsewhere, as a trial that can be held against its node."""
    run = FaultTrial(folder, node.scenario.model_dump())
    run.node, run.report = node, ReportDocument.model_validate(report)
    return run


# ── the wire ───────────────────────────────────────────────────────────────────────────────────────────────────────────
_STOP = re.compile(rb"PUT \S*/v1/vm-instances/(?!f{8})[0-9a-f]{32}/actions ")
_JOB = re.compile(rb"x-job-uuid: (\w+)", re.IGNORECASE)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
lines: "dict[int, Wire]" = {}
"""The wire to each node that has one."""


class Wire:
    """A line between client and node. The first PUT of each stop is cut at the first of `places`, the second at the second.

    before: nothing of it arrives. headers, body: so much of it arrives. unanswered: the node carries it out, and nothing
    comes back. answer: half of the answer does. `kept_alive`: only connections that served before are cut.
    """

    def __init__(self, *places: str, kept_alive: bool = False) -> None:
        self.port = 0
        self.puts: Counter[str] = Counter()
        """Stops that left the client, by job."""
        self.cuts = 0
        self._places = places
        self._kept_alive = kept_alive
        self._node: SimulatedNode | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def to(self, node: SimulatedNode) -> AsyncIterator[None]:
        """Serve until the body ends."""
        self._node = node
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        lines[id(node)] = self
        try:
            yield
        finally:
            del lines[id(node)]
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._node is not None
        back, forth = await asyncio.open_connection("127.0.0.1", self._node.port)
        try:
            served = 0
            while (request := await _message(reader)) is not None:
                place = self._place(request, kept_alive=served > 0)
                head = request.index(b"\r\n\r\n") + 4
                whole = {None: len(request), "before": 0, "headers": head // 2, "body": (head + len(request)) // 2}
                forth.write(request[: whole.get(place, len(request))])
                await forth.drain()
                if place in {"before", "headers", "body"}:
                    break
                answer = await _message(back)
                if answer is None or place == "unanswered":
                    break
                writer.write(answer if place is None else answer[: len(answer) // 2])
                await writer.drain()
                if place is not None:
                    break
                served += 1
        except OSError:
            pass  # either end went away: so does the other
        finally:
            writer.close()
            forth.close()

    def _place(self, request: bytes, *, kept_alive: bool) -> str | None:
        job = _JOB.search(request)
        if not _STOP.match(request) or job is None:
            return None
        number, self.puts[job[1].decode()] = self.puts[job[1].decode()], self.puts[job[1].decode()] + 1
        spared = number >= len(self._places) or (self._kept_alive and not kept_alive)
        place = None if spared else self._places[number]
        self.cuts += place is not None
        return place


async def _message(reader: asyncio.StreamReader) -> bytes | None:
    """One request or answer; None where the other end is done."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return head + (await reader.readexactly(int(length[1])) if length is not None else b"")
    except (asyncio.IncompleteReadError, OSError):
        return None


# ── processes ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def start_with(cli: Cli, less: str, *args: str | Path) -> Running:
    """Begin a command in a process that first runs these lines of Python on itself."""
    name = uuid4().hex[:8]
    out, err = cli.folder / f"out-{name}", cli.folder / f"err-{name}"
    code = (
        f"import os, resource, sys\n{less}\nos.execv(sys.executable, [sys.executable, '-m', 'orchestrator', *sys.argv[1:]])"
    )
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, args)],
            stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file, cwd=cli.folder, env=cli.env, start_new_session=True,
        )  # fmt: skip
    return Running(process, out, err)
