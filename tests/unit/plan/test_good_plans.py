"""Plans that load, with the contract's defaults."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.plan.load import load_plan, plan_from_text
from orchestrator.plan.model import Expect, Guard, Limits, ReportOptions, StopOptions, Verify
from tests.unit.plan.examples import COLD, FULL, GOOD, JSON, OTHER, SMALL, UUID, load


@pytest.mark.parametrize("name", GOOD)
def test_examples_load_without_a_warning(name: str) -> None:
    """Every good example loads, and nothing about it is odd."""
    assert load(GOOD[name]).warnings == ()


def test_defaults() -> None:
    """What a plan leaves out has the contract's defaults."""
    plan = load(SMALL).plan
    assert plan.stop == StopOptions(
        type="grace",
        grace_timeout=timedelta(minutes=4),
        fallback="cold",
        fallback_on=("timeout", "error"),
        cold_timeout=timedelta(minutes=3),
        power_cut_after=timedelta(seconds=60),
        stop_ha=True,
        system_tags=(),
        user_tags=(),
        appliances="skip",
    )
    assert plan.limits == Limits(
        concurrency=50,
        per_host=5,
        per_cluster=None,
        per_primary_storage=None,
        requests_per_second=50.0,
        node_outage=timedelta(minutes=10),
    )
    assert plan.guard == Guard(endpoint=None, max_targets=None, expect_targets=None, protect=None)
    assert plan.verify == Verify(after=timedelta(minutes=2))
    assert plan.report == ReportOptions(formats=("json", "html", "markdown", "csv", "junit"), directory="reports")
    assert (plan.version, plan.name, plan.reference, plan.description) == (1, "rack-12-power", None, None)


def test_full() -> None:
    """Every key of the contract that is supported is taken."""
    loaded = load(FULL)
    assert loaded.text == FULL
    assert loaded.targets.uuids == (UUID,)
    assert loaded.targets.selectors() == ("uuids", "cluster.name=rack-12", "name~=app-% and hostUuid not null")
    assert loaded.targets.sources == (("uuids", (UUID,)),)
    assert not loaded.targets.may_be_empty
    assert loaded.exclude is not None
    assert loaded.exclude.may_be_empty
    assert loaded.protect is not None
    assert loaded.protect.where == (("__userTag__=protected",),)
    assert loaded.plan.guard.expect_targets == Expect(min=480, max=500)
    assert loaded.plan.description == "Power maintenance of rack 12\nin two lines\n"


def test_cold() -> None:
    """A cold plan has no fallback written; zero turns verification off; one number is an exact count."""
    plan = load(COLD).plan
    assert plan.stop.type == "cold"
    assert plan.name == "2026"
    assert plan.verify.after == timedelta(0)
    assert plan.guard.expect_targets == Expect(min=2, max=2)
    assert plan.report.formats == ()
    assert load(COLD).targets.uuids == (UUID, OTHER)


def test_json(tmp_path: Path) -> None:
    """JSON is read by extension, and UUIDs are normalised."""
    path = tmp_path / "plan.JSON"
    path.write_text(JSON)
    loaded = load_plan(path)
    assert loaded.targets.uuids == (UUID,)
    assert loaded.plan.limits.requests_per_second == 2.5
    assert loaded.path == path


@pytest.mark.parametrize("name", ["2026-11-28", "12:30", "yes", "1_000", "rack 12", "0x", "1.2.3"])
def test_plain_texts_stay_texts(name: str) -> None:
    """What YAML 1.1 would turn into dates, times and truth values stays the text that was written."""
    assert load(SMALL.replace("rack-12-power", name)).plan.name == name


@pytest.mark.parametrize("uuid", ["1" * 32, "12345678901234567890123456789e12", "0" * 32])
def test_uuids_of_digits(uuid: str) -> None:
    """A UUID that YAML takes for a number is still the UUID that was written."""
    assert load(f"version: 1\nname: a\ntargets: {{uuids: [{uuid}]}}\n").targets.uuids == (uuid,)


def test_byte_order_mark_and_line_ends(tmp_path: Path) -> None:
    """A plan written on Windows loads, and its text is kept exactly."""
    path = tmp_path / "plan.yaml"
    text = "\ufeff" + SMALL.replace("\n", "\r\n")
    path.write_bytes(text.encode())
    loaded = load_plan(path)
    assert loaded.text == text
    assert plan_from_text(loaded.text, name="journal", folder=tmp_path).plan == loaded.plan
