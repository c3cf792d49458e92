"""Where everything comes together: names → implementations → one run. Read this first."""

import getpass
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from platformdirs import user_state_path

from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.engine.preview import Preview, drift
from orchestrator.engine.records import Prepared, run_record
from orchestrator.engine.run import Run, check_permission, new_run_id, prepare
from orchestrator.errors import JournalError, RefusedError, UnknownRunError, UsageError
from orchestrator.journal.interface import Journal
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.event import Listener
from orchestrator.model.report import RunRecord, RunReport
from orchestrator.plan.load import PlanFile
from orchestrator.reports import RENDERERS
from orchestrator.settings import ConnectionSettings, normal_endpoint

TOOL_VERSION = version("zstack-orchestrator")


def journal_path(url: str | None) -> Path:
    """The journal's file: from a path or `sqlite:////absolute/path`, or the user's state folder. Raises UsageError."""
    if not url:
        return user_state_path("zstack-orchestrator") / "journal.sqlite"
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:")
        if not path.startswith("////"):
            raise UsageError(f"the journal {url!r} is not usable: write sqlite:////absolute/path, or a plain path")
        return Path(path[3:])
    if "://" in url:
        raise UsageError(f"the journal {url!r} is not usable: write sqlite:////absolute/path, or a plain path")
    return Path(url).expanduser()


def open_journal(url: str | None, *, read_only: bool = False) -> SqliteJournal:
    """The journal itself. Raises JournalError, UsageError."""
    return SqliteJournal(journal_path(url), read_only=read_only)


