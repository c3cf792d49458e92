"""`report.json`: the whole report for programs, one VM a line."""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, TextIO

from pydantic import BaseModel

from orchestrator.model.report import ReportDocument, RunReport, VmRecord, vm_adapter
from orchestrator.model.safe import UNSEEN

# json escapes what is below a space. These are escaped as well: some tools break lines at them, terminals
# obey them, and a lone surrogate cannot be written as UTF-8 at all.
_RISKY = re.compile(UNSEEN.pattern.replace(r"\x00-\x1f", ""))


class JsonReport:
    """`report.json`, as `report_schema()` describes it."""

    format = "json"
    extension = "json"

    def render(self, report: RunReport, out: TextIO) -> None:
        """One line for the run and the totals each, then one for every cause, wave, host and VM."""
        out.write(f'{{"schema_version":1,\n"run":{_line(report.run)},\n"totals":{_text(report.totals)}')
        sections: tuple[tuple[str, Iterable[BaseModel | VmRecord]], ...] = (
            ("causes", report.causes),
            ("waves", report.waves),
            ("hosts", report.hosts),
            ("vms", report.vms()),
        )
        for name, records in sections:
            out.write(f',\n"{name}":[')
            before = "\n"
            for record in records:
                out.write(before + _line(record))
                before = ",\n"
            out.write("]" if before == "\n" else "\n]")
        out.write("}\n")


def report_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of `report.json`."""
    schema = ReportDocument.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _line(record: BaseModel | VmRecord) -> str:
    # What the node sent goes out as it came, so a value of an unexpected type is no reason for a warning.
    if isinstance(record, VmRecord):
        return _text(vm_adapter().dump_python(record, warnings=False))
    return _text(record.model_dump(warnings=False))


def _text(data: object) -> str:
    try:
        text = _dumps(data)
    except (ValueError, TypeError):
        text = _dumps(_strict(data))
    return _RISKY.sub(_escape, text)


def _dumps(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _strict(data: object) -> object:
    """The same data, with null for NaN and infinities, and text for what JSON has no words for."""
    match data:
        case dict():
            return {str(key): _strict(value) for key, value in data.items()}
        case list() | tuple():
            return [_strict(value) for value in data]
        case float():
            return data if math.isfinite(data) else None
        case None | bool() | int() | str():
            return data
        case _:
            return str(data)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    escaped = json.dumps(character)[1:-1]
    # An escaped lone surrogate is still refused by strict readers, so it becomes text that spells it out.
    return "\\" + escaped if "\ud800" <= character <= "\udfff" else escaped
