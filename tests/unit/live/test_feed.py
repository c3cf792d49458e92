"""What readers of a run's page are told, and that reading costs the run nothing."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from orchestrator.journal.interface import Journal
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.live import feed as module
from orchestrator.live.feed import Feed, Message
from orchestrator.model.event import Event
from orchestrator.model.outcome import HostOutcome, Outcome
from orchestrator.model.report import HostRecord, RunReport, VmRecord
from orchestrator.reports import html_data
from tests.contract.journals import a_run, begin, some_vms
from tests.evacuated import HOSTS, deed, host

AT = "2026-11-28T22:00:00.000Z"
RUN = a_run()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    """A journal in a file."""
    made = SqliteJournal(tmp_path / "journal.sqlite")
    yield made
    await made.close()


def event(kind: str, vm: str | None = None, **data: Any) -> Event:
    """One event."""
    return Event(kind, AT, vm, data)


def begun(count: int) -> Event:
    """A run of so many begins."""
    return event("run.started", plan="p", targets=count, to_stop=count, waves={"all": count}, closes=None)


async def following(journal: SqliteJournal, vms: list[VmRecord]) -> Feed:
    """A feed of a run that has just begun."""
    await begin(journal, RUN, vms)
    feed = Feed(journal)
    feed.follow(RUN.id)
    feed(begun(len(vms)))
    return feed


def row_names(message: Message) -> list[str]:
    """Names in the rows of a whole page."""
    data = json.loads(message.text)["data"]
    return [row[data["fields"].index("name")] for row in data["rows"]]


async def test_a_reader_never_holds_the_journals_past(journal: SqliteJournal) -> None:
    """While the whole page is being made for somebody, what the run writes can be read at once."""
    feed = await following(journal, some_vms(*range(2000)))
    told = list[Message]()

    async def read() -> None:
        async for message in feed.messages():
            told.append(message)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        assert told == []  # it is in the middle of it
        await journal.finish(RUN.model_copy(update={"status": "finished", "exit_code": 0}), [], [])
        assert journal.report(RUN.id).run.status == "finished"
        feed(event("run.finished", status="finished", exit_code=0))
    assert [message.kind for message in told] == ["begin", "end"]
    assert len(row_names(told[1])) == 2000


async def test_the_run_has_its_turn_while_a_page_is_made(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every few hundred VMs, also where none of them has a row of its own."""
    monkeypatch.setattr(html_data, "WHOLE", 100)
    feed = await following(journal, some_vms(*range(2000)))
    turns = 0

    async def run() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        messages = feed.messages()
        first = await anext(messages)
        await messages.aclose()
        tasks.cancel_scope.cancel()
    assert row_names(first) == []
    assert turns >= 2000 // module._AT_ONCE - 2


