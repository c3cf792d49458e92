"""Whatever the node answers: parsers give values, runs end with one outcome a VM, and reports can be read.

Answers are real ones of the simulated node, and the vendor's own examples, with things wrong in them. *Noise* is what no
reader can take for an answer, and a call that was truly refused: the report must be true in spite of it. *Lies* are
answers that can be read and are wrong: then only what rests on no answer is held against the node's record.
"""

import asyncio
import gzip
import io
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zoneinfo import ZoneInfo

import anyio
import pytest

from orchestrator.clouds.interface import NodeAwayError, QueryRefusedError
from orchestrator.clouds.zstack import http, jobs, query
from orchestrator.clouds.zstack.auth import login_refused, zone_from
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.clouds.zstack.errors import has_chain, node_error, not_ready, session_gone
from orchestrator.clouds.zstack.http import Answer
from orchestrator.clouds.zstack.wire import parse_node_time
from orchestrator.engine import resolve
from orchestrator.errors import JournalError, LoginError, NodeUnreachableError, OrchestratorError
from orchestrator.model.event import Event
from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import GOOD, Outcome
from orchestrator.model.report import ReportDocument, RunReport
from orchestrator.model.target import (
    Accepted,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    JobUnreadable,
    Lost,
    Refused,
    Seen,
    StopRequest,
)
from orchestrator.observe.logs import log_listener
from orchestrator.observe.progress import Progress
from orchestrator.reports import RENDERERS
from orchestrator.simulator import Scenario, SimulatedNode
from tests.contract.test_reports import rendered, well_formed
from tests.faults.fuzzing import CASES, ODD_TEXTS, as_bytes, damaged, damaged_bytes, fuzz, fuzz_together, nest
from tests.integration.conftest import Trial, settings_for

DATA = Path(__file__).parents[1] / "data"
SCALE = 60.0
"""Simulated seconds per second: the power cut comes after 1 s."""
QUICK = {"shutdown": [2, 10]}
SCENARIO: dict[str, Any] = {
    "clusters": [{"name": "c1", "hosts": 2}],
    "node": {"reconnect": 5},
    "vms": [
        {"name": "app-{n}", "count": 3, "guest": QUICK},
        {"name": "deaf", "guest": {"behaviour": "ignores_acpi"}},
        {"name": "stuck", "guest": {"behaviour": "fails_grace_only"}},
        {"name": "broken", "guest": {"behaviour": "fails", "chain": ["VM.1002", "HOST.1002", "SYS.1000"]}},
        {"name": "off", "state": "Stopped"},
        {"name": "paused", "state": "Paused", "guest": QUICK, "data_volumes": 1},
        {"name": "router", "type": "ApplianceVm", "guest": QUICK},
        {"name": "kept", "guest": QUICK, "user_tags": ["keep"]},
    ],
}
PLAN: dict[str, dict[str, Any]] = {
    "exclude": {"where": [["__userTag__=keep"]]},
    "limits": {"node_outage": "3s", "requests_per_second": 1000},
    "verify": {"after": "300ms"},
}
CODES = ("VM.1002", "HOST.1006", "HOST.1011", "SYS.1000", "SYS.1001", "SYS.1006", "VM.1010", "NEW.9999", "", "\x1b[2J")
"""Codes of errors that a lie may hold. None of class R: taken for a refusal, it would rightly have a stop sent again."""


