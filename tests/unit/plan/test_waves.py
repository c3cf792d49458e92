"""Waves: their graph, their selectors, and what holds in each."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.errors import PlanError
from orchestrator.plan.load import load_plan
from orchestrator.plan.model import Plan, StopOptions, Targets, Wave, WaveBudget, WaveStop
from orchestrator.plan.order import Outline, order_breaches
from orchestrator.plan.quantities import parse_quantity
from tests.unit.plan.examples import MAINTENANCE, OTHER, SMALL, UUID, assert_told, load, problems

TWO = SMALL + "waves: [{{name: app, where: [[name=a]]}}, {}]\n"


def test_maintenance() -> None:
    """Waves are read with their selections, in the plan's order, and nothing about the example is odd."""
    loaded = load(MAINTENANCE)
    assert loaded.warnings == ()
    assert [(wave.name, *wave.after) for wave in loaded.plan.waves] == [
        ("app",),
        ("db", "app"),
        ("rest", "db", "app"),
    ]
    app, db, rest = loaded.waves
    assert app is not None
    assert db is not None
    assert app.selectors() == ("name~=app-%",)
    assert (db.uuids, db.where, db.may_be_empty) == ((UUID,), (("name~=db-%",),), False)
    assert rest is None
    assert loaded.plan.waves[2].takes_the_rest


def test_no_waves() -> None:
    """A plan without waves has one, which is as the plan says."""
    loaded = load(SMALL + "budget: {failures: 1, per_wave: 2}\n")
    plan = loaded.plan
    assert (loaded.waves, plan.waves) == ((), ())
    assert (plan.stop_of(None), plan.limits_of(None)) == (plan.stop, plan.limits)
    assert plan.budget_of(None) == WaveBudget(per_wave=parse_quantity(2))


def test_options_of_a_wave() -> None:
    """A wave has the plan's options with what it wrote over them; only its share of a budget is not inherited."""
    plan = load(MAINTENANCE).plan
    app, db, rest = plan.waves
    assert plan.stop_of(db) == StopOptions(fallback="none", grace_timeout=timedelta(minutes=5))
    assert plan.stop_of(db).fallback_on == ("timeout", "error")
    assert plan.stop_of(rest) == plan.stop
    assert plan.limits_of(app).ramp == (parse_quantity("5%"), parse_quantity("100%"))
    assert (plan.limits_of(app).per_host, plan.limits_of(app).per_primary_storage) == (2, None)
    assert plan.limits_of(db) == plan.limits
    assert plan.budget_of(app) == WaveBudget(per_wave=parse_quantity("10%"))
    assert plan.budget_of(db) == WaveBudget(per_wave=parse_quantity(0))


@pytest.mark.parametrize(
    ("plan_stop", "wave_stop"),
    [
        ("{}", "{fallback: none}"),
        ("{fallback_on: [error]}", "{fallback: none}"),
        ("{fallback: cold, fallback_on: [error]}", "{type: cold}"),
        ("{fallback: none}", "{type: cold}"),
        ("{type: cold}", "{type: grace, fallback: cold}"),
        ("{type: cold}", "{type: grace}"),
        ("{power_cut_after: 50s}", "{grace_timeout: 70s}"),
        ("{grace_timeout: 10m}", "{power_cut_after: 8m}"),
    ],
)
def test_stop_together(plan_stop: str, wave_stop: str) -> None:
    """A wave's stop is judged over the plan's, not by itself, and a cold wave leaves the plan's fallback behind."""
    plan = load(SMALL + f"stop: {plan_stop}\nwaves: [{{name: a, stop: {wave_stop}}}]\n").plan
    effective = plan.stop_of(plan.waves[0])
    for key in plan.waves[0].stop.model_fields_set:
        assert getattr(effective, key) == getattr(plan.waves[0].stop, key)


