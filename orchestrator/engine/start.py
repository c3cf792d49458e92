"""A run that is given before its window opens: it waits, and is resolved and guarded once more when the time has come."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import anyio

from orchestrator.engine.clock import Clock
from orchestrator.engine.preview import drift
from orchestrator.engine.records import Prepared
from orchestrator.engine.window import Times, closed_problem, in_words
from orchestrator.errors import NodeUnreachableError, RefusedError
from orchestrator.model.moment import rfc3339

Say = Callable[[str, str], None]
"""Tells a person one thing: the level (`info`, `warning`), and the words."""

_LATE_SECONDS = 60.0
"""A wait that ends later than this was slept through, or the clock was set."""
_PAUSE_SECONDS = 5.0


async def at_start(
    before: Prepared,
    ready: Callable[[], Awaitable[Prepared]],
    window: Times,
    clock: Clock,
    *,
    outage_seconds: float,
    say: Say,
) -> Prepared:
    """Wait for the start, and `ready` again: the second is what runs, the difference is among its warnings.

    A node that is away just then has `outage_seconds` to come back. Raises RefusedError where the window is over by then,
    NodeUnreachableError, and as `ready`.
    """
    assert window.start is not None, "there is something to wait for"
    say(
        "info",
        f"waiting for the window's start at {rfc3339(window.start)}, in {in_words(window.start - clock.unix())}; "
        "Ctrl-C leaves, and nothing is sent",
    )
    await clock.sleep_until(window.start)
    notes = []
    late = clock.unix() - window.start
    if (problem := closed_problem(window, clock.unix())) is not None:
        raise RefusedError(f"the machine slept through the whole window, or its clock was set: {problem}")
    if late > _LATE_SECONDS:
        notes.append(
            f"the window opened at {rfc3339(window.start)}, {in_words(late)} before this run could begin: the machine "
            f"slept, or its clock was set; the window still ends at {rfc3339(window.end)}"
        )
    prepared, waited = await _patiently(ready, clock, outage_seconds, say)
    if waited:
        notes.append(f"the node was away at the window's start: the run began {in_words(waited)} after it was first asked")
    refusals, warnings = drift(before.preview, prepared.preview)
    notes += [f"since the command was given: {change}" for change in (*refusals, *warnings)]
    for note in notes:
        say("warning", note)
    return warned(prepared, notes)


def warned(prepared: Prepared, warnings: Sequence[str]) -> Prepared:
    """With more warnings, for the question before the run as well as for its report."""
    shown = prepared.preview
    return replace(prepared, preview=shown.model_copy(update={"warnings": (*shown.warnings, *warnings)}))


async def _patiently(
    ready: Callable[[], Awaitable[Prepared]], clock: Clock, seconds: float, say: Say
) -> tuple[Prepared, float]:
    """Nobody is there to give the command again: a node that restarts at this very hour is waited for.

    The second value is for how many seconds it was; 0 where the node was there.
    """
    began, told = clock.now(), False
    while True:
        try:
            prepared = await ready()
        except NodeUnreachableError as error:
            if clock.now() >= began + seconds:
                raise
            if not told:
                say("warning", f"the window is open, and the node is waited for, {in_words(seconds)} at most: {error}")
                told = True
        else:
            return prepared, clock.now() - began if told else 0.0
        await anyio.sleep(_PAUSE_SECONDS)
