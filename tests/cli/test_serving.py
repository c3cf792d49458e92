"""`--serve` and `--metrics-port`: who is told what."""

import contextlib
import http.client
import re
import select
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from orchestrator.simulator import Guest, VmGroup
from orchestrator.simulator.spread import between
from tests.cli.serving import Page, serve
from tests.cli.support import Cli, Node, refused, wait_until

ONE = {"requests_per_second": 500, "concurrency": 1}
slow = pytest.mark.parametrize(
    "node", [(VmGroup(name="app-{n}", count=4, guest=Guest(shutdown=between(35, 45))),)], indirect=True
)


def ended(page: Page) -> None:
    """The run goes to its end, whoever asked what."""
    done = page.running.wait()
    assert done.code == 0, done
    assert page.token not in done.err


@slow
def test_the_token_is_all_that_counts(cli: Cli, node: Node) -> None:
    """Without it, with a wrong one, in the query or in a cookie: 401 and not a word; in the header: the run."""
    page = serve(cli, cli.plan(limits=ONE))
    assert page.ask("/events", token=page.token).status == 200
    for path, headers in (
        ("/events", {}),
        ("/events", {"Authorization": f"Bearer {page.token[:-1]}"}),
        ("/events", {"Authorization": f"Bearer {page.token}x"}),
        ("/events", {"Authorization": f"Basic {page.token}"}),
        ("/events", {"Authorization": "Bearer \u00e9".encode().decode("latin-1")}),
        (f"/events?token={page.token}", {}),
        ("/events", {"Cookie": f"token={page.token}"}),
        ("/report", {}),
        ("/events/../events", {}),
    ):
        answer = page.ask(path, **headers)
        assert (answer.status, answer.text) == (401, "the run's token is missing or wrong\n"), path
    assert page.ask("/report", token=page.token).status == 404
    assert len(page.token) == 22  # 128 bits
    ended(page)


@slow
def test_the_shell_says_nothing_of_the_run(cli: Cli, node: Node) -> None:
    """What a browser gets before it can send the token has no word of the run, and may neither be framed nor kept."""
    page = serve(cli, cli.plan(name="plan.yaml", limits=ONE, reference="CHG-77"))
    shell = page.ask("/")
    assert shell.status == 200
    for word in ("app-", "CHG-77", "rack-1", page.token, node.endpoint):
        assert word not in shell.text
    policy = shell.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert shell.headers["Cache-Control"] == "no-store"
    assert shell.headers["Referrer-Policy"] == "no-referrer"
    assert "Set-Cookie" not in shell.headers
    ended(page)


@slow
def test_other_names_other_origins_and_other_verbs(cli: Cli, node: Node) -> None:
    """A name that is not ours (DNS rebinding), another site's page, and whatever would change something: refused."""
    page = serve(cli, cli.plan(limits=ONE))
    ours = f"127.0.0.1:{page.port}"
    assert page.ask("/events", token=page.token, Origin=f"http://{ours}").status == 200
    assert page.ask("/events", token=page.token, Host=f"localhost:{page.port}").status == 200
    for headers in (
        {"Host": f"evil.example:{page.port}"},
        {"Host": "127.0.0.1"},
        {"Host": f"127.0.0.1.evil.example:{page.port}"},
        {"Origin": "http://evil.example"},
        {"Origin": f"https://{ours}"},
        {"Origin": "null"},
    ):
        assert page.ask("/events", token=page.token, **headers).status == 403, headers
        assert page.ask("/", **headers).status == 403, headers
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        assert page.ask("/events", method=method, token=page.token).status == 405, method
    ended(page)


@slow
def test_a_crowd_of_readers_is_sent_away(cli: Cli, node: Node) -> None:
    """The seventeenth page at one time is told so, and the run goes on."""
    page = serve(cli, cli.plan(limits=ONE))
    crowd = [http.client.HTTPConnection("127.0.0.1", page.port, timeout=10) for _ in range(16)]
    for connection in crowd:
        connection.request("GET", "/events", headers={"Authorization": f"Bearer {page.token}"})
        assert connection.getresponse().status == 200
    assert page.ask("/events", token=page.token).status == 503
    for connection in crowd:
        connection.close()
    wait_until(lambda: page.ask("/events", token=page.token).status == 200, "a reader that has left makes room")
    ended(page)


def answers(page: Page) -> bool:
    """Is there room for a request?"""
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        return page.ask("/").status == 200
    return False


