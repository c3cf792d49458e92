"""The simulated management node: a world with a socket."""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Self

from aiohttp import web

from orchestrator.simulator import hosts, others
from orchestrator.simulator.faults import Fault, Faults, matches
from orchestrator.simulator.fleet import SimulatedHost, SimulatedVm
from orchestrator.simulator.front import PARSER_LIMIT, Front
from orchestrator.simulator.record import Record
from orchestrator.simulator.scenario import Scenario
from orchestrator.simulator.server import Server
from orchestrator.simulator.world import World

_log = logging.getLogger("orchestrator.simulator")
_log.addHandler(logging.NullHandler())  # a client's broken request isn't for the operator's terminal


class SimulatedNode:
    """A management node on a loopback port. Enter it, and `endpoint` is what a client is configured with.

    `port` 0 takes a free one. `time_scale` is simulated seconds per real second. With `ssl_context` it speaks https.
    """

    def __init__(
        self,
        scenario: Scenario,
        port: int = 0,
        host: str = "127.0.0.1",
        time_scale: float = 1.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if not _is_loopback(host):
            raise ValueError(f"the simulated node listens on loopback only: use 127.0.0.1 instead of {host!r}")
        self._world = World(scenario, time_scale)
        self._world.when_stopped = lambda vm: others.watch_stopped(self._world, vm)
        self._host = host
        self._port = port
        self._ssl = ssl_context
        self._runner: web.AppRunner | None = None
        self._holder: socket.socket | None = None
        self._front = Front(self._world, Server(self._world, self._scheme))

    @property
    def _scheme(self) -> str:
        return "http" if self._ssl is None else "https"

    @property
    def endpoint(self) -> str:
        """The base URL up to the context path, without a slash at its end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self._port}{self._world.node.context_path}"

    @property
    def port(self) -> int:
        """The port it listens on; the same after a restart."""
        return self._port

    @property
    def record(self) -> Record:
        """What truly happened."""
        return self._world.record

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._world.faults

    @property
    def scenario(self) -> Scenario:
        """What it was built from."""
        return self._world.scenario

    @property
    def vms(self) -> Mapping[str, SimulatedVm]:
        """The VMs by UUID."""
        return MappingProxyType(self._world.fleet.vms)

    @property
    def hosts(self) -> Mapping[str, SimulatedHost]:
        """The hosts by UUID."""
        return MappingProxyType(self._world.fleet.hosts)

    def vm(self, name: str) -> SimulatedVm:
        """The VM of that name. KeyError without one."""
        for vm in self.vms.values():
            if vm.name == name:
                return vm
        raise KeyError(name)

    def host(self, name: str) -> SimulatedHost:
        """The host of that name. KeyError without one."""
        for host in self.hosts.values():
            if host.name == name:
                return host
        raise KeyError(name)

    async def __aenter__(self) -> Self:
        self._hold_port()
        await self._listen()
        self._world.clock.started = self._world.clock.monotonic()
        for fault in self.faults:
            self._schedule(fault)
        self.faults.when_added = self._schedule
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.faults.when_added = None
        await self._close()
        await self._world.kill_tasks(agents=True)
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    def act(self, uuid: str, what: others.Act, *, host_uuid: str | None = None) -> None:
        """Somebody else does it to a VM, now. `host_uuid` is where to, for start and migrate; None chooses."""
        others.act(self._world, uuid, what, host_uuid=host_uuid)

    def disconnect_host(self, uuid: str) -> None:
        """The host's agent is out of reach from now on; its VMs become Unknown."""
        hosts.disconnect_host(self._world, self.hosts[uuid])

    def reconnect_host(self, uuid: str) -> None:
        """The host comes back: Connecting for the scenario's `reconnect`, then Connected."""
        host = self.hosts[uuid]
        host.status = "Connecting"
        self._world.spawn_agent(hosts.reconnect_host(self._world, host))

    def expire_sessions(self) -> None:
        """Every session is expired from now on; access keys aren't touched."""
        self._world.sessions.expire_all()

    async def restart(self, downtime_seconds: float) -> None:
        """Stop serving for so many simulated seconds. Processing jobs stay 202 for ever, done rows and sessions survive.

        What agents are doing goes on; rows left in between follow the truth by host sync.
        """
        world = self._world
        world.up.clear()
        await self._close()
        await world.kill_tasks()
        await world.clock.sleep(downtime_seconds)
        await self._listen()
        for vm in list(world.fleet.vms.values()):
            if vm.state in {"Stopping", "Starting", "Migrating", "Rebooting", "Pausing", "Resuming"}:
                world.spawn_agent(world.correct_later(vm, job=None, kind=None, forced=False))
            if vm.state == "Stopped":
                others.watch_stopped(world, vm)

    def _schedule(self, fault: Fault) -> None:
        if fault.at is not None:
            self._world.spawn_agent(self._happen(fault, fault.at))

    async def _happen(self, fault: Fault, at: float) -> None:
        await self._world.clock.sleep(max(0.0, at - self._world.clock.age()))
        if not any(fault is armed for armed in self.faults):
            return
        match fault.kind:
            case "restart":
                await self.restart(fault.seconds)
            case "expire_sessions":
                self.expire_sessions()
            case "host_disconnect" | "host_reconnect":
                for host in self.hosts.values():
                    if not matches(fault.hosts, host.name, host.uuid):
                        continue
                    if fault.kind == "host_disconnect":
                        self.disconnect_host(host.uuid)
                    else:
                        self.reconnect_host(host.uuid)
            case _:
                for vm in list(self.vms.values()):
                    if matches(fault.vms, vm.name, vm.uuid):
                        others.act_by(self._world, fault, vm)

    def _hold_port(self) -> None:
        """Keep the port while nobody listens: a connection must be refused then, and not reach somebody else."""
        holder = _bound(self._host, self._port)
        self._holder = holder
        self._port = holder.getsockname()[1]

    async def _listen(self) -> None:
        app = self._front.application()
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_log,
            shutdown_timeout=0.01,
            max_line_size=PARSER_LIMIT,
            max_field_size=PARSER_LIMIT,
        )
        await runner.setup()
        site = web.SockSite(runner, _bound(self._host, self._port), ssl_context=self._ssl, backlog=1024)
        await site.start()
        self._runner = runner
        self._world.up.set()

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        if runner.server is not None:
            for connection in list(runner.server.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        await runner.cleanup()
        await asyncio.sleep(0)


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound but not listening; two of those may share a port until one listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1" if host == "localhost" else host, port))
    except BaseException:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
