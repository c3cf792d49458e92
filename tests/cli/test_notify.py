"""`notify`: who is told while a run goes on, by real webhooks and commands, and that none of them harms it."""

import json
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import Guest, VmGroup
from orchestrator.simulator.spread import between
from tests.cli.support import PASSWORD, Cli, Node, quick, refused

SECRET = "canary-hook-5f1c"
TOKEN = "canary-token-77aa"


class Hook:
    """A chat's webhook; `answers` are the status codes to come, the last one for ever."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, str], Any]] = []
        self.answers = [200]
        self.slow = 0.0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.told.append((self.path, dict(self.headers.items()), body))
                time.sleep(hook.slow)
                code = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", f"http://127.0.0.1:{hook.port}/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                hook.told.append(("followed a redirect", {}, None))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address, which is a secret."""
        return f"http://127.0.0.1:{self.port}/{SECRET}"

    @property
    def texts(self) -> list[str]:
        """What it was told."""
        return [body["text"] for _, _, body in self.told]

    def close(self) -> None:
        """No more."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook on loopback."""
    made = Hook()
    yield made
    made.close()


def program(cli: Cli, text: str) -> str:
    """A program that a plan may name."""
    path = cli.folder / "told.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def untold(cli: Cli) -> None:
    """The secrets stand in no file and in no output."""
    assert cli.leaks((SECRET, TOKEN)) == []


TWO = (VmGroup(name="app-{n}", count=2, guest=quick()), VmGroup(name="app-<db>", count=1, guest=quick()))


@pytest.mark.parametrize("node", [TWO], indirect=True)
def test_a_webhook_is_told_what_happens(cli: Cli, node: Node, hook: Hook) -> None:
    """Started, each wave's end and the end, in order, as Slack takes it; the token in its header; names are no markup."""
    waves = [
        {"name": "<!channel> & co", "where": [["name~=app-_"]]},
        {"name": "db", "after": ["<!channel> & co"]},
    ]
    notify = [{"url_env": "CHAT_URL", "token_env": "CHAT_TOKEN"}]
    env = {"CHAT_URL": hook.url, "CHAT_TOKEN": TOKEN}
    done = cli("run", cli.plan(waves=waves, notify=notify), "--yes", env=env)
    assert done.code == 0, done
    run = cli.report()["run"]["id"]
    assert [text.partition(": ")[2] for text in hook.texts] == [
        f"3 targets, 3 to stop (run {run})",
        f"wave &lt;!channel&gt; &amp; co is over, 2 of 2 VMs had their turn (run {run})",
        f"wave db is over, 1 of 1 VM had its turn (run {run})",
        f"finished, exit code 0: 3 stopped_clean (run {run})",
    ]
    assert all(text.startswith("cli: ") for text in hook.texts)
    assert {path for path, _, _ in hook.told} == {f"/{SECRET}"}
    assert {headers["Authorization"] for _, headers, _ in hook.told} == {f"Bearer {TOKEN}"}
    untold(cli)


hanging = Guest(shutdown=between(2, 4), behaviour="ignores_acpi")


@pytest.mark.parametrize("node", [(VmGroup(name="app-{n}", count=3, guest=hanging),)], indirect=True)
def test_a_command_is_given_the_event(cli: Cli, node: Node) -> None:
    """One JSON line on standard input, of what it asked for; its environment has no credential of ours, nor any secret."""
    command = [program(cli, "cat >> told.jsonl\nenv >> told.env")]
    notify = [{"on": ["budget_crossed", "finished"], "command": command}, {"on": ["started"], "url_env": "CHAT_URL"}]
    plan = cli.plan(
        notify=notify, budget={"power_cuts": 0}, limits={"requests_per_second": 500, "concurrency": 1},
        stop={"power_cut_after": "1200ms", "grace_timeout": "4s", "cold_timeout": "4s"},
    )  # fmt: skip
    env = {"CHAT_URL": f"http://127.0.0.1:9/{SECRET}", "KEPT": "as it is"}
    done = cli("run", plan, "--yes", "--allow-commands", env=env)
    assert done.code == 4, done
    crossed, finished = [json.loads(line) for line in (cli.folder / "told.jsonl").read_text().splitlines()]
    assert (crossed["occasion"], crossed["data"]["kind"], crossed["plan"]) == ("budget_crossed", "power_cuts", "cli")
    assert (finished["occasion"], finished["data"]["exit_code"], finished["run"]) == (
        "finished",
        4,
        cli.report()["run"]["id"],
    )
    assert finished["outcomes"] == {"stopped_forced": 1, "not_reached": 2}
    given = (cli.folder / "told.env").read_text()
    assert "KEPT=as it is" in given
    assert "ZSTACK_" not in given
    assert "CHAT_URL" not in given
    assert PASSWORD not in given
    assert done.err.count("notify[1] (CHAT_URL) was not told of the run: it cannot be reached") == 1
    untold(cli)


