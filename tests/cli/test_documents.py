"""Every command that a page shows is run, in the page's own order, with the plans that the page shows."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.support import PATIENCE, Cli, wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    if re.search(r"^orchestrator ", path.read_text("utf-8"), re.M)
)
ASKING = {"run", "resume", "retry", "restore"}
CODES = {"run": {0, 1, 4}, "resume": {0, 1, 2, 4}, "retry": {0, 1}, "restore": {0, 1}, "steer": {2}}
"""What a command may end with here: guests are made to fail, and nothing is left to resume or to steer."""


def commands(page: str) -> list[list[str]]:
    """The page's command lines, as words, comments left out."""
    text = (ROOT / page).read_text("utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    return [re.split(r"\s+#", line)[0].split()[1:] for line in lines if line.startswith("orchestrator ")]


def plans(page: str) -> Iterator[tuple[str, str]]:
    """Plans that the page shows under their names."""
    text = (ROOT / page).read_text("utf-8")
    for name, plan in re.findall(r"`([\w-]+\.yaml)`:\n\n```yaml\n(.*?)^```", text, re.M | re.S):
        yield name, sooner(plan if "verify:" in plan else f"{plan}verify: {{after: 2m}}\n")


def sooner(plan: str) -> str:
    """A plan that waits neither for a window years ahead nor for long before it verifies."""
    without = re.sub(r"^window:\n(  .*\n)+", "", plan, flags=re.M)
    return re.sub(r"^verify: \{after: \w+\}", "verify: {after: 500ms}", without, flags=re.M)


@contextmanager
def simulated(cli: Cli, words: list[str]) -> Iterator[None]:
    """The node that a page starts, on a port of its own."""
    words = [*words, "--port", "0"]
    out = cli.folder / "node.out"
    with out.open("wb") as file:
        node = subprocess.Popen([sys.executable, "-m", "orchestrator", *words], stdout=file, cwd=cli.folder, env=cli.env)
    try:
        wait_until(lambda: "simulated node at " in out.read_text(), "the node serves")
        found = re.search(r"http://127\.0\.0\.1:\d+/zstack", out.read_text())
        assert found is not None
        cli.env |= {"ZSTACK_ENDPOINT": found[0], "ZSTACK_ACCOUNT_NAME": "admin", "ZSTACK_ACCOUNT_PASSWORD": "password"}
        yield
    finally:
        node.terminate()
        node.wait(PATIENCE)


FLEET = ["simulate", "--scenario", "plans/rehearsal/fleet.yaml", "--time-scale", "20"]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(cli: Cli, page: str) -> None:
    """None of them is refused for how it is written, and each ends as it does for a reader."""
    shutil.copytree(ROOT / "plans", cli.folder / "plans")
    for path in (cli.folder / "plans").glob("*.yaml"):
        text = path.read_text(
            "utf-8"
        )  # as the pages say: a start years ahead is not waited for; two minutes take seconds here
        text = re.sub(r"^window:\n(  .*\n)+", "", text, flags=re.M).replace("verify: {after: 2m}", "verify: {after: 1s}")
        path.write_text(text, "utf-8")
    for name, plan in plans(page):
        (cli.folder / name).write_text(plan, "utf-8")
    shown = commands(page)
    assert shown
    nodes = [words for words in shown if words[0] == "simulate"] or [FLEET]
    for number, words in enumerate(nodes):
        with simulated(cli, words):
            mine = shown
            if len(nodes) > 1 or words is not FLEET:
                begin = shown.index(words)
                mine = shown[begin + 1 : shown.index(nodes[number + 1]) if number + 1 < len(nodes) else None]
            if not any(words[0] == "run" for words in mine):
                assert cli("run", "plans/canary.yaml", "--yes").code == 0
            for command in mine:
                extra = ["--yes"] if command[0] in ASKING and "--yes" not in command else []
                place = ["0" if word == "8099" else word for word in command]
                place = place[: place.index(">")] if ">" in place else place
                done = cli(*place, *extra)
                assert "Usage: " not in done.err, done
                assert done.code in CODES.get(command[0], {0}), (command, done)
