"""One exchange over real sockets: bounded in time and size, sent at most once, trusting nobody by itself."""

import asyncio
import ssl
import time
from pathlib import Path

import anyio
import pytest
import trustme

from orchestrator.clouds.zstack import http as module
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.http import Answer, ExchangeError, Http, Pace
from orchestrator.errors import NodeUnreachableError
from orchestrator.model.target import HELD_BACK, UNSENT, Accepted, Lost, StopRequest
from tests.unit.clouds.nodes import VM, Wire, account, in_bytes, session
from tests.virtual import run_virtual

PUT = StopRequest(VM, "grace", "1" * 32, 60, True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PATH = "/v1/vm-instances"


class Log:
    """Every request that arrived, in bytes."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def next(self, wire: Wire) -> bytes:
        """The next request of this connection, noted."""
        data = await wire.request()
        if data:
            self.seen.append(data)
        return data

    def count(self, method: bytes) -> int:
        """How many began with this method."""
        return sum(data.startswith(method + b" ") for data in self.seen)


@pytest.mark.parametrize("death", ["after the request", "before the request", "reset"])
async def test_a_put_on_a_connection_that_dies_arrives_at_most_once(death: str) -> None:
    """A kept-alive connection dies under the PUT: it ends in Lost, and the node never sees it a second time."""
    log = Log()

    async def talk(wire: Wire) -> None:
        await log.next(wire)
        await wire.answer(b"{}")
        if death == "before the request":
            await wire.reader.readexactly(1)
        elif await log.next(wire) and death == "reset":
            wire.writer.transport.abort()

    async with in_bytes(talk) as base, ZStackClient(session(base)) as client:
        assert (await client.http.exchange("GET", PATH)).status == 200
        result = await client.send(PUT)
        assert isinstance(result, Lost)
        assert result.error.code == "http.lost"
    assert log.count(b"PUT") == (0 if death == "before the request" else 1)


async def test_a_get_is_not_repeated_behind_our_back_either() -> None:
    """Repeating is the caller's decision, for reads too."""
    log = Log()

    async def talk(wire: Wire) -> None:
        await log.next(wire)
        await wire.answer(b"{}")
        await log.next(wire)

    async with in_bytes(talk) as base, Http(base) as http:
        await http.exchange("GET", PATH)
        with pytest.raises(ExchangeError) as caught:
            await http.exchange("GET", PATH)
        assert caught.value.sent
    assert log.count(b"GET") == 2


async def test_a_connection_refused_was_not_sent() -> None:
    """Nobody listens: nothing can have arrived, and the PUT says so."""
    async with in_bytes(lambda wire: wire.answer(b"")) as base:
        pass
    async with Http(base) as http:
        with pytest.raises(ExchangeError) as caught:
            await http.exchange("PUT", PATH, body={})
        assert (caught.value.sent, caught.value.tls) == (False, False)
    async with ZStackClient(session(base)) as client:
        result = await client.send(PUT)
        assert isinstance(result, Lost)
        assert result.error.code == UNSENT
        with pytest.raises(NodeUnreachableError, match="check the endpoint, the port and the network"):
            await client.version()


async def test_a_name_nobody_has_was_not_sent() -> None:
    """A host that does not resolve is a connection that was not made."""
    async with Http("http://no-such-host.invalid:8080/zstack") as http:
        with pytest.raises(ExchangeError) as caught:
            await http.exchange("PUT", PATH, body={})
        assert not caught.value.sent


async def test_an_endless_trickle_ends_in_time() -> None:
    """A byte now and then keeps no caller past its patience."""

    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await wire.write(b"1\r\n{\r\n")
            await asyncio.sleep(0.01)

    started = time.monotonic()
    async with in_bytes(talk) as base, Http(base) as http:
        with pytest.raises(ExchangeError, match="no whole answer") as caught:
            await http.exchange("GET", PATH, patience_seconds=0.2)
        assert caught.value.sent
    assert time.monotonic() - started < 5


async def test_a_trickling_head_ends_in_time() -> None:
    """The same where not even the status line ends."""

    async def talk(wire: Wire) -> None:
        await wire.request()
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 10_000:
            await wire.write(bytes([byte]))
            await asyncio.sleep(0.01)

    async with in_bytes(talk) as base, Http(base) as http:
        with pytest.raises(ExchangeError) as caught:
            await http.exchange("PUT", PATH, body={}, patience_seconds=0.2)
        assert caught.value.sent


async def test_a_node_that_says_nothing_ends_in_doubt() -> None:
    """A PUT without an answer may have arrived."""
    log = Log()

    async def talk(wire: Wire) -> None:
        await log.next(wire)
        await wire.reader.read()

    async with in_bytes(talk) as base, Http(base) as http:
        with pytest.raises(ExchangeError) as caught:
            await http.exchange("PUT", PATH, body={}, patience_seconds=0.2)
        assert caught.value.sent
    assert log.count(b"PUT") == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Leng",
        b"HTTP/1.1 banana\r\n\r\n",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"",
    ],
    ids=["half body", "half chunk", "bad chunk", "bad gzip", "half head", "bad status", "no http", "long head", "nothing"],
)
async def test_an_answer_that_breaks_off_is_doubt_not_an_answer(raw: bytes) -> None:
    """Half an answer, and what is none, never counts as one: the request may have arrived."""

    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.write(raw)

    async with in_bytes(talk) as base, Http(base) as http:
        with pytest.raises(ExchangeError) as caught:
            await http.exchange("PUT", PATH, body={}, patience_seconds=5)
        assert caught.value.sent


