"""`run` and `preview`: the commands that ask the node."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import click
from pydantic import ValidationError

from orchestrator import app
from orchestrator.cli.conduct import LEFT_EARLY, MANY, Conductor, ask_yes, conduct_options
from orchestrator.cli.journals import reading_if_any
from orchestrator.cli.onlookers import Job, Started
from orchestrator.cli.options import connection_options, journal_option, settings_from, who_asks
from orchestrator.cli.signals import Signals
from orchestrator.cli.streams import complain, interactive
from orchestrator.engine.admit import Kind
from orchestrator.engine.preview import Preview
from orchestrator.engine.records import Prepared
from orchestrator.engine.window import in_words, times_kept
from orchestrator.errors import RefusedError, UsageError
from orchestrator.journal.interface import Journal
from orchestrator.model.counts import counted
from orchestrator.model.report import RunReport
from orchestrator.model.safe import one_line
from orchestrator.plan.load import load_plan


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
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
@conduct_options
@journal_option
@connection_options
def run(
    plan: Path, *, preview_file: Path | None, allow_drift: int, strict: bool,
    endpoint: str | None, ca_file: str | None, insecure: bool, **options: Any,
) -> int:  # fmt: skip
    """Stop the VMs of PLAN, verify, and report.

    Example: orchestrator run plans/rack-power.yaml --yes
    """
    conductor = Conductor(**options)

    def prepare() -> Job:
        plan_file = load_plan(plan)
        conductor.check_confirmation("orchestrator preview")
        settings = settings_from(endpoint, ca_file, insecure=insecure, say=conductor.say)
        settings.base_url(), settings.credential_kind()
        earlier = _read_preview(preview_file) if preview_file is not None else None
        for warning in plan_file.warnings:
            conductor.say("warning", str(warning))
        conductor.onlookers.check(plan_file)

        async def job(journal: Journal, started: Started) -> RunReport:
            return await app.run(
                plan_file, settings, journal=journal, strict=strict, earlier=earlier, allow_drift=allow_drift,
                terminal=conductor.attended, confirm=conductor.asking(confirm_run(who_asks(settings))),
                listeners=conductor.listeners, started=started, say=conductor.say,
            )  # fmt: skip

        return job

    return conductor.conduct(prepare)


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the preview there, for run --preview FILE.",
)
@click.option("--strict", is_flag=True, help="Warnings about the plan count as refusals.")
@journal_option
@connection_options
def preview(
    plan: Path, *, out: Path | None, strict: bool, journal: str | None,
    endpoint: str | None, ca_file: str | None, insecure: bool,
) -> int:  # fmt: skip
    """Show everything a run of PLAN would do, without a change. The forecast rests on the runs of the journal.

    Example: orchestrator preview plans/rack-power.yaml --out rack.preview.json
    """
    plan_file = load_plan(plan)
    settings = settings_from(endpoint, ca_file, insecure=insecure)
    settings.base_url(), settings.credential_kind()

    async def go() -> Preview | None:
        async with Signals():
            return await app.preview(plan_file, settings, strict=strict, terminal=interactive(), journal=earlier)
        return None

    with reading_if_any(journal) as earlier:
        shown = anyio.run(go)
    if shown is None:
        complain("interrupted: nothing was changed")
        return LEFT_EARLY
    for line in _preview_lines(shown):
        click.echo(line)
    if out is not None:
        try:
            with app.private_file(out) as file:
                file.write(shown.model_dump_json(indent=1))
        except OSError as error:
            raise UsageError(
                f"the preview cannot be written to {out} ({error.strerror}): name a file you may write"
            ) from None
        click.echo(f"written to {out}; hold a run against it with: orchestrator run {plan} --preview {out}")
    if shown.problems:
        raise RefusedError("a run would be refused:\n" + "\n".join(f"  - {problem}" for problem in shown.problems))
    return 0


def confirm_run(who: str) -> Callable[[Prepared], Awaitable[bool]]:
    """The question before a run: shows what it would do, as whom, and asks."""

    async def confirm(prepared: Prepared) -> bool:
        shown, facts = prepared.preview, prepared.resolution.facts
        for line in _preview_lines(shown):
            click.echo(line)
        click.echo(f"node {facts.endpoint}, ZStack {one_line(facts.version or 'of an unknown version')}, as {who}")
        to_do = sum(verdict.kind is Kind.OK for verdict in prepared.verdicts)
        question = (
            f"Stop {counted(to_do)}"
            if shown.evacuate is None
            else f"Empty {counted(len(shown.hosts), 'host')} of {counted(to_do)}"
        )
        return await ask_yes(f"{question} at {facts.endpoint}?", shown.plan if to_do > MANY else None)

    return confirm


def _read_preview(path: Path) -> Preview:
    try:
        return Preview.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(
            f"the preview {path} cannot be read ({error.strerror}): make one with 'orchestrator preview PLAN --out FILE'"
        ) from None
    except (ValueError, ValidationError, RecursionError):
        raise UsageError(f"{path} is no preview: make one with 'orchestrator preview PLAN --out FILE'") from None


_MOST_HOSTS = 10


def _preview_lines(shown: Preview) -> list[str]:
    lines = [f"plan {one_line(shown.plan)} at {shown.endpoint}"]
    totals = dict(shown.totals)
    words = {
        "targets": "target" if totals.get("targets") == 1 else "targets",
        "ok": "to stop",
        "already_stopped": "already stopped",
        "skip": "skipped by the plan or their state",
        "not_found": "not known to the node",
        "refuse": "refused",
    }
    if shown.evacuate is not None:
        actions = Counter(vm.action for vm in shown.vms if vm.verdict == Kind.OK)
        words = {"targets": words["targets"], **_ACTIONS, **{key: words[key] for key in words if key != "ok"}}
        totals |= {str(action): count for action, count in actions.items()}
    lines += [f"  {totals[key]:>6} {word}" for key, word in words.items() if totals.get(key)]
    states = Counter(vm.state for vm in shown.vms if vm.verdict == Kind.OK)
    if states:
        lines.append("  states: " + ", ".join(f"{one_line(str(state))} {count}" for state, count in states.most_common()))
    for wave in shown.waves:
        after = f", after {', '.join(map(one_line, wave.after))}" if wave.after else ""
        lines.append(f"  wave {one_line(wave.name)}: {wave.vms} to {'stop' if shown.evacuate is None else 'be done'}{after}")
    noun = "VM" if shown.evacuate is None else "host"
    lines += [f"  selector {one_line(selector.where)}: {counted(selector.matched, noun)}" for selector in shown.selectors]
    if shown.excluded:
        lines.append(f"  excluded: {counted(len(shown.excluded), 'VM')}")
    if shown.evacuate is not None:
        lines += _evacuation_lines(shown) if shown.hosts else []
    elif shown.hosts:
        hosts = counted(len(shown.hosts), "host")
        lines.append(f"  {hosts}, with the worst case of each; a job may still act until twice its timeout")
        longest = sorted(shown.hosts, key=lambda host: -host.worst_case_seconds)
        lines += [
            f"    {one_line(host.name or host.uuid)}: {counted(host.vms)}, at most {host.worst_case_seconds / 60:.1f} min"
            for host in longest[:_MOST_HOSTS]
        ]
        if len(longest) > _MOST_HOSTS:
            lines.append(f"    and {len(longest) - _MOST_HOSTS} more")
    lines += [f"  {line}" for line in _time_lines(shown)]
    for vm in shown.vms:
        if vm.verdict not in {Kind.OK, Kind.ALREADY_STOPPED}:
            lines.append(f"  {vm.verdict}: {one_line(vm.name or '')} {vm.uuid}: {one_line(vm.why)}")
    lines += [f"  warning: {one_line(warning)}" for warning in shown.warnings]
    lines.append(f"digest {shown.digest}")
    return lines


_ACTIONS = {"migrate": "to migrate", "stop": "to stop", "stay": "to stay where they are, for they cannot be migrated"}
_MOST_NAMED = 20
_HOSTS_AFTER = {
    "maintain": "disabled first, and put into maintenance once they are empty",
    "disable": "disabled first, and stay so",
    "leave": "their state is left as it is, so that the node may place VMs there",
}


def _evacuation_lines(shown: Preview) -> list[str]:
    """Per host: what moves, what stops, what can't."""
    assert shown.evacuate is not None
    lines = [f"  {counted(len(shown.hosts), 'host')} to be emptied: {_HOSTS_AFTER[shown.evacuate.hosts]}"]
    for host in shown.hosts:
        counts = ((host.moves, "to migrate"), (host.stops, "to stop"), (host.stays, "to stay there"))
        parts = ", ".join(f"{count} {word}" for count, word in counts if count) or "no VM on it"
        longest = f", at most {host.worst_case_seconds / 60:.1f} min" if host.worst_case_seconds else ""
        state = one_line(f"{host.state}, {host.status}", 60)
        lines.append(f"    {one_line(host.name or host.uuid, 60)} ({state}): {parts}{longest}")
    for action, words in (("stop", "not migrated but stopped"), ("stay", "neither migrated nor stopped")):
        named = [vm for vm in shown.vms if vm.action == action and vm.why]
        for vm in named[:_MOST_NAMED]:
            lines.append(f"    {one_line(vm.name or vm.uuid, 60)} is {words}: {one_line(vm.why)}")
        if len(named) > _MOST_NAMED:
            lines.append(f"    and {len(named) - _MOST_NAMED} more are {words}; the preview's file names them (--out)")
    return lines


def _time_lines(shown: Preview) -> list[str]:
    """The forecast, and the window it is to fit into."""
    lines = []
    window, forecast = shown.window, shown.forecast
    if window is not None:
        times = times_kept(window)
        assert times is not None
        opens = f"from {window.start} " if window.start is not None else ""
        kept = f", nothing is begun that would end in the last {in_words(times.reserve_seconds)}"
        reserve = kept if times.reserve_seconds else ""
        followed = times.at_end == "cold" and any(host.moves for host in shown.hosts)
        at_end = _AT_END[times.at_end] + (_FOLLOWED if followed else "")
        lines.append(f"window: {opens}to {window.end}{reserve}; at its end: {at_end}")
    if forecast is not None and forecast.high_seconds:
        low, likely, high = (
            in_words(seconds) for seconds in (forecast.low_seconds, forecast.likely_seconds, forecast.high_seconds)
        )
        lines.append(f"forecast: {low} to {high}, most likely {likely}; it rests on {forecast.rests_on}")
    return lines


_FOLLOWED = ", unless it is being migrated, which is followed to its end"
_AT_END = {
    "finish": "what is in flight ends by the plan's rules",
    "cold": "what is in flight gets a cold stop",
    "abandon": "what is in flight is read once and left",
}
