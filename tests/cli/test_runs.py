"""Runs to their end, what they leave behind, previews held against them, and how they talk."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import Guest, VmGroup
from tests.cli.support import GONE, Cli, Node, clean, quick, refused, wait_until

FORMATS = ("json", "html", "markdown", "csv", "junit", "text")


def test_a_good_run_is_zero(cli: Cli, node: Node) -> None:
    """All stopped: 0; the files are there with mode 0600, and the terminal names them and the run."""
    done = cli("run", cli.plan(), "--yes")
    assert done.code == 0, done
    report = cli.report()
    assert report["totals"]["stopped_clean"] == 3
    assert report["run"]["exit_code"] == 0
    run_id = report["run"]["id"]
    assert done.err.startswith(f"run {run_id}\n")
    files = sorted(path.name for path in (cli.folder / "reports" / run_id).iterdir())
    assert files == ["report.csv", "report.html", "report.json", "report.md", "report.xml"]
    for name in files:
        path = cli.folder / "reports" / run_id / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert f"report: reports/{run_id}/{name}" in done.out
    assert stat.S_IMODE((cli.folder / "journal.sqlite").stat().st_mode) == 0o600


def test_metrics_are_kept_in_a_file(cli: Cli, node: Node) -> None:
    """`--metrics-file` leaves the run's last counts, beside nothing else; one in no folder refuses before the run."""
    (cli.folder / "metrics").mkdir()
    done = cli("run", cli.plan(), "--yes", "--quiet", "--metrics-file", "metrics/run.prom")
    assert done.code == 0, done
    [path] = (cli.folder / "metrics").iterdir()
    text = path.read_text("utf-8")
    run_id = cli.report()["run"]["id"]
    for line in (f'run_vms{{run="{run_id}",outcome="stopped_clean"}} 3', f'run_finished{{run="{run_id}"}} 1'):
        assert f"orchestrator_{line}\n" in text
    assert f'orchestrator_run_limit_requests_per_second{{run="{run_id}"}} 500\n' in text
    stops = node.stops
    refused(cli("run", cli.plan(), "--yes", "--metrics-file", "nowhere/run.prom"), 2, "nowhere/run.prom", "folder")
    assert node.stops == stops


def test_a_run_with_a_target_that_does_not_exist_is_one(cli: Cli, node: Node) -> None:
    """not_found among the targets: the run finishes, and answers 1."""
    done = cli("run", cli.plan(targets={"uuids": [GONE], "where": [["name=app-1"]]}, report={"formats": []}), "--yes")
    assert done.code == 1, done
    totals = cli.report()["totals"]
    assert (totals["not_found"], totals["stopped_clean"]) == (1, 1)


@pytest.mark.parametrize(
    "node", [(VmGroup(name="app-{n}", count=2, guest=Guest(behaviour="fails", fails_after=1)),)], indirect=True
)
def test_a_run_with_failures_is_one_and_is_kept(cli: Cli, node: Node) -> None:
    """A failed VM: 1, with the node's chain; `runs`, `show` and `report` tell it again from the journal."""
    done = cli("run", cli.plan(stop={**json.loads(cli.plan().read_text())["stop"], "fallback": "none"}), "--yes")
    assert done.code == 1, done
    assert "HOST.1006" in done.out
    report = cli.report()
    run_id, vm = report["run"]["id"], report["vms"][0]
    assert run_id in cli.inside("runs").out
    for name in ("last", run_id, run_id[:12]):
        shown = cli.inside("show", name)
        assert (shown.code, shown.err) == (0, f"run {run_id}\n")
        assert "HOST.1006" in shown.out
    one = cli.inside("show", "last", vm["uuid"].upper())
    assert one.code == 0
    assert f"{vm['name']} {vm['uuid']}: failed" in one.out
    assert vm["attempts"][0]["job_uuid"] in one.out
    refused(cli.inside("show", "last", GONE), 2, GONE)
    for form in FORMATS:
        again = cli.inside("report", "last", "--format", form)
        assert (again.code, again.err) == (0, f"run {run_id}\n")
        out = cli.folder / f"again.{form}"
        out.touch(mode=0o644)
        assert cli.inside("report", run_id, "--format", form, "-o", out).code == 0
        assert out.read_bytes().decode() == again.out
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert json.loads(cli.inside("report", "last", "--format", "json").out) == report
    refused(cli.inside("report", "last", "--format", "csv", "-o", "no/where.csv"), 2, "no/where.csv")