@pytest.mark.parametrize("announced", [True, False])
async def test_an_oversized_body_is_not_held(monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    """An answer longer than the bound is given up, not collected."""
    monkeypatch.setattr(module, "MAX_BODY", 1_000_000)
    written = 0

    async def talk(wire: Wire) -> None:
        nonlocal written
        await wire.request()
        if announced:
            await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        else:
            await wire.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            await wire.write(b" " * 65536)
            written += 65536

    async with in_bytes(talk) as base, Http(base) as http:
        with pytest.raises(ExchangeError, match="longer than") as caught:
            await http.exchange("GET", PATH, patience_seconds=10)
        assert caught.value.sent
    assert written < 50_000_000


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"<html><body>HTTP Status 400</body></html>", "<html><body>HTTP Status 400</body></html>"),
        (b"\xff\xfe\x00", "\ufffd\ufffd\x00"),
        (b"[" * 100_000, "[" * 4096),
        (b"9" * 10_000, "9" * 4096),
    ],
    ids=["empty", "html", "binary", "deep", "long number"],
)
async def test_a_body_that_is_no_json_is_text(body: bytes, text: str) -> None:
    """HTML, nothing, bytes and hostile nesting are an answer without JSON; their text is kept and cut."""

    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.answer(body, "400 Bad Request")

    async with in_bytes(talk) as base, Http(base) as http:
        answer = await http.exchange("GET", PATH)
    assert (answer.status, answer.json(), answer.text()) == (400, None, text)


@pytest.mark.parametrize("raw", [b'"\\ud800x"', b'"\\uD800x"', b'"\xed\xa0\x80x"'])
def test_half_a_character_never_leaves_the_door(raw: bytes) -> None:
    """JSON can hold half of a character pair, which no report or journal could be written with."""
    assert "x" in Answer(200, raw).json().encode("utf-8").decode()
    assert Answer(200, b'"\\ud83d\\ude00"').json() == "😀"


async def test_json_is_read_without_a_content_type() -> None:
    """The node sets none; UTF-8 text arrives as it is."""

    async def talk(wire: Wire) -> None:
        await wire.request()
        await wire.answer('{"details":"主机"}'.encode())

    async with in_bytes(talk) as base, Http(base) as http:
        assert (await http.exchange("GET", PATH)).json() == {"details": "主机"}


async def test_what_is_sent_is_ascii_json_that_says_its_charset() -> None:
    """Without a charset the node's servlet would read the body as ISO-8859-1."""
    log = Log()

    async def talk(wire: Wire) -> None:
        await log.next(wire)
        await wire.answer(b"{}", "202 Accepted")

    async with in_bytes(talk) as base, Http(base) as http:
        await http.exchange("PUT", PATH, body={"name": "数据"}, headers={"X-Job-UUID": "1" * 32})
    (sent,) = log.seen
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /zstack/v1/vm-instances HTTP/1.1\r\n")
    assert b"content-type: application/json;charset=utf-8" in head.lower()
    assert b"x-job-uuid: " + b"1" * 32 in head.lower()
    assert body == b'{"name": "\\u6570\\u636e"}'


async def test_what_may_not_leave_does_not() -> None:
    """`leaving` is asked as the PUT leaves: where it says no, nothing arrives."""
    log = Log()

    async def talk(wire: Wire) -> None:
        while await log.next(wire):
            await wire.answer(b"{}", "202 Accepted")

    async with in_bytes(talk) as base, ZStackClient(session(base)) as client:
        result = await client.send(PUT, leaving=lambda: False)
        assert isinstance(result, Lost)
        assert result.error.code == HELD_BACK
        assert log.seen == []
        assert await client.send(PUT, leaving=lambda: True) == Accepted()
        assert log.count(b"PUT") == 1


async def test_what_waits_for_its_turn_is_asked_when_its_turn_comes() -> None:
    """A PUT held by the request limit is asked after the wait, not before it."""
    log = Log()
    over = False

    async def talk(wire: Wire) -> None:
        while await log.next(wire):
            await wire.answer(b"{}")

    async with in_bytes(talk) as base, ZStackClient(session(base), requests_per_second=10) as client:
        await client.http.exchange("GET", PATH)
        waiting = asyncio.create_task(client.send(PUT, leaving=lambda: not over))
        await asyncio.sleep(0)
        over = True
        assert isinstance(await waiting, Lost)
    assert log.count(b"PUT") == 0


