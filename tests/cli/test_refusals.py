"""What ends a run before its first change, each with its code and its remedy."""

import http.server
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from tests.cli.support import ACCOUNT, GONE, PASSWORD, SECRET, Cli, Node, fleet, refused

NO_ACCOUNT: dict[str, str | None] = dict.fromkeys(ACCOUNT)


def test_run_without_a_terminal_needs_yes(cli: Cli, node: Node) -> None:
    """Nobody to ask and no --yes: 2, and the node hears nothing."""
    refused(cli("run", cli.plan()), 2, "--yes", "preview")
    assert node.asked == 0


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"targets": {"where": [["name=nobody"]]}}, ("no target matched", "check the selectors")),
        ({"guard": {"max_targets": 2}}, ("3 targets", "guard.max_targets 2")),
        ({"guard": {"expect_targets": "4..5"}}, ("3 targets", "4..5")),
        ({"guard": {"protect": {"where": [["name=app-2"]]}}}, ("app-2", "protected by", "exclude it")),
        ({"exclude": {"where": [["name=nobdy"]]}}, ("name=nobdy", "may_be_empty")),
        ({"guard": {"max_targets": 1, "expect_targets": 1}}, ("guard.max_targets 1", "guard.expect_targets")),
    ],
    ids=["no target", "max_targets", "expect_targets", "protect", "exclude matches nothing", "two guards"],
)
def test_guards_refuse_before_the_first_change(
    cli: Cli, node: Node, sections: dict[str, Any], words: tuple[str, ...]
) -> None:
    """Each guard: 3 from `preview` and `run` alike, in words, with nothing stopped and no run in the journal."""
    plan = cli.plan(**sections)
    refused(cli.inside("preview", plan), 3, *words)
    refused(cli.inside("run", plan, "--yes"), 3, *words)
    assert node.stops == 0
    assert cli.inside("runs").out == ""


def test_another_node_than_the_plan_allows(cli: Cli, node: Node) -> None:
    """guard.endpoint: 3, and the wrong node is not even asked."""
    plan = cli.plan(guard={"endpoint": "https://mn.example:8443/zstack"})
    refused(cli("run", plan, "--yes"), 3, "guard.endpoint", "https://mn.example:8443/zstack", "use the right node")
    assert node.asked == 0


def test_strict_refuses_warnings(cli: Cli, node: Node) -> None:
    """--strict makes a warning about the plan a refusal; without it the run goes on."""
    plan = cli.plan(targets={"where": [["name~=app-%", "state=Running"]]})
    refused(cli("run", plan, "--yes", "--strict"), 3, "--strict", "Paused and Unknown")
    assert node.stops == 0


def test_a_filter_the_node_refuses(cli: Cli, node: Node) -> None:
    """A condition on a field that no VM has: 2, with the selector and where it stands."""
    refused(cli("run", cli.plan(targets={"where": [["colour=red"]]}), "--yes"), 2, "colour=red", "targets", "field names")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ZSTACK_ACCOUNT_PASSWORD": "wrong"}, ("password is wrong", "ZSTACK_ACCOUNT_PASSWORD")),
        ({**NO_ACCOUNT, "ZSTACK_SESSION_ID": GONE}, ("Session", "log in")),
        ({"ZSTACK_ACCOUNT_NAME": "viewer"}, ("may not stop VMs", "use an account that may")),
        ({**NO_ACCOUNT, "ZSTACK_ACCESS_KEY_ID": "key-2", "ZSTACK_ACCESS_KEY_SECRET": SECRET}, ("ZSTACK_ACCESS_KEY_ID",)),
        ({**NO_ACCOUNT, "ZSTACK_ACCESS_KEY_ID": "key-1", "ZSTACK_ACCESS_KEY_SECRET": "x"}, ("ZSTACK_ACCESS_KEY_SECRET",)),
    ],
    ids=["password", "session", "permission", "unknown key", "wrong secret"],
)
def test_logins_that_the_node_refuses(cli: Cli, node: Node, env: dict[str, str | None], words: tuple[str, ...]) -> None:
    """Wrong password, unknown session, no permission, wrong key: 3 from `run`, and the remedy names what to set."""
    refused(cli.inside("run", cli.plan(targets={"uuids": [GONE]}), "--yes", env=env), 3, *words)
    assert node.stops == 0


