"""Which verb and path is which API (zstack-rest.md 7, 8, 9)."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.simulator.failures import RefusedError

Kind = Literal["sync", "async", "query", "one", "poll"]


@dataclass(frozen=True, slots=True)
class Route:
    """One API. `target` names what it does, or for queries the table. `open`: no Authorization is asked."""

    method: str
    path: str
    kind: Kind
    target: str
    action: str | None = None
    """The key in a PUT's body; None where no body is read."""
    open: bool = False


def _queries(path: str, table: str) -> list[Route]:
    return [Route("GET", path, "query", table), Route("GET", path + "/{uuid}", "one", table)]


def _action(path: str, action: str) -> Route:
    return Route("PUT", path, "async", action, action)


HOST_JOBS = frozenset({"changeHostState", "reconnectHost"})
"""What is done to a host itself."""
VM_ACTIONS = "/v1/vm-instances/{uuid}/actions"
HOST_ACTIONS = "/v1/hosts/{uuid}/actions"
NODE_ACTIONS = "/v1/management-nodes/actions"
SESSION = "/v1/accounts/sessions/{uuid}"

ROUTES: tuple[Route, ...] = (
    Route("PUT", "/v1/accounts/login", "sync", "logInByAccount", "logInByAccount", open=True),
    Route("PUT", "/v1/accounts/users/login", "sync", "logInByUser", "logInByUser", open=True),
    Route("PUT", "/v1/login", "sync", "logIn", "logIn", open=True),
    Route("GET", "/v1/login/procedures", "sync", "procedures", open=True),
    Route("DELETE", SESSION, "sync", "logOut", open=True),
    Route("GET", SESSION + "/valid", "sync", "valid", open=True),
    Route("PUT", SESSION + "/renew", "async", "renewSession", "renewSession"),
    Route("PUT", NODE_ACTIONS, "sync", "getVersion", "getVersion", open=True),
    Route("PUT", NODE_ACTIONS, "sync", "getCurrentTime", "getCurrentTime", open=True),
    Route("GET", "/v1/management-nodes/ready", "sync", "ready", open=True),
    Route("GET", "/v1/management-nodes/platform-timezone", "sync", "timezone"),
    Route("GET", "/v1/api-jobs/{uuid}", "poll", "poll", open=True),
    *(
        _action(VM_ACTIONS, name)
        for name in (
            "stopVmInstance",
            "startVmInstance",
            "rebootVmInstance",
            "pauseVmInstance",
            "resumeVmInstance",
            "migrateVm",
        )
    ),
    # The only POST on this path is FstrimVm, and that is what runs (3).
    Route("POST", VM_ACTIONS, "async", "fstrimVm"),
    Route("DELETE", "/v1/vm-instances/{uuid}", "async", "destroyVmInstance"),
    Route("GET", "/v1/vm-instances/{uuid}/ha-levels", "sync", "haLevel"),
    Route("GET", "/v1/vm-instances/{uuid}/migration-target-hosts", "sync", "migrationTargets"),
    _action(HOST_ACTIONS, "changeHostState"),
    _action(HOST_ACTIONS, "reconnectHost"),
    Route("GET", "/v1/hosts/task-details", "sync", "hostTasks"),
    Route("GET", "/v1/vm-instances/nics", "query", "nic"),
    *_queries("/v1/vm-instances", "vm"),
    *_queries("/v1/hosts", "host"),
    *_queries("/v1/clusters", "cluster"),
    *_queries("/v1/zones", "zone"),
    *_queries("/v1/images", "image"),
    *_queries("/v1/primary-storage", "storage"),
    *_queries("/v1/volumes", "volume"),
    *_queries("/v1/l3-networks", "network"),
    *_queries("/v1/system-tags", "system_tag"),
    *_queries("/v1/user-tags", "user_tag"),
    Route("GET", "/v1/global-configurations", "query", "config"),
    Route("GET", "/v1/management-nodes", "query", "node"),
)


def find_path(path: str) -> tuple[str, dict[str, str]] | None:
    """The route path that takes this one, exact before patterns, and what stands in its braces. No trailing slash."""
    patterns = dict.fromkeys(route.path for route in ROUTES)
    if path in patterns:
        return path, {}
    steps = path.split("/")
    for pattern in patterns:
        wanted = pattern.split("/")
        if len(wanted) != len(steps):
            continue
        if all(want == step or (want.startswith("{") and step) for want, step in zip(wanted, steps, strict=True)):
            return pattern, {want[1:-1]: step for want, step in zip(wanted, steps, strict=True) if want.startswith("{")}
    return None


def routes_at(path: str, method: str) -> list[Route]:
    """The APIs of this path pattern and verb; 405 if it has none."""
    found = [route for route in ROUTES if route.path == path and route.method == method]
    if not found:
        text = "only GET is allowed for a job" if "/api-jobs/" in path else f"Method {method} not allowed on {path}"
        raise RefusedError(405, text)
    return found


def pick_action(routes: list[Route], keys: list[str]) -> Route:
    """The API that the body's key names; 400 if it names none."""
    for route in routes:
        if route.action is None or route.action in keys:
            return route
    known = ", ".join(str(route.action) for route in routes)
    raise RefusedError(400, f"the body doesn't contain action mapping to any of [{known}]")
