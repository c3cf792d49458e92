"""What a run and its retries stopped, and how it stands now: a new run that starts it again, waves and order reversed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.clouds.interface import Cloud, NodeAwayError, NodeFacts, QueryRefusedError
from orchestrator.engine.again import is_unfinished
from orchestrator.engine.course import Known, forecast_of
from orchestrator.engine.forecast import Forecast
from orchestrator.engine.legs import WAVE, Legs
from orchestrator.engine.names import told_hosts
from orchestrator.engine.prepare import Took, known_from
from orchestrator.engine.records import HostBefore, Opening
from orchestrator.errors import NodeUnreachableError, RefusedError
from orchestrator.journal.interface import Journal
from orchestrator.model.outcome import STOPPED, AttemptResult, HostOutcome, Outcome, Reason
from orchestrator.model.report import Evidence, HostAction, HostActionRecord, RunRecord, VmRecord
from orchestrator.model.safe import one_line
from orchestrator.model.states import End, Verb, end_of
from orchestrator.model.target import HostRow, Seen, VmRow
from orchestrator.plan.model import Plan

_LATE = frozenset({Outcome.FAILED, Outcome.UNKNOWN})
_TELLING = STOPPED | _LATE | {Outcome.CAME_BACK, Outcome.MIGRATED}
"""Outcomes of a later run that replace an earlier one's word: it did something, or found it running again."""


@dataclass(frozen=True, slots=True)
class Undo:
    """Everything about a restore but the restore. All lists are in the order in which VMs are started.

    `records`: every VM that was stopped, with an outcome where nothing is sent to it. `rows`: those to be started, on the
    host that each came from. `late`: `failed` or `unknown`, Stopped now, and not to be started. `hosts`: those of `rows`,
    as far as the node tells them.
    """

    records: Sequence[VmRecord]
    rows: Mapping[str, VmRow]
    late: Sequence[VmRecord]
    facts: NodeFacts
    known: Known
    hosts: Mapping[str, HostRow]
    migrated: int = 0
    """VMs that the runs migrated, and that stay where they are."""
    paused: int = 0
    """Of those to be started, VMs that were Paused when they were stopped, and will be Running."""
    closed: Sequence[HostBefore] = ()
    """Hosts that the runs disabled or put into maintenance, each with what is to be done to it, or what is said of it."""
    unseen: int = 0
    """Of these, hosts that an earlier restore has opened, and that nobody has seen connected since."""

    @property
    def nothing(self) -> bool:
        """Is there nothing to be done?"""
        return not self.rows and not self.to_open() and not self.unseen

    def to_open(self) -> list[HostBefore]:
        """The hosts to be changed."""
        return [host for host in self._waiting() if host.row.state != _ENDS[host.actions[0].action]]

    def to_wait_for(self) -> list[HostBefore]:
        """The hosts that are open, and not connected."""
        return [host for host in self._waiting() if host.row.state == _ENDS[host.actions[0].action]]

    def _waiting(self) -> list[HostBefore]:
        return [host for host in self.closed if host.actions[0].outcome is None]

    def left(self) -> Iterator[VmRecord]:
        """Those that somebody has had since, or that are gone."""
        return (record for record in self.records if record.outcome in {Outcome.SKIPPED, Outcome.NOT_FOUND})

    def named(self) -> list[str]:
        """A line for each VM that is left to somebody, or only listed."""
        lines = [f"left: {_label(vm)}: {vm.evidence.text if vm.evidence else ''}" for vm in self.left()]
        lines += [
            f"left: host {one_line(host.row.name or host.row.uuid, 100)}: {host.actions[0].evidence}"
            for host in self.closed
            if host.actions[0].outcome in {HostOutcome.LEFT, HostOutcome.FAILED}
        ]
        words = "Stopped now; --include-late starts it too"
        return lines + [f"not started: {_label(vm)} was {vm.outcome} in the run, and is {words}" for vm in self.late]

    def forecast(self, plan: Plan) -> Forecast:
        """How long it takes from now; `plan` is the reversed one."""
        return forecast_of(
            plan,
            Legs(plan, Verb.START),
            [(self.rows[vm.uuid], vm.wave or WAVE) for vm in self.records if vm.uuid in self.rows],
            self.known,
        )

    def opening(self, plan: Plan, run: RunRecord, plan_file: Mapping[str, Any]) -> Opening:
        """What the run begins with; `plan` is the reversed one, `plan_file` what the journal keeps of it."""
        ahead = self.facts.clock_ahead_seconds
        return Opening(plan, run, self.records, self.rows, ahead, plan_file, known=self.known, hosts=self.closed)


