"""Runs that empty hosts, over real sockets, and every word on a host or a migration held against the node's own record."""

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio

from orchestrator import app
from orchestrator.engine.preview import Preview
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.event import Event
from orchestrator.model.outcome import AttemptType, HostOutcome, Outcome
from orchestrator.model.report import HostRecord, ReportDocument, VmRecord
from orchestrator.plan.load import PlanFile, plan_from_text
from orchestrator.simulator.fleet import SimulatedHost
from orchestrator.simulator.record import Request
from tests.integration.conftest import Trial, is_listed, settings_for

OLD, NEW = ("old-1", "old-2"), ("new-1", "new-2")
"""Hosts that are emptied, and hosts with room."""
SCALE = 60.0
"""Simulated seconds per second: the power cut comes after 1 s."""
EMPTIED = [("disable", "done"), ("empty", "done"), ("maintain", "done")]
NOT_EMPTY = [("disable", "done"), ("empty", "not_empty")]
QUICK = {"shutdown": [1, 6]}
SLOW = {"shutdown": [35, 40]}
"""Half a second or more, so that something can happen meanwhile."""
CLOSED = {"old-1": EMPTIED, "old-2": EMPTIED}
"""Both hosts came to where they should be."""
ENABLED = {"old-1": [("enable", "done")], "old-2": [("enable", "done")]}
"""Both hosts are open again."""
STOPPED = ("stopped_clean", "stopped_forced", "stopped_cold")
MOVE = {"vms": "migrate"}
MOVE_OR_STOP = {"vms": "migrate_then_stop"}
UNDONE = frozenset({Outcome.FAILED, Outcome.SKIPPED, Outcome.NOT_REACHED, Outcome.NOT_FOUND, Outcome.ALREADY_STOPPED})
"""Outcomes that no VM has which we have moved."""


