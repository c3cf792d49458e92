"""The schema for editors agrees with the loader."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from orchestrator.plan.schema import plan_schema
from tests.unit.plan.examples import COLD, FULL, GOOD, JSON, SMALL


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """The schema, itself checked."""
    schema = plan_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def read(text: str) -> Any:
    """The values of a YAML text, as an editor sees them."""
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))


@pytest.mark.parametrize("name", GOOD)
def test_good_plans(validator: Draft202012Validator, name: str) -> None:
    """Every plan that loads is valid."""
    validator.validate(read(GOOD[name]))
    validator.validate(json.loads(JSON))


@pytest.mark.parametrize(
    "line",
    [
        "colour: red",
        "waves: []",
        "budget: {}",
        "window: {}",
        "limits: {ramp: [1]}",
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
    """Unknown and later keys, wrong words and numbers are refused."""
    assert not validator.is_valid(read(SMALL + line))


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
    written = read(FULL) | {"stop": read(FULL)["stop"] | read(COLD)["stop"]}
    assert set(written) == set(schema["properties"])
    for section, name in (("stop", "StopOptions"), ("limits", "Limits"), ("guard", "Guard")):
        assert set(written[section]) == set(schema["$defs"][name]["properties"])
