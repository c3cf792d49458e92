"""What the page of a run that goes on is told: the whole of it once, and then what has changed."""

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from orchestrator.journal.interface import Journal
from orchestrator.model.event import Event
from orchestrator.model.moment import rfc3339
from orchestrator.model.report import RunReport, VmRecord
from orchestrator.model.safe import clip
from orchestrator.observe.picture import Picture
from orchestrator.observe.words import counts, slow_line, standing
from orchestrator.reports.html import title_of, top
from orchestrator.reports.html_data import NAME_COLUMNS, PageData, to_json

_AT_ONCE = 200
"""VMs that are read before the run has its turn again."""
_LEAST_SECONDS, _REST = 1.0, 20.0
"""Between two messages to one reader at least, and as a multiple of what the last took to make: a run comes first."""
_SLOW = 10
_CHANGING = frozenset({"waves", "window", "to", "targets"})
"""What is told of the run itself with each message."""


@dataclass(frozen=True, slots=True)
class Message:
    """One server-sent event. `kind`: `wait`, `begin`, `update`, `end`; `text` is JSON on one line."""

    kind: str
    text: str


@dataclass(eq=False, slots=True)
class _Reader:
    changed: set[str] = field(default_factory=set)
    told: int = 0
    """Of the run's targets, those in the plan's order that it has a row for; more may turn up while the run goes on."""


class Feed:
    """A listener of one run. Each of its readers is sent what it has not seen, at its own pace."""

    def __init__(self, journal: Journal) -> None:
        self.picture = Picture()
        self._journal = journal
        self._readers = set[_Reader]()
        self._begun, self._over = anyio.Event(), anyio.Event()
        self._run_id = ""

    def follow(self, run_id: str) -> None:
        """The run that there is now."""
        self._run_id = run_id

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.picture(event)
        if event.kind in {"run.started", "run.resumed"}:
            self._begun.set()
        elif event.kind == "run.finished":
            self._over.set()
        for reader in self._readers:
            if event.vm_uuid is not None and event.kind == "vm.outcome":
                reader.changed.add(event.vm_uuid)

    async def messages(self) -> AsyncGenerator[Message, None]:
        """For one reader, to the run's end."""
        with self._reading() as reader:
            if not self._begun.is_set():
                yield Message("wait", "{}")
                await self._begun.wait()
            data = None
            while not self.picture.finished:
                began = time.monotonic()
                if data is None:
                    data = PageData(self._report(), self.picture.host_name)
                    reader.told = data.report.totals["targets"]
                    yield Message("begin", await self._whole(data, live=True))
                else:
                    yield Message("update", await self._change(data, reader))
                with anyio.move_on_after(max(_LEAST_SECONDS, _REST * (time.monotonic() - began))):
                    await self._over.wait()
            yield Message("end", await self._whole(PageData(self._report()), live=False))

    @contextmanager
    def _reading(self) -> Iterator[_Reader]:
        reader = _Reader()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def _report(self) -> RunReport:
        return self._journal.report(self._run_id)

    async def _whole(self, data: PageData, *, live: bool) -> str:
        """Everything. Of very many VMs those that wait have no row: they come when their outcome is not simple."""
        rows = list[str]()
        async for vm in self._vms(self._journal.uuids(self._run_id)):
            if vm.outcome is None and live and not data.whole:
                continue
            if (row := data.take(vm)) is not None:
                rows.append(row)
        return f'{{{self._around(data.report)},"data":{data.head()}{",".join(rows)}{data.tail()}}}'

    async def _vms(self, uuids: Sequence[str]) -> AsyncGenerator[VmRecord, None]:
        """Some at a time, the run having its turn between; no read is left open, for it would hold the journal's past."""
        for start in range(0, len(uuids), _AT_ONCE):
            found = list(self._journal.vms(self._run_id, uuids[start : start + _AT_ONCE]))
            await anyio.lowlevel.checkpoint()
            for vm in found:
                yield vm

    async def _change(self, data: PageData, reader: _Reader) -> str:
        report, now = self._report(), data.since(rfc3339(time.time()))
        changed, reader.changed = reader.changed | self._found(data, reader, report), set()
        rows = [row async for vm in self._vms(sorted(changed)) if (row := data.change(vm)) is not None]
        flights = self.picture.flights.values()
        about = {key: value for key, value in data.about(report).items() if key in _CHANGING}
        if (hosts := data.new_hosts(report)) is not None:
            about["hosts"] = hosts
        flying = [[vm.uuid, *map(_short, (vm.name, vm.host, vm.wave)), data.since(rfc3339(vm.since))] for vm in flights]
        return (
            f'{{{self._around(report)},"rows":[{",".join(rows)}],"words":{data.new_words()},'
            f'"about":{to_json(about)},"flying":{to_json(flying)},"now":{to_json(now)}}}'
        )

    def _found(self, data: PageData, reader: _Reader, report: RunReport) -> set[str]:
        """VMs that have turned up since; of very many those that wait have no row."""
        targets = report.totals["targets"]
        found = self._journal.uuids(self._run_id)[reader.told :] if data.whole and targets > reader.told else []
        reader.told = targets
        return set(found)

    def _around(self, report: RunReport) -> str:
        """What stands above the timeline, and what happens now."""
        return f'"title":{to_json(title_of(report))},"top":{to_json("".join(top(report)))},"lines":{to_json(self._lines())}'

    def _lines(self) -> list[str]:
        picture, now = self.picture, time.time()
        if picture.finished:
            return []
        lines = list(filter(None, (counts(picture), standing(picture))))
        slow = picture.slow(now)
        lines += [f"slow or never? {slow_line(flight, now)}" for flight in slow[:_SLOW]]
        if len(slow) > _SLOW:
            lines.append(f"slow or never? and {len(slow) - _SLOW} more")
        return lines


def _short(word: str | None) -> str:
    return clip(word or "", NAME_COLUMNS)