def group(name: str, count: int = 1, *, on: Sequence[str] = OLD, guest: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """Some VMs on these hosts."""
    return {"name": name, "count": count, "hosts": list(on), "guest": {**QUICK, **(guest or {})}, **more}


def fleet(*groups: Any, old: Sequence[Any] = OLD, new: Sequence[Any] = NEW, faults: Sequence[Any] = (), **node: Any) -> Any:
    """A scenario with one rack of hosts; `node` is laid over the node's settings."""
    return {
        "node": {"migrate": [6, 12], "reconnect": [3, 5], "host_sync": 3, **node},
        "clusters": [{"name": "rack", "hosts": [*old, *new]}],
        "vms": list(groups),
        "faults": list(faults),
    }


def upon(kind: str, do: Callable[[Event], object], *, nth: int = 1, **fields: object) -> Callable[[Event], None]:
    """A listener that does it once: upon the nth event of a kind with these fields."""
    seen = 0

    def listen(event: Event) -> None:
        nonlocal seen
        if event.kind == kind and all(event.data.get(key) == value for key, value in fields.items()):
            seen += 1
            if seen == nth:
                do(event)

    return listen


@dataclass
class Emptying(Trial):
    """A node with hosts, and runs one after the other that empty them, or open them again. To be entered.

    `waves`: those of the plan. `met`: each time that a host went into maintenance, the job and the VMs that were on it then.
    """

    leaving: Sequence[str] = OLD
    select: Mapping[str, Any] | None = None
    """The plan's `targets.hosts`, where it is not their names."""
    waves: Sequence[Mapping[str, Any]] = ()
    scale: float = SCALE
    journal: SqliteJournal = field(init=False)
    met: list[tuple[str, str | None, tuple[str, ...]]] = field(default_factory=list)
    reports: list[ReportDocument] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    _inside: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        super().__post_init__()
        watch_maintenance(self.node, self.met)

    async def __aenter__(self) -> Self:
        await self._inside.enter_async_context(self.node)
        self.journal = SqliteJournal(self.folder / "journal.sqlite")
        self._inside.push_async_callback(self.journal.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inside.aclose()

    def plan_text(self) -> str:
        """The plan as JSON."""
        plan = json.loads(super().plan_text())
        plan["targets"] = {"hosts": self.select or {"names": list(self.leaving)}}
        plan["verify"] = {"after": "100ms", **self.plan.get("verify", {})}
        plan["evacuate"] = {"host_timeout": "3s", "migrate": {"timeout": "3s"}, **plan.get("evacuate", {})}
        return json.dumps({**plan, "waves": list(self.waves)} if self.waves else plan)

    def plan_file(self) -> PlanFile:
        """The plan."""
        return plan_from_text(self.plan_text(), name="plan.json", folder=self.folder, json=True)

    # ── doing ──────────────────────────────────────────────────────────────────────────────────────────────────────
    async def preview(self) -> Preview:
        """What a run would do."""
        return await app.preview(self.plan_file(), settings_for(self.node, **self.credential), journal=self.journal)

    async def empty(self, *listeners: Callable[[Event], None], **options: Any) -> ReportDocument:
        """A run to its report."""
        return await self._do(app.run, self.plan_file(), listeners, options)

    async def retry(self, *listeners: Callable[[Event], None]) -> ReportDocument:
        """What the last run left."""
        return await self._do(app.retry, self.report.run, listeners, {})

    async def restore(self, *listeners: Callable[[Event], None], of: int = 0, **options: Any) -> ReportDocument | None:
        """What that run and its retries did, undone; None where there is nothing to undo."""
        before = len(self.reports)
        options = {"say": lambda _, text: self.said.append(text), **options}
        await self._do(app.restore, self.reports[of].run, listeners, options)
        return self.report if len(self.reports) > before else None

    async def _do(
        self, what: Callable[..., Coroutine[Any, Any, Any]], about: object, listeners: Sequence[Any], options: dict[str, Any]
    ) -> ReportDocument:
        heard = [is_listed, self.events.append, *listeners]
        with anyio.fail_after(60):
            report = await what(
                about, settings_for(self.node, **self.credential), journal=self.journal, listeners=lambda _: heard, **options
            )
        if report is not None:
            self.report = report.document()
            self.reports.append(self.report)
        return self.report

    def host(self, name: str) -> SimulatedHost:
        """A host as the node has it."""
        return self.node.host(name)

    def set_host(self, name: str, state: str) -> None:
        """Somebody else changes a host's state, at once."""
        self.node._world.set_host_state(self.host(name), state, "other")

    def at_state(self, host: SimulatedHost, state: str, do: Callable[[], object]) -> None:
        """Do it one simulated second after the host has come to this state, however busy the machine is."""
        world: Any = self.node._world
        changed = world.set_host_state

        def watched(one: Any, after: str, by: str, *, job: str | None = None) -> None:
            changed(one, after, by, job=job)
            if one is host and after == state:
                asyncio.get_running_loop().call_later(1.0 / self.scale, do)

        world.set_host_state = watched

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────────────
    def told(self, name: str, report: ReportDocument | None = None) -> HostRecord:
        """A host as the report has it."""
        return next(host for host in (report or self.report).hosts if host.uuid == self.host(name).uuid)

    def acts(self, name: str) -> list[tuple[str, str | None]]:
        """What the report says was done to a host."""
        return [(act.action, act.outcome.value if act.outcome else None) for act in self.told(name).actions]

    def puts(self, action: str) -> list[Request]:
        """Requests of that kind for VMs and hosts that there are, in order."""
        known = {*self.node.vms, *self.node.hosts}
        return [one for one in self.node.record.requests if one.action == action and (one.vm_uuid or one.host_uuid) in known]

    def causes(self, name: str) -> dict[str | None, str | None]:
        """What the report says is left on a host, and what its failure rests on."""
        return {vm.name: vm.cause for vm in self.told(name).left_on_host or ()}

    def left(self, name: str) -> dict[str | None, str]:
        """What the report says is left on a host, and why."""
        return {vm.name: vm.why for vm in self.told(name).left_on_host or ()}

    # ── holding ────────────────────────────────────────────────────────────────────────────────────────────────────
    def hold_emptied(
        self,
        hosts: Mapping[str, Sequence[tuple[str, str]]],
        vms: Mapping[str, str | Collection[str]],
        *,
        code: int = 0,
        migrations: int = 8,
        per_host: int = 2,
        limited: bool = True,
        changing: Collection[str] = (),
        **given: Any,
    ) -> None:
        """The first run's report is true, VMs and hosts became what is expected, and no limit was crossed.

        `limited` False: a migration never ends, and counts at the node for ever. `changing`: hosts that others have changed
        since the report. `given`: see `Trial.hold`.
        """
        self.hold(vms, **given)
        hold_moves(self, self.leaving)
        hold_hosts(self, self.leaving, changing=changing)
        found, wanted = {name: self.acts(name) for name in hosts}, {name: list(acts) for name, acts in hosts.items()}
        assert found == wanted, f"{found} instead of {wanted}"
        assert self.report.run.exit_code == code, self.report.run
        if limited:
            hold_migration_limits(self, migrations, per_host)

    def hold_opened(
        self, hosts: Mapping[str, Sequence[tuple[str, str]]], started: Collection[str], *, code: int = 0
    ) -> None:
        """The restore's report is true: hosts first and once each, then the VMs; nothing is migrated back."""
        report, record = self.report, self.node.record
        assert report.run.action == "start"
        found, wanted = {name: self.acts(name) for name in hosts}, {name: list(acts) for name, acts in hosts.items()}
        assert found == wanted, f"{found} instead of {wanted}"
        assert report.run.exit_code == code, report.run
        assert {vm.name for vm in report.vms if vm.outcome is Outcome.STARTED} == set(started), self.outcomes
        starts, jobs = self.puts("startVmInstance"), {attempt.job_uuid for vm in report.vms for attempt in vm.attempts}
        assert {one.job for one in starts} <= jobs, "a start without an intent"
        begun = [step.vm_uuid for step in record.transitions if step.job in jobs and step.after == "Starting"]
        assert sorted(begun) == sorted(self.sim(name).uuid for name in started), "not started once each"
        for host in report.hosts:
            ours = {attempt.job_uuid for act in host.actions for attempt in act.attempts}
            sent = [one for one in self.puts("changeHostState") if one.host_uuid == host.uuid and one.job in ours]
            steps = [step for step in record.host_transitions_of(host.uuid) if step.job in ours]
            for act in host.actions:
                goal = "Enabled" if act.action == "enable" else "Disabled"
                done = act.outcome is HostOutcome.DONE
                assert [step.after for step in steps] == ([goal] if done or steps else []), (host.name, steps)
                assert done or act.outcome is HostOutcome.FAILED or not sent
                assert not done or self.node.hosts[host.uuid].status == "Connected"
                if steps and starts and done:
                    back = (self.node.scenario.node.reconnect.low or 0.0) / self.scale
                    waited = back if steps[0].before == "Maintenance" else 0.0
                    assert min(one.at for one in starts) >= steps[0].at + waited, f"started before {host.name} is connected"
        first_job = self.reports[0]
        moved = {vm.uuid: vm.migrated_to for vm in first_job.vms if vm.outcome is Outcome.MIGRATED}
        assert {uuid: self.node.vms[uuid].host_uuid for uuid in moved} == moved
        assert record.open_sessions() == []


Emptyings = Callable[..., Emptying]


def in_folders(folder: Path) -> Emptyings:
    """Makes some, each in a folder of its own under this one."""
    numbers = count()

    def make(scenario: Any, evacuate: Any = None, **options: Any) -> Emptying:
        own = folder / str(next(numbers))
        own.mkdir()
        return Emptying(own, scenario, **{**options, "plan": {"evacuate": evacuate or {}, **options.get("plan", {})}})

    return make


def watch_maintenance(node: Any, met: list[tuple[str, str | None, tuple[str, ...]]]) -> None:
    """Note who is on a host whenever the node begins with its maintenance."""
    world = node._world
    changed = world.set_host_state

    def watched(host: SimulatedHost, after: str, by: str, *, job: str | None = None) -> None:
        if after == "PreMaintenance":
            met.append((host.uuid, job, tuple(vm.name for vm in world.fleet.vms.values() if vm.host is host)))
        changed(host, after, by, job=job)

    world.set_host_state = watched


def hold_moves(trial: Trial, leaving: Sequence[str]) -> None:
    """Whoever is said to have migrated was moved by our job, once, off the hosts; nothing else was moved by us."""
    record, lies = trial.node.record, []
    emptied = {trial.node.host(name).uuid for name in leaving}
    for vm in trial.report.vms:
        asked = {attempt.job_uuid: attempt.host_uuid for attempt in vm.attempts if attempt.type is AttemptType.MIGRATE}
        puts = [one for one in record.requests if one.action == "migrateVm" and one.vm_uuid == vm.uuid]
        begun = any(one.job in asked and one.started is not None for one in record.migrations)
        # After a restart of the node its host sync writes down what our job began, and knows no job.
        moves = [
            one
            for one in record.moves
            if one.vm_uuid == vm.uuid and (one.job in asked or (begun and one.by == "agent" and one.job is None))
        ]
        stops = {attempt.job_uuid for attempt in vm.attempts} - set(asked)
        checks = {
            "migrated, but not by us": vm.outcome is Outcome.MIGRATED and not moves,
            "migrated to where it is not": vm.outcome is Outcome.MIGRATED and _where(trial, vm) != vm.migrated_to,
            "migrated, and on a host that is emptied": vm.migrated_to in emptied,
            "moved by us, and not said": bool(moves) and vm.outcome in UNDONE,
            "moved twice": len(moves) > 1,
            "a migration without an intent": any(one.job not in asked for one in puts),
            "sent elsewhere than it says": any(one.body.get("hostUuid") != asked.get(one.job or "") for one in puts),
            "sent to a host that is emptied": any(one.body.get("hostUuid") in emptied for one in puts),
            "stopped where nothing is emptied": any(
                one.job in stops and _known_elsewhere(trial, vm.uuid, one.job, emptied) for one in record.stops
            ),
        }
        lies += [f"{lie}: {trial.why(vm.uuid)}" for lie, told in checks.items() if told]
    targets = {vm.uuid for vm in trial.report.vms}
    lies += [
        f"no target, and migrated: {vm.name}"
        for uuid, vm in trial.node.vms.items()
        if uuid not in targets and record.migrate_puts(uuid)
    ]
    assert not lies, "\n".join(lies)


def _known_elsewhere(trial: Trial, uuid: str, job: str, emptied: Collection[str]) -> bool:
    """Was this stop sent though the last read of the VM before it had told that it is where nothing is emptied?"""
    requests = trial.node.record.requests
    sent = max(one.at for one in requests if one.job == job and one.action == "stopVmInstance")
    reads = [one.at for one in requests if one.method == "GET" and one.at < sent and _reads(one, uuid)]
    moves = [one for one in trial.node.record.moves if one.vm_uuid == uuid and one.at < max(reads, default=0.0)]
    return bool(moves) and moves[-1].target not in emptied


def _reads(request: Request, uuid: str) -> bool:
    """Is this VM's whole row asked for?"""
    return request.path.endswith("/v1/vm-instances") and f"{uuid}" in request.query and "fields=" not in request.query


def _where(trial: Trial, vm: VmRecord) -> str | None:
    """Where it was moved to last, by whomever."""
    moves = [one.target for one in trial.node.record.moves if one.vm_uuid == vm.uuid]
    return moves[-1] if moves else None


def hold_hosts(trial: Trial, leaving: Sequence[str], *, changing: Collection[str] = ()) -> None:
    """Each host was changed once per direction and with an intent, disabled before any VM, maintained when it was empty."""
    record, report, lies = trial.node.record, trial.report, list[str]()
    emptied = {trial.node.host(name).uuid for name in leaving}
    sent = [one for one in record.requests if one.action == "changeHostState" and one.host_uuid in trial.node.hosts]
    told = {host.uuid: host for host in report.hosts}
    jobs = {attempt.job_uuid: act.action for host in report.hosts for act in host.actions for attempt in act.attempts}
    lies += [f"a change without an intent: {one}" for one in sent if jobs.get(one.job or "") != one.body.get("stateEvent")]
    lies += [f"changed, and not to be emptied: {one}" for one in sent if one.host_uuid not in emptied]
    assert set(emptied) <= set(told), "a host is missing in the report"
    disabled = [one.at for one in sent if one.body.get("stateEvent") == "disable"]
    begun = [
        one.at for one in record.requests if one.action in {"stopVmInstance", "migrateVm"} and one.vm_uuid in trial.node.vms
    ]
    if disabled and begun and max(disabled) > min(begun):
        lies.append("something was done to a VM before every host was disabled")
    for uuid in emptied:
        host, sim = told[uuid], trial.node.hosts[uuid]
        by_us = [(step.before, step.after) for step in record.host_transitions_of(uuid) if step.job in jobs]
        acts = {act.action: act for act in host.actions}
        here = {vm.uuid for vm in trial.node.vms.values() if vm.host is sim and vm.state != "Stopped"}
        left = None if host.left_on_host is None else {vm.uuid for vm in host.left_on_host}
        done = {name: act.outcome in {HostOutcome.DONE, HostOutcome.CAME_BACK} for name, act in acts.items()}
        asked = [one.body.get("stateEvent") for one in sent if one.host_uuid == uuid]
        checks = {
            "an outcome is missing": any(act.outcome is None for act in host.actions),
            "disabled, but not by us": done.get("disable", False) and sum(after == "Disabled" for _, after in by_us) < 1,
            "disabled twice": sum(step == ("Enabled", "Disabled") for step in by_us) > 1,
            "maintained, but not by us": done.get("maintain", False) and sum(a == "Maintenance" for _, a in by_us) != 1,
            "maintained twice": sum(after == "Maintenance" for _, after in by_us) > 1,
            "already, and sent": any(act.outcome is HostOutcome.ALREADY and act.action in asked for act in host.actions),
            "maintained though it is said not to be empty": "maintain" in asked and not done.get("empty", False),
            "empty, and it is not": done.get("empty", False) and bool(left) and host.name not in changing,
            "not empty, and nothing is left": not left
            and "empty" in acts
            and acts["empty"].outcome is HostOutcome.NOT_EMPTY,
            "what is left on it": left is not None and left != here and host.name not in changing,
            "its state": host.state is not None and host.state != sim.state and host.name not in changing,
            "its status": host.status is not None and host.status != sim.status and host.name not in changing,
        }
        lies += [f"{lie}: {host.name} {by_us} {acts} {left} {sim.state}" for lie, wrong in checks.items() if wrong]
    lies += [f"maintenance did it: {one}" for one in record.migrations if one.job in jobs]
    lies += [f"maintenance did it: {one}" for one in record.transitions if one.job in jobs]
    if isinstance(trial, Emptying):
        lies += [f"maintained with {there} on {uuid}" for uuid, job, there in trial.met if job in jobs and there]
    assert not lies, "\n".join(lies)


def hold_migration_limits(trial: Trial, migrations: int, per_host: int) -> None:
    """Never more at a time than the plan allows, in all and at both ends."""
    record = trial.node.record
    assert record.peak_migrations() <= migrations
    crowded = {host.name: record.peak_migrations_per_host(uuid) for uuid, host in trial.node.hosts.items()}
    assert max(crowded.values()) <= per_host, crowded


async def side_by_side(one: Callable[[Any], Coroutine[Any, Any, None]], *cases: Any) -> None:
    """Each case on a node of its own, all at once: they mostly wait."""

    async def named(case: Any) -> None:
        try:
            await one(case)
        except Exception as error:
            error.add_note(f"in the case {case!r}")
            raise

    await asyncio.gather(*map(named, cases))


async def until(holds: Callable[[], object]) -> None:
    """Until something is so at the node, which tells nobody."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
