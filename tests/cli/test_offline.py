"""Commands that need no node: help, plans, schemas, what is not supported yet, and `simulate`."""

import json
import re
import signal
import socket
from pathlib import Path

import jsonschema
import pytest

from tests.cli.support import Cli, refused, wait_until

README = Path(__file__).parents[2] / "README.md"
COMMANDS = (
    "run", "preview", "validate", "schema", "runs", "show", "report", "doctor", "simulate",
    "resume", "retry", "restore", "steer",
)  # fmt: skip


def test_help_lists_every_command(cli: Cli) -> None:
    """`--help` names all commands and answers 0; without a command the same text comes with 2."""
    done = cli("--help")
    assert done.code == 0
    assert all(re.search(rf"^  {name} ", done.out, re.MULTILINE) for name in COMMANDS)
    assert cli.inside().code == 2
    assert cli("--version").out.startswith("zstack-orchestrator ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    """Each command explains itself on stdout, and no help offers a secret as a flag."""
    done = cli.inside(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: orchestrator {command}")
    assert not re.search(r"--\S*(password|secret|session)", done.out)


@pytest.mark.parametrize(
    "args", [("stop",), ("run",), ("validate",), ("run", "a", "b"), ("preview", "--nope"), ("schema", "x"),
             ("report", "last"), ("report", "last", "--format", "pdf"), ("simulate", "--port", "x"),
             ("run", "p", "--allow-drift", "-1")],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_command_line_is_two(cli: Cli, args: tuple[str, ...]) -> None:
    """Whatever is wrong with the words of the command line: 2, with what was wrong."""
    refused(cli.inside(*args), 2, "Error: ")


def test_readme_promises_these_codes() -> None:
    """README's table has exactly the codes that these tests pin."""
    section = README.read_text("utf-8").split("## Exit codes")[1].split("\n## ")[0]
    assert re.findall(r"^\| (\d+) \|", section, re.MULTILINE) == ["0", "1", "2", "3", "4", "130"]


def test_validate_names_every_place(cli: Cli) -> None:
    """Good and bad plans in one call: the good ones are ok, each problem has file, line and column, and the code is 2."""
    good = cli.plan("good.yaml")
    bad = cli.folder / "bad.yaml"
    bad.write_text(
        "version: 1\nname: x\ntargets:\n  where: [[name=a]]\nlimits:\n  concurency: 5\n  per_host: none\n", "utf-8"
    )
    done = cli("validate", good, bad, "missing.yaml")
    assert done.code == 2
    assert done.out == f"{good}: ok\n"
    assert re.search(rf"^{re.escape(str(bad))}:6:3: .*concurency", done.err, re.MULTILINE)
    assert re.search(rf"^{re.escape(str(bad))}:7:13: ", done.err, re.MULTILINE)
    assert "missing.yaml: cannot be read" in done.err


def test_validate_strict_refuses_warnings(cli: Cli) -> None:
    """A warning leaves 0 and becomes 2 under --strict."""
    plan = cli.plan(targets={"where": [["state=Running"]]})
    loose = cli("validate", plan)
    assert loose.code == 0
    assert loose.err.startswith("warning: ")
    strict = cli("validate", plan, "--strict")
    assert strict.code == 2
    assert strict.err.startswith("error: ")
    assert "ok" not in strict.out


@pytest.mark.parametrize("what", ["plan", "report"])
def test_schema_is_a_schema(cli: Cli, what: str) -> None:
    """`schema` prints a JSON Schema that checkers accept."""
    done = cli.inside("schema", what)
    assert (done.code, done.err) == (0, "")
    schema = json.loads(done.out)
    jsonschema.validators.validator_for(schema).check_schema(schema)


def test_simulate_refuses_a_bad_scenario(cli: Cli) -> None:
    """A scenario that is wrong or missing: 2, with the file and the key."""
    path = cli.folder / "s.yaml"
    path.write_text("vms: [{nam: x}]\n", "utf-8")
    refused(cli.inside("simulate", "--port", "0", "--scenario", path), 2, "s.yaml", "nam")
    refused(cli.inside("simulate", "--port", "0", "--scenario", "none.yaml"), 2, "none.yaml")


def test_simulate_refuses_a_taken_port(cli: Cli) -> None:
    """A port in use: 2, and another one is proposed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused(cli.inside("simulate", "--port", str(taken.getsockname()[1])), 2, "cannot be used", "--port")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_serves_until_it_is_told(cli: Cli, number: signal.Signals) -> None:
    """It says where it listens, serves a real run's `doctor`, and ends with 0 on a signal."""
    running = cli.start("simulate", "--port", "0", "--vms", "3", "--hosts", "1", "--time-scale", "50")
    out = cli.folder / "out-1"
    wait_until(lambda: out.read_text("utf-8").endswith("x50\n"), "the node's own line")
    found = re.search(r"http://127\.0\.0\.1:\d+/zstack", out.read_text("utf-8"))
    assert found is not None
    env = {"ZSTACK_ENDPOINT": found[0], "ZSTACK_ACCOUNT_NAME": "admin", "ZSTACK_ACCOUNT_PASSWORD": "password"}
    assert cli("doctor", env=env).code == 0
    running.process.send_signal(number)
    assert running.wait().code == 0