@pytest.mark.parametrize("env", [{"ZSTACK_ACCOUNT_PASSWORD": "wrong"}, {"ZSTACK_ACCOUNT_NAME": "viewer"}])
def test_doctor_fails_where_a_run_would(cli: Cli, node: Node, env: dict[str, str | None]) -> None:
    """`doctor` shows the steps that passed, then the one that failed with its remedy, and answers 3."""
    done = cli.inside("doctor", env=env)
    refused(done, 3, "FAILED: ")
    assert "reachable   yes" in done.out


def test_doctor_says_what_is_well(cli: Cli, node: Node) -> None:
    """Every step is named; 0; an access key works as well as an account."""
    for env in ({}, {**NO_ACCOUNT, "ZSTACK_ACCESS_KEY_ID": "key-1", "ZSTACK_ACCESS_KEY_SECRET": SECRET}):
        done = cli.inside("doctor", env=env)
        assert (done.code, done.err) == (0, "")
        for step in ("endpoint", "credential", "reachable", "version", "login", "clock", "time zone", "permission"):
            assert f"\n{step} " in f"\n{done.out}"


def test_doctor_tells_of_a_clock_that_is_off(cli: Cli) -> None:
    """Ten minutes of skew: told with its remedy, and still 0, as no run with an account would be refused for it."""
    scenario = fleet()
    skewed = scenario.model_copy(update={"node": scenario.node.model_copy(update={"clock_skew": 600.0})})
    with Node(skewed) as node:
        done = cli.at(node).inside("doctor")
        assert done.code == 0
        assert "ahead of this machine; set both by the same time service" in done.out


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"ZSTACK_ENDPOINT": None}, ("no management node", "--endpoint", "ZSTACK_HOST")),
        ({"ZSTACK_ENDPOINT": "mn.example"}, ("http://mn.example:8080/zstack",)),
        ({"ZSTACK_ENDPOINT": f"http://ops:{PASSWORD}@127.0.0.1:1/zstack"}, ("user name", "environment")),
        ({"ZSTACK_ENDPOINT": f"ops:{PASSWORD}@127.0.0.1:1/zstack"}, ("environment",)),
        ({"ZSTACK_ENDPOINT": f"http:ops:{PASSWORD}@127.0.0.1/zstack"}, ("environment",)),
        ({"ZSTACK_ENDPOINT": f"http://127.0.0.1:1/zstack?password={PASSWORD}"}, ("query",)),
        ({"ZSTACK_ENDPOINT": "http://127.0.0.1:1/zstack/v1"}, ("/v1", "appended")),
        ({"ZSTACK_ENDPOINT": None, "ZSTACK_HOST": "x", "ZSTACK_PORT": "http"}, ("ZSTACK_PORT",)),
        ({"ZSTACK_SESSION_ID": GONE}, ("more than one credential", "unset all but one")),
        (NO_ACCOUNT, ("no credential", "ZSTACK_SESSION_ID", "ZSTACK_ACCOUNT_PASSWORD")),
        ({"ZSTACK_ACCOUNT_PASSWORD": None}, ("ZSTACK_ACCOUNT_PASSWORD",)),
    ],
    ids=["no endpoint", "no URL", "user info", "user info without scheme", "user info without slashes", "query", "v1",
         "port", "two credentials", "none", "half"],
)  # fmt: skip
def test_settings_that_cannot_work(cli: Cli, env: dict[str, str | None], words: tuple[str, ...]) -> None:
    """Endpoint and credentials are judged before anything is asked: 2, and no password is echoed."""
    cli.env |= {"ZSTACK_ENDPOINT": "http://127.0.0.1:1/zstack", **ACCOUNT}
    refused(cli.inside("run", cli.plan(), "--yes", env=env), 2, *words)


