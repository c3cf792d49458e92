"""Scenario files and the fleets they make."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.simulator import Scenario, ScenarioError, SimulatedNode, load_scenario

DOCS = Path(__file__).parents[3] / "docs" / "simulator.md"


def test_documented_example_loads(tmp_path: Path) -> None:
    """The complete example in docs/simulator.md is a scenario."""
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    file = tmp_path / "example.yaml"
    file.write_text(blocks[0], "utf-8")
    scenario = load_scenario(file)
    assert len(scenario.faults) > 3
    assert SimulatedNode(scenario).vms


def test_docs_name_every_key() -> None:
    """No key of a scenario is missing in docs/simulator.md."""
    text = DOCS.read_text("utf-8")
    schema = Scenario.model_json_schema()
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part.get("properties", {})}
    assert not {key for key in keys if f"`{key}`" not in text}


def test_json_is_taken_by_extension(tmp_path: Path) -> None:
    """A .json file is read as JSON."""
    file = tmp_path / "small.json"
    file.write_text(json.dumps({"vms": [{"name": "a", "count": 2}]}))
    assert [vm.name for vm in SimulatedNode(load_scenario(file)).vms.values()] == ["a-1", "a-2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vmz: []", "vmz: is no key that a scenario knows"),
        ("vms: [{name: a, guest: {behaviour: sleeps}}]", "vms.0.guest.behaviour"),
        ("vms: [{name: a, clusters: [nowhere]}]", "names 'nowhere'; known are cluster-1"),
        ("vms: [{name: a}, {name: a}]", "VM name 'a' is given twice"),
        ("vms: [{name: a, guest: {shutdown: soon}}]", "write 90s, 1h30m"),
        ("node: {zone: Mars/Base}", "node.zone: 'Mars/Base' is no time zone"),
        ("faults: [{kind: restart}]", "faults.0: a restart fault needs `at`"),
        ("faults: [{kind: slow, at: 3}]", "`since` and `until`"),
        ("faults: [{kind: slow, host: h1}]", "`host` is where a vm_action"),
        ("faults: [{kind: vm_action, act: start, host: h9}]", "host names 'h9'; known are cluster-1-host-01"),
        ("vms: [", "line 1"),
        ("[]", "a scenario is a mapping"),
    ],
)
def test_errors_are_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    """What is wrong with a scenario is told in one line with file and key."""
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(file)
    message = str(caught.value)
    assert str(file) in message
    assert expected in message
    assert "\n" not in message


def test_missing_file_is_told() -> None:
    """A file that isn't there is a ScenarioError as well."""
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario("/nowhere/at/all.yaml")


def test_demo_has_its_fleet() -> None:
    """The demo has 300 VMs on 12 hosts, with the troubles that it promises."""
    node = SimulatedNode(Scenario.demo())
    vms = node.vms.values()
    assert (len(vms), len(node.hosts)) == (300, 12)
    assert {vm.cluster.name for vm in vms} == {"rack-11", "rack-12"}
    behaviours = Counter(vm.guest.behaviour for vm in vms)
    assert behaviours["ignores_acpi"] == 15
    assert behaviours["fails_grace_only"] == 3
    assert behaviours["fails"] == 2
    lost = node.host("rack-12-host-06")
    assert lost.status == "Disconnected"
    assert sum(vm.host is lost for vm in vms) == 14
    assert sum(vm.ha_level == "NeverStop" for vm in vms) == 2
    assert sum(vm.type == "ApplianceVm" for vm in vms) == 2


def test_same_seed_same_fleet() -> None:
    """Equal seeds give equal UUIDs, and different ones don't."""
    one, same, other = (SimulatedNode(Scenario.fleet(hosts=3, vms=40, seed=seed)) for seed in (5, 5, 6))
    assert list(one.vms) == list(same.vms)
    assert list(one.hosts) == list(same.hosts)
    assert not set(one.vms) & set(other.vms)


@pytest.mark.parametrize(("hosts", "vms"), [(1, 0), (1, 1), (12, 300), (5, 1001)])
def test_fleet_has_the_asked_size(hosts: int, vms: int) -> None:
    """--hosts and --vms are met to the VM."""
    node = SimulatedNode(Scenario.fleet(hosts=hosts, vms=vms))
    assert (len(node.hosts), len(node.vms)) == (hosts, vms)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "mn.example"])
def test_binds_loopback_only(host: str) -> None:
    """Nobody outside this machine can reach a simulated node."""
    with pytest.raises(ValueError, match="loopback only"):
        SimulatedNode(Scenario(), host=host)


def test_time_scale_is_above_zero() -> None:
    """Time runs forwards."""
    with pytest.raises(ValueError, match="time_scale"):
        SimulatedNode(Scenario(), time_scale=0)