def family(run: RunRecord, journal: Journal) -> list[RunRecord]:
    """The run, its retries and theirs, and the restores of any of them; the oldest first.

    Raises RefusedError where one has not ended.
    """
    if Verb(run.action) is Verb.START:
        raise RefusedError(
            f"run {run.id} is a restore itself: name the run that stopped the VMs, {run.parent_run or 'its parent'}"
        )
    members, known = [run], {run.id}
    for other in reversed(journal.runs()):
        if other.parent_run in known:
            members.append(other)
            known.add(other.id)
    for member in members:
        if is_unfinished(member):
            raise RefusedError(f"run {member.id} has not ended: carry it on with 'orchestrator resume {member.id}' first")
    return members


async def plan_undo(members: Sequence[RunRecord], journal: Journal, cloud: Cloud, *, include_late: bool, took: Took) -> Undo:
    """How everything that these runs stopped stands now. Raises NodeUnreachableError, RefusedError, LoginError."""
    try:
        facts = await cloud.facts()
        last = _last_words(members, journal, cloud)
        stopped = {uuid: both for uuid, both in last.items() if both[0].outcome in STOPPED | _LATE}
        seen = await cloud.read(list(stopped))
        closed, unseen = await _closed_hosts(members, journal, cloud)
    except NodeAwayError as error:
        raise NodeUnreachableError(
            f"the VMs cannot be read ({error.detail}): see that the node is up, and try again"
        ) from None
    except QueryRefusedError as error:
        raise RefusedError(f"the node does not tell how the VMs stand ({error.detail}): nothing was sent") from None
    records, rows, late = list[VmRecord](), dict[str, VmRow](), list[VmRecord]()
    for uuid, (before, last_read) in reversed(stopped.items()):
        now, moment = seen.get(uuid), last_read
        if before.outcome in _LATE:
            if now is None or now.row.state != "Stopped":
                continue
            if not include_late:
                late.append(before)
                continue
            moment = None  # it was found off afterwards: no moment of ours to hold it against
        record = _standing(before, now, moment)
        records.append(record)
        if record.outcome is None and now is not None:
            rows[uuid] = replace(now.row, host_uuid=before.host_uuid)
    known = known_from(took, [Verb.START], list(rows))
    hosts = {row.host_uuid for row in rows.values() if row.host_uuid is not None}
    migrated = sum(vm.outcome is Outcome.MIGRATED for vm, _ in last.values())
    paused = sum(stopped[uuid][0].state_before == "Paused" for uuid in rows)
    host_rows = await told_hosts(cloud, sorted(hosts))
    return Undo(records, rows, late, facts, known, host_rows, migrated, paused, closed, unseen)


@dataclass(slots=True)
class _Closed:
    """A host that these runs have changed: what it was before, and what they may have left it as; nothing where somebody has
    had it since. `unseen`: a restore has opened it, and did not see it connected.
    """

    before: str | None
    left_as: set[str]
    unseen: bool = False


