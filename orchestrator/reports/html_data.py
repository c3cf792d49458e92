"""What the HTML report's script reads: one short row a VM, with every repeated word once.

A row and the words it brings take at most `MOST_BYTES`; `report.json` has everything.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from orchestrator.model.report import AttemptRecord, RunReport, VmRecord, cause_of_failure
from orchestrator.model.safe import clip
from orchestrator.reports.explain import cause_of, explanation, words_of
from orchestrator.reports.hosts import HostNames
from orchestrator.reports.html_host_data import hosts_data
from orchestrator.reports.wording import deed_of, done_words, outcome_sentence, reason_phrase, simply_done, tone

WHOLE = 20_000
"""Up to this many targets every VM has its row; above it those that are not simply stopped, and counts of the rest."""

MOST_BYTES = 1000
"""Of one VM."""

FIELDS = (
    "uuid", "name", "outcome", "reason", "host", "wave", "before", "state", "from", "to", "seconds", "evidence",
    "evidence_seconds", "basis", "late", "check", "verified", "type", "ha", "cause", "error", "attempts", "left_out",
    "migrated_to",
)  # fmt: skip
"""Of a row, in its order; times are seconds since the run's start, and trailing nulls are left out."""

ATTEMPT_FIELDS = ("type", "reason", "result", "sent", "ended", "timeout", "job", "cause", "error", "host")
_WORDS = frozenset(
    {
        "outcome", "reason", "host", "wave", "before", "state", "evidence", "basis", "type", "ha", "cause", "error",
        "result", "migrated_to",
    }
)  # fmt: skip
"""Fields that hold a number of a word."""

CAUSE_COLUMNS, NAME_COLUMNS = 300, 120


@dataclass(frozen=True, slots=True)
class _Room:
    """How much of one VM is kept: columns of names and words, of its cause, of its longer texts, and how many attempts."""

    name: int
    cause: int
    text: int
    attempts: int


_ROOMS = (
    _Room(NAME_COLUMNS, CAUSE_COLUMNS, 300, 6),
    _Room(NAME_COLUMNS, CAUSE_COLUMNS, 100, 4),
    _Room(60, 100, 60, 2),
    _Room(30, 30, 20, 1),
    _Room(10, 10, 0, 0),
)


class _Words:
    """Numbers for words, in the order of their first use; those of a row that is given up are forgotten again."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.fresh: list[str] = []
        """Words since the last `keep`."""

    def __call__(self, word: str | None, limit: int) -> int | None:
        if not word or limit < 1:
            return None
        shown = clip(word, limit)
        if shown not in self.known:
            self.known[shown] = len(self.known)
            self.fresh.append(shown)
        return self.known[shown]

    def keep(self) -> None:
        self.fresh.clear()

    def forget(self) -> None:
        for word in self.fresh:
            del self.known[word]
        self.fresh.clear()


@dataclass(slots=True)
class _Rest:
    """VMs of one host that have no row of their own."""

    first: float | None = None
    last: float | None = None
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: str, begun: float | None, ended: float | None) -> None:
        self.outcomes[outcome] += 1
        if begun is not None:
            self.first = begun if self.first is None else min(self.first, begun)
        if ended is not None:
            self.last = ended if self.last is None else max(self.last, ended)


Names = Callable[[str | None], str]
"""The name to show for a host's UUID."""


class PageData:
    """One reader's page: rows number the words that it has been given already. `names`: those of the report without one."""

    def __init__(self, report: RunReport, names: Names | None = None) -> None:
        self.report = report
        self.whole = report.totals.get("targets", 0) <= WHOLE
        self.since = _since(report.run.started_at)
        self._names = names or HostNames.of(report).shown
        self._words = _Words()
        self._given = 0
        self._rest: dict[str, _Rest] = {}
        self._hosts: list[dict[str, Any]] = []
        """What the reader knows of what was done to hosts."""
        self._listed: set[str] = set()
        """Where not every VM has a row: those that have."""

    def row(self, vm: VmRecord) -> str:
        """Its row as JSON, with as much of it as fits."""
        for room in _ROOMS:
            row = to_json(_row(vm, room, self._words, self._names, self.since))
            taken = len(row.encode()) + sum(len(to_json(word).encode()) + 1 for word in self._words.fresh)
            if taken <= MOST_BYTES or room is _ROOMS[-1]:
                break
            self._words.forget()
        self._words.keep()
        if not self.whole:
            self._listed.add(vm.uuid)
        return row

    def change(self, vm: VmRecord) -> str | None:
        """Its row as it is now; None where it has none. One that had a row keeps it, whatever has become of it."""
        return self.row(vm) if self.whole or vm.uuid in self._listed or not simply_done(vm) else None

    def new_words(self) -> str:
        """As JSON, the words that rows have numbered since this was asked last."""
        words = list(islice(self._words.known, self._given, None))
        self._given += len(words)
        return to_json(words)

    def head(self) -> str:
        """The beginning of one JSON object, up to its `rows`."""
        about = {**self.about(self.report), "hosts": hosts_data(self.report, self._names, self.since)}
        self._hosts = about["hosts"]
        return to_json(about)[:-1] + ',"rows":['

    def take(self, vm: VmRecord) -> str | None:
        """Its row; None where it has none of its own and is counted instead."""
        if self.whole or not simply_done(vm):
            return self.row(vm)
        host = self._rest.setdefault(clip(self._names(vm.host_uuid), NAME_COLUMNS), _Rest())
        host.add(str(vm.outcome), self.since(vm.started_at), self.since(vm.finished_at))
        return None

    def tail(self) -> str:
        """After the `rows`: the `words` that they number, and the `rest` by host."""
        left = [
            {"host": host, "from": found.first, "to": found.last, "outcomes": dict(found.outcomes)}
            for host, found in self._rest.items()
        ]
        return f'],"words":{self.new_words()},"rest":{to_json(left)}}}'

    def pieces(self) -> Iterator[str]:
        """All of it, a VM a piece and a line."""
        yield self.head()
        before = "\n"
        for vm in self.report.vms():
            if (row := self.take(vm)) is not None:
                yield before + row
                before = ",\n"
        yield f"\n{self.tail()}\n"

    def new_hosts(self, report: RunReport) -> list[dict[str, Any]] | None:
        """What was done to each host, where it is not what the reader knows already."""
        hosts = hosts_data(report, self._names, self.since)
        if hosts == self._hosts:
            return None
        self._hosts = hosts
        return hosts

    def about(self, report: RunReport) -> dict[str, Any]:
        """The run itself, as it is in this report of it."""
        run, window = report.run, report.run.window
        words = [word for word in report.totals if word != "targets"]
        return {
            "fields": FIELDS,
            "attempt_fields": ATTEMPT_FIELDS,
            "numbered": sorted(_WORDS),
            "run": run.id,
            "action": run.action,
            "done": done_words(deed_of(run)),
            "start": run.started_at,
            "to": self.since(run.finished_at),
            "targets": report.totals.get("targets", 0),
            "outcomes": {word: {"tone": tone(word), "text": outcome_sentence(word, deed_of(run))} for word in words},
            "waves": [
                {
                    "name": clip(wave.name, NAME_COLUMNS),
                    "from": self.since(wave.started_at),
                    "to": self.since(wave.finished_at),
                }
                for wave in (report.waves if len(report.waves) > 1 else ())
            ],
            "window": None if window is None else {"from": self.since(window.start), "to": self.since(window.end)},
        }


