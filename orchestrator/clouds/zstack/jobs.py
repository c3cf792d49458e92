"""A PUT and its job: what each answer means (zstack-rest.md 2.2 to 2.5)."""

from typing import Any

from orchestrator.clouds.zstack.errors import has_chain, node_error, not_ready
from orchestrator.clouds.zstack.http import Answer
from orchestrator.model.fault import own_error
from orchestrator.model.target import (
    Accepted,
    HostRequest,
    JobAnswer,
    JobFailed,
    JobMissing,
    JobRunning,
    JobSucceeded,
    JobUnreadable,
    Lost,
    MigrateRequest,
    Refused,
    Request,
    Seen,
    SendResult,
    StopRequest,
)

_DUPLICATE = "Duplicate job"
_UNSURE = frozenset({502, 504})
"""A proxy's words, not the node's: the PUT behind them may have arrived."""


def path_of(request: Request | HostRequest) -> str:
    """Where it is PUT."""
    if isinstance(request, HostRequest):
        return f"/v1/hosts/{request.host_uuid}/actions"
    return f"/v1/vm-instances/{request.vm_uuid}/actions"


def body_of(request: Request | HostRequest, *, send_false: bool) -> dict[str, Any]:
    """The body of a PUT: of a stop see `stop_body`, of a start or a migration where to, of a host what it shall be."""
    if isinstance(request, StopRequest):
        return stop_body(request, send_false=send_false)
    action = {} if request.host_uuid is None else {"hostUuid": request.host_uuid}
    match request:
        case HostRequest():
            name, action = "changeHostState", {"stateEvent": request.event}
        case MigrateRequest():
            name = "migrateVm"
        case _:
            name = "startVmInstance"
    return {name: action, "systemTags": list(request.system_tags), "userTags": []}


def stop_body(request: StopRequest, *, send_false: bool) -> dict[str, Any]:
    """The body of a stop. `stopHA` is text; false is left out unless this node's default is true (`send_false`)."""
    action: dict[str, str] = {"type": request.type}
    if request.stop_ha:
        action["stopHA"] = "true"
    elif send_false:
        action["stopHA"] = "false"
    return {
        "stopVmInstance": action,
        "systemTags": list(request.system_tags),
        "userTags": list(request.user_tags),
    }


def read_send(answer: Answer) -> SendResult:
    """What the first answer to a PUT means."""
    match answer.status:
        case 202:
            return Accepted()
        case 200 | 204:
            # No answer of this call: a proxy's page, or a half of something. The job id will tell.
            return Lost(node_error(answer))
        case 400 if _DUPLICATE in answer.text():
            return Accepted(duplicate=True)
        case status if status in _UNSURE:
            return Lost(node_error(answer))
        case 503 if not has_chain(answer):
            return Lost(node_error(answer))
        case status:
            return Refused(node_error(answer), status)


def read_job(answer: Answer, see: "type[None] | Any") -> JobAnswer:
    """What a job's GET means. `see` turns the inventory's dict into `Seen` or None."""
    match answer.status:
        case 202:
            return JobRunning()
        case 200:
            return _succeeded(answer, see)
        case 503 if has_chain(answer):
            error = node_error(answer)
            return JobUnreadable(error) if not_ready(error) and len(list(error.codes())) == 1 else JobFailed(error)
        case 404 if not _is_html(answer):
            return JobMissing()
        case _:
            return JobUnreadable(node_error(answer))


def _succeeded(answer: Answer, see: Any) -> JobAnswer:
    data = answer.json()
    if not isinstance(data, dict) or not isinstance(data.get("inventory"), dict):
        words = answer.text().strip() or "empty answer"
        return JobUnreadable(own_error("http.200", words))
    seen: Seen | None = see(data["inventory"])
    return JobSucceeded(seen, None if seen is not None else answer.text())


def _is_html(answer: Answer) -> bool:
    return answer.body.lstrip()[:1] == b"<"
