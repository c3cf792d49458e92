"""The whole stack against the simulated node: what is lost between scheduler and wire, and what it costs node and client.

One run in compressed time. What truly happened is read from the node's own record: when each stop was accepted and when it
ended there. The pure scheduler plays the same durations; bare aiohttp sends the same reads again, in the same process.
"""

import argparse
import asyncio
import hashlib
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anyio

from benchmarks.journal import Meter, check, node
from orchestrator import app
from orchestrator.engine.estimates import Estimates
from orchestrator.engine.schedule import Lanes, SlotLimits, Slots
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.event import Event
from orchestrator.model.target import VmRow
from orchestrator.observe.logs import log_listener
from orchestrator.plan.load import PlanFile, plan_from_text
from orchestrator.settings import ConnectionSettings
from orchestrator.simulator import ClusterSpec, Scenario, VmGroup
from orchestrator.simulator import Guest as SimulatedGuest
from orchestrator.simulator.spread import between

PER_HOST, CONNECTIONS = 5, 50
MUST = {
    "makespan over the pure scheduler's": 1.05,
    "requests a VM": 2.5,
    "latency, mean, simulated s": 1.0,
    "latency, p95, simulated s": 3.0,
    "client CPU over bare aiohttp": 1.6,
    "start-up of --help over python -c pass": 10.0,
    "start-up of validate over python -c pass": 10.0,
}
"""What each figure must reach, at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run; `time_scale` is simulated seconds a second."""

    vms: int
    in_flight: int
    time_scale: float