def find_run(journal: Journal, name: str) -> RunRecord:
    """A run by id, by a unique prefix of one, or `last`. Raises UnknownRunError."""
    runs = journal.runs()
    if not runs:
        raise UnknownRunError("this journal holds no run yet: make one with 'orchestrator run PLAN'")
    if name == "last":
        return runs[0]
    found = [run for run in runs if run.id == name] or [run for run in runs if name and run.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownRunError(
            f"{name!r} is the start of {len(found)} runs: give more of the id ('orchestrator runs' lists them)"
        )
    raise UnknownRunError(f"no run is called {name!r}: 'orchestrator runs' lists those of this journal")


def private_file(path: Path) -> TextIO:
    """A new or emptied text file only its owner may read. Raises OSError."""
    number = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    if stat.S_ISREG(os.fstat(number).st_mode) and hasattr(os, "fchmod"):
        os.fchmod(number, 0o600)  # one that was there keeps its mode otherwise
    return os.fdopen(number, "w", encoding="utf-8", newline="")


@contextmanager
def named_in_report(directory: Path) -> Iterator[None]:
    """Turn a failing report folder into one sentence."""
    try:
        yield
    except OSError as error:
        raise RefusedError(
            f"reports cannot be written to {directory} ({error.strerror}): set report.directory to a folder you may write"
        ) from None


def check_report_folder(plan_file: PlanFile) -> None:
    """Before anything is sent: the report will have a place. Raises RefusedError."""
    directory = Path(plan_file.plan.report.directory)
    with named_in_report(directory):
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".probe-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()


def write_reports(report: RunReport, formats: Sequence[str], directory: str) -> list[Path]:
    """`<directory>/<run id>/report.<ext>`, mode 0600, each whole or not at all; json always. Raises RefusedError."""
    folder = Path(directory) / report.run.id
    paths = []
    with named_in_report(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in dict.fromkeys(["json", *formats]):
            renderer = RENDERERS[name]
            path = folder / f"report.{renderer.extension}"
            half = path.with_suffix(path.suffix + ".part")
            with private_file(half) as out:
                renderer.render(report, out)
            half.replace(path)
            paths.append(path)
    return paths


def client_for(plan_file: PlanFile, settings: ConnectionSettings) -> ZStackClient:
    """A client at the plan's pace."""
    return ZStackClient(settings, requests_per_second=plan_file.plan.limits.requests_per_second)


async def preview(
    plan_file: PlanFile, settings: ConnectionSettings, *, strict: bool = False, terminal: bool = False
) -> Preview:
    """Everything a run would do, without a change. `problems` in it are what would refuse the run.

    Raises UsageError, LoginError, NodeUnreachableError, PermissionDeniedError.
    """
    _guard_endpoint(plan_file, settings)
    async with client_for(plan_file, settings) as client:
        cloud = ZStackCloud(client)
        prepared = await prepare(plan_file, cloud, strict=strict, terminal=terminal)
        await check_permission(cloud, stop_ha=plan_file.plan.stop.stop_ha)
        return prepared.preview


async def run(
    plan_file: PlanFile,
    settings: ConnectionSettings,
    *,
    journal: Journal,
    strict: bool = False,
    terminal: bool = False,
    earlier: Preview | None = None,
    allow_drift: int = 0,
    confirm: Callable[[Prepared], Awaitable[bool]] | None = None,
    listeners: Callable[[str], Sequence[Listener]] = lambda run_id: (),
    started: Callable[[Run], None] = lambda run: None,
) -> RunReport:
    """Run a plan to its report; the caller writes the files with `write_reports`.

    `terminal`: somebody looks, so that an empty `exclude` or `protect` only warns. `earlier`: a preview to hold the run
    against. `confirm`: asked before the first change; None means yes.
    `listeners` makes the run's listeners from its id; `started` is handed the run, for its `interrupt` and `leave`.
    Raises RefusedError and its kin before the first change; afterwards only JournalError.
    """
    _guard_endpoint(plan_file, settings)
    check_report_folder(plan_file)
    async with client_for(plan_file, settings) as client:
        cloud = ZStackCloud(client)
        prepared = await prepare(plan_file, cloud, strict=strict, terminal=terminal)
        _refuse(prepared.preview.problems)
        prepared = _warned(prepared, _check_drift(earlier, prepared.preview, allow_drift))
        await check_permission(cloud, stop_ha=plan_file.plan.stop.stop_ha)
        if confirm is not None and not await confirm(prepared):
            raise RefusedError("not confirmed: nothing was sent")
        now = datetime.now(UTC)
        record = run_record(
            prepared,
            run_id=new_run_id(now),
            started_at=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            started_by=_who(),
            tool_version=TOOL_VERSION,
        )
        this = Run(prepared, cloud, journal, run=record, listeners=listeners(record.id))
        started(this)
        return await this.run()


def _guard_endpoint(plan_file: PlanFile, settings: ConnectionSettings) -> None:
    """The wrong node is not even asked."""
    guard, endpoint = plan_file.plan.guard, settings.base_url()
    if guard.endpoint is not None and normal_endpoint(guard.endpoint) != endpoint:
        raise RefusedError(
            f"guard.endpoint allows {guard.endpoint} only, and this is {endpoint}: use the right node, or change the plan"
        )


def _warned(prepared: Prepared, warnings: Sequence[str]) -> Prepared:
    """With more warnings, for the question before the run as well as for its report."""
    shown = prepared.preview
    return replace(prepared, preview=shown.model_copy(update={"warnings": (*shown.warnings, *warnings)}))


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise RefusedError("the run is refused, nothing was sent:\n" + "\n".join(f"  - {problem}" for problem in problems))


def _check_drift(earlier: Preview | None, now: Preview, allowed: int) -> list[str]:
    if earlier is None:
        return []
    if earlier.plan_digest != now.plan_digest:
        raise RefusedError("the plan's text is not the one that was previewed: preview it again")
    if earlier.endpoint != now.endpoint:
        raise RefusedError(f"the preview was made at {earlier.endpoint}, and this is {now.endpoint}: preview it again")
    refusals, warnings = drift(earlier, now)
    if len(refusals) > allowed:
        raise RefusedError(
            f"{len(refusals)} targets have drifted since the preview (--allow-drift is {allowed}): preview again\n"
            + "\n".join(f"  - {change}" for change in refusals[:20])
        )
    return [f"drift: {change}" for change in (*refusals, *warnings)]


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


__all__ = [
    "TOOL_VERSION",
    "JournalError",
    "client_for",
    "find_run",
    "journal_path",
    "open_journal",
    "preview",
    "private_file",
    "run",
    "write_reports",
]
