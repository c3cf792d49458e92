"""What each API does once it is its turn: sessions and permission first, then parameters, then the resource."""

from typing import Any

from orchestrator.simulator.calls import Call
from orchestrator.simulator.failures import RefusedError, chain
from orchestrator.simulator.fleet import SimulatedVm
from orchestrator.simulator.hosts import change_host_state, reconnect_by_job
from orchestrator.simulator.inventory import Json
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.moves import in_turn, migrate_vm, migration_targets, pause_vm, reboot_vm, start_vm
from orchestrator.simulator.routes import HOST_JOBS
from orchestrator.simulator.scenario import Account
from orchestrator.simulator.stop import stop_vm
from orchestrator.simulator.world import World

SHORTEST_RENEWAL, LONGEST_RENEWAL = 60, 31536000
VALIDATION_ONLY = "validationOnly"


class Apis:
    """The APIs over one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def check_types(self, target: str, call: Call) -> None:
        """400 for a number that isn't one (zstack-rest.md 3)."""
        duration = call.params.get("duration")
        if target == "renewSession" and duration is not None and not isinstance(duration, int):
            raise RefusedError(400, f"Invalid field[duration]: {duration!r} is not an integer")

    def sync(self, target: str, call: Call) -> Json:
        """A synchronous API. Raises FailedError, which is a 503."""
        world, uuid = self.world, call.uuids.get("uuid", "")
        match target:
            case "logInByAccount" | "logInByUser" | "logIn":
                return self._log_in(target, call.params)
            case "procedures":
                return {"inventories": []}
            case "logOut":
                world.sessions.log_out(uuid)
                return {}
            case "valid":
                return {"valid": world.sessions.valid(uuid)}
            case "getVersion" | "getCurrentTime" | "ready" | "timezone":
                return self._about(target)
            case "haLevel":
                level = world.vm(uuid).ha_level
                return {} if level is None else {"level": level}
            case "migrationTargets":
                return {"inventories": [world.inventories.host(host) for host in migration_targets(world, world.vm(uuid))]}
            case "hostTasks":
                return self._host_tasks(call)
        raise chain("SYS.1000", details=f"{target} isn't simulated")

    def _log_in(self, target: str, params: dict[str, Any]) -> Json:
        user = None
        match target:
            case "logInByAccount":
                name = params.get("accountName")
            case "logInByUser":
                name, user = params.get("accountName"), params.get("userName")
            case _:
                name = params.get("username")
        password = params.get("password")
        if not isinstance(name, str) or not isinstance(password, str) or (target == "logInByUser" and user is None):
            missing = "password" if isinstance(name, str) else "accountName"
            raise chain("SYS.1007", details=f"field[{missing}] of message is mandatory, can not be null")
        session = self.world.sessions.log_in(name, password, user)
        return {"inventory": self.world.sessions.inventory(session, self.world.wire)}

    def _about(self, target: str) -> Json:
        now = self.world.clock.now()
        match target:
            case "getVersion":
                return {"version": self.world.node.version, "success": True}
            case "getCurrentTime":
                whole = int(now.timestamp())
                return {"currentTime": {"MillionSeconds": int(now.timestamp() * 1000), "Seconds": whole}, "success": True}
            case "timezone":
                offset = f"{now:%z}"
                return {"timezone": self.world.node.zone, "offset": f"{offset[:3]}:{offset[3:5]}", "success": True}
            case _:
                return {}

    def _host_tasks(self, call: Call) -> Json:
        wanted = {uuid for name, value in call.query if name == "hostUuids" for uuid in value.split(",")}
        hosts = [host for uuid, host in self.world.fleet.hosts.items() if uuid in wanted]
        tasks = {
            f"Host-{host.uuid}": {
                "runningTask": [{"name": "host-task"} for _ in range(host.lane.running)],
                "pendingTask": [{"name": "host-task"} for _ in range(host.lane.pending)],
            }
            for host in hosts
        }
        return {"results": tasks, "success": True}

    async def run(self, call: Call, job: Job, account: Account, *, extra: float) -> Json:
        """An asynchronous API to its result. Raises FailedError, or DroppedError."""
        world, params, target, uuid = self.world, call.params, job.action, job.target_uuid
        if target == "renewSession":
            return self._renew(params, uuid)
        if target in HOST_JOBS:
            return await self._host(call, job, account, extra)
        owned = world.fleet.vms.get(uuid)
        if not account.admin and (
            (owned is not None and owned.account != account.name) or (target == "stopVmInstance" and not account.may_stop)
        ):
            raise chain(account.permission_error, details=f"permission denied: account[{account.name}] has no permission")
        inhibit = self._check_stop(params) if target == "stopVmInstance" else False
        vm = world.vm(uuid)
        if VALIDATION_ONLY in call.system_tags():
            return {}
        if target == "stopVmInstance":
            kind = str(params.get("type") or "grace").strip()
            return await stop_vm(world, job, vm, kind, inhibit=inhibit)
        return await self._other(params, job, vm, extra)

    async def _other(self, params: dict[str, Any], job: Job, vm: SimulatedVm, extra: float) -> Json:
        world, target, by = self.world, job.action, f"job {job.uuid}"
        host_uuid = params.get("hostUuid")
        match target:
            case "startVmInstance":
                return await in_turn(job, vm, lambda: start_vm(world, vm, by, host_uuid=host_uuid, job=job, extra=extra))
            case "migrateVm":
                if host_uuid is not None and host_uuid == vm.host_uuid:
                    raise chain("SYS.1007", details="the vm is already at the host")
                return await in_turn(
                    job, vm, lambda: migrate_vm(world, vm, by, host_uuid=host_uuid, job=job, extra=extra, note=job.migration)
                )
            case "rebootVmInstance":
                return await in_turn(job, vm, lambda: reboot_vm(world, job, vm))
            case "pauseVmInstance" | "resumeVmInstance":
                return await in_turn(job, vm, lambda: pause_vm(world, job, vm, resume=target == "resumeVmInstance"))
            case "destroyVmInstance":
                vm.off.set()
                world.set_state(vm, "Destroyed", by, job=job.uuid)
                return {}
        raise chain("SYS.1006", details="fstrim needs a guest agent, and the vm has none")

    def _check_stop(self, params: dict[str, Any]) -> bool:
        """Whether HA is inhibited; SYS.1007 for an invalid `type` or `stopHA` (3.1)."""
        kind = params.get("type")
        if kind is not None and str(kind).strip() not in {"grace", "cold"}:
            raise chain("SYS.1007", details=f"invalid field[type], the value[{kind}] is not in valid values[grace, cold]")
        stop_ha = params.get("stopHA")
        if isinstance(stop_ha, bool):  # Gson turns a JSON boolean into the string
            stop_ha = str(stop_ha).lower()
        newer = self.world.node.stop_ha_values == "true_or_false"
        valid = {None, "true", "false"} if newer else {None, "true"}
        if stop_ha not in valid:
            raise chain("SYS.1007", details=f"invalid field[stopHA], the value[{stop_ha}] is not a valid value")
        return (stop_ha or ("true" if newer else "")) == "true"

    def _renew(self, params: dict[str, Any], uuid: str) -> Json:
        duration = params.get("duration")
        if duration is not None and not SHORTEST_RENEWAL <= duration <= LONGEST_RENEWAL:
            raise chain("SYS.1007", details="invalid field[duration], it must be in [60, 31536000]")
        sessions = self.world.sessions
        return {"inventory": sessions.inventory(sessions.renew(uuid, duration), self.world.wire)}

    async def _host(self, call: Call, job: Job, account: Account, extra: float) -> Json:
        world = self.world
        if not account.admin:
            raise chain(account.permission_error, details="permission denied: only admin changes hosts")
        host = world.fleet.hosts.get(job.target_uuid)
        if host is None:
            raise chain("SYS.1003", details=f"resource[uuid:{job.target_uuid}, type:HostVO] not found")
        if VALIDATION_ONLY in call.system_tags():
            return {}
        if job.action == "changeHostState":
            return await change_host_state(world, job, host, str(call.params.get("stateEvent")), extra=extra)
        return await reconnect_by_job(world, job, host, extra=extra)
