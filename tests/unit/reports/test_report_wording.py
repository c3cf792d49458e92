"""The sentences of a report: each as true as what is known."""

from typing import Any

import pytest

from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.report import HostRecord, LeftOnHost, RunRecord, RunReport
from orchestrator.reports.hosts import HostNames, Standing, hosts_sentence, standing, standing_phrase
from orchestrator.reports.verdict import verdict, verdict_tone
from orchestrator.reports.wording import breakdown, how_stopped, outcome_sentence, reason_phrase


def report(totals: dict[str, int], **run: Any) -> RunReport:
    """A report with these totals and nothing else."""
    record = RunRecord(
        id="r1",
        plan="p",
        plan_digest="",
        plan_text="",
        endpoint="",
        tool_version="",
        started_by="",
        started_at="",
        **{"status": "finished", **run},
    )
    return RunReport(record, totals, (), (), (), lambda: iter(()))


def host(uuid: str, name: str | None = "h", **given: Any) -> HostRecord:
    """An empty host, but for what is given."""
    values: dict[str, Any] = {"status": "Connected", "state": "Enabled", "totals": {}, "left_on_host": (), **given}
    return HostRecord(uuid=uuid, name=name, **values)


LEFT = LeftOnHost(uuid="u", name="r", type=None, state="Running", why="appliance")


@pytest.mark.parametrize(
    ("totals", "run", "sentence"),
    [
        ({"targets": 300, "stopped_clean": 298, "failed": 2}, {}, "298 of 300 VMs are stopped; 2 failed."),
        ({"targets": 3, "stopped_cold": 2, "already_stopped": 1}, {}, "All 3 VMs are stopped."),
        ({"targets": 1, "stopped_clean": 1}, {}, "The only VM is stopped."),
        ({"targets": 0}, {}, "No VM was a target."),
        (
            {"targets": 2, "came_back": 1, "unknown": 1},
            {},
            "0 of 2 VMs are stopped; 1 is unknown and may still run; 1 came back and runs again.",
        ),
        (
            {"targets": 5, "stopped_clean": 1, "failed": 1},
            {"status": "running"},
            "This run is not finished, and nobody works on it: 'orchestrator resume r1' carries on. "
            "1 of 5 VMs was, when last read, stopped; 1 failed; 3 have no outcome.",
        ),
        (
            {"targets": 2, "stopped_clean": 1, "not_reached": 1},
            {"status": "stopped_early", "ended_by": "window"},
            "Stopped early: the time window ended. 1 of 2 VMs is stopped; 1 never had its turn.",
        ),
        (
            {"targets": 1},
            {"status": "interrupted"},
            "Interrupted; jobs may go on at the node, and 'orchestrator resume r1' carries on. "
            "0 of 1 VM was, when last read, stopped; 1 has no outcome.",
        ),
        (
            {"targets": 9},
            {"status": "refused"},
            "Refused before the first change: nothing was sent to any of 9 VMs.",
        ),
        ({"targets": 2, "started": 2}, {"action": "start"}, "All 2 VMs are running."),
        (
            {"targets": 2, "not_reached": 2},
            {"status": "stopped_early", "ended_by": "host"},
            "Stopped early: a host could not be made ready. 0 of 2 VMs are stopped; 2 never had their turn.",
        ),
    ],
)
def test_the_verdict_is_exactly_what_is_known(totals: dict[str, int], run: dict[str, Any], sentence: str) -> None:
    """The first sentence counts as stopped only what is, and says first that a run did not come to its end."""
    assert verdict(report(totals, **run)) == sentence


def test_inferences_are_worded_as_inferences() -> None:
    """A clean stop is never claimed, only held likely; a cold stop is certain."""
    text = how_stopped({"stopped_clean": 3, "stopped_forced": 2, "stopped_cold": 1})
    assert text == (
        "Of the stopped: 3 most likely shut down by the guest, 2 most likely with the power cut, "
        "1 with the power cut by a cold stop."
    )


def test_only_outcomes_that_occur_are_listed() -> None:
    """A total of zero takes no line; what has no outcome takes one of its own."""
    assert [row[:2] for row in breakdown({"targets": 3, "failed": 1, "unknown": 0})] == [(1, "failed"), (2, "(none)")]


def test_unlisted_words_stand_for_themselves() -> None:
    """An outcome or a reason that a later version adds is shown, not refused; every reason that there is has its words."""
    assert outcome_sentence("moved_away") == "Moved away."
    assert outcome_sentence("failed") == Outcome.FAILED.sentence
    assert reason_phrase("moon") == "moon"
    assert {reason_phrase(reason) for reason in Reason} & {str(reason) for reason in Reason if reason != "state"} == set()
    assert reason_phrase(None) == ""


@pytest.mark.parametrize(
    ("totals", "status", "tone"),
    [
        ({"targets": 1, "stopped_cold": 1}, "finished", "good"),
        ({"targets": 1, "failed": 1}, "finished", "bad"),
        ({"targets": 1, "not_reached": 1}, "stopped_early", "warn"),
        ({"targets": 1}, "refused", "bad"),
    ],
)
def test_green_is_for_runs_without_a_rest(totals: dict[str, int], status: str, tone: str) -> None:
    """The colour of a verdict never promises more than its words."""
    assert verdict_tone(report(totals, status=status)) == tone


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Standing.EMPTY),
        ({"left_on_host": None}, Standing.UNREAD),
        ({"left_on_host": (LEFT,)}, Standing.OCCUPIED),
        ({"totals": {"targets": 1, "unknown": 1}}, Standing.DOUBTFUL),
        ({"totals": {"targets": 1, "failed": 1}}, Standing.DOUBTFUL),
        ({"totals": {"targets": 1}}, Standing.DOUBTFUL),
        ({"status": "Disconnected"}, Standing.DOUBTFUL),
    ],
)
def test_a_host_is_empty_only_without_a_doubt(given: dict[str, Any], expected: Standing) -> None:
    """Nothing found is called empty only when nothing speaks against it, for somebody will cut the power there."""
    assert standing(host("a", **given)) is expected
    assert standing_phrase(host("a", **given))


def test_hosts_are_summed_up() -> None:
    """One sentence says how many hosts can be worked on."""
    hosts = [host("a"), host("b", left_on_host=(LEFT,)), host("c", left_on_host=None)]
    assert hosts_sentence(hosts) == "1 of 3 hosts is empty; 1 is not; 1 could not be read."
    assert hosts_sentence([]) == ""


def test_hosts_that_share_a_name_are_told_apart() -> None:
    """A name alone is shown only when it is one host's."""
    names = HostNames([host("a" * 32, "n"), host("b" * 32, "n"), host("c" * 32, "m"), host("d" * 32, None)])
    assert names.shown("a" * 32) == "n (aaaaaaaa)"
    assert names.shown("c" * 32) == "m"
    assert names.shown("d" * 32) == "d" * 32
    assert names.shown("e" * 32) == "e" * 32
    assert names.shown(None) == "no host"
