"""Passwords, sessions and keys pass through every command and every fault, and nothing that stays behind holds them."""

import hashlib
import json
import os
import ssl
import stat
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from orchestrator.cli.main import execute
from orchestrator.clouds.zstack import http
from orchestrator.clouds.zstack.auth import AccessKey
from orchestrator.clouds.zstack.http import Http
from orchestrator.engine import resolve
from orchestrator.simulator import Fault, Guest, VmGroup
from orchestrator.simulator.faults import WIRE
from tests.cli.support import Cli, Node, quick, wait_until
from tests.faults.canaries import KINDS, Gateway, Passing, Watched, credential, scenario, traces

FORMATS = ("json", "html", "markdown", "csv", "junit", "text")
SLOW = (VmGroup(name="app-{n}", count=2, guest=Guest(behaviour="ignores_acpi")),)
"""Guests whose stop takes 1.2 s: time to look at a run while it is on."""
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line in a folder that is HOME as well."""
    return Cli(tmp_path)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries of a call, without a second between them."""
    monkeypatch.setattr(http, "PAUSES", (0.01,))
    monkeypatch.setattr(resolve, "_PAUSES", ())


def give_up_after(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that never ends is given up after this long, not after a minute."""
    real = Http.exchange

    async def exchange(self: Http, method: str, path: str, *, patience_seconds: float = 90.0, **more: Any) -> http.Answer:
        return await real(self, method, path, patience_seconds=min(patience_seconds, seconds), **more)

    monkeypatch.setattr(Http, "exchange", exchange)


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do this while a command runs in the main thread; what goes wrong there fails the test."""
    wrong: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if wrong:
        raise wrong[0]


# ── every command ──────────────────────────────────────────────────────────────────────────────────────────────────
@every_kind
def test_every_command(cli: Cli, kind: str) -> None:
    """Each command of the contract in turn: no stream and no file holds a piece of the credential."""
    with Node(scenario()) as node, Gateway(node) as gateway:
        watched = Watched(cli, kind, node, gateway.endpoint)
        plan = cli.plan(report={"formats": ["json", "html", "markdown", "csv", "junit"]})
        for command in ("doctor", "validate plan.yaml", "schema plan", "schema report"):
            assert watched.inside(*command.split()).code == 0
        assert watched.inside("preview", plan, "--out", "preview.json").code == 0
        assert watched.inside("run", plan, "--yes", "--preview", "preview.json").code == 0
        watched.more = gateway.secrets
        vm = cli.report()["vms"][0]["uuid"]
        for command in ("runs", "show last", f"show last {vm}"):
            assert watched.inside(*command.split()).code == 0
        for form in FORMATS:
            assert watched.inside("report", "last", "--format", form).code == 0
            assert watched.inside("report", "last", "--format", form, "-o", f"again.{form}").code == 0
        for command in ("resume last --yes", "retry last --yes", "restore last --yes", "steer last pause"):
            watched.inside(*command.split())
        watched.more = gateway.secrets
        assert len(gateway.heard) >= (10 if kind == "access key" else 1), "the gateway heard the credential itself"
        assert watched.files() == []


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("account", "run plan.yaml --yes --log-format json"),
        ("access key", "run plan.yaml --yes --log-format console"),
        ("session", "doctor"),
    ],
)
def test_with_everything_that_talks_switched_on(cli: Cli, kind: str, command: str) -> None:
    """Python's dev mode, asyncio's and aiohttp's debug logs, ORCHESTRATOR_DEBUG: no secret, and no child to inherit one."""
    (cli.folder / "site").mkdir()
    (cli.folder / "site" / "sitecustomize.py").write_text(_TALKATIVE)
    with Node(scenario()) as node, Gateway(node) as gateway:
        watched = Watched(cli, kind, node, gateway.endpoint)
        cli.env |= {
            "PYTHONPATH": f"{cli.folder / 'site'}{os.pathsep}{cli.env['PYTHONPATH']}",
            "PYTHONDEVMODE": "1",
            "PYTHONASYNCIODEBUG": "1",
            "ORCHESTRATOR_DEBUG": "1",
        }
        cli.plan()
        done = cli(*command.split())
        watched.more = gateway.secrets
        assert done.code == 0, done
        assert "DEBUG:asyncio:" in done.err
        assert "WARNING:asyncio:Executing" in done.err, "every step of the loop is told"
        assert "CHILD" not in done.err
        assert traces(done.said, watched.secrets) == []
        assert watched.files() == []


