"""Queries: conditions, joins, order, cuts (zstack-rest.md 7)."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.simulator.conditions import POSITIVE, Condition, bad_query, read_condition, value_test
from orchestrator.simulator.failures import RefusedError
from orchestrator.simulator.inventory import Inventories, Json, schema_of

DEFAULT_LIMIT = 1000

Row = Any


@dataclass(frozen=True)
class Table:
    """What may be asked of one kind of row. `joins` lead to another table's rows; `tags` are (system, user) texts."""

    name: str
    rows: Callable[[], Iterable[Row]]
    fields: Mapping[str, Callable[[Row], Any]]
    inventory: Callable[[Inventories, Row], Json]
    joins: Mapping[str, tuple[str, Callable[[Row], list[Row]]]]
    tags: Callable[[Row], list[tuple[bool, str]]] | None = None
    by_uuid: Callable[[str], Row | None] | None = None
    owner: Callable[[Row], str | None] | None = None
    """The account that a row belongs to; None: everybody's."""
    relations: frozenset[str] = frozenset({"vmNics", "allVolumes", "vmCdRoms"})


@dataclass(frozen=True, slots=True)
class Query:
    """What the parameters of a list request say. `limit` cuts silently."""

    conditions: tuple[Condition, ...] = ()
    limit: int = DEFAULT_LIMIT
    start: int = 0
    count: bool = False
    with_count: bool = False
    sort: str | None = None
    descending: bool = False
    fields: tuple[str, ...] = ()


def read_query(parameters: Iterable[tuple[str, str]]) -> Query:
    """The parameters of the URL; unknown ones are ignored. Raises RefusedError(400)."""
    once: dict[str, str] = {}
    conditions = []
    for name, value in parameters:
        if name == "q":
            conditions.append(read_condition(value))
        elif name in once:
            raise RefusedError(400, f"Invalid query parameter[{name}], it is given twice")
        else:
            once[name] = value
    sort = once.get("sort", "").strip()
    return Query(
        conditions=tuple(conditions),
        limit=_number(once, "limit", DEFAULT_LIMIT),
        start=_number(once, "start", 0),
        count=once.get("count", "").lower() == "true",
        with_count=once.get("replyWithCount", "").lower() == "true",
        sort=sort.lstrip("+-") or None,
        descending=sort.startswith("-"),
        fields=tuple(field.strip() for field in once.get("fields", "").split(",") if field.strip()),
    )


def _number(once: dict[str, str], name: str, default: int) -> int:
    try:
        return int(once.get(name, default))
    except ValueError:
        raise RefusedError(400, f"Invalid query parameter[{name}], it must be an integer") from None


