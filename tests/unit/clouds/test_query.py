"""Queries: what leaves as a URL is exactly the condition, and always short enough for the node's front end."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clouds.interface import VM_CHUNK, NodeAwayError, QueryRefusedError
from orchestrator.clouds.zstack.client import ZStackClient
from orchestrator.clouds.zstack.cloud import ZStackCloud
from orchestrator.clouds.zstack.query import PAGE, chunks, encode, host_row, inventories, is_uuid
from tests.unit.clouds.nodes import Asked, access_key, error, says, scripted, session

FRONT_END_BYTES = 8192
OPERATORS = ["=", "!=", "?=", "!?=", "~=", "!~=", ">", "<", ">=", "<="]
AWKWARD = [
    "app-%",
    "100%25",
    "a+b",
    "a&b",
    "a#b",
    "a=b",
    "a b",
    " leading and trailing ",
    "数据库",
    "naïve-😀",
    "it's",
    'say "no"',
    "back\\slash",
    "<tag>",
    "a|b[c]{d}^`",
    "a/b?c;d:e@f",
    "a,b,c",
    "line\nfeed\ttab",
    "null",
]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("value", AWKWARD, ids=ascii)
def test_every_condition_arrives_as_it_was_written(operator: str, value: str) -> None:
    """Whatever the operator and the value, the node decodes exactly the condition of the plan."""
    condition = f"name{operator}{value}"
    assert parse_qsl(encode([condition]), keep_blank_values=True, strict_parsing=True) == [("q", condition)]


@pytest.mark.parametrize("condition", ["hostUuid is null", "hostUuid not null", "__userTag__=keep", "host.cluster.name=x"])
def test_null_tests_and_joins_arrive_as_written(condition: str) -> None:
    """The word operators, tags and joined fields pass unchanged."""
    assert parse_qsl(encode([condition])) == [("q", condition)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=4))
def test_no_character_that_a_front_end_refuses_is_sent_raw(conditions: list[str]) -> None:
    """Only characters that Tomcat takes raw appear; a plus is never raw, for it would become a space."""
    text = encode(conditions)
    assert text.isascii()
    assert not set(text) & set(' +#<>|[]{}"\\^`\n\t')
    assert [value for _, value in parse_qsl(text, keep_blank_values=True)] == conditions


def test_all_conditions_are_sent_each_as_its_own_q() -> None:
    """Conditions of a group are AND-ed: one `q` each, in their order, then the parameters."""
    text = encode(["state=Running", "name~=a%"], sort="+uuid", start=5, limit=500, fields="uuid,state")
    assert text == "q=state=Running&q=name~=a%25&sort=%2Buuid&start=5&limit=500&fields=uuid,state"


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250, 1000])
def test_chunks_hold_everything_once_and_in_order(count: int) -> None:
    """No UUID is lost or doubled by splitting, and no chunk is too long."""
    uuids = [uuid4().hex for _ in range(count)]
    parts = chunks(uuids, VM_CHUNK)
    assert [uuid for part in parts for uuid in part] == uuids
    assert all(1 <= len(part) <= VM_CHUNK for part in parts)


@pytest.mark.parametrize("who", [session, access_key], ids=["session", "access key"])
async def test_every_bulk_read_fits_the_front_end(who: Callable[[str], Any]) -> None:
    """Request line and headers of every chunked read stay under 8 KB, cookie and authorization included."""

    def script(asked: Asked) -> Any:
        if "actions" in asked.path:
            return says({})
        answer = says({"timezone": "UTC"} if "timezone" in asked.path else {"inventories": []})
        answer.set_cookie("JSESSIONID", "A" * 32, path="/zstack")
        return answer

    uuids = [uuid4().hex for _ in range(450)]
    async with scripted(script) as node, ZStackClient(who(node.base)) as client:
        cloud = ZStackCloud(client)
        reads: list[Callable[[list[str]], Awaitable[Any]]] = [
            cloud.read,
            cloud.states,
            cloud.hosts,
            cloud.ha_levels,
            cloud.running_on,
        ]
        for read in reads:
            node.asked.clear()
            await read(uuids)
            queries = [asked for asked in node.asked if "q=" in asked.target]
            assert len(queries) >= 2
            assert max(asked.head_bytes for asked in queries) < FRONT_END_BYTES
            assert sorted(uuid for uuid in uuids if any(uuid in asked.target for asked in queries)) == sorted(uuids)
            assert all(sum(uuid in asked.target for asked in queries) == 1 for uuid in uuids)


async def test_the_bytes_on_the_wire_are_the_encoded_condition() -> None:
    """Nothing between the encoder and the socket decodes, doubles or reorders an escape."""
    condition = "name~=a+b%25 &#'\"数"

    def script(asked: Asked) -> Any:
        return says({"inventories": []})

    async with scripted(script) as node, ZStackClient(session(node.base)) as client:
        assert [page async for page in ZStackCloud(client).select([condition])] == [[]]
    (asked,) = node.asked
    assert asked.target == f"/zstack/v1/vm-instances?{encode([condition], sort='+uuid', start=0, limit=PAGE)}"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("0123456789abcdef" * 2, True),
        ("0123456789ABCDEF" * 2, False),
        ("0" * 31, False),
        ("0" * 33, False),
        ("0" * 32 + "\n", False),
        ("g" * 32, False),
        ("\u0660" * 32, False),
        ("../" * 10 + "aa", False),
        ("", False),
        (None, False),
        (0, False),
        (["0" * 32], False),
    ],
)
def test_only_32_lower_case_hex_is_a_uuid(text: object, right: bool) -> None:
    """Only what cannot change a URL may become part of one."""
    assert is_uuid(text) is right


@pytest.mark.parametrize("data", [None, [], "x", 5, {}, {"inventories": None}, {"inventories": {}}, {"total": 3}])
def test_what_is_no_list_of_rows_is_not_taken_for_an_empty_one(data: object) -> None:
    """An empty list and no list differ: the second must never read as "no VM matches"."""
    assert inventories(data) is None


def test_rows_that_are_no_objects_are_not_passed_over() -> None:
    """An odd member of a list stays as an empty row, so that nobody takes its VM for gone."""
    assert inventories({"inventories": [{"uuid": 1}, None, "x", {"uuid": 2}]}) == [{"uuid": 1}, {}, {}, {"uuid": 2}]


def test_a_host_needs_a_uuid_and_nothing_else() -> None:
    """A host with odd fields is still a host."""
    assert host_row({"name": "h"}) is None
    host = host_row({"uuid": "h1", "name": 5, "status": "Connected", "state": None})
    assert host is not None
    assert (host.uuid, host.name, host.status, host.state) == ("h1", None, "Connected", None)


async def test_pages_hold_every_row_of_a_long_list() -> None:
    """More VMs than a page are all read: no silent cut at the node's default limit."""
    rows = [{"uuid": f"{number:032x}", "state": "Running"} for number in range(PAGE * 2 + 7)]

    def script(asked: Asked) -> Any:
        query = dict(parse_qsl(asked.target.split("?")[1]))
        assert query["sort"] == "+uuid"
        start, limit = int(query["start"]), int(query["limit"])
        return says({"inventories": rows[start : start + limit], "schema": {}})

    async with scripted(script) as node, ZStackClient(session(node.base)) as client:
        found = [vm.row.uuid async for page in ZStackCloud(client).select(["state=Running"]) for vm in page]
    assert set(found) == {row["uuid"] for row in rows}