async def test_changes_are_told_once(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the whole, each outcome comes with the next message, and what is in flight with each."""
    monkeypatch.setattr(module, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(module, "_REST", 0.0)
    vms = some_vms(1, 2, 3)
    feed = await following(journal, vms)
    messages = feed.messages()
    assert row_names(await anext(messages)) == ["vm 1", "vm 2", "vm 3"]
    one = vms[0].uuid
    feed(event("vm.started", one, name="vm 1", host="h", host_name="kvm-h", wave="all", usual_seconds=5.0))
    change = json.loads((await anext(messages)).text)
    assert [(uuid, name, host) for uuid, name, host, *_ in change["flying"]] == [(one, "vm 1", "kvm-h")]
    await journal.settle(RUN.id, replace(vms[0], outcome=Outcome.FAILED, error={"code": "VM.1002"}))
    feed(event("vm.outcome", one, name="vm 1", host="h", wave="all", outcome="failed", reason=None, cause="VM.1002"))
    change = json.loads((await anext(messages)).text)
    assert ([row[0] for row in change["rows"]], change["flying"]) == ([one], [])
    assert {"failed", "VM.1002"} <= set(change["words"])
    again = json.loads((await anext(messages)).text)
    assert (again["rows"], again["words"]) == ([], [])
    await messages.aclose()


async def test_above_many_only_what_is_not_simply_stopped_has_a_row(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clean ones are counted by host; skipped ones are not simply stopped, and have their row."""
    monkeypatch.setattr(html_data, "WHOLE", 2)
    vms = some_vms(1, 2, 3)
    feed = await following(journal, vms)
    for vm, outcome in zip(vms, (Outcome.STOPPED_CLEAN, Outcome.SKIPPED, Outcome.FAILED), strict=True):
        await journal.settle(RUN.id, replace(vm, outcome=outcome))
    messages = feed.messages()
    first = await anext(messages)
    assert row_names(first) == ["vm 2", "vm 3"]
    assert json.loads(first.text)["data"]["rest"][0]["outcomes"] == {"stopped_clean": 1}
    await messages.aclose()


async def test_a_row_that_was_given_keeps_up_with_its_vm(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above many: what failed and is found stopped later has its row told anew, for the reader has the old one."""
    monkeypatch.setattr(html_data, "WHOLE", 1)
    monkeypatch.setattr(module, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(module, "_REST", 0.0)
    vms = some_vms(1, 2)
    feed = await following(journal, vms)
    await journal.settle(RUN.id, replace(vms[0], outcome=Outcome.FAILED))
    messages = feed.messages()
    assert row_names(await anext(messages)) == ["vm 1"]
    for vm in vms:
        await journal.settle(RUN.id, replace(vm, outcome=Outcome.STOPPED_CLEAN))
        feed(
            event(
                "vm.outcome", vm.uuid, name=vm.name, host="h", wave="all", outcome="stopped_clean", reason=None, cause=None
            )
        )
    change = json.loads((await anext(messages)).text)
    assert [row[0] for row in change["rows"]] == [vms[0].uuid]
    await messages.aclose()


class Emptying:
    """A journal of a run that empties hosts: its report has what was done to each, and its VMs become more."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._journal = journal
        self.hosts: tuple[HostRecord, ...] = ()
        self.found: list[VmRecord] = []

    def report(self, run_id: str) -> RunReport:
        """With the hosts, and all of its targets."""
        report = self._journal.report(run_id)
        totals = {**report.totals, "targets": report.totals["targets"] + len(self.found)}
        return replace(report, hosts=self.hosts, totals=totals)

    def uuids(self, run_id: str) -> list[str]:
        """Those that turned up come last."""
        return [*self._journal.uuids(run_id), *(vm.uuid for vm in self.found)]

    def vms(self, run_id: str, uuids: list[str]) -> list[VmRecord]:
        """Of both."""
        return [*self._journal.vms(run_id, uuids), *(vm for vm in self.found if vm.uuid in uuids)]


async def emptying(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> tuple[Emptying, Feed]:
    """A feed without pauses of a run over two VMs."""
    monkeypatch.setattr(module, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(module, "_REST", 0.0)
    await begin(journal, RUN, some_vms(1, 2))
    changing = Emptying(journal)
    feed = Feed(cast("Journal", changing))
    feed.follow(RUN.id)
    feed(begun(2))
    return changing, feed


async def test_what_is_done_to_hosts_is_told(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next message, under the host's name, once; and above the timeline in words."""
    changing, feed = await emptying(journal, monkeypatch)
    messages = feed.messages()
    assert json.loads((await anext(messages)).text)["data"]["hosts"] == []
    changing.hosts = (host(HOSTS[0], [], deed("disable", HostOutcome.DONE, 1), left_on_host=None),)
    data = {"host": HOSTS[0], "name": "kvm-1", "action": "disable"}
    feed(event("host.sent", **data, job_uuid="j", until=AT))
    feed(event("host.outcome", **data, outcome="done", evidence=None, cause=None))
    change = json.loads((await anext(messages)).text)
    (told,) = change["about"]["hosts"]
    assert (told["name"], [(one["action"], one["outcome"]) for one in told["actions"]]) == ("kvm-1", [("disable", "done")])
    assert "disable: done" in change["top"]
    assert change["lines"][0].endswith("1/1 host disabled")
    assert "hosts" not in json.loads((await anext(messages)).text)["about"]
    await messages.aclose()


async def test_vms_that_turn_up_get_rows(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything becomes of them, and the page counts them among the targets."""
    changing, feed = await emptying(journal, monkeypatch)
    messages = feed.messages()
    assert row_names(await anext(messages)) == ["vm 1", "vm 2"]
    changing.found = some_vms(3)
    feed(event("vms.found", vms=1, waves={"all": 1}, hosts=1))
    change = json.loads((await anext(messages)).text)
    assert ([row[0] for row in change["rows"]], change["about"]["targets"]) == ([f"{3:032x}"], 3)
    assert json.loads((await anext(messages)).text)["rows"] == []
    await messages.aclose()