def _row(vm: VmRecord, room: _Room, words: _Words, names: Names, since: Callable[[str | None], float | None]) -> list[Any]:
    kept, left_out = _some(vm.attempts, room.attempts)
    evidence, cause = vm.evidence, cause_of_failure(vm)
    values: dict[str, Any] = {
        "uuid": clip(vm.uuid, 40),
        "name": clip(vm.name, room.name) if vm.name else None,
        "outcome": words(vm.outcome, NAME_COLUMNS),
        "reason": words(reason_phrase(vm.reason), NAME_COLUMNS),
        "host": words(names(vm.host_uuid), room.name),
        "wave": words(vm.wave, room.name),
        "before": words(vm.state_before, room.name),
        "state": words(vm.state, room.name),
        "from": since(vm.started_at),
        "to": since(vm.finished_at),
        "seconds": _tenths(vm.elapsed_seconds),
        "evidence": words(evidence.text, room.text) if evidence else None,
        "evidence_seconds": _tenths(evidence.seconds) if evidence else None,
        "basis": words(evidence.basis, NAME_COLUMNS) if evidence else None,
        "late": 1 if vm.late else None,
        "check": 1 if vm.check_after_start else None,
        "verified": since(vm.verified_at),
        "type": words(vm.type, room.name),
        "ha": words(vm.ha_level, room.name),
        "cause": words(cause, room.cause),
        "error": words(words_of(vm.error) if cause is not None else explanation(vm) if vm.error else None, room.text),
        "attempts": [_attempt(attempt, room, words, names, since) for attempt in kept] or None,
        "left_out": left_out or None,
        "migrated_to": words(names(vm.migrated_to), room.name) if vm.migrated_to else None,
    }
    return _trimmed([values[name] for name in FIELDS])


def _attempt(
    attempt: AttemptRecord, room: _Room, words: _Words, names: Names, since: Callable[[str | None], float | None]
) -> list[Any]:
    values: dict[str, Any] = {
        "type": words(attempt.type, NAME_COLUMNS),
        "reason": words(attempt.reason, NAME_COLUMNS),
        "result": words(attempt.result, NAME_COLUMNS),
        "sent": since(attempt.sent_at),
        "ended": since(attempt.ended_at),
        "timeout": attempt.api_timeout_seconds,
        "job": clip(attempt.job_uuid, 40),
        "cause": words(cause_of(attempt.error), room.cause),
        "error": words(words_of(attempt.error), room.text),
        "host": words(names(attempt.host_uuid), room.name) if attempt.host_uuid else None,
    }
    return _trimmed([values[name] for name in ATTEMPT_FIELDS])


def _some(attempts: Sequence[AttemptRecord], most: int) -> tuple[list[AttemptRecord], int]:
    """The last ones, and how many those leave out."""
    kept = list(attempts[-most:]) if most else []
    return kept, len(attempts) - len(kept)


def _since(start: str) -> Callable[[str | None], float | None]:
    begun = datetime.fromisoformat(start)

    def seconds(moment: str | None) -> float | None:
        try:
            return None if moment is None else round((datetime.fromisoformat(moment) - begun).total_seconds(), 1)
        except (ValueError, TypeError):
            return None

    return seconds


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None or not abs(seconds) < 1e9 else round(seconds, 1)  # nor what is no number


def _trimmed(values: list[Any]) -> list[Any]:
    while values and values[-1] is None:
        values.pop()
    return values


_ESCAPED = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def to_json(value: Any) -> str:
    """JSON that can stand inside an element of a page, whatever the words in it are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)
