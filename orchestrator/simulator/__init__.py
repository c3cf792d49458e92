"""A simulated ZStack management node: a fleet behind the real protocol, to develop, test and demonstrate against.

It imports nothing else of the project, so that client and node can't share a mistake. What it reproduces, by the
conformance checklist of zstack-rest.md 11:

- Context path, `/v1`, 404 text for unknown paths, no trailing-slash match: reproduced; the context path may be empty.
- No `Content-Type`, `Set-Cookie: JSESSIONID`: reproduced, a cookie for every request that brings none.
- PUT actions with 202, `location` on a wrong host, `apiTimeout`: reproduced. The default timeout is real seconds.
- Polls without authentication, 202 `{}`, 200, 503, 404 text: reproduced.
- Bad session, bad `type`, unknown UUID, wrong state as 202 then 503: reproduced.
- Synchronous GET with a bad session as 503, a missing header as 400: reproduced.
- Duplicate `X-Job-UUID` and one of another length as 400: reproduced; the race of two simultaneous sends isn't.
- Jobs that never end, restart with processing rows, done rows and sessions surviving: reproduced. While it's down the
  port refuses connections; the pages of a node that is booting aren't imitated.
- Result expiry from submission: reproduced, to the second; the hourly sweep and the in-memory cache aren't.
- Dropped connections, slow answers, 429: reproduced, as faults; 429 also as a rate limit.
- Per-VM queue, ten slots per host (a migration takes one at both ends): reproduced.
- Grace up to 60 s then forced, cold quick: reproduced.
- Stopping with hostUuid, Stopped without and with lastHostUuid, Stopped as a no-op: reproduced.
- HA NeverStop back to Running unless `stopHA`: reproduced; OnHostFailure and HA's repeated scan aren't.
- Error then late success: reproduced, by guest and by `X-API-Timeout`.
- Maintenance that migrates two at a time and stops the rest with grace, HOST.1001 with `causes`, a reconnect by enable and
  disable after it: reproduced.
- Host Disconnected, VM Unknown, VM.1002 <- HOST.1011 <- HOST.1010: reproduced.
- Queries: limit 1000, arbitrary order, operator scan order, by-id lists, `schema`, `total` on request, 400 and 503:
  reproduced, but for joins to vmCdRoms, `__tagUuid__`, `filterName` and ZQL.
- HTML 400 above 8 KB and for raw characters: reproduced.
- Login, sliding 7200 s, ID.1006 at 500, logout: reproduced, with access keys besides; IAM2, LDAP, captcha and second
  factors aren't.
- Numbers, timestamps, nulls, Chinese details: reproduced.

Beyond the list, not done: web hooks, task progress, long jobs, creating and deleting tags and HA levels, powering
hosts. FstrimVm (a POST on a VM's actions) always fails.
"""

from orchestrator.simulator.faults import Fault, Faults
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.guests import Guest
from orchestrator.simulator.load import ScenarioError, load_scenario
from orchestrator.simulator.node import SimulatedNode
from orchestrator.simulator.record import HostTransition, Migration, Move, Record, Request, StopJob, Transition
from orchestrator.simulator.scenario import (
    AccessKey,
    Account,
    ClusterSpec,
    HostSpec,
    NodeSettings,
    Scenario,
    User,
    VmGroup,
)
from orchestrator.simulator.spread import Spread

__all__ = [
    "AccessKey",
    "Account",
    "ClusterSpec",
    "Fault",
    "Faults",
    "Guest",
    "HostSpec",
    "HostTransition",
    "Migration",
    "Move",
    "NodeSettings",
    "Record",
    "Request",
    "Scenario",
    "ScenarioError",
    "SimulatedHost",
    "SimulatedNode",
    "SimulatedVm",
    "Spread",
    "StopJob",
    "Transition",
    "User",
    "VmGroup",
    "load_scenario",
]
