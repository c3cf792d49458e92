"""The report for a spreadsheet: one row a VM."""

import csv
from collections.abc import Iterator
from typing import TextIO

from orchestrator.model.report import RunReport, VmRecord
from orchestrator.model.safe import visible
from orchestrator.reports.explain import attempts_text, cause_of, seconds_text, words_of
from orchestrator.reports.hosts import HostNames

COLUMNS = (
    "uuid",
    "name",
    "type",
    "host_uuid",
    "host_name",
    "cluster_uuid",
    "wave",
    "outcome",
    "reason",
    "state_before",
    "state",
    "evidence",
    "seconds",
    "late",
    "check_after_start",
    "started_at",
    "finished_at",
    "elapsed_seconds",
    "attempts",
    "cause",
    "error_details",
    "migrated_to",
    "migrated_to_name",
)

# A spreadsheet runs a cell that starts with one of these; the wide forms are the same keys under an Asian
# input method.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class CsvReport:
    """RFC 4180 with a header; no cell is a formula, no cell breaks a line."""

    format = "csv"
    extension = "csv"

    def render(self, report: RunReport, out: TextIO) -> None:
        """The header, then one row a VM in the plan's order."""
        names = HostNames.of(report)
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        writer.writerows(_row(vm, names) for vm in report.vms())


def _row(vm: VmRecord, names: HostNames) -> Iterator[str]:
    yield _cell(vm.uuid)
    yield _cell(vm.name)
    yield _cell(vm.type)
    yield _cell(vm.host_uuid)
    yield _cell(names.name(vm.host_uuid))
    yield _cell(vm.cluster_uuid)
    yield _cell(vm.wave)
    yield _cell(vm.outcome)
    yield _cell(vm.reason)
    yield _cell(vm.state_before)
    yield _cell(vm.state)
    yield _cell(vm.evidence.text if vm.evidence else None)
    yield seconds_text(vm.evidence.seconds if vm.evidence else None)
    yield "true" if vm.late else "false"
    yield "true" if vm.check_after_start else "false"
    yield _cell(vm.started_at)
    yield _cell(vm.finished_at)
    yield seconds_text(vm.elapsed_seconds)
    yield _cell(attempts_text(vm.attempts))
    yield _cell(cause_of(vm.error))
    yield _cell(words_of(vm.error))
    yield _cell(vm.migrated_to)
    yield _cell(names.name(vm.migrated_to))


def _cell(text: str | None) -> str:
    """The text on one line, behind an apostrophe where a spreadsheet would compute it."""
    if not text:
        return ""
    shown = visible(text)
    return f"'{shown}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else shown
