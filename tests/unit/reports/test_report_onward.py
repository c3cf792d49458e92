"""What a report says can be done next."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.model.outcome import HostOutcome
from orchestrator.model.report import RunReport, WindowRecord
from orchestrator.reports.onward import onward
from tests.evacuated import HOSTS, deed, disabled, evacuated, host, maintained, report_of, restored

RUN, RESTORE = "20261128T140000Z-7f3a", "'orchestrator restore 20261128T140000Z-7f3a'"
RETRY = f"'orchestrator retry {RUN}' takes up what is left"


WINDOW = WindowRecord(start=None, end="2026-11-28T15:00:00Z", at_end="finish", reserve_seconds=0.0)


def stopped(
    action: str = "stop",
    status: str = "finished",
    parent: str | None = None,
    window: WindowRecord | None = None,
    **totals: int,
) -> RunReport:
    """A run without hosts."""
    report = evacuated()
    changes = {"action": action, "status": status, "evacuate": None, "parent_run": parent, "window": window}
    run = report.run.model_copy(update=changes)
    return replace(report, run=run, hosts=(), totals={"targets": sum(totals.values()), **totals})


def emptied(*actions: Any, left: Any = (), **run: Any) -> RunReport:
    """A run that emptied a host without a VM."""
    return report_of([], (host(HOSTS[0], [], *actions, left_on_host=left),), **run)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (stopped(stopped_clean=2), f"Next: {RESTORE} starts what was stopped."),
        (stopped(stopped_cold=1, failed=1), f"Next: {RETRY}; {RESTORE} starts what was stopped."),
        (stopped(not_reached=1, skipped=3), f"Next: {RETRY}."),
        (stopped(window=WINDOW, not_reached=1), f"Next: {RETRY} (after the window's end with --window-end TIME)."),
        (stopped(already_stopped=1, not_found=1), ""),
        (stopped(status="running", failed=1), ""),
        (
            replace(stopped(parent="20261127T140000Z-0000", stopped_clean=1), first="20261126T140000Z-0000"),
            "Next: 'orchestrator restore 20261126T140000Z-0000' starts what was stopped.",
        ),
        (stopped("start", parent="20261127T140000Z-0000", started=2), ""),
        (
            stopped("start", parent="20261127T140000Z-0000", failed=2),
            "Next: 'orchestrator restore 20261127T140000Z-0000' takes up what is left.",
        ),
        (
            evacuated(),
            f"Next: {RETRY}, once 1 VM that is protected is off the hosts; "
            f"{RESTORE} opens the hosts again and starts what was stopped.",
        ),
        (emptied(disabled(), maintained(5), exit_code=0), f"Next: {RESTORE} opens the hosts again."),
        (emptied(deed("disable", HostOutcome.FAILED, 1)), f"Next: {RETRY}."),
    ],
)
def test_what_can_be_done_next(report: RunReport, words: str) -> None:
    """A retry where something is left, a restore where something was done; of a retry or a restore, with its run."""
    assert onward(report) == words


def test_a_restore_that_left_a_host_is_taken_up_again() -> None:
    """Its run is named, not itself."""
    deeds = deed("enable", HostOutcome.DONE, 1), deed("enable", HostOutcome.FAILED, 1)
    words = "Next: 'orchestrator restore 20261128T120000Z-0000' takes up what is left."
    assert onward(restored(*deeds, parent_run="20261128T120000Z-0000")) == words
