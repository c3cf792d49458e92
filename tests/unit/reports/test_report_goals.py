"""What a report says of hosts that were emptied, or brought back: each as true as what is known."""

import dataclasses
from typing import Any

import pytest

from orchestrator.model.outcome import HostOutcome
from orchestrator.model.report import EvacuationRecord, HostActionRecord, LeftOnHost, RunReport
from orchestrator.reports.goals import Goal, action_line, goal, notable, shortfall
from orchestrator.reports.verdict import verdict, verdict_tone
from orchestrator.reports.wording import action_words, deed_of, done_words, outcome_sentence
from tests.evacuated import (
    ENTER,
    HOSTS,
    REFUSED,
    UNDER_WAY,
    deed,
    disabled,
    evacuated,
    host,
    maintained,
    report_of,
    restored,
)

VMS = "26 of 28 VMs are migrated or stopped (24 migrated, 2 stopped); 1 failed; 1 was left alone."
MAINTAIN = EvacuationRecord(vms="migrate_then_stop", hosts="maintain")
DISABLE = EvacuationRecord(vms="migrate_then_stop", hosts="disable")
LEAVE = EvacuationRecord(vms="migrate_then_stop", hosts="leave")
LEFT = LeftOnHost(uuid="u", name="r", type=None, state="Running", why="protected")


def without_vms(*hosts: Any, **run: Any) -> RunReport:
    """A run that emptied hosts on which there was none of its targets."""
    return report_of([], hosts, **{"exit_code": 0, **run})


def one(*actions: HostActionRecord, **given: Any) -> Any:
    """One host with these actions."""
    return host(HOSTS[0], [], *actions, **given)


def test_the_verdict_is_of_hosts_first_and_of_vms_then() -> None:
    """How many hosts are as they were to be, which are not and why; then how many VMs migrated and were stopped."""
    left = "rack-12-host-02 (2 VMs left)"
    assert verdict(evacuated()) == f"3 of 4 hosts are empty and in maintenance; 1 is not: {left}. {VMS}"
    refused = "rack-12-host-04 (could not be put into maintenance: HOST.1001 <- SYS.1003)"
    wanted = f"2 of 4 hosts are empty and in maintenance; 2 are not: {left}, {refused}. {VMS}"
    assert verdict(evacuated(last=REFUSED)) == wanted


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (without_vms(one(disabled(), maintained(5))), "The only host is empty and in maintenance. No VM was a target."),
        (
            without_vms(*(host(uuid, [], disabled()) for uuid in HOSTS), evacuate=DISABLE),
            "All 4 hosts are empty and disabled. No VM was a target.",
        ),
        (
            without_vms(one(), host(HOSTS[1], [], left_on_host=(LEFT,)), evacuate=LEAVE),
            "1 of 2 hosts is empty; 1 is not: rack-12-host-02 (1 VM left). No VM was a target.",
        ),
        (
            without_vms(one(disabled(), UNDER_WAY, left_on_host=None), status="running"),
            "This run is not finished, and nobody works on it: 'orchestrator resume 20261128T140000Z-7f3a' carries on. "
            "0 of 1 host was, when last read, in maintenance; 1 has no outcome. No VM was a target.",
        ),
        (
            without_vms(one(disabled(), left_on_host=None), status="interrupted", evacuate=DISABLE),
            "Interrupted; jobs may go on at the node, and 'orchestrator resume 20261128T140000Z-7f3a' reads everything "
            "once more and ends it. The only host was, when last read, disabled. No VM was a target.",
        ),
        (
            without_vms(one(), status="refused"),
            "Refused before the first change: nothing was sent to any of 1 host.",
        ),
    ],
)
def test_the_verdict_of_few_hosts(report: RunReport, sentence: str) -> None:
    """One host or all of them, other goals, and a run that is not over: nothing is called empty that was not read."""
    assert verdict(report) == sentence


def test_the_verdict_names_a_few_hosts() -> None:
    """Of many that are not as they were to be three are named, on one line whatever they are called."""
    hosts = [host(f"{number:032x}", [], left_on_host=(LEFT,), name="h\n" * 99) for number in range(9)]
    text = verdict(without_vms(*hosts))
    assert text.count("(1 VM left)") == 3
    assert "and 6 more" in text
    assert "\n" not in text


