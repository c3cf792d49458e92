"""When to look at a job: one bulk query of states tells whose job is worth a look, the job's own GET is the verdict.

A state is never the verdict (`Stopped` may come before the job ends, a failed stop leaves `Running`), so a change of
state only brings the look forward. Between changes each job is looked at now and then as a safety net: seldom while
the VM is Stopping (or Starting) by a job that the node has acknowledged, sooner while it is not, because a refused job
never becomes Stopping, and an unknown one may be somebody else's doing.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio
from anyio.abc import TaskGroup

from orchestrator.actions.machine import Looked, Saw
from orchestrator.clouds.interface import VM_CHUNK, Cloud, NodeAwayError, QueryRefusedError
from orchestrator.engine.clock import Clock
from orchestrator.engine.outage import NodeGoneError, Outage
from orchestrator.model.target import JobMissing, JobRunning

_TICK_SECONDS, _LEAST_TICK = 1.0, 0.05
_TICK_SHARE = 0.25
"""At most this part of the allowed requests goes into the bulk query, or new stops would wait for it."""
_LONGEST_PAUSE, _PAUSE_AT_WORK = 5.0, 60.0
"""Seconds between looks of the safety net: while the VM's state does not move, and while its own job is at work."""


_MAY_BE_DONE = frozenset({"Stopped", None, "Disabled", "Maintenance", "Enabled"})
"""States that may be what was asked for: a change of a host's state is over at once."""


class Mailbox:
    """What is seen of one job, in order, to be iterated over by one reader; it ends where the node is gone.

    Every change is said once, so nothing may be dropped: it holds whatever comes, which is a few words for each job.
    """

    __slots__ = ("_closed", "_letters", "_news")

    def __init__(self) -> None:
        self._letters: list[Looked | Saw] = []
        self._news: anyio.Event | None = None
        self._closed = False

    def post(self, letter: Looked | Saw) -> None:
        """Another word."""
        self._letters.append(letter)
        self._tell()

    def close(self) -> None:
        """No more comes."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    def __aiter__(self) -> "Mailbox":
        return self

    async def __anext__(self) -> Looked | Saw:
        await anyio.lowlevel.checkpoint_if_cancelled()
        while not self._letters:
            if self._closed:
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._news.wait()
        return self._letters.pop(0)


class _Followed:
    __slots__ = ("acknowledged", "at_work", "box", "busy", "job_uuid", "missing", "next_look", "pause", "state", "vm_uuid")

    def __init__(self, vm_uuid: str, job_uuid: str, now: float, at_work: str | None, *, acknowledged: bool) -> None:
        self.vm_uuid = vm_uuid
        self.at_work = at_work
        self.job_uuid = job_uuid
        self.acknowledged = acknowledged
        self.box = Mailbox()
        self.state: str | None = "?"
        self.pause = 0.0
        self.next_look = now
        self.busy = False
        self.missing = False

    @property
    def working(self) -> bool:
        """Does its state say that its own job is at work?"""
        return self.at_work is not None and self.state == self.at_work

    def longest_pause(self) -> float:
        """Seconds, at the pace of a real node."""
        return _PAUSE_AT_WORK if self.acknowledged and self.working else _LONGEST_PAUSE


class Watcher:
    """Follows every job in flight with few requests. `states` asks for the state words of many. `scale` compresses its pace
    (1 on a real node); `rate` says how many requests a second are allowed now.
    """

    def __init__(
        self,
        cloud: Cloud,
        states: Callable[[Sequence[str]], Awaitable[Mapping[str, str | None]]],
        outage: Outage,
        tasks: TaskGroup,
        clock: Clock,
        *,
        scale: float,
        rate: Callable[[], float],
    ) -> None:
        self._states = states
        self._clock = clock
        self._cloud = cloud
        self._outage = outage
        self._tasks = tasks
        self._scale = scale
        self._tick = max(_LEAST_TICK, _TICK_SECONDS * scale)
        self._rate = rate
        self._followed: dict[str, _Followed] = {}
        self._someone = anyio.Event()
        self._asking = False

    @contextmanager
    def follow(self, vm_uuid: str, job_uuid: str, at_work: str | None, *, acknowledged: bool) -> Iterator[Mailbox]:
        """What is seen of one job, each change of its VM's state once.

        `at_work`: the state while such a job is carried out; None for none. `acknowledged`: the node has said that it
        knows the job.
        """
        followed = _Followed(vm_uuid, job_uuid, self._clock.now() + 4 * self._tick, at_work, acknowledged=acknowledged)
        followed.pause = self._tick
        self._followed[job_uuid] = followed
        self._someone.set()
        try:
            yield followed.box
        finally:
            self._followed.pop(job_uuid, None)

    async def work(self) -> None:
        """Tick for as long as the run lasts; to be cancelled at its end."""
        while True:
            if not self._followed:
                self._someone = anyio.Event()
                await self._someone.wait()
            await anyio.sleep(max(self._tick, -(-len(self._followed) // VM_CHUNK) / (self._rate() * _TICK_SHARE)))
            if not self._asking and self._followed:
                self._asking = True
                self._tasks.start_soon(self._ask)
            now = self._clock.now()
            for entry in list(self._followed.values()):
                self._look_if_due(entry, now)

    async def _ask(self) -> None:
        """The bulk query; while the node takes none, jobs are looked at on their own."""
        followed = list(self._followed.values())
        uuids = list(dict.fromkeys(entry.vm_uuid for entry in followed))
        try:
            states = await self._outage.call(lambda: self._states(uuids))
        except NodeGoneError:
            for entry in list(self._followed.values()):
                entry.box.close()
                self._followed.pop(entry.job_uuid, None)
            return
        except QueryRefusedError:
            return
        finally:
            self._asking = False
        now = self._clock.now()
        for entry in followed:
            if entry.job_uuid in self._followed:
                self._consider(entry, states.get(entry.vm_uuid), now)
                self._look_if_due(entry, now)

    def _consider(self, entry: _Followed, state: str | None, now: float) -> None:
        if state == entry.state:
            return
        entry.box.post(Saw(now, state))
        first, entry.state = entry.state == "?", state
        entry.pause = self._tick
        # Seen first in some other state, the node has not begun yet, or has refused: give it a moment to say so.
        soon = 2 * self._tick if first and state not in _MAY_BE_DONE else 0.0
        entry.next_look = now + (entry.longest_pause() * self._scale if entry.working else soon)

    def _look_if_due(self, entry: _Followed, now: float) -> None:
        if now < entry.next_look or entry.busy:
            return
        entry.busy = True
        entry.next_look = now + entry.pause
        entry.pause = min(entry.pause * 2, max(entry.longest_pause() * self._scale, self._tick))
        self._tasks.start_soon(self._look, entry)

    async def _look(self, entry: _Followed) -> None:
        try:
            answer = await self._cloud.look(entry.job_uuid)
        except NodeAwayError:
            return  # the bulk query tells whether it is the node; else the job is looked at again
        finally:
            entry.busy = False
        was_missing, entry.missing = entry.missing, isinstance(answer, JobMissing)
        entry.acknowledged = not entry.missing
        if was_missing or not isinstance(answer, JobRunning):  # a job that turned up after all is news
            entry.box.post(Looked(self._clock.now(), entry.job_uuid, answer))
