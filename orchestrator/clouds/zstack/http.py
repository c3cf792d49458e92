"""The only door to aiohttp as a client: one exchange, bounded in time and size, sent at most once.

aiohttp sends a PUT again by itself when a kept-alive connection dies under it. A stop must not go out twice
unseen, so a middleware turns that error into `ExchangeError` before aiohttp's own retry can see it.
"""

import contextlib
import json
import math
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import anyio
from pydantic_core import from_json
from yarl import URL

from orchestrator.clouds.interface import Heard

MAX_BODY = 64 * 1024 * 1024
"""Bytes of an answer we are ready to hold: a page of 1000 whole VMs is about 5 MB."""
CONNECTIONS = 50
"""Sockets; many more only slow a client down, and VMs in flight need none of their own."""
_KEEPALIVE_SECONDS = 10.0  # below the 20 s after which the node's front end closes an idle connection
_CONNECT_SECONDS = 10.0
TOO_MANY = 429
_OK, _REDIRECTS = 200, range(300, 400)
_LATE_SECONDS = 0.1
_KIND = len("/v1/api-jobs")
"""So much of a path tells its kind."""
_REMOVED = b"(removed)"
_SHORTEST_SECRET, _MOST_SIGNATURES = 16, 10_000
_SIGNATURE = re.compile(rb"([A-Za-z0-9+/]{27})(?:=|\\\\u003[dD]|%3[dD])")
"""Base64 of an HMAC-SHA1, with its last character as JSON for web pages or a URL may write it."""
PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries of a call before a run."""
_SILENCE_SECONDS = 30.0
_MOST_IN_A_ROW = 3
"""Urgent requests that go before a stop which waits: its VM may be read again and again without its ever being sent."""
LINE_SECONDS = 25.0
"""So long a stop waits for its turn: it rests on a read that must not be older than 30 s when it leaves."""


class ExchangeError(Exception):
    """No whole answer came. `sent` is False only where the request cannot have reached the node.

    `held_back`: we did not let it leave ourselves.
    """

    def __init__(self, detail: str, *, sent: bool, tls: bool = False, held_back: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.sent = sent
        self.tls = tls
        self.held_back = held_back


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status and body. The node sets no content type, so the body alone says what it is."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON, None where it is none. What no file could hold of it is made so that one can."""
        with contextlib.suppress(ValueError):
            return from_json(self.body)  # which takes no half characters, and no more levels than can be written again
        try:
            return _tamed(json.loads(self.body), _DEEPEST)
        except (ValueError, RecursionError):
            return None

    def text(self) -> str:
        """The body as text, cut to what an error may hold."""
        return self.body[:4096].decode("utf-8", "replace")


_DEEPEST = 64
"""Levels of an answer that are kept; real ones have about ten. Deeper ones cannot be written down again."""


