"""One host: a change of its state, from its turn to its outcome."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace

from orchestrator.actions.machine import ActionState, Halt, Read, Send, advance, begin
from orchestrator.actions.rules import Rules
from orchestrator.actions.saved import Saved
from orchestrator.engine.pump import Means, Pump, ahead
from orchestrator.engine.read import Reader, UnreadableError
from orchestrator.engine.watch import Watcher
from orchestrator.model.fault import fault_of
from orchestrator.model.outcome import HOST_GOOD, HostOutcome, Reason
from orchestrator.model.report import HostAction, HostActionRecord
from orchestrator.model.safe import one_line
from orchestrator.model.target import HostRequest, HostRow, JobSucceeded, SendResult


@dataclass(frozen=True, slots=True)
class HostMeans:
    """What the hosts of a run are changed with."""

    every: Means
    reader: Reader[HostRow]
    watcher: Watcher


class HostDrive(Pump):
    """`number`: which of the things it is that are done to this host in the run. `record`: as it was written last, for one
    that another process has begun with, whose `saved` is what was under way (None: nothing had left). `check`: asked each
    time before a call leaves; where it says no, nothing is sent any more, and what is under way is followed. `unended`:
    outcomes that are not the last word on it, so that it is written without one for now.
    """

    def __init__(
        self,
        means: HostMeans,
        host: HostRow,
        number: int,
        rules: Rules,
        *,
        begun: bool = False,
        record: HostActionRecord | None = None,
        saved: Saved | None = None,
        check: Callable[[], Awaitable[bool]] | None = None,
        unended: Collection[HostOutcome] = (),
    ) -> None:
        self._action: HostAction = action_of(rules)
        self._record = record or HostActionRecord(action=self._action)
        super().__init__(means.every, means.watcher, host.uuid, self._record.attempts)
        self._host = means
        self._row = host
        self._number = number
        self._rules = rules
        self._begun = begun
        self._saved = saved
        self._check = check
        self._unended = unended
        self.refused = False
        """Did the check say no?"""

    async def run(self) -> HostActionRecord:
        """What became of it: durable when this returns."""
        if self._saved is None:
            self._record = replace(self._record, started_at=self._record.started_at or self._started_at)
            opened = begin(self._rules, self._started, begun=self._begun)
        else:
            opened = self._carry_on(self._saved)
        state, judgement = await self._pump(*opened)
        error = state.last.error if state.attempts else None
        self._record = replace(
            self._record,
            outcome=judgement.of_host,
            evidence=judgement.evidence.text,
            state_before=self._record.state_before or state.before,
            state=self._state_word,
            finished_at=self._m.clock.wall(),
            attempts=tuple(self._written),
            error=dict(error.plain()) if error is not None else None,
        )
        open_still = self._record.outcome in self._unended
        written = replace(self._record, outcome=None, finished_at=None) if open_still else self._record
        await self._m.journal.act(self._m.run_id, self._uuid, self._number, written, None)
        return self._record

    # ── what a host needs of the pump ──────────────────────────────────────────────────────────────────────────────
    async def _read(self, *, sent: bool) -> Read:
        try:
            row = await self._host.reader.read(self._uuid)
        except UnreadableError:
            return Read(self._m.clock.now(), None, unreadable=True)
        now = self._read_at = self._m.clock.now()
        self._state_word = row.state if row is not None else None
        if not sent and self._record.state_before is None:
            self._record = replace(self._record, state_before=self._state_word)
        return Read(now, row)

    async def _wait_for_node(self) -> None:
        await self._read(sent=True)

    async def _prepare(self, state: ActionState, step: Send) -> str | None:
        await self._check_again()
        return None

    async def _check_again(self) -> None:
        if self._check is None:
            return
        now = self._m.clock.now()
        self.refused = not await self._check()
        self._read_at = now  # what is checked is as old as the row that it is read with

    def _heed(self, state: ActionState) -> ActionState:
        state = super()._heed(state)
        if self.refused and state.halted is None:
            state, _ = advance(state, Halt(self._m.clock.now(), Reason.HOST))
        return state

    @property
    def at_node(self) -> bool:
        """Has a call of it left?"""
        return any(attempt.sent_at is not None for attempt in self._written)

    async def _call(self, job_uuid: str, type_: str, timeout: int, leaving: Callable[[], bool]) -> SendResult:
        request = HostRequest(self._uuid, self._action, job_uuid, timeout)
        return await self._m.cloud.change_host(request, leaving)

    async def _store_intent(self, number: int, saved: str) -> None:
        await self._m.journal.act(self._m.run_id, self._uuid, self._number, self._as_written(), saved)

    def _store(self, number: int, saved: str) -> None:
        self._m.journal.note_act(self._m.run_id, self._uuid, self._number, self._as_written(), saved)

    def _as_written(self) -> HostActionRecord:
        return replace(self._record, attempts=tuple(self._written))

    def _about_to_send(self, job_uuid: str, type_: str) -> None:
        """Nobody waits for so small a thing."""

    def _tell_sent(self, job_uuid: str, type_: str, timeout: int, at: float) -> None:
        until = ahead(self._rules, self._m.clock, type_, at, timeout)["until"]
        data = {"host": self._uuid, "name": self._row.name, "action": self._action, "job_uuid": job_uuid, "until": until}
        self._m.tell("host.sent", None, data)

    def _keep(self, answer: object) -> None:
        if isinstance(answer, JobSucceeded) and answer.seen is not None:
            self._state_word = answer.seen.row.state


def outcome_data(host: HostRow, record: HostActionRecord) -> dict[str, str | None]:
    """The fields of the event `host.outcome`."""
    failed = record.error is not None and record.outcome not in HOST_GOOD
    return {
        "host": host.uuid,
        "name": host.name,
        "action": record.action,
        "outcome": record.outcome,
        "evidence": one_line(record.evidence or "", 500),
        "cause": fault_of(record.error).chain() if failed and record.error is not None else None,
    }


def action_of(rules: Rules) -> HostAction:
    """The word for what is done by these rules."""
    match rules.verb.value:
        case "disable":
            return "disable"
        case "maintain":
            return "maintain"
        case _:
            return "enable"
