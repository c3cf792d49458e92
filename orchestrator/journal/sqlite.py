"""The journal in a file: WAL, synchronous=FULL, one writer thread that commits in groups.

Callers hand over writes; the thread takes all that wait, commits them in one transaction, and wakes everybody at
once. A commit reaches the disk before anybody is woken. Reading uses a connection of its own and never waits.
"""

import asyncio
import contextlib
import itertools
import json
import queue
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import JournalError
from orchestrator.journal import store
from orchestrator.journal.interface import HostKept, JournalEvent, JournalWriteError, LockLostError, Word
from orchestrator.journal.owner import Held, Owner, RunLockedError
from orchestrator.journal.place import make_private, network_filesystem
from orchestrator.journal.report import build_report
from orchestrator.model.report import (
    AttemptRecord,
    HostActionRecord,
    HostRecord,
    RunRecord,
    RunReport,
    VmRecord,
    WaveRecord,
)

_Item = tuple[Sequence[store.Write] | store.Claim, "asyncio.Future[None] | None"]


class SqliteJournal:
    """A journal file, made with mode 0600 in a folder made with 0700. Raises JournalError where it cannot serve."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        network = network_filesystem(path)
        if network is not None:
            raise JournalError(
                f"the journal {path} lies on a network file system ({network}), where it could be damaged: "
                "give one on a local disk with --journal PATH"
            )
        try:
            if not read_only:
                make_private(path)
                self._writer: sqlite3.Connection | None = store.open_database(str(path))
            else:
                self._writer = None
                if not path.exists():
                    raise JournalError(f"there is no journal at {path}: no run was made yet, or give --journal PATH")
                store.recover(str(path))
            self._reader = store.open_database(str(path), read_only=True)
        except store.SchemaError as error:
            raise JournalError(f"the journal {path} cannot be used: {error}; give another one with --journal PATH") from None
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"the journal {path} cannot be opened ({error}): check the path, the permissions and the disk, "
                "or give another one with --journal PATH"
            ) from None
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._broken: JournalWriteError | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: dict[str, str] = {}

    @property
    def folder(self) -> Path:
        """Where the file lies."""
        return self.path.parent

    async def begin(
        self,
        run: RunRecord,
        vms: Iterable[VmRecord],
        plan_file: Mapping[str, Any],
        owner: Owner,
        hosts: Sequence[HostKept] = (),
    ) -> None:
        """A run with its targets, its hosts and its lock, durable when it returns."""
        await self._durable(store.Claim(run.id, owner, store.begin_writes(run, vms, plan_file, hosts)))

    async def take_over(self, run_id: str, owner: Owner) -> Held | None:
        """The lock of a run, ours when it returns."""
        before = self.lock(run_id)
        await self._durable(store.Claim(run_id, owner, []))
        return before

    async def carry_on(self, run: RunRecord) -> None:
        """The record of a run that is carried on, durable when it returns."""
        await self._durable([store.run_write(run)])

    def beat(self, run_id: str) -> None:
        """The holder lives; posted."""
        self._post(store.beat_write(run_id, self._held[run_id]))

    async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """An attempt before it is sent, durable when it returns."""
        await self._durable(store.attempt_writes(run_id, vm_uuid, number, attempt, state))

    def note(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> None:
        """What became of it; posted."""
        self._post(*store.attempt_writes(run_id, vm_uuid, number, attempt, state))

    async def join(self, run_id: str, vms: Sequence[VmRecord]) -> Mapping[str, str]:
        """More targets, durable when it returns."""
        join = store.Join(run_id, vms)
        await self._durable([join])
        return join.theirs

    async def act(self, run_id: str, host_uuid: str, number: int, action: HostActionRecord, state: str | None) -> None:
        """What is done to a host, durable when it returns."""
        await self._durable([store.host_action_write(run_id, host_uuid, number, action, state)])

    def note_act(self, run_id: str, host_uuid: str, number: int, action: HostActionRecord, state: str | None) -> None:
        """What became of it; posted."""
        self._post(store.host_action_write(run_id, host_uuid, number, action, state))

    def hosts(self, run_id: str) -> list[HostKept]:
        """The hosts that a run changes."""
        with self._readable():
            return store.read_hosts(self._reader, run_id)

    def event(self, run_id: str, event: JournalEvent) -> None:
        """One event; posted."""
        self._post(store.event_write(run_id, event))

    async def settle(self, run_id: str, vm: VmRecord, took_seconds: float | None = None) -> None:
        """A VM's outcome, durable when it returns."""
        await self._durable(store.settle_writes(run_id, vm, took_seconds))

    async def finish(self, run: RunRecord, hosts: Sequence[HostRecord], waves: Sequence[WaveRecord]) -> None:
        """The run's last word, durable when it returns."""
        await self._durable([store.finish_write(run, hosts, waves), store.Release(run.id, self._held.get(run.id, ""))])

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        with self._readable():
            return store.read_runs(self._reader)

    def origin(self, run_id: str) -> str:
        """The run that it takes up in the end."""
        with self._readable():
            return store.read_origin(self._reader, run_id)

    def report(self, run_id: str) -> RunReport:
        """A run's report."""

        with self._readable():
            return replace(build_report(self._reader, run_id), vms=lambda: self.vms(run_id))

    def run(self, run_id: str) -> RunRecord:
        """A run's record alone."""
        with self._readable():
            return store.read_run(self._reader, run_id)[0]

    def vms(self, run_id: str, uuids: Sequence[str] | None = None) -> Iterator[VmRecord]:
        """A run's VMs, one by one."""
        with self._readable():
            yield from store.read_vms(self._reader, run_id, uuids=uuids)

    def uuids(self, run_id: str) -> list[str]:
        """A run's targets, in the plan's order."""
        with self._readable():
            return store.read_uuids(self._reader, run_id)

    def vm(self, run_id: str, vm_uuid: str) -> tuple[VmRecord, list[JournalEvent]]:
        """One VM and its events."""
        with self._readable():
            return store.read_vm(self._reader, run_id, vm_uuid), store.read_events(self._reader, run_id, vm_uuid)

    def lock(self, run_id: str) -> Held | None:
        """Who holds a run's lock."""
        with self._readable():
            return store.read_lock(self._reader, run_id)

    def was_reported(self, run_id: str) -> bool:
        """Were the run's reports written?"""
        with self._readable():
            return store.was_reported(self._reader, run_id)

    def plan_file(self, run_id: str) -> Mapping[str, Any]:
        """What `begin` was given."""
        with self._readable():
            return store.read_plan_file(self._reader, run_id)

    def states(self, run_id: str) -> Mapping[str, str]:
        """The states of actions under way."""
        with self._readable():
            return store.read_states(self._reader, run_id)

    async def tell(self, run_id: str, word: Word) -> None:
        """A word to a run, durable when it returns."""
        await self._durable([store.word_write(run_id, word)])

    def answer(self, number: int, answer: str) -> None:
        """What a run made of a word; posted."""
        self._post(store.answer_write(number, answer))

    def words(self, run_id: str, after: int = 0) -> list[Word]:
        """The words to a run."""
        with self._readable():
            return store.read_words(self._reader, run_id, after)

    def took(self, action: str, uuids: Sequence[str]) -> Mapping[str, tuple[float, ...]]:
        """What these VMs took in earlier runs."""
        with self._readable():
            return store.read_took(self._reader, action, uuids)

    async def close(self) -> None:
        """Write what was posted, let go of every lock, end the thread, close the file."""
        if self._broken is None:
            for run_id, token in list(self._held.items()):
                self._post(store.Release(run_id, token))
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        for connection in (self._reader, self._writer):  # the writer, as the last one, folds its log into the file
            if connection is not None:
                connection.close()

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """What damage does to a reader becomes one sentence."""
        try:
            yield
        except (sqlite3.Error, ValidationError, json.JSONDecodeError) as error:
            words = "a row of it makes no sense" if isinstance(error, ValueError) else str(error)
            raise JournalError(
                f"the journal {self.path} cannot be read ({words}): it is damaged, or no journal of this program; "
                "keep a copy, and give another one with --journal PATH"
            ) from None

    async def _durable(self, work: Sequence[store.Write] | store.Claim) -> None:
        self._start()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((work, done))
        await done

    def _post(self, *writes: store.Write) -> None:
        self._start()
        self._queue.put((writes, None))

    def _start(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._queue.get_nowait())
            ended = None in batch
            items = (item for item in batch if item is not None)
            for alone, group in itertools.groupby(items, lambda item: isinstance(item[0], store.Claim)):
                for part in ([item] for item in group) if alone else [list(group)]:
                    self._commit(part)

    def _commit(self, items: Sequence[_Item]) -> None:
        """One transaction, and everybody who waits for it is told."""
        error: Exception | None = None
        if self._broken is None:
            error = self._write([work for work, _ in items])
        if self._broken is not None:
            error = self._broken
        waiting = [done for _, done in items if done is not None]
        if waiting and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
                self._loop.call_soon_threadsafe(_wake, waiting, error)

    def _write(self, works: Sequence[Sequence[store.Write] | store.Claim]) -> RunLockedError | None:
        assert self._writer is not None
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            lost = [run_id for run_id, token in self._held.items() if not store.holds(self._writer, run_id, token)]
            if lost:
                self._broken = LockLostError(f"run {lost[0]} was taken over by another process")
            else:
                for work in works:
                    for write in [work] if isinstance(work, store.Claim) else work:
                        write.apply(self._writer)
            self._writer.execute("ROLLBACK" if lost else "COMMIT")
            for work in works:
                self._keep(work)
        except RunLockedError as refusal:
            self._writer.execute("ROLLBACK")
            return refusal
        except Exception as error:  # whatever it is, nobody may wait for this thread in vain
            self._broken = JournalWriteError(f"the journal {self.path} cannot be written ({error})")
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
        return None

    def _keep(self, work: Sequence[store.Write] | store.Claim) -> None:
        """Locks that a transaction took or freed; known to the writer alone, so that none is missed by a moment."""
        if isinstance(work, store.Claim):
            self._held[work.run_id] = work.owner.token
            return
        for write in work:
            if isinstance(write, store.Release):
                self._held.pop(write.run_id, None)


def _wake(waiting: "list[asyncio.Future[None]]", error: Exception | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
