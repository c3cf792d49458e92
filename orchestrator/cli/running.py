"""`run` and `preview`: the commands that ask the node."""

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import anyio
import click
from pydantic import ValidationError

from orchestrator import app
from orchestrator.cli.options import connection_options, journal_option, settings_from
from orchestrator.cli.signals import Signals
from orchestrator.cli.streams import Say, complain, drop, interactive, unbreakable, voice
from orchestrator.engine.admit import Kind
from orchestrator.engine.preview import Preview
from orchestrator.engine.records import Prepared
from orchestrator.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.model.event import Listener
from orchestrator.model.report import RunReport
from orchestrator.observe.logs import log_listener
from orchestrator.observe.progress import Progress, safe
from orchestrator.plan.load import PlanFile, load_plan
from orchestrator.reports import RENDERERS

LEFT_EARLY = 130


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Answer every question with yes.")
@click.option(
    "--preview",
    "preview_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Refuse on drift since this preview.",
)
@click.option(
    "--allow-drift",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Changes since the preview to tolerate.",
)
@click.option("--strict", is_flag=True, help="Warnings about the plan refuse the run.")
@click.option("--quiet", is_flag=True, help="No progress; the summary only.")
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    help="Every event as a log line instead of progress.",
)
@click.option("--no-color", is_flag=True, help="No colours [env: NO_COLOR].")
@journal_option
@connection_options
def run(
    plan: Path, *, yes: bool, preview_file: Path | None, allow_drift: int, strict: bool, quiet: bool,
    log_format: Literal["console", "json"] | None, no_color: bool, journal: str | None,
    endpoint: str | None, ca_file: str | None, insecure: bool,
) -> int:  # fmt: skip
    """Stop the VMs of PLAN, verify, and report.

    Example: orchestrator run plans/rack.yaml --yes
    """
    say = voice(log_format)
    try:
        plan_file = load_plan(plan)
        attended = interactive()
        if not yes and not attended:
            raise UsageError("without a terminal nobody can confirm: add --yes once you have seen 'orchestrator preview'")
        settings = settings_from(endpoint, ca_file, insecure=insecure, say=say)
        settings.base_url(), settings.credential_kind()
        earlier = _read_preview(preview_file) if preview_file is not None else None
        for warning in plan_file.warnings:
            say("warning", str(warning))
        color = not no_color and not os.environ.get("NO_COLOR") and sys.stderr.isatty()

        def listeners(run_id: str) -> Sequence[Listener]:
            if quiet:
                return ()
            if log_format is not None:
                return (unbreakable(log_listener(sys.stderr, log_format, color=color, run_id=run_id)),)
            complain(f"run {run_id}")
            return (unbreakable(Progress(lambda line: click.echo(line, err=True))),)

        async def go() -> int:
            opened = app.open_journal(journal)
            try:
                async with Signals() as signals:
                    report = await app.run(
                        plan_file, settings, journal=opened, strict=strict, earlier=earlier, allow_drift=allow_drift,
                        terminal=attended, confirm=None if yes else _confirm, listeners=listeners, started=signals.take,
                    )  # fmt: skip
                if signals.early:
                    say("info", "interrupted before the first change: nothing was sent")
                    return LEFT_EARLY
                return _tell(report, plan_file, say)
            finally:
                with anyio.CancelScope(shield=True):
                    await opened.close()

        return anyio.run(go)
    except OrchestratorError as error:
        if log_format != "json":
            raise
        say("error", str(error))
        return error.exit_code


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the preview there, for run --preview FILE.",
)
@click.option("--strict", is_flag=True, help="Warnings about the plan count as refusals.")
@connection_options
def preview(plan: Path, *, out: Path | None, strict: bool, endpoint: str | None, ca_file: str | None, insecure: bool) -> int:
    """Show everything a run of PLAN would do, without a change.

    Example: orchestrator preview plans/rack.yaml --out rack.preview.json
    """
    plan_file = load_plan(plan)
    settings = settings_from(endpoint, ca_file, insecure=insecure)
    settings.base_url(), settings.credential_kind()

    async def go() -> Preview | None:
        async with Signals():
            return await app.preview(plan_file, settings, strict=strict, terminal=interactive())
        return None

    shown = anyio.run(go)
    if shown is None:
        complain("interrupted: nothing was changed")
        return LEFT_EARLY
    for line in _preview_lines(shown):
        click.echo(line)
    if out is not None:
        try:
            out.write_text(shown.model_dump_json(indent=1), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"the preview cannot be written to {out} ({error.strerror}): name a file you may write"
            ) from None
        click.echo(f"written to {out}; hold a run against it with: orchestrator run {plan} --preview {out}")
    if shown.problems:
        raise RefusedError("a run would be refused:\n" + "\n".join(f"  - {problem}" for problem in shown.problems))
    return 0


