"""The tables of docs/budgets.md, run row by row."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from orchestrator.engine.budget import Budget, BudgetLimits, Crossing, counts_as
from orchestrator.engine.waves import ClosedOff, Opened, Wave, Waves
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.plan.quantities import Quantity
from tests.unit.engine.amounts import quantity

DOCUMENT = Path(__file__).parents[3] / "docs" / "budgets.md"
Row = dict[str, str]


def cells(line: str) -> list[str]:
    """The cells of one line of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows(heading: str) -> list[Row]:
    """The one table under a heading, a mapping by column for each row."""
    section = DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    head, rule, *body = [line for line in section.splitlines() if line.startswith("|")]
    assert set(rule) <= set("| -")
    return [dict(zip(cells(head), cells(line), strict=True)) for line in body]


def amount(text: str) -> Quantity | None:
    """`5%`, `3` or `none`."""
    if text == "none":
        return None
    return quantity(share=Fraction(int(text[:-1]), 100)) if text.endswith("%") else quantity(count=int(text))


def numbers(text: str) -> list[int]:
    """`1, 5, 20` as a list."""
    return [int(number) for number in text.split(", ")]


def by_line(row: Row) -> str:
    """A row's name in the output of the tests."""
    return " / ".join(row.values())


def yes(text: str) -> bool:
    """`yes` or `no`."""
    return {"yes": True, "no": False}[text]


def test_every_outcome_is_told() -> None:
    """The table of what counts leaves no outcome out."""
    words = {row["outcome"].split("`")[1] for row in rows("What counts")}
    assert words == {outcome.value for outcome in Outcome}


@pytest.mark.parametrize("row", rows("What counts"), ids=by_line)
def test_what_counts(row: Row) -> None:
    """An outcome counts where the table says, and nowhere else."""
    outcome = Outcome(row["outcome"].split("`")[1])
    counted = counts_as(outcome, cold_planned="as the plan asked" in row["outcome"])
    assert (counted == "failure") is yes(row["failures, per_host, same_cause"])
    assert (counted == "power_cut") is yes(row["power_cuts"])

    waves = Waves([Wave("app", ("a",)), Wave("db", ("b",), after=("app",))])
    waves.begin()
    if outcome is not Outcome.NOT_REACHED:
        waves.let_through("a")
    waves.ended("a", outcome)
    assert (waves.allowance("db") == 0) is yes(row["per_wave after the wave"])

    ramped = Waves([Wave("app", ("a", "b"), ramp=(quantity(count=1),))])
    ramped.begin()
    if outcome is Outcome.NOT_REACHED:
        ramped.ended("b", outcome)
        assert not yes(row["per_wave at a ramp step"])
        assert ramped.allowance("app") == 1
    else:
        ramped.let_through("a")
        ramped.ended("a", outcome)
        assert (ramped.allowance("app") == 0) is yes(row["per_wave at a ramp step"])


@pytest.mark.parametrize("row", rows("Where the line is"), ids=by_line)
def test_where_the_line_is(row: Row) -> None:
    """A budget holds up to its value and is crossed by the next, at the run and at a host."""
    limit, crossed_by = int(row["may go wrong"]), int(row["crossed by"])
    for limits in (BudgetLimits(failures=amount(row["budget"])), BudgetLimits(per_host=amount(row["budget"]))):
        budget = Budget(limits, ["h7"] * int(row["admitted"]))
        said = [crossing for number in range(crossed_by) for crossing in budget.failed(f"{number}", "h7", None)]
        assert [(crossing.count, crossing.limit) for crossing in said] == [(crossed_by, limit)]
    budget = Budget(BudgetLimits(power_cuts=amount(row["budget"])), ["h7"] * int(row["admitted"]))
    said = [crossing for number in range(crossed_by) for crossing in budget.power_cut(f"{number}")]
    assert [(crossing.count, crossing.limit) for crossing in said] == [(crossed_by, limit)]


