"""`resume` and `retry`, and what is told of a run that has not ended."""

import asyncio
import csv
import getpass
import io
import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pydantic import SecretStr

from orchestrator import app
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.engine.prepare import prepare
from orchestrator.engine.records import opening, run_record
from orchestrator.journal.owner import Owner
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.plan.load import load_plan
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import Fault, Guest, VmGroup
from tests.cli.support import GONE, PASSWORD, Cli, Done, Node, fleet, quick, refused, wait_until
from tests.cli.test_terminal import Terminal
from tests.contract.journals import DEAD, ME
from tests.integration.conftest import peak

DEAF = (VmGroup(name="app-{n}", count=4, guest=Guest(behaviour="ignores_acpi")),)
"""Their power is cut after 1.2 s: there is time to be killed in."""
FAILED_THEN, UNSENT_THEN = "d519a45d6e1af15a6ac237647f24bd7d", "00112233445566778899aabbccddeeff"
OTHER_NAME = "f" * 32
VERSION_1 = (Path(__file__).parents[1] / "data" / "journal-v1.sql").read_text("utf-8")


def begun(cli: Cli, node: Node, plan: Path | None = None, *, owner: Owner = DEAD, hours_ago: float = 0.0) -> str:
    """A run in the journal that has sent nothing yet, of a process that is no more unless told otherwise; its id."""
    plan_file = load_plan(plan or cli.plan())
    settings = ConnectionSettings(endpoint=node.endpoint, account_name="admin", account_password=SecretStr(PASSWORD))
    at = datetime.now(UTC) - timedelta(hours=hours_ago)
    run_id = f"{at:%Y%m%dT%H%M%SZ}-{len(list(cli.folder.iterdir())):04x}"

    async def begin() -> None:
        async with app.client_for(plan_file, settings) as client:
            prepared = await prepare(plan_file, ZStackCloud(client), strict=False, terminal=True)
        record = run_record(
            prepared, run_id=run_id, started_at=at.isoformat().replace("+00:00", "Z"), started_by=owner.who, tool_version="0"
        )
        opened = opening(prepared, record)
        journal = SqliteJournal(cli.folder / "journal.sqlite")
        assert opened.plan_file is not None
        await journal.begin(record, opened.records, opened.plan_file, owner)
        journal._held.clear()  # the process ends here: nothing lets go of its lock
        await journal.close()

    asyncio.run(begin())
    return run_id


def killed(cli: Cli, kind: str = "vm.sent", nth: int = 1, **sections: Any) -> str:
    """A run killed upon the `nth` event of a kind in its log; its id."""
    running = cli.start("run", cli.plan(**sections), "--yes", "--log-format", "json")

    def shown() -> list[str]:
        lines = [json.loads(line) for line in running.err.splitlines() if line.endswith("}")]
        return [line["run"] for line in lines if line["event"] == kind]

    wait_until(lambda: len(shown()) >= nth, f"{kind} number {nth}")
    running.process.kill()
    running.process.wait()
    return shown()[0]


def run_of(cli: Cli, run_id: str) -> Any:
    """What the journal knows of a run."""
    return json.loads(cli.inside("report", run_id, "--format", "json").out)


def listed(cli: Cli) -> list[str]:
    """The runs of the journal, the newest first."""
    return [line.split()[0] for line in cli.inside("runs").out.splitlines()]


def newest(cli: Cli) -> Any:
    """The run that began last; of two in one second the ids don't tell."""
    return run_of(cli, listed(cli)[0])


def puts(node: Node) -> list[int]:
    """How many stops each VM was sent."""
    return node.ask(lambda: [node.sim.record.stop_puts(uuid) for uuid in node.sim.vms])


def rename(node: Node, old: str, new: str) -> None:
    """Somebody gives a VM another name."""
    node.ask(lambda: setattr(node.sim.vm(old), "name", new))


def check_nothing_happened(cli: Cli, node: Node, done: Done, code: int, *words: str) -> None:
    """Refused with this code and these words; nothing was sent, and no run was made or ended by it."""
    refused(done, code, *words)
    assert node.stops == 0
    assert [run_of(cli, run)["run"]["status"] for run in listed(cli)] == ["running"]


