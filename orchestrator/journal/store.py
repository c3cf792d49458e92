"""The journal's tables and the statements on them; knows SQLite, and nothing of threads."""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from orchestrator.journal.interface import REPORTED, HostKept, JournalEvent, Word
from orchestrator.journal.owner import Held, Owner, RunLockedError, lives
from orchestrator.model.outcome import STOPPED, Outcome
from orchestrator.model.report import (
    AttemptRecord,
    HostActionRecord,
    HostRecord,
    RunRecord,
    VmRecord,
    WaveRecord,
    attempt_adapter,
    host_action_adapter,
    vm_adapter,
)
from orchestrator.model.target import HostRow

SCHEMA_VERSION = 4
_VERSION_1 = """
CREATE TABLE run (id TEXT PRIMARY KEY, started_at TEXT NOT NULL, record TEXT NOT NULL, plan_file TEXT NOT NULL,
                  hosts TEXT NOT NULL DEFAULT '[]', waves TEXT NOT NULL DEFAULT '[]') STRICT;
CREATE TABLE vm (run_id TEXT NOT NULL, seq INTEGER NOT NULL, uuid TEXT NOT NULL, outcome TEXT, host_uuid TEXT,
                 record TEXT NOT NULL, PRIMARY KEY (run_id, uuid)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX vm_order ON vm (run_id, seq);
CREATE TABLE attempt (run_id TEXT NOT NULL, vm_uuid TEXT NOT NULL, number INTEGER NOT NULL, job_uuid TEXT NOT NULL,
                      record TEXT NOT NULL, PRIMARY KEY (run_id, vm_uuid, number)) STRICT, WITHOUT ROWID;
CREATE TABLE event (id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, vm_uuid TEXT, at TEXT NOT NULL, kind TEXT NOT NULL,
                    data TEXT) STRICT;
CREATE INDEX event_of ON event (run_id, vm_uuid);
"""
_VERSION_2 = """
CREATE TABLE lock (run_id TEXT PRIMARY KEY, token TEXT NOT NULL, owner TEXT NOT NULL, beat REAL NOT NULL) STRICT;
CREATE TABLE state (run_id TEXT NOT NULL, vm_uuid TEXT NOT NULL, record TEXT NOT NULL,
                    PRIMARY KEY (run_id, vm_uuid)) STRICT, WITHOUT ROWID;
"""
_VERSION_3 = """
CREATE TABLE took (vm_uuid TEXT NOT NULL, action TEXT NOT NULL, run_id TEXT NOT NULL, seconds REAL NOT NULL,
                   PRIMARY KEY (vm_uuid, action, run_id)) STRICT, WITHOUT ROWID;
INSERT INTO took SELECT uuid, 'stop', run_id, json_extract(record, '$.elapsed_seconds') FROM vm
  WHERE outcome IN ('stopped_clean', 'stopped_forced', 'stopped_cold')
  AND json_extract(record, '$.elapsed_seconds') < 1800 AND NOT json_extract(record, '$.late');
CREATE TABLE word (id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, at TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
                   vm_uuid TEXT, answer TEXT) STRICT;
"""
_VERSION_4 = """
CREATE TABLE host (run_id TEXT NOT NULL, seq INTEGER NOT NULL, uuid TEXT NOT NULL, record TEXT NOT NULL,
                   PRIMARY KEY (run_id, uuid)) STRICT, WITHOUT ROWID;
CREATE TABLE host_action (run_id TEXT NOT NULL, host_uuid TEXT NOT NULL, number INTEGER NOT NULL, record TEXT NOT NULL,
                          state TEXT, PRIMARY KEY (run_id, host_uuid, number)) STRICT, WITHOUT ROWID;
"""
_STEPS = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)
"""What makes each version of the one before it. A step adds; it never changes what an older program wrote."""
_MOST_TOOK = 5
"""Earlier runs of a VM that say how long it takes; what is older says little of today."""


class SchemaError(Exception):
    """The file is a journal of another version, or no journal at all; the text says which."""


