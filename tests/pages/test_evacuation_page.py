"""The HTML report of a run that emptied hosts, in a browser."""

import re

from playwright.sync_api import Page, expect

from orchestrator.model.outcome import HostOutcome
from tests.evacuated import ENTER, REFUSED, UNDER_WAY, deed, evacuated, restored
from tests.pages.conftest import Show, Shown
from tests.pages.test_report_page import HEAD, LABEL, LANE, colors, over

MOVED, HELD, FAILED = (0x12, 0xA0, 0xB5), (0x44, 0x54, 0x6A), (0xD0, 0x34, 0x2C)
END = 620.0
"""Seconds after which the run is over, at the timeline's right end."""


def hosts_table(page: Page, name: str) -> list[str]:
    """The cells of one host's row, as they are shown."""
    return page.locator("tr", has=page.locator("td.deeds"), has_text=name).locator("td").all_inner_texts()


def x_of(shown: Shown, seconds: float) -> float:
    """Where a moment is on the timeline, as it is when it opens."""
    width: float = shown.page.locator(".chart").evaluate("chart => chart.clientWidth")
    return LABEL + seconds / END * (width - LABEL - 14)


def strip(row: int) -> float:
    """The height of a host's own line, above its VMs: three lanes a host."""
    return HEAD + LANE // 2 + row * (3 * LANE + 7)


def test_the_hosts_table_says_what_was_done(show: Show) -> None:
    """Each thing with outcome and time, what went wrong with its reason; a click shows the rest, also without scripts."""
    for context in ({}, {"java_script_enabled": False}):
        page = show(evacuated(last=REFUSED), **context).page
        expect(page.locator(".verdict p").first).to_contain_text("2 of 4 hosts are empty and in maintenance; 2 are not")
        cells = hosts_table(page, "rack-12-host-02")
        assert cells[1] == "not empty\n2 VMs left"
        assert re.fullmatch(r"disable: done 14:00:03Z\s+maintain: not empty 14:05:01Z\s+2 VMs are left .*", cells[2])
        assert "keeper (UserVm, Running, protected)" in cells[3]
        assert "HOST.1001 <- SYS.1003: a volume is busy" in hosts_table(page, "rack-12-host-04")[2]
        expect(page.get_by_text("the node says that it is Disabled").first).to_be_hidden()
        page.locator("details.deed summary").first.click()
        expect(page.get_by_text("the node says that it is Disabled").first).to_be_visible()


def test_the_timeline_has_a_line_of_each_host(show: Show) -> None:
    """Above its VMs: when it was disabled, and maintenance to the run's end; under the pointer each has its words."""
    shown = show(evacuated(last=REFUSED))
    shown.page.locator(".chart").scroll_into_view_if_needed()
    expect(shown.page.locator(".legend")).to_contain_text("host disabled")
    expect(shown.page.locator(".legend")).to_contain_text("host in maintenance")
    expect(shown.page.locator(".legend")).to_contain_text("host: not empty")
    assert over(shown, x_of(shown, 3), strip(0)) == (
        "rack-12-host-01: disable: done, 14:00:03Z: the node says that it is Disabled"
    )
    for seconds in (162, 400, END - 5):
        assert over(shown, x_of(shown, seconds), strip(0)).startswith("rack-12-host-01: maintain: done, 14:02:42Z")
    assert over(shown, x_of(shown, 80), strip(0)) == "rack-12-host-01: 9 VMs"
    assert over(shown, x_of(shown, 301), strip(1)).startswith("rack-12-host-02: maintain: not empty, 14:05:01Z")
    assert over(shown, x_of(shown, 10), strip(0) + LANE).startswith("app-0 on rack-12-host-01: migrated")