# ── resume: to the end ─────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("kind", "nth"), [("run.started", 1), ("vm.sent", 2), ("vm.outcome", 1)])
def test_killed_and_resumed(cli: Cli, kind: str, nth: int) -> None:
    """Killed outright, `resume last` names the run and whom it takes over from, and ends it: every VM was sent one stop."""
    with Node(fleet(*DEAF)) as node:
        cli.at(node)
        run_id = killed(cli, kind, nth, limits={"concurrency": 3, "requests_per_second": 500}, report={"formats": ["csv"]})
        left_open = set(node.open_sessions)
        done = cli.inside("resume", "last", "--yes")
        assert done.code == 0, done
        assert puts(node) == [1] * 4
        assert set(node.open_sessions) == left_open
        assert len(left_open) == 1, "who is killed cannot log out"
    first, second, *_ = done.err.splitlines()
    assert first == f"run {run_id}"
    assert re.match(rf"warning: took over the run from {re.escape(getpass.getuser())}@\S+, process \d+", second), done.err
    report = cli.report()
    assert (report["run"]["id"], report["run"]["status"], len(report["run"]["resumed_at"])) == (run_id, "finished", 1)
    assert report["totals"]["stopped_forced"] == 4
    assert {path.name for path in (cli.folder / "reports" / run_id).iterdir()} == {"report.json", "report.csv"}
    assert listed(cli) == [run_id]


@pytest.mark.parametrize("node", [DEAF], indirect=True)
def test_left_at_once_and_resumed(cli: Cli, node: Node) -> None:
    """Ctrl-C twice is 130, and `resume` re-attaches to the jobs: their VMs end stopped, without a second stop."""
    running = cli.start("run", cli.plan(report={"formats": []}), "--yes")
    wait_until(lambda: node.stops == 4, "all stops are at the node")
    running.process.send_signal(signal.SIGINT)
    wait_until(lambda: "nothing more is sent" in running.err, "the first signal is told")
    running.process.send_signal(signal.SIGINT)
    assert running.wait().code == 130
    assert "orchestrator resume" in cli.inside("show", "last").out
    assert cli.inside("resume", "last", "--yes").code == 0
    assert puts(node) == [1] * 4
    report = cli.report()
    assert (report["run"]["status"], report["run"]["ended_by"], report["run"]["exit_code"]) == ("finished", None, 0)
    assert report["totals"]["stopped_forced"] == 4


def test_a_run_that_ended_is_reported_again(cli: Cli, node: Node) -> None:
    """`resume` of a run that ended: nothing is asked or sent, its reports are there again, and the code is the run's."""
    assert cli.inside("run", cli.plan(targets={"uuids": [GONE], "where": [["name=app-1"]]}), "--yes").code == 1
    report, asked = cli.report(), node.asked
    run_id = report["run"]["id"]
    files = sorted((cli.folder / "reports" / run_id).iterdir())
    for path in files:
        path.unlink()
    done = cli.inside("resume", run_id, "--yes", env={"ZSTACK_ENDPOINT": None})
    assert done.code == 1, done
    assert "has ended" in done.err
    assert node.asked == asked
    assert sorted((cli.folder / "reports" / run_id).iterdir()) == files
    assert cli.report() == report


def test_last_is_the_newest_that_can_be_carried_on(cli: Cli, node: Node) -> None:
    """`resume last` names the newest unfinished run before anything happens; where there is none, it is 2."""
    older, newer = begun(cli, node, hours_ago=2), begun(cli, node, hours_ago=1)
    assert cli.inside("run", cli.plan(targets={"where": [["name=app-3"]]}), "--yes").code == 0
    asked = node.asked
    refused(cli.inside("resume", "last"), 2, f"run {newer}\n", "--yes")
    assert node.asked == asked, "the node was asked before there was an answer"
    for run_id in (newer, older):
        done = cli.inside("resume", "last", "--yes")
        assert done.code == 0, done
        assert done.err.startswith(f"run {run_id}\n")
    refused(cli.inside("resume", "last", "--yes"), 2, "no run to carry on")
    assert puts(node) == [1, 1, 1]


