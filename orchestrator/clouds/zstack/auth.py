"""Who we are to the node: a given session, a login of our own that is renewed for all at once, or signed requests."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import anyio

from orchestrator.clouds.zstack.errors import node_error, not_ready
from orchestrator.clouds.zstack.http import Answer, ExchangeError, Http, patiently
from orchestrator.errors import LoginError, NodeUnreachableError
from orchestrator.model.fault import NodeError

SKEW_TEXT = "requestTimeTooSkewed"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LOGIN_REMEDIES = {
    "ID.1000": "the account name or password is wrong: check ZSTACK_ACCOUNT_NAME and ZSTACK_ACCOUNT_PASSWORD",
    "ID.1006": "the account has too many sessions open: log others out, or wait until they expire",
    "LOGIN_CONTROL.1002": "the account is locked: ask its administrator to unlock it",
}


class Auth(Protocol):
    """Headers for a request, and what to do when the node no longer takes them."""

    async def headers(self, http: Http, method: str, path: str) -> dict[str, str]:
        """Headers that prove who asks. Raises LoginError, NodeUnreachableError."""
        ...

    async def refused(self, http: Http, headers: dict[str, str], answer: Answer | None) -> bool:
        """The node refused these headers: True when asking again with new ones makes sense."""
        ...

    async def close(self, http: Http) -> None:
        """Log out of what we opened; never raises."""
        ...


class GivenSession:
    """A session somebody else opened: used, kept alive, never closed by us."""

    def __init__(self, session: str) -> None:
        if len(session) > 64 or not session.isalnum():
            raise LoginError("ZSTACK_SESSION_ID is not a session id: give the 32 hex characters a login returned")
        self._session = session

    async def headers(self, http: Http, method: str, path: str) -> dict[str, str]:
        """The OAuth header."""
        return {"Authorization": f"OAuth {self._session}"}

    async def refused(self, http: Http, headers: dict[str, str], answer: Answer | None) -> bool:
        """Never: nothing here can open another session."""
        return False

    async def close(self, http: Http) -> None:
        """Nothing: it is not ours."""


class AccountLogin:
    """Account and password: one login for everybody, and one more for everybody when its session is gone."""

    def __init__(self, account: str, password: str) -> None:
        self._account = account
        self._digest = hashlib.sha512(password.encode("utf-8")).hexdigest()  # the protocol's own form, section 8
        self._session: str | None = None
        self._opened: list[str] = []
        self._lock = anyio.Lock()

    async def headers(self, http: Http, method: str, path: str) -> dict[str, str]:
        """The OAuth header, after a login where none is open."""
        async with self._lock:
            if self._session is None:
                self._session = await self._login(http)
            return {"Authorization": f"OAuth {self._session}"}

    async def refused(self, http: Http, headers: dict[str, str], answer: Answer | None) -> bool:
        """Drop the session those headers held, unless somebody else has renewed it meanwhile. A 403 speaks of no session."""
        if answer is not None and answer.status == 403:
            return False
        if self._session is not None and headers.get("Authorization") == f"OAuth {self._session}":
            self._session = None
        return True

    async def close(self, http: Http) -> None:
        """Log out of every session opened here; a node that is away keeps them until they expire."""
        opened, self._opened, self._session = self._opened, [], None
        http.pace(None)
        for session in opened:
            try:
                await http.exchange(
                    "DELETE",
                    f"/v1/accounts/sessions/{session}",
                    headers={"Authorization": f"OAuth {session}"},
                    patience_seconds=5,
                )
            except ExchangeError:
                continue  # that one stays until it expires; the others may still be ended

    async def _login(self, http: Http) -> str:
        http.hide(self._digest)
        body = {"logInByAccount": {"accountName": self._account, "password": self._digest}}
        try:
            answer = await patiently(
                lambda: http.exchange("PUT", "/v1/accounts/login", body=body, patience_seconds=30, opens_session=True)
            )
        except ExchangeError as error:
            raise unreachable(http.base, error) from None
        data = answer.json()
        if answer.status == 200 and isinstance(data, dict):
            inventory = data.get("inventory")
            session = inventory.get("uuid") if isinstance(inventory, dict) else None
            if isinstance(session, str) and session.isalnum():
                self._opened.append(session)
                return session
        raise login_refused(http.base, answer)


class AccessKey:
    """Signed requests. No session is opened; the clock is what can go wrong.

    By default the node compares the digits of our `Date` with its own wall clock and ignores the zone
    (zstack-rest.md 1.3), so the digits must be the node's local time. Its zone cannot be asked without a signature:
    the likely zones are tried, then every other, and the first that it takes is kept.
    """

    def __init__(self, key_id: str, secret: str, now: Callable[[], datetime] | None = None) -> None:
        if not key_id or not key_id.isascii() or not key_id.isprintable() or ":" in key_id or " " in key_id:
            raise LoginError("ZSTACK_ACCESS_KEY_ID is not an access key id: it may not hold a colon or spaces")
        self._id = key_id
        self._secret = secret.encode("utf-8")
        self._now = now or (lambda: datetime.now(UTC))
        self._ahead = timedelta(0)
        self._zone: tzinfo | None = None
        self._lock = anyio.Lock()

    def sign(self, method: str, path: str, date: str) -> str:
        """Base64 of HMAC-SHA1 over method, date and path (after the context path, decoded, without query)."""
        text = f"{method}\n{date}\n{path}".encode()
        return base64.b64encode(hmac.new(self._secret, text, hashlib.sha1).digest()).decode("ascii")

    async def headers(self, http: Http, method: str, path: str) -> dict[str, str]:
        """Date and signature, in the node's wall-clock time. Raises LoginError where no zone is taken."""
        async with self._lock:
            if self._zone is None:
                self._zone = await self._find_zone(http)
        return self._headers(self._zone, method, path)

    async def refused(self, http: Http, headers: dict[str, str], answer: Answer | None) -> bool:
        """After a skew answer the zone and clock are learned anew; any other refusal is final."""
        if answer is not None and SKEW_TEXT in answer.text():
            self._zone = None
            return True
        return False

    async def close(self, http: Http) -> None:
        """Nothing was opened."""

    def _headers(self, zone: tzinfo, method: str, path: str) -> dict[str, str]:
        local = (self._now() + self._ahead).astimezone(zone)
        date = http_date(local, _zone_label(local, zone))
        return {"Date": date, "Authorization": f"ZStack {self._id}:{self.sign(method, path, date)}"}

    async def _find_zone(self, http: Http) -> tzinfo:
        path = "/v1/management-nodes/platform-timezone"
        self._ahead = await clock_ahead(http, self._now)
        answer: Answer | None = None
        for zone in _likely_zones():
            try:
                answer = await http.exchange("GET", path, headers=self._headers(zone, "GET", path), patience_seconds=30)
            except ExchangeError as error:
                raise unreachable(http.base, error) from None
            if answer.status == 200:
                return _zone_in(answer) or zone
            if SKEW_TEXT not in answer.text():
                break
        assert answer is not None
        if answer.status == 400 and "RestAuthenticationBackend" in answer.text():
            raise LoginError("the node has no access keys: use a session, or an account with its password")
        raise login_refused(http.base, answer)