class Engine:
    """Answers queries over tables. Without `sort` the order is arbitrary, and another one each time."""

    def __init__(self, tables: Mapping[str, Table], inventories: Inventories, rng: random.Random) -> None:
        self.tables = tables
        self.inventories = inventories
        self.rng = rng

    def by_uuid(self, table_name: str, uuid: str, sees: Callable[[str | None], bool]) -> Json:
        """The by-id form: a list of one, or an empty list."""
        table = self.tables[table_name]
        rows = [row for row in self._candidates(table, uuid) if _visible(table, row, sees)]
        return self._reply(table, rows, Query(), len(rows))

    def _candidates(self, table: Table, uuid: str) -> list[Row]:
        if table.by_uuid is not None:
            row = table.by_uuid(uuid)
            return [] if row is None else [row]
        return [row for row in table.rows() if table.fields["uuid"](row) == uuid]

    def select(self, table_name: str, query: Query, sees: Callable[[str | None], bool]) -> Json:
        """A page of rows with the `schema` key, and `total` only on request. Raises FailedError SYS.1000."""
        table = self.tables[table_name]
        if query.limit < 0 or query.start < 0:
            raise bad_query("limit and start must not be negative")
        rows = [row for row in self._preselect(table, query) if _visible(table, row, sees)]
        for condition in query.conditions:
            test = self._test(table, condition.path, condition)
            rows = [row for row in rows if test(row)]
        if query.count:
            return {"total": len(rows), "schema": {}}
        for name in query.fields:
            if name not in table.fields:
                raise bad_query(f"inventory[{table.name}] has no field[{name}] that can be selected")
        total = len(rows)
        self._order(table, query, rows)
        return self._reply(table, rows[query.start : query.start + query.limit], query, total)

    def _order(self, table: Table, query: Query, rows: list[Row]) -> None:
        if query.sort == "uuid":  # unique and never null: there are no equals whose order could be arbitrary
            rows.sort(key=self._field(table, "uuid"), reverse=query.descending)
            return
        self.rng.shuffle(rows)
        if query.sort is not None:
            get = self._field(table, query.sort)
            rows.sort(key=lambda row: (get(row) is not None, get(row)), reverse=query.descending)

    def _preselect(self, table: Table, query: Query) -> Iterable[Row]:
        # Hundreds of uuids among thousands of rows is what clients ask most: look those up instead of scanning.
        for condition in query.conditions:
            if condition.path == ("uuid",) and condition.operator in {"=", "?="} and table.by_uuid is not None:
                named = condition.value.split(",") if condition.operator == "?=" else [condition.value]
                return [row for row in map(table.by_uuid, dict.fromkeys(named)) if row is not None]
        return table.rows()

    def _reply(self, table: Table, rows: list[Row], query: Query, total: int) -> Json:
        if query.fields:
            wire = self.inventories.wire
            picked = {name: table.fields[name] for name in query.fields}
            inventories = [
                wire.shuffled({name: _plain(get(row), wire.timestamp) for name, get in picked.items()}) for row in rows
            ]
        else:
            inventories = [table.inventory(self.inventories, row) for row in rows]
        schema: dict[str, str] = {}
        for number, inventory in enumerate(inventories):
            schema |= schema_of(f"inventories[{number}]", table.name, inventory)
        reply: Json = {"inventories": inventories, "schema": schema}
        if query.with_count:
            reply["total"] = total
        return reply

    def _field(self, table: Table, name: str) -> Callable[[Row], Any]:
        get = table.fields.get(name)
        if get is None:
            raise bad_query(f"inventory[{table.name}] has no field[{name}]")
        return get

    def _test(self, table: Table, path: tuple[str, ...], condition: Condition) -> Callable[[Row], bool]:
        """A test of one row; behind a join it holds if some joined row passes, negative operators included."""
        head, rest = path[0], path[1:]
        if rest:
            if head not in table.joins:
                raise bad_query(f"inventory[{table.name}] has no join[{head}]")
            name, follow = table.joins[head]
            inner = self._test(self.tables[name], rest, condition)
            return lambda row: any(inner(joined) for joined in follow(row))
        if head in {"__systemTag__", "__userTag__"}:
            return _tag_test(table, condition, system=head == "__systemTag__")
        get = self._field(table, head)
        test = value_test(condition.operator, condition.value)
        return lambda row: test(get(row))


def _visible(table: Table, row: Row, sees: Callable[[str | None], bool]) -> bool:
    return table.owner is None or sees(table.owner(row))


def _plain(value: Any, timestamp: Callable[[datetime], str]) -> Any:
    return timestamp(value) if isinstance(value, datetime) else value


def _tag_test(table: Table, condition: Condition, *, system: bool) -> Callable[[Row], bool]:
    """Negative operators mean that the row has no such tag (7.3)."""
    tags_of = table.tags
    if tags_of is None:
        raise bad_query(f"inventory[{table.name}] has no tags")
    operator = condition.operator
    negative = operator in POSITIVE
    test = value_test(POSITIVE.get(operator, operator), condition.value)
    if operator in {"is null", "not null"}:
        return lambda row: any(kind is system for kind, _ in tags_of(row)) is (operator == "not null")
    return lambda row: any(kind is system and test(tag) for kind, tag in tags_of(row)) is not negative
