"""Structured logs: every event of a run under its stable name, one JSON object or one console line each."""

from collections.abc import Callable
from typing import Any, Literal, TextIO

import structlog

from orchestrator.model.event import EVENTS, Event, Listener
from orchestrator.model.safe import visible


def log_listener(stream: TextIO, form: Literal["console", "json"], *, color: bool, run_id: str) -> Listener:
    """A listener that logs to `stream`. Events say when a state changed, never that it was polled."""
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=True)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=color, pad_event_to=20)
    )
    log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[structlog.processors.add_log_level, _escape, renderer],
        wrapper_class=structlog.BoundLogger,
        run=run_id,
    )

    def listen(event: Event) -> None:
        if not EVENTS[event.kind].logged:
            return
        fields = {key: value for key, value in event.data.items() if value is not None}
        if event.vm_uuid is not None:
            fields["vm"] = event.vm_uuid
        method: Callable[..., Any] = log.warning if EVENTS[event.kind].warning else log.info
        method(event.kind, at=event.at, **fields)

    return listen


def _escape(_: Any, __: str, fields: Any) -> Any:
    """Names and words from the node are data: nothing in them may steer a terminal."""
    return {key: visible(value) if isinstance(value, str) else value for key, value in fields.items()}