def test_a_run_of_which_nothing_was_sent(cli: Cli, node: Node) -> None:
    """Plan and UUID files changed or gone meanwhile: `resume` goes by what was resolved, and excluded VMs stay excluded."""
    first, second, third = node.ask(lambda: sorted(node.sim.vms))
    (cli.folder / "targets.txt").write_text(f"{first}\n{second}\n", "utf-8")
    (cli.folder / "spared.txt").write_text(f"{first}\n", "utf-8")
    plan = cli.plan(targets={"uuid_files": ["targets.txt"]}, exclude={"uuid_files": ["spared.txt"]}, report={"formats": []})
    begun(cli, node, plan)
    cli.plan(targets={"uuids": [third]})
    for name in ("targets.txt", "spared.txt"):
        (cli.folder / name).unlink()
    assert cli.inside("resume", "last", "--yes").code == 0
    assert [vm["uuid"] for vm in cli.report()["vms"]] == [second]
    assert node.ask(lambda: [node.sim.record.stop_puts(uuid) for uuid in (first, second, third)]) == [0, 1, 0]


def test_resume_talks_json_where_it_is_asked_to(cli: Cli, node: Node) -> None:
    """--log-format json: each line of stderr is an object, the run's name and the take-over included."""
    run_id = begun(cli, node)
    done = cli.inside("resume", "last", "--yes", "--log-format", "json")
    assert done.code == 0, done
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert run_id in lines[0]["text"]
    assert {"run.resumed", "vm.outcome", "run.finished"} <= {line["event"] for line in lines}


def test_guards_do_not_run_again(cli: Cli, node: Node) -> None:
    """A VM that has become protected since is part of the run: what was resolved and guarded at the start counts."""
    begun(cli, node, cli.plan(guard={"protect": {"where": [["name~=core-%"]], "may_be_empty": True}}))
    rename(node, "app-1", "core-1")
    assert cli.inside("resume", "last", "--yes").code == 0
    assert puts(node) == [1, 1, 1]


# ── resume: refused ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_no_such_run(cli: Cli, node: Node, verb: str) -> None:
    """No journal, no run in it, an unknown id, an ambiguous prefix: 2, and nothing is asked or made."""
    for name in ("last", "2026"):
        refused(cli.inside(verb, name, "--yes"), 2, "no journal", "--journal PATH")
    assert not (cli.folder / "journal.sqlite").exists()
    asyncio.run(SqliteJournal(cli.folder / "journal.sqlite").close())
    refused(cli.inside(verb, "last", "--yes"), 2, "no run")
    begun(cli, node, hours_ago=1), begun(cli, node)
    asked = node.asked
    refused(cli.inside(verb, "nobody", "--yes"), 2, "nobody", "orchestrator runs")
    refused(cli.inside(verb, "2", "--yes"), 2, "2 runs")
    assert node.asked == asked


@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_another_node_is_not_even_asked(cli: Cli, node: Node, verb: str) -> None:
    """Another endpoint in a flag or in the environment: 3 with both, and neither node hears anything."""
    run_id = begun(cli, node)
    if verb == "retry":
        assert cli.inside("resume", run_id, "--yes").code == 0
    asked, runs = node.asked, listed(cli)
    other = "http://127.0.0.1:9/zstack"
    envs: list[tuple[tuple[str, ...], dict[str, str | None]]] = [
        (("--endpoint", other), {}),
        ((), {"ZSTACK_ENDPOINT": other}),
        ((), {"ZSTACK_ENDPOINT": None, "ZSTACK_HOST": "127.0.0.1", "ZSTACK_PORT": "9"}),
    ]
    for args, env in envs:
        refused(cli.inside(verb, run_id, "--yes", *args, env=env), 3, f"run {run_id}\n", node.endpoint, other)
    assert (node.asked, listed(cli)) == (asked, runs)


@pytest.mark.parametrize("written", [None, "same", "other words for the same"])
def test_the_journalled_node_need_not_be_named(cli: Cli, node: Node, written: str | None) -> None:
    """Without an endpoint anywhere, or with the same one in other letters, `resume` goes to the node of the run."""
    begun(cli, node)
    endpoint = {None: None, "same": node.endpoint}.get(written, node.endpoint.replace("http://", "HTTP://") + "/")
    assert cli.inside("resume", "last", "--yes", env={"ZSTACK_ENDPOINT": endpoint}).code == 0
    assert puts(node) == [1, 1, 1]


