"""What a report renderer is."""

from typing import Protocol, TextIO

from orchestrator.model.report import RunReport


class Renderer(Protocol):
    """Writes one run in one format, VM by VM: memory does not grow with the number of VMs.

    `out` is opened by the caller as UTF-8 with `newline=""`, so that line ends arrive as written. What is
    written always encodes as UTF-8, whatever the names hold.
    """

    @property
    def format(self) -> str:
        """The name that the plan and `--format` use."""

    @property
    def extension(self) -> str:
        """The end of the file's name, without the dot."""

    def render(self, report: RunReport, out: TextIO) -> None:
        """Write the whole report; `report.vms()` may be walked more than once."""
