"""Every command that a page shows is run, in the page's own order, with the plans that the page shows."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.cli.support import CANARIES, PATIENCE, Cli, wait_until

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
        more = "" if "verify:" in plan else "verify: {after: 2m}\n"
        if "evacuate:" in plan:  # many short migrations, at the pace of a node that is 20 times as fast
            more += "stop: {power_cut_after: 3s, grace_timeout: 12s, cold_timeout: 9s}\n"
        yield name, sooner(plan + more)


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


def test_the_commands_of_every_page_work(tmp_path: Path) -> None:
    """None of them is refused for how it is written, and each ends as it does for a reader; the pages side by side."""
    assert PAGES
    with ThreadPoolExecutor(max_workers=4) as readers:
        list(readers.map(lambda page: read(page, tmp_path / Path(page).stem), PAGES))


def read(page: str, folder: Path) -> None:
    """Do what the page says, in a folder of its own."""
    cli = Cli(folder)
    shutil.copytree(ROOT / "plans", folder / "plans")
    for path in (folder / "plans").glob("*.yaml"):
        path.write_text(sooner(path.read_text("utf-8")), "utf-8")
    for name, plan in plans(page):
        (folder / name).write_text(plan, "utf-8")
    shown = commands(page)
    nodes = [words for words in shown if words[0] == "simulate"]
    assert len(nodes) < 2, f"{page} starts more than one node"
    with simulated(cli, nodes[0] if nodes else FLEET):
        mine = [words for words in shown if words not in nodes]
        if not any(words[0] == "run" for words in mine):
            assert cli("run", "plans/canary.yaml", "--yes").code == 0
        for command in mine:
            words = [
                {"8099": "0"}.get(word, word) for word in (command[: command.index(">")] if ">" in command else command)
            ]
            done = cli(*words, *(["--yes"] if words[0] in ASKING and "--yes" not in words else []))
            assert "Usage: " not in done.err, (page, command, done)
            assert done.code in CODES.get(words[0], {0}), (page, command, done)
    assert cli.leaks(CANARIES) == []