@slow
def test_strangers_neither_hold_the_run_up_nor_speak_on_its_terminal(cli: Cli, node: Node) -> None:
    """A hundred connections that ask for nothing, and requests that are none: the run ends as it would, and says nothing."""
    page = serve(cli, cli.plan(limits=ONE))
    wait_until(lambda: cli("steer", "last", "pause").code == 0, "the run can be told to pause")
    idle = [socket.create_connection(("127.0.0.1", page.port), timeout=10) for _ in range(100)]
    wait_until(lambda: len(select.select(idle, [], [], 0)[0]) >= 50, "most of them are sent away")
    for one in idle:
        one.close()
    odd = (
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"\x16\x03\x01\x00\xa5canary",
    )
    for request in odd:
        wait_until(lambda: answers(page), "there is room again")
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as stranger:
            stranger.sendall(request)
            stranger.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while stranger.recv(4096):
                    pass
    assert cli("steer", "last", "go").code == 0
    done = page.running.wait()
    assert done.code == 0
    ours = re.compile(r"run |\d+ targets|\d/4 done|forecast|verification|paused by|.* lets the run go on")
    assert [line for line in done.err.splitlines() if not ours.match(line)] == []


@slow
def test_a_reader_is_told_the_run_to_its_end(cli: Cli, node: Node) -> None:
    """Everything once, then what has changed, and at the end everything as the report has it."""
    page = serve(cli, cli.plan(limits=ONE))
    told = page.events()
    kinds = [kind for kind, _ in told if kind != "wait"]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("begin", "end", {"update"})
    flying = {flight[1] for kind, change in told if kind == "update" for flight in change["flying"]}
    assert flying
    assert flying <= {"app-1", "app-2", "app-3", "app-4"}
    data = told[-1][1]["data"]
    assert isinstance(data, dict)
    outcomes = [data["words"][row[data["fields"].index("outcome")]] for row in data["rows"]]
    ended(page)
    assert outcomes == [vm["outcome"] for vm in cli.report()["vms"]]


def test_beyond_this_machine_it_needs_tls(cli: Cli, node: Node, tmp_path: Path) -> None:
    """An address that others reach is refused without a certificate; with one it is served over TLS."""
    refused(cli.inside("run", cli.plan(), "--yes", "--serve", "0.0.0.0:0"), 2, "--serve-tls CERT KEY", "tunnel")
    refused(cli.inside("run", cli.plan(), "--yes", "--serve", "mn.example:8099"), 2, "--serve-tls CERT KEY")
    refused(cli.inside("run", cli.plan(), "--yes", "--serve-tls", "a", "b"), 2, "belongs to --serve")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    refused(cli("run", cli.plan(), "--yes", "--serve", "0", "--serve-tls", cert, key), 2, "cert.pem", "PEM files")
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1", "localhost")
    made.cert_chain_pems[0].write_to_path(str(cert))
    made.private_key_pem.write_to_path(str(key))
    running = cli.start("run", cli.plan(limits=ONE), "--yes", "--serve", "127.0.0.1:0", "--serve-tls", cert, key)
    wait_until(lambda: "page: https://127.0.0.1:" in running.out, "the page's address")
    found = re.search(r"https://127\.0\.0\.1:(\d+)/#([\w-]+)", running.out)
    assert found is not None
    context = ssl.create_default_context()
    authority.configure_trust(context)
    page = Page(running, "https", "127.0.0.1", int(found[1]), found[2], context)
    assert page.ask("/events", token=page.token).status == 200
    ended(page)


def test_a_place_that_cannot_be_served_on(cli: Cli, node: Node) -> None:
    """A port that is taken, or is none: one sentence before anything is sent."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(cli("run", cli.plan(), "--yes", "--serve", str(port)), 2, f"127.0.0.1:{port}", "name another")
        refused(cli("run", cli.plan(), "--yes", "--metrics-port", str(port)), 2, f"127.0.0.1:{port}", "--metrics-port")
    for place in ("", "x", "1.2.3.4", "127.0.0.1:99999", "8080/path", ":-1"):
        refused(cli.inside("run", cli.plan(), "--yes", "--serve", place), 2, "is no place", "8099")
    assert node.stops == 0


@slow
def test_prometheus_scrapes_a_run(cli: Cli, node: Node) -> None:
    """The run's counts as they are, under the names of the file; for this machine alone, and with no VM's name."""
    running = cli.start("run", cli.plan(limits=ONE), "--yes", "--metrics-port", "0")
    wait_until(lambda: node.stops, "the first stop is at the node")
    found = re.search(r"^metrics: http://127\.0\.0\.1:(\d+)/metrics$", running.out, re.M)
    assert found is not None
    page = Page(running, "http", "127.0.0.1", int(found[1]), "none")
    answer = page.ask("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert re.search(r'^orchestrator_run_targets\{run="[^"]+"\} 4$', answer.text, re.M)
    assert re.search(r'^orchestrator_run_in_flight\{run="[^"]+"\} 1$', answer.text, re.M)
    assert "app-" not in answer.text
    assert page.ask("/metrics", Host=f"evil.example:{page.port}").status == 403
    assert page.ask("/").status == 404
    ended(page)