def open_database(path: str, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the journal, its tables made where the file is new. Raises SchemaError, sqlite3.Error."""
    connection = sqlite3.connect(
        f"file:{_quoted(path)}?mode=ro" if read_only else path,
        uri=read_only,
        isolation_level=None,
        check_same_thread=False,
        timeout=30.0,
    )
    try:
        _prepare(connection, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def recover(path: str) -> None:
    """Let SQLite roll back a first transaction that was cut off; a reader could not. Of a journal in use, nothing."""
    if not os.path.exists(f"{path}-journal"):  # noqa: PTH110 - as SQLite names it
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version").fetchone()


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _prepare(connection: sqlite3.Connection, *, read_only: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise SchemaError(f"it was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})")
    if version == 0 and tables:
        raise SchemaError("it is an SQLite file, but no journal of this program")
    if read_only:
        for step in _STEPS[version:]:  # a reader changes nothing: what an older journal lacks is empty, beside it
            for statement in step.split(";"):
                if statement.strip().startswith("CREATE TABLE"):
                    connection.execute(statement.replace("CREATE TABLE", "CREATE TEMP TABLE"))
        return
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise SchemaError(f"it is damaged ({' '.join(damage.split())})")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    if version < SCHEMA_VERSION:
        _migrate(connection)


def _migrate(connection: sqlite3.Connection) -> None:
    """To the newest schema in one transaction: whole or not at all. Two programs may come here at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version < SCHEMA_VERSION:
            for step in _STEPS[version:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


class Write:
    """One statement's work inside a transaction, which can cross to another thread. `rows` are gone through once."""

    __slots__ = ("rows", "sql")

    def __init__(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        self.sql = sql
        self.rows = rows

    def apply(self, connection: sqlite3.Connection) -> None:
        """Carry it out; the caller holds the transaction."""
        connection.executemany(self.sql, self.rows)


_SHARED: tuple[tuple[Literal["vm", "host"], str], ...] = (("vm", "VMs"), ("host", "hosts"))


class Claim:
    """A run's lock is taken, with what must be true and written in the same transaction."""

    __slots__ = ("owner", "run_id", "writes")

    def __init__(self, run_id: str, owner: Owner, writes: Sequence[Write]) -> None:
        self.run_id = run_id
        self.owner = owner
        self.writes = writes

    def apply(self, connection: sqlite3.Connection) -> None:
        """Raises RunLockedError where a living process works on this run, or on another one with a VM of this."""
        held = read_lock(connection, self.run_id)
        if held is not None and held.alive:
            raise RunLockedError(self.run_id, held)
        for write in self.writes:
            write.apply(connection)
        for table, what in _SHARED:
            for other, shared in _others(connection, self.run_id, table):
                rival = read_lock(connection, other)
                if rival is not None and rival.alive:
                    raise RunLockedError(other, rival, shared, what)
        connection.execute(
            "INSERT INTO lock VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " token = excluded.token, owner = excluded.owner, beat = excluded.beat",
            (self.run_id, self.owner.token, self.owner.model_dump_json(), time.time()),
        )


def _others(connection: sqlite3.Connection, run_id: str, table: Literal["vm", "host"]) -> list[tuple[str, int]]:
    """Locked runs that share VMs, or hosts that are changed, with this one, and how many."""
    statement = (
        "SELECT lock.run_id, count(*) FROM lock JOIN vm AS ours ON ours.run_id = ?"
        " JOIN vm AS theirs ON theirs.run_id = lock.run_id AND theirs.uuid = ours.uuid"
        " WHERE lock.run_id <> ? GROUP BY lock.run_id"
    )
    if table == "host":
        statement = statement.replace(" vm AS", " host AS")
    return connection.execute(statement, (run_id, run_id)).fetchall()


def read_lock(connection: sqlite3.Connection, run_id: str) -> Held | None:
    """Who holds a run's lock; None where nobody does."""
    row = connection.execute("SELECT owner, beat FROM lock WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return None
    owner, silent = Owner.model_validate_json(row[0]), time.time() - row[1]
    return Held(owner, max(0.0, silent), lives(owner, silent))


def was_reported(connection: sqlite3.Connection, run_id: str) -> bool:
    """Were the run's reports written after its end?"""
    row = connection.execute(
        "SELECT 1 FROM event WHERE run_id = ? AND vm_uuid IS NULL AND kind = ? LIMIT 1", (run_id, REPORTED)
    ).fetchone()
    return row is not None


def holds(connection: sqlite3.Connection, run_id: str, token: str) -> bool:
    """Is the lock still ours?"""
    row = connection.execute("SELECT token FROM lock WHERE run_id = ?", (run_id,)).fetchone()
    return row is not None and row[0] == token


def beat_write(run_id: str, token: str) -> Write:
    """The holder lives."""
    return Write("UPDATE lock SET beat = ? WHERE run_id = ? AND token = ?", [(time.time(), run_id, token)])


class Release(Write):
    """The holder lets go of a run's lock."""

    __slots__ = ("run_id",)

    def __init__(self, run_id: str, token: str) -> None:
        super().__init__("DELETE FROM lock WHERE run_id = ? AND token = ?", [(run_id, token)])
        self.run_id = run_id


def begin_writes(
    run: RunRecord, vms: Iterable[VmRecord], plan_file: Mapping[str, Any], hosts: Sequence[HostKept] = ()
) -> list[Write]:
    """A run, its targets, and the hosts that are changed."""
    rows = ((run.id, seq, vm.uuid, vm.outcome, vm.host_uuid, _vm_json(vm)) for seq, vm in enumerate(vms))
    return [
        Write(
            "INSERT INTO run (id, started_at, record, plan_file) VALUES (?, ?, ?, ?)",
            [(run.id, run.started_at, run.model_dump_json(), json.dumps(dict(plan_file)))],
        ),
        Write(_NEW_VM, rows),
        Write(
            "INSERT INTO host VALUES (?, ?, ?, ?)",
            ((run.id, seq, host.row.uuid, _host_json(host.row)) for seq, host in enumerate(hosts)),
        ),
        *(
            host_action_write(run.id, host.row.uuid, number, action, None)
            for host in hosts
            for number, action in enumerate(host.actions)
        ),
    ]


_NEW_VM = "INSERT INTO vm (run_id, seq, uuid, outcome, host_uuid, record) VALUES (?, ?, ?, ?, ?, ?)"


class Join(Write):
    """More targets, after those that there are; not those that another run has which a living process works on."""

    __slots__ = ("run_id", "theirs", "vms")

    def __init__(self, run_id: str, vms: Sequence[VmRecord]) -> None:
        super().__init__(
            "INSERT INTO vm (run_id, seq, uuid, outcome, host_uuid, record)"
            " SELECT ?1, 1 + (SELECT coalesce(max(seq), -1) FROM vm WHERE run_id = ?1), ?2, ?3, ?4, ?5"
            " WHERE true ON CONFLICT DO NOTHING",
            (),
        )
        self.run_id = run_id
        self.vms = vms
        self.theirs: dict[str, str] = {}
        """Once it is applied: the run that has it, by a VM's UUID."""

    def apply(self, connection: sqlite3.Connection) -> None:
        """In the transaction that a run with these VMs would begin in too: one of both comes first."""
        locked = [row[0] for row in connection.execute("SELECT run_id FROM lock WHERE run_id <> ?", (self.run_id,))]
        for rival in locked:
            if (held := read_lock(connection, rival)) is not None and held.alive:
                self.theirs |= {vm.uuid: rival for vm in self.vms if _has(connection, rival, vm.uuid)}
        ours = [vm for vm in self.vms if vm.uuid not in self.theirs]
        rows = ((self.run_id, vm.uuid, vm.outcome, vm.host_uuid, _vm_json(vm)) for vm in ours)
        connection.executemany(self.sql, rows)


def _has(connection: sqlite3.Connection, run_id: str, uuid: str) -> bool:
    return connection.execute("SELECT 1 FROM vm WHERE run_id = ? AND uuid = ?", (run_id, uuid)).fetchone() is not None


def _host_json(host: HostRow) -> str:
    return json.dumps({"uuid": host.uuid, "name": host.name, "status": host.status, "state": host.state})


def host_action_write(run_id: str, host_uuid: str, number: int, action: HostActionRecord, state: str | None) -> Write:
    """What is done to a host, new or changed; a `state` of None leaves the one that is there."""
    return Write(
        "INSERT INTO host_action VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET record = excluded.record,"
        " state = coalesce(excluded.state, state)",
        [(run_id, host_uuid, number, host_action_adapter().dump_json(action).decode(), state)],
    )


def read_hosts(connection: sqlite3.Connection, run_id: str) -> list[HostKept]:
    """The hosts that a run changes, in order, with what was done to each."""
    actions: dict[str, list[tuple[HostActionRecord, str | None]]] = {}
    rows = connection.execute(
        "SELECT host_uuid, record, state FROM host_action WHERE run_id = ? ORDER BY host_uuid, number", (run_id,)
    )
    for uuid, record, state in rows:
        actions.setdefault(uuid, []).append((host_action_adapter().validate_json(record), state))
    hosts = connection.execute("SELECT record FROM host WHERE run_id = ? ORDER BY seq", (run_id,))
    found: list[HostKept] = []
    for (record,) in hosts:
        host = HostRow(**json.loads(record))
        done = actions.get(host.uuid, [])
        found.append(HostKept(host, tuple(action for action, _ in done), done[-1][1] if done else None))
    return found


def run_write(run: RunRecord) -> Write:
    """The run's record alone."""
    return Write("UPDATE run SET record = ? WHERE id = ?", [(run.model_dump_json(), run.id)])


def attempt_writes(run_id: str, vm_uuid: str, number: int, attempt: AttemptRecord, state: str) -> list[Write]:
    """An attempt's row, new or changed, and the state of the action that makes it."""
    return [
        Write(
            "INSERT INTO attempt (run_id, vm_uuid, number, job_uuid, record) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET record = excluded.record",
            [(run_id, vm_uuid, number, attempt.job_uuid, attempt_adapter().dump_json(attempt).decode())],
        ),
        Write(
            "INSERT INTO state VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET record = excluded.record",
            [(run_id, vm_uuid, state)],
        ),
    ]


def event_write(run_id: str, event: JournalEvent) -> Write:
    """An event's row."""
    data = None if event.data is None else json.dumps(dict(event.data))
    return Write(
        "INSERT INTO event (run_id, vm_uuid, at, kind, data) VALUES (?, ?, ?, ?, ?)",
        [(run_id, event.vm_uuid, event.at, event.kind, data)],
    )


def word_write(run_id: str, word: Word) -> Write:
    """A word to a run."""
    return Write(
        "INSERT INTO word (run_id, at, who, what, vm_uuid) VALUES (?, ?, ?, ?, ?)",
        [(run_id, word.at, word.who, word.what, word.vm_uuid)],
    )


def answer_write(number: int, answer: str) -> Write:
    """What became of a word."""
    return Write("UPDATE word SET answer = ? WHERE id = ?", [(answer, number)])


def read_words(connection: sqlite3.Connection, run_id: str, after: int) -> list[Word]:
    """The words to a run with a number greater than that, the oldest first."""
    rows = connection.execute(
        "SELECT at, who, what, vm_uuid, id, answer FROM word WHERE run_id = ? AND id > ? ORDER BY id", (run_id, after)
    )
    return [Word(*row) for row in rows]


def settle_writes(run_id: str, vm: VmRecord, took_seconds: float | None = None) -> list[Write]:
    """A VM's outcome; a record without an inventory keeps the one that is there. What went well says how long it takes."""
    settled = Write(
        _SETTLE if vm.inventory is not None else _SETTLE_KEEPING,
        [(vm.outcome, vm.host_uuid, _vm_json(vm), run_id, vm.uuid)],
    )
    action = _DONE.get(vm.outcome) if vm.outcome is not None else None
    if action is None or took_seconds is None:
        return [settled]
    took = (vm.uuid, action, run_id, took_seconds)
    return [settled, Write("INSERT OR REPLACE INTO took VALUES (?, ?, ?, ?)", [took])]


_DONE = {**dict.fromkeys(STOPPED, "stop"), Outcome.STARTED: "start", Outcome.MIGRATED: "migrate"}


_SETTLE = "UPDATE vm SET outcome = ?, host_uuid = ?, record = ? WHERE run_id = ? AND uuid = ?"
_SETTLE_KEEPING = (
    "UPDATE vm SET outcome = ?, host_uuid = ?, record = json_set(?, '$.inventory', json_extract(record, '$.inventory'))"
    " WHERE run_id = ? AND uuid = ?"
)


def finish_write(run: RunRecord, hosts: Sequence[HostRecord], waves: Sequence[WaveRecord]) -> Write:
    """The run's record with its hosts and waves."""
    return Write(
        "UPDATE run SET record = ?, hosts = ?, waves = ? WHERE id = ?",
        [
            (
                run.model_dump_json(),
                json.dumps([host.model_dump(mode="json") for host in hosts]),
                json.dumps([wave.model_dump(mode="json") for wave in waves]),
                run.id,
            )
        ],
    )


def _vm_json(vm: VmRecord) -> str:
    return vm_adapter().dump_json(vm, exclude={"attempts"}).decode()


def read_runs(connection: sqlite3.Connection) -> list[RunRecord]:
    """Every run, the newest first."""
    rows = connection.execute("SELECT record FROM run ORDER BY started_at DESC, id DESC")
    return [RunRecord.model_validate_json(row[0]) for row in rows]


def read_run(connection: sqlite3.Connection, run_id: str) -> tuple[RunRecord, list[HostRecord], list[WaveRecord]]:
    """One run. Raises KeyError."""
    row = connection.execute("SELECT record, hosts, waves FROM run WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise KeyError(run_id)
    return (
        RunRecord.model_validate_json(row[0]),
        [HostRecord.model_validate(host) for host in json.loads(row[1])],
        [WaveRecord.model_validate(wave) for wave in json.loads(row[2])],
    )


def read_origin(connection: sqlite3.Connection, run_id: str) -> str:
    """The run that a retry or restore, or one of one, takes up, as far as the journal has it; of any other itself."""
    parents = "SELECT parent.id FROM run JOIN run AS parent ON parent.id = json_extract(run.record, '$.parent_run')"
    seen = {run_id}
    while True:
        row = connection.execute(f"{parents} WHERE run.id = ?", (run_id,)).fetchone()
        if row is None or row[0] in seen:
            return run_id
        run_id = str(row[0])
        seen.add(run_id)


def read_plan_file(connection: sqlite3.Connection, run_id: str) -> Mapping[str, Any]:
    """What `begin_writes` was given. Raises KeyError."""
    row = connection.execute("SELECT plan_file FROM run WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise KeyError(run_id)
    found: Mapping[str, Any] = json.loads(row[0])
    return found


def read_states(connection: sqlite3.Connection, run_id: str) -> dict[str, str]:
    """The states of the actions that are under way, or that a later look may still judge anew; by VM."""
    rows = connection.execute(
        "SELECT state.vm_uuid, state.record FROM state JOIN vm ON vm.run_id = state.run_id AND vm.uuid = state.vm_uuid"
        " WHERE state.run_id = ? AND (vm.outcome IS NULL OR vm.outcome IN ('failed', 'unknown'))",
        (run_id,),
    )
    return dict(rows.fetchall())


def read_took(connection: sqlite3.Connection, action: str, uuids: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Seconds that these VMs took in earlier runs, the newest first; who is not in it never ended well."""
    rows = connection.execute(
        "SELECT vm_uuid, seconds FROM took WHERE action = ? AND vm_uuid IN (SELECT value FROM json_each(?))"
        " ORDER BY vm_uuid, run_id DESC",
        (action, json.dumps(list(uuids))),
    )
    found: dict[str, tuple[float, ...]] = {}
    for uuid, seconds in rows:
        found[uuid] = (*found.get(uuid, ()), seconds)[:_MOST_TOOK]
    return found


_READ_VMS = (
    "SELECT vm.record, (SELECT json_group_array(json(record)) FROM (SELECT record FROM attempt AS a"
    " WHERE a.run_id = vm.run_id AND a.vm_uuid = vm.uuid ORDER BY number))"
    " FROM vm WHERE run_id = ?2 AND WHICH"
)


def read_vms(
    connection: sqlite3.Connection,
    run_id: str,
    outcomes: Collection[str] | None = None,
    uuids: Sequence[str] | None = None,
) -> Iterator[VmRecord]:
    """The VMs of a run in the plan's order, with their attempts, one by one; those of some outcomes or UUIDs, or all."""
    which, values = "?1 IS NULL ORDER BY seq", None
    if outcomes is not None:
        which, values = (
            "outcome IN (SELECT value FROM json_each(?1)) ORDER BY seq",
            json.dumps([str(word) for word in outcomes]),
        )
    elif uuids is not None:
        # `+`: a few are looked up by their UUIDs and then sorted; else all of the run's would be gone through in order.
        which, values = "uuid IN (SELECT value FROM json_each(?1)) ORDER BY +seq", json.dumps(list(uuids))
    rows = connection.cursor().execute(_READ_VMS.replace("WHICH", which), (values, run_id))
    for record, attempts in rows:
        yield _vm(record, attempts)


def read_uuids(connection: sqlite3.Connection, run_id: str) -> list[str]:
    """The targets of a run, in the plan's order."""
    rows = connection.execute("SELECT uuid FROM vm WHERE run_id = ? ORDER BY seq", (run_id,)).fetchall()
    return [uuid for (uuid,) in rows]


def read_vm(connection: sqlite3.Connection, run_id: str, uuid: str) -> VmRecord:
    """One VM. Raises KeyError."""
    row = connection.execute("SELECT record FROM vm WHERE run_id = ? AND uuid = ?", (run_id, uuid)).fetchone()
    if row is None:
        raise KeyError(uuid)
    attempts = connection.execute(
        "SELECT record FROM attempt WHERE run_id = ? AND vm_uuid = ? ORDER BY number", (run_id, uuid)
    ).fetchall()
    return _vm(row[0], "[" + ",".join(attempt[0] for attempt in attempts) + "]")


def _vm(record: str, attempts: str) -> VmRecord:
    data = json.loads(record)
    data["attempts"] = json.loads(attempts)
    return vm_adapter().validate_python(data)


def read_events(connection: sqlite3.Connection, run_id: str, uuid: str) -> list[JournalEvent]:
    """Every event of one VM, in the order it was written."""
    rows = connection.execute(
        "SELECT at, kind, data FROM event WHERE run_id = ? AND vm_uuid = ? ORDER BY id", (run_id, uuid)
    )
    return [JournalEvent(at, kind, uuid, json.loads(data) if data else None) for at, kind, data in rows]
