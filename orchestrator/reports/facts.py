"""What a report needs to know of all VMs before its first word, gathered in one pass and bounded."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrator.model.counts import counted, was
from orchestrator.model.outcome import STOPPED, AttemptResult, Outcome
from orchestrator.model.report import AttemptRecord, RunReport
from orchestrator.reports.explain import explanation
from orchestrator.reports.hosts import HostNames
from orchestrator.reports.wording import deed_of, done_words

NAMED = 10
"""How many VMs of one outcome are named where only some are."""

NAMED_OUTCOMES = (Outcome.CAME_BACK, Outcome.UNKNOWN, Outcome.FAILED, Outcome.NOT_FOUND)
"""Outcomes that somebody has to follow up, most surprising first."""

_DONE = STOPPED | {Outcome.ALREADY_STOPPED, Outcome.STARTED, Outcome.ALREADY_RUNNING, Outcome.MIGRATED}
_MAY_ACT = frozenset({AttemptResult.TIMED_OUT, AttemptResult.RUNNING})
"""Calls whose job may go on after another was sent; of the last one also what was lost."""
_OPEN_RESULTS = _MAY_ACT | {AttemptResult.LOST}


@dataclass(frozen=True, slots=True)
class Named:
    """A VM to be named: raw text, to be made safe by the renderer."""

    uuid: str
    name: str
    host: str
    why: str


@dataclass(slots=True)
class Facts:
    """Counts over all VMs, and the first few names of each outcome that needs somebody."""

    named: dict[Outcome, list[Named]] = field(default_factory=lambda: {word: [] for word in NAMED_OUTCOMES})
    counts: Counter[Outcome | None] = field(default_factory=Counter)
    check_after_start: Counter[str] = field(default_factory=Counter)
    late: int = 0
    not_reread: int = 0
    open_jobs: int = 0
    open_until: datetime | None = None
    deed: str = "stop"
    """What the run was to do with its VMs."""

    def notes(self) -> list[str]:
        """What a reader might otherwise take for granted."""
        notes = []
        if self.not_reread:
            done, undone = (
                ("running", "that it went off again") if self.deed == "start" else (done_words(self.deed), "a comeback")
            )
            notes.append(
                f"{counted(self.not_reread)} counted as {done} {was(self.not_reread)} not read again later, "
                f"so nothing here rules out {undone}."
            )
        if self.late:
            done = "stopped" if self.deed == "stop" else "changed"
            whom = "it" if self.late == 1 else "them"
            notes.append(f"{counted(self.late)} {done} only after the run had given up on {whom} (late).")
        if self.open_jobs:
            until = f", until {self.open_until:%Y-%m-%dT%H:%M:%SZ} at the latest" if self.open_until else ""
            notes.append(f"Jobs of {counted(self.open_jobs)} have no end in this report and may still act{until}.")
        return notes

    def check_sentence(self) -> str:
        """How many VMs to look at once they run again; empty without one."""
        if not (total := self.check_after_start.total()):
            return ""
        parts = ", ".join(f"{count} {word}" for word, count in sorted(self.check_after_start.items()))
        when = "now that they run" if self.deed == "start" else "after the next start"
        if total == 1:
            when = when.replace("they run", "it runs")
        whose = "its" if total == 1 else "their"
        return f"{counted(total)} to check {when}, for {whose} power was or may have been cut ({parts})."


def gather(report: RunReport) -> Facts:
    """One pass over the VMs; what is kept does not grow with their number."""
    facts = Facts(deed=deed_of(report.run))
    names = HostNames.of(report)
    finished = _moment(report.run.finished_at)
    for vm in report.vms():
        facts.counts[vm.outcome] += 1
        facts.late += vm.late
        if vm.check_after_start:
            facts.check_after_start[vm.outcome or "no outcome"] += 1
        if vm.verified_at is None and vm.outcome in _DONE:
            facts.not_reread += 1
        if vm.outcome in facts.named and len(facts.named[vm.outcome]) < NAMED:
            facts.named[vm.outcome].append(Named(vm.uuid, vm.name or vm.uuid, names.shown(vm.host_uuid), explanation(vm)))
        # Of a VM that is stopped too: whoever starts it soon may see it stopped again by the old job.
        ends = [_acts_until(attempt) for attempt in vm.attempts[:-1] if attempt.result in _MAY_ACT]
        ends += [_acts_until(attempt) for attempt in vm.attempts[-1:] if attempt.result in _OPEN_RESULTS]
        ends = [end for end in ends if end is None or finished is None or end > finished]
        facts.open_jobs += bool(ends)
        facts.open_until = max((end for end in (facts.open_until, *ends) if end is not None), default=None)
    return facts


def _acts_until(attempt: AttemptRecord) -> datetime | None:
    """A job may act until twice its timeout: once waiting in its queue, once running."""
    sent = _moment(attempt.sent_at)
    try:
        return None if sent is None else sent + timedelta(seconds=2 * attempt.api_timeout_seconds)
    except OverflowError:
        return None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
