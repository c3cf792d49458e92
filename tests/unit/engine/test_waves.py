"""Waves and ramps: the order holds, a step is never overrun, and every target is accounted for whatever ends when."""

import graphlib
import random
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.waves import ClosedOff, Decision, Finished, Opened, Wave, Waves
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.plan.quantities import Quantity
from tests.unit.engine.amounts import quantity

FAILURES = {Outcome.FAILED, Outcome.UNKNOWN}
amounts = st.builds(quantity, count=st.integers(0, 6)) | st.builds(quantity, share=st.fractions(0, 1, max_denominator=20))


@st.composite
def graphs(draw: st.DrawFn) -> list[Wave]:
    """Up to six waves in any order of writing, each after any of those before it."""
    waves: list[Wave] = []
    for number in range(draw(st.integers(1, 6))):
        vms = tuple(f"{number}-{place}" for place in range(draw(st.integers(0, 8))))
        waves.append(
            Wave(
                f"w{number}",
                vms,
                after=tuple(sorted(draw(st.sets(st.sampled_from([wave.name for wave in waves]))))) if waves else (),
                settled=frozenset(draw(st.sets(st.sampled_from(vms), max_size=3))) if vms else frozenset(),
                ramp=tuple(draw(st.lists(amounts, max_size=4))),
                per_wave=draw(st.none() | amounts),
            )
        )
    return draw(st.permutations(waves))


@dataclass
class Walk:
    """A run by chance, with a record of its own of all that was told and answered."""

    graph: list[Wave]
    chance: random.Random
    failing: float
    waves: Waves = field(init=False)
    decisions: list[Decision] = field(default_factory=list)
    through: list[str] = field(default_factory=list)
    ended: dict[str, Outcome] = field(default_factory=dict)
    excused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.waves = Waves(self.graph)
        self.take(self.waves.begin())

    def running(self) -> list[str]:
        """Let through, without an outcome."""
        return [uuid for uuid in self.through if uuid not in self.ended]

    def waiting(self, wave: Wave) -> list[str]:
        """Neither let through nor ended, in the plan's order."""
        return [vm for vm in wave.vms if vm not in self.through and vm not in self.ended and vm not in wave.settled]

    def failures(self, wave: Wave) -> int:
        """Failed or unknown, and not excused."""
        return sum(self.ended.get(vm) in FAILURES and vm not in self.excused for vm in wave.vms)

    def take(self, decisions: tuple[Decision, ...]) -> None:
        """Judge what was decided by what was told so far, and note it."""
        for decision in decisions:
            self.decisions.append(decision)
            if isinstance(decision, ClosedOff):
                wave = next(wave for wave in self.graph if wave.name == decision.wave)
                assert list(decision.vms) == self.waiting(wave), "what waits, no more and no less, in the plan's order"
                if decision.reason is Reason.RAMP:
                    assert decision.count == self.failures(wave)
                    assert decision.limit == wave.allowed(sum(vm in self.through for vm in wave.vms))
                assert decision.count is None or decision.limit is None or decision.count > decision.limit
                self.ended |= dict.fromkeys(decision.vms, Outcome.NOT_REACHED)

    def let_through(self, wave: Wave) -> None:
        """The next VM of a wave, after a look at whether it may."""
        through = [vm for vm in wave.vms if vm in self.through]
        for name in wave.after:
            before = next(other for other in self.graph if other.name == name)
            assert all(vm in self.ended or vm in before.settled for vm in before.vms), "the order is broken"
        if len(through) in wave.steps()[:-1]:
            assert all(vm in self.ended for vm in through), "a step opens though the one before has not ended"
            assert self.failures(wave) <= wave.allowed(len(through)), "a step opens after too many failures"
        assert len(through) < wave.to_send
        uuid = self.chance.choice(self.waiting(wave))
        self.waves.let_through(uuid)
        self.through.append(uuid)

    def end(self, uuid: str) -> None:
        """A VM in flight has its outcome; now and then that closes its host first."""
        outcome = Outcome.STOPPED_CLEAN
        if self.chance.random() < self.failing:
            outcome = self.chance.choice([Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_FOUND])
            if self.chance.random() < 0.3:
                gone = {uuid, *(vm for vm in self.through if self.chance.random() < 0.2)}
                self.excused |= gone
                self.waves.excuse(gone)
                self.lose([vm for wave in self.graph for vm in self.waiting(wave) if self.chance.random() < 0.2])
        self.ended[uuid] = outcome
        self.take(self.waves.ended(uuid, outcome))

    def lose(self, vms: list[str]) -> None:
        """VMs of a closed host, which will not start."""
        for vm in vms:
            if vm not in self.ended:
                self.ended[vm] = Outcome.NOT_REACHED
                self.take(self.waves.ended(vm, Outcome.NOT_REACHED))

    def step(self) -> bool:
        """Something happens; False where nothing can any more."""
        open_now = [wave for wave in self.graph if self.waves.allowance(wave.name)]
        running = self.running()
        if open_now and (not running or self.chance.random() < 0.6):
            self.let_through(self.chance.choice(open_now))
        elif running:
            self.end(self.chance.choice(running))
        else:
            return False
        return True