_TALKATIVE = """
import asyncio.base_events, logging, sys
logging.basicConfig(level=logging.DEBUG)
sys.addaudithook(lambda event, args: event in {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec",
                                               "os.system", "os.spawn"} and print("CHILD", event, file=sys.stderr))
begin = asyncio.base_events.BaseEventLoop.__init__
def at_once(self):
    begin(self)
    self.slow_callback_duration = 0
asyncio.base_events.BaseEventLoop.__init__ = at_once
"""


@every_kind
@pytest.mark.parametrize("debug", ["", "1"])
def test_a_defect_of_the_program(
    kind: str, debug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error nobody foresaw, deep inside a request: neither its sentence nor a developer's traceback holds a secret."""

    async def fail(response: object) -> bytes:
        raise ArithmeticError("nobody foresaw this")

    with Node(scenario()) as node:
        watched = Watched(Cli(tmp_path), kind, node)
        for name, value in {**watched.env, "ORCHESTRATOR_DEBUG": debug}.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(http, "_whole_body", fail)
        said = ""
        if debug:
            with pytest.raises(ArithmeticError) as caught:
                execute(["doctor"])
            said = "".join(traceback.format_exception(caught.value))
            assert "Traceback" in said
        else:
            assert execute(["doctor"]) == 70
        streams = capsys.readouterr()
        assert "nobody foresaw this" in streams.err + said
        assert traces(streams.out + streams.err + said, watched.secrets) == []


@pytest.mark.parametrize(
    "env",
    [
        {"ZSTACK_ACCOUNT_PASSWORD": "canary-\udcff-Heimlich"},
        {**credential("access key"), "ZSTACK_ACCESS_KEY_SECRET": "canary-\udcff-Geheim"},
    ],
    ids=["password", "access key secret"],
)
def test_a_secret_that_is_no_text(cli: Cli, env: dict[str, str | None]) -> None:
    """Bytes that are no UTF-8 in a secret, as from a terminal with another encoding: refused in words that name it."""
    with Node(scenario()) as node:
        watched = Watched(cli, "account", node)
        done = watched.inside("doctor", **env)
        assert done.code in {2, 3}
        assert "ZSTACK_" in done.err


# ── faults ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("fault", sorted(WIRE))
def test_faults_of_the_login(cli: Cli, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault of the wire on each login: whatever the words are, no password, digest or session is among them."""
    late = fault in {"slow", "overloaded"}
    strike = Fault(kind=fault, on="login", seconds=5.0 if fault == "overloaded" else 0.05, handled=fault in {"html", "text"})
    if fault == "trickle":
        give_up_after(0.3, monkeypatch)
    with Node(scenario(faults=[strike])) as node:
        watched = Watched(cli, "account", node)
        for args in (("doctor",), ("run", cli.plan(), "--yes", "--log-format", "json")):
            assert watched.inside(*args).code == (0 if late else 3)
        assert node.ask(lambda: sum(request.fault == fault for request in node.sim.record.requests)) >= 2
        assert watched.files() == []


@every_kind
def test_faults_in_mid_run(cli: Cli, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault of the wire on a stop, on its polls and on queries, and sessions that expire: nothing holds a secret."""
    give_up_after(1.0, monkeypatch)
    signed = _signatures(monkeypatch)
    kinds = sorted(WIRE - {"trickle"})
    faults = [
        Fault(kind=fault, on=on, vms=(f"app-{fault}",), first=1, seconds=0.05) for fault in kinds for on in ("put", "poll")
    ]
    guests = [VmGroup(name=f"app-{fault}", guest=quick()) for fault in kinds]
    in_query = [Fault(kind=fault, on="query", skip=n, first=1, seconds=0.05) for n, fault in enumerate(sorted(WIRE))]
    with Node(scenario(*guests, *SLOW, faults=faults)) as node:
        watched = Watched(cli, kind, node)

        def trouble() -> None:
            wait_until(lambda: node.stops, "the first stop is at the node")
            if kind != "session":
                node.ask(node.sim.expire_sessions)
            for fault in in_query:
                node.ask(partial(node.sim.faults.add, fault))
            assert traces(b"".join(path.read_bytes() for path in cli.folder.glob("journal*")), watched.secrets) == []

        with beside(trouble):
            done = watched.inside("run", cli.plan(limits={"requests_per_second": 500, "node_outage": "20s"}), "--yes")
        assert done.code in {0, 1}
        struck = {fault.kind: node.ask(partial(node.sim.faults.struck, fault)) for fault in in_query}
        assert set(struck.values()) == {1}, struck
        assert len(node.sessions) >= {"account": 2, "session": 1, "access key": 0}[kind]
        watched.more = signed
        assert traces(done.said, watched.secrets) == []
        assert watched.files() == []


def test_a_given_session_that_expires(cli: Cli) -> None:
    """Nobody can renew it: the run ends early, and not even the refusals of its id hold it."""
    with Node(scenario(*SLOW)) as node:
        watched = Watched(cli, "session", node)

        def expire() -> None:
            wait_until(lambda: node.stops, "the first stop is at the node")
            node.ask(node.sim.expire_sessions)

        with beside(expire):
            plan = cli.plan(limits={"requests_per_second": 500, "concurrency": 1, "node_outage": "1s"})
            done = watched.inside("run", plan, "--yes", "--log-format", "console")
        assert done.code == 4
        assert "ID.1001" in done.err
        assert watched.files() == []


def _signatures(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every signature from now on."""
    made: dict[str, str] = {}
    real = AccessKey.sign

    def sign(self: AccessKey, method: str, path: str, date: str) -> str:
        return made.setdefault(f"signature {method} {path} {date}", real(self, method, path, date))

    monkeypatch.setattr(AccessKey, "sign", sign)
    return made


_WRONG = "canary-Verschrieben-0a1b2c"
_REFUSALS: dict[str, tuple[dict[str, str | None], dict[str, Any]]] = {
    "wrong password": ({"ZSTACK_ACCOUNT_PASSWORD": _WRONG}, {}),
    "locked account": ({"ZSTACK_ACCOUNT_NAME": "locked"}, {}),
    "too many sessions": ({}, {"max_sessions": 1}),
    "may not stop": ({"ZSTACK_ACCOUNT_NAME": "viewer"}, {}),
    "unknown session": (credential("session", "ca9a4" * 6 + "77"), {}),
    "no session id": (credential("session", f"{_WRONG} "), {}),
    "unknown key": ({**credential("access key"), "ZSTACK_ACCESS_KEY_ID": "key-2"}, {}),
    "key that is off": ({**credential("access key"), "ZSTACK_ACCESS_KEY_ID": "key-off"}, {}),
    "wrong secret": ({**credential("access key"), "ZSTACK_ACCESS_KEY_SECRET": _WRONG}, {}),
    "clock that is off": (credential("access key"), {"clock_skew": 1234.0, "check_time_zone": True}),
    "no access keys": (credential("access key"), {"access_keys": False}),
}


@pytest.mark.parametrize("case", _REFUSALS)
def test_credentials_that_are_refused(cli: Cli, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong, locked, unknown, badly signed or from another hour: refused with 3, without showing it."""
    env, settings = _REFUSALS[case]
    signed = _signatures(monkeypatch)
    if case == "clock that is off":
        monkeypatch.setattr("orchestrator.clouds.zstack.auth.clock_ahead", _no_clock)
    with Node(scenario(**settings)) as node:
        watched = Watched(cli, "session" if case == "too many sessions" else "account", node)
        cli.env = cli.merged({**credential("account"), **env})
        watched.more = {"given password": _WRONG, "its digest": _sha512(_WRONG), "given session": "ca9a4" * 6 + "77"}
        for args in (("doctor",), ("run", cli.plan(), "--yes", "--log-format", "json")):
            done = watched.inside(*args)
            assert done.code == 3, done
            assert traces(done.said, signed) == []
        watched.more |= signed
        assert watched.files() == []


async def _no_clock(*_: object) -> Any:
    return timedelta(0)


def _sha512(text: str) -> str:
    return hashlib.sha512(text.encode()).hexdigest()


@every_kind
def test_a_certificate_nobody_vouches_for(cli: Cli, kind: str) -> None:
    """TLS that cannot be trusted: 3, and the node has heard nothing, let alone a credential."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Node(scenario()) as plain, Node(scenario(), ssl_context=context) as node:
        watched = Watched(cli, kind, plain, node.endpoint)
        for args in (("doctor",), ("run", cli.plan(), "--yes")):
            assert watched.inside(*args).code == 3
        assert node.asked == 0
        assert watched.files() == []


@every_kind
@pytest.mark.parametrize("status", [302, 307])
def test_redirects_to_elsewhere(cli: Cli, kind: str, status: int) -> None:
    """An answer that points to another server: nobody goes there, with a credential or without."""

    def send_away(gateway: Gateway, passing: Passing) -> None:
        login = passing.path == "/v1/accounts/login"
        if login or (kind != "account" and passing.authorization):
            passing.status, passing.answer = status, b""
            passing.headers["Location"] = f"{elsewhere.endpoint}{passing.path}"

    with Node(scenario()) as node, Node(scenario()) as elsewhere, Gateway(node, send_away) as gateway:
        watched = Watched(cli, kind, node, gateway.endpoint)
        watched.inside("doctor")
        assert watched.inside("run", cli.plan(), "--yes").code == 3
        watched.more = gateway.secrets
        assert gateway.heard
        assert elsewhere.asked == 0
        assert watched.files() == []


# ── a node that repeats what it was told ───────────────────────────────────────────────────────────────────────────
def _told(gateway: Gateway, passing: Passing) -> str:
    """All that the node knows of the credentials, what came last first."""
    return " ".join(filter(None, [passing.authorization, passing.body.decode(), *gateway.heard]))


def _everywhere(gateway: Gateway, passing: Passing) -> None:
    """In the names of VMs and hosts, in what a job says, and in the refusal of one VM's stops."""
    told, job = _told(gateway, passing), passing.path.startswith("/v1/api-jobs")
    if job and passing.status == 503:
        passing.error(told, "VM.1002", "HOST.1006")
    elif passing.method == "GET" and passing.status == 200 and (job or passing.path.startswith(("/v1/vm-", "/v1/hosts"))):
        data = json.loads(passing.answer)
        for row in data.get("inventories") or filter(None, [data.get("inventory")]):
            row["description" if job else "name"] = told
        passing.answer = json.dumps(data).encode()
    elif passing.action == "stopVmInstance" and gateway.refused in passing.path:
        passing.status, passing.answer = 500, f"java.lang.Exception: {told}".encode()


@every_kind
def test_an_echo_in_a_run(cli: Cli, kind: str) -> None:
    """Credentials in the names of VMs and hosts, in a job's result or error, in a refusal: no stream or file keeps them."""
    vms = [VmGroup(name=f"app-{n}", guest=quick()) for n in (1, 2)]
    vms.append(VmGroup(name="app-3", guest=Guest(behaviour="fails", fails_after=1)))
    with Node(scenario(*vms)) as node, Gateway(node, _everywhere) as gateway:
        gateway.refused = node.sim.vm("app-1").uuid
        watched = Watched(cli, kind, node, gateway.endpoint)
        plan = cli.plan(
            stop={"grace_timeout": "4s", "cold_timeout": "4s", "power_cut_after": "1200ms", "fallback": "none"},
            verify={"after": "0s"},
            report={"formats": ["json", "html", "markdown", "csv", "junit"]},
        )
        done = cli.inside("run", plan, "--yes", "--log-format", "json")
        assert done.code == 1
        uuid = node.sim.vm("app-3").uuid
        shown = [cli.inside("show", "last", uuid), cli.inside("report", "last", "--format", "text")]
        watched.more = gateway.secrets
        told = traces(done.said + "".join(one.said for one in shown), watched.secrets)
        assert (told, watched.files()) == ([], [])


def _login(gateway: Gateway, passing: Passing) -> None:
    if passing.path == "/v1/accounts/login":
        passing.error(f"denied: {passing.body.decode()}", "ID.1099")


def _signed_text(gateway: Gateway, passing: Passing) -> None:
    if passing.authorization and passing.path == "/v1/management-nodes/platform-timezone":
        passing.status, passing.answer = 403, f"no access for {passing.authorization}".encode()


def _session_gone(gateway: Gateway, passing: Passing) -> None:
    if passing.method == "GET" and passing.authorization:
        passing.error(f"Session[{passing.authorization}] expired", "ID.1001")


def _permission(gateway: Gateway, passing: Passing) -> None:
    if passing.action == "stopVmInstance":
        passing.error(f"not for {passing.authorization}", "ID.1002")


def _query(gateway: Gateway, passing: Passing) -> None:
    if passing.path.startswith("/v1/vm-instances?"):
        passing.error(f"no such field, {passing.authorization}", "SYS.1007")


def _page(gateway: Gateway, passing: Passing) -> None:
    if passing.path.startswith("/v1/vm-instances?"):
        passing.status, passing.answer = 502, f"<html>{passing.authorization}</html>".encode()


def _broken_header(gateway: Gateway, passing: Passing) -> None:
    if passing.authorization:
        passing.broken = f"X-Request: {passing.authorization}\0\r\n".encode()


_BEFORE = (
    ("account", "doctor", _login),
    ("account", "preview", _session_gone),
    ("session", "preview", _session_gone),
    ("access key", "preview", _session_gone),
    ("account", "doctor", _signed_text),
    ("access key", "doctor", _signed_text),
    ("account", "doctor", _permission),
    ("access key", "doctor", _permission),
    ("account", "preview", _query),
    ("access key", "preview", _query),
    ("account", "preview", _page),
    ("access key", "preview", _page),
    ("account", "doctor", _broken_header),
    ("access key", "doctor", _broken_header),
)


@pytest.mark.parametrize(("kind", "command", "alter"), _BEFORE)
def test_an_echo_before_a_run(cli: Cli, kind: str, command: str, alter: Callable[[Gateway, Passing], None]) -> None:
    """Credentials in the words of a login, a permission, a query or a proxy that says no: the refusal leaves them out."""
    with Node(scenario()) as node, Gateway(node, alter) as gateway:
        watched = Watched(cli, kind, node, gateway.endpoint)
        done = cli.inside(command, *([cli.plan()] if command == "preview" else []))
        watched.more = gateway.secrets
        assert done.code in {2, 3}
        assert traces(done.said, watched.secrets) == []


# ── killed ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("kind", ["account", "access key"])
def test_killed(cli: Cli, kind: str) -> None:
    """While it runs, once it is killed with -9, and when it is carried on: processes, journal and its log hold no secret."""
    with Node(scenario(*SLOW)) as node, Gateway(node) as gateway:
        watched = Watched(cli, kind, node, gateway.endpoint)
        running = cli.start("run", cli.plan(), "--yes")
        try:
            wait_until(lambda: node.stops == 2, "both stops are at the node")
            process = Path(f"/proc/{running.process.pid}")
            if process.exists():
                listed = b"".join(path.read_bytes() for path in [process / "cmdline", *process.glob("task/*/comm")])
                assert b"run" in listed
                assert traces(listed, watched.secrets) == []
                assert "".join(path.read_text() for path in process.glob("task/*/children")) == "", "it has children"
            watched.more = gateway.secrets
            assert (cli.folder / "journal.sqlite-wal").stat().st_size
            assert watched.files() == []
        finally:
            running.process.kill()
            running.process.wait()
        assert watched.files() == []
        for command in ("runs", "show last", "report last --format json -o half.json"):
            assert watched.inside(*command.split()).code == 0
        for command in ("resume last --yes", "retry last --yes"):
            watched.inside(*command.split())
        watched.more = gateway.secrets
        assert watched.files() == []


# ── who may read it ────────────────────────────────────────────────────────────────────────────────────────────────
STATE = ".local/state/zstack-orchestrator"
_LEFT = {
    "state folder": STATE,
    "journal": f"{STATE}/journal.sqlite",
    "journal's log": f"{STATE}/journal.sqlite-wal",
    "journal's index": f"{STATE}/journal.sqlite-shm",
    "folder of the run": "kept/reports/2*",
    "report.json": "kept/reports/2*/report.json",
    "report.html": "kept/reports/2*/report.html",
    "report.csv": "kept/reports/2*/report.csv",
    "report -o": "again.csv",
    "preview --out": "preview.json",
    "folder of all reports": "kept/reports",
    "folder above it": "kept",
    "folder above the state folder": ".local/state",
}


@pytest.fixture(scope="module", params=[0o022, 0o000], ids=["umask 022", "umask 000"])
def left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The modes of what a preview, a run and a report leave behind, some seen while the run was on."""
    cli = Cli(tmp_path_factory.mktemp("left"))
    found: dict[str, int] = {}

    def look() -> None:
        for what, pattern in _LEFT.items():
            found.update((what, stat.S_IMODE(path.stat().st_mode)) for path in cli.folder.glob(pattern))

    def look_while_it_runs() -> None:
        wait_until(lambda: node.stops, "the first stop is at the node")
        look()

    before = os.umask(request.param)
    try:
        with Node(scenario(*SLOW)) as node:
            Watched(cli, "account", node)
            del cli.env["ORCHESTRATOR_JOURNAL"]
            plan = cli.plan(report={"formats": ["html", "csv"], "directory": "kept/reports"})
            cli.inside("preview", plan, "--out", "preview.json")
            with beside(look_while_it_runs):
                assert cli.inside("run", plan, "--yes").code == 0
            cli.inside("report", "last", "--format", "csv", "-o", "again.csv")
            look()
    finally:
        os.umask(before)
    return found


@pytest.mark.parametrize(
    "what",
    _LEFT,
)
def test_only_the_owner_may_read(left: dict[str, int], what: str) -> None:
    """Files are 0600 and folders that we make 0700, whatever the umask, while a run is on and afterwards."""
    assert what in left
    assert left[what] in {0o600, 0o700}, f"{what}: {left[what]:o}"


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The modes of files that were there before, open to everybody, and were written to."""
    cli = Cli(tmp_path_factory.mktemp("remade"))
    with Node(scenario()) as node:
        Watched(cli, "account", node)
        for name in ("journal.sqlite", "preview.json", "again.csv"):
            (cli.folder / name).touch()
            (cli.folder / name).chmod(0o666)
        cli.plan()
        for command in (
            "preview plan.yaml --out preview.json",
            "run plan.yaml --yes",
            "report last --format csv -o again.csv",
        ):
            assert cli.inside(*command.split()).code == 0
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in cli.folder.iterdir()}


@pytest.mark.parametrize(
    "what",
    [
        "journal.sqlite",
        "preview.json",
        "again.csv",
    ],
)
def test_a_file_that_was_there_before(remade: dict[str, int], what: str) -> None:
    """A file with another mode is made its owner's own."""
    assert f"{remade[what]:o}" == "600"