async def _closed_hosts(members: Sequence[RunRecord], journal: Journal, cloud: Cloud) -> tuple[list[HostBefore], int]:
    """How the hosts stand now that these runs have changed, the last one first; and how many of them are to be waited for,
    though nothing is sent to them. Raises NodeAwayError, QueryRefusedError.

    Its state alone is held against what we left it as: `lastOpDate` of a host changes with its status too, and whoever
    works on a host switches it off.
    """
    closed = _closed(members, journal)
    rows = await cloud.hosts(list(closed)) if closed else {}
    found, unseen = list[HostBefore](), 0
    for uuid, (known, one) in reversed(closed.items()):
        row = rows.get(uuid)
        action: HostAction = "disable" if one.before == "Disabled" else "enable"
        outcome, words = _host_standing(row, action, one.left_as)
        state = row.state if row is not None else None
        unseen += one.unseen and outcome is None and state == _ENDS[action]
        record = HostActionRecord(action=action, outcome=outcome, evidence=words, state_before=state, state=state)
        found.append(HostBefore(row or known, (record,)))
    return found, unseen


def _closed(members: Sequence[RunRecord], journal: Journal) -> dict[str, tuple[HostRow, _Closed]]:
    """What the runs did to hosts, and restores of them since, one after the other. One that a restore has opened is still in
    it: it may not be connected yet.
    """
    closed: dict[str, tuple[HostRow, _Closed]] = {}
    for member in members:
        for host in journal.hosts(member.id):
            for action in host.actions:
                if action.action == "empty":
                    continue
                if host.row.uuid in closed:
                    _replay(closed[host.row.uuid][1], action)
                elif _changed(action) and Verb(member.action) is Verb.STOP:
                    closed[host.row.uuid] = host.row, _Closed(action.state_before, _left_as(action, set()))
    return closed


def _replay(one: _Closed, action: HostActionRecord) -> None:
    """What this says of a host that we have changed before. Found in another state than we left it in, it was somebody's by
    then: what it is before a change of ours now is what a restore brings back.
    """
    if action.state_before is not None and action.state_before not in one.left_as:
        one.before, one.left_as = action.state_before, set()
    one.unseen = False
    if _changed(action):
        one.left_as = _left_as(action, one.left_as)
        one.unseen = action.action == "enable" and action.outcome is not HostOutcome.DONE


_ENDS = {"disable": "Disabled", "maintain": "Maintenance", "enable": "Enabled"}
_THROUGH = {"maintain": "PreMaintenance"}
"""States that what is done to a host leads to, and the one that it passes."""
_NOTHING_BEGAN = frozenset({AttemptResult.REFUSED, AttemptResult.LOST})


def _changed(action: HostActionRecord) -> bool:
    """Is the host in another state by it, for certain or perhaps? What was sent and did not end well may have done it all
    the same, or be on the way, unless its job has failed and the host was read as it was.
    """
    if action.outcome in {HostOutcome.DONE, HostOutcome.CAME_BACK}:
        return True
    if action.outcome in {HostOutcome.ALREADY, HostOutcome.LEFT}:
        return False
    begun = [one for one in action.attempts if one.sent_at is not None and one.result not in _NOTHING_BEGAN]
    failed = all(one.result is AttemptResult.FAILED for one in begun)
    goals = {_ENDS[action.action], _THROUGH.get(action.action)}
    return bool(begun) and not (failed and action.state is not None and action.state not in goals)


def _left_as(action: HostActionRecord, before: set[str]) -> set[str]:
    """What the host may be after such a change; `before`: what we may have left it as before that."""
    end = _ENDS[action.action]
    if action.outcome is HostOutcome.CAME_BACK:
        return set()  # whatever it is now is somebody else's doing
    if action.outcome is HostOutcome.DONE or action.state == end:
        return {end}
    return before | {end, _THROUGH.get(action.action, end)}


