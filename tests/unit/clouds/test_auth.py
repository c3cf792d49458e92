"""Who we are to the node: signatures, its wall clock, one login for all, and credentials that go nowhere else."""

import asyncio
import base64
import hashlib
import hmac
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web

from orchestrator.clouds.zstack.auth import AccessKey, http_date, zone_from
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.errors import node_error
from orchestrator.clouds.zstack.http import ExchangeError, Http
from orchestrator.errors import LoginError, NodeUnreachableError
from orchestrator.model.target import Accepted, JobFailed, Refused, StopRequest
from tests.unit.clouds.nodes import VM, Asked, Script, access_key, account, error, says, scripted, session

PASSWORD = "hunter2-päss"
ZONE_PATH = "/v1/management-nodes/platform-timezone"
ROWS: dict[str, object] = {"inventories": [], "schema": {}}


def request(number: int = 0) -> StopRequest:
    """A stop with a job id of its own."""
    return StopRequest(VM, "grace", f"{number:032x}", 60, True)


class Sessions:
    """A node's sessions: logins open them, logouts close them, and a test may let them expire."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.live: set[str] = set()
        self.closed: list[str] = []
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.inside = 0

    async def __call__(self, asked: Asked) -> web.Response:
        """Login, logout, and a query that needs a live session."""
        if asked.path == "/v1/accounts/login":
            await asyncio.sleep(0)
            self.opened.append(f"{len(self.opened) + 1:032x}")
            self.live.add(self.opened[-1])
            return says({"inventory": {"uuid": self.opened[-1]}})
        if asked.method == "DELETE":
            self.closed.append(asked.path.rsplit("/", 1)[1])
            return says({})
        if self.gate is not None:
            self.inside += 1
            if self.inside == 20:
                self.waiting.set()
            await self.gate.wait()
        return says(ROWS) if asked.session in self.live else error("ID.1001")


def test_the_signature_is_that_of_the_protocol() -> None:
    """HMAC-SHA1 over method, date and decoded path, in Base64: openssl computes the same."""
    date = "Tue, 03 Mar 2026 09:05:01 Asia/Shanghai"
    path = f"/v1/vm-instances/{VM}/actions"
    text = f"PUT\n{date}\n{path}"
    ours = AccessKey("key-id", "key-secret").sign("PUT", path, date)
    assert ours == base64.b64encode(hmac.digest(b"key-secret", text.encode(), hashlib.sha1)).decode()
    made = subprocess.run(
        ["openssl", "dgst", "-sha1", "-hmac", "key-secret", "-binary"],
        input=text.encode(),
        capture_output=True,
        check=True,
    )
    assert ours == base64.b64encode(made.stdout).decode()


def test_the_signature_of_a_known_vector() -> None:
    """A value computed once by hand, so that neither side of the comparison can drift."""
    assert AccessKey("id", "secret").sign("GET", "/v1/vm-instances", "Thu, 01 Jan 2026 00:00:00 GMT") == KNOWN


KNOWN = "ENCiZuQ4TPUXrdO3G5QBfDIv0Uw="


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 3, 9, 5, 1, tzinfo=UTC), "Tue, 03 Mar 2026 09:05:01 GMT"),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), "Thu, 31 Dec 2026 23:59:59 GMT"),
        (datetime(2028, 2, 29, 0, 0, 0, tzinfo=UTC), "Tue, 29 Feb 2028 00:00:00 GMT"),
    ],
)
def test_the_date_is_english_with_two_digit_days(moment: datetime, text: str) -> None:
    """`EEE, dd MMM yyyy HH:mm:ss z`: a one-digit day is rejected by the node."""
    assert http_date(moment, "GMT") == text


def key_node(zone: str, *, skew: timedelta = timedelta(0), check_zone: bool = False) -> Script:
    """A node that checks signatures and dates as zstack-rest.md 1.3 says, living in `zone` with a clock off by `skew`."""
    home = ZoneInfo(zone)

    def clock() -> datetime:
        return datetime.now(UTC) + skew

    def script(asked: Asked) -> web.Response:
        if asked.body == {"getCurrentTime": {}}:
            millis = int(clock().timestamp() * 1000)
            return says({"currentTime": {"MillionSeconds": millis, "Seconds": millis // 1000}, "success": True})
        date = asked.headers["Date"]
        scheme, _, proof = asked.headers["Authorization"].partition(" ")
        name, _, signature = proof.partition(":")
        digits, _, label = date.rpartition(" ")
        assert (scheme, name) == ("ZStack", "key-id")
        assert label in {"GMT", "UTC", "CST"} or "/" in label or (label[0] in "+-" and label[3] == ":")
        sent = datetime.strptime(digits, "%a, %d %b %Y %H:%M:%S")  # noqa: DTZ007 - that is the trap
        if check_zone:
            their = ZoneInfo("UTC" if label == "GMT" else label) if label[0] not in "+-" else None
            instant = sent.replace(tzinfo=their or datetime.strptime(label, "%z").tzinfo)
            off = abs(instant - clock())
        else:
            off = abs(sent - clock().astimezone(home).replace(tzinfo=None))
        if off > timedelta(minutes=15):
            return web.Response(status=403, text="requestTimeTooSkewed: the difference is too large")
        path = asked.path.partition("?")[0]
        right = hmac.digest(b"key-secret", f"{asked.method}\n{date}\n{path}".encode(), hashlib.sha1)
        if signature != base64.b64encode(right).decode():
            return web.Response(status=403, text="wrong accessKey signature")
        if path == ZONE_PATH:
            return says({"timezone": zone, "offset": datetime.now(home).strftime("%z"), "success": True})
        return says({"location": "x"}, 202) if asked.method == "PUT" else says(ROWS)

    return script


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"])
@pytest.mark.parametrize("skew", [timedelta(0), timedelta(hours=3, minutes=7)], ids=["right", "three hours ahead"])
@pytest.mark.parametrize("check_zone", [False, True], ids=["digits", "instants"])
async def test_the_nodes_wall_clock_is_found(zone: str, skew: timedelta, check_zone: bool) -> None:
    """A node compares the digits of our date with its own clock in its own zone: signed calls pass wherever it lives."""
    async with scripted(key_node(zone, skew=skew, check_zone=check_zone)) as node:
        async with ZStackClient(access_key(node.base)) as client:
            answer = await client.call("GET", "/v1/vm-instances", params="q=name~=a%25&limit=1")
            assert answer.status == 200
            assert await client.send(request()) == Accepted()
            before = len(node.asked)
            for _ in range(5):
                assert (await client.call("GET", "/v1/vm-instances")).status == 200
            assert len(node.asked) == before + 5
        if not check_zone:
            assert node.asked[-1].headers["Date"].endswith(f" {zone}")


async def test_a_zone_learned_by_many_is_asked_once() -> None:
    """Twenty first calls together look for the zone once."""
    async with scripted(key_node("Asia/Shanghai")) as node, ZStackClient(access_key(node.base)) as client:
        await asyncio.gather(*(client.call("GET", "/v1/vm-instances") for _ in range(20)))
        assert node.count("PUT", "/v1/management-nodes/actions") == 1
        assert sum(asked.method == "GET" and asked.path == "/v1/vm-instances" for asked in node.asked) == 20


async def test_a_clock_that_jumps_is_learned_anew() -> None:
    """When the node's clock is set in mid-run, the call that meets the skew learns it and goes through."""
    now = key_node("Asia/Shanghai")
    later = key_node("Asia/Shanghai", skew=timedelta(hours=1))
    jumped = False

    def script(asked: Asked) -> Any:
        return (later if jumped else now)(asked)

    async with scripted(script) as node, ZStackClient(access_key(node.base)) as client:
        assert (await client.call("GET", "/v1/vm-instances")).status == 200
        jumped = True
        assert (await client.call("GET", "/v1/vm-instances")).status == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wrong accessKey signature", "ZSTACK_ACCESS_KEY_SECRET"),
        ("access key id: key-id does not existed or disabled", "enabled"),
        ("requestTimeTooSkewed", "clock"),
        ("unable to find RestAuthenticationBackend for ZStack", "has no access keys"),
    ],
)
async def test_a_refused_access_key_is_told_with_its_remedy(text: str, words: str) -> None:
    """Wrong signature, unknown key and hopeless clock each end in one sentence, without the secret."""

    def script(asked: Asked) -> web.Response:
        return says({}) if asked.method == "PUT" else web.Response(status=400 if "Backend" in text else 403, text=text)

    async with scripted(script) as node, ZStackClient(access_key(node.base)) as client:
        with pytest.raises(LoginError, match=words) as caught:
            await client.call("GET", "/v1/vm-instances")
        assert "key-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        ({"timezone": "Asia/Shanghai", "offset": "+08:00"}, 8.0),
        ({"timezone": "Nowhere/Land", "offset": "-05:30"}, -5.5),
        ({"offset": "+05:45"}, 5.75),
        ({"timezone": "../../etc/passwd", "offset": "+01:00"}, 1.0),
        ({"timezone": 5, "offset": 5}, None),
        ({"timezone": "Nowhere/Land", "offset": "eight"}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_zone_answer_is_read_by_name_or_offset(data: object, offset: float | None) -> None:
    """An unknown name falls back to the offset; what says nothing usable gives no zone."""
    zone = zone_from(data)
    moment = datetime(2026, 1, 1, tzinfo=zone)
    expected = None if offset is None else timedelta(hours=offset)
    assert (None if zone is None else moment.utcoffset()) == expected


async def test_the_password_leaves_as_its_sha512_only() -> None:
    """Lower-case hex SHA-512 of the UTF-8 password, under the right key; the password itself never leaves."""
    sessions = Sessions()
    async with scripted(sessions) as node, ZStackClient(account(node.base)) as client:
        await client.call("GET", "/v1/vm-instances")
        login = node.asked[0]
        assert login.body == {
            "logInByAccount": {
                "accountName": "admin",
                "password": hashlib.sha512(PASSWORD.encode("utf-8")).hexdigest(),
            }
        }
        assert "Authorization" not in login.headers
        assert all(PASSWORD not in str(asked) for asked in node.asked)


async def test_twenty_calls_that_lose_the_session_log_in_once() -> None:
    """All meet ID.1001 at the same time: one further login serves them all, and every call succeeds."""
    sessions = Sessions()
    async with scripted(sessions) as node:
        async with ZStackClient(account(node.base)) as client:
            assert (await client.call("GET", "/v1/vm-instances")).status == 200
            sessions.live.clear()
            sessions.gate = asyncio.Event()
            calls = asyncio.gather(*(client.call("GET", "/v1/vm-instances") for _ in range(20)))
            await sessions.waiting.wait()
            sessions.gate.set()
            assert [answer.status for answer in await calls] == [200] * 20
            assert len(sessions.opened) == 2
        assert sorted(sessions.closed) == sorted(sessions.opened)


async def test_a_late_refusal_of_the_old_session_does_not_end_the_new_one() -> None:
    """An answer to the old session that comes after the new login is retried with the new one: no third login."""
    sessions, arrived, late = Sessions(), asyncio.Event(), asyncio.Event()

    async def script(asked: Asked) -> web.Response:
        if asked.path == "/v1/hosts" and asked.session == sessions.opened[0]:
            arrived.set()
            await late.wait()
        return await sessions(asked)

    async with scripted(script) as node, ZStackClient(account(node.base)) as client:
        await client.call("GET", "/v1/vm-instances")
        slow = asyncio.create_task(client.call("GET", "/v1/hosts"))
        await arrived.wait()
        sessions.live.clear()
        assert (await client.call("GET", "/v1/vm-instances")).status == 200
        late.set()
        assert (await slow).status == 200
        assert len(sessions.opened) == 2


async def test_twenty_first_calls_log_in_once() -> None:
    """Nobody is logged in, twenty ask at once: one login."""
    sessions = Sessions()
    async with scripted(sessions) as node, ZStackClient(account(node.base)) as client:
        await asyncio.gather(*(client.call("GET", "/v1/vm-instances") for _ in range(20)))
        assert len(sessions.opened) == 1


async def test_every_session_that_was_opened_is_logged_out() -> None:
    """The one that expired and the one that replaced it: the node keeps 500 a user."""
    sessions = Sessions()
    async with scripted(sessions) as node:
        async with ZStackClient(account(node.base)) as client:
            for _ in range(3):
                await client.call("GET", "/v1/vm-instances")
                sessions.live.clear()
        assert len(sessions.opened) == 3
        assert sorted(sessions.closed) == sorted(sessions.opened)


async def test_sessions_are_logged_out_when_the_body_fails() -> None:
    """An exception inside `async with` leaves as it was, and the logout still happens."""

    async def fail(base: str) -> None:
        async with ZStackClient(account(base)) as client:
            await client.call("GET", "/v1/vm-instances")
            raise ZeroDivisionError

    sessions = Sessions()
    async with scripted(sessions) as node:
        with pytest.raises(ZeroDivisionError):
            await fail(node.base)
        assert sessions.closed == sessions.opened


async def test_sessions_are_logged_out_when_the_body_is_cancelled() -> None:
    """A cancelled task logs out too."""
    sessions = Sessions()
    ready = asyncio.Event()

    async def work(base: str) -> None:
        async with ZStackClient(account(base)) as client:
            await client.call("GET", "/v1/vm-instances")
            ready.set()
            await asyncio.Event().wait()

    async with scripted(sessions) as node:
        task = asyncio.create_task(work(node.base))
        await ready.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sessions.closed == sessions.opened != []


async def test_a_session_that_stays_refused_ends_in_one_sentence() -> None:
    """A node that takes no session of ours is asked twice, not for ever."""

    def script(asked: Asked) -> web.Response:
        if asked.path == "/v1/accounts/login":
            return says({"inventory": {"uuid": "a" * 32}})
        return says({}) if asked.method == "DELETE" else error("ID.1001")

    async with scripted(script) as node, ZStackClient(account(node.base)) as client:
        with pytest.raises(LoginError):
            await client.call("GET", "/v1/vm-instances")
        assert node.count("GET", "/v1/vm-instances") == 2


async def test_a_given_session_is_used_and_never_logged_out() -> None:
    """It is somebody else's: no login, no logout, and its end is told."""
    sessions = Sessions()
    sessions.live.add("5" * 32)
    async with scripted(sessions) as node:
        async with ZStackClient(session(node.base)) as client:
            assert (await client.call("GET", "/v1/vm-instances")).status == 200
            sessions.live.clear()
            with pytest.raises(LoginError, match="log in anew"):
                await client.call("GET", "/v1/vm-instances")
        assert {asked.headers["Authorization"] for asked in node.asked} == {f"OAuth {'5' * 32}"}
        assert (sessions.opened, sessions.closed) == ([], [])
        assert node.count("DELETE", "") == 0


async def test_a_job_that_lost_the_session_renews_it_for_the_next_put() -> None:
    """Async calls meet ID.1001 in the job: the next PUT goes out with a new session."""
    sessions = Sessions()

    async def script(asked: Asked) -> web.Response:
        if "actions" in asked.path:
            return says({"location": "x"}, 202)
        return error("ID.1001") if "api-jobs" in asked.path else await sessions(asked)

    async with scripted(script) as node, ZStackClient(account(node.base)) as client:
        assert await client.send(request(1)) == Accepted()
        assert await client.send(request(2)) == Accepted()
        for job in (1, 2):
            assert isinstance(await client.look(f"{job:032x}"), JobFailed)
        assert await client.send(request(3)) == Accepted()
        puts = [asked.session for asked in node.asked if "actions" in asked.path]
        assert puts == [sessions.opened[0], sessions.opened[0], sessions.opened[1]]
        assert len(sessions.opened) == 2


async def test_a_403_is_no_reason_to_log_in_again() -> None:
    """Only ID.1001 says that a session is gone: a forbidden PUT is refused, and opens no further session."""
    sessions = Sessions()

    async def script(asked: Asked) -> web.Response:
        if "actions" in asked.path:
            return web.Response(status=403, text="blocked by policy")
        return await sessions(asked)

    async with scripted(script) as node, ZStackClient(account(node.base)) as client:
        for number in range(3):
            result = await client.send(request(number))
            assert isinstance(result, Refused)
            assert result.status == 403
        assert len(sessions.opened) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (lambda: error("ID.1000"), LoginError, "ZSTACK_ACCOUNT_PASSWORD"),
        (lambda: error("ID.1006"), LoginError, "too many sessions"),
        (lambda: error("LOGIN_CONTROL.1002"), LoginError, "locked"),
        (lambda: error("LOGIN_CONTROL.1005"), LoginError, "LOGIN_CONTROL.1005"),
        (lambda: error("ID.2001"), LoginError, "ID.2001"),
        (lambda: error("SYS.1010"), NodeUnreachableError, "not ready"),
        (lambda: web.Response(status=404, text="no api mapping"), NodeUnreachableError, "context path"),
        (lambda: web.Response(text="<html>the web UI</html>"), NodeUnreachableError, "context path"),
        (lambda: says({"inventory": {}}), NodeUnreachableError, "not as a ZStack node"),
        (lambda: says({"inventory": {"uuid": "a\r\nb"}}), NodeUnreachableError, "not as a ZStack node"),
        (lambda: web.Response(status=503, text="starting"), NodeUnreachableError, "not as a ZStack node"),
    ],
)
async def test_a_refused_login_says_why_and_what_to_do(answer: Any, kind: type[Exception], words: str) -> None:
    """Each refusal has its sentence and its remedy; what is no ZStack node is told apart from a wrong password."""
    async with scripted(lambda _: answer()) as node, ZStackClient(account(node.base)) as client:
        with pytest.raises(kind, match=words) as caught:
            await client.call("GET", "/v1/vm-instances")
        assert PASSWORD not in str(caught.value)
        assert hashlib.sha512(PASSWORD.encode()).hexdigest() not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("who", [session, account, access_key], ids=["session", "account", "access key"])