def _tamed(value: Any, levels: int) -> Any:
    """Half of a character pair becomes `?`, and what lies too deep null."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
        case dict():
            return {_tamed(key, 0): _tamed(inner, levels - 1) for key, inner in value.items()} if levels else None
        case list():
            return [_tamed(inner, levels - 1) for inner in value] if levels else None
        case _:
            return value


class Secrets:
    """What was sent to prove who asks, and may come back in a name or an error: nothing of it is let in."""

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}
        self._signatures: dict[bytes, None] = {}

    def add(self, secret: str) -> None:
        """A digest or a session. What is shorter could be part of any word."""
        if len(secret) >= _SHORTEST_SECRET:
            self._known[secret.encode("utf-8", "replace")] = None

    def add_header(self, authorization: str) -> None:
        """The session of an `Authorization` header, or its signature, of which each request has another."""
        kind, _, value = authorization.partition(" ")
        if kind == "OAuth":
            self.add(value)
        elif kind == "ZStack":
            self._signatures[value.rpartition(":")[2].rstrip("=").encode("ascii", "replace")] = None
            if len(self._signatures) > _MOST_SIGNATURES:
                del self._signatures[next(iter(self._signatures))]

    def removed(self, body: bytes) -> bytes:
        """The same without them."""
        for secret in self._known:
            if secret in body:
                body = body.replace(secret, _REMOVED)
        if self._signatures:
            body = _SIGNATURE.sub(lambda found: _REMOVED if found[1] in self._signatures else found[0], body)
        return body

    def removed_from(self, text: str) -> str:
        """The same for words of our own, which may quote an answer."""
        return self.removed(text.encode("utf-8", "replace")).decode("utf-8", "replace")


class _Waiter:
    """One that waits for its turn. `news`: it is the first now, or the limit has changed."""

    __slots__ = ("news",)

    def __init__(self) -> None:
        self.news = anyio.Event()


class Pace:
    """At most so many requests a second, evenly. What tells the truth of jobs in flight goes before new stops, but never so
    much of it that these have no turn at all.
    """

    def __init__(self, per_second: float | None) -> None:
        self._gap = 0.0 if not per_second else 1.0 / per_second
        self._next = 0.0
        self._urgent, self._other = deque[_Waiter](), deque[_Waiter]()
        self._in_a_row = 0
        """Urgent ones since a stop had its turn."""

    def change(self, per_second: float | None) -> None:
        """Another limit from now on, also for those that wait; None is no limit."""
        self._gap = 0.0 if not per_second else 1.0 / per_second
        self._next = min(self._next, anyio.current_time() + self._gap)
        for waiter in (*self._urgent, *self._other) if not self._gap else self._first():
            waiter.news.set()

    async def turn(self, *, urgent: bool, within_seconds: float = math.inf) -> bool:
        """Return when the next request may leave. Not urgent ones wait until no urgent one does, or three have gone first.

        False where its turn did not come `within_seconds`; it has used none.
        """
        if not self._gap:
            return True
        now = anyio.current_time()
        if now >= self._next and not self._first():
            self._next = now + self._gap
            self._count(urgent=urgent)
            return True
        until = now + within_seconds
        waiter, line = _Waiter(), self._urgent if urgent else self._other
        line.append(waiter)
        try:
            while self._gap and not ((first := waiter in self._first()) and now >= self._next):
                if now >= until:
                    return False
                waiter.news = anyio.Event()
                with anyio.CancelScope(deadline=min(self._next if first else math.inf, until)):
                    await waiter.news.wait()
                now = anyio.current_time()
            # Not from now: who came a little late to its turn makes nobody else later. A loop that stood still for long
            # does not make up for it all at once.
            self._next = max(self._next, now - _LATE_SECONDS) + self._gap
            self._count(urgent=urgent)
            return True
        finally:
            line.remove(waiter)
            for following in self._first():
                following.news.set()

    def _first(self) -> "tuple[()] | tuple[_Waiter]":
        """Whose turn is next, where anybody waits."""
        line = self._other if self._other and self._in_a_row >= _MOST_IN_A_ROW else self._urgent or self._other
        return (line[0],) if line else ()

    def _count(self, *, urgent: bool) -> None:
        self._in_a_row = self._in_a_row + 1 if urgent else 0


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Before a run, one odd moment of the node refuses nobody: a broken or too-many answer is asked for again, thrice.

    For reads and logins alone. Raises ExchangeError: at once where nothing listens.
    """
    for pause in PAUSES:
        try:
            answer = await ask()
        except ExchangeError as error:
            if not error.sent:
                raise
        else:
            if answer.status != TOO_MANY:
                return answer
        await anyio.sleep(pause)
    return await ask()


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorCertificateError as error:
        raise ExchangeError(
            f"its TLS certificate is not trusted ({error.certificate_error})", sent=False, tls=True
        ) from None
    except aiohttp.ClientConnectorSSLError as error:
        raise ExchangeError(f"TLS fails ({error.os_error})", sent=False, tls=True) from None
    except aiohttp.ClientConnectorError as error:
        raise ExchangeError(f"cannot connect ({error.os_error})", sent=False) from None
    except aiohttp.ConnectionTimeoutError:
        raise ExchangeError(f"no connection within {_CONNECT_SECONDS:.0f} s", sent=False) from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ExchangeError(f"the connection broke ({_words(error)})", sent=True) from None


