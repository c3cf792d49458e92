"""Credentials whose every trace can be found again, and a gateway before the node that hears, repeats and alters."""

import hashlib
import http.client
import http.server
import json
import re
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from orchestrator.simulator import AccessKey, Account, ClusterSpec, Fault, NodeSettings, Scenario, VmGroup
from tests.cli.support import Cli, Done, Node, quick

PASSWORD = "canary-Heimlich-4f0c2b7e91"
SECRET = "canary-Geheim-81d3a96c55e0"
DIGEST = hashlib.sha512(PASSWORD.encode()).hexdigest()
KINDS = ("account", "session", "access key")
CODES = {0, 1, 2, 3, 4, 130}
"""Exit codes of the contract: anything else is a defect that showed itself."""
_VARIABLES = (
    "ZSTACK_ACCOUNT_NAME",
    "ZSTACK_ACCOUNT_PASSWORD",
    "ZSTACK_SESSION_ID",
    "ZSTACK_ACCESS_KEY_ID",
    "ZSTACK_ACCESS_KEY_SECRET",
)
_WINDOW, _STEP = 16, 4
"""A piece of a secret this long gives it away: reports cut texts, tables break them, databases spread them over pages."""


def scenario(*groups: VmGroup, faults: Iterable[Fault] = (), clusters: Iterable[ClusterSpec] = (), **node: Any) -> Scenario:
    """A node whose administrator has a canary for a password and for an access key."""
    keys = (AccessKey(id="key-1", secret=SECRET), AccessKey(id="key-off", secret=SECRET, enabled=False))
    return Scenario(
        node=NodeSettings(**node),
        accounts=(
            Account(name="admin", password=PASSWORD, admin=True, access_keys=keys),
            Account(name="viewer", password=PASSWORD, may_stop=False),
            Account(name="locked", password=PASSWORD, locked=True),
        ),
        clusters=tuple(clusters) or (ClusterSpec(name="rack-1", hosts=2),),
        vms=groups or (VmGroup(name="app-{n}", count=3, guest=quick()),),
        faults=tuple(faults),
    )