def test_commands_need_a_flag(cli: Cli, node: Node) -> None:
    """Without --allow-commands a plan's command is left out, and that is said; the run goes on."""
    notify = [{"command": [program(cli, "touch ran")]}]
    done = cli("run", cli.plan(notify=notify), "--yes")
    assert done.code == 0
    assert done.err.count("notify[0]: commands are left out without --allow-commands") == 1
    assert not (cli.folder / "ran").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("exit 3", "it ended with code 3"),
        ("exec 0<&-; sleep 0.2; exit 4", "it ended with code 4"),
        ("kill -9 $$", "it ended with code -9"),
    ],
)
def test_a_command_that_fails_harms_nothing(cli: Cli, node: Node, text: str, why: str) -> None:
    """It is said once, and the run ends as it would have."""
    done = cli("run", cli.plan(notify=[{"command": [program(cli, text)]}]), "--yes", "--allow-commands")
    assert done.code == 0
    assert done.err.count(f"notify[0] (told.sh) was not told of the run: {why}; the run goes on") == 1


def test_a_command_that_is_not_there(cli: Cli, node: Node) -> None:
    """Nor one that cannot be run at all."""
    done = cli("run", cli.plan(notify=[{"command": ["/nowhere/page"]}]), "--yes", "--allow-commands")
    assert done.code == 0
    assert "notify[0] (page) was not told of the run: it cannot be run (No such file or directory)" in done.err


def test_a_command_that_hangs_is_ended(cli: Cli, node: Node) -> None:
    """After ten seconds it is ended, with all that it has started."""
    text = "sleep 300 & echo $! > child\nwait"
    done = cli("run", cli.plan(notify=[{"on": ["started"], "command": [program(cli, text)]}]), "--yes", "--allow-commands")
    assert done.code == 0
    assert "it had not ended after 10 s, and was ended" in done.err
    child = int((cli.folder / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(") ")[2][0] == "Z"


def test_a_hook_that_fails_for_a_moment_is_asked_again(cli: Cli, node: Node, hook: Hook) -> None:
    """500 and 429 are tried again; what was to be told arrives, in order."""
    hook.answers = [500, 429, 200]
    done = cli("run", cli.plan(notify=[{"url_env": "CHAT_URL"}]), "--yes", env={"CHAT_URL": hook.url})
    assert done.code == 0
    assert "was not told" not in done.err
    assert [text.split()[1] for text in hook.texts] == ["3", "3", "3", "finished,"]


@pytest.mark.parametrize(("answer", "why"), [(404, "it answered 404"), (302, "it answered 302")])
def test_a_hook_that_says_no(cli: Cli, node: Node, hook: Hook, answer: int, why: str) -> None:
    """It is said once and not tried again; a redirect is not followed, for the token would go with it."""
    hook.answers = [answer]
    done = cli("run", cli.plan(notify=[{"url_env": "CHAT_URL"}]), "--yes", env={"CHAT_URL": hook.url})
    assert done.code == 0
    assert done.err.count(f"notify[0] (CHAT_URL) was not told of the run: {why}; the run goes on") == 1
    assert len(hook.told) == 2
    assert "followed a redirect" not in [path for path, _, _ in hook.told]
    untold(cli)


def test_addresses_in_files(cli: Cli, node: Node, hook: Hook) -> None:
    """Relative to the plan, as its UUID files are."""
    (cli.folder / "plans").mkdir()
    (cli.folder / "plans" / "chat.url").write_text(hook.url + "\n")
    plan = cli.plan("plans/plan.json", notify=[{"url_file": "chat.url", "on": ["finished"]}])
    assert cli("run", plan, "--yes").code == 0
    assert len(hook.told) == 1


@pytest.mark.parametrize(
    ("notify", "env", "words"),
    [
        ({"url_env": "CHAT_URL"}, {}, "the environment variable CHAT_URL is not set"),
        ({"url_env": "CHAT_URL"}, {"CHAT_URL": f"ftp://{SECRET}/"}, "what CHAT_URL holds is no http or https address"),
        ({"url_env": "CHAT_URL"}, {"CHAT_URL": f"http://h/{SECRET}\nx"}, "pasted with a line break"),
        ({"url_file": "none.url"}, {}, "none.url cannot be read"),
        (
            {"url_env": "CHAT_URL", "token_env": "CHAT_TOKEN"},
            {"CHAT_URL": "http://127.0.0.1:9/"},
            "the environment variable CHAT_TOKEN is not set",
        ),
    ],
)
def test_what_cannot_be_told_refuses_before_anything_is_sent(
    cli: Cli, node: Node, notify: dict[str, str], env: dict[str, str], words: str
) -> None:
    """A missing or unusable address is told while somebody looks, without the address."""
    done = cli("run", cli.plan(notify=[notify]), "--yes", env=env)
    refused(done, 2, "notify[0]", words)
    assert SECRET not in done.said
    assert node.stops == 0