def fleet(size: Size) -> Scenario:
    """Guests that obey within 5 to 45 s, mean 25 s, ten of them on each host."""
    guest = SimulatedGuest(shutdown=between(5, 45))
    hosts = max(2, size.vms // 10, -(-size.in_flight // PER_HOST))
    group = VmGroup(name="vm-{n:06}", count=size.vms, nics=2, data_volumes=1, guest=guest)
    return Scenario(clusters=(ClusterSpec(name="rack", hosts=hosts),), vms=(group,))


def plan(folder: Path, size: Size) -> PlanFile:
    """Stop everything, in time that is compressed as much as the node's."""
    cut = round(60_000 / size.time_scale)
    text = {
        "version": 1,
        "name": "stack",
        "targets": {"where": [["type=UserVm"]]},
        "stop": {"power_cut_after": f"{cut}ms", "grace_timeout": f"{cut * 4}ms"},
        "limits": {"concurrency": size.in_flight, "per_host": PER_HOST, "requests_per_second": 2000},
        "verify": {"after": "0s"},
        "report": {"directory": str(folder / "reports")},
    }
    return plan_from_text(json.dumps(text), name="plan.json", folder=folder, json=True)


async def whole_run(folder: Path, size: Size, settings: ConnectionSettings) -> dict[str, float]:
    """One run, and what the node says of it."""
    known: dict[str, float] = {}

    def heed(event: Event) -> None:
        if event.kind == "vm.outcome" and event.vm_uuid is not None:
            known[event.vm_uuid] = time.monotonic()

    journal = SqliteJournal(folder / "journal.sqlite")
    try:
        with (folder / "log").open("w", encoding="utf-8") as log, Meter() as meter:
            report = await app.run(
                plan(folder, size),
                settings,
                journal=journal,
                terminal=True,
                listeners=lambda run_id: [heed, log_listener(log, "json", color=False, run_id=run_id)],
            )
        check(report, size.vms)
    finally:
        await journal.close()
    record = await fetch_record(settings)
    stops = {stop["vm_uuid"]: stop for stop in record["stops"]}
    lasting = {uuid: stop["ended"] - stop["accepted"] for uuid, stop in stops.items()}
    hosts = {uuid: str(stop["host_uuid"]) for uuid, stop in stops.items()}
    taken = max(stop["ended"] for stop in stops.values()) - min(stop["accepted"] for stop in stops.values())
    late = sorted((known[uuid] - stop["ended"]) * size.time_scale for uuid, stop in stops.items())
    requests = [request for request in record["requests"] if request["status"] is not None]
    bare, burst = [await replay(settings, requests, paced=paced) for paced in (True, False)]
    return {
        "makespan over the pure scheduler's": taken / pure(hosts, lasting, size),
        "requests a VM": len(requests) / size.vms,
        "latency, mean, simulated s": statistics.mean(late),
        "latency, p95, simulated s": late[int(len(late) * 0.95)],
        "client CPU, ms a VM": meter.cpu / size.vms * 1000,
        "client CPU over bare aiohttp": meter.cpu / bare,
        "the same where bare aiohttp asks all at once": meter.cpu / burst,
        "peak requests a second": peak([request["at"] for request in requests]),
    }


def pure(hosts: Mapping[str, str], lasting: Mapping[str, float], size: Size) -> float:
    """The makespan of the scheduler alone on these durations."""
    slots = Slots(SlotLimits(size.in_flight, PER_HOST))
    lanes, flying, now = Lanes(slots, Estimates(scale=1 / size.time_scale)), list[tuple[float, str, VmRow]](), 0.0
    for uuid, host in hosts.items():
        lanes.add(VmRow(uuid, None, "UserVm", "Running", host, None, None))
    while True:
        while (row := lanes.take(now)) is not None:
            heapq.heappush(flying, (now + lasting[row.uuid], row.uuid, row))
        if not flying:
            return now
        now, uuid, ended = heapq.heappop(flying)
        slots.give_back(ended)
        lanes.done(ended.host_uuid, now - lasting[uuid], now)


def peak(moments: Sequence[float]) -> float:
    """The most requests within one second."""
    return float(max(Counter(int(at) for at in moments).values()))


async def fetch_record(settings: ConnectionSettings) -> dict[str, Any]:
    """What truly happened at the node."""
    root = settings.base_url().rsplit("/", 1)[0]
    async with aiohttp.ClientSession() as session, session.get(f"{root}/simulator/record") as answer:
        found: dict[str, Any] = await answer.json(content_type=None)
        return found


async def replay(settings: ConnectionSettings, requests: Sequence[Mapping[str, Any]], *, paced: bool) -> float:
    """CPU seconds of aiohttp alone for as many requests and answers: each read again, each PUT as its job's read.

    `paced`: at the moments at which the run sent them. Else as fast as they go: who is never woken in vain needs half.
    """
    base = settings.base_url()
    paths = [
        f"{base}{request['path'].partition('/zstack')[2] or request['path']}?{request['query']}"
        if request["method"] == "GET" and request["query"]
        else f"{base}/v1/api-jobs/{request['job'] or 'f' * 32}"
        for request in requests
    ]
    moments = [request["at"] - requests[0]["at"] for request in requests]
    queue = iter(paths)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        hashed = hashlib.sha512(b"password").hexdigest()
        body = {"logInByAccount": {"accountName": "admin", "password": hashed}}
        async with session.put(f"{base}/v1/accounts/login", json=body) as answer:
            token = json.loads(await answer.read())["inventory"]["uuid"]
        headers = {"Authorization": f"OAuth {token}"}

        async def fetch(path: str) -> None:
            async with session.get(path, headers=headers) as got:
                await got.read()

        async def work() -> None:
            for path in queue:
                await fetch(path)

        with Meter() as meter:
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for _ in range(0 if paced else CONNECTIONS):
                    group.create_task(work())
                for moment, path in zip(moments, paths, strict=True) if paced else ():
                    if (left := began + moment - time.monotonic()) > 0:
                        await asyncio.sleep(left)
                    group.create_task(fetch(path))
        async with session.delete(f"{base}/v1/accounts/sessions/{token}") as answer:
            await answer.read()
    return meter.cpu


def start_up(folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of --help and of validate over those of an interpreter that does nothing, round by round.

    As everywhere, the interpreter may keep what it has compiled; the first round, in which it does, is left out.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = folder / "small.yaml"
    path.write_text("version: 1\nname: small\ntargets: {where: [[name=a]]}\n", "utf-8")
    commands = {
        "bare": ["-c", "pass"],
        "--help": ["-m", "orchestrator", "--help"],
        "validate": ["-m", "orchestrator", "validate", str(path)],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env=environment)
            taken[name].append(time.perf_counter() - began)
    ratios = {
        name: statistics.median(mine / bare for mine, bare in zip(taken[name][1:], taken["bare"][1:], strict=True))
        for name in ("--help", "validate")
    }
    return {f"start-up of {name} over python -c pass": ratio for name, ratio in ratios.items()}


def measure(size: Size, rounds: int = 5) -> dict[str, float]:
    """Every figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with node(folder, fleet(size), size.time_scale) as settings:
            found = anyio.run(whole_run, folder, size, settings)
        return found | start_up(folder, rounds)


def rows(found: Mapping[str, float], musts: Mapping[str, float] = MUST) -> list[str]:
    """A line a figure, with what it must reach where that is said."""
    lines = ["| figure | measured | must reach |", "| --- | --- | --- |"]
    for name, value in found.items():
        must = musts.get(name)
        told = "" if must is None else f"≤ {must:g}" + ("" if value <= must else ", not reached")
        lines.append(f"| {name} | {value:.4g} | {told} |")
    return lines


def size_asked_for(about: str | None, usual: Size) -> Size:
    """From the command line; `usual` where it says nothing."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vms", type=int, default=usual.vms)
    parser.add_argument("--in-flight", type=int, default=usual.in_flight)
    parser.add_argument("--time-scale", type=float, default=usual.time_scale)
    return Size(**vars(parser.parse_args()))


def main() -> None:
    """Print the table."""
    print("\n".join(rows(measure(size_asked_for(__doc__, Size(2000, 500, 4.0))))))


if __name__ == "__main__":
    main()
