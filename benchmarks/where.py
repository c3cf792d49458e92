"""Where the client's time goes: one run against the simulated node under a profiler, summed up by whose code it is.

The profiler counts CPU of the loop's thread, waiting left out; a builtin's time is its caller's. The journal's writer is
another thread: its share is what the process used beside.
"""

import cProfile
import pstats
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio

from benchmarks.journal import check, node
from benchmarks.stack import Size, fleet, plan, size_asked_for
from orchestrator import app
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.observe.logs import log_listener
from orchestrator.settings import ConnectionSettings

OWNERS = (
    ("aiohttp and what it is made of", ("/aiohttp/", "/yarl/", "/multidict/", "/propcache/", "/http/cookies")),
    ("the client of the protocol", ("/orchestrator/clouds/",)),
    ("the engine: driving, watching, scheduling", ("/orchestrator/engine/", "/orchestrator/app.py")),
    ("the stop's state machine and its saving", ("/orchestrator/actions/",)),
    ("records and the journal's statements", ("/orchestrator/journal/", "/orchestrator/model/")),
    ("the log", ("/orchestrator/observe/", "/structlog/")),
    ("anyio", ("/anyio/",)),
    ("asyncio and selectors", ("/asyncio/", "/selectors.py", "/contextlib.py", "/weakref.py", "/_weakrefset.py")),
    ("pydantic", ("/pydantic/",)),
)
_REST, _WRITER = "everything else", "the journal's writer, its own thread"


async def _run(folder: Path, size: Size, settings: ConnectionSettings) -> tuple[cProfile.Profile, float, float]:
    """The profile, and CPU seconds of the process and of this thread."""
    journal = SqliteJournal(folder / "journal.sqlite")
    profile = cProfile.Profile(time.thread_time)
    try:
        with (folder / "log").open("w", encoding="utf-8") as log:
            process, thread = time.process_time(), time.thread_time()
            profile.enable()
            report = await app.run(
                plan(folder, size),
                settings,
                journal=journal,
                terminal=True,
                listeners=lambda run_id: [log_listener(log, "json", color=False, run_id=run_id)],
            )
            profile.disable()
            process, thread = time.process_time() - process, time.thread_time() - thread
        check(report, size.vms)
    finally:
        await journal.close()
    return profile, process, thread


def _owner(path: str) -> str | None:
    """Whose code it is; None for a builtin."""
    if path == "~":
        return None
    return next((name for name, parts in OWNERS if any(part in path for part in parts)), _REST)


def shares(profile: cProfile.Profile) -> dict[str, float]:
    """Parts of the loop's thread, by owner; they sum to 1."""
    sums: Counter[str] = Counter()
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (path, _, _), (_, _, own, _, callers) in stats.items():
        owner = _owner(path)
        if owner is not None:
            sums[owner] += own
            continue
        for (caller, _, _), (_, _, part, _) in callers.items():
            sums[_owner(caller) or _REST] += part
    total = sums.total()
    return {name: seconds / total for name, seconds in sums.items()}


def measure(size: Size) -> dict[str, float]:
    """Parts of the client's CPU, the largest first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with node(folder, fleet(size), size.time_scale) as settings:
            profile, process, thread = anyio.run(_run, folder, size, settings)
    found = {name: share * thread / process for name, share in shares(profile).items()}
    found[_WRITER] = 1 - thread / process
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def rows(found: dict[str, float]) -> list[str]:
    """A line an owner."""
    return ["| whose code | share |", "| --- | --- |", *(f"| {name} | {share:.0%} |" for name, share in found.items())]


def main() -> None:
    """Print the table."""
    print("\n".join(rows(measure(size_asked_for(__doc__, Size(10_000, 500, 2.0))))))


if __name__ == "__main__":
    main()
