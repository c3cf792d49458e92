"""`restore`: the VMs that a run stopped are started again."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import click

from orchestrator import app
from orchestrator.cli.completing import runs
from orchestrator.cli.conduct import MANY, Conductor, ask_yes, conduct_options
from orchestrator.cli.following import reach
from orchestrator.cli.journals import reading
from orchestrator.cli.onlookers import Job, Started
from orchestrator.cli.options import connection_options, journal_option, who_asks
from orchestrator.engine.forecast import Forecast
from orchestrator.engine.records import HostBefore
from orchestrator.engine.undo import Undo
from orchestrator.engine.window import in_words
from orchestrator.journal.interface import Journal
from orchestrator.model.counts import counted, first_few
from orchestrator.model.report import RunRecord, RunReport
from orchestrator.model.safe import one_line
from orchestrator.model.states import Verb
from orchestrator.model.target import HostRow

_MOST_NAMED, _MOST_HOSTS = 20, 10


@click.command()
@click.argument("run", shell_complete=runs)
@click.option("--include-late", is_flag=True, help="Also VMs that RUN left failed or unknown, and that are Stopped now.")
@conduct_options
@journal_option
@connection_options
def restore(
    run: str, *, include_late: bool, endpoint: str | None, ca_file: str | None, insecure: bool, **options: Any
) -> int:
    """Start again exactly what RUN and its retries stopped, on the hosts they came from where the node takes that.

    Hosts that it disabled or put into maintenance are opened first. Waves and order are reversed, limits stay. VMs that
    somebody has touched since are left, and named.

    Example: orchestrator restore last --yes
    """
    conductor = Conductor(**options)

    def prepare() -> Job:
        record = _find(conductor, run)
        settings = reach(conductor, record, endpoint, ca_file, insecure=insecure)

        async def job(journal: Journal, started: Started) -> RunReport | None:
            return await app.restore(
                record, settings, journal=journal, include_late=include_late, say=conductor.say,
                confirm=conductor.asking(_confirm(record, who_asks(settings))), listeners=conductor.listeners,
                started=started,
            )  # fmt: skip

        return job

    return conductor.conduct(
        prepare, nothing="nothing to restore: it stopped no VM and closed no host that is still as it left it"
    )


def _find(conductor: Conductor, name: str) -> RunRecord:
    """The run that is meant. `last` is the newest that stopped something; of a retry, the run that it takes up."""
    with reading(conductor.journal, name) as journal:
        record = app.find_run(journal, name, able=app.can_restore, to="that has ended and stopped a VM or closed a host")
        first = journal.run(journal.origin(record.id)) if Verb(record.action) is Verb.STOP else record
    if name == "last":
        record = first
    conductor.tell_run(record.id)
    if record is not first:
        both = f"'orchestrator restore {first.id}' starts what both have stopped"
        conductor.say("info", f"run {record.id} is a retry of run {first.id}: {both}")
    return record


def _confirm(record: RunRecord, who: str) -> Callable[[Undo, Forecast], Awaitable[bool]]:
    """The question before a restore."""

    async def confirm(undo: Undo, forecast: Forecast) -> bool:
        to_start = len(undo.rows)
        click.echo(f"plan {one_line(record.plan)} at {record.endpoint}, stopped by run {record.id}")
        click.echo(f"  {to_start:>6} to start" + (f", {undo.paused} of them Paused before" if undo.paused else ""))
        for line in _opening_lines(undo):
            click.echo(f"  {line}")
        if undo.migrated:
            click.echo(f"  {undo.migrated:>6} migrated, to stay where {'it is' if undo.migrated == 1 else 'they are'}")
        for word, count in Counter(vm.outcome for vm in undo.records if vm.outcome is not None).items():
            click.echo(f"  {count:>6} {word.replace('_', ' ')}")
        waves = Counter(vm.wave for vm in undo.records if vm.outcome is None)
        if len(waves) > 1:
            for wave, count in waves.items():
                click.echo(f"  wave {one_line(wave or '')}: {count} to start")
        for line in _host_lines(undo):
            click.echo(f"  {line}")
        if to_start:
            low, likely, high = (in_words(seconds) for seconds in (forecast.low, forecast.likely, forecast.high))
            click.echo(f"  forecast: {low} to {high}, most likely {likely}; it rests on {forecast.rests_on}")
        lines = undo.named()
        for line in lines[:_MOST_NAMED]:
            click.echo(f"  {line}")
        if len(lines) > _MOST_NAMED:
            click.echo(f"  and {len(lines) - _MOST_NAMED} more, which the report will name")
        version = one_line(undo.facts.version or "of an unknown version")
        click.echo(f"node {record.endpoint}, ZStack {version}, as {who}")
        hosts, waits = len(undo.to_open()), len(undo.to_wait_for())
        todo = [f"open {counted(hosts, 'host')}"] * bool(hosts) + [f"wait for {counted(waits, 'host')}"] * bool(waits)
        todo += [f"start {counted(to_start)}"] * bool(to_start)
        words = " and ".join(todo)
        question = f"{words[:1].upper()}{words[1:]} at {record.endpoint}?"
        return await ask_yes(question, record.plan if to_start > MANY else None)

    return confirm


def _opening_lines(undo: Undo) -> list[str]:
    """The hosts that come first, by what becomes of them."""
    opened: dict[str, list[HostBefore]] = {"enable": [], "disable": []}
    for host in undo.to_open():
        opened[host.actions[0].action].append(host)
    groups = (
        (opened["enable"], "to open first"),
        (opened["disable"], "to take out of maintenance first, and to stay Disabled as before"),
        (undo.to_wait_for(), "open already, to be waited for"),
    )
    return [
        f"{len(hosts):>6} host{'s' * (len(hosts) != 1)} {words}: "
        + first_few((one_line(host.row.name or host.row.uuid, 60) for host in hosts), _MOST_HOSTS)
        for hosts, words in groups
        if hosts
    ]


def _host_lines(undo: Undo) -> list[str]:
    """Where the VMs are started first: the hosts that may not take them, and those with the most."""
    counts = Counter(row.host_uuid for row in undo.rows.values() if row.host_uuid is not None)
    if not counts:
        return []
    opened = {host.row.uuid for host in undo.to_open() if host.actions[0].action == "enable"}

    def takes_them(uuid: str) -> bool:
        host = undo.hosts.get(uuid)
        return uuid in opened or (host is not None and (host.status, host.state) == ("Connected", "Enabled"))

    lines = [f"{counted(len(counts), 'host')}, where the VMs came from"]
    told = sorted(counts, key=lambda uuid: (takes_them(uuid), -counts[uuid]))
    for uuid in told[:_MOST_HOSTS]:
        host = undo.hosts.get(uuid)
        name = one_line(host.name or uuid) if host is not None else uuid
        odd = "" if takes_them(uuid) else f"; {_state(host)}, so that they may start elsewhere"
        lines.append(f"  {name}: {counted(counts[uuid])}{odd}")
    if len(told) > _MOST_HOSTS:
        lines.append(f"  and {len(told) - _MOST_HOSTS} more")
    return lines


def _state(host: HostRow | None) -> str:
    return "not told by the node" if host is None else one_line(f"{host.status}, {host.state}")