def log_in(endpoint: str) -> str:
    """A session that somebody else opened."""
    body = json.dumps({"logInByAccount": {"accountName": "admin", "password": DIGEST}}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/v1/accounts/login", body, method="PUT")) as answer:
        return str(json.loads(answer.read())["inventory"]["uuid"])


def credential(kind: str, session: str = "") -> dict[str, str | None]:
    """The environment of one kind of credential, with nothing of the others."""
    given = {
        "account": {"ZSTACK_ACCOUNT_NAME": "admin", "ZSTACK_ACCOUNT_PASSWORD": PASSWORD},
        "session": {"ZSTACK_SESSION_ID": session},
        "access key": {"ZSTACK_ACCESS_KEY_ID": "key-1", "ZSTACK_ACCESS_KEY_SECRET": SECRET},
    }[kind]
    return dict.fromkeys(_VARIABLES) | given


def traces(text: str | bytes, secrets: Mapping[str, str]) -> list[str]:
    """Which secrets have left a piece in the text, whatever breaks its lines."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    plain = re.sub(rb"\s+", b"", data).lower()
    return [name for name, secret in secrets.items() if any(piece in plain for piece in _pieces(secret))]


def _pieces(secret: str) -> list[bytes]:
    plain = secret.lower().encode()
    return [plain[start : start + _WINDOW] for start in range(0, max(1, len(plain) - _WINDOW + 1), _STEP)]


class Watched:
    """A command line whose every word and file is searched for the credential it is given."""

    def __init__(self, cli: Cli, kind: str, node: Node, endpoint: str | None = None) -> None:
        self.cli, self.node, self.kind = cli, node, kind
        self.session = log_in(node.endpoint) if kind == "session" else ""
        self.env = {"ZSTACK_ENDPOINT": endpoint or node.endpoint, **credential(kind, self.session)}
        cli.env = cli.merged(self.env)
        self.more: dict[str, str] = {}
        """Secrets that were learned on the way."""

    @property
    def secrets(self) -> dict[str, str]:
        """Everything that nobody may ever find, by what it is."""
        known = {"password": PASSWORD, "digest": DIGEST, "access key secret": SECRET, **self.more}
        return known | {f"session {number}": session for number, session in enumerate(self.node.sessions)}

    def files(self) -> list[str]:
        """Files under the working folder, which is HOME too, that hold a piece of one."""
        return [
            f"{path.relative_to(self.cli.folder)}: {name}"
            for path in sorted(self.cli.folder.rglob("*"))
            if path.is_file()
            for name in traces(path.read_bytes(), self.secrets)
        ]

    def inside(self, *args: str | Path, **env: str | None) -> Done:
        """A command in this process; its streams hold no secret and its code is one of the contract's."""
        done = self.cli.inside(*args, env=env)
        assert done.code in CODES, done
        assert traces(done.said, self.secrets) == [], "a stream holds a secret"
        return done


@dataclass
class Passing:
    """One request, and the answer that is about to go back."""

    method: str
    path: str
    body: bytes
    authorization: str
    status: int
    answer: bytes
    headers: dict[str, str]
    broken: bytes = b""
    """Bytes that stand between the headers as they are."""

    def error(self, details: str, *codes: str) -> None:
        """Answer 503 with this chain instead."""
        chain: dict[str, Any] | None = None
        for code in reversed(codes):
            chain = {"code": code, "description": details, "details": details, **({"cause": chain} if chain else {})}
        self.status, self.answer = 503, json.dumps({"error": chain}).encode()

    @property
    def action(self) -> str:
        """The key of a PUT's body."""
        return next(iter(json.loads(self.body)), "") if self.body else ""


@dataclass
class Gateway:
    """What stands between client and node: it hears every credential, and `alter` may change any answer."""

    node: Node
    alter: Callable[["Gateway", Passing], None] = lambda gateway, passing: None
    heard: dict[str, None] = field(default_factory=dict)
    """Every secret part of a header and every digest, in order."""
    notes: dict[str, int] = field(default_factory=dict)
    """For `alter` to remember what it has seen, in order."""
    refused: str = "nobody"
    """The UUID of a VM that `alter` may treat worse than others."""

    def __enter__(self) -> Self:
        gateway = self

        class Handler(_Handler):
            def pass_on(self, passing: Passing) -> None:
                gateway.hear(passing)
                gateway.alter(gateway, passing)

            upstream_at = urlsplit(gateway.node.endpoint).netloc

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """What a client is configured with."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/zstack"

    def hear(self, passing: Passing) -> None:
        """Keep what is secret in a request: a session id, a signature, a digest."""
        if passing.authorization:
            self.heard[re.split("[ :]", passing.authorization)[-1]] = None
        if DIGEST.encode() in passing.body:
            self.heard[DIGEST] = None

    @property
    def secrets(self) -> dict[str, str]:
        """What was heard, for a search."""
        return {f"heard {number}": secret for number, secret in enumerate(self.heard)}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream_at = ""

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.upstream_at)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def pass_on(self, passing: Passing) -> None:
        """Hear and alter."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._upstream.request(self.command, self.path, body or None, dict(self.headers.items()))
        with self._upstream.getresponse() as response:
            headers = {name: value for name, value in response.getheaders() if name != "Content-Length"}
            passing = Passing(
                self.command, self.path.removeprefix("/zstack"), body, self.headers.get("Authorization", ""),
                response.status, response.read(), headers,
            )  # fmt: skip
        self.pass_on(passing)
        self.send_response_only(passing.status)
        for name, value in passing.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(passing.answer)))
        self.flush_headers()
        self.wfile.write(passing.broken + b"\r\n" + passing.answer)

    do_GET = do_PUT = do_DELETE = _serve  # noqa: N815 - the server's own names

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""
