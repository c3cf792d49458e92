"""What is gathered over all VMs before the first word."""

from typing import Any

import pytest

from orchestrator.model.outcome import AttemptReason, AttemptResult, AttemptType, Outcome
from orchestrator.model.report import AttemptRecord, Evidence, RunRecord, RunReport, VmRecord
from orchestrator.reports.explain import cause_of, explanation, seconds_text, words_of
from orchestrator.reports.facts import NAMED, Facts, gather


def facts_of(*vms: VmRecord, finished_at: str | None = None) -> Facts:
    """The facts of a run over these VMs."""
    run = RunRecord(
        id="r",
        plan="p",
        plan_digest="",
        plan_text="",
        endpoint="",
        tool_version="",
        started_by="",
        started_at="",
        finished_at=finished_at,
    )
    return gather(RunReport(run, {}, (), (), (), lambda: iter(vms)))


def attempt(result: AttemptResult, sent_at: str | None = "2026-11-28T14:00:00Z") -> AttemptRecord:
    """One grace stop with a timeout of a minute."""
    return AttemptRecord(
        type=AttemptType.GRACE,
        reason=AttemptReason.PLAN,
        job_uuid="j",
        api_timeout_seconds=60,
        sent_at=sent_at,
        result=result,
    )


def test_names_are_bounded_and_counts_are_not() -> None:
    """The first few VMs of an outcome are named, all of them are counted."""
    facts = facts_of(*(VmRecord(uuid=str(index), outcome=Outcome.FAILED) for index in range(50)))
    assert len(facts.named[Outcome.FAILED]) == NAMED
    assert facts.counts[Outcome.FAILED] == 50


def test_open_jobs_are_told_with_their_last_moment() -> None:
    """A job without an end may act until twice its timeout, which a reader has to know."""
    facts = facts_of(VmRecord(uuid="a", outcome=Outcome.UNKNOWN, attempts=(attempt(AttemptResult.TIMED_OUT),)))
    assert facts.notes() == [
        "Jobs of 1 VM have no end in this report and may still act, until 2026-11-28T14:02:00Z at the latest."
    ]


def test_a_job_that_was_given_up_for_another_may_act_still() -> None:
    """The stop before the cold one never answered: whoever starts the VM soon may see it stopped by that."""
    calls = attempt(AttemptResult.TIMED_OUT), attempt(AttemptResult.SUCCEEDED, "2026-11-28T14:00:30Z")
    facts = facts_of(VmRecord(uuid="a", outcome=Outcome.STOPPED_COLD, attempts=calls))
    assert (facts.open_jobs, str(facts.open_until)) == (1, "2026-11-28 14:02:00+00:00")
    calls = attempt(AttemptResult.LOST), attempt(AttemptResult.SUCCEEDED)
    assert facts_of(VmRecord(uuid="a", outcome=Outcome.STOPPED_CLEAN, attempts=calls)).open_jobs == 0


@pytest.mark.parametrize(("sent_at", "jobs"), [("2026-11-28T14:00:00Z", 0), ("nonsense", 1), (None, 1)])
def test_jobs_that_cannot_act_any_more_are_no_news(sent_at: str | None, jobs: int) -> None:
    """A job whose last moment was before the end of the run is not warned of; one without a time is."""
    vm = VmRecord(uuid="a", outcome=Outcome.UNKNOWN, attempts=(attempt(AttemptResult.LOST, sent_at),))
    assert facts_of(vm, finished_at="2026-11-28T15:00:00Z").open_jobs == jobs


def test_what_was_not_read_again_is_told() -> None:
    """Stopped without a second reading, and stopped late, are noted; so is what to check after start."""
    facts = facts_of(
        VmRecord(uuid="a", outcome=Outcome.STOPPED_COLD, check_after_start=True),
        VmRecord(uuid="b", outcome=Outcome.STOPPED_CLEAN, verified_at="2026-11-28T15:00:00Z", late=True),
    )
    assert len(facts.notes()) == 2
    assert facts.check_sentence().startswith("1 VM to check after the next start")
    migrated = Facts(deed="migrate", not_reread=1, late=1)
    assert migrated.notes()[0].startswith("1 VM counted as migrated was not read again later")
    assert migrated.notes()[1].startswith("1 VM changed only after")
    assert Facts().notes() == []
    assert Facts().check_sentence() == ""


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (None, "", ""),
        ({}, "no code", ""),
        ({"code": "A", "cause": {"code": "B", "details": "inner"}}, "A <- B", "inner"),
        ({"code": 5, "details": "plain"}, "5", "plain"),
        ({"code": "A", "cause": "text where an object belongs", "details": ["x"]}, "A", "['x']"),
    ],
)
def test_errors_of_any_shape_have_a_cause_and_words(error: dict[str, Any] | None, cause: str, words: str) -> None:
    """The chain is the one that groups causes; an error that nobody foresaw is still told."""
    assert (cause_of(error), words_of(error)) == (cause, words)


def test_the_explanation_is_the_best_there_is() -> None:
    """The error first, else the evidence."""
    evidence = Evidence(text="seen")
    assert explanation(VmRecord(uuid="a", error={"code": "A"}, evidence=evidence)) == "A"
    assert explanation(VmRecord(uuid="a", evidence=evidence)) == "seen"
    assert explanation(VmRecord(uuid="a")) == ""


def test_seconds_are_numbers_or_nothing() -> None:
    """No report shows NaN."""
    assert [seconds_text(value) for value in (None, float("nan"), float("inf"), 1.25)] == ["", "", "", "1.2"]