async def clock_ahead(http: Http, now: Callable[[], datetime]) -> timedelta:
    """The node's clock minus ours; zero where it does not tell. Raises NodeUnreachableError."""
    before = now()
    try:
        body: dict[str, object] = {"getCurrentTime": {}}
        answer = await patiently(
            lambda: http.exchange("PUT", "/v1/management-nodes/actions", body=body, patience_seconds=30)
        )
    except ExchangeError as error:
        raise unreachable(http.base, error) from None
    middle = before + (now() - before) / 2
    data = answer.json()
    current = data.get("currentTime") if isinstance(data, dict) else None
    millis = current.get("MillionSeconds") if isinstance(current, dict) else None
    if not isinstance(millis, (int, float)) or isinstance(millis, bool):
        return timedelta(0)
    try:
        return datetime.fromtimestamp(millis / 1000, UTC) - middle
    except (OverflowError, OSError, ValueError):
        return timedelta(0)


def http_date(local: datetime, label: str) -> str:
    """`EEE, dd MMM yyyy HH:mm:ss z` in English, whatever the locale."""
    return f"{_DAYS[local.weekday()]}, {local.day:02} {_MONTHS[local.month - 1]} {local.year} {local:%H:%M:%S} {label}"


def unreachable(base: str, error: ExchangeError) -> NodeUnreachableError:
    """One sentence with the remedy."""
    remedy = (
        "add its CA with --ca-file FILE, or accept the risk with --insecure"
        if error.tls
        else "check the endpoint, the port and the network"
    )
    return NodeUnreachableError(f"the management node at {base} is not reachable: {error.detail}; {remedy}")


def login_refused(base: str, answer: Answer) -> LoginError | NodeUnreachableError:
    """What a refused login or signature means, and the remedy."""
    error = node_error(answer)
    text = answer.text()
    if SKEW_TEXT in text:
        return LoginError(
            "the node refuses the access key because of the clock, in every time zone: set this machine's clock right"
        )
    if answer.status == 403:
        return LoginError(
            f"the node refuses the access key ({' '.join(text.split())[:200]}): "
            "check ZSTACK_ACCESS_KEY_ID and ZSTACK_ACCESS_KEY_SECRET, and that the key is enabled"
        )
    if not_ready(error):
        return NodeUnreachableError(
            f"the management node at {base} is not ready ({_plain(error)}): wait until it has started"
        )
    if not error.code.startswith("http."):
        remedy = next((LOGIN_REMEDIES[code] for code in error.codes() if code in LOGIN_REMEDIES), None)
        return LoginError(
            f"the node refuses the login ({remedy or _plain(error) + ': see the node for what it asks of this account'})",
            error.code,
        )
    return NodeUnreachableError(
        f"{base} answers {answer.status} but not as a ZStack node does: check the port (8080) and the context path (/zstack)"
    )


def _plain(error: NodeError) -> str:
    return " ".join(error.sentence().split())[:300]


def _zone_label(local: datetime, zone: tzinfo) -> str:
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    offset = local.utcoffset() or timedelta(0)
    if not offset:
        return "GMT"
    minutes = int(offset.total_seconds() // 60)
    return f"{'+' if minutes >= 0 else '-'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _likely_zones() -> list[tzinfo]:
    ours = datetime.now().astimezone().utcoffset() or timedelta(0)
    first = [timedelta(0), timedelta(hours=8), ours]
    rest = [timedelta(minutes=15 * step) for step in range(-12 * 4, 14 * 4 + 1)]
    # Digits may be up to 15 minutes off, so whole and half hours reach every zone; quarters come last.
    rest.sort(key=lambda offset: (offset.seconds % 3600 != 0, offset.seconds % 1800 != 0, abs(offset)))
    return [timezone(offset) for offset in dict.fromkeys([*first, *rest])]


def _zone_in(answer: Answer) -> tzinfo | None:
    return zone_from(answer.json())


def zone_from(data: object) -> tzinfo | None:
    """The node's zone from its platform-timezone answer; None where it says nothing usable."""
    if not isinstance(data, dict):
        return None
    name, offset = data.get("timezone"), data.get("offset")
    if isinstance(name, str) and name:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    if isinstance(offset, str):
        try:
            return datetime.strptime(offset, "%z").tzinfo
        except ValueError:
            pass
    return None
