"""Report renderers by format name: data in, text out, nothing else."""

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.reports.csv import CsvReport
from orchestrator.reports.html import HtmlReport
from orchestrator.reports.interface import Renderer
from orchestrator.reports.json import JsonReport, report_schema
from orchestrator.reports.junit import JunitReport
from orchestrator.reports.markdown import MarkdownReport
from orchestrator.reports.text import TextReport

_ALL: tuple[Renderer, ...] = (
    JsonReport(),
    HtmlReport(),
    MarkdownReport(),
    CsvReport(),
    JunitReport(),
    TextReport(),
)

RENDERERS: Mapping[str, Renderer] = MappingProxyType({renderer.format: renderer for renderer in _ALL})
"""`json`, `html`, `markdown`, `csv`, `junit`, `text`."""

__all__ = ["RENDERERS", "Renderer", "TextReport", "report_schema"]
