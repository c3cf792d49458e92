"""The plan's JSON Schema (draft 2020-12), for editors. Generated from the models, so that the two cannot differ.

It refuses what a schema can refuse; `load_plan` also judges conditions, durations' bounds and what must hold
between keys.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from orchestrator.plan.durations import format_duration
from orchestrator.plan.fields import Section
from orchestrator.plan.model import Plan

_DEFINITION = "#/$defs/"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _PlanSchema(GenerateJsonSchema):
    """Leaves out null: in a plan a key is written with a value or not at all."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def plan_schema() -> dict[str, object]:
    """The schema of a plan file, with a title, a description and the default of each key."""
    schema: dict[str, Any] = Plan.model_json_schema(schema_generator=_PlanSchema)
    definitions = schema["$defs"]
    for model in _sections(Section):
        part = schema if model is Plan else definitions.get(model.__name__, {})
        for key, text in _descriptions(model).items():
            if key in part.get("properties", {}):
                part["properties"][key]["description"] = text
    _polish(schema)
    for name in ("WaveStop", "WaveLimits", "WaveBudget"):
        for value in definitions[name]["properties"].values():
            value.pop("default", None)  # what a wave leaves out is as the plan's, whatever the default
    definitions["Selection"]["anyOf"] = [{"required": [key]} for key in ("uuids", "uuid_files", "where")]
    definitions["HostSelection"]["anyOf"] = [{"required": [key]} for key in ("uuids", "names", "where")]
    of_vms = [{"required": [key]} for key in ("uuids", "uuid_files", "where")]
    definitions["Targets"]["oneOf"] = [
        {"required": ["hosts"], "not": {"anyOf": of_vms}},
        {"not": {"required": ["hosts"]}, "anyOf": of_vms},
    ]
    hosts = {"properties": {"targets": {"required": ["hosts"]}}}
    schema["if"], schema["then"], schema["else"] = (
        {"required": ["evacuate"]},
        hosts,
        {"properties": {"targets": {"not": {"required": ["hosts"]}}}},
    )
    _prune(schema)
    return {"$schema": DIALECT, **schema, "title": "ZStack orchestrator plan"}


def _sections(model: type[Section]) -> Iterator[type[Section]]:
    """A section, and those made from it."""
    yield model
    for made in model.__subclasses__():
        yield from _sections(made)


def _descriptions(model: type[Section]) -> dict[str, str]:
    """The text under each key of a section, those of the sections it is made from among them."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if not issubclass(part, Section):
            continue
        [body] = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(body, ast.ClassDef)
        for before, after in pairwise(body.body):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[key] = inspect.cleandoc(text)
    return found


def _prune(schema: dict[str, Any]) -> None:
    """Take out definitions that nothing refers to any more."""
    definitions = schema.pop("$defs")
    used: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for reference in re.findall(rf'"{re.escape(_DEFINITION)}(\w+)"', json.dumps(waiting.pop())):
            if reference not in used:
                used[reference] = definitions[reference]
                waiting.append(definitions[reference])
    schema["$defs"] = {name: used[name] for name in definitions if name in used}


def _polish(node: Any) -> None:
    """Make each key ready for an editor's tooltip; remove defaults of whole sections and empty lists, which say nothing."""
    if isinstance(node, dict):
        if "$ref" in node or node.get("default") == []:
            node.pop("default", None)
        if isinstance(node.get("description"), str):
            node["description"] = " ".join(node["description"].split())
        for key, value in node.get("properties", {}).items():
            value.setdefault("title", key.replace("_", " ").title())
        for value in node.values():
            _polish(value)
    elif isinstance(node, list):
        for value in node:
            _polish(value)