def test_which_run_is_meant(cli: Cli, node: Node) -> None:
    """No journal, an unknown RUN, an ambiguous prefix: 2, and `orchestrator runs` is named."""
    refused(cli.inside("show", "last"), 2, "no run")
    plan = cli.plan(targets={"where": [["name=app-1"]]}, report={"formats": []})
    for _ in range(2):
        assert cli.inside("run", plan, "--yes").code == 0
    newest, oldest = [line.split()[0] for line in cli.inside("runs").out.splitlines()]
    assert newest[:16] >= oldest[:16]
    assert cli.inside("show", "last").err == f"run {newest}\n"
    for command in (("show",), ("report", "--format", "json")):
        refused(cli.inside(command[0], "2", *command[1:]), 2, "2 runs", "orchestrator runs")
        refused(cli.inside(command[0], "20990101T", *command[1:]), 2, "20990101T", "orchestrator runs")
        refused(cli.inside(command[0], "", *command[1:]), 2, "orchestrator runs")


def test_preview_changes_nothing(cli: Cli, node: Node) -> None:
    """`preview` counts, names its digest, writes its file, answers 0, and nothing is stopped."""
    done = cli("preview", cli.plan(), "--out", "p.json")
    assert (done.code, done.err) == (0, "")
    assert "3 targets" in done.out
    assert "3 to stop" in done.out
    kept = json.loads((cli.folder / "p.json").read_text("utf-8"))
    assert kept["digest"] in done.out
    assert "--preview p.json" in done.out
    assert node.stops == 0
    refused(cli.inside("preview", cli.plan(), "--out", "no/p.json"), 2, "no/p.json")


def test_drift_refuses(cli: Cli, node: Node) -> None:
    """Appeared, vanished, other verdict, other plan, other node: 3 with what changed; no preview: 2; nothing is sent."""
    plan = cli.plan()
    assert cli.inside("preview", plan, "--out", "p.json").code == 0
    made = json.loads((cli.folder / "p.json").read_text("utf-8"))
    first, *others = made["vms"]

    def held(**changes: Any) -> Path:
        path = cli.folder / "changed.json"
        path.write_text(json.dumps({**made, **changes}), "utf-8")
        return path

    cases: list[tuple[dict[str, Any], str]] = [
        ({"vms": others}, f"{first['name']} ({first['uuid']}) appeared"),
        ({"vms": [*made["vms"], {**first, "uuid": GONE, "name": "app-9"}]}, f"app-9 ({GONE}) vanished"),
        ({"vms": [{**first, "verdict": "skip"}, *others]}, "was skip, is now ok"),
        ({"vms": [{**first, "wave": "db"}, *others]}, "moved from wave db to all"),
        ({"plan_digest": "sha256:0"}, "preview it again"),
        ({"endpoint": "http://mn:8080/zstack"}, "http://mn:8080/zstack"),
    ]
    for changes, word in cases:
        refused(cli.inside("run", plan, "--yes", "--preview", held(**changes)), 3, word)
    both = held(vms=[*others, {**first, "uuid": GONE, "name": "app-9"}])
    refused(cli.inside("run", plan, "--yes", "--preview", both, "--allow-drift", "1"), 3, "2 targets have drifted")
    (cli.folder / "none.json").write_text("[]", "utf-8")
    for name in ("none.json", "missing.json"):
        refused(cli.inside("run", plan, "--yes", "--preview", name), 2, name, "orchestrator preview")
    assert node.stops == 0
    assert cli("run", plan, "--yes", "--preview", both, "--allow-drift", "2").code == 0
    assert sum("drift: " in warning for warning in cli.report()["run"]["warnings"]) == 2


def test_drift_that_only_warns(cli: Cli, node: Node) -> None:
    """Moved host and now Stopped are listed as warnings, and the run goes on to 0."""
    plan = cli.plan()
    assert cli.inside("preview", plan, "--out", "p.json").code == 0
    made = json.loads((cli.folder / "p.json").read_text("utf-8"))
    made["vms"][0]["host_uuid"] = GONE
    (cli.folder / "p.json").write_text(json.dumps(made), "utf-8")
    uuid = made["vms"][1]["uuid"]
    node.ask(lambda: node.sim.act(uuid, "stop"))
    wait_until(lambda: node.ask(lambda: node.sim.vms[uuid].state) == "Stopped", "somebody else stopped it")
    done = cli("run", plan, "--yes", "--preview", "p.json")
    assert done.code == 0, done
    text = " ".join(done.out.split())
    assert f"moved from host {GONE}" in text
    assert "is now already_stopped" in text


