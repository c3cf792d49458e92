"""A command as a process of its own, and a simulated node beside it; what holds for every command is checked here."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from unittest import mock

from orchestrator.cli.main import execute
from orchestrator.simulator import AccessKey, Account, ClusterSpec, Guest, Scenario, SimulatedNode, VmGroup
from orchestrator.simulator.spread import between

T = TypeVar("T")
PASSWORD = "canary-Pa55word-7d1e"
SECRET = "canary-Secret-90ab"
DIGEST = hashlib.sha512(PASSWORD.encode()).hexdigest()
CANARIES = (PASSWORD, SECRET, DIGEST)
TIME_SCALE = 50.0
PATIENCE = 30.0
GONE = "0" * 31 + "1"
ACCOUNT = {"ZSTACK_ACCOUNT_NAME": "admin", "ZSTACK_ACCOUNT_PASSWORD": PASSWORD}


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Look until it holds; fail loudly when it takes too long."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"waited {PATIENCE:g} s in vain: {what}"
        time.sleep(0.02)


def fleet(*groups: VmGroup) -> Scenario:
    """A node with two hosts, an administrator whose password is a canary, and one who may not stop VMs."""
    return Scenario(
        accounts=(
            Account(name="admin", password=PASSWORD, admin=True, access_keys=(AccessKey(id="key-1", secret=SECRET),)),
            Account(name="viewer", password=PASSWORD, may_stop=False),
        ),
        clusters=(ClusterSpec(name="rack-1", hosts=2),),
        vms=groups or (VmGroup(name="app-{n}", count=3, guest=quick()),),
    )


def quick() -> Guest:
    """A guest that obeys at once."""
    return Guest(shutdown=between(2, 4))


class Node:
    """A simulated node in a thread of its own."""

    def __init__(self, scenario: Scenario, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.sim = SimulatedNode(scenario, time_scale=TIME_SCALE, **options)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.sim.__aenter__(), self._loop).result(PATIENCE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self.sim.__aexit__(None, None, None), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def ask(self, question: Callable[[], T]) -> T:
        """Call it where the node lives."""

        async def answer() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(PATIENCE)

    @property
    def endpoint(self) -> str:
        """What a client is configured with."""
        return self.sim.endpoint

    @property
    def stops(self) -> int:
        """Stop jobs that the node accepted for VMs it has."""
        return self.ask(lambda: len(self.sim.record.stops))

    @property
    def asked(self) -> int:
        """Requests of any kind."""
        return self.ask(lambda: len(self.sim.record.requests))

    @property
    def open_sessions(self) -> list[str]:
        """Sessions nobody logged out."""
        return self.ask(self.sim.record.open_sessions)

    @property
    def sessions(self) -> list[str]:
        """Every session there ever was."""
        return self.ask(lambda: list(self.sim.record.sessions))


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both streams."""
        return self.out + self.err


class Running:
    """A command that runs; its streams are files, so that it never waits for us."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def out(self) -> str:
        """What stdout holds so far."""
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        """What stderr holds so far."""
        return self._err.read_text("utf-8")

    def wait(self) -> Done:
        """Its end."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        done = Done(code, self.out, self.err)
        clean(done.said)
        return done


class Cli:
    """Runs commands in a folder of their own, with nothing of the caller's connection in the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env: dict[str, str] = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ZSTACK_", "ORCHESTRATOR_", "XDG_")) and key not in {"NO_COLOR", "FORCE_COLOR"}
        }
        root = str(Path(__file__).parents[2])
        self.env |= {"HOME": str(folder), "PYTHONPATH": root, "ORCHESTRATOR_JOURNAL": str(folder / "journal.sqlite")}
        self._count = 0

    def start(self, *args: str | Path, env: Mapping[str, str | None] | None = None) -> Running:
        """Begin a command. A variable that is None in `env` is taken away."""
        self._count += 1
        out, err = self.folder / f"out-{self._count}", self.folder / f"err-{self._count}"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *map(str, args)],
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                cwd=self.folder,
                env=self.merged(env),
                start_new_session=True,
            )
        return Running(process, out, err)

    def merged(self, env: Mapping[str, str | None] | None) -> dict[str, str]:
        """This environment with some of it changed."""
        return {key: value for key, value in {**self.env, **(env or {})}.items() if value is not None}

    def __call__(self, *args: str | Path, env: Mapping[str, str | None] | None = None) -> Done:
        """Run a command to its end."""
        return self.start(*args, env=env).wait()

    def at(self, node: Node) -> Self:
        """From now on against this node, as its administrator."""
        self.env |= {"ZSTACK_ENDPOINT": node.endpoint, **ACCOUNT}
        return self

    def inside(self, *args: str | Path, env: Mapping[str, str | None] | None = None) -> Done:
        """The same without a process of its own: for the many ways to be refused before anything is opened."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.merged(env), clear=True),
            mock.patch.object(sys, "stdin", io.StringIO()),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = execute([str(arg) for arg in args])
        done = Done(code, out.getvalue(), err.getvalue())
        clean(done.said)
        return done

    def plan(self, name: str = "plan.yaml", **sections: Any) -> Path:
        """A plan at the simulated node's pace, with sections replaced."""
        base: dict[str, Any] = {
            "version": 1,
            "name": "cli",
            "targets": {"where": [["name~=app-%"]]},
            "stop": {"grace_timeout": "4s", "cold_timeout": "4s", "power_cut_after": "1200ms"},
            "limits": {"requests_per_second": 500},
            "verify": {"after": "50ms"},
        }
        path = self.folder / name
        path.write_text(json.dumps({**base, **sections}, indent=1), "utf-8")
        return path

    def report(self) -> Any:
        """The newest run's report.json; ids of one second do not tell which that is."""
        reports = [json.loads(path.read_text("utf-8")) for path in (self.folder / "reports").glob("*/report.json")]
        return max(reports, key=lambda report: report["run"]["started_at"])

    def leaks(self, secrets: tuple[str, ...]) -> list[str]:
        """Files that hold one of these."""
        wanted = [secret.encode() for secret in secrets]
        return [
            path.name
            for path in self.folder.rglob("*")
            if path.is_file() and any(secret in path.read_bytes() for secret in wanted)
        ]


def clean(said: str) -> None:
    """What no command may ever print."""
    assert "Traceback" not in said, said
    assert "a defect of this program" not in said, said
    for canary in CANARIES:
        assert canary not in said, "a secret was printed"


def refused(done: Done, code: int, *words: str) -> None:
    """One sentence, or a list under one, on stderr, with the code and the words that name what to do."""
    assert done.code == code, done
    assert done.err.strip(), "an error without a word"
    beside = (" ", "\t", "warning: ", "run 2", "Usage: ", "Try ", "Error: ")
    heads = [line for line in done.err.splitlines() if line and not line.startswith(beside)]
    assert len(heads) <= 1, f"more than one sentence, or a list under one: {done.err}"
    for word in words:
        assert word in done.err, f"{word!r} is not in: {done.err}"