async def test_rows_that_move_between_pages_are_not_skipped() -> None:
    """When VMs go while pages are read the offsets move: the list is read anew until none can be missing."""
    rows = [{"uuid": f"{number:032x}"} for number in range(PAGE + 50)]
    kept = rows[10:]
    asked_before = 0

    def script(asked: Asked) -> Any:
        nonlocal asked_before
        query = dict(parse_qsl(asked.target.split("?")[1]))
        now = rows if asked_before == 0 else kept
        asked_before += 1
        start, limit = int(query["start"]), int(query["limit"])
        return says({"inventories": now[start : start + limit]})

    async with scripted(script) as node, ZStackClient(session(node.base)) as client:
        found = {vm.row.uuid async for page in ZStackCloud(client).select(["state=Running"]) for vm in page}
    assert found >= {row["uuid"] for row in kept}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: error("SYS.1000"), QueryRefusedError),
        (lambda: says({"schema": {}}), QueryRefusedError),
        (lambda: says("text", 400), QueryRefusedError),
        (lambda: error("SYS.1010"), NodeAwayError),
        (lambda: says("no", 503), NodeAwayError),
        (lambda: says("no", 502), NodeAwayError),
        (lambda: says("Rate limit exceeded", 429), NodeAwayError),
        (lambda: says("", 500), NodeAwayError),
        (lambda: error("ID.1001"), NodeAwayError),
    ],
)
async def test_a_query_that_fails_says_whose_fault_it_is(answer: Callable[[], Any], kind: type[Exception]) -> None:
    """The node's own no is a refused query; an absent, starting or overloaded node is none of the plan's doing."""
    async with scripted(lambda _: answer()) as node, ZStackClient(session(node.base)) as client:
        with pytest.raises(kind):
            await ZStackCloud(client).states(["0" * 32])