def test_the_verdict_of_a_restore_tells_of_its_hosts() -> None:
    """Back as they were, left alone, or not."""
    enabled, not_enabled = deed("enable", HostOutcome.DONE, 1), deed("enable", HostOutcome.FAILED, 1, error=ENTER)
    left = deed("disable", HostOutcome.LEFT, 1)
    assert verdict(restored(enabled)) == "The only host is back as it was. The only VM is running."
    cause = "could not be enabled and connected: HOST.1001 <- SYS.1003"
    wanted = f"1 of 3 hosts is back as it was; 1 is not: rack-12-host-02 ({cause}); "
    assert verdict(restored(enabled, not_enabled, left)).startswith(f"{wanted}1 was left alone. ")


@pytest.mark.parametrize(
    ("actions", "given", "reached"),
    [
        ((disabled(), maintained(5)), {}, Goal.REACHED),
        ((disabled(), maintained(5)), {"left_on_host": (LEFT,)}, Goal.MISSED),
        ((disabled(), maintained(5)), {"left_on_host": None}, Goal.MISSED),
        ((disabled(),), {}, Goal.MISSED),
        ((), {}, Goal.MISSED),
        ((disabled(), deed("maintain", HostOutcome.ALREADY, 5)), {}, Goal.REACHED),
        ((disabled(), deed("maintain", HostOutcome.LEFT, 5)), {}, Goal.LEFT),
        *(
            ((disabled(), deed("maintain", outcome, 5)), {}, Goal.MISSED)
            for outcome in (HostOutcome.FAILED, HostOutcome.UNKNOWN, HostOutcome.NOT_EMPTY, HostOutcome.NOT_REACHED)
        ),
    ],
)
def test_a_goal_is_reached_only_without_a_doubt(
    actions: tuple[HostActionRecord, ...], given: dict[str, Any], reached: Goal
) -> None:
    """Everything was done, and the host is empty as far as anybody knows: somebody will take it apart."""
    report = without_vms(one(*actions, **given))
    assert goal(report.hosts[0], report.run) is reached
    assert (report.hosts[0] in notable(report)) is (reached is not Goal.REACHED)
    if reached is Goal.MISSED:
        assert shortfall(report.hosts[0])
        assert verdict_tone(report) != "good"
    else:
        assert verdict_tone(report) == "good"


def test_the_colour_of_a_verdict_heeds_hosts() -> None:
    """A host that failed is red, one whose turn never came is not green."""
    stopped_early: dict[str, Any] = {"status": "stopped_early", "ended_by": "operator"}
    never = one(disabled(), deed("maintain", HostOutcome.NOT_REACHED, 5))
    assert verdict_tone(without_vms(never, **stopped_early)) == "warn"
    assert verdict_tone(without_vms(one(disabled(), REFUSED))) == "bad"


def test_what_was_done_to_a_host_is_one_line() -> None:
    """What, its outcome, and why where it was not done."""
    assert action_line(disabled()) == "disable done"
    assert action_line(UNDER_WAY) == "maintain under way"
    assert action_line(REFUSED) == "maintain failed: HOST.1001 <- SYS.1003: a volume is busy"
    bare = dataclasses.replace(REFUSED, error=None)
    assert action_line(bare) == f"maintain failed: {HostOutcome.FAILED.sentence}"


def test_words_fit_what_was_to_be_done() -> None:
    """A VM that was to be migrated is not said to be `not stopped`."""
    run = evacuated().run
    assert (deed_of(run), done_words(deed_of(run))) == ("migrate_then_stop", "migrated or stopped")
    assert action_words(run) == "empty hosts (migrate then stop VMs; the hosts are put into maintenance)"
    assert outcome_sentence("failed", "migrate").startswith("Not migrated;")
    assert outcome_sentence("failed", deed_of(run)).startswith("Neither migrated nor stopped;")
    assert outcome_sentence("migrated", deed_of(run)).startswith("Moved by this run")
    assert deed_of(restored(evacuate=MAINTAIN).run) == "start"
