"""The benchmarks' page: `make bench` measures in a few minutes, `make bench-full` with ten times the VMs too.

Prints what it writes to `docs/benchmarks.md`: machine, versions and commit, then each table with what it must reach. Ratios
of one run are what to read; the same figures on another day's machine are another run.
"""

import argparse
import datetime
import importlib.metadata
import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import grid, peers, scale, stack, where

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
LIBRARIES = ("aiohttp", "anyio", "pydantic", "structlog")
SMALL, LARGE = 1_000, 10_000
GRID_WORDS = """\
## The order of work

The program's own lanes in virtual time over the grids G (bounded durations) and Z (a few very long ones), fixed seeds. Each
figure is the makespan over a bound that no order can beat; *known* means that earlier runs' durations stand in the journal,
within ± 10 %. The last column is how much any run exceeds its bound, in its longest VM. Every case:
`python -m benchmarks.grid`.
"""
DECISION_WORDS = """\
A decision is what the lanes do for one VM, its start and its completion together, at 1000 hosts with 500 in flight; the time
is of Python, the least of nine rounds that take turns. The last row never changes but with the machine: what another page
says of decisions is to be read against its own.
"""
STACK_WORDS = """\
## The whole stack

{vms} VMs that take 5 to 45 s (mean 25 s), {in_flight} in flight, against the simulated node in time that is compressed
{scale:g} times, with journal and JSON log as in any run. Latency is from a job's end at the node until its VM's outcome
stands here; makespan and latency are of the node's own record. Bare aiohttp asks for as many answers again in the same
process, each at the moment at which the run asked for it, and does nothing with them. Start-up is a median over rounds that
alternate with an interpreter that does nothing.
"""
SCALE_WORDS = """\
## Many VMs

The most memory that one `orchestrator run` ever holds, 2000 VMs in flight, with journal, log and report; and the CPU that
resolving a filter takes beyond that of receiving its pages, the median of three rounds that take turns.
"""
WHERE_WORDS = """\
## Where the client's time goes

One run of {vms} VMs, {in_flight} in flight, under a profiler that counts CPU, not waiting; the profiler itself makes code of
many small calls look dearer than it is.
"""
TRIED_WORDS = """\
What has paid: one word per change of state instead of polling (from 5.4 to 2.4 requests a VM); cheaper copies of the stop's
state, its text and a plain mailbox for what is seen of a job (under the profiler a third of what is done for each VM in
flight); inventories that are made only when they are looked at, and timestamps that are read once (a tenth of the client).

Tried without gain, or not worth it: switching the garbage collector off while a filter is resolved (nothing, once rows are
slim); reading pages with a typed reader that skips what is not needed (half the time in isolation, on real pages a third
less; asking the node for the fields that are needed made it needless); ranking a host anew at every end of its VMs (it must
be done for the first few: left out, one run in some thousands ends late; after eight it gains nothing); keeping descriptions
of plan keys out of the models (a twentieth of the start-up of `validate`, hardly more than the noise); an idle garbage
collector and no search for plugins at start-up (within the noise; an end without clean-up would save a tenth and could lose
what a stream still holds). What keeps `validate` from being quick is pydantic: importing it alone takes seven to ten times
as long as an interpreter that does nothing.
"""
PEERS_WORDS = """\
## Beside what people use today

{vms} VMs that take {least:g} to {longest:g} s, {in_flight} in flight, in real time: each tool on a simulated node of its own
with the same fleet, one after the other (the serial loop beside them, for it mostly waits). Makespan is from the first stop
that the node accepted to the last that ended; requests, and the most of them in one second, are the node's own record; CPU
and memory are of the tool and everything it starts. The program keeps its journal, looks at every VM again afterwards and
writes its report; the others do none of that. The last three columns are of a second run, among faults: {bad} VMs, some of
which refuse, answer late, are lost by a broken connection, a 429, a forgotten job or a proxy's page, hang, or are started
again by HA. What each tool says is held against the VM's state 40 s later: said to be off and is on, or the other way
round, is wrong.
"""


def commit() -> str:
    """Which text was measured, in words."""
    try:
        head, changes = (
            subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S607
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "not known"
    return f"{head}, with changes that are not in it" if changes else head


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def origin() -> str:
    """Machine, versions, commit and day."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit()}. {os.cpu_count()} cores ({processor()}), "
        f"{memory:.0f} GiB, {platform.system()}; Python {platform.python_version()}, {versions}, "
        f"SQLite {sqlite3.sqlite_version}."
    )


def parts(*, full: bool, profiled: int) -> Iterator[str]:
    """The page, a part as soon as it is measured. `profiled`: VMs of the run under the profiler."""
    command = "make bench-full" if full else "make bench"
    if profiled != (LARGE if full else 2 * SMALL):
        command += f" PROFILED={profiled}"
    yield f"# Benchmarks\n\nWritten by `{command}`: {origin()}\n"
    results = grid.results([SMALL, LARGE] if full else [SMALL], seeds=15)
    yield GRID_WORDS + "\n" + "\n".join(grid.rows(results)[0]) + "\n"
    micros = {f"{name}, us": cost for name, cost in grid.decisions([LARGE, 10 * LARGE]).items()}
    must = {name: grid.DECISION_MUST for name in micros if not name.startswith(grid.YARDSTICK)}
    yield DECISION_WORDS + "\n" + "\n".join(stack.rows(micros, must)) + "\n"
    for vms in (2 * SMALL, LARGE) if full else (2 * SMALL,):
        size = stack.Size(vms, 500, 4.0)
        words = STACK_WORDS.format(vms=f"{vms:,}".replace(",", " "), in_flight=size.in_flight, scale=size.time_scale)
        yield words + "\n" + "\n".join(stack.rows(stack.measure(size))) + "\n"
    size = stack.Size(profiled, 500, 2.0)
    words = WHERE_WORDS.format(vms=f"{profiled:,}".replace(",", " "), in_flight=size.in_flight)
    yield words + "\n" + "\n".join(where.rows(where.measure(size))) + "\n\n" + TRIED_WORDS
    yield SCALE_WORDS + "\n" + "\n".join(stack.rows(scale.measure(full=full), scale.MUST)) + "\n"
    found = peers.measure(full=full)
    good = peers.good_night(full=full)
    guest = good.scenario.vms[0].guest.shutdown
    words = PEERS_WORDS.format(
        vms=found[0][1].vms, least=guest.low, longest=guest.high, in_flight=good.in_flight, bad=found[0][2].vms
    )
    yield words + "\n" + "\n".join([*peers.rows(found), "", *peers.better(found)]) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="ten times the VMs too")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write it")
    parser.add_argument("--profiled", type=int, metavar="VMS", help="VMs of the run under the profiler")
    options = parser.parse_args()
    written = []
    for part in parts(full=options.full, profiled=options.profiled or (LARGE if options.full else 2 * SMALL)):
        print(part, flush=True)
        written.append(part)
    options.page.write_text("\n".join(written), "utf-8")
    print(f"written to {options.page.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
