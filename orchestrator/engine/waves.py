"""Which wave is open, and how far its ramp lets it go (`interface.md` 4, "Waves" and "Ramp"). Pure.

Told what starts and what ends, `Waves` answers with decisions: a wave opened, is finished, or is closed off, its
remaining VMs `not_reached`. A decision stands, whatever leaves the counts later.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from graphlib import TopologicalSorter

from orchestrator.model.outcome import Outcome, Reason
from orchestrator.plan.quantities import Quantity

_FAILURES = frozenset({Outcome.FAILED, Outcome.UNKNOWN})


def ramp_steps(ramp: Iterable[Quantity], to_send: int) -> tuple[int, ...]:
    """How many of so many VMs each step lets through, all told. What the last step leaves is one step more."""
    steps: list[int] = []
    for size in (*(min(amount.ceil_of(to_send), to_send) for amount in ramp), to_send):
        if size > (steps[-1] if steps else 0):
            steps.append(size)
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave: the UUIDs of its targets in the plan's order, and the waves it comes `after`.

    `settled`: those with an outcome before the run (`already_stopped`, `skipped`, `not_found`). They hold up nothing, and
    ramp and `per_wave` are of the others, the VMs to be sent. `ramp`: empty for none. `per_wave`: None allows none.
    """

    name: str
    vms: tuple[str, ...]
    after: tuple[str, ...] = ()
    settled: frozenset[str] = frozenset()
    ramp: tuple[Quantity, ...] = ()
    per_wave: Quantity | None = None

    @property
    def to_send(self) -> int:
        """Its VMs without an outcome before the run."""
        return len(self.vms) - len(self.settled)

    def steps(self) -> tuple[int, ...]:
        """How many VMs each step lets through, all told. What the last step leaves is one step more."""
        return ramp_steps(self.ramp, self.to_send)

    def allowed(self, total: int) -> int:
        """How many of `total` VMs may go wrong."""
        return 0 if self.per_wave is None else self.per_wave.floor_of(total)


