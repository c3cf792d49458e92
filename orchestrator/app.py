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
from typing import Any, TextIO

import anyio
from platformdirs import user_state_path

from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.engine.again import (
    check_files_kept,
    end_kept,
    hosts_left_over,
    is_unfinished,
    kept_plan,
    left_over,
    narrowed,
    narrowed_to_hosts,
    take_up,
    taken_out,
    window_kept,
    with_window_end,
    without_ramps,
)
from orchestrator.engine.aside import Aside
from orchestrator.engine.clock import Clock
from orchestrator.engine.forecast import Forecast
from orchestrator.engine.prepare import Took, check_permission, new_run_id, node_facts, prepare
from orchestrator.engine.preview import Preview, drift
from orchestrator.engine.records import Prepared, opening, run_record
from orchestrator.engine.run import Run
from orchestrator.engine.start import Say, at_start, warned
from orchestrator.engine.undo import Undo, family, plan_undo, reversed_plan
from orchestrator.engine.window import closed_problem, times_kept, times_of
from orchestrator.errors import JournalError, RefusedError, UnknownRunError, UsageError
from orchestrator.journal.interface import Journal, Word
from orchestrator.journal.owner import Held, RunLockedError, this_process
from orchestrator.journal.place import private_folder
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.counts import counted
from orchestrator.model.event import Listener
from orchestrator.model.outcome import STOPPED, HostOutcome, Outcome
from orchestrator.model.report import RunRecord, RunReport
from orchestrator.model.states import Verb
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


def find_run(
    journal: Journal, name: str, *, able: Callable[[Journal, RunRecord], bool] | None = None, to: str = ""
) -> RunRecord:
    """A run by id, by a unique prefix of one, or `last`: the newest that is `able`, `to` do what was asked for.

    Raises UnknownRunError.
    """
    runs = journal.runs()
    if not runs:
        raise UnknownRunError("this journal holds no run yet: make one with 'orchestrator run PLAN'")
    if name == "last":
        newest = next((run for run in runs if able is None or able(journal, run)), None)
        if newest is None:
            raise UnknownRunError(f"this journal holds no run {to}: 'orchestrator runs' lists them")
        return newest
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
        private_folder(directory)
        probe = directory / f".probe-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()


def write_reports(report: RunReport, formats: Sequence[str], directory: str) -> list[Path]:
    """`<directory>/<run id>/report.<ext>`, mode 0600, each whole or not at all; json always. Raises RefusedError."""
    folder = Path(directory) / report.run.id
    paths = []
    with named_in_report(folder):
        private_folder(folder)
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
    plan_file: PlanFile,
    settings: ConnectionSettings,
    *,
    strict: bool = False,
    terminal: bool = False,
    journal: Journal | None = None,
) -> Preview:
    """Everything a run would do, without a change. `problems` in it are what would refuse the run.

    `journal`: whose earlier runs the forecast rests on; None where there are none.

    Raises UsageError, LoginError, NodeUnreachableError, PermissionDeniedError.
    """
    _guard_endpoint(plan_file, settings)
    async with client_for(plan_file, settings) as client:
        cloud = ZStackCloud(client)
        prepared = await prepare(plan_file, cloud, strict=strict, terminal=terminal, took=_took(journal))
        await check_permission(cloud, plan_file.plan)
        return prepared.preview