def test_credentials_that_the_node_refuses(cli: Cli, node: Node) -> None:
    """None, wrong ones, and an account that may not stop VMs: refused, nothing sent, and the run can still be carried on."""
    run_id = begun(cli, node)
    none = {"ZSTACK_ACCOUNT_NAME": None, "ZSTACK_ACCOUNT_PASSWORD": None}
    check_nothing_happened(cli, node, cli.inside("resume", run_id, "--yes", env=none), 2, "ZSTACK_ACCOUNT_NAME")
    wrong = {"ZSTACK_ACCOUNT_PASSWORD": "wrong"}
    check_nothing_happened(cli, node, cli.inside("resume", run_id, "--yes", env=wrong), 3, "ZSTACK_ACCOUNT_PASSWORD")
    viewer = {"ZSTACK_ACCOUNT_NAME": "viewer"}
    check_nothing_happened(cli, node, cli.inside("resume", run_id, "--yes", env=viewer), 3, "may not stop")
    assert cli.inside("resume", run_id, "--yes").code == 0


def test_a_node_that_is_away(cli: Cli) -> None:
    """The node cannot be reached: 3, and the run can be carried on as soon as the node is back."""
    with Node(fleet()) as node:
        cli.at(node)
        run_id, port = begun(cli, node), node.sim.port
    refused(cli.inside("resume", "last", "--yes"), 3, f"run {run_id}\n", node.endpoint, "check the endpoint")
    with Node(fleet(), port=port) as back:
        assert cli.inside("resume", "last", "--yes").code == 0
        assert puts(back) == [1, 1, 1]


def test_a_run_at_work_is_not_carried_on(cli: Cli, node: Node) -> None:
    """While the process that works on it lives: 3 with its name and id, from `resume`, `retry` and a `run` over its VMs."""
    run_id = begun(cli, node, owner=ME)
    for command in (("resume", "last"), ("retry", run_id), ("run", cli.plan(targets={"where": [["name=app-1"]]}))):
        done = cli.inside(*command, "--yes")
        check_nothing_happened(cli, node, done, 3, ME.who, str(os.getpid()), run_id)


def test_no_at_the_question(cli: Cli, node: Node) -> None:
    """`resume` on a terminal shows what is left and asks; anything but yes is 3, nothing is sent, and the run stays free."""
    run_id = begun(cli, node)
    terminal = Terminal(cli, "resume", "last")
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    assert terminal.seen.startswith(f"run {run_id}\n")
    for words in ("3 targets", "3 not sent yet", node.endpoint, "Carry on with 3 VMs?"):
        assert words in terminal.seen
    terminal.type("no\n")
    assert terminal.end() == 3
    assert "not confirmed: nothing was sent" in terminal.seen
    assert node.stops == 0
    assert cli.inside("resume", "last", "--yes").code == 0


def test_yes_at_the_question(cli: Cli, node: Node) -> None:
    """yes on the terminal carries the run on to its end."""
    begun(cli, node)
    terminal = Terminal(cli, "resume", "last")
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    terminal.type("yes\n")
    assert terminal.end() == 0
    assert puts(node) == [1, 1, 1]


# ── resume: journals of the first version ──────────────────────────────────────────────────────────────────────────
@pytest.fixture
def old(cli: Cli, node: Node) -> str:
    """A journal that the first version wrote, of runs at this node.

    The VM that its finished run left failed, and that of the run without a call, are the one that is returned.
    """
    uuid = node.ask(lambda: next(iter(node.sim.vms)))
    script = VERSION_1.replace("http://mn.example:8080/zstack", node.endpoint).replace(FAILED_THEN, OTHER_NAME)
    script = script.replace(uuid, GONE).replace(OTHER_NAME, uuid).replace(UNSENT_THEN, uuid)
    with closing(sqlite3.connect(cli.folder / "journal.sqlite")) as made:
        made.executescript(script)
    return uuid


def test_an_old_run_with_calls_is_not_carried_on(cli: Cli, node: Node, old: str) -> None:
    """The first version kept too little of a stop under way: 3, the run and what to do are named, and nothing is sent."""
    refused(cli.inside("resume", "20261028T15", "--yes"), 3, "20261028T150000Z-2c3d", "earlier version", "orchestrator show")
    assert node.stops == 0


