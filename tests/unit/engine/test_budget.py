"""The failure budget: it speaks once, at the first count over its value, and a dead host counts for itself alone."""

import random
from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.budget import Budget, BudgetLimits, Crossing, Failure
from orchestrator.plan.quantities import Quantity
from tests.unit.engine.amounts import quantity

shares = st.integers(0, 1000).map(lambda tenths: Fraction(tenths, 1000))
amounts = st.builds(quantity, count=st.integers(0, 8)) | st.builds(quantity, share=shares)
limits = st.builds(
    BudgetLimits,
    failures=st.none() | amounts,
    per_host=st.none() | amounts,
    same_cause=st.none() | amounts,
    power_cuts=st.none() | amounts,
)
places = st.none() | st.sampled_from(["h1", "h2", "h3"])
failures = st.tuples(places, st.none() | st.sampled_from(["VM.1002", "SYS.1000"]))
fleets = st.lists(places, max_size=60)
stories = st.lists(failures | st.just("cut"), max_size=40)
Told = tuple[str | None, str | None] | str


def tell(budget: Budget, number: int, told: Told) -> tuple[Crossing, ...]:
    """One event of a story; the VM is named after its place in it."""
    if isinstance(told, str):
        return budget.power_cut(f"{number}")
    return budget.failed(f"{number}", *told)


class Naive:
    """What is counted, added up afresh from all that was told."""

    def __init__(self, limits: BudgetLimits, hosts: list[str | None]) -> None:
        self.limits = limits
        self.hosts = hosts
        self.told: list[Told] = []
        self.closed: set[str] = set()

    def over(self) -> dict[str, tuple[int, int]]:
        """Count and limit of all that is over now, by scope; hosts close as they are found over."""
        failed = [told for told in self.told if not isinstance(told, str)]
        found: dict[str, tuple[int, int]] = {}

        def check(scope: str, count: int, amount: Quantity | None, total: int) -> bool:
            if amount is None:
                return False
            number = Fraction(amount.number)
            exact = number * total / 100 if amount.is_share else number
            if count > exact:
                found[scope] = count, int(exact)
            return count > exact

        for host, count in Counter(host for host, _ in failed if host is not None).items():
            if check(f"host {host}", count, self.limits.per_host, self.hosts.count(host)):
                self.closed.add(host)
        counted = [(host, cause) for host, cause in failed if host not in self.closed]
        check("failures", len(counted), self.limits.failures, len(self.hosts))
        for cause, count in Counter(cause for _, cause in counted if cause is not None).items():
            check(f"cause {cause}", count, self.limits.same_cause, len(self.hosts))
        check("power_cuts", self.told.count("cut"), self.limits.power_cuts, len(self.hosts))
        return found


def scope_of(crossing: Crossing) -> str:
    """A name for what was crossed."""
    return crossing.kind if crossing.scope == "run" else crossing.scope


@given(limits, fleets, stories)
def test_crosses_at_the_first_count_over_its_value(limit: BudgetLimits, hosts: list[str | None], story: list[Told]) -> None:
    """After each event exactly that is told which is over its value and was not before, with count and limit."""
    budget = Budget(limit, hosts)
    naive = Naive(limit, hosts)
    known: set[str] = set()
    for number, told in enumerate(story):
        naive.told.append(told)
        over = naive.over()
        said = tell(budget, number, told)
        assert {scope_of(c): (c.count, c.limit) for c in said} == {s: over[s] for s in over.keys() - known}
        assert len({scope_of(c) for c in said}) == len(said)
        known |= over.keys()
        assert budget.closed == naive.closed
        assert (budget.final is not None) == any(not scope.startswith("host ") for scope in known)


@given(limits, fleets, stories)
def test_closing_a_host_makes_no_other_count_larger(limit: BudgetLimits, hosts: list[str | None], story: list[Told]) -> None:
    """The event that closes a host lowers or keeps every other count, and names just the failures that left."""
    budget = Budget(limit, hosts)
    for number, told in enumerate(story):
        before, causes, cuts = budget.failures, budget.causes, budget.power_cuts
        on_host = {host: budget.failures_on(host) for host in ("h1", "h2", "h3")}
        for crossing in tell(budget, number, told):
            if crossing.host is None:
                continue
            assert budget.failures == before - on_host.pop(crossing.host) <= before
            assert all(count <= causes.get(cause, 0) for cause, count in budget.causes.items())
            assert budget.power_cuts == cuts
            assert all(budget.failures_on(host) == count for host, count in on_host.items())
            assert len(crossing.excused) == crossing.count == budget.failures_on(crossing.host)
            assert set(crossing.excused) <= budget.excused