def _took(journal: Journal | None) -> Took:
    """What VMs took in the earlier runs of a journal."""
    return (lambda action, uuids: {}) if journal is None else journal.took


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
    parent_run: str | None = None,
    say: Say = lambda level, text: None,
    clock: Clock | None = None,
) -> RunReport:
    """Run a plan to its report; the caller writes the files with `write_reports`. Waits for the window's start.

    `terminal`: somebody looks, so that an empty `exclude` or `protect` only warns. `earlier`: a preview to hold the run
    against. `confirm`: asked before the first change; None means yes. `say` is told of the wait, and what it brought.
    `listeners` makes the run's listeners from its id; `started` is handed the run, for its `interrupt` and `leave`.
    Raises RefusedError and its kin before the first change; afterwards only JournalError.
    """
    _guard_endpoint(plan_file, settings)
    check_report_folder(plan_file)
    clock = clock or Clock()
    async with client_for(plan_file, settings) as client:
        with Aside(journal.folder) as aside:
            cloud = ZStackCloud(client)

            async def ready() -> Prepared:
                prepared = await prepare(
                    plan_file, cloud, strict=strict, terminal=terminal, took=_took(journal), clock=clock, aside=aside
                )
                _refuse(prepared.preview.problems)
                prepared = warned(prepared, _check_drift(earlier, prepared.preview, allow_drift))
                await check_permission(cloud, plan_file.plan)
                return prepared

            prepared = await ready()
            if confirm is not None and not await confirm(prepared):
                raise RefusedError("not confirmed: nothing was sent")
            window = times_of(plan_file.plan.window)
            if window is not None and window.start is not None and clock.unix() < window.start:
                outage = plan_file.plan.limits.node_outage.total_seconds()
                prepared = await at_start(prepared, ready, window, clock, outage_seconds=outage, say=say)
            record = run_record(
                prepared,
                run_id=new_run_id(datetime.fromtimestamp(clock.unix(), UTC)),
                started_at=clock.wall(),
                started_by=_who(),
                tool_version=TOOL_VERSION,
                parent_run=parent_run,
            )
            owner = this_process(record.started_by)
            # A run of many thousands needs the room.
            prepared = replace(prepared, preview=prepared.preview.model_copy(update={"vms": ()}))
            begun = opening(prepared, record)
            del prepared
            this = Run(begun, cloud, journal, owner=owner, clock=clock, listeners=listeners(record.id))
            del begun
            started(this)
            return await this.run()


async def resume(
    run: RunRecord,
    settings: ConnectionSettings,
    *,
    journal: Journal,
    confirm: Callable[[RunReport], Awaitable[bool]] | None = None,
    took_over: Callable[[Held], None] = lambda before: None,
    listeners: Callable[[str], Sequence[Listener]] = lambda run_id: (),
    started: Callable[[Run], None] = lambda run: None,
    window_end: datetime | None = None,
    say: Say = lambda level, text: None,
) -> RunReport:
    """Carry on a run that a process has left, to its report; one that has ended meanwhile is only reported.

    `settings` are those of `settings_for`. `window_end` gives its window another end; past its end nothing is sent any
    more, which `say` is told. `confirm` is shown the unfinished report. `took_over` is told of a dead
    process whose lock was taken. Raises RunLockedError while a living one works on it, and as `run`.
    """
    plan_file, verb = kept_plan(journal.plan_file(run.id)), Verb(run.action)
    if verb is Verb.START:
        plan_file = replace(plan_file, plan=reversed_plan(plan_file.plan))
    elif run.parent_run is not None:
        plan_file = replace(plan_file, plan=without_ramps(plan_file.plan))
    check_report_folder(plan_file)
    _check_window_end(window_end)
    held = journal.lock(run.id)
    if held is not None and held.alive:
        raise RunLockedError(run.id, held)
    async with client_for(plan_file, settings) as client:
        cloud = ZStackCloud(client)
        facts = await node_facts(cloud)
        await check_permission(cloud, plan_file.plan, verb)
        window = times_kept(window_kept(run, window_end))
        closed = closed_problem(window, Clock().unix()) if window is not None else None
        if closed is not None and window_end is not None:
            raise UsageError(f"--window-end leaves no time to begin anything: {closed}")
        if closed is not None:
            say("warning", f"{closed}; nothing more is begun with, what is at the node is followed to its end")
        if confirm is not None and not await confirm(journal.report(run.id)):
            raise RefusedError("not confirmed: nothing was sent")
        owner = this_process(_who())
        before = await journal.take_over(run.id, owner)
        if before is not None:
            took_over(before)
        run = journal.run(run.id)  # the lock is ours: nobody changes it any more
        if not is_unfinished(run):
            return journal.report(run.id)
        ahead = facts.clock_ahead_seconds
        taken_up = take_up(run, plan_file, journal, cloud, ahead_seconds=ahead, window_end=window_end)
        this = Run(taken_up, cloud, journal, owner=owner, listeners=listeners(run.id))
        started(this)
        return await this.run()