def test_quiet_leaves_the_summary(cli: Cli, node: Node) -> None:
    """--quiet: stderr is empty, the summary and the reports are there."""
    done = cli("run", cli.plan(report={"formats": []}), "--yes", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("All 3 VMs are stopped.")


def test_every_line_of_a_json_log_is_json(cli: Cli, node: Node) -> None:
    """--log-format json: each stderr line is one object with an event, warnings and refusals included."""
    warned = cli.plan(targets={"where": [["name~=app-%", "state=Running"]]}, report={"formats": []})
    good = cli("run", warned, "--yes", "--log-format", "json")
    assert good.code == 0, good
    lines = [json.loads(line) for line in good.err.splitlines()]
    assert {"message", "run.started", "vm.outcome", "run.finished"} <= {line["event"] for line in lines}
    bad = cli.inside("run", cli.plan(guard={"max_targets": 1}), "--yes", "--log-format", "json")
    assert bad.code == 3
    assert "guard.max_targets" in json.loads(bad.err)["text"]


def test_no_colour_where_nobody_wants_it(cli: Cli, node: Node) -> None:
    """NO_COLOR with any value, --no-color, and no terminal: no escape is written."""
    plan = cli.plan(targets={"where": [["name=app-1"]]}, report={"formats": []})
    done = cli("run", plan, "--yes", "--no-color", "--log-format", "console", env={"NO_COLOR": "please"})
    assert done.code == 0, done
    assert "run.finished" in done.err
    assert "\x1b" not in done.said


def test_closed_streams_are_no_files_of_ours(cli: Cli, node: Node) -> None:
    """Started with all streams closed, as some schedulers do: the run's own code, and journal and report are whole."""
    command = [
        "sh",
        "-c",
        'exec "$@" <&- >&- 2>&-',
        "sh",
        sys.executable,
        "-m",
        "orchestrator",
        "run",
        str(cli.plan()),
        "--yes",
    ]
    assert subprocess.run(command, cwd=cli.folder, env=cli.env, check=False, timeout=30).returncode == 0
    assert cli.report()["totals"]["stopped_clean"] == 3
    assert "finished" in cli.inside("runs").out


@pytest.mark.parametrize("node", [(VmGroup(name="app-1", guest=Guest(behaviour="ignores_acpi")),)], indirect=True)
def test_reports_that_lose_their_place_in_mid_run(cli: Cli, node: Node) -> None:
    """The report folder goes away during the run: the code stays the run's, and the words say how to render it again."""
    running = cli.start("run", cli.plan(), "--yes")
    wait_until(lambda: node.stops, "the stop is at the node")
    (cli.folder / "reports").rmdir()
    (cli.folder / "reports").touch()
    done = running.wait()
    assert done.code == 0, done
    assert "reports cannot be written" in done.err
    assert "orchestrator report 2" in done.err
    assert done.out.startswith("The VM is stopped") or "stopped_forced" in done.out
    assert cli.inside("report", "last", "--format", "json").code == 0


@pytest.mark.parametrize("node", [(VmGroup(name="app-机房-{n}", count=2, guest=quick()),)], indirect=True)
def test_streams_never_change_what_becomes_of_a_run(cli: Cli, node: Node) -> None:
    """A terminal that knows only ASCII, and a reader that leaves at once: the code is the run's, the reports are there."""
    plan = cli.plan(
        targets={"where": [["name=app-机房-1"]]}, report={"formats": []}, exclude={"uuids": [GONE], "may_be_empty": True}
    )
    assert cli("run", plan, "--yes", env={"PYTHONIOENCODING": "ascii"}).code == 0
    plan = cli.plan(targets={"where": [["name=app-机房-2"]]}, report={"formats": []})
    command = [sys.executable, "-m", "orchestrator", "run", str(plan), "--yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cli.folder, env=cli.env) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        clean(process.stderr.readline().decode())
        process.stderr.close()
        assert process.wait(30) == 0
    assert len(list((cli.folder / "reports").glob("*/report.json"))) == 2
