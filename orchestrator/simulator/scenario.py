"""What a scenario says: node, accounts, clusters, groups of VMs, faults. Unknown keys are refused."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestrator.simulator.faults import Fault, matches
from orchestrator.simulator.guests import Guest
from orchestrator.simulator.spread import Seconds, Spread, between

VmState = Literal[
    "Created", "Starting", "Running", "Stopping", "Stopped", "Rebooting", "Destroying", "Destroyed", "Migrating",
    "Expunging", "Pausing", "Paused", "Resuming", "VolumeMigrating", "VolumeRecovering", "Error", "NoState",
    "Unknown", "Crashed",
]  # fmt: skip
HaLevel = Literal["NeverStop", "OnHostFailure", "FaultTolerance"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeSettings(_Model):
    """The node itself. Durations are simulated seconds, unless they say real; sections are those of zstack-rest.md."""

    context_path: str = "/zstack"
    version: str = "5.2.1"
    zone: str = "Asia/Shanghai"
    clock_skew: float = 0.0
    """Real seconds that the node's wall clock is ahead; below zero it is behind."""
    location_host: str = "192.0.2.10:8080"
    """The host in `location`: wrong on purpose, as behind a NAT or a VIP (2.3)."""
    numbers: Literal["int", "float"] = "int"
    timestamps: Literal["jdk8", "jdk9", "jdk20"] = "jdk8"
    language: Literal["en", "zh"] = "en"
    """Of the details of errors (6.1)."""
    extra_fields: bool = False
    """Whether inventories carry fields that a client can't know."""
    host_slots: Annotated[int, Field(ge=1)] = 10
    acpi_wait: Seconds = 60.0
    agent: Spread = between(0.2, 0.8)
    """What every agent call takes besides its work."""
    cold: Spread = between(1, 2)
    start: Spread = between(3, 8)
    migrate: Spread = between(10, 30)
    migration_quantity: Annotated[int, Field(ge=1)] = 2
    """Migrations at a time that get the VMs off a host for maintenance (`kvm/vm.migrationQuantity`)."""
    maintenance_policy: Literal["StopVmOnMigrationFailure", "JustMigrate"] = "StopVmOnMigrationFailure"
    """What becomes of a VM that can't migrate off it (`host.maintenance.policy`)."""
    host_change: Spread = between(0.2, 0.8)
    """What a change of a host's state takes besides emptying it."""
    migrate_across_clusters: bool = False
    """Whether a VM may migrate to another cluster when its own has no host for it."""
    reconnect: Spread = between(5, 10)
    ha_delay: Spread = between(5, 30)
    """From Stopped to the start that HA makes (4.4)."""
    host_sync: Seconds = 10.0
    """How long a row that differs from the host stays wrong: after a restart, and after an error with a late success."""
    stop_ha_values: Literal["true_only", "true_or_false"] = "true_only"
    """true_only: 5.2.1, absent means that HA starts the VM again. true_or_false: newer, absent means true (3.1)."""
    api_timeout: Annotated[float, Field(gt=0)] = 1800.0
    """Real seconds, as the answer tells it to the client; `X-API-Timeout` replaces it."""
    migrate_api_timeout: Annotated[float, Field(gt=0)] = 3600.0
    """The same of a MigrateVm (2.6)."""
    session_life: Seconds = 7200.0
    max_sessions: Annotated[int, Field(ge=1)] = 500
    unique_session: bool = False
    result_life: Seconds = 10800.0
    """From submission; a finished job older than this polls as 404."""
    check_time_zone: bool = False
    """Whether an access key's Date is compared as an instant instead of as digits on the wall clock (1.3)."""
    access_keys: bool = True
    """False: the plug-in isn't there, and the scheme is refused with 400."""
    rate_limit: Annotated[int, Field(ge=1)] | None = None
    """Requests per real minute and address before 429; None as in 5.2.1, newer ones have 12000 (2.7)."""
    max_header_bytes: Annotated[int, Field(ge=512)] = 8192
    latency: Seconds = 0.0
    """Real seconds before every answer."""

    @field_validator("context_path")
    @classmethod
    def _path(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not value.startswith("/"):
            raise ValueError('write it with a leading slash, like "/zstack", or "" for none')
        return value

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone: write a name like Asia/Shanghai or UTC") from error
        return value


class AccessKey(_Model):
    """A key pair of an account; a disabled one is answered like an unknown one."""

    id: str
    secret: str
    enabled: bool = True


class User(_Model):
    """A sub-user: logs in through its account and has the account's rights."""

    name: str
    password: str


class Account(_Model):
    """Who may log in. An account that isn't `admin` sees only what it owns (7.4)."""

    name: str
    password: str = "password"  # noqa: S105  # the node's published default
    admin: bool = False
    may_stop: bool = True
    permission_error: Literal["ID.1002", "SYS.1006"] = "ID.1002"
    locked: bool = False
    access_keys: tuple[AccessKey, ...] = ()
    users: tuple[User, ...] = ()


class HostSpec(_Model):
    """A host. A Disconnected one can't stop a VM, whatever its state (4.2)."""

    name: str
    status: Literal["Connected", "Connecting", "Disconnected"] = "Connected"
    state: Literal["Enabled", "Disabled", "PreMaintenance", "Maintenance"] = "Enabled"

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class ClusterSpec(_Model):
    """A cluster with its hosts: a count (named after the cluster) or a list."""

    name: str
    zone: str = "zone-1"
    hosts: Annotated[int, Field(ge=1)] | tuple[HostSpec, ...] = 1

    def host_specs(self) -> tuple[HostSpec, ...]:
        """The hosts one by one."""
        if isinstance(self.hosts, int):
            return tuple(HostSpec(name=f"{self.name}-host-{n:02}") for n in range(1, self.hosts + 1))
        return self.hosts


class VmGroup(_Model):
    """VMs of one kind, dealt out in turn over their hosts. `{n}` in `name` is the number, as in `app-{n:03}`."""

    name: str
    count: Annotated[int, Field(ge=1)] = 1
    first: Annotated[int, Field(ge=0)] = 1
    clusters: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """Names of hosts; without, all hosts of `clusters`; without both, every Connected host."""
    state: VmState = "Running"
    powered: bool | None = None
    """Whether the guest really is on; None follows the state (Running, Paused, Unknown and what is between are on)."""
    type: str = "UserVm"
    platform: str = "Linux"
    cpus: Annotated[int, Field(ge=1)] = 4
    memory_gib: Annotated[int, Field(ge=1)] = 8
    nics: Annotated[int, Field(ge=0)] = 1
    data_volumes: Annotated[int, Field(ge=0)] = 0
    guest: Guest = Guest()
    pinned: bool = False
    """Whether something of its host's own, like a passed-through device, keeps it there: it can run nowhere else."""
    ha_level: HaLevel | None = None
    user_tags: tuple[str, ...] = ()
    system_tags: tuple[str, ...] = ()
    account: str = "admin"

    @field_validator("name")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            value.format(n=1)
        except (KeyError, ValueError, IndexError) as error:
            raise ValueError(f"{value!r} is no name pattern: write it like app-{{n:03}}") from error
        return value

    def names(self) -> list[str]:
        """The VMs' names in order; a pattern without `{n}` gets a number when the count asks for it."""
        if self.name.format(n=1) == self.name and self.count > 1:
            return [f"{self.name}-{n}" for n in range(self.first, self.first + self.count)]
        return [self.name.format(n=n) for n in range(self.first, self.first + self.count)]


ADMIN = Account(name="admin", admin=True)


class Scenario(_Model):
    """A node and its fleet. The same seed gives the same UUIDs, durations and faults."""

    seed: int = 1
    node: NodeSettings = NodeSettings()
    accounts: tuple[Account, ...] = (ADMIN,)
    clusters: Annotated[tuple[ClusterSpec, ...], Field(min_length=1)] = (ClusterSpec(name="cluster-1", hosts=2),)
    vms: tuple[VmGroup, ...] = ()
    faults: tuple[Fault, ...] = ()

    @model_validator(mode="after")
    def _names_hold(self) -> Self:
        clusters = [cluster.name for cluster in self.clusters]
        hosts = [host.name for cluster in self.clusters for host in cluster.host_specs()]
        accounts = [account.name for account in self.accounts]
        vms = [name for group in self.vms for name in group.names()]
        for what, names in (("cluster", clusters), ("host", hosts), ("account", accounts), ("VM", vms)):
            twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
            if twice:
                raise ValueError(f"{what} name {min(twice)!r} is given twice: every {what} needs its own")
        for number, group in enumerate(self.vms):
            for key, named, known in (
                ("clusters", group.clusters, clusters),
                ("hosts", group.hosts, hosts),
                ("account", (group.account,), accounts),
            ):
                for name in named:
                    if name not in known:
                        raise ValueError(f"vms.{number}.{key} names {name!r}; known are {', '.join(sorted(known))}")
        for number, fault in enumerate(self.faults):
            # A UUID can't be checked here: it is drawn when the fleet is built.
            if (
                fault.host is None
                or re.fullmatch(r"[0-9a-f]{32}", fault.host)
                or any(matches((fault.host,), h) for h in hosts)
            ):
                continue
            raise ValueError(f"faults.{number}.host names {fault.host!r}; known are {', '.join(sorted(hosts))}")
        return self

    @classmethod
    def fleet(cls, hosts: int = 12, vms: int = 300, seed: int = 1) -> Self:
        """A mixed fleet of that size in two clusters: most guests obey, 5 % ignore ACPI, some fail or are off."""
        if hosts < 1 or vms < 0:
            raise ValueError("a fleet has at least one host, and no fewer than 0 VMs")
        first = (hosts + 1) // 2
        racks = [ClusterSpec(name="rack-11", hosts=first)]
        if hosts > first:
            racks.append(ClusterSpec(name="rack-12", hosts=hosts - first))
        groups = []
        kinds = (
            ("mute-{n:04}", 0.05, {"guest": Guest(behaviour="ignores_acpi")}),
            ("stuck-{n:04}", 0.01, {"guest": Guest(behaviour="fails_grace_only")}),
            ("broken-{n:04}", 0.01, {"guest": Guest(behaviour="fails")}),
            ("off-{n:04}", 0.02, {"state": "Stopped"}),
            ("db-{n:04}", 0.15, {"guest": Guest(shutdown=between(10, 50)), "data_volumes": 1}),
            ("web-{n:04}", 0.30, {"guest": Guest(shutdown=between(2, 15))}),
        )
        left = vms
        for name, share, extra in kinds:
            if count := int(vms * share):
                groups.append(VmGroup.model_validate({"name": name, "count": count, **extra}))
                left -= count
        if left:
            app = Guest(shutdown=Spread(median=12, sigma=0.6, most=55))
            groups.append(VmGroup(name="app-{n:04}", count=left, guest=app))
        return cls(seed=seed, clusters=tuple(racks), vms=tuple(groups))

    @classmethod
    def demo(cls) -> "Scenario":
        """The demo scenario shipped with the package: 300 VMs on 12 hosts, with the troubles of a real fleet."""
        from orchestrator.simulator.load import load_scenario  # noqa: PLC0415  # load builds on this module

        return load_scenario(Path(str(files("orchestrator.simulator") / "scenarios" / "demo.yaml")))
