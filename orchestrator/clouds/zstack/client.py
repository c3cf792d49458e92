"""The client a Python user holds: one login, one set of sockets, one stop in a line (`interface.md` 8)."""

import asyncio
import math
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from types import TracebackType
from typing import Any, Literal
from uuid import uuid4

import anyio

from orchestrator.clouds.zstack import jobs, query
from orchestrator.clouds.zstack.auth import (
    AccessKey,
    AccountLogin,
    Auth,
    GivenSession,
    clock_ahead,
    unreachable,
    zone_from,
)
from orchestrator.clouds.zstack.errors import node_error, session_gone
from orchestrator.clouds.zstack.http import TOO_MANY, Answer, ExchangeError, Http, patiently
from orchestrator.clouds.zstack.wire import VmInventory
from orchestrator.errors import LoginError, NodeUnreachableError, UsageError, ZStackError
from orchestrator.model.fault import NodeError, own_error
from orchestrator.model.target import (
    HELD_BACK,
    UNSENT,
    Accepted,
    HostRequest,
    JobAnswer,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    JobUnreadable,
    Lost,
    Refused,
    Request,
    Seen,
    SendResult,
    StopRequest,
)
from orchestrator.settings import ConnectionSettings

KEEPALIVE = timedelta(minutes=30)
"""A session lives 7200 s from its last authenticated call; job polls do not count (zstack-rest.md 8)."""
_SAYS_200, _MOST_ODD = "http.200", 10
"""A job that says 200 without an inventory as often as this in a row (a dry run does) will not say more."""
_FIRST_LOOK, _LONGEST_LOOK = 0.5, 3.0


