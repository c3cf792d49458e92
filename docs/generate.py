"""Reference pages made from the code. `--check` writes nothing and fails where a page is not what it would write."""

import re
import sys
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.main import cli
from orchestrator.model.event import EVENTS
from orchestrator.observe.metrics import METRICS
from orchestrator.plan.schema import plan_schema

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"


def commands() -> str:
    """Every command's own help."""
    parts = ["# Commands\n\nMade from the program's own help by `docs/generate.py`.\n"]
    context = click.Context(cli, info_name="orchestrator", max_content_width=100, terminal_width=100)
    parts.append(f"```text\n{cli.get_help(context)}\n```\n")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100)
        parts.append(f"## {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "\n".join(parts)


def plan() -> str:
    """Every key of a plan with type, default and meaning."""
    schema: dict[str, Any] = plan_schema()
    rows = ["# The plan file", "", "Made from the JSON Schema by `docs/generate.py`.", ""]
    rows += ["| key | default | meaning |", "| --- | --- | --- |"]
    rows += _rows(schema, schema, "")
    return "\n".join(rows) + "\n"


def _rows(schema: dict[str, Any], root: dict[str, Any], prefix: str) -> list[str]:
    rows = []
    for key, value in schema.get("properties", {}).items():
        spec = _resolved(value, root)
        default = spec.get("default")
        words = " ".join(str(spec.get("description", "")).split()).replace("|", "\\|")
        shown = "" if default is None else f"`{default}`".replace("|", "\\|")
        rows.append(f"| `{prefix}{key}` | {shown} | {words} |")
        if "properties" in spec:
            rows += _rows(spec, root, f"{prefix}{key}.")
        if "$ref" in spec.get("items", {}):
            rows += _rows(_resolved(spec["items"], root), root, f"{prefix}{key}[].")
    return rows


def _resolved(value: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    options = value.get("anyOf") or value.get("allOf") or [value]
    spec = next((option for option in options if option.get("type") != "null"), value)
    if "$ref" in spec:
        found: Any = root
        for part in spec["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        spec = found
    return {**spec, **{key: item for key, item in value.items() if key in {"description", "default"}}}


_EVENTS_HEAD = """\
# Events

Made from the code by `docs/generate.py`. These names and fields are what `--log-format json` writes, a line each, with `at`
(RFC 3339, UTC), `level`, `run` and, of a VM, `vm` (its UUID); a field without a value is left out. The journal keeps the
same, and `orchestrator show RUN VM` tells those of one VM. Names are not changed; new ones may come.
"""
_METRICS_HEAD = """\
# Metrics

Made from the code by `docs/generate.py`. `--metrics-file FILE` keeps them for a node exporter's textfile collector, written
anew at most every five seconds, whole or not at all; `--metrics-port PORT` serves them on this machine at `/metrics`. Each
has the label `run`, none the name of a VM. A resumed run counts the outcomes of its own process.
"""


def events() -> str:
    """Every event of a run, as logs have it."""
    rows = [_EVENTS_HEAD, "| event | level | says | fields |", "| --- | --- | --- | --- |"]
    for name, kind in EVENTS.items():
        fields = ", ".join(f"`{field}`" for field in kind.fields)
        rows.append(f"| `{name}` | {'warning' if kind.warning else 'info'} | {kind.sentence} | {fields} |")
    return "\n".join(rows) + "\n"


def metrics() -> str:
    """Every metric of a run."""
    rows = [_METRICS_HEAD, "| metric | type | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{name}` | {kind} | {text} |" for name, kind, text in METRICS]
    return "\n".join(rows) + "\n"


PAGES = {
    "reference/commands.md": commands,
    "reference/plan.md": plan,
    "reference/events.md": events,
    "reference/metrics.md": metrics,
}


def main() -> int:
    """Write the pages, or check them and the README's commands and links."""
    check = "--check" in sys.argv
    wrong = []
    for name, make in PAGES.items():
        path, text = HERE / name, make()
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong.append(f"{name} is not what the code says: run '.venv/bin/python docs/generate.py'")
    readme = README.read_text(encoding="utf-8")
    known = set(cli.list_commands(click.Context(cli)))
    named = re.findall(r"^orchestrator (\w+)", readme, re.M)
    wrong += [f"README names a command that is none: {word}" for word in named if word not in known]
    for page in [README, *HERE.rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not (page.parent / link).exists():
                wrong.append(f"{page.name}: dead link {link}")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