def test_an_old_run_without_calls_is_carried_on(cli: Cli, node: Node, old: str) -> None:
    """Where nothing was sent yet, the first version kept enough."""
    done = cli.inside("resume", "20261028T16", "--yes")
    assert done.code == 0, done
    assert [(vm["uuid"], vm["outcome"]) for vm in cli.report()["vms"]] == [(old, "stopped_clean")]
    assert sorted(puts(node)) == [0, 0, 1]


def test_an_old_run_is_retried(cli: Cli, node: Node, old: str) -> None:
    """What a run of the first version left is taken up by `retry`."""
    done = cli.inside("retry", "20261028T14", "--yes")
    assert done.code == 0, done
    report = newest(cli)
    assert [(vm["uuid"], vm["outcome"]) for vm in report["vms"]] == [(old, "stopped_clean")]
    assert report["run"]["parent_run"] == "20261028T140000Z-0a1b"


# ── what is told of an unfinished run ──────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def unfinished(cli: Cli, node: Node) -> str:
    """A run that has not ended."""
    return begun(cli, node)


@pytest.mark.parametrize(
    ("form", "words", "top"),
    [
        ("html", "This run is not finished", 600),
        ("markdown", "This run is not finished", 400),
        ("junit", '<property name="status" value="running"/>', 700),
        ("text", "This run is not finished", 30),
    ],
)
def test_a_report_says_that_the_run_has_not_ended(cli: Cli, unfinished: str, form: str, words: str, top: int) -> None:
    """Each format begins with it, and the command answers 0."""
    done = cli.inside("report", "last", "--format", form)
    assert (done.code, done.err) == (0, f"run {unfinished}\n")
    assert words in done.out[max(done.out.find("<body"), 0) :][:top]


def test_a_program_reads_that_the_run_has_not_ended(cli: Cli, unfinished: str) -> None:
    """report.json comes with the status `running`, no code, no end and no outcomes; JUnit counts every case as skipped."""
    report = run_of(cli, unfinished)
    run = report["run"]
    assert (run["id"], run["status"], run["finished_at"], run["exit_code"]) == (unfinished, "running", None, None)
    assert [vm["outcome"] for vm in report["vms"]] == [None] * 3
    suite = ET.fromstring(cli.inside("report", "last", "--format", "junit").out)
    assert (suite.get("tests"), suite.get("skipped"), suite.get("failures")) == ("3", "3", "0")


def test_a_table_claims_nothing_of_what_has_no_outcome(cli: Cli, unfinished: str) -> None:
    """CSV has no top: the outcome of a VM that has none is empty, and so is everything that would follow from it."""
    done = cli.inside("report", "last", "--format", "csv")
    assert done.code == 0
    rows = list(csv.DictReader(io.StringIO(done.out.removeprefix("\ufeff"))))
    assert len(rows) == 3
    for row in rows:
        assert (row["outcome"], row["finished_at"]) == ("", "")


def test_runs_and_show_tell_of_it(cli: Cli, unfinished: str) -> None:
    """`runs` has it as running without a code, `show` says that it is not finished; both answer 0."""
    runs = cli.inside("runs")
    assert runs.code == 0
    assert re.match(rf"{unfinished}  running +exit - ", runs.out), runs.out
    shown = cli.inside("show", "last")
    assert shown.code == 0
    assert shown.out.startswith("This run is not finished")


@pytest.mark.parametrize("node", [DEAF], indirect=True)
def test_readers_beside_a_run(cli: Cli, node: Node) -> None:
    """While a run writes, `runs`, `show` and `report` read what it has so far, meet no lock, and say that it goes on."""
    running = cli.start("run", cli.plan(report={"formats": []}), "--yes")
    wait_until(lambda: node.stops, "the first stop is at the node")
    seen: list[str] = []
    while running.process.poll() is None:
        for command in (("runs",), ("show", "last"), ("report", "last", "--format", "json")):
            done = cli.inside(*command)
            assert done.code == 0, done
            assert "locked" not in done.said
        seen.append(json.loads(done.out)["run"]["status"])
    assert running.wait().code == 0
    assert "running" in seen
    assert run_of(cli, "last")["run"]["status"] == "finished"