@given(limits, fleets, st.lists(failures, max_size=40), st.randoms(use_true_random=False))
def test_hosts_are_independent(
    limit: BudgetLimits, hosts: list[str | None], story: list[tuple[str | None, str | None]], chance: random.Random
) -> None:
    """In whatever order failures are told, the same hosts close, and the same counts remain."""
    told = [Failure(f"{number}", *place) for number, place in enumerate(story)]
    other = list(told)
    chance.shuffle(other)
    ends = []
    for order in (told, other):
        budget = Budget(limit, hosts)
        for failure in order:
            budget.failed(failure.uuid, failure.host, failure.cause)
        ends.append((budget.failures, budget.causes, budget.closed, budget.excused))
    assert ends[0] == ends[1]


@given(limits, fleets, stories, stories, st.randoms(use_true_random=False), st.integers(0, 5))
def test_a_resumed_run_counts_on(
    limit: BudgetLimits, hosts: list[str | None], earlier: list[Told], later: list[Told], chance: random.Random, lost: int
) -> None:
    """Told the earlier outcomes in any order, a new process goes on as the first would have, and repeats nothing it said."""
    first = Budget(limit, hosts)
    said = [crossing for number, told in enumerate(earlier) for crossing in tell(first, number, told)]
    fed = [Failure(f"{number}", *told) for number, told in enumerate(earlier) if not isinstance(told, str)]
    chance.shuffle(fed)
    cuts = [f"{number}" for number, told in enumerate(earlier) if told == "cut"]

    second = Budget(limit, hosts)
    assert second.recount(fed, cuts, said) == ()
    assert (second.failures, second.causes, second.power_cuts) == (first.failures, first.causes, first.power_cuts)
    assert (second.closed, second.excused) == (first.closed, first.excused)
    assert second.final == first.final

    kept = said[: max(0, len(said) - lost)]  # the process was killed before it could say the rest
    third = Budget(limit, hosts)
    made_good = {scope_of(crossing) for crossing in third.recount(fed, cuts, kept)}
    assert made_good <= {scope_of(crossing) for crossing in said} - {scope_of(crossing) for crossing in kept}
    assert third.closed == first.closed

    for number, told in enumerate(later, len(earlier)):
        ours = [(c.kind, c.scope, c.count, c.limit) for c in tell(second, number, told)]
        assert ours == [(c.kind, c.scope, c.count, c.limit) for c in tell(first, number, told)]


def test_a_failure_that_closes_its_host_crosses_nothing_else() -> None:
    """The host is asked before the run: the fourth failure of a dead host is not the one too many of the run."""
    budget = Budget(
        BudgetLimits(failures=quantity(count=3), per_host=quantity(count=3), same_cause=quantity(count=3)), ["h7"] * 9
    )
    said = [crossing for number in range(9) for crossing in budget.failed(f"{number}", "h7", "HOST.1011")]
    assert said == [Crossing("host_budget", "host h7", 4, 3, "h7", ("0", "1", "2", "3"))]
    assert not said[0].final
    assert budget.final is None
    assert (budget.failures, budget.causes) == (0, {})
    assert budget.failures_on("h7") == 9
    assert budget.excused == {f"{number}" for number in range(9)}


def test_a_vm_counts_once() -> None:
    """An outcome that is told again changes nothing."""
    budget = Budget(BudgetLimits(failures=quantity(count=1), power_cuts=quantity(count=1)), ["h1"] * 3)
    assert [budget.failed("a", "h1", None), budget.failed("a", "h1", None)] == [(), ()]
    assert [budget.power_cut("b"), budget.power_cut("b")] == [(), ()]
    assert (budget.failures, budget.power_cuts) == (1, 1)


def test_a_vm_without_a_host_closes_none() -> None:
    """Failures without a host count over the run and on no host."""
    budget = Budget(BudgetLimits(per_host=quantity(count=0), failures=quantity(count=1)), [None, None])
    assert budget.failed("a", None, None) == ()
    assert [crossing.kind for crossing in budget.failed("b", None, None)] == ["failures"]


def test_nothing_counts_after_verification_began() -> None:
    """What verification finds is counted nowhere."""
    budget = Budget(BudgetLimits(failures=quantity(count=0), power_cuts=quantity(count=0)), ["h1"])
    budget.finish()
    assert budget.failed("a", "h1", None) == budget.power_cut("b") == ()
    assert (budget.failures, budget.power_cuts, budget.final) == (0, 0, None)


@given(shares, st.integers(0, 100_000))
def test_a_share_is_rounded_exactly(share: Fraction, total: int) -> None:
    """Floor and ceiling enclose the exact share, and meet where it is whole."""
    amount = quantity(share=share)
    low, high = amount.floor_of(total), amount.ceil_of(total)
    assert low <= share * total <= high
    assert high - low == ((share * total).denominator != 1)