# ── the wire ───────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its head as it came, what it is, and its body."""

    head: bytes
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The bytes of an answer, and whether the connection ends with them."""

    data: bytes
    close: bool = False


def kind_of(method: str, path: str, body: bytes) -> str:
    """What a request asks for."""
    plain = path.partition("?")[0]
    if plain.endswith("/actions") and "/vm-instances/" in plain:
        return "dry" if b"validationOnly" in body else "stop"
    for piece, kind in (("/login", "login"), ("platform-timezone", "zone"), ("/api-jobs/", "job"), ("/hosts", "hosts")):
        if piece in plain:
            return kind
    if plain.endswith("/management-nodes/actions"):
        return "version" if b"getVersion" in body else "clock"
    if plain.endswith("/vm-instances"):
        return "states" if "fields=" in path else "vms"
    return "tags" if plain.endswith("-tags") else "logout" if method == "DELETE" else "other"


def http_bytes(status: int, body: bytes, *headers: bytes) -> bytes:
    """A whole answer, with the length that its body has."""
    lines = (b"HTTP/1.1 %d Odd" % status, b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass
class Mischief:
    """What is done to answers, by chance: `share` of them, from the start or once the first stop was sent (`late`)."""

    dice: random.Random
    share: float
    lies: bool
    late: bool
    stopping: bool = False
    done: list[str] = field(default_factory=list)

    def strikes(self, asked: Asked) -> bool:
        """Is this one to be spoilt? A logout never is, so that the node's sessions can be counted."""
        self.stopping = self.stopping or asked.kind == "stop"
        return asked.kind != "logout" and (self.stopping or not self.late) and self.dice.random() < self.share

    def instead(self, asked: Asked) -> Reply | None:
        """An answer to a stop that the node never gets; None where it shall have it."""
        if asked.kind != "stop" or self.dice.random() < 0.6:
            return None
        status = self.dice.choice((400, 403, 404, 405, 429, 500, 503, 503, 503))
        code = self.dice.choice((*CODES, "ID.1001", "SYS.1010", "SYS.1015", "ID.1002"))
        chain = {"error": {"code": code, "details": self.dice.choice(ODD_TEXTS), "cause": {"code": self.dice.choice(CODES)}}}
        body = as_bytes(chain, self.dice) if status == 503 else self.dice.choice(ODD_TEXTS).encode("utf-8", "replace")
        self.done.append(f"stop refused with {status}")
        if status == 503 and not has_chain(Answer(status, body)):
            status = 500  # else it is broken, and would have to be carried out
        return Reply(http_bytes(status, body))

    def spoil(self, asked: Asked, status: int, body: bytes) -> Reply:
        """Another answer in place of this one."""
        how = self.dice.choice(
            (self._framed, self._noise) if not self.lies else (self._framed, self._noise, self._lie, self._lie)
        )
        self.done.append(f"{asked.kind}: {how.__name__}")
        return how(asked, status, body)

    def _noise(self, asked: Asked, status: int, body: bytes) -> Reply:
        """Nothing that could be an answer."""
        unread = self.dice.choice(
            (b"", b"null", b"[]", b'"x"', b"<html>no</html>", b"[" * 90_000, body[: len(body) // 2], b"\xff\xfe")
        )
        if asked.kind == "stop":
            return Reply(http_bytes(self.dice.choice((200, 204, 502, 503, 504)), b"" if unread == body else unread))
        return Reply(
            http_bytes(self.dice.choice((200, 202 if asked.kind == "job" else 200, 302, 429, 500, 502, 503, 504)), unread)
        )

    def _framed(self, asked: Asked, status: int, body: bytes) -> Reply:
        """The right answer in the wrong HTTP, or in odd HTTP that is right."""
        whole, length = http_bytes(status, body), len(body)
        head = b"HTTP/1.1 %d Odd\r\n" % status
        at = self.dice.randrange(len(whole))
        choices: tuple[Callable[[], Reply], ...] = (
            lambda: Reply(whole[:at], close=True),
            lambda: Reply(b"", close=True),
            lambda: Reply(head + b"Content-Length: %d\r\n\r\n" % (length + 10) + body, close=True),
            lambda: Reply(head + b"Content-Length: %d\r\n\r\n" % (length // 2) + body, close=True),
            lambda: Reply(head + b"Content-Length: -5\r\n\r\n" + body, close=True),
            lambda: Reply(head + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\n" + body, close=True),
            lambda: Reply(head + b"\r\n" + body, close=True),  # right: until the connection ends
            lambda: Reply(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % length + body + b"\r\n0\r\n\r\n"),  # right
            lambda: Reply(head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body + b"\r\n0\r\n\r\n", close=True),
            lambda: Reply(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (length + 9) + body, close=True),
            lambda: Reply(head + b"Transfer-Encoding: nonsense\r\n\r\n" + body, close=True),
            lambda: Reply(http_bytes(status, gzip.compress(body), b"Content-Encoding: gzip")),  # right
            lambda: Reply(http_bytes(status, body, b"Content-Encoding: gzip")),
            lambda: Reply(http_bytes(status, gzip.compress(body)[:-9], b"Content-Encoding: gzip")),
            lambda: Reply(http_bytes(status, body, b"Content-Encoding: br")),
            lambda: Reply(http_bytes(status, body, b"X-Huge: " + b"h" * 70_000), close=True),
            lambda: Reply(http_bytes(status, body, *(b"X-%d: y" % n for n in range(3000))), close=True),
            lambda: Reply(http_bytes(status, body, b"X-\x00: \x01\xff")),
            lambda: Reply(http_bytes(status, body, b"no colon here"), close=True),
            lambda: Reply(http_bytes(status, body, b"Set-Cookie: \x01=;;=\xff; Path=/\x00", b"Set-Cookie: " + b"c" * 5000)),
            lambda: Reply(http_bytes(status, body, b"Content-Type: text/html; charset=nonsense", b"Location: http://[")),
            lambda: Reply(b"HTTP/1.1 100 Continue\r\n\r\n" + whole),
            lambda: Reply(b"HTTP/9.9 999 \xff\r\n\r\n", close=True),
            lambda: Reply(b"HTTP/1.1 abc Odd\r\n\r\n", close=True),
            lambda: Reply(b"\x16\x03\x01\x02\x00garbage" + whole, close=True),
            lambda: Reply(whole + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", close=True),
            lambda: Reply(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", close=True),
        )
        return self.dice.choice(choices)()

    def _lie(self, asked: Asked, status: int, body: bytes) -> Reply:
        """An answer of the right form that is wrong. A stop's own answer says nothing that could be lied about."""
        if asked.kind == "stop":
            return Reply(http_bytes(202, as_bytes({"location": self.dice.choice(ODD_TEXTS), "apiTimeout": -1}, self.dice)))
        if self.dice.random() < 0.25:
            return Reply(http_bytes(status, damaged_bytes(body, self.dice)))
        if self.dice.random() < 0.25:
            chain: dict[str, Any] = {"code": self.dice.choice(CODES), "details": self.dice.choice(ODD_TEXTS)}
            chain["cause"] = {"code": self.dice.choice(CODES), "opaque": {"x": self.dice.choice(ODD_TEXTS)}}
            spoilt = as_bytes({"error": damaged(chain, self.dice, self.dice.randrange(3))}, self.dice)
            return Reply(http_bytes(self.dice.choice((400, 404, 503, 503, 503)), spoilt))
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {"inventories": []}
        if isinstance(answer, dict) and self.dice.random() < 0.4:
            states = (
                "Running",
                "Stopped",
                "Stopping",
                "Unknown",
                "Paused",
                "Destroyed",
                "Odd\x1b[31m",
                "",
                None,
                5,
                "NoState",
            )
            for row in answer.get("inventories") or [answer.get("inventory") or answer.get("error")]:
                if isinstance(row, dict) and self.dice.random() < 0.5:
                    row[self.dice.choice(("state", "state", "name", "hostUuid", "type"))] = self.dice.choice(states)
                elif isinstance(row, dict) and self.dice.random() < 0.2:
                    row[self.dice.choice(("new", "opaque", "vmNics", "lastOpDate"))] = nest(self.dice)
        else:
            answer = damaged(answer, self.dice, self.dice.randint(1, 4))
        return Reply(http_bytes(status, as_bytes(answer, self.dice)))


class OddNode(SimulatedNode):
    """A simulated node whose answers pass through somebody's hands: `endpoint` is where those listen."""

    def __init__(self, scenario: Scenario, mischief: Mischief | None, time_scale: float = SCALE) -> None:
        super().__init__(scenario, time_scale=time_scale)
        self._mischief = mischief
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.passed: list[tuple[str, Answer]] = []
        """What the node answered, before anything was done to it."""

    @property
    def endpoint(self) -> str:
        """The base URL in front of the node."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/zstack"

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await super().__aexit__(kind, error, trace)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            while True:
                reply = await self._reply(await _request(reader))
                writer.write(reply.data)
                await writer.drain()
                if reply.close:
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            self._talks.discard(task)
            writer.close()

    async def _reply(self, asked: Asked) -> Reply:
        spoilt = self._mischief is not None and self._mischief.strikes(asked)
        if spoilt and self._mischief is not None and (instead := self._mischief.instead(asked)) is not None:
            return instead
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(asked.head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + asked.body)
            data = await reader.read()
        finally:
            writer.close()
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        self.passed.append((asked.kind, Answer(status, body)))
        if spoilt and self._mischief is not None:
            return self._mischief.spoil(asked, status, body)
        return Reply(data.replace(b"Connection: close\r\n", b"", 1))


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    method, path, _ = head.decode("latin-1").split(" ", 2)
    return Asked(head, kind_of(method, path, body), body)


# ── a run ──────────────────────────────────────────────────────────────────────────────────────────────────────────
_RAW = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]|\r(?!\n)")
"""Control characters, and what turns a line around. CRLF is how CSV ends its lines."""


def check_readable(document: ReportDocument) -> None:
    """The report renders in every format, well formed, and steers no terminal."""
    report = RunReport(
        run=document.run,
        totals=document.totals,
        causes=document.causes,
        waves=document.waves,
        hosts=document.hosts,
        vms=lambda: iter(document.vms),
    )
    for name in RENDERERS:
        text = rendered(name, report)
        well_formed(name, text)
        if name in {"text", "markdown", "csv"}:
            assert not (raw := _RAW.findall(text)), f"{name} holds {raw[:9]}"


def check_counts(run: Trial) -> None:
    """One outcome for each VM, totals that sum up, and the exit code that follows from them."""
    report = run.report
    assert all(vm.outcome is not None for vm in report.vms), run.outcomes
    assert len({vm.uuid for vm in report.vms}) == len(report.vms) == report.totals["targets"]
    for outcome in Outcome:
        assert report.totals[outcome.value] == sum(vm.outcome is outcome for vm in report.vms)
    outcomes = {vm.outcome for vm in report.vms}
    code = 4 if Outcome.NOT_REACHED in outcomes else 0 if outcomes <= GOOD else 1
    assert report.run.exit_code == code
    assert report.run.status == ("stopped_early" if code == 4 else "finished")


def check_node(run: Trial, *, strangers: bool) -> None:
    """What the node's own record says, whatever it was made to answer. `strangers`: others than targets may be told."""
    record = run.node.record
    ours = {attempt.job_uuid: vm.uuid for vm in run.report.vms for attempt in vm.attempts}
    for uuid, sim in run.node.vms.items():
        assert record.running_to_stopped(uuid) <= 1, f"{sim.name} was stopped twice"
        assert len(run.colds(uuid)) <= 1, f"{sim.name} got two cold stops"
        if sim.name == "kept":
            assert strangers or record.stop_puts(uuid) == 0, "an excluded VM was sent a stop"
    for stop in record.stops:
        assert ours.get(stop.job) == stop.vm_uuid, f"a stop without an intent: {stop}"


def odd_run(dice: random.Random) -> Mischief:
    """How much goes wrong in a run, and when."""
    lies = dice.random() < 0.55
    return Mischief(dice, dice.choice((0.03, 0.1, 0.25, 0.6 if lies else 0.25)), lies, late=dice.random() < 0.65)


class Heard:
    """The listeners of a terminal and of a log, and what they wrote."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._log, self._json = io.StringIO(), io.StringIO()
        self._listeners = (
            Progress(self._lines.append),
            log_listener(self._log, "console", color=False, run_id="run"),
            log_listener(self._json, "json", color=False, run_id="run"),
        )

    def __call__(self, event: Event) -> None:
        """Have all of them hear it."""
        for listener in self._listeners:
            listener(event)

    def check(self) -> None:
        """Nothing of it steers a terminal, and every line of the JSON log is JSON."""
        text = "\n".join(self._lines) + self._log.getvalue()
        assert not _RAW.search(text), text[:3000]
        for line in self._json.getvalue().splitlines():
            json.loads(line)


async def one_run(dice: random.Random) -> None:
    """A run against a node that answers oddly, held against what happened there."""
    mischief, heard = odd_run(dice), Heard()
    with tempfile.TemporaryDirectory() as folder:
        run = Trial(Path(folder), SCENARIO | {"seed": dice.randrange(1000)}, plan=PLAN, scale=SCALE, on_event=heard)
        run.node = OddNode(Scenario.model_validate(run.scenario), mischief)
        try:
            refusal = await outcome_of(run)
            heard.check()
            if refusal is not None:
                assert not isinstance(refusal, JournalError), refusal
                assert str(refusal).strip()
                assert run.node.record.stops == [], "it was refused, and something was sent"
                return
            check_counts(run)
            check_node(run, strangers=mischief.lies and not mischief.late)
            check_readable(run.report)
            if mischief.late or not mischief.lies:
                names = {vm.uuid: vm.name for vm in run.node.vms.values() if vm.name != "kept"}
                assert {vm.uuid for vm in run.report.vms} == set(names)
            if not mischief.lies:
                every = {vm.name for vm in run.node.vms.values()}
                run.hold_true(cold=every, given=run.node.record.open_sessions())
        except BaseException as error:
            error.add_note(f"lies {mischief.lies}, late {mischief.late}, share {mischief.share}: {mischief.done[-60:]}")
            raise


async def outcome_of(run: Trial) -> OrchestratorError | None:
    """Make the run; what refused it, None where it has a report. Anything else that is raised escapes."""
    refused: list[OrchestratorError] = []
    try:
        await run.go()
    except* OrchestratorError as group:
        refused += [error for error in group.exceptions if isinstance(error, OrchestratorError)]
        assert refused, "refusals one in another"
    return refused[0] if refused else None


def test_a_run_ends_well_whatever_the_node_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """With spoilt answers a run ends, each VM has one outcome, none is stopped twice, and every report can be read."""
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(resolve, "_PAUSES", (0.01, 0.02))
    fuzz_together("runs", max(12, CASES // 25), one_run, at_once=8)


# ── the parsers ────────────────────────────────────────────────────────────────────────────────────────────────────
_STAMP = re.compile(rb"[A-Z][a-z]{2} \d{1,2}, \d{4} \d{1,2}:\d\d:\d\d [AP]M")
_HEX = re.compile(rb"[0-9a-f]{32}")


@cache
def real_answers() -> tuple[tuple[str, Answer], ...]:
    """What a node answers to every call of a run, and the vendor's own examples: the same bytes each time."""

    async def record() -> list[tuple[str, Answer]]:
        node = OddNode(Scenario.model_validate(SCENARIO), None, time_scale=600.0)
        async with node, ZStackClient(settings_for(node)) as client:
            cloud = ZStackCloud(client)
            await cloud.facts()
            await cloud.permission()
            seen = [vm async for page in cloud.select(["name~=%"]) for vm in page]
            uuids = [vm.row.uuid for vm in seen]
            await cloud.states(uuids)
            await cloud.ha_levels(uuids)
            await cloud.hosts([vm.row.host_uuid for vm in seen if vm.row.host_uuid])
            for number, name in enumerate(("app-1", "stuck", "broken")):
                await cloud.send(StopRequest(node.vm(name).uuid, "grace", f"{number:032x}", 60, True), lambda: True)
                for _ in range(1000):
                    if not isinstance(await cloud.look(f"{number:032x}"), JobRunning):
                        break
                    await anyio.sleep(0.01)
        return node.passed

    names: dict[bytes, bytes] = {}

    def same(answer: Answer) -> Answer:
        body = _STAMP.sub(b"Nov 14, 2017 10:20:57 PM", re.sub(rb"\b1\d{12}\b", b"1510669257000", answer.body))
        body = _HEX.sub(lambda found: names.setdefault(found[0], b"%032x" % (len(names) + 1)), json_sorted(body))
        return Answer(answer.status, body)

    passed = [(kind, same(answer)) for kind, answer in anyio.run(record)]
    vendor = Answer(200, (DATA / "stop_vm_response.json").read_bytes())
    made = (
        ("job", vendor),
        ("vms", Answer(200, json.dumps({"inventories": [json.loads(vendor.body)["inventory"]]}).encode())),
        ("stop", Answer(400, b"Duplicate job uuid[0]")),
        ("job", Answer(404, b"the job has been expired")),
    )
    return (*dict.fromkeys(passed), *made)


def json_sorted(body: bytes) -> bytes:
    """The same JSON with its keys in order; anything else as it is."""
    try:
        return json.dumps(json.loads(body), sort_keys=True).encode()
    except ValueError:
        return body


def test_the_shapes_that_are_spoilt_are_real() -> None:
    """The recorded answers hold every call of a run, jobs that run, succeed and fail among them."""
    kinds = {(kind, answer.status) for kind, answer in real_answers()}
    once = ("login", "version", "clock", "zone", "vms", "states", "hosts", "tags", "logout")
    assert kinds >= {(kind, 200) for kind in once} | {("stop", 202), ("dry", 202), ("job", 200), ("job", 202), ("job", 503)}
    assert all(answer.json() is not None for kind, answer in real_answers() if answer.status in {200, 503})


def spoilt(dice: random.Random) -> Answer:
    """A real answer with some things wrong."""
    _, answer = dice.choice(real_answers())
    body = answer.body
    if dice.random() < 0.85:
        data = answer.json()
        for key in ("error", "inventory"):
            if isinstance(data, dict) and isinstance(data.get(key), dict) and dice.random() < 0.2:
                data[key][dice.choice(("cause", "causes", "opaque", "vmNics", "new"))] = nest(dice)
        body = as_bytes(damaged(data, dice, dice.randint(0, 6)), dice)
    if dice.random() < 0.25:
        body = damaged_bytes(body, dice)
    same = dice.random() < 0.7
    return Answer(answer.status if same else dice.choice((200, 202, 204, 302, 400, 403, 404, 429, 500, 502, 503, 504)), body)


def check_kept(value: Any) -> None:
    """It can be kept as JSON in any file."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def check_seen(seen: Seen | None) -> None:
    """A row is of the types it promises, with a UUID fit for a URL, and its inventory can be kept."""
    if seen is None:
        return
    row = seen.row
    assert query.is_uuid(row.uuid)
    for text in (row.name, row.type, row.state, row.host_uuid, row.cluster_uuid):
        assert text != ""
    assert row.last_op is None or isinstance(row.last_op, float)
    addresses = query.addresses_of(seen.inventory)
    for texts in (row.storages, addresses.macs, addresses.ips):
        assert all(texts)
    check_kept(dict(seen.inventory))
    check_kept([row.name, row.state, row.host_uuid, row.storages])


def check_error(error: NodeError) -> None:
    """It can be told in one line and kept, and every code in it is text."""
    assert all(isinstance(code, str) for code in error.codes())
    assert error.sentence()
    check_kept([error.chain(), error.sentence(), dict(error.plain())])
    not_ready(error), session_gone(error)


def rows_in(answer: Answer) -> Iterator[dict[str, Any]]:
    """Whatever could be an inventory."""
    data = answer.json()
    yield from (dict(row) for row in query.inventories(data) or [])
    if isinstance(data, dict) and isinstance(data.get("inventory"), dict):
        yield data["inventory"]


def test_parsers_make_values_of_anything() -> None:
    """No body makes a parser raise; what they return has the types it promises and can be written to any file."""
    zones = (None, UTC, ZoneInfo("Asia/Shanghai"), ZoneInfo("America/St_Johns"))

    def case(dice: random.Random) -> None:
        answer = spoilt(dice)
        zone = dice.choice(zones)
        try:
            check_kept(answer.json())
            check_kept(answer.text())
            check_error(node_error(answer))
            has_chain(answer)
            zone_from(answer.json())
            assert isinstance(login_refused("http://mn", answer), LoginError | NodeUnreachableError)
            match jobs.read_send(answer):
                case Lost(error=error) | Refused(error=error):
                    check_error(error)
                case Accepted():
                    pass
            match jobs.read_job(answer, lambda data: query.seen_vm(data, zone, 1.0)):
                case JobFailed(error=error) | JobUnreadable(error=error):
                    check_error(error)
                case JobSucceeded(seen=seen):
                    check_seen(seen)
                case JobRunning() | JobMissing():
                    pass
            for row in rows_in(answer):
                check_seen(query.seen_vm(row, zone, 1.0))
                host = query.host_row(row)
                assert host is None or host.uuid
                parse_node_time(row.get("createDate")).at(UTC)
        except Exception as error:
            error.add_note(f"{answer.status} {answer.body[:1500]!r}")
            raise

    real_answers()
    fuzz("parsers", CASES * 6, case)


# ── what campaigns have found ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_half_a_character_pair_is_replaced_in_any_encoding(encoding: str) -> None:
    """A lone surrogate, which no journal and no file could hold, is not let in by any encoding that JSON may have."""
    check_kept(Answer(200, r'{"name": "\ud800"}'.encode(encoding)).json())


@pytest.mark.parametrize("key", ["opaque", "new"])
def test_an_error_of_many_levels_can_be_kept(key: str) -> None:
    """However deep an error object is, it can be told and journalled."""
    deep = "{" + f'"{key}":{{' * 300 + "}" * 300 + "}"
    check_error(node_error(Answer(503, f'{{"error": {deep}}}'.encode())))


class Deep(Mischief):
    """Every answer of one kind holds a field of three hundred levels."""

    def __init__(self, kind: str) -> None:
        super().__init__(random.Random(1), 1.0, lies=True, late=False)
        self._kind = kind

    def strikes(self, asked: Asked) -> bool:
        """This kind alone."""
        return asked.kind == self._kind

    def spoil(self, asked: Asked, status: int, body: bytes) -> Reply:
        """The field is put before all others of an inventory or an error."""
        deep = b'{"new":' + b"[" * 300 + b"]" * 300 + b","
        return Reply(http_bytes(status, re.sub(rb'\{(?="\w+":)', deep, body, count=2)))


@pytest.mark.parametrize("kind", ["vms", "job"])
async def test_a_field_of_many_levels_does_not_end_a_run(tmp_path: Path, kind: str) -> None:
    """A field nobody knows, nested three hundred levels deep, costs no run its report."""
    run = Trial(
        tmp_path, {"vms": [{"name": "vm", "guest": {"behaviour": "fails"}}]}, plan={"verify": {"after": "0s"}}, scale=SCALE
    )
    run.node = OddNode(Scenario.model_validate(run.scenario), Deep(kind))
    assert await outcome_of(run) is None
    assert run.outcomes == {"vm": "failed"}
    check_readable(run.report)


def test_a_list_that_never_goes_on_is_given_up() -> None:
    """A node that answers every page of a list with the same row, over and over, does not keep the program for ever."""
    row = {"uuid": "0" * 32, "name": "vm", "state": "Running"}

    class Stub:
        asked, zone = 0, None

        async def call(self, method: str, path: str, *, params: str = "") -> Answer:
            self.asked += 1
            assert self.asked < 30, "it asks for ever"
            return Answer(200, json.dumps({"inventories": [row] * query.PAGE}).encode())

    async def every() -> None:
        async for _ in ZStackCloud(Stub()).select(["name~=%"]):  # type: ignore[arg-type]
            pass

    with pytest.raises((NodeAwayError, QueryRefusedError)):
        anyio.run(every)