@dataclass(frozen=True, slots=True)
class Opened:
    """VMs of this wave may start."""

    wave: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Every VM of a wave that was opened has an outcome."""

    wave: str


@dataclass(frozen=True, slots=True)
class ClosedOff:
    """Nothing more of this wave starts; `vms` are `not_reached` for `reason`, and count so without being told as ended.

    `cause`: the wave whose `count` was more than its `limit`, the first of a line of waves; None for all three where it
    was no wave's count (`Waves.stop`).
    """

    wave: str
    reason: Reason
    vms: tuple[str, ...]
    cause: str | None = None
    count: int | None = None
    limit: int | None = None


Decision = Opened | Finished | ClosedOff


class _Phase(Enum):
    WAITING = auto()  # for the waves it comes after
    OPEN = auto()
    PASSED = auto()  # finished, and its followers may open
    BLOCKED = auto()  # its followers may not


@dataclass(slots=True)
class _Progress:
    wave: Wave
    steps: tuple[int, ...]
    waiting: int  # neither let through nor ended
    followers: list[str] = field(default_factory=list)
    phase: _Phase = _Phase.WAITING
    step: int = 0
    through: int = 0
    running: int = 0  # let through, without an outcome
    failures: int = 0
    not_reached: int = 0
    breach: tuple[str, int, int] | None = None  # wave, count, limit
    closed: Reason | None = None  # why nothing more of it starts


class Waves:
    """The waves of a run. They must name each other rightly and hold no VM twice; graphlib.CycleError on a circle.

    Where a failure closes its host, `excuse` comes first, then the host's waiting VMs as `not_reached`, then the failure.
    """

    def __init__(self, waves: Iterable[Wave]) -> None:
        self._waves: dict[str, _Progress] = {}
        self._wave_of: dict[str, str] = {}
        self._through: set[str] = set()
        self._ended: dict[str, Outcome] = {}
        self._excused: set[str] = set()
        for wave in waves:
            assert wave.name not in self._waves, f"two waves are named {wave.name}"
            self._waves[wave.name] = _Progress(wave, wave.steps(), wave.to_send)
        for name, progress in self._waves.items():
            wave = progress.wave
            assert set(wave.after) <= self._waves.keys(), f"wave {name} comes after one that does not exist"
            assert wave.settled <= set(wave.vms), f"wave {name} settles VMs it does not hold"
            for before in dict.fromkeys(wave.after):
                self._waves[before].followers.append(name)
            for uuid in wave.vms:
                assert uuid not in self._wave_of, f"{uuid} is in two waves, or twice in {name}"
                self._wave_of[uuid] = name
        TopologicalSorter({name: progress.wave.after for name, progress in self._waves.items()}).prepare()

    def to_send(self, wave: str) -> int:
        """How many of its VMs had no outcome before the run."""
        return self._waves[wave].wave.to_send

    def wave_of(self, uuid: str) -> str:
        """The name of the wave that holds this target."""
        return self._wave_of[uuid]

    def begin(
        self, through: Collection[str] = (), ended: Mapping[str, Outcome] | None = None, excused: Collection[str] = ()
    ) -> tuple[Decision, ...]:
        """Open what may open; once, before anything else is told.

        A run that is carried on gives the UUIDs an earlier process let through, with an outcome or without, the outcomes
        (`settled` ones left out), and those excused. What it had opened is open again, and is returned as such.
        """
        self.excuse(excused)
        for uuid in through:
            self._pass(uuid)
        for uuid, outcome in (ended or {}).items():
            self._end(uuid, outcome)
        for progress in self._waves.values():
            while progress.through > (progress.steps[progress.step] if progress.steps else 0):
                progress.step += 1
        return self._decide(self._waves)

    def join(self, uuid: str, wave: str) -> tuple[Decision, ...]:
        """A VM that has turned up belongs to this wave.

        One that comes when its wave has ended has its turn all the same, and what was decided of the waves after it stands;
        where nothing more of the wave starts, it is not reached.
        """
        progress = self._waves[wave]
        assert uuid not in self._wave_of, f"{uuid} is there already"
        self._wave_of[uuid] = wave
        progress.wave = replace(progress.wave, vms=(*progress.wave.vms, uuid))
        progress.steps = (*progress.steps[:-1], progress.steps[-1] + 1) if progress.steps else (1,)
        progress.waiting += 1
        if progress.closed is None:
            return ()
        return (ClosedOff(wave, progress.closed, self._close(progress, progress.closed)),)

    def allowance(self, wave: str) -> int:
        """How many more VMs of this wave may be let through now."""
        progress = self._waves[wave]
        if progress.phase in {_Phase.PASSED, _Phase.BLOCKED} and progress.closed is None:
            return progress.waiting  # those that have turned up since
        if progress.phase is not _Phase.OPEN or not progress.waiting:
            return 0
        return min(progress.steps[progress.step] - progress.through, progress.waiting)

    def let_through(self, uuid: str) -> None:
        """A VM starts. Its wave's allowance was not 0."""
        assert self.allowance(self._wave_of[uuid]) > 0, f"{uuid} starts before its turn"
        self._pass(uuid)

    def ended(self, uuid: str, outcome: Outcome) -> tuple[Decision, ...]:
        """A VM has its outcome, let through or not. The first one stands: one that is told again changes nothing."""
        if uuid in self._ended:
            return ()
        self._end(uuid, outcome)
        return self._decide((self._wave_of[uuid],))

    def excuse(self, uuids: Collection[str]) -> None:
        """Failures on a host that is closed leave the counts, whether they have been told or are to come."""
        for uuid in uuids:
            if uuid not in self._excused:
                self._excused.add(uuid)
                if self._ended.get(uuid) in _FAILURES:
                    self._waves[self._wave_of[uuid]].failures -= 1

    def stop(self, reason: Reason) -> tuple[Decision, ...]:
        """Nothing more starts in any wave: what waits is `not_reached` for that reason, and no wave opens any more."""
        decisions: list[Decision] = []
        for progress in self._waves.values():
            if progress.phase is _Phase.WAITING or progress.waiting:
                decisions.append(ClosedOff(progress.wave.name, reason, self._close(progress, reason)))
            progress.closed = progress.closed or reason
            if progress.phase is _Phase.WAITING:
                progress.phase = _Phase.BLOCKED
        return (*decisions, *self._decide(self._waves))

    def _pass(self, uuid: str) -> None:
        progress = self._waves[self._wave_of[uuid]]
        assert self._waits(uuid, progress.wave), f"{uuid} does not wait"
        self._through.add(uuid)
        progress.waiting -= 1
        progress.through += 1
        progress.running += 1

    def _waits(self, uuid: str, wave: Wave) -> bool:
        return uuid not in self._through and uuid not in self._ended and uuid not in wave.settled

    def _end(self, uuid: str, outcome: Outcome) -> None:
        progress = self._waves[self._wave_of[uuid]]
        if uuid in self._through:
            self._through.remove(uuid)
            progress.running -= 1
        else:
            assert self._waits(uuid, progress.wave), f"{uuid} had its outcome before the run"
            progress.waiting -= 1
        self._ended[uuid] = outcome
        if outcome is Outcome.NOT_REACHED:
            progress.not_reached += 1
        elif outcome in _FAILURES and uuid not in self._excused:
            progress.failures += 1

    def _close(self, progress: _Progress, reason: Reason) -> tuple[str, ...]:
        """End all that waits in a wave as not reached, from now on."""
        progress.closed = progress.closed or reason
        left = tuple(uuid for uuid in progress.wave.vms if self._waits(uuid, progress.wave))
        for uuid in left:
            self._end(uuid, Outcome.NOT_REACHED)
        return left

    def _decide(self, names: Iterable[str]) -> tuple[Decision, ...]:
        """What follows for these waves, and from that for the waves after them."""
        decisions: list[Decision] = []
        due = deque(names)
        while due:
            progress = self._waves[due.popleft()]
            if progress.phase is _Phase.WAITING:
                decisions += self._decide_waiting(progress)
            if progress.phase is _Phase.OPEN and not progress.running:
                decisions += self._decide_open(progress)
            if progress.phase in {_Phase.PASSED, _Phase.BLOCKED}:
                due.extend(name for name in progress.followers if self._waves[name].phase is _Phase.WAITING)
        return tuple(decisions)

    def _decide_waiting(self, progress: _Progress) -> Iterable[Decision]:
        before = [self._waves[name] for name in progress.wave.after]
        # What an earlier process opened stays open, though the counts may have changed since.
        if progress.through or all(wave.phase is _Phase.PASSED for wave in before):
            progress.phase = _Phase.OPEN
            yield Opened(progress.wave.name)
            return
        blocked = next((wave for wave in before if wave.phase is _Phase.BLOCKED), None)
        if blocked is not None and blocked.breach is not None:
            progress.phase = _Phase.BLOCKED
            progress.breach = blocked.breach
            yield ClosedOff(progress.wave.name, Reason.WAVE, self._close(progress, Reason.WAVE), *blocked.breach)

    def _decide_open(self, progress: _Progress) -> Iterable[Decision]:
        wave = progress.wave
        if progress.waiting and progress.through == progress.steps[progress.step]:
            limit = wave.allowed(progress.through)
            if progress.failures <= limit:
                progress.step += 1
            else:
                count = progress.failures
                yield ClosedOff(wave.name, Reason.RAMP, self._close(progress, Reason.RAMP), wave.name, count, limit)
        if not progress.waiting:
            count, limit = progress.failures + progress.not_reached, wave.allowed(wave.to_send)
            progress.breach = None if count <= limit else (wave.name, count, limit)
            progress.phase = _Phase.PASSED if progress.breach is None else _Phase.BLOCKED
            yield Finished(wave.name)