class Http:
    """Exchanges with one node. Use as `async with`; no redirects, cookies for this origin only."""

    def __init__(self, base: str, *, tls: ssl.SSLContext | None = None, requests_per_second: float | None = None) -> None:
        self.base = base
        self._tls = tls
        self._pace = Pace(requests_per_second)
        self.heard: Heard | None = None
        """Who is told of each answer; None is nobody."""
        self._session: aiohttp.ClientSession | None = None
        self._secrets = Secrets()
        self._sockets = anyio.Semaphore(CONNECTIONS, fast_acquire=True)

    def pace(self, requests_per_second: float | None) -> None:
        """Change the limit of requests a second from now on."""
        self._pace.change(requests_per_second)

    def hide(self, secret: str) -> None:
        """What the node repeats of this from now on is not let in."""
        self._secrets.add(secret)

    async def __aenter__(self) -> "Http":
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            ssl=self._tls if self._tls is not None else True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS),
            middlewares=(_send_once,),
            auto_decompress=True,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: object = None,
        headers: Mapping[str, str] | None = None,
        patience_seconds: float = 90.0,
        leaving: Callable[[], bool] | None = None,
        opens_session: bool = False,
    ) -> Answer:
        """One request and its whole answer. `path` starts with `/v1`; `query` is already percent-encoded.

        `leaving`: it is no urgent one, and is asked for its leave when its turn has come; one whose turn does not come soon
        is held back like one that gets none.

        `opens_session`: a 200 is let in as it is, for the session in it.

        Raises ExchangeError where no whole answer came within `patience_seconds` of its leaving.
        """
        assert self._session is not None, "use the client inside 'async with'"
        url = URL(f"{self.base}{path}{'?' + query if query else ''}", encoded=True)
        data = None if body is None else json.dumps(body).encode("ascii")
        sent_headers = dict(headers or {})
        began, status, size, failed = math.inf, 0, 0, False
        self._secrets.add_header(sent_headers.get("Authorization", ""))
        if data is not None:
            sent_headers["Content-Type"] = "application/json;charset=UTF-8"
        if not await self._pace.turn(urgent=leaving is None, within_seconds=math.inf if leaving is None else LINE_SECONDS):
            raise ExchangeError(f"its turn did not come within {LINE_SECONDS:.0f} s", sent=False, held_back=True)
        try:
            async with self._sockets:  # waited for here and not in aiohttp's pool, where `leaving` could not be asked
                if leaving is not None and not leaving():
                    raise ExchangeError("held back before it left", sent=False, held_back=True)
                began = anyio.current_time()
                with anyio.fail_after(patience_seconds):
                    async with self._session.request(
                        method, url, data=data, headers=sent_headers, allow_redirects=False
                    ) as response:
                        body = await _whole_body(response)
                        status, size = response.status, len(body)
                        told = opens_session and response.status == _OK
                        answer = Answer(response.status, body if told else self._secrets.removed(body))
            if answer.status in _REDIRECTS:
                raise ExchangeError(f"it redirects ({answer.status}), and redirects are not followed", sent=True)
            return answer
        except ExchangeError as error:
            failed = error.sent
            detail = self._secrets.removed_from(error.detail)
            raise ExchangeError(detail, sent=error.sent, tls=error.tls, held_back=error.held_back) from None
        except TimeoutError:
            failed = True
            raise ExchangeError(f"no whole answer within {patience_seconds:.0f} s", sent=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            words, failed = self._secrets.removed_from(_words(error)), True
            raise ExchangeError(f"the answer broke off ({words})", sent=True) from None
        finally:
            if self.heard is not None and (status or failed):  # what we gave up ourselves says nothing of the node
                took = anyio.current_time() - began
                self.heard(f"{method} {path[:_KIND]}", size if status else None, took, too_many=status == TOO_MANY)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _whole_body(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(1 << 18):
        size += len(chunk)
        if size > MAX_BODY:
            raise ExchangeError(f"the answer is longer than {MAX_BODY >> 20} MiB", sent=True)
        chunks.append(chunk)
    return b"".join(chunks)