async def test_redirects_are_not_followed(status: int, who: Any) -> None:
    """Another origin named in a redirect is never asked, so it never sees a credential."""
    async with scripted(lambda _: says({})) as elsewhere:

        def script(_: Asked) -> web.Response:
            return web.Response(status=status, headers={"Location": elsewhere.base + "/v1/vm-instances"})

        async with scripted(script) as node, ZStackClient(who(node.base)) as client:
            with pytest.raises((ExchangeError, LoginError, NodeUnreachableError)):
                await client.call("GET", "/v1/vm-instances")
            assert node.asked
        assert elsewhere.asked == []


async def test_a_jobs_location_is_never_asked() -> None:
    """The location of a 202 names another machine behind NAT: the job is asked at the configured base, without login."""
    async with scripted(lambda _: says({})) as elsewhere:

        def script(asked: Asked) -> web.Response:
            job = f"{elsewhere.base}/v1/api-jobs/{0:032x}"
            return says({"location": job, "apiTimeout": 1800000}, 202) if asked.method == "PUT" else says({}, 202)

        async with scripted(script) as node, ZStackClient(session(node.base)) as client:
            assert await client.send(request()) == Accepted()
            await client.look(f"{0:032x}")
            assert node.asked[-1].path == f"/v1/api-jobs/{0:032x}"
            assert "Authorization" not in node.asked[-1].headers
        assert elsewhere.asked == []


async def test_cookies_of_one_node_go_to_no_other() -> None:
    """The cookie spares the node a session a call; it belongs to its own origin."""

    def script(_: Asked) -> web.Response:
        answer = says(ROWS)
        answer.set_cookie("JSESSIONID", "abc", path="/zstack")
        return answer

    async with scripted(script) as one, scripted(script) as two:
        async with Http(one.base) as http:
            await http.exchange("GET", "/v1/x")
            await http.exchange("GET", "/v1/x")
        async with Http(two.base) as http:
            await http.exchange("GET", "/v1/x")
        assert ["Cookie" in asked.headers for asked in one.asked] == [False, True]
        assert ["Cookie" in asked.headers for asked in two.asked] == [False]


async def test_a_proxy_named_in_the_environment_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials go to the configured base only, whatever http_proxy says."""
    async with scripted(lambda _: says({})) as proxy, scripted(lambda _: says(ROWS)) as node:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.base)
        async with ZStackClient(session(node.base)) as client:
            assert node_error(await client.call("GET", "/v1/vm-instances")).code == "http.200"
        assert (len(node.asked), proxy.asked) == (1, [])