def _host_standing(row: HostRow | None, action: HostAction, left_as: set[str]) -> tuple[HostOutcome | None, str | None]:
    """What is said of a host; None for both where it is to be opened, or is open and to be waited for."""
    wanted = _ENDS[action]
    if row is None:
        return HostOutcome.FAILED, "the node does not know this host any more"
    if row.state == wanted and row.status == "Connected":
        return HostOutcome.ALREADY, f"it is {wanted} already"
    if row.state == wanted or row.state in left_as:
        return None, None
    return HostOutcome.LEFT, f"its state reads {one_line(str(row.state), 60)}: somebody has had it since"


def _label(vm: VmRecord) -> str:
    return f"{one_line(vm.name or 'VM', 100)} ({vm.uuid})"


def reversed_plan(plan: Plan) -> Plan:
    """The plan's waves the other way round: each comes after those that came after it. Its limits hold, its window does
    not, and no power is cut.
    """
    after: dict[str, list[str]] = {wave.name: [] for wave in plan.waves}
    for wave in plan.waves:
        for before in wave.after:
            after[before].append(wave.name)
    waves = tuple(wave.model_copy(update={"after": tuple(after[wave.name])}) for wave in reversed(plan.waves))
    budget = plan.budget.model_copy(update={"power_cuts": None})
    return plan.model_copy(update={"waves": waves, "budget": budget, "window": None})


def _last_words(members: Sequence[RunRecord], journal: Journal, cloud: Cloud) -> dict[str, tuple[VmRecord, float | None]]:
    """What these runs did to each VM, in the plan's order: the last word that is none of a restore, without inventory, and
    the `lastOpDate` that any of them read last. A restore that failed has changed that too.
    """
    last: dict[str, tuple[VmRecord, float | None]] = {}
    for member in members:
        for vm in journal.vms(member.id):
            word, moment = last.get(vm.uuid, (vm, None))
            starts = Verb(member.action) is Verb.START
            if vm.uuid in last and not (vm.attempts if starts else vm.outcome in _TELLING):
                continue  # that run did nothing to it: what it read may be somebody else's doing
            row = cloud.row_of(vm.inventory) if vm.inventory is not None else None
            moment = row.last_op if row is not None and row.last_op is not None else moment
            said = word if starts else replace(vm, inventory=None, attempts=())
            last[vm.uuid] = (said, moment)
    return last


def _standing(before: VmRecord, now: Seen | None, moment: float | None) -> VmRecord:
    """The VM's record for the restore: without an outcome where it is to be started. `moment`: see `_last_words`."""
    row = now.row if now is not None else None
    touched = moment is not None and row is not None and row.last_op is not None and row.last_op > moment
    outcome, reason, words = None, None, ""
    match End.GONE if row is None else end_of(row.state, Verb.START):
        case End.GONE:
            outcome, reason, words = (
                Outcome.NOT_FOUND,
                Reason.UNKNOWN_UUID,
                "it is gone since it was stopped, or this account does not see it",
            )
        case End.GOAL:
            outcome, words = Outcome.ALREADY_RUNNING, "it runs already: somebody has started it"
        case _ if row is not None and row.state != "Stopped":
            outcome, reason, words = (
                Outcome.SKIPPED,
                Reason.TOUCHED,
                f"its state reads {row.state}: somebody has had it since",
            )
        case _ if touched:
            words = "it was changed since the run that stopped it, and is left to whoever did that"
            outcome, reason = Outcome.SKIPPED, Reason.TOUCHED
        case _:
            pass
    return VmRecord(
        uuid=before.uuid,
        name=(row.name if row is not None else None) or before.name,
        type=before.type,
        host_uuid=before.host_uuid,
        cluster_uuid=before.cluster_uuid,
        wave=before.wave or WAVE,
        ha_level=before.ha_level,
        outcome=outcome,
        reason=reason,
        evidence=Evidence(text=words, basis="none" if row is None else "state") if outcome is not None else None,
        state_before=row.state if row is not None else None,
        state=row.state if row is not None else None,
        check_after_start=before.check_after_start or before.outcome in _LATE,  # nobody saw how it ended
        inventory=dict(now.inventory) if now is not None else None,
    )
