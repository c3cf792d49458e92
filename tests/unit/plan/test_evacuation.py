"""Plans that empty hosts: what they may say, and each slip at its place."""

from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from orchestrator.errors import PlanError
from orchestrator.plan.load import PlanFile, plan_from_text
from orchestrator.plan.model import Evacuate, HostSelection, Migrate, Plan, Targets
from orchestrator.plan.schema import plan_schema
from tests.unit.plan.examples import OTHER, UUID

HEAD = "version: 1\nname: a\n"
HOSTS = HEAD + "targets:\n  hosts: {names: [kvm-1]}\n"


def load(text: str) -> PlanFile:
    """The plan of this text."""
    return plan_from_text(text, name="plan.yaml", folder=Path())


def test_the_whole_section() -> None:
    """Hosts by condition, UUID and name, what becomes of their VMs and of themselves, and how VMs are migrated."""
    plan = load(
        HEAD + "targets:\n  hosts:\n"
        "    where: [[cluster.name=rack-12, managementIp~=10.0.12.%]]\n"
        f"    uuids: [{UUID.upper()}]\n    names: [kvm-1, kvm-2]\n"
        "evacuate:\n  vms: migrate_then_stop\n  hosts: disable\n"
        "  migrate: {timeout: 20m, per_host: 3, concurrency: 12}\n  host_timeout: 5m\n"
    ).plan
    assert plan.targets.hosts == HostSelection(
        where=(("cluster.name=rack-12", "managementIp~=10.0.12.%"),), uuids=(UUID,), names=("kvm-1", "kvm-2")
    )
    assert plan.evacuate == Evacuate(
        vms="migrate_then_stop",
        hosts="disable",
        migrate=Migrate(timeout=timedelta(minutes=20), per_host=3, concurrency=12),
        host_timeout=timedelta(minutes=5),
    )


def test_the_defaults_are_those_of_the_contract() -> None:
    """`evacuate: {}`: stop the VMs, maintain the hosts; a migration has 30 minutes, two a host, eight in all."""
    evacuate = load(HOSTS + "evacuate: {}\n").plan.evacuate
    assert evacuate is not None
    assert (evacuate.vms, evacuate.hosts) == ("stop", "maintain")
    assert (evacuate.migrate.timeout, evacuate.migrate.per_host, evacuate.migrate.concurrency) == (
        timedelta(minutes=30),
        2,
        8,
    )


@pytest.mark.parametrize(
    ("text", "line", "column", "piece"),
    [
        (HOSTS, 4, 3, "write `evacuate: {vms: stop"),
        (HEAD + "targets: {where: [[name=a]]}\nevacuate: {}\n", 4, 1, "no host is named"),
        (HOSTS + f"  uuids: [{OTHER}]\nevacuate: {{}}\n", 5, 3, "beside `hosts`"),
        (HOSTS + "  where: [[name=b]]\nevacuate: {}\n", 5, 3, "beside `hosts`"),
        (HEAD + "targets:\n  hosts: {}\nevacuate: {}\n", 4, 10, "no host is selected"),
        (HEAD + "targets: {}\n", 3, 10, "or `hosts` to empty hosts"),
        (HOSTS + "evacuate: {vms: move}\n", 5, 17, "migrate_then_stop"),
        (HOSTS + "evacuate: {migrate: {timeout: 0s}}\n", 5, 22, "longer than zero"),
        (HOSTS + "evacuate: {host_timeout: 0s}\n", 5, 12, "longer than zero"),
        (HOSTS + "evacuate: {migrate: {per_host: 0}}\n", 5, 32, "at least 1"),
        (HOSTS + "evacuate: {concurrency: 5}\n", 5, 12, "it belongs under `evacuate.migrate`"),
        (HEAD + "targets: {hosts: {where: [[name]]}}\nevacuate: {}\n", 3, 28, "without an operator"),
        (HEAD + "targets: {hosts: {names: [7]}}\nevacuate: {}\n", 3, 27, "quote it"),
        (HEAD + "targets: {hosts: [a, b]}\nevacuate: {}\n", 3, 18, "as in `hosts: {names: [rack-12-host-01]}`"),
        (HOSTS + "evacuate: migrate\n", 5, 11, "as in `evacuate: {vms: stop}`"),
        (HEAD + "targets: {hosts: {names: [a], may_be_empty: true}}\nevacuate: {}\n", 3, 31, "unknown key"),
    ],
)
def test_one_slip(text: str, line: int, column: int, piece: str) -> None:
    """Each slip is one problem at its place, with what would be right."""
    with pytest.raises(PlanError) as refused:
        load(text)
    (problem,) = refused.value.problems
    assert (problem.line, problem.column) == (line, column), problem
    assert piece in problem.message


def test_rules_hold_without_a_file() -> None:
    """What validate refuses in a file is refused in Python too."""
    hosts = HostSelection(names=("kvm-1",))
    for targets, evacuate in (
        (Targets(hosts=hosts), None),
        (Targets(where=(("name=a",),)), Evacuate()),
    ):
        with pytest.raises(ValidationError, match="host"):
            Plan(version=1, name="a", targets=targets, evacuate=evacuate)
    with pytest.raises(ValidationError, match="beside `hosts`"):
        Targets(hosts=hosts, uuids=(UUID,))
    with pytest.raises(ValidationError, match="no host is selected"):
        HostSelection()
    with pytest.raises(ValidationError, match="longer than zero"):
        Migrate(timeout=timedelta(0))


def test_the_schema_knows_it() -> None:
    """An editor offers `hosts` and `evacuate`, together only, and never beside VMs."""
    check = jsonschema.Draft202012Validator(plan_schema())
    good = {"version": 1, "name": "a", "targets": {"hosts": {"names": ["b"]}}, "evacuate": {"vms": "migrate"}}
    assert check.is_valid(good)
    assert not check.is_valid({key: value for key, value in good.items() if key != "evacuate"})
    assert not check.is_valid(good | {"targets": {"where": [["name=a"]]}})
    assert not check.is_valid(good | {"targets": {"hosts": {"names": ["b"]}, "where": [["name=a"]]}})
    assert not check.is_valid(good | {"targets": {"hosts": {}}})


def test_conditions_on_hosts_are_warned_of_too() -> None:
    """`~=` without a wildcard is as odd for a host as for a VM."""
    (warning,) = load(HEAD + "targets: {hosts: {where: [[name~=kvm]]}}\nevacuate: {}\n").warnings
    assert "no implicit wildcard" in warning.message
