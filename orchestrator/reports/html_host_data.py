"""What the HTML report's script reads of the hosts: what was done to each, with everything that one of them has to say."""

from collections.abc import Callable
from typing import Any

from orchestrator.model.report import AttemptRecord, HostActionRecord, RunReport
from orchestrator.model.safe import clip
from orchestrator.reports.explain import cause_of, words_of
from orchestrator.reports.wording import host_tone

_NAME, _TEXT = 120, 300
"""Columns of names and of texts."""
_ATTEMPTS = 3
"""Of one thing that was done to a host, the last ones."""

Since = Callable[[str | None], float | None]
"""Seconds from the run's start."""


def hosts_data(report: RunReport, names: Callable[[str | None], str], since: Since) -> list[dict[str, Any]]:
    """Each host to which anything was to be done, in the report's order."""
    return [
        {
            "uuid": clip(host.uuid, 40),
            "name": clip(names(host.uuid), _NAME),
            "actions": [_action(action, since) for action in host.actions],
        }
        for host in report.hosts
        if host.actions
    ]


def _action(action: HostActionRecord, since: Since) -> dict[str, Any]:
    return {
        "action": action.action,
        "outcome": action.outcome,
        "tone": host_tone(action.outcome),
        "text": action.outcome.sentence if action.outcome is not None else "",
        "from": since(action.started_at),
        "to": since(action.finished_at),
        "evidence": clip(action.evidence or "", _TEXT),
        "before": clip(action.state_before or "", _NAME),
        "state": clip(action.state or "", _NAME),
        "cause": clip(cause_of(action.error), _TEXT),
        "error": clip(words_of(action.error), _TEXT),
        "attempts": [_attempt(attempt, since) for attempt in action.attempts[-_ATTEMPTS:]],
        "left_out": max(0, len(action.attempts) - _ATTEMPTS),
    }


def _attempt(attempt: AttemptRecord, since: Since) -> dict[str, Any]:
    return {
        "type": attempt.type,
        "reason": attempt.reason,
        "result": attempt.result,
        "sent": since(attempt.sent_at),
        "ended": since(attempt.ended_at),
        "timeout": attempt.api_timeout_seconds,
        "job": clip(attempt.job_uuid, 40),
        "cause": clip(cause_of(attempt.error), _TEXT),
        "error": clip(words_of(attempt.error), _TEXT),
    }