def test_a_host_without_a_vm_is_on_the_timeline(show: Show) -> None:
    """What was done to it is shown all the same, and a click tells everything of it; from there it is a click to its VMs."""
    shown = show(evacuated(last=REFUSED))
    page = shown.page
    page.locator(".chart").scroll_into_view_if_needed()
    x, y = x_of(shown, 220), strip(3)
    assert over(shown, x, y) == "rack-12-host-04: maintain: failed, 14:03:50Z"
    page.mouse.down()
    page.mouse.up()
    dialog = page.get_by_role("dialog", name="rack-12-host-04")
    for words in ("disable: done", "maintain: failed", "HOST.1001 <- SYS.1003", "a volume is busy", "2026-11-28 14:03:20Z"):
        expect(dialog).to_contain_text(words)
    dialog.get_by_role("button", name="Show its VMs").click()
    expect(dialog).to_be_hidden()
    assert shown.count() == "0 of 28"


def test_who_migrated_has_a_colour_of_his_own(show: Show) -> None:
    """On the timeline, in light and dark; maintenance and what failed have theirs."""
    assert {MOVED, HELD, FAILED} <= colors(show(evacuated()))
    assert not {MOVED, HELD} & colors(show(evacuated(), color_scheme="dark"))
    page = show(evacuated()).page
    tag = page.locator(".total .tag", has_text="migrated")
    good = page.locator(".total .tag", has_text="stopped clean")
    color = "tag => getComputedStyle(tag).color"
    assert tag.evaluate(color) != good.evaluate(color)


def test_a_vm_says_where_it_is_now(show: Show) -> None:
    """Its host after the migration, and where each attempt was to take it; both are found by the search."""
    shown = show(evacuated())
    page = shown.page
    page.get_by_label("Search").fill("rack-9-host-01")
    assert "app-0" in shown.names()
    assert "app-1" not in shown.names()
    page.get_by_role("row", name="app-0").first.click()
    dialog = page.get_by_role("dialog", name="app-0")
    expect(dialog.locator("dt", has_text="Migrated to").locator("+ dd")).to_have_text("rack-9-host-01")
    expect(dialog.locator("tbody td").nth(1)).to_have_text("migrate to rack-9-host-01, at most 300 s")


def test_the_hosts_of_a_restore_are_shown(show: Show) -> None:
    """What was done to each, without a word of what is left on them."""
    page = show(restored(deed("enable", HostOutcome.DONE, 1), deed("enable", HostOutcome.FAILED, 1, error=ENTER))).page
    expect(page.locator(".verdict")).to_contain_text("1 of 2 hosts is back as it was; 1 is not: rack-12-host-02")
    expect(page.locator("th", has_text="Standing")).to_have_count(0)
    expect(page.locator(".legend")).to_contain_text("host enabled")


def test_a_live_page_takes_what_is_done_to_hosts(show: Show) -> None:
    """What was under way has its outcome with the next message; one that says nothing of hosts leaves them as they are."""
    shown = show(evacuated(last=UNDER_WAY, status="running", finished_at=None, exit_code=None))
    legend = shown.page.locator(".legend")
    expect(legend).to_contain_text("host: under way")
    update = "({about, now}) => page.update({rows: [], words: [], flying: [], about, now})"
    hosts = shown.page.evaluate("JSON.parse(document.getElementById('data').textContent).hosts")
    hosts[3]["actions"][1].update(outcome="failed", to=230.0)
    shown.page.evaluate(update, {"about": {"hosts": hosts}, "now": 400.0})
    expect(legend).to_contain_text("host: failed")
    expect(legend).not_to_contain_text("under way")
    shown.page.evaluate(update, {"about": {"targets": 29}, "now": 401.0})
    expect(legend).to_contain_text("host: failed")


def test_on_paper_the_hosts_stay_short(show: Show) -> None:
    """What went wrong stands there, what went well is not unfolded; migrated VMs keep their word."""
    page = show(evacuated(last=REFUSED)).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.deed[open]").count() == 0
    expect(page.get_by_text("a volume is busy").first).to_be_visible()
    assert MOVED in colors(Shown(page))
    page.evaluate("dispatchEvent(new Event('afterprint'))")
