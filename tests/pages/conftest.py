"""Pages in a real browser: Debian's Chromium, driven headless."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from orchestrator.model.report import RunReport
from orchestrator.reports import RENDERERS
from tests.cli.conftest import cli, node

__all__ = ["cli", "node"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = "ORCHESTRATOR_NEEDS_CHROMIUM"
"""Set in the environment where a missing browser is a failure."""


@dataclass(slots=True)
class Shown:
    """A page, what it asked of anybody, and what it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def rows(self) -> list[list[str]]:
        """The cells of the table's rows that are there."""
        found: list[list[str]] = self.page.evaluate(
            """[...document.querySelectorAll('#vms tbody tr[data-index]')]
            .map(row => [...row.cells].map(cell => cell.textContent))"""
        )
        return found

    def names(self) -> list[str]:
        """Of the VMs in those rows."""
        return [row[0] for row in self.rows()]

    def count(self) -> str:
        """What the heading says of how many are shown."""
        return self.page.locator("#vms .count").inner_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a file of tests; its driver keeps a loop running in this thread, where others' tests need none."""
    if CHROMIUM is None:
        if os.environ.get(NEEDED):
            pytest.fail("there is no Chromium: install it with 'apt-get install chromium'")
        pytest.skip("there is no Chromium: install it with 'apt-get install chromium'")
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


Show = Callable[..., Shown]


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Opens a report as a file, as from a mail; at the end, nothing was asked of anybody and nothing complained."""
    opened = list[Shown]()

    def open_report(report: RunReport, **context: Any) -> Shown:
        path = tmp_path / f"report-{len(opened)}.html"
        with path.open("w", encoding="utf-8", newline="") as out:
            RENDERERS["html"].render(report, out)
        page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}).new_page()
        shown = Shown(page)
        page.on("request", lambda request: shown.requests.append(request.url))
        page.on("console", lambda message: shown.complaints.append(message.text))
        page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        page.goto(path.as_uri())
        opened.append(shown)
        assert shown.requests == [path.as_uri()]
        shown.requests.clear()
        return shown

    yield open_report
    for shown in opened:
        assert shown.complaints == []
        assert shown.requests == []
        shown.page.context.close()