async def test_a_stop_whose_turn_does_not_come_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another request has the only turn for minutes: the PUT gives up the line, without being asked for its leave."""
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    log, asked = Log(), 0

    async def talk(wire: Wire) -> None:
        while await log.next(wire):
            await wire.answer(b"{}")

    def leaving() -> bool:
        nonlocal asked
        asked += 1
        return True

    async with in_bytes(talk) as base, ZStackClient(session(base), requests_per_second=0.01) as client:
        await client.http.exchange("GET", PATH)
        result = await asyncio.wait_for(client.send(PUT, leaving=leaving), 10)
        client.http.pace(None)
    assert isinstance(result, Lost)
    assert result.error.code == HELD_BACK
    assert asked == 0
    assert log.count(b"PUT") == 0


async def test_what_waits_for_a_socket_is_asked_when_it_gets_one() -> None:
    """With every socket busy a PUT waits; when the run ends meanwhile, it does not leave."""
    log, free, full = Log(), asyncio.Event(), asyncio.Event()
    over = False

    async def talk(wire: Wire) -> None:
        while await log.next(wire):
            if log.count(b"GET") == module.CONNECTIONS:
                full.set()
            await free.wait()
            await wire.answer(b"{}")

    async with in_bytes(talk) as base, ZStackClient(session(base)) as client:
        reads = [asyncio.create_task(client.http.exchange("GET", PATH)) for _ in range(module.CONNECTIONS)]
        await full.wait()
        waiting = asyncio.create_task(client.send(PUT, leaving=lambda: not over))
        for _ in range(20):
            await asyncio.sleep(0)
        over = True
        free.set()
        await asyncio.gather(*reads)
        result = await waiting
        assert isinstance(result, Lost)
        assert result.error.code == HELD_BACK
    assert log.count(b"PUT") == 0


async def test_a_cancelled_exchange_frees_its_socket() -> None:
    """Callers that were cancelled take no socket with them."""

    full = asyncio.Event()

    async def talk(wire: Wire) -> None:
        await wire.request()
        if wire.number > module.CONNECTIONS:
            await wire.answer(b"{}")
            return
        if wire.number == module.CONNECTIONS:
            full.set()
        await wire.reader.read()

    async with in_bytes(talk) as base, Http(base) as http:
        reads = [asyncio.create_task(http.exchange("GET", PATH)) for _ in range(module.CONNECTIONS)]
        await full.wait()
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        assert (await http.exchange("GET", PATH, patience_seconds=5)).status == 200


async def test_the_pace_spaces_requests_evenly() -> None:
    """Ten at twenty a second take at least 0.45 s, urgent or not; without a limit nobody waits."""
    for per_second, at_least, at_most in ((20.0, 0.44, 5.0), (None, 0.0, 0.4)):
        for urgent in (True, False):
            pace, started = Pace(per_second), time.monotonic()
            await asyncio.gather(*(pace.turn(urgent=urgent) for _ in range(10)))
            assert at_least <= time.monotonic() - started <= at_most


async def test_another_pace_holds_for_those_that_wait_already() -> None:
    """Ten that would wait for a hundred seconds leave at once where the limit is raised, and where it is lifted."""
    for new in (1000.0, None):
        pace = Pace(0.1)
        await pace.turn(urgent=True)
        waiting = [asyncio.create_task(pace.turn(urgent=urgent)) for urgent in (True, False) * 5]
        await asyncio.sleep(0)
        pace.change(new)
        await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_who_gives_up_waiting_lets_the_next_go() -> None:
    """The first in line is cancelled, and the second has its turn."""
    pace = Pace(20.0)
    await pace.turn(urgent=True)
    first, second = (asyncio.create_task(pace.turn(urgent=True)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 5)


def test_whose_turn_does_not_come_in_time_takes_none() -> None:
    """It says so when its time is over, and the one behind it comes when the first of them would have."""

    async def go() -> tuple[list[bool], float]:
        pace, late = Pace(0.1), list[bool]()
        await pace.turn(urgent=True)
        began = anyio.current_time()

        async def one() -> None:
            late.append(await pace.turn(urgent=False, within_seconds=4.0))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)
            await anyio.sleep(1.0)
            assert await pace.turn(urgent=False)
        return late, anyio.current_time() - began

    assert run_virtual(go) == ([False, False, False], 10.0)


async def test_each_answer_is_told_with_what_it_took() -> None:
    """Kind, size and seconds of every answer, a 429 as such; an answer that breaks off is told too."""
    log, told = Log(), list[tuple[str, int | None, bool]]()

    async def talk(wire: Wire) -> None:
        for status, body in (("200 OK", b"{}"), ("429 ", b"Rate limit exceeded")):
            await log.next(wire)
            await wire.answer(body, status=status)
        await log.next(wire)

    def heard(kind: str, size: int | None, seconds: float, *, too_many: bool) -> None:
        assert 0 <= seconds < 5
        told.append((kind, size, too_many))

    async with in_bytes(talk) as base, Http(base) as http:
        http.heard = heard
        for _ in range(2):
            await http.exchange("GET", "/v1/api-jobs/abc")
        with pytest.raises(ExchangeError):
            await http.exchange("PUT", PATH)
    assert told == [("GET /v1/api-jobs", 2, False), ("GET /v1/api-jobs", 19, True), ("PUT " + PATH[:12], None, False)]


async def test_what_is_urgent_goes_first() -> None:
    """Reads of jobs in flight overtake stops that wait for their turn, three of them at most."""
    pace, order = Pace(50.0), list[bool]()

    async def one(urgent: bool) -> None:
        await pace.turn(urgent=urgent)
        order.append(urgent)

    await one(urgent=True)
    await asyncio.gather(*(one(urgent) for urgent in (False, False, True, True, True)))
    assert order == [True, True, True, False, True, False]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority nobody knows."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """The server's side of TLS, for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """The authority's certificate as a file."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