@pytest.mark.parametrize(
    ("plan_stop", "wave_stop", "column", "piece"),
    [
        ("{}", "{grace_timeout: 70s}", 27, "write at least `75s`"),
        ("{grace_timeout: 80s}", "{power_cut_after: 70s}", 27, "under 1.25 times"),
        ("{type: cold}", "{fallback: cold}", 27, "has no fallback"),
        ("{}", "{type: cold, fallback: none}", 39, "has no fallback"),
        ("{}", "{fallback_on: []}", 27, "empty list"),
        ("{}", "{cold_timeout: 0s}", 27, "longer than zero"),
        ("{}", "{type: Cold}", 33, "did you mean `cold`?"),
        ("{}", "{cold_timout: 5s}", 27, "did you mean `cold_timeout`?"),
    ],
)
def test_stop_at_odds(plan_stop: str, wave_stop: str, column: int, piece: str) -> None:
    """Every rule of `stop` holds for what a wave does in the end; the wave's key is told."""
    told = problems(SMALL + f"stop: {plan_stop}\nwaves: [{{name: ab, stop: {wave_stop}}}]\n")
    assert_told(told, (6, column, piece))


def test_the_plans_own_stop_is_told_once() -> None:
    """What is wrong in the plan's stop is not told again of each wave."""
    told = problems(SMALL + "stop: {grace_timeout: 1s}\nwaves: [{name: a, stop: {fallback: none}}]\n")
    assert_told(told, (5, 8, "write at least `75s`"))


@pytest.mark.parametrize(
    ("wave", "column", "piece"),
    [
        ("b", 41, "a mapping with keys is expected"),
        ("{}", 41, "`name` is missing"),
        ("{name: 1}", 48, 'quote it: "1"'),
        ("{name: ' '}", 48, "empty text"),
        ("{name: app}", 48, "as in wave 1"),
        ("{name: b, after: app}", 58, 'a list is expected: ["app"]'),
        ("{name: b, after: [b]}", 59, "the wave itself"),
        ("{name: b, after: [app, app]}", 64, "a second time"),
        ("{name: b, after: [aps]}", 59, "did you mean `app`?"),
        ("{name: b, after: [zzz]}", 59, "`app` is expected"),
        ("{name: b, uuids: []}", 51, "nothing else selects"),
        ("{name: b, uuid_files: [], uuids: []}", 67, "nothing else selects"),
        ("{name: b, where: []}", 58, "empty list"),
        ("{name: b, where: [[name]]}", 60, "without an operator"),
        ("{name: b, uuids: [x]}", 59, 'holds "x"'),
        ("{name: b, may_be_empty: true}", 51, "belongs under `exclude`"),
        ("{name: b, per_host: 5}", 51, "belongs under `waves[1].limits`"),
        ("{name: b, failures: 5}", 51, "belongs under `budget`"),
        ("{name: b, limits: {node_outage: 5m}}", 60, "belongs under `limits`"),
        ("{name: b, limits: {requests_per_second: 5}}", 60, "belongs under `limits`"),
        ("{name: b, limits: {ramp: [5, 4]}}", 70, "found 4 after 5"),
        ("{name: b, budget: {failures: 5}}", 60, "belongs under `budget`"),
        ("{name: b, budget: {per_host: 5}}", 60, "it belongs under"),
        ("{name: b, stop: }", 51, "found nothing"),
    ],
)
def test_one_problem(wave: str, column: int, piece: str) -> None:
    """One thing wrong in a wave is one problem at its place."""
    assert_told(problems(TWO.format(wave)), (5, column, piece))


@pytest.mark.parametrize(("value", "piece"), [("[]", "a wave like"), ("{a: 1}", "a list is expected"), ("5", "a list")])
def test_no_list_of_waves(value: str, piece: str) -> None:
    """Waves are a list with something in it."""
    assert_told(problems(SMALL + f"waves: {value}\n"), (5, 8, piece))


def test_all_at_once() -> None:
    """Names, order, selectors and options of several waves are told together, each at its place."""
    told = problems(
        SMALL + "waves:\n- {name: a, after: [b]}\n- {name: b, after: [a, nobody]}\n- {name: 5, stop: {fallback: cold}}\n"
        "stop: {type: cold}\n"
    )
    assert_told(
        told,
        (6, 13, 'these waves wait for each other: "a" after "b" after "a"'),
        (7, 3, 'no selector, as in wave "a"'),
        (8, 3, 'no selector, as in wave "a"'),
        (8, 10, 'quote it: "5"'),
        (8, 20, "has no fallback"),
    )