seeds = st.integers(0, 2**32)
rates = st.sampled_from([0.0, 0.1, 0.5])


@given(graphs(), seeds, rates, st.none() | st.integers(0, 30))
def test_every_target_is_accounted_for(graph: list[Wave], seed: int, failing: float, stop_after: int | None) -> None:
    """Whatever ends when, each VM has one outcome or is in one decision; order and steps hold; each wave ends once."""
    walk = Walk(graph, random.Random(seed), failing)
    steps = 0
    while steps != stop_after and walk.step():
        steps += 1
    if steps == stop_after:
        walk.take(walk.waves.stop(Reason.BUDGET))
        assert all(walk.waves.allowance(wave.name) == 0 for wave in graph)
        assert not any(walk.waiting(wave) for wave in graph)
        said = len(walk.decisions)
        while walk.step():
            pass
        assert not [d for d in walk.decisions[said:] if not isinstance(d, Finished)], "a stop is the last word"
    closed = [vm for decision in walk.decisions if isinstance(decision, ClosedOff) for vm in decision.vms]
    assert len(closed) == len(set(closed))
    assert not set(closed) & set(walk.through)
    for wave in graph:
        assert all((vm in walk.ended) != (vm in wave.settled) for vm in wave.vms)
    opened = [decision.wave for decision in walk.decisions if isinstance(decision, Opened)]
    finished = [decision.wave for decision in walk.decisions if isinstance(decision, Finished)]
    never = [d.wave for d in walk.decisions if isinstance(d, ClosedOff) and d.wave not in opened]
    assert Counter(opened) == Counter(finished)
    assert Counter([*opened, *never]) == Counter(wave.name for wave in graph)


@given(graphs(), seeds)
def test_without_failures_every_vm_gets_its_turn(graph: list[Wave], seed: int) -> None:
    """A run in which nothing fails lets every VM through, whatever the ramp."""
    walk = Walk(graph, random.Random(seed), 0.0)
    while walk.step():
        pass
    assert sorted(walk.through) == sorted(vm for wave in graph for vm in wave.vms if vm not in wave.settled)


@given(graphs(), seeds, rates, st.integers(0, 30))
def test_a_resumed_run_is_where_it_was(graph: list[Wave], seed: int, failing: float, steps: int) -> None:
    """Told what was let through and what ended, a new process allows what the first did, wave by wave."""
    walk = Walk(graph, random.Random(seed), failing)
    for _ in range(steps):
        walk.step()
    again = Waves(graph)
    decisions = again.begin(walk.through, walk.ended, walk.excused)
    assert not [vm for decision in decisions if isinstance(decision, ClosedOff) for vm in decision.vms]
    for wave in graph:
        assert again.allowance(wave.name) == walk.waves.allowance(wave.name)


