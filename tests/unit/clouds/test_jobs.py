"""What each answer to a PUT and to a job's GET means: zstack-rest.md 2.2 to 2.5, row by row."""

import json
from typing import Any

import pytest

from orchestrator.clouds.zstack.http import Answer
from orchestrator.clouds.zstack.jobs import read_job, read_send, stop_body
from orchestrator.clouds.zstack.query import seen_vm
from orchestrator.model.target import (
    Accepted,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    JobUnreadable,
    Lost,
    Refused,
    Seen,
    StopRequest,
)

UUID = "0" * 32
CHAIN = {"error": {"code": "VM.1002", "description": "Unable to stop a vm", "cause": {"code": "VM.1010"}}}
HTML = b"<!doctype html><html><body>HTTP Status 400</body></html>"


def see(data: dict[str, Any]) -> Seen | None:
    """The client's own reading."""
    return seen_vm(data, None, 0.0)


def answer(status: int, body: object = b"") -> Answer:
    """An answer; anything but bytes is sent as JSON."""
    return Answer(status, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    "first",
    [
        answer(202, {"location": "http://172.20.0.1:8080/zstack/v1/api-jobs/x", "apiTimeout": 1800000}),
        answer(202, {"location": "nonsense"}),
        answer(202, {}),
        answer(202),
    ],
)
def test_a_202_is_accepted_whatever_its_location_says(first: Answer) -> None:
    """The job is known by our own id, so neither a wrong location nor an empty body matters."""
    assert read_send(first) == Accepted()


def test_a_duplicate_id_is_an_earlier_send_that_arrived() -> None:
    """400 "Duplicate job uuid" says that the node has the job already: accepted, and told apart."""
    assert read_send(answer(400, b"Duplicate job uuid[0000]")) == Accepted(duplicate=True)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, b"the body doesn't contain action mapping to the API"),
        (400, b"missing header 'Authorization'"),
        (400, HTML),
        (403, b"wrong accessKey signature"),
        (403, b"requestTimeTooSkewed"),
        (404, b"no api mapping to /v1/x"),
        (405, b"method not allowed"),
        (429, b"Rate limit exceeded"),
        (500, b""),
        (500, b"java.lang.ClassCastException"),
        (302, b""),
    ],
)
def test_a_plain_text_no_is_refused_with_status_and_words(status: int, text: bytes) -> None:
    """Refusals of the transport's shape come at once: nothing ran, and the node's words are kept."""
    result = read_send(answer(status, text))
    assert isinstance(result, Refused)
    assert result.status == status
    assert result.error.code == f"http.{status}"
    assert result.error.details == (text.decode() or "empty answer")


def test_a_503_with_a_chain_is_the_nodes_verdict() -> None:
    """503 with an error object is final and keeps the chain; it is never "try again"."""
    result = read_send(answer(503, CHAIN))
    assert isinstance(result, Refused)
    assert (result.status, result.error.plain()) == (503, CHAIN["error"])


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("body", [b"", HTML, b"no healthy upstream", b"{}", b'{"error": null}', b'{"error": "text"}'])
def test_a_gateways_words_leave_the_put_in_doubt(status: int, body: bytes) -> None:
    """An answer in the node's stead does not say whether the PUT arrived."""
    result = read_send(answer(status, body))
    assert isinstance(result, Lost)
    assert result.error.code == f"http.{status}"


@pytest.mark.parametrize("body", [b"{}", b"", b'{"progress": 5}'])
def test_a_job_that_answers_202_runs(body: bytes) -> None:
    """`{}` on new nodes, nothing on very old ones."""
    assert read_job(answer(202, body), see) == JobRunning()


def test_a_job_that_answers_200_succeeded_with_its_inventory() -> None:
    """The inventory is read as a VM."""
    result = read_job(answer(200, {"inventory": {"uuid": UUID, "state": "Stopped"}, "schema": {}}), see)
    assert isinstance(result, JobSucceeded)
    assert result.seen is not None
    assert (result.seen.row.uuid, result.seen.row.state, result.text) == (UUID, "Stopped", None)


@pytest.mark.parametrize("first", [answer(200, {"inventory": {"uuid": UUID}}), answer(200, HTML), answer(200), answer(204)])
def test_a_put_answered_without_202_is_in_doubt(first: Answer) -> None:
    """A stop is answered by 202: anything else that sounds like success came from somebody in between."""
    assert isinstance(read_send(first), Lost)