# ── retry ──────────────────────────────────────────────────────────────────────────────────────────────────────────
FOUR = (VmGroup(name="app-{n}", count=4, guest=quick()),)
NO_FALLBACK = {"grace_timeout": "4s", "cold_timeout": "4s", "power_cut_after": "1200ms", "fallback": "none"}


class Broken:
    """Stops of these VMs fail at the node, until it is mended."""

    def __init__(self, node: Node, *names: str) -> None:
        self._node, self._fault = node, Fault(kind="verdict", on="stop", vms=names)
        node.ask(lambda: node.sim.faults.add(self._fault))

    def mend(self) -> None:
        """From now on they work."""
        self._node.ask(lambda: self._node.sim.faults.remove(self._fault))


def half_done(cli: Cli, node: Node, **sections: Any) -> str:
    """A run that left app-1 to app-3 failed and a UUID not found, and stopped app-4; its id."""
    broken = Broken(node, "app-1", "app-2", "app-3")
    targets = {"where": [["name~=app-%"]], "uuids": [GONE]}
    base: dict[str, Any] = {"targets": targets, "stop": NO_FALLBACK, "report": {"formats": []}}
    done = cli.inside("run", cli.plan(**(base | sections)), "--yes")
    broken.mend()
    assert done.code == 1, done
    return listed(cli)[0]


def outcomes(report: Any) -> dict[str, str]:
    """Outcomes by name."""
    return {vm["name"]: vm["outcome"] for vm in report["vms"]}


@pytest.mark.parametrize("node", [FOUR], indirect=True)
def test_what_was_left_is_tried_again(cli: Cli, node: Node) -> None:
    """A new run over exactly the failed ones, one at a time as the plan says; one that is Stopped by now gets no call."""
    limits = {"concurrency": 1, "requests_per_second": 500}
    parent = half_done(cli, node, guard={"expect_targets": 5, "max_targets": 5}, limits=limits)
    app_1 = node.ask(lambda: node.sim.vm("app-1").uuid)
    node.ask(lambda: node.sim.act(app_1, "stop"))
    before, sent = node.stops, node.ask(lambda: node.sim.record.stop_puts(app_1))
    done = cli.inside("retry", "last", "--yes")
    assert done.code == 0, done
    report = newest(cli)
    new = report["run"]["id"]
    assert done.err.splitlines()[0] == f"run {parent}"
    assert f"run {new}" in done.err.splitlines()
    assert new != parent
    assert listed(cli) == [new, parent]
    assert report["run"]["parent_run"] == parent
    assert outcomes(report) == {"app-1": "already_stopped", "app-2": "stopped_clean", "app-3": "stopped_clean"}
    assert report["totals"]["targets"] == 3
    assert node.ask(lambda: node.sim.record.stop_puts(app_1)) == sent
    assert node.ask(lambda: peak(node.sim.record.stops[before:])) == 1
    assert run_of(cli, parent)["run"]["exit_code"] == 1


@pytest.mark.parametrize("node", [FOUR], indirect=True)
def test_a_retry_of_a_retry(cli: Cli, node: Node) -> None:
    """`retry last` takes the newest ended run, be it a retry; one that has not ended is passed over."""
    parent = half_done(cli, node)
    broken = Broken(node, "app-3")
    assert cli.inside("retry", "last", "--yes").code == 1
    broken.mend()
    second = listed(cli)[0]
    begun(cli, node, cli.plan("other.yaml", targets={"where": [["name=app-4"]]}))
    assert cli.inside("retry", "last", "--yes").code == 0
    report = newest(cli)
    assert report["run"]["parent_run"] == second != parent
    assert outcomes(report) == {"app-3": "stopped_clean"}


@pytest.mark.parametrize("node", [FOUR], indirect=True)
def test_what_is_protected_by_now_refuses_a_retry(cli: Cli, node: Node) -> None:
    """`protect` is asked again: a target that it names by now is 3, nothing is sent, and no run is made."""
    half_done(cli, node, guard={"protect": {"where": [["name~=core-%"]], "may_be_empty": True}})
    rename(node, "app-2", "core-2")
    before, runs = node.stops, listed(cli)
    refused(cli.inside("retry", "last", "--yes"), 3, "core-2", "protect")
    assert (node.stops, listed(cli)) == (before, runs)