class ZStackClient:
    """One management node. `async with ZStackClient(settings) as client:` logs in when first needed, and logs out.

    Raises UsageError at once for settings that cannot work.
    """

    def __init__(self, settings: ConnectionSettings, *, requests_per_second: float | None = None) -> None:
        self.endpoint = settings.base_url()
        self.credential = settings.credential_kind()
        self.http = Http(self.endpoint, tls=_tls(settings), requests_per_second=requests_per_second)
        self.auth = _auth(settings)
        self.zone: tzinfo | None = None
        self.ahead = 0.0
        self.send_false = False
        self._job_headers: dict[str, dict[str, str]] = {}
        self._last_call = 0.0
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "ZStackClient":
        await self.http.__aenter__()
        # A plain task, not a task group: a client may be entered in one scope and left in another's cleanup.
        self._keeper = asyncio.create_task(self._keep_alive(), name="session-keep-alive")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            if self._keeper is not None:
                self._keeper.cancel()
                await asyncio.wait([self._keeper])
            with anyio.move_on_after(10):
                await self.auth.close(self.http)
            await self.http.__aexit__()

    async def call(
        self, method: str, path: str, *, params: str = "", body: object = None, patience_seconds: float = 90.0
    ) -> Answer:
        """An authenticated read or synchronous call; a lost session is renewed once, for all callers together.

        Raises ExchangeError, LoginError, NodeUnreachableError.
        """
        for last in (False, True):
            headers = await self.auth.headers(self.http, method, path)
            self._last_call = anyio.current_time()
            answer = await self.http.exchange(
                method, path, query=params, body=body, headers=headers, patience_seconds=patience_seconds
            )
            if not _login_matters(answer):
                return answer
            again = await self.auth.refused(self.http, headers, answer)
            if last or not again:
                words = " ".join(node_error(answer).sentence().split())[:200]
                raise LoginError(f"the node no longer takes the login ({words}): log in anew")
        raise AssertionError

    async def send(self, request: Request | HostRequest, leaving: Callable[[], bool] | None = None) -> SendResult:
        """The PUT of one action. Raises LoginError and NodeUnreachableError before anything of it has left."""
        path = jobs.path_of(request)
        headers = await self.auth.headers(self.http, "PUT", path)
        self._last_call = anyio.current_time()
        try:
            answer = await self.http.exchange(
                "PUT",
                path,
                body=jobs.body_of(request, send_false=self.send_false),
                headers={
                    **headers,
                    "X-Job-UUID": request.job_uuid,
                    "X-API-Timeout": str(request.api_timeout_seconds),
                },
                patience_seconds=60,
                leaving=leaving,
            )
        except ExchangeError as error:
            if error.sent:
                self._job_headers[request.job_uuid] = headers
            code = "http.lost" if error.sent else HELD_BACK if error.held_back else UNSENT
            return Lost(own_error(code, error.detail))
        if _login_matters(answer):
            renewed = await self.auth.refused(self.http, headers, answer)
            if renewed and answer.status == 403:
                return Lost(own_error(UNSENT, "the signature's clock was off; it has been learned anew"))
        result = jobs.read_send(answer)
        if isinstance(result, (Accepted, Lost)):
            self._job_headers[request.job_uuid] = headers
        return result

    async def look(self, job_uuid: str) -> JobAnswer:
        """A job's answer now; the path needs no login. Raises ExchangeError."""
        answer = await self.http.exchange("GET", f"/v1/api-jobs/{job_uuid}", patience_seconds=60)
        result = jobs.read_job(answer, self.see)
        if not isinstance(result, (JobRunning, JobUnreadable)):
            headers = self._job_headers.pop(job_uuid, None)
            if isinstance(result, JobFailed) and session_gone(result.error) and headers is not None:
                await self.auth.refused(self.http, headers, None)
        return result

    def see(self, data: dict[str, Any]) -> Seen | None:
        """A VM's dict as a row and an inventory, read now."""
        return query.seen_vm(data, self.zone, anyio.current_time())

    async def version(self) -> str | None:
        """The node's version; None where it does not tell. Raises NodeUnreachableError."""
        try:
            answer = await patiently(
                lambda: self.http.exchange(
                    "PUT", "/v1/management-nodes/actions", body={"getVersion": {}}, patience_seconds=30
                )
            )
        except ExchangeError as error:
            raise unreachable(self.endpoint, error) from None
        data = answer.json()
        if isinstance(data, dict) and isinstance(data.get("version"), str):
            return str(data["version"])
        if isinstance(data, dict):
            return None
        raise NodeUnreachableError(
            f"{self.endpoint} answers {answer.status} but not as a ZStack node does: "
            "check the port (8080) and the context path (/zstack)"
        )

    async def learn_clock(self) -> None:
        """Learn the node's clock and zone, which give its timestamps their meaning. Raises as `call`."""
        self.ahead = (await clock_ahead(self.http, lambda: datetime.now(UTC))).total_seconds()
        answer = await patiently(lambda: self.call("GET", "/v1/management-nodes/platform-timezone"))
        self.zone = zone_from(answer.json())

    async def stop_vm(
        self,
        uuid: str,
        *,
        type: Literal["grace", "cold"] = "grace",  # noqa: A002 - the contract's name
        stop_ha: bool = True,
        system_tags: Sequence[str] = (),
        user_tags: Sequence[str] = (),
        timeout: timedelta = timedelta(minutes=4),
    ) -> VmInventory:
        """Stop one VM and return its inventory; a VM already Stopped is success.

        `timeout` is the node's for the job; ten seconds more are waited for its answer. Raises ZStackError with the
        node's chain; with code `orchestrator.timeout` or `orchestrator.lost` the stop may still take effect: read the
        VM's state. Raises UsageError for a UUID that is none, LoginError and NodeUnreachableError.
        """
        plain = uuid.replace("-", "").lower()
        if not query.is_uuid(plain):
            raise UsageError(f"{uuid!r} is not a VM UUID: give 32 hex characters")
        seconds = max(1, math.ceil(timeout.total_seconds()))
        request = StopRequest(plain, type, uuid4().hex, seconds, stop_ha, tuple(system_tags), tuple(user_tags))
        deadline = anyio.current_time() + seconds + 10
        for again in (True, False):
            error = await self._submit(request, deadline)
            answer = None if error else await self._await_job(request.job_uuid, deadline)
            match answer:
                case JobSucceeded(seen=Seen(inventory=inventory)):
                    try:
                        return VmInventory.model_validate(inventory)
                    except (ValueError, RecursionError) as odd:
                        error = own_error("orchestrator.unreadable", f"the job succeeded; its inventory is odd: {odd}")
                case JobSucceeded(text=text):
                    error = own_error("orchestrator.unreadable", text or "the job succeeded without an inventory")
                case JobFailed(error=failure):
                    error = failure
                case JobUnreadable(error=odd_answer):
                    error = own_error("orchestrator.unreadable", odd_answer.details or "an answer without an inventory")
                case _:
                    pass
            if error is not None and again and session_gone(error) and self.credential == "account":
                request = StopRequest(plain, type, uuid4().hex, seconds, stop_ha, tuple(system_tags), tuple(user_tags))
                continue
            break
        if error is None:
            error = own_error("orchestrator.timeout", "the job did not end in time; it may still stop the VM")
        raise ZStackError(f"stopping {plain} failed: {error.sentence()}", error)

    async def _submit(self, request: StopRequest, deadline: float) -> NodeError | None:
        """Send until it is accepted or refused; doubt is settled by the job's GET before the same id goes out again."""
        delay, doubt = _FIRST_LOOK, False
        while True:
            if not doubt:
                match await self.send(request):
                    case Accepted():
                        return None
                    case Refused(error=error, status=status) if status != TOO_MANY:
                        return error
                    case Refused(error=error):
                        pass
                    case Lost(error=error):
                        doubt = error.code != UNSENT
            if anyio.current_time() + delay > deadline:
                return own_error("orchestrator.lost", error.sentence()) if doubt else error
            await anyio.sleep(delay)
            delay = min(delay * 2, _LONGEST_LOOK)
            if doubt:
                try:
                    answer = await self.look(request.job_uuid)
                except ExchangeError:
                    continue
                if isinstance(answer, (JobRunning, JobSucceeded, JobFailed)):
                    return None
                doubt = not isinstance(answer, JobMissing)

    async def _await_job(self, job_uuid: str, deadline: float) -> JobAnswer | None:
        delay, odd = _FIRST_LOOK, 0
        while anyio.current_time() < deadline:
            await anyio.sleep(min(delay, max(0.0, deadline - anyio.current_time())))
            delay = min(delay * 1.3, _LONGEST_LOOK)
            try:
                answer = await self.look(job_uuid)
            except ExchangeError:
                continue
            if isinstance(answer, (JobSucceeded, JobFailed)):
                return answer
            odd = odd + 1 if isinstance(answer, JobUnreadable) and answer.error.code == _SAYS_200 else 0
            if odd == _MOST_ODD:
                return answer
        return None

    async def _keep_alive(self) -> None:
        every = KEEPALIVE.total_seconds()
        while True:
            await anyio.sleep(every)
            if self._last_call and anyio.current_time() - self._last_call >= every - 1:
                try:
                    await self.call("GET", "/v1/management-nodes/platform-timezone", patience_seconds=30)
                except (ExchangeError, LoginError, NodeUnreachableError):
                    continue  # the next real call will say it better


def _login_matters(answer: Answer) -> bool:
    if answer.status == 503:
        return session_gone(node_error(answer))
    return answer.status == 403


def _auth(settings: ConnectionSettings) -> Auth:
    match settings.credential_kind():
        case "session":
            assert settings.session_id is not None
            return GivenSession(settings.session_id.get_secret_value())
        case "access key":
            assert settings.access_key_id is not None
            assert settings.access_key_secret is not None
            return AccessKey(settings.access_key_id, settings.access_key_secret.get_secret_value())
        case _:
            assert settings.account_name is not None
            assert settings.account_password is not None
            return AccountLogin(settings.account_name, settings.account_password.get_secret_value())


def _tls(settings: ConnectionSettings) -> ssl.SSLContext | None:
    encrypted = settings.base_url().startswith("https:")
    if not encrypted and settings.ca_file is None:
        return None
    try:
        context = ssl.create_default_context()
        if settings.ca_file is not None:
            context.load_verify_locations(settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the CA file {settings.ca_file!r} cannot be used ({error}): give a file of PEM certificates"
        ) from None
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context if encrypted else None
