"""The schema for editors agrees with the loader."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.plan.schema import plan_schema
from orchestrator.plan.tree import plain
from orchestrator.plan.yaml_tree import parse_yaml
from tests.unit.plan.examples import COLD, FULL, GOOD, JSON, MAINTENANCE, SMALL


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """The schema, itself checked."""
    schema = plan_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def read(text: str) -> Any:
    """The values of a YAML text, as an editor sees them."""
    root = parse_yaml(text).root
    assert root is not None
    return json.loads(json.dumps(plain(root)))


@pytest.mark.parametrize("name", GOOD)
def test_good_plans(validator: Draft202012Validator, name: str) -> None:
    """Every plan that loads is valid."""
    validator.validate(read(GOOD[name]))
    validator.validate(json.loads(JSON))


@pytest.mark.parametrize(
    "line",
    [
        "colour: red",
        "limits: {concurrency: 0}",
        "limits: {per_cluster: null}",
        "stop: {grace_timeout: 90}",
        "stop: {grace_timeout: 90 s}",
        "stop: {type: colder}",
        "stop: {colour: red}",
        "exclude: {where: [[]]}",
        "exclude: {where: []}",
        "exclude: {}",
        "guard: {endpoint: 'https://a:b@mn/'}",
        "guard: {protect: {colour: red}}",
        "report: {formats: [pdf]}",
    ],
)
def test_bad_plans(validator: Draft202012Validator, line: str) -> None:
    """Unknown keys, wrong words and numbers are refused."""
    assert not validator.is_valid(read(SMALL + line))


@pytest.mark.parametrize(
    "line",
    [
        "waves: []",
        "waves: [{where: [[a=b]]}]",
        "waves: [{name: a, limits: {node_outage: 5m}}]",
        "waves: [{name: a, budget: {failures: 5}}]",
        "waves: [{name: a, may_be_empty: true}]",
        "limits: {ramp: []}",
        "limits: {ramp: [0]}",
        "limits: {ramp: [5]}\nbudget: {per_host: 5%}",
        "budget: {failures: -1}",
        "budget: {failures: 5 %}",
        "window: {}",
        "window: {end: 2026-11-29T02:00:00}",
        "window: {end: 2026-11-29T02:00:00Z, at_end: stop}",
    ],
)
def test_bad_maintenance(line: str) -> None:
    """Wrong waves, steps, budgets and windows are refused."""
    assert not Draft202012Validator(plan_schema()).is_valid(read(SMALL + line))


def test_overrides_show_no_defaults() -> None:
    """An editor shows no default for what a wave leaves out, since that is as the plan says."""
    definitions: Any = plan_schema()["$defs"]
    Draft202012Validator(plan_schema()).validate(read(MAINTENANCE))
    assert definitions["StopOptions"]["properties"]["fallback"]["default"] == "cold"
    for name in ("WaveStop", "WaveLimits", "WaveBudget"):
        assert not [key for key, value in definitions[name]["properties"].items() if "default" in value]


def test_targets_may_not_be_empty(validator: Draft202012Validator) -> None:
    """`may_be_empty` is not offered for targets."""
    assert not validator.is_valid(read(SMALL + "  may_be_empty: true\n"))


def test_every_key_is_described() -> None:
    """An editor has a title and a description for every key, and the defaults in the plan's own spelling."""
    schema: Any = plan_schema()
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        for key, value in part["properties"].items():
            assert value["title"], key
            assert value["description"], key
            assert value.get("default", "") is not None, key
    assert schema["$defs"]["StopOptions"]["properties"]["grace_timeout"]["default"] == "4m"
    assert schema["required"] == ["version", "name", "targets"]


def test_written_defaults_are_the_defaults() -> None:
    """The examples that write everything use every key of the schema."""
    schema: Any = plan_schema()
    later = read(MAINTENANCE)
    written = read(FULL) | {key: later[key] for key in ("waves", "budget", "window", "notify")}
    written["stop"] |= read(COLD)["stop"]
    written["limits"] |= later["limits"]
    assert set(written) | {"evacuate"} == set(schema["properties"])  # which stands beside other targets
    sections = {"stop": "StopOptions", "limits": "Limits", "guard": "Guard", "budget": "Budget", "window": "Window"}
    for section, name in sections.items():
        assert set(written[section]) == set(schema["$defs"][name]["properties"])
    assert {key for one in written["notify"] for key in one} == set(schema["$defs"]["Notify"]["properties"])
    assert {key for wave in written["waves"] for key in wave} == set(schema["$defs"]["Wave"]["properties"])