@given(st.integers(0, 500), st.lists(amounts, max_size=6))
def test_steps_grow_to_the_whole_wave(total: int, ramp: list[Quantity]) -> None:
    """Steps only grow, each but the last is one the plan wrote, and the last is every VM to be sent; 0 is no step."""
    wave = Wave("w", tuple(map(str, range(total + 2))), settled=frozenset({"0", "1"}), ramp=tuple(ramp))
    steps = wave.steps()
    assert list(steps) == sorted(set(steps))
    assert steps[-1:] == ((total,) if total else ())
    reached = accumulate((min(total, amount.ceil_of(total)) for amount in ramp), max)
    assert set(steps) == {*reached, total} - {0}


def drive(waves: Waves, *told: tuple[str, Outcome]) -> list[Decision]:
    """Let each VM through and end it at once."""
    decisions: list[Decision] = []
    for uuid, outcome in told:
        waves.let_through(uuid)
        decisions += waves.ended(uuid, outcome)
    return decisions


def test_waves_without_after_start_side_by_side() -> None:
    """What comes after nothing is open at once."""
    waves = Waves([Wave("a", ("1",)), Wave("b", ("2", "3")), Wave("c", ("4",), after=("a", "b"))])
    assert waves.begin() == (Opened("a"), Opened("b"))
    assert [waves.allowance(name) for name in "abc"] == [1, 2, 0]
    assert waves.wave_of("3") == "b"
    assert drive(waves, ("1", Outcome.STOPPED_CLEAN), ("2", Outcome.STOPPED_COLD)) == [Finished("a")]
    assert drive(waves, ("3", Outcome.STOPPED_FORCED)) == [Finished("b"), Opened("c")]


def test_a_failed_wave_takes_all_that_come_after() -> None:
    """Followers are closed off in a line, through an empty wave and past a lenient one, each with the first cause."""
    waves = Waves(
        [
            Wave("a", ("1", "2")),
            Wave("b", (), after=("a",)),
            Wave("c", ("3",), after=("b",), per_wave=quantity(share=Fraction(1))),
            Wave("d", ("4",), after=("c", "e")),
            Wave("e", ("5",)),
        ]
    )
    waves.begin()
    assert drive(waves, ("1", Outcome.FAILED), ("2", Outcome.UNKNOWN)) == [
        Finished("a"),
        ClosedOff("b", Reason.WAVE, (), "a", 2, 0),
        ClosedOff("c", Reason.WAVE, ("3",), "a", 2, 0),
        ClosedOff("d", Reason.WAVE, ("4",), "a", 2, 0),
    ]
    assert drive(waves, ("5", Outcome.STOPPED_CLEAN)) == [Finished("e")]


def test_an_empty_wave_waits_for_its_turn_only() -> None:
    """A wave with nothing to send is done as it opens, and hands on to its followers."""
    done = Wave("b", ("2",), after=("a",), settled=frozenset({"2"}))
    waves = Waves([Wave("a", ("1",)), done, Wave("c", ("3",), after=("b",))])
    assert waves.begin() == (Opened("a"),)
    assert drive(waves, ("1", Outcome.ALREADY_STOPPED)) == [Finished("a"), Opened("b"), Finished("b"), Opened("c")]


def test_a_failed_canary_ends_the_wave() -> None:
    """Without per_wave one failure at a step closes off the rest, and the waves after it."""
    waves = Waves([Wave("a", ("1", "2", "3"), ramp=(quantity(count=1),)), Wave("b", ("4",), after=("a",))])
    waves.begin()
    assert waves.allowance("a") == 1
    assert drive(waves, ("2", Outcome.FAILED)) == [
        ClosedOff("a", Reason.RAMP, ("1", "3"), "a", 1, 0),
        Finished("a"),
        ClosedOff("b", Reason.WAVE, ("4",), "a", 3, 0),
    ]