@pytest.mark.parametrize("body", [{}, {"inventory": None}, {"inventory": []}])
def test_a_200_without_an_inventory_is_no_verdict(body: object) -> None:
    """A stop that succeeded says so with the VM's inventory."""
    assert isinstance(read_job(answer(200, body), see), JobUnreadable)


@pytest.mark.parametrize("body", [{"inventory": {"uuid": 5}}, {"inventory": {}}])
def test_a_success_with_an_odd_inventory_is_still_success(body: object) -> None:
    """What came is kept as text."""
    assert read_job(answer(200, body), see) == JobSucceeded(None, json.dumps(body))


@pytest.mark.parametrize("body", [b"", HTML, b"[]", b"null", b"5", b'"x"', b'{"inventory":', b"\xff\xfe"])
def test_a_200_that_is_no_object_is_no_verdict(body: bytes) -> None:
    """A portal's page or half a body proves nothing about the job."""
    assert isinstance(read_job(answer(200, body), see), JobUnreadable)


def test_a_job_that_answers_503_failed_with_its_chain() -> None:
    """503 on the job's URL is the verdict, with everything beneath it."""
    result = read_job(answer(503, CHAIN), see)
    assert isinstance(result, JobFailed)
    assert result.error.plain() == CHAIN["error"]
    assert result.error.chain() == "VM.1002 <- VM.1010"


@pytest.mark.parametrize("code", ["SYS.1009", "SYS.1010", "SYS.1011", "SYS.1012"])
def test_a_node_that_is_not_ready_gives_no_verdict(code: str) -> None:
    """The node speaks of itself, not of the job; within a longer chain the same code is a cause."""
    assert isinstance(read_job(answer(503, {"error": {"code": code}}), see), JobUnreadable)
    deep = {"error": {"code": "VM.1002", "cause": {"code": code}}}
    assert isinstance(read_job(answer(503, deep), see), JobFailed)


@pytest.mark.parametrize("body", [b"", HTML, b"upstream connect error", b"{}", b'{"error": []}'])
def test_a_503_without_a_chain_is_no_verdict(body: bytes) -> None:
    """A broken answer or a gateway's is not the job's end."""
    assert isinstance(read_job(answer(503, body), see), JobUnreadable)


def test_a_404_in_words_is_a_job_the_node_does_not_know() -> None:
    """Unknown and expired ids look the same."""
    assert read_job(answer(404, b"the job has been expired"), see) == JobMissing()


def test_a_404_page_is_not_the_nodes_word() -> None:
    """HTML comes from Tomcat or a gateway while the node is away: it must not make us send again."""
    assert isinstance(read_job(answer(404, HTML), see), JobUnreadable)
    assert isinstance(read_job(answer(404, b"\n  " + HTML), see), JobUnreadable)


@pytest.mark.parametrize("status", [204, 301, 302, 400, 401, 403, 405, 429, 500, 502, 504])
def test_any_other_status_of_a_job_is_unreadable(status: int) -> None:
    """Nothing else ends a job, and its words are kept."""
    result = read_job(answer(status, b"some words"), see)
    assert isinstance(result, JobUnreadable)
    assert (result.error.code, result.error.details) == (f"http.{status}", "some words")


def test_a_long_answer_is_cut() -> None:
    """An error holds at most what an error may hold."""
    result = read_send(answer(500, b"x" * 1_000_000))
    assert isinstance(result, Refused)
    assert result.error.details == "x" * 4096


@pytest.mark.parametrize(
    ("stop_ha", "send_false", "action"),
    [
        (True, False, {"type": "grace", "stopHA": "true"}),
        (True, True, {"type": "grace", "stopHA": "true"}),
        (False, False, {"type": "grace"}),
        (False, True, {"type": "grace", "stopHA": "false"}),
    ],
)
def test_stop_ha_is_text_and_false_is_left_out(stop_ha: bool, send_false: bool, action: dict[str, str]) -> None:
    """`stopHA` is the string "true"; false is absent, unless this node's default is true."""
    request = StopRequest(UUID, "grace", "1" * 32, 240, stop_ha, ("a",), ("b", "c"))
    assert stop_body(request, send_false=send_false) == {
        "stopVmInstance": action,
        "systemTags": ["a"],
        "userTags": ["b", "c"],
    }
