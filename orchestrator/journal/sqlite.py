"""The journal in a file: WAL, synchronous=FULL, one writer thread that commits in groups.

Callers hand over writes; the thread takes all that wait, commits them in one transaction, and wakes everybody at
once. A commit reaches the disk before anybody is woken. Reading uses a connection of its own and never waits.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import JournalError
from orchestrator.journal import store
from orchestrator.journal.interface import JournalEvent, JournalWriteError
from orchestrator.journal.report import build_report
from orchestrator.model.report import AttemptRecord, HostRecord, RunRecord, RunReport, VmRecord, WaveRecord

_Item = tuple[list[store.Write], "asyncio.Future[None] | None"]


class SqliteJournal:
    """A journal file, made with mode 0600 in a folder made with 0700. Raises JournalError where it cannot serve."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        try:
            if not read_only:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
                self._writer: sqlite3.Connection | None = store.open_database(str(path))
            else:
                self._writer = None
                if not path.exists():
                    raise JournalError(f"there is no journal at {path}: no run was made yet, or give --journal PATH")
            self._reader = store.open_database(str(path), read_only=True)
        except store.SchemaError as error:
            raise JournalError(f"the journal {path} cannot be used: {error}; give another one with --journal PATH") from None
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"the journal {path} cannot be opened ({error}): check the path, the permissions and the disk, "
                "or give another one with --journal PATH"
            ) from None
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._broken: str | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def begin(self, run: RunRecord, vms: Sequence[VmRecord], plan_file: Mapping[str, str]) -> None:
        """A run with its targets, durable when it returns."""
        await self._durable(store.begin_writes(run, vms, plan_file))

    async def intend(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord) -> None:
        """An attempt before it is sent, durable when it returns."""
        await self._durable([store.attempt_write(run_id, vm_uuid, number, attempt)])

    def note(self, run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord) -> None:
        """What became of it; posted."""
        self._post(store.attempt_write(run_id, vm_uuid, number, attempt))

    def event(self, run_id: str, event: JournalEvent) -> None:
        """One event; posted."""
        self._post(store.event_write(run_id, event))

    async def settle(self, run_id: str, vm: VmRecord) -> None:
        """A VM's outcome, durable when it returns."""
        await self._durable([store.settle_write(run_id, vm)])

    async def finish(self, run: RunRecord, hosts: Sequence[HostRecord], waves: Sequence[WaveRecord]) -> None:
        """The run's last word, durable when it returns."""
        await self._durable([store.finish_write(run, hosts, waves)])

    def runs(self) -> list[RunRecord]:
        """Every run, the newest first."""
        return store.read_runs(self._reader)

    def report(self, run_id: str) -> RunReport:
        """A run's report."""
        return build_report(self._reader, run_id)

    def vm(self, run_id: str, vm_uuid: str) -> tuple[VmRecord, list[JournalEvent]]:
        """One VM and its events."""
        return store.read_vm(self._reader, run_id, vm_uuid), store.read_events(self._reader, run_id, vm_uuid)

    async def close(self) -> None:
        """Write what was posted, end the thread, close the file."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()

    async def _durable(self, writes: list[store.Write]) -> None:
        self._start()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((writes, done))
        await done

    def _post(self, write: store.Write) -> None:
        self._start()
        self._queue.put(([write], None))

    def _start(self) -> None:
        if self._broken is not None:
            raise JournalWriteError(self._broken)
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
            items = [item for item in batch if item is not None]
            error = self._commit([write for writes, _ in items for write in writes])
            waiting = [done for _, done in items if done is not None]
            if waiting and self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
                    self._loop.call_soon_threadsafe(_wake, waiting, error)

    def _commit(self, writes: list[store.Write]) -> str | None:
        if not writes:
            return self._broken
        assert self._writer is not None
        if self._broken is None:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                for write in writes:
                    write.apply(self._writer)
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                self._broken = f"the journal {self.path} cannot be written ({error})"
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
        return self._broken


def _wake(waiting: "list[asyncio.Future[None]]", error: str | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(JournalWriteError(error))
