"""A run's report, made from the journal's tables in one pass and read VM by VM afterwards."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from orchestrator.journal import store
from orchestrator.journal.interface import HostKept
from orchestrator.model.outcome import BAD, Outcome
from orchestrator.model.report import Cause, HostRecord, RunReport, VmRecord, cause_of_failure


def build_report(connection: sqlite3.Connection, run_id: str) -> RunReport:
    """The report of a run, finished or not. Raises KeyError for an unknown run."""
    run, hosts, waves = store.read_run(connection, run_id)
    hosts = _with_actions(hosts, store.read_hosts(connection, run_id), partial(_totals_by_host, connection, run_id))
    held = store.read_lock(connection, run_id)
    return RunReport(
        run=run,
        totals=totals(connection, run_id),
        causes=tuple(causes(store.read_vms(connection, run_id, BAD), hosts)),
        waves=tuple(waves),
        hosts=tuple(hosts),
        vms=lambda: store.read_vms(connection, run_id),
        worker=held.worker if held is not None and held.alive else None,
        first=store.read_origin(connection, run_id),
    )


def _with_actions(
    hosts: Sequence[HostRecord], kept: Sequence[HostKept], totals_by_host: Callable[[], Mapping[str, dict[str, int]]]
) -> list[HostRecord]:
    """The hosts as the run's end has left them, or while it goes on as far as the journal knows: what was done to each, the
    state that it had then, and the outcomes of the VMs that were on it.
    """
    changed = {one.row.uuid: one for one in kept}
    made = [
        host.model_copy(update={"actions": changed.pop(host.uuid).actions}) if host.uuid in changed else host
        for host in hosts
    ]
    totals_of = totals_by_host() if changed else {}
    for one in changed.values():
        row, states = one.row, [action.state for action in one.actions if action.state is not None]
        made.append(
            HostRecord(
                uuid=row.uuid, name=row.name, status=row.status, state=[row.state, *states][-1],
                totals=totals_of.get(row.uuid, {}), left_on_host=None, actions=one.actions,
            )
        )  # fmt: skip
    return made


def _totals_by_host(connection: sqlite3.Connection, run_id: str) -> dict[str, dict[str, int]]:
    """As `totals`, of each host that has any, without zeros."""
    counted: dict[str, dict[str | None, int]] = {}
    statement = "SELECT host_uuid, outcome, count(*) FROM vm WHERE run_id = ? GROUP BY host_uuid, outcome"
    for host, outcome, count in connection.execute(statement, (run_id,)):
        counted.setdefault(host, {})[outcome] = count
    return {
        host: {"targets": sum(of.values()), **{word.value: of[word.value] for word in Outcome if word.value in of}}
        for host, of in counted.items()
    }


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