def test_nobody_listens(cli: Cli) -> None:
    """A port where nothing answers: 3 from `run`, `preview` and `doctor`, with where to look."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        cli.env |= {"ZSTACK_ENDPOINT": f"http://127.0.0.1:{unused.getsockname()[1]}/zstack", **ACCOUNT}
        for args in (("run", cli.plan(), "--yes"), ("preview", cli.plan()), ("doctor",)):
            refused(cli.inside(*args), 3, "not reachable", "check the endpoint, the port and the network")


class _Page(http.server.BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        page = b"<html><body>Welcome to the console</body></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_GET = do_DELETE = do_PUT  # noqa: N815 - the server's own names

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def web_page() -> Iterator[str]:
    """Something that is no management node."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/zstack"
        server.shutdown()
        thread.join()


def test_something_else_answers(cli: Cli, web_page: str) -> None:
    """A web page where the node should be: 3, and port and context path are what to check."""
    cli.env |= {"ZSTACK_ENDPOINT": web_page, **ACCOUNT}
    for args in (("run", cli.plan(), "--yes"), ("doctor",)):
        refused(cli.inside(*args), 3, "not as a ZStack node does", "8080", "/zstack")


def test_a_wrong_context_path(cli: Cli, node: Node) -> None:
    """The node's own port with another path: 3, and the path is what to check."""
    env = {"ZSTACK_ENDPOINT": node.endpoint.replace("/zstack", "/other")}
    refused(cli.inside("run", cli.plan(), "--yes", env=env), 3, "context path")


def test_a_certificate_nobody_vouches_for(cli: Cli) -> None:
    """Untrusted: 3, naming --ca-file; with the CA all is well; --insecure says so loudly; a bad CA file is 2."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = cli.folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with Node(fleet(), ssl_context=context) as node:
        cli.at(node)
        refused(cli("run", cli.plan(), "--yes"), 3, "--ca-file", "--insecure")
        assert node.asked == 0
        refused(cli.inside("doctor", "--ca-file", "no.pem"), 2, "no.pem", "PEM")
        assert cli.inside("doctor", "--ca-file", ca_file).code == 0
        loud = cli.inside("doctor", "--insecure")
        assert loud.code == 0
        assert "NOT verified" in loud.err


def test_a_journal_that_cannot_serve(cli: Cli, node: Node) -> None:
    """A folder, garbage, a newer schema, another program's file: 3 with --journal as the way out, and nothing is asked."""
    plan = cli.plan()
    garbage, newer, other = (cli.folder / name for name in ("garbage", "newer", "other"))
    garbage.write_bytes(b"no database at all " * 100)
    for path, statement in ((newer, "PRAGMA user_version = 99"), (other, "CREATE TABLE t (x)")):
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()
    for path, word in (
        (cli.folder, "cannot be opened"),
        (garbage, "not a database"),
        (newer, "newer"),
        (other, "no journal"),
    ):
        refused(cli.inside("run", plan, "--yes", "--journal", path), 3, str(path), word, "--journal PATH")
    refused(cli.inside("runs", "--journal", garbage), 3, "--journal PATH")
    refused(cli.inside("run", plan, "--yes", "--journal", "postgres://x/y"), 2, "sqlite:////absolute/path")
    assert node.asked == 0


def test_an_empty_file_is_a_journal_without_runs(cli: Cli) -> None:
    """A journal whose making was cut off at once: no run is known, and reading it changes nothing."""
    (cli.folder / "empty").touch()
    refused(cli.inside("show", "last", "--journal", "empty"), 2, "holds no run yet")
    assert (cli.folder / "empty").read_bytes() == b""


def test_reports_that_would_have_no_place(cli: Cli, node: Node) -> None:
    """A report folder that cannot be made: 3, before the node is asked anything."""
    (cli.folder / "file").touch()
    plan = cli.plan(report={"directory": "file/reports"})
    refused(cli("run", plan, "--yes"), 3, "file/reports", "report.directory")
    assert node.asked == 0
