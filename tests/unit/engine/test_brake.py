"""The brake's rule, in virtual time: when limits come down, by how much, and how they come back."""

import itertools
from dataclasses import dataclass, field

import pytest

from orchestrator.engine.brake import Brake, Move


@dataclass
class Road:
    """A brake of 100 requests a second and 200 VMs, fed with answers; `moves` keeps what it says, with the second."""

    flying: int = 100
    brake: Brake = field(default_factory=lambda: Brake(100.0, 200, now=0.0))
    now: float = 0.0
    moves: list[tuple[float, Move]] = field(default_factory=list)

    def drive(
        self, seconds: float, took: float, *, per_second: float = 20.0, too_many: bool = False, size: int = 100
    ) -> None:
        """Answers for a while, each of which took so long."""
        for _ in range(round(seconds * per_second)):
            self.now += 1 / per_second
            move = self.brake.heard(self.now, "GET /v1/api-jobs", size, took, too_many=too_many, flying=self.flying)
            if move is not None:
                self.moves.append((self.now, move))

    @property
    def kinds(self) -> list[str]:
        """What it did, in order."""
        return [move.kind for _, move in self.moves]


def test_a_quick_node_is_not_braked_for() -> None:
    """Answers that stay below a second are no reason, however many times slower than at first they are."""
    road = Road()
    road.drive(30, 0.01)
    road.drive(30, 0.9)
    assert not road.moves


def test_slow_answers_lower_both_limits_to_seven_tenths_of_what_was_used() -> None:
    """Twenty requests a second were used of a hundred allowed, so fourteen are left; and 70 VMs, of a hundred in flight."""
    road = Road()
    road.drive(10, 0.05)
    road.drive(3, 2.0)
    [(_, move)] = road.moves
    assert (move.kind, round(move.requests_per_second, 1), move.in_flight) == ("lowered", 14.0, 70)
    assert "usually 0.05 s" in move.why


def test_a_429_lowers_them_at_once() -> None:
    """One such answer in an interval is enough."""
    road = Road()
    road.drive(10, 0.05)
    road.drive(0.05, 0.01, too_many=True)
    road.drive(2.1, 0.05)
    _, move = road.moves[0]
    assert move.kind == "lowered"
    assert move.why.startswith("the node said 429 to 1 of ")


def test_where_little_is_asked_for_little_is_no_measure() -> None:
    """A 429 among two requests a second leaves a tenth of what was allowed, and what it takes to watch those in flight."""
    for flying, left in ((10, 10.0), (150, 15.0)):
        road = Road(flying=flying)
        road.drive(30, 0.05, per_second=2.0)
        road.drive(0.5, 0.05, per_second=2.0, too_many=True)
        road.drive(2.5, 0.05, per_second=2.0)
        assert road.moves[0][1].requests_per_second == left


def test_what_never_comes_is_slow_and_teaches_nothing() -> None:
    """Requests that time out, for minutes: the limits go down and stay there; short breaks lower nothing."""
    road = Road(flying=10)
    for _ in range(200):
        road.now += 1.0
        move = road.brake.heard(road.now, "GET", None, 30.0, too_many=False, flying=10)
        road.moves += [] if move is None else [(road.now, move)]
    assert set(road.kinds) == {"lowered"}
    assert road.brake.rate == 1.0
    quick = Road()
    for _ in range(200):
        quick.now += 0.1
        assert quick.brake.heard(quick.now, "GET", None, 0.01, too_many=False, flying=10) is None


def test_a_node_that_is_always_slow_is_measured_against_itself() -> None:
    """Where every answer takes three seconds from the first on, that is usual; thirteen are slow."""
    road = Road()
    road.drive(60, 3.0)
    assert not road.moves
    road.drive(30, 13.0)
    assert road.kinds[0] == "lowered"


def test_large_answers_are_not_measured_against_small_ones() -> None:
    """A page of a hundred inventories takes longer than a job's word, and that is no trouble of the node's."""
    road = Road()
    road.drive(10, 0.01)
    road.drive(20, 1.8, size=400_000)
    assert not road.moves


def test_what_left_before_a_lowering_says_nothing_of_it() -> None:
    """Answers that were under way come in late; they lower nothing a second time."""
    road = Road()
    road.drive(10, 0.05)
    road.drive(3, 2.0)
    road.drive(0.9, 2.0)
    assert road.kinds == ["lowered"]
    road.drive(2.0, 2.0)
    assert road.kinds == ["lowered", "lowered"]


def test_limits_rise_by_a_quarter_an_interval_to_the_plans_and_no_further() -> None:
    """The ceiling is the plan's; when both are there again, the brake is off and says so once."""
    road = Road()
    road.drive(10, 0.05)
    road.drive(3, 2.0)
    road.drive(60, 0.05)
    rates = [move.requests_per_second for _, move in road.moves]
    assert road.kinds == ["lowered"] + ["raised"] * (len(rates) - 2) + ["released"]
    assert all(later <= earlier * 1.2500001 for earlier, later in itertools.pairwise(rates))
    assert (rates[-1], road.moves[-1][1].in_flight, road.brake.on) == (100.0, 200, False)


def test_something_is_always_allowed() -> None:
    """However long it says 429, one request a second is left, and one VM."""
    road = Road()
    road.drive(120, 0.01, too_many=True)
    road.flying = 1
    road.drive(120, 0.01, too_many=True)
    assert (road.brake.rate, road.brake.in_flight) == (1.0, 1)


@pytest.mark.parametrize("rate", [0.01, 0.5])
def test_a_plan_below_the_floor_keeps_its_own_limit(rate: float) -> None:
    """The floor is no reason to send more than the plan allows."""
    brake = Brake(rate, 1, now=0.0)
    for second in range(1, 30):
        brake.heard(float(second), "GET", 10, 0.1, too_many=True, flying=1)
        assert brake.rate == rate
        assert brake.in_flight == 1


def test_some_slow_answers_neither_lower_nor_raise() -> None:
    """Between a quarter and half of them slow, things stay as they are."""
    road = Road()
    road.drive(10, 0.05)
    road.drive(3, 2.0)
    for _ in range(40):
        road.drive(0.1, 0.05)
        road.drive(0.05, 2.0)
    before = list(road.moves)
    for _ in range(100):
        road.drive(0.1, 0.05)
        road.drive(0.05, 2.0)
    assert road.moves == before
    assert road.brake.on