async def restore(
    run_record: RunRecord,
    settings: ConnectionSettings,
    *,
    journal: Journal,
    include_late: bool = False,
    confirm: Callable[[Undo, Forecast], Awaitable[bool]] | None = None,
    listeners: Callable[[str], Sequence[Listener]] = lambda run_id: (),
    started: Callable[[Run], None] = lambda run: None,
    say: Say = lambda level, text: None,
) -> RunReport | None:
    """Start again exactly what a run and its retries stopped, waves and order reversed; None where nothing is to be started.

    VMs that somebody has had since are left, and named in the report; without one, `say` is told of them.
    `include_late`: also `failed` and `unknown` ones that are Stopped now. `settings` are those of `settings_for`.
    `confirm` is shown what would be done, and how long it takes. Raises as `resume`.
    """
    kept = journal.plan_file(run_record.id)
    plan_file = kept_plan(kept)
    check_report_folder(plan_file)
    members = family(run_record, journal)
    async with client_for(plan_file, settings) as client:
        cloud = ZStackCloud(client)
        took = _took(journal)
        await check_permission(cloud, plan_file.plan, Verb.START)
        undo = await plan_undo(members, journal, cloud, include_late=include_late, took=took)
        if undo.nothing:
            if undo.records and not undo.closed and all(vm.outcome is Outcome.NOT_FOUND for vm in undo.records):
                raise RefusedError(
                    f"none of the {len(undo.records)} VMs that were stopped is known to the node: they are gone, or this "
                    "account does not see them; see that it is the account that stopped them"
                )
            for line in undo.named():
                say("info", line)
            return None
        plan = reversed_plan(plan_file.plan)
        if confirm is not None and not await confirm(undo, undo.forecast(plan)):
            raise RefusedError("not confirmed: nothing was sent")
        clock = Clock()
        record = RunRecord(
            id=new_run_id(datetime.fromtimestamp(clock.unix(), UTC)),
            plan=run_record.plan,
            reference=run_record.reference,
            plan_digest=run_record.plan_digest,
            plan_text=run_record.plan_text,
            action="start",
            endpoint=run_record.endpoint,
            node_version=undo.facts.version,
            tool_version=TOOL_VERSION,
            started_by=_who(),
            parent_run=run_record.id,
            started_at=clock.wall(),
            warnings=tuple(undo.named()),
        )
        opened = undo.opening(plan, record, kept)
        this = Run(
            opened, cloud, journal, owner=this_process(record.started_by), clock=clock, listeners=listeners(record.id)
        )
        started(this)
        return await this.run()


async def tell(run: RunRecord, journal: Journal, what: str, vm_uuid: str | None, *, patience_seconds: float) -> str | None:
    """A word to a run at which another process works; what that process made of it, None where it has not said by then."""
    before = max((word.number for word in journal.words(run.id)), default=0)
    await journal.tell(run.id, Word(Clock().wall(), _who(), what, vm_uuid))
    until = Clock().now() + patience_seconds
    while True:
        said = [word for word in journal.words(run.id, before) if (word.what, word.vm_uuid) == (what, vm_uuid)]
        if said and said[-1].answer is not None:
            return said[-1].answer
        if Clock().now() >= until:
            return None
        await anyio.sleep(0.1)


