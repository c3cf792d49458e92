"""The events that a run tells are those that the reference lists."""

import re
from pathlib import Path

from orchestrator.model.event import EVENTS

ENGINE = Path(__file__).resolve().parents[3] / "orchestrator"


def test_every_event_that_is_told_is_listed() -> None:
    """Each name in the code that looks like an event's is one of the list, and each of the list stands in the code."""
    text = "".join(
        path.read_text("utf-8") for path in ENGINE.rglob("*.py") if path.name != "event.py" and "simulator" not in path.parts
    )
    told = set(re.findall(r'"((?:run|vms?|host|wave|budget|window|node|brake)\.[a-z_]+)"', text))
    moves = {f"brake.{kind}" for kind in ("lowered", "raised", "released")}  # named by the brake's move
    assert told | moves == set(EVENTS)