def test_a_step_opens_only_when_it_was_used_up() -> None:
    """VMs that end before the rest of their step started open nothing early, nor does an outcome told twice."""
    waves = Waves([Wave("a", ("1", "2", "3"), ramp=(quantity(count=2),))])
    waves.begin()
    assert drive(waves, ("1", Outcome.STOPPED_CLEAN)) == []
    assert waves.ended("1", Outcome.FAILED) == ()
    assert waves.allowance("a") == 1
    assert drive(waves, ("2", Outcome.STOPPED_CLEAN)) == []
    assert waves.allowance("a") == 1


def test_a_closed_host_is_no_failed_step() -> None:
    """Failures of a closed host, of before and to come, end neither ramp nor wave; what is not reached there does."""
    ramped = Wave("a", ("1", "2", "3", "4"), ramp=(quantity(count=2),))
    waves = Waves([ramped, Wave("b", ("5",), after=("a",))])
    waves.begin()
    waves.let_through("1")
    waves.let_through("2")
    waves.ended("1", Outcome.FAILED)
    waves.excuse(["1", "2"])
    assert waves.ended("2", Outcome.FAILED) == ()
    assert waves.allowance("a") == 2
    assert waves.ended("3", Outcome.NOT_REACHED) == ()
    assert waves.allowance("a") == 1
    assert drive(waves, ("4", Outcome.STOPPED_CLEAN)) == [
        Finished("a"),
        ClosedOff("b", Reason.WAVE, ("5",), "a", 1, 0),
    ]


def test_what_was_open_before_a_resume_is_open_again() -> None:
    """A wave that had begun goes on, though the wave before it now counts more than it may."""
    waves = Waves([Wave("a", ("1",)), Wave("b", ("2", "3"), after=("a",))])
    decisions = waves.begin(["1", "2"], {"1": Outcome.FAILED})
    assert set(decisions) == {Opened("a"), Finished("a"), Opened("b")}
    assert waves.allowance("b") == 1


def test_a_stop_names_what_waits_in_every_wave() -> None:
    """A run-wide crossing closes off all waves for its own reason; what is in flight ends, and opens nothing."""
    waves = Waves([Wave("a", ("1", "2")), Wave("b", ("3",), after=("a",))])
    waves.begin()
    waves.let_through("2")
    assert waves.stop(Reason.BUDGET) == (ClosedOff("a", Reason.BUDGET, ("1",)), ClosedOff("b", Reason.BUDGET, ("3",)))
    assert waves.ended("2", Outcome.STOPPED_CLEAN) == (Finished("a"),)
    assert waves.stop(Reason.WINDOW) == ()


@pytest.mark.parametrize(
    "graph",
    [
        [Wave("a", ("1",)), Wave("b", ("1",))],
        [Wave("a", ("1", "1"))],
        [Wave("a", ("1",)), Wave("a", ("2",))],
        [Wave("a", ("1",), after=("z",))],
        [Wave("a", ("1",), settled=frozenset({"2"}))],
    ],
    ids=["a VM in two waves", "a VM twice", "a name twice", "an unknown name", "a stranger settled"],
)
def test_a_graph_that_no_plan_gives_is_refused(graph: list[Wave]) -> None:
    """No VM is in two waves, and every name is one wave's."""
    with pytest.raises(AssertionError):
        Waves(graph)


def test_a_circle_is_refused() -> None:
    """Waves that wait for each other would never start."""
    with pytest.raises(graphlib.CycleError):
        Waves([Wave("a", (), after=("b",)), Wave("b", (), after=("a",))])


def test_a_vm_before_its_turn_is_refused() -> None:
    """Neither a VM of a wave that is not open, nor one beyond the step, nor one that had its outcome may start."""
    waves = Waves(
        [Wave("a", ("1", "2", "3"), ramp=(quantity(count=1),), settled=frozenset({"3"})), Wave("b", ("4",), after=("a",))]
    )
    waves.begin()
    with pytest.raises(AssertionError):
        waves.let_through("4")
    with pytest.raises(AssertionError):
        waves.let_through("3")
    with pytest.raises(AssertionError):
        waves.ended("3", Outcome.FAILED)
    waves.let_through("1")
    with pytest.raises(AssertionError):
        waves.let_through("2")
