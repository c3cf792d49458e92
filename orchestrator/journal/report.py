"""A run's report, made from the journal's tables in one pass and read VM by VM afterwards."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from orchestrator.journal import store
from orchestrator.journal.interface import HostKept
from orchestrator.model.outcome import BAD, Outcome
from orchestrator.model.report import Cause, HostRecord, RunRecord, RunReport, VmRecord, cause_of_failure


def build_report(connection: sqlite3.Connection, run_id: str) -> RunReport:
    """The report of a run, finished or not. Raises KeyError for an unknown run."""
    run, hosts, waves = store.read_run(connection, run_id)
    hosts = _with_actions(hosts, store.read_hosts(connection, run_id), partial(_totals_on, connection, run_id))
    held = store.read_lock(connection, run_id)
    return RunReport(
        run=run,
        totals=totals(connection, run_id),
        causes=tuple(causes(store.read_vms(connection, run_id, BAD), hosts)),
        waves=tuple(waves),
        hosts=tuple(hosts),
        vms=lambda: store.read_vms(connection, run_id),
        worker=held.worker if held is not None and held.alive else None,
        first=_first(connection, run),
    )


def _first(connection: sqlite3.Connection, run: RunRecord) -> str:
    seen = {run.id}
    while run.parent_run is not None and run.parent_run not in seen:
        try:
            run = store.read_run(connection, run.parent_run)[0]
        except KeyError:
            break
        seen.add(run.id)
    return run.id


def _with_actions(
    hosts: Sequence[HostRecord], kept: Sequence[HostKept], totals_on: Callable[[str], dict[str, int]]
) -> list[HostRecord]:
    """The hosts as the run's end has left them, or while it goes on as far as the journal knows: what was done to each, the
    state that it had then, and the outcomes of the VMs that were on it.
    """
    changed = {one.row.uuid: one for one in kept}
    made = [
        host.model_copy(update={"actions": changed.pop(host.uuid).actions}) if host.uuid in changed else host
        for host in hosts
    ]
    for one in changed.values():
        row, states = one.row, [action.state for action in one.actions if action.state is not None]
        made.append(
            HostRecord(
                uuid=row.uuid, name=row.name, status=row.status, state=[row.state, *states][-1],
                totals=totals_on(row.uuid), left_on_host=None, actions=one.actions,
            )
        )  # fmt: skip
    return made


def _totals_on(connection: sqlite3.Connection, run_id: str, host: str) -> dict[str, int]:
    """As `totals`, of one host, without zeros."""
    statement = "SELECT outcome, count(*) FROM vm WHERE run_id = ? AND host_uuid = ? GROUP BY outcome"
    counted = dict(connection.execute(statement, (run_id, host)).fetchall())
    found = {outcome.value: counted[outcome.value] for outcome in Outcome if outcome.value in counted}
    return {"targets": sum(counted.values()), **found} if counted else {}


def totals(connection: sqlite3.Connection, run_id: str) -> dict[str, int]:
    """`targets` and every outcome; while a run goes on, those without one are in `targets` alone."""
    counted = dict(
        connection.execute("SELECT outcome, count(*) FROM vm WHERE run_id = ? GROUP BY outcome", (run_id,)).fetchall()
    )
    return {
        "targets": sum(counted.values()),
        **{outcome.value: counted.get(outcome.value, 0) for outcome in Outcome},
    }


def causes(vms: Iterable[VmRecord], hosts: Iterable[HostRecord]) -> list[Cause]:
    """Equal causes together, the largest first. The cause is the chain of codes, or the outcome and its reason."""
    names = {host.uuid: host.name for host in hosts}
    found: dict[str, tuple[dict[str, None], list[str]]] = {}
    for vm in vms:
        key = cause_of_failure(vm)
        if key is None:
            continue
        where, members = found.setdefault(key, ({}, []))
        members.append(vm.uuid)
        if vm.host_uuid:
            where[names.get(vm.host_uuid) or vm.host_uuid] = None
    ordered = sorted(found.items(), key=lambda item: (-len(item[1][1]), item[0]))
    return [
        Cause(cause=key, count=len(members), hosts=tuple(where), vms=tuple(members)) for key, (where, members) in ordered
    ]