async def test_an_untrusted_certificate_is_refused_with_the_remedy(server_tls: ssl.SSLContext) -> None:
    """Nothing is sent to a node whose certificate nobody vouches for, and the sentence says what to do."""
    log = Log()

    async def talk(wire: Wire) -> None:
        await log.next(wire)

    async with in_bytes(talk, tls=server_tls) as base, ZStackClient(account(base)) as client:
        with pytest.raises(NodeUnreachableError, match=r"certificate is not trusted.*--ca-file FILE.*--insecure"):
            await client.version()
        with pytest.raises(NodeUnreachableError, match=r"--ca-file"):
            await client.call("GET", PATH)
    assert log.seen == []


async def test_a_certificate_of_a_given_authority_is_accepted(server_tls: ssl.SSLContext, ca_file: str) -> None:
    """`--ca-file` adds the authority, and the certificate's name is still checked."""
    log = Log()

    async def talk(wire: Wire) -> None:
        while await log.next(wire):
            await wire.answer(b'{"version":"5.2.1","success":true}')

    async with in_bytes(talk, tls=server_tls) as base:
        async with ZStackClient(session(base, ca_file=ca_file)) as client:
            assert await client.version() == "5.2.1"
        async with ZStackClient(session(base.replace("127.0.0.1", "localhost"), ca_file=ca_file)) as client:
            with pytest.raises(NodeUnreachableError, match="certificate is not trusted"):
                await client.version()


async def test_insecure_accepts_any_certificate(server_tls: ssl.SSLContext) -> None:
    """Only when told so."""

    async def talk(wire: Wire) -> None:
        while await wire.request():
            await wire.answer(b'{"version":"5.2.1","success":true}')

    async with in_bytes(talk, tls=server_tls) as base, ZStackClient(session(base, insecure=True)) as client:
        assert await client.version() == "5.2.1"


async def test_tls_to_a_plain_port_was_not_sent() -> None:
    """https to a node that speaks http fails before anything of the request leaves."""

    async def talk(wire: Wire) -> None:
        await wire.reader.read(100)
        await wire.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with in_bytes(talk) as base, ZStackClient(session(base.replace("http:", "https:"))) as client:
        result = await client.send(PUT)
        assert isinstance(result, Lost)
        assert result.error.code == UNSENT


@pytest.mark.parametrize(
    ("body", "version"),
    [(b'{"version":"5.2.1"}', "5.2.1"), (b'{"version":5}', None), (b"{}", None), (b'{"error":{"code":"SYS.1000"}}', None)],
)
async def test_the_version_is_asked_without_a_login(body: bytes, version: str | None) -> None:
    """It works before any credential is known to be good; a node that does not tell it is still a node."""
    log = Log()

    async def talk(wire: Wire) -> None:
        while await log.next(wire):
            await wire.answer(body)

    async with in_bytes(talk) as base, ZStackClient(account(base)) as client:
        assert await client.version() == version
    assert len(log.seen) == 1
    assert b"authorization" not in log.seen[0].lower()


async def test_what_is_no_node_is_told() -> None:
    """A web page at the endpoint: the port or the context path is wrong."""

    async def talk(wire: Wire) -> None:
        while await wire.request():
            await wire.answer(b"<html>")

    async with in_bytes(talk) as base, ZStackClient(session(base)) as client:
        with pytest.raises(NodeUnreachableError, match=r"8080.*/zstack"):
            await client.version()