async def retry(
    run_record: RunRecord,
    settings: ConnectionSettings,
    *,
    journal: Journal,
    window_end: datetime | None = None,
    **options: Any,
) -> RunReport | None:
    """A new run over what another left failed, unknown, came_back or not_reached; None where it left nothing.

    The window is that of `run_record`, which may have another end than the plan's; `window_end` gives it a new one.
    `options` are those of `run`.

    Raises as `run`, and RefusedError for a run that has not ended.
    """
    _check_window_end(window_end)
    held = journal.lock(run_record.id)
    if held is not None and held.alive:
        raise RunLockedError(run_record.id, held)
    if Verb(run_record.action) is Verb.START:
        again = f"'orchestrator restore {run_record.parent_run}' takes up what it left"
        raise RefusedError(f"run {run_record.id} is a restore: {again}")
    if is_unfinished(run_record):
        raise RefusedError(
            f"run {run_record.id} has not ended: carry it on with 'orchestrator resume {run_record.id}' first"
        )
    vms, hosts = left_over(run_record, journal), hosts_left_over(run_record, journal)
    kept = journal.plan_file(run_record.id)
    check_files_kept(kept, run_record)
    whole = kept_plan(kept)
    if not (vms if whole.plan.evacuate is None else hosts):
        return None
    if whole.plan.evacuate is None:
        narrow = narrowed(whole, run_record, vms)
    else:
        narrow = narrowed_to_hosts(whole, run_record, hosts, taken_out(run_record, journal))
    plan_file = with_window_end(narrow, window_end or end_kept(run_record))
    return await run(plan_file, settings, journal=journal, parent_run=run_record.id, **options)


def settings_for(run: RunRecord, settings: ConnectionSettings) -> ConnectionSettings:
    """Settings for the node of an earlier run, which flags and environment may leave out. Raises RefusedError."""
    if settings.endpoint is None and settings.host is None:
        return settings.model_copy(update={"endpoint": run.endpoint})
    if settings.base_url() != run.endpoint:
        raise RefusedError(
            f"run {run.id} was made at {run.endpoint}, and this is {settings.base_url()}: "
            "leave out --endpoint, ZSTACK_ENDPOINT and ZSTACK_HOST, or name that node"
        )
    return settings


def can_resume(journal: Journal, run: RunRecord) -> bool:
    """Is there something to carry on, or a report that was never written?"""
    return is_unfinished(run) or not journal.was_reported(run.id)


def can_retry(journal: Journal, run: RunRecord) -> bool:
    """Is it a run that stopped VMs, and has it ended?"""
    return not is_unfinished(run) and Verb(run.action) is Verb.STOP


def can_restore(journal: Journal, run: RunRecord) -> bool:
    """Has it ended, and has it stopped any VM, or closed a host?"""
    if not can_retry(journal, run):
        return False
    closed = (action.outcome is HostOutcome.DONE for host in journal.hosts(run.id) for action in host.actions)
    return any(closed) or any(vm.outcome in STOPPED for vm in journal.vms(run.id))


def plan_of(journal: Journal, run_id: str) -> PlanFile:
    """The plan of a run, as it was when the run began. Raises JournalError."""
    return kept_plan(journal.plan_file(run_id))


def _guard_endpoint(plan_file: PlanFile, settings: ConnectionSettings) -> None:
    """The wrong node is not even asked."""
    guard, endpoint = plan_file.plan.guard, settings.base_url()
    if guard.endpoint is not None and normal_endpoint(guard.endpoint) != endpoint:
        raise RefusedError(
            f"guard.endpoint allows {guard.endpoint} only, and this is {endpoint}: use the right node, or change the plan"
        )


def _check_window_end(window_end: datetime | None) -> None:
    if window_end is not None and window_end.timestamp() <= Clock().unix():
        raise UsageError(f"--window-end {window_end.isoformat()} has passed: give a time that is to come")


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
        have = "has" if len(refusals) == 1 else "have"
        raise RefusedError(
            f"{counted(len(refusals), 'target')} {have} drifted since the preview (--allow-drift is {allowed}): "
            "preview again\n" + "\n".join(f"  - {change}" for change in refusals[:20])
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
    "plan_of",
    "preview",
    "private_file",
    "restore",
    "resume",
    "retry",
    "run",
    "settings_for",
    "write_reports",
]