@pytest.mark.parametrize("node", [FOUR], indirect=True)
def test_what_is_excluded_by_now_is_left_out_of_a_retry(cli: Cli, node: Node) -> None:
    """`exclude` is asked again: what it names by now is no target, and is listed as excluded."""
    half_done(cli, node, exclude={"where": [["name~=keep-%"]], "may_be_empty": True})
    rename(node, "app-2", "keep-2")
    assert cli.inside("retry", "last", "--yes").code == 0
    report = newest(cli)
    assert set(outcomes(report)) == {"app-1", "app-3"}
    assert [vm["name"] for vm in report["run"]["excluded"]] == ["keep-2"]


@pytest.mark.parametrize("node", [FOUR], indirect=True)
def test_a_retry_needs_no_file_of_the_plan(cli: Cli, node: Node) -> None:
    """Plan and UUID files gone meanwhile: targets, excluded and protected VMs are those the run knew."""
    uuids = node.ask(lambda: {name: node.sim.vm(name).uuid for name in ("app-1", "app-2", "app-3", "app-4")})
    for name in ("app-1", "app-4"):
        (cli.folder / f"{name}.txt").write_text(f"{uuids[name]}\n", "utf-8")
    half_done(
        cli,
        node,
        targets={"where": [["name~=app-%"]], "uuids": [GONE]},
        exclude={"uuid_files": ["app-1.txt"]},
        guard={"protect": {"uuids": [uuids["app-1"]], "may_be_empty": True}},
    )
    for path in cli.folder.glob("*.txt"):
        path.unlink()
    (cli.folder / "plan.yaml").unlink()
    assert cli.inside("retry", "last", "--yes").code == 0
    assert outcomes(newest(cli)) == {"app-2": "stopped_clean", "app-3": "stopped_clean"}
    assert node.ask(lambda: node.sim.record.stop_puts(uuids["app-1"])) == 0


def test_nothing_to_retry(cli: Cli, node: Node) -> None:
    """A run that left nothing, or only what a retry does not take: 0 with a sentence, and no run is made."""
    for targets in ({"where": [["name~=app-%"]]}, {"uuids": [GONE]}):
        cli.inside("run", cli.plan(targets=targets, report={"formats": []}), "--yes")
        asked, runs = node.asked, listed(cli)
        done = cli.inside("retry", runs[0], "--yes")
        assert done.code == 0, done
        assert "nothing to retry" in done.err
        assert (node.asked, listed(cli)) == (asked, runs)


def test_a_run_that_has_not_ended_is_not_retried(cli: Cli, node: Node) -> None:
    """3, and `resume` is what to do; `last` finds no run that has ended: 2."""
    run_id = begun(cli, node)
    check_nothing_happened(cli, node, cli.inside("retry", run_id, "--yes"), 3, f"orchestrator resume {run_id}")
    check_nothing_happened(cli, node, cli.inside("retry", "last", "--yes"), 2, "no run")


@pytest.mark.parametrize("node", [FOUR], indirect=True)
def test_a_retry_asks_as_a_run_does(cli: Cli, node: Node) -> None:
    """Without a terminal it needs --yes (2); on one it shows what is left and asks; no is 3, and no run is made."""
    parent = half_done(cli, node)
    before = node.stops
    refused(cli.inside("retry", "last"), 2, f"run {parent}\n", "--yes")
    terminal = Terminal(cli, "retry", "last")
    wait_until(lambda: "Type yes" in terminal.seen, "the question")
    assert f"Stop 3 VMs at {node.endpoint}?" in terminal.seen
    terminal.type("no\n")
    assert terminal.end() == 3
    assert (node.stops, listed(cli)) == (before, [parent])


@pytest.mark.parametrize("node", [FOUR], indirect=True)
def test_what_another_run_works_on_is_not_retried(cli: Cli, node: Node) -> None:
    """A living run has one of the VMs that were left: 3 with its owner and its id, and nothing is sent."""
    parent = half_done(cli, node)
    other = begun(cli, node, cli.plan(targets={"where": [["name=app-2"]]}), owner=ME)
    before = node.stops
    refused(cli.inside("retry", parent, "--yes"), 3, other, ME.who, "1 of these VMs")
    assert node.stops == before
    assert set(listed(cli)) == {parent, other}