def test_a_vm_in_two_waves(tmp_path: Path) -> None:
    """A UUID that two waves name, written out or in files, is an error with both waves' names."""
    (tmp_path / "a.txt").write_text(f"{OTHER}\n{UUID}\n{'a' * 32}\n")
    path = tmp_path / "plan.yaml"
    path.write_text(
        SMALL + f"waves:\n- {{name: app, uuids: [{UUID}, {UUID}]}}\n- {{name: db, uuids: [{UUID.upper()}]}}\n"
        f"- {{name: web, uuids: [{OTHER}]}}\n- {{name: rest, uuid_files: [a.txt]}}\n"
    )
    with pytest.raises(PlanError) as raised:
        load_plan(path)
    assert_told(
        raised.value.problems,
        (7, 22, f'`waves[1].uuids[0]`: found {UUID}, which wave "app" has already'),
        (9, 29, f'2 VMs that another wave has, the first {OTHER}, which wave "web" has already'),
    )


def test_uuid_files_of_waves(tmp_path: Path) -> None:
    """A wave's files are read like the targets', also for what is wrong with them."""
    (tmp_path / "db.csv").write_text(f"name,uuid\ndb,{UUID}\n")
    path = tmp_path / "plan.yaml"
    path.write_text(SMALL + "waves: [{name: db, uuid_files: [db.csv]}]\n")
    (db,) = load_plan(path).waves
    assert db is not None
    assert db.sources == (("db.csv", (UUID,)),)
    path.write_text(SMALL + "waves: [{name: db, uuid_files: [none.csv]}]\n")
    with pytest.raises(PlanError) as raised:
        load_plan(path)
    assert_told(raised.value.problems, (5, 33, "none.csv"))


@pytest.mark.parametrize(
    ("wave", "column", "piece"),
    [
        ("limits: {concurrency: 51}", 28, "never reached, as the run's own `concurrency` is 50"),
        ("limits: {concurrency: 2, per_host: 3}", 44, "never reached, as `concurrency` is 2"),
        ("stop: {fallback: none, fallback_on: [error]}", 42, "has no effect"),
        (f"uuids: [{UUID}, {UUID}]", 61, "counts once"),
        ("where: [[name~=app]]", 28, "no implicit wildcard"),
    ],
)
def test_one_warning(wave: str, column: int, piece: str) -> None:
    """What a wave says in vain is a warning at its place."""
    (warning,) = load(SMALL + f"budget: {{same_cause: 5}}\nwaves: [{{name: a, {wave}}}]\n").warnings
    assert (warning.line, warning.column) == (6, column)
    assert piece in warning.message


def test_rules_hold_without_a_file() -> None:
    """What validate refuses of waves in a file is refused in Python too."""
    targets, some = Targets(where=(("name=a",),)), (UUID,)
    bad: list[tuple[tuple[Wave, ...], str]] = [
        ((Wave(name="a"), Wave(name="b")), "only one wave"),
        ((Wave(name="a", after=("b",)),), "no wave is called that"),
        ((Wave(name="a"), Wave(name="a", uuids=some)), "its own name"),
        ((Wave(name="a", uuids=some), Wave(name="b", uuids=some)), "name each VM in one wave"),
        ((Wave(name="a", stop=WaveStop(grace_timeout=timedelta(seconds=61))),), "under 1.25"),
    ]
    for waves, piece in bad:
        with pytest.raises(ValidationError, match=piece):
            Plan(version=1, name="a", targets=targets, waves=waves)
    with pytest.raises(ValidationError, match="nothing else selects"):
        Wave(name="a", uuids=())


@given(edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda edge: edge[0] != edge[1]), max_size=20))
def test_cycles(edges: list[tuple[int, int]]) -> None:
    """A circle is told exactly when no order of the waves keeps every `after`, each told one is real, none is told twice."""
    after: list[list[int]] = [sorted({to for at, to in edges if at == wave}) for wave in range(8)]
    waves = [Outline(f"w{at}", tuple(f"w{to}" for to in before), takes_the_rest=False) for at, before in enumerate(after)]
    told = list(order_breaches(waves))
    begun: set[int] = set()
    while ready := {wave for wave in range(8) if wave not in begun and begun.issuperset(after[wave])}:
        begun |= ready
    assert bool(told) == (len(begun) < 8)
    met: set[int] = set()
    for path, message in told:
        chain = [int(word.strip('";')[1:]) for word in message.split(": ", 1)[1].split(";")[0].split(" after ")]
        assert chain[0] == chain[-1] == path[0]
        assert all(to in after[at] for at, to in pairwise(chain))
        assert met.isdisjoint(chain)
        met.update(chain)