def play(budget: Budget, events: str) -> Iterator[Crossing]:
    """`3 failed on h7 by VM.1002, 2 cut, verification`, one VM after the other."""
    uuids = map(str, range(10_000))
    for event in events.split(", "):
        if event == "verification":
            budget.finish()
        elif cut := re.fullmatch(r"(\d+) cut", event):
            for _ in range(int(cut[1])):
                yield from budget.power_cut(next(uuids))
        else:
            failed = re.fullmatch(r"(\d+) failed on (\w+)(?: by (\S+))?", event)
            assert failed, event
            for _ in range(int(failed[1])):
                yield from budget.failed(next(uuids), failed[2], failed[3])


@pytest.mark.parametrize("row", rows("One dead host, and other stories"), ids=by_line)
def test_story(row: Row) -> None:
    """Each story crosses what the table says, in that order, and leaves that count."""
    limits = {key: amount(value) for key, value in (part.split(": ") for part in row["budget"].split(", "))}
    hosts = [host for part in row["admitted"].split(", ") for host in [part.split()[2]] * int(part.split()[0])]
    budget = Budget(BudgetLimits(**limits), hosts)
    said = [
        f"{crossing.kind if crossing.scope == 'run' else crossing.scope} at {crossing.count} of {crossing.limit}"
        for crossing in play(budget, row["in this order"])
    ]
    assert "; ".join(said or ["none"]) == row["crossed"]
    assert budget.failures == int(row["failures counted at the end"])


@pytest.mark.parametrize("row", rows("After a wave"), ids=by_line)
def test_after_a_wave(row: Row) -> None:
    """The next wave opens, or is not reached, as the table says."""
    vms = tuple(f"a{number}" for number in range(int(row["VMs to send"])))
    failed = vms[: int(row["failed or unknown"])]
    left = vms[len(failed) : len(failed) + int(row["not_reached"])]
    waves = Waves([Wave("app", vms, per_wave=amount(row["per_wave"])), Wave("db", ("b",), after=("app",))])
    decisions = list(waves.begin())
    waves.excuse(failed[: int(row["of them on closed hosts"])])
    for uuid in vms:
        if uuid in left:
            decisions += waves.ended(uuid, Outcome.NOT_REACHED)
        else:
            waves.let_through(uuid)
            decisions += waves.ended(uuid, Outcome.FAILED if uuid in failed else Outcome.STOPPED_CLEAN)
    opens = {"opens": True, "does not": False}[row["the next wave"]]
    assert (Opened("db") in decisions) is opens
    closed = [(d.wave, d.reason, d.vms) for d in decisions if isinstance(d, ClosedOff)]
    assert closed == ([] if opens else [("db", Reason.WAVE, ("b",))])


@pytest.mark.parametrize("row", rows("A ramp"), ids=by_line)
def test_ramp(row: Row) -> None:
    """The steps are those of the table, and the wave ends where it says."""
    vms = tuple(f"a{number}" for number in range(int(row["VMs to send"])))
    ramp = tuple(a for a in map(amount, row["ramp"].split(", ")) if a is not None)
    wave = Wave("app", vms, ramp=ramp, per_wave=amount(row["per_wave"]))
    assert list(wave.steps()) == numbers(row["steps"])
    waves = Waves([wave])
    decisions = list(waves.begin())
    through: list[str] = []
    for step, failures in zip(numbers(row["steps"]), numbers(row["failed in each"]), strict=False):
        allowance = waves.allowance("app")
        assert len(through) + allowance == step
        now = vms[len(through) : step]
        for uuid in now:
            waves.let_through(uuid)
        assert waves.allowance("app") == 0
        for place, uuid in enumerate(now):
            decisions += waves.ended(uuid, Outcome.FAILED if place < failures else Outcome.STOPPED_CLEAN)
        through += now
    assert waves.allowance("app") == 0
    assert len(through) == int(row["let through"])
    left = [(d.reason, d.vms) for d in decisions if isinstance(d, ClosedOff)]
    assert left == ([(Reason.RAMP, vms[len(through) :])] if len(through) < len(vms) else [])
