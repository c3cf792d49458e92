"""A scenario file, YAML or JSON, to a Scenario; or one sentence about what is wrong with it."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from orchestrator.simulator.scenario import Scenario


class ScenarioError(ValueError):
    """A scenario can't be used: one sentence with the file, the key and what would be right."""


def load_scenario(path: str | PathLike[str]) -> Scenario:
    """Read and check a scenario file (`.json` is JSON, everything else YAML). Raises ScenarioError."""
    file = Path(path)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{file}: cannot be read: {error}") from error
    content = _parse(file, text)
    if not isinstance(content, dict):
        raise ScenarioError(f"{file}: a scenario is a mapping with keys like node, clusters, vms and faults")
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        raise ScenarioError(f"{file}: {_sentence(error)}") from error


def _parse(file: Path, text: str) -> Any:
    try:
        if file.suffix.lower() == ".json":
            return json.loads(text)
        return YAML(typ="safe", pure=True).load(text)
    except json.JSONDecodeError as error:
        raise ScenarioError(f"{file}, line {error.lineno}, column {error.colno}: no JSON: {error.msg}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise ScenarioError(f"{file}{place}: no YAML: {error.problem}") from error
    except YAMLError as error:
        raise ScenarioError(f"{file}: no YAML: {error}") from error


def _sentence(error: ValidationError) -> str:
    """The first error; a second one is only counted, for one clear sentence beats a page."""
    errors = error.errors(include_url=False)
    first = errors[0]
    # Union members and validators add steps that the file doesn't have; a type's name is no key.
    steps = [str(step) for step in first["loc"] if not str(step).startswith(("constrained", "tuple[", "function"))]
    key = ".".join(steps) or "the scenario"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "is no key that a scenario knows; docs/simulator.md lists them"
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{key}: {message}{more}"