def _tell(report: RunReport, plan_file: PlanFile, say: Say) -> int:
    """The files first: whoever reads the terminal may be gone. Nothing here changes what became of the run."""
    options = plan_file.plan.report
    try:
        paths = app.write_reports(report, options.formats, options.directory)
    except RefusedError as error:
        paths = []
        again = f"orchestrator report {report.run.id} --format json -o FILE"
        say("error", f"{error}; the run itself is over and in the journal, '{again}' renders it again")
    try:
        RENDERERS["text"].render(report, sys.stdout)
        for path in paths:
            click.echo(f"report: {path}")
    except OSError:
        drop(sys.stdout)
    code = report.run.exit_code
    return 1 if code is None else code


async def _confirm(prepared: Prepared) -> bool:
    for line in _preview_lines(prepared.preview):
        click.echo(line)
    to_stop = sum(verdict.kind is Kind.OK for verdict in prepared.verdicts)
    click.echo(f"Stop {to_stop} VMs at {prepared.resolution.facts.endpoint}? Type yes to go on: ", nl=False)
    try:
        await anyio.wait_readable(sys.stdin)
        answer = sys.stdin.readline()
    except (NotImplementedError, OSError):
        answer = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    return answer.strip().lower() in {"y", "yes"}


def _read_preview(path: Path) -> Preview:
    try:
        return Preview.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(
            f"the preview {path} cannot be read ({error.strerror}): make one with 'orchestrator preview PLAN --out FILE'"
        ) from None
    except (ValueError, ValidationError, RecursionError):
        raise UsageError(f"{path} is no preview: make one with 'orchestrator preview PLAN --out FILE'") from None


def _preview_lines(shown: Preview) -> list[str]:
    lines = [f"plan {safe(shown.plan)} at {shown.endpoint}"]
    words = {
        "targets": "targets",
        "ok": "to stop",
        "already_stopped": "already stopped",
        "skip": "skipped by the plan or their state",
        "not_found": "not known to the node",
        "refuse": "refused",
    }
    lines += [f"  {shown.totals.get(key, 0):>6} {word}" for key, word in words.items() if shown.totals.get(key, 0)]
    states = Counter(vm.state for vm in shown.vms if vm.verdict == Kind.OK)
    if states:
        lines.append("  states: " + ", ".join(f"{safe(str(state))} {count}" for state, count in states.most_common()))
    lines += [f"  selector {safe(selector.where)}: {selector.matched} VMs" for selector in shown.selectors]
    if shown.excluded:
        lines.append(f"  excluded: {len(shown.excluded)} VMs")
    if shown.hosts:
        worst = max(shown.hosts, key=lambda host: host.worst_case_seconds)
        lines.append(
            f"  {len(shown.hosts)} hosts; the longest could take {worst.worst_case_seconds / 60:.0f} min "
            f"({worst.vms} VMs on {safe(worst.uuid)}); a job may still act until twice its timeout"
        )
    for vm in shown.vms:
        if vm.verdict not in {Kind.OK, Kind.ALREADY_STOPPED}:
            lines.append(f"  {vm.verdict}: {safe(vm.name or '')} {vm.uuid}: {safe(vm.why)}")
    lines += [f"  warning: {safe(warning)}" for warning in shown.warnings]
    lines.append(f"digest {shown.digest}")
    return lines
