"""From a call to its answer: what is refused at once, what is synchronous, and the job table (zstack-rest.md 2 and 3)."""

import logging
from dataclasses import replace
from typing import Any

from orchestrator.simulator.accesskey import signed_by
from orchestrator.simulator.apis import VALIDATION_ONLY, Apis
from orchestrator.simulator.calls import JSON_HEADER, Answer, Call
from orchestrator.simulator.failures import FailedError, RefusedError, chain
from orchestrator.simulator.faults import JOB
from orchestrator.simulator.inventory import schema_of
from orchestrator.simulator.jobs import DroppedError, Job
from orchestrator.simulator.others import act_by
from orchestrator.simulator.query import Engine, read_query
from orchestrator.simulator.record import Migration, StopJob
from orchestrator.simulator.routes import HOST_JOBS, Route, find_path, pick_action, routes_at
from orchestrator.simulator.scenario import Account
from orchestrator.simulator.tables import make_tables
from orchestrator.simulator.world import World

JOB_ID_LENGTH = 32

_log = logging.getLogger(__name__)


class Server:
    """The REST server over one world. It knows nothing of sockets."""

    def __init__(self, world: World, scheme: str) -> None:
        self.world = world
        self.scheme = scheme
        self.engine = Engine(make_tables(world), world.inventories, world.rng)
        self.apis = Apis(world)

    def route(self, call: Call) -> Route:
        """Find the API: 404 for an unknown path, 405 for a wrong verb, 400 for a wrong action. Reads a PUT's body."""
        found = find_path(call.path)
        if found is None:
            raise RefusedError(404, f"no api mapping to {call.path}")
        pattern, call.uuids = found
        routes = routes_at(pattern, "GET" if call.method == "HEAD" else call.method)
        if call.method != "PUT":
            return routes[0]
        call.read_content()
        if routes[0].kind == "sync" and len(routes) == 1:
            # A login with the wrong key isn't refused at once: its mandatory field is missing (8).
            call.action = routes[0].action
            return routes[0]
        route = pick_action(routes, list(call.content))
        call.action = route.action
        return route

    async def answer(self, call: Call, route: Route) -> Answer:
        """Carry out a call whose route is known."""
        if route.kind == "poll":
            return self._poll(call)
        caller = None if route.open else self._who(call)
        self._check_job_id(call)
        timeout = call.api_timeout()
        if route.kind == "async":
            return self._accept(call, route, caller, timeout)
        try:
            account = None if route.open else self._account(caller)
            return self._json(200, await self._sync(call, route, account))
        except FailedError as error:
            return self._json(503, {"error": self.world.wire.error(error.failure)})

    async def _sync(self, call: Call, route: Route, account: Account | None) -> dict[str, Any]:
        def sees(owner: str | None) -> bool:
            return account is None or account.admin or owner in (None, account.name)

        match route.kind:
            case "query":
                return self.engine.select(route.target, read_query(call.query), sees)
            case "one":
                return self.engine.by_uuid(route.target, call.uuids["uuid"], sees)
            case _:
                return self.apis.sync(route.target, call)

    def _who(self, call: Call) -> str | Account:
        """A session id that nobody checked yet, or the account whose key signed."""
        authorization = call.headers.get("Authorization")
        if authorization is None:
            raise RefusedError(400, "missing header 'Authorization'")
        if authorization.startswith("OAuth"):
            return authorization.removeprefix("OAuth").strip()
        if authorization.startswith("ZStack"):
            if not self.world.node.access_keys:
                raise RefusedError(400, "unable to find RestAuthenticationBackend for the type ZStack")
            return signed_by(
                self.world.sessions.accounts,
                authorization,
                call.headers.get("Date"),
                method=call.method,
                path=call.path,
                clock=self.world.clock,
                zoned=self.world.node.check_time_zone,
            )
        raise RefusedError(400, "Authorization type must be 'OAuth'")

    def _account(self, caller: str | Account | None) -> Account:
        return caller if isinstance(caller, Account) else self.world.sessions.use(caller or "")

    def _check_job_id(self, call: Call) -> None:
        job_id = call.headers.get("X-Job-UUID")
        if job_id is None:
            return
        if len(job_id) != JOB_ID_LENGTH:
            raise RefusedError(400, f"Invalid header X-Job-UUID[{job_id}], it must be a uuid of {JOB_ID_LENGTH} characters")
        if call.method in {"POST", "PUT", "DELETE"} and self.world.jobs.get(job_id) is not None:
            raise RefusedError(400, f"Duplicate job uuid[{job_id}]")

    def _accept(self, call: Call, route: Route, caller: str | Account | None, timeout: float | None) -> Answer:
        """Insert the row, answer 202, and let everything else go wrong later: even a bad session is a job that failed."""
        world = self.world
        self.apis.check_types(route.target, call)
        uuid = call.headers.get("X-Job-UUID") or f"{world.rng.getrandbits(128):032x}"
        target = call.uuids["uuid"]
        usual = world.node.migrate_api_timeout if route.target == "migrateVm" else world.node.api_timeout
        job = Job(uuid, route.target, target, world.clock.monotonic(), timeout or usual)
        call.job_uuid = uuid
        world.jobs.add(job)
        extra = self._job_faults(call, route, job)
        world.spawn(self._run(call, job, caller, extra=extra, note=self._note(call, job)))
        location = f"{self.scheme}://{world.node.location_host}{world.node.context_path}/v1/api-jobs/{uuid}"
        return self._json(202, world.wire.shuffled({"location": location, "apiTimeout": round(job.timeout * 1000)}))

    def _job_faults(self, call: Call, route: Route, job: Job) -> float:
        """What befalls the job: returns the simulated seconds that it takes longer."""
        world = self.world
        vm = world.fleet.vms.get(job.target_uuid)
        of_host = job.action in HOST_JOBS
        names, hosts = world.names(None if of_host else job.target_uuid, job.target_uuid if of_host else None)
        extra = 0.0
        for fault in world.faults.strike(JOB, request_kinds(call, route), call.path, names, world.clock.age(), hosts=hosts):
            match fault.kind:
                case "never_ends":
                    job.muted = True
                case "result_gone":
                    job.gone_after = world.clock.real(fault.seconds)
                case "slow_start":
                    extra += fault.seconds
                case "vm_action" if vm is not None:
                    act_by(world, fault, vm)
        return extra

    def _note(self, call: Call, job: Job) -> StopJob | Migration | None:
        """A stop or a migration goes on record; what is only to be validated doesn't."""
        if VALIDATION_ONLY in call.system_tags():
            return None
        record, params, uuid = self.world.record, call.params, job.target_uuid
        vm = self.world.fleet.vms.get(uuid)
        host = None if vm is None else vm.host_uuid
        match job.action:
            case "stopVmInstance":
                stop = StopJob(job.uuid, uuid, host, str(params.get("type") or "grace"), job.submitted)
                record.stops.append(stop)
                return stop
            case "migrateVm":
                job.migration = Migration(job.uuid, uuid, host, params.get("hostUuid"), job.submitted)
                record.migrations.append(job.migration)
                return job.migration
        return None

    async def _run(
        self, call: Call, job: Job, caller: str | Account | None, *, extra: float, note: StopJob | Migration | None
    ) -> None:
        error = "cut off"
        try:
            account = self._account(caller)
            job.result = await self.apis.run(call, job, account, extra=extra)
            error = ""
        except FailedError as failed:
            job.failure, error = failed.failure, failed.failure.code
        except DroppedError:
            error = "dropped"
        except Exception as bug:
            _log.exception("a simulated %s failed by itself", job.action)
            job.failure, error = chain("SYS.1000", details=str(bug)).failure, "SYS.1000"
        finally:
            if note is not None:
                note.ended, note.error = self.world.clock.monotonic(), error or None
        if error != "dropped" and not job.muted:
            job.done = True

    def _poll(self, call: Call) -> Answer:
        job = self.world.jobs.get(call.uuids["uuid"])
        if job is None:
            raise RefusedError(404, "the job has been expired")
        if not job.done:
            return Answer(202, b"{}")
        if job.failure is not None:
            return self._json(503, {"error": self.world.wire.error(job.failure)})
        result = dict(job.result)
        if call.headers.get(JSON_HEADER) is not None and "inventory" in result:
            inventory = result["inventory"]
            of = "host.HostInventory" if job.action in HOST_JOBS else "vm.VmInstanceInventory"
            result["schema"] = schema_of("inventory", f"org.zstack.header.{of}", inventory)
        return self._json(200, result)

    def _json(self, status: int, content: dict[str, Any]) -> Answer:
        return Answer(status, self.world.wire.dump(content))

    def verdict(self) -> Answer:
        """503 with SYS.1000, as a fault asks for."""
        failure = replace(chain("SYS.1000").failure, details="an unhandled exception happened")
        return self._json(503, {"error": self.world.wire.error(failure)})


def request_kinds(call: Call, route: Route | None) -> frozenset[str]:
    """What a fault's `on` may name this request."""
    kinds = {"any"}
    if call.method == "PUT":
        kinds.add("put")
    if route is not None:
        match route.target:
            case "stopVmInstance":
                kinds.add("stop")
            case "startVmInstance":
                kinds.add("start")
            case "migrateVm":
                kinds.add("migrate")
            case "changeHostState" | "reconnectHost":
                kinds.add("host")
            case "migrationTargets":
                kinds.add("candidates")
            case "logInByAccount" | "logInByUser" | "logIn":
                kinds.add("login")
        if route.kind in {"query", "one"}:
            kinds.add("query")
        if route.kind == "poll":
            kinds.add("poll")
    return frozenset(kinds)
