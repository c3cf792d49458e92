"""Who may read a run's page: whoever has its token. Read-only; each request is checked before anything is told.

The shell of the page is given without the token, for a browser sends no header when it opens an address; it holds no word
of any run. The token stands in the address's fragment, which browsers keep to themselves.
"""

import contextlib
import hmac
import ipaddress
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from aiohttp import web

from orchestrator.errors import UsageError
from orchestrator.live.feed import Feed
from orchestrator.live.listen import listening
from orchestrator.reports.html import live_page

_TOKEN_BYTES = 16
_MOST_READERS = 16
_ALIVE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page is served, and with which certificate; port 0 is any free one."""

    host: str
    port: int
    tls: tuple[Path, Path] | None = None


def place_of(text: str, tls: tuple[Path, Path] | None) -> Place:
    """From `[HOST:]PORT`. Raises UsageError, also for an address beyond this machine without TLS."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--serve {text!r} is no place: write PORT or HOST:PORT, as --serve 8099 or --serve 10.0.0.5:8099")
    if tls is None and not _loopback(host):
        raise UsageError(
            f"--serve {text}: {host} is reached from other machines, which needs --serve-tls CERT KEY; "
            "without it serve on 127.0.0.1, for a tunnel to lead there"
        )
    return Place(host, int(port), tls)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server:
    """The page of one run. `url` has the token in its fragment: for whoever may read the run, and for nobody's log."""

    def __init__(self, place: Place, feed: Feed, warn: Callable[[str], None]) -> None:
        self._place = place
        self._feed = feed
        self._warn = warn
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._page, self._policy = live_page()
        self._readers = 0
        self._gone = anyio.Event()
        self._own_names = set[str]()
        self.port = place.port

    @property
    def url(self) -> str:
        """What a person opens."""
        host = f"[{self._place.host}]" if ":" in self._place.host else self._place.host
        return f"{self._scheme}://{host}:{self.port}/#{self._token}"

    @property
    def _scheme(self) -> str:
        return "http" if self._place.tls is None else "https"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """While the body runs. Raises UsageError."""
        app = web.Application(middlewares=[self._checked], client_max_size=1024)
        app.router.add_get("/", self._shell, allow_head=False)
        app.router.add_get("/events", self._events, allow_head=False)
        where = self._place
        self._own_names = await anyio.to_thread.run_sync(_names_of, where.host)
        async with listening(app, where.host, where.port, option="--serve", tls=self._context()) as self.port:
            yield

    async def take_leave(self) -> None:
        """Return when every reader has been told of the end."""
        while self._readers:
            self._gone = anyio.Event()
            await self._gone.wait()

    def _context(self) -> ssl.SSLContext | None:
        if self._place.tls is None:
            return None
        certificate, key = self._place.tls
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or "they are no certificate and key that belong together"
            raise UsageError(f"--serve-tls {certificate} {key} cannot be used ({why}): give PEM files") from None
        return context

    # ── each request ───────────────────────────────────────────────────────────────────────────────────────────────
    @web.middleware
    async def _checked(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not self._for_us(request):
            return self._refusal(403, "this address is not the one the run has printed")
        if request.path != "/" and not self._knows_token(request):
            return self._refusal(401, "the run's token is missing or wrong")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return self._refusal(error.status, error.reason)

    def _for_us(self, request: web.Request) -> bool:
        """Is it asked under our own name, and by our own page? Another site's page, or its name, is sent away."""
        host, origin = request.host.lower(), request.headers.get("Origin")
        return host in self._names() and (origin is None or origin.lower() == f"{self._scheme}://{host}")

    def _names(self) -> set[str]:
        standard = "80" if self._scheme == "http" else "443"
        return {f"{name}:{self.port}" for name in self._own_names} | (
            self._own_names if str(self.port) == standard else set()
        )

    def _knows_token(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def _refusal(self, status: int, text: str) -> web.Response:
        return web.Response(status=status, text=text + "\n", headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {
            "Cache-Control": "no-store",
            "Content-Security-Policy": f"{self._policy}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    async def _shell(self, _: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html", headers=self._headers())

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._readers >= _MOST_READERS:
            return self._refusal(503, "too many pages follow this run")
        answer = web.StreamResponse(headers={**self._headers(), "Content-Type": "text/event-stream; charset=utf-8"})
        self._readers += 1
        try:
            await answer.prepare(request)
            try:
                await self._tell(answer)
            except* ConnectionError:
                pass  # a reader that has left
            except* Exception as errors:  # which asks again by itself; the run goes on
                self._warn(f"a reader of the run's page was cut off: {errors.exceptions[0]!r}")
        finally:
            self._readers -= 1
            self._gone.set()
        return answer

    async def _tell(self, answer: web.StreamResponse) -> None:
        sending = anyio.Lock()

        async def alive() -> None:
            while True:
                await anyio.sleep(_ALIVE_SECONDS)
                async with sending:
                    await answer.write(b":\n\n")

        async with anyio.create_task_group() as beside:
            beside.start_soon(alive)
            async with contextlib.aclosing(self._feed.messages()) as messages:
                async for message in messages:
                    async with sending:
                        await answer.write(f"event: {message.kind}\ndata: {message.text}\n\n".encode())
            beside.cancel_scope.cancel()


def _names_of(host: str) -> set[str]:
    """Names under which this machine is asked for a place on `host`, as a Host header has them. May ask the DNS."""
    names = {host}
    if _loopback(host):
        names |= {"localhost", "127.0.0.1", "::1"}
    elif host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        names |= {socket.gethostname(), socket.getfqdn()}
        with contextlib.suppress(OSError):
            names |= {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
    return {f"[{name}]" if ":" in name else name.lower() for name in names}
