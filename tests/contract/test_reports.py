"""What every report renderer promises, run over all of them, and what each format has to be."""

import csv
import dataclasses
import io
import json
import tracemalloc
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.model.outcome import STOPPED, AttemptReason, AttemptResult, AttemptType, Outcome, Reason
from orchestrator.model.report import (
    AttemptRecord,
    Cause,
    Evidence,
    HostRecord,
    LeftOnHost,
    RunRecord,
    RunReport,
    VmRecord,
    WaveRecord,
)
from orchestrator.reports import RENDERERS, report_schema

HOST = "0" * 31 + "1"
HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd()|x",
    "+1\n-1\r\n@2\t",
    "\x1b[31mred\x1b]0;title\x07",
    "exe\u202egnp.txt",
    "lone \ud800 and \udfff",
    "nul\x00 \x85 \u2028 \ufeff \uffff",
    "x" * 10_000,
    "a|b`c`[d](javascript:e)*f*_g_ & \"h\" 'i' ]]> <!--",
    "\u751f\u4ea7\u6570\u636e\u5e93",
]
ERROR = {"code": "VM.1002", "details": "outer", "cause": {"code": "HOST.1011", "details": "the host is away"}}


def vm(index: int, outcome: Outcome | None, name: str | None = None, **more: Any) -> VmRecord:
    """One VM with one attempt behind it."""
    failed = outcome is Outcome.FAILED
    return VmRecord(
        uuid=f"{index:032x}",
        name=f"vm-{index}" if name is None else name,
        type="UserVm",
        host_uuid=HOST,
        outcome=outcome,
        reason=Reason.BUDGET if outcome is Outcome.NOT_REACHED else None,
        evidence=Evidence(text="seen by the job", seconds=1.5, basis="job"),
        attempts=(
            AttemptRecord(
                type=AttemptType.GRACE,
                reason=AttemptReason.PLAN,
                job_uuid="a" * 32,
                api_timeout_seconds=240,
                sent_at="2026-11-28T14:00:00Z",
                result=AttemptResult.FAILED if failed else AttemptResult.SUCCEEDED,
                error=ERROR if failed else None,
            ),
        ),
        error=ERROR if failed else None,
        **more,
    )


def totals_of(vms: list[VmRecord]) -> dict[str, int]:
    """The totals that belong to these VMs."""
    counts = Counter(record.outcome for record in vms)
    return {"targets": len(vms), **{outcome.value: counts[outcome] for outcome in Outcome}}


def report_of(vms: list[VmRecord], text: str = "rack-12", **run: Any) -> RunReport:
    """A report over these VMs; `text` stands everywhere a plan, a node or an operator can put words."""
    totals = totals_of(vms)
    left = LeftOnHost(uuid="b" * 32, name=text, type="ApplianceVm", state="Running", why="appliance")
    given: dict[str, Any] = {"status": "finished", "finished_at": "2026-11-28T15:00:00Z", "exit_code": 0, **run}
    record = RunRecord(
        id="20261128T140000Z-7f3a",
        plan=text,
        reference=text,
        plan_digest="sha256:00",
        plan_text=text,
        endpoint="http://mn:8080/zstack",
        tool_version="0.1.0",
        started_by=text,
        started_at="2026-11-28T14:00:00Z",
        warnings=(text,),
        **given,
    )
    return RunReport(
        run=record,
        totals=totals,
        causes=(Cause(cause="VM.1002 <- HOST.1011", count=1, hosts=(text,), vms=("c" * 32,)),),
        waves=(WaveRecord(name=text, started_at=None, finished_at=None, totals=totals),) * 2,
        hosts=(HostRecord(uuid=HOST, name=text, status="Connected", state="Enabled", totals=totals, left_on_host=(left,)),),
        vms=lambda: iter(vms),
    )


def every_outcome() -> list[VmRecord]:
    """One VM of each."""
    return [vm(index, outcome) for index, outcome in enumerate(Outcome)]


def rendered(name: str, report: RunReport) -> str:
    """The report in one format, line ends as written."""
    out = io.StringIO(newline="")
    RENDERERS[name].render(report, out)
    return out.getvalue()


def well_formed(name: str, text: str) -> Any:
    """The text read as strictly as its format allows."""
    text.encode("utf-8")
    match name:
        case "json":
            document = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
            Draft202012Validator(report_schema()).validate(document)
            return document
        case "csv":
            rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
            assert {len(row) for row in rows} == {len(rows[0])}
            return rows
        case "junit":
            # What is parsed here is our own output, so entity attacks are no matter.
            return ET.fromstring(text.encode())
        case "html":
            page = Page()
            page.feed(text)
            page.close()
            assert page.open == []
            return page
    return text


class Page(HTMLParser):
    """An HTML page's elements and text, and whether every element was closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember it, and that it is open."""
        self.seen[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last, and nothing else."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Remember what a reader sees."""
        self.text.append(data)


every_format = pytest.mark.parametrize("name", sorted(RENDERERS))


def test_the_formats_are_the_plans_own_words() -> None:
    """A plan can name json, html, markdown, csv and junit; text is for the terminal."""
    assert set(RENDERERS) == {"json", "html", "markdown", "csv", "junit", "text"}
    assert all(renderer.format == name for name, renderer in RENDERERS.items())
    assert len({renderer.extension for renderer in RENDERERS.values()}) == len(RENDERERS)


@every_format
def test_a_run_without_vms_is_a_whole_report(name: str) -> None:
    """Zero targets is a report like any other, well-formed in its format."""
    well_formed(name, rendered(name, report_of([])))


@every_format
def test_every_outcome_is_told(name: str) -> None:
    """Each of the outcomes, and no outcome at all, can be rendered, and none of them is dropped."""
    vms = [*every_outcome(), vm(99, None)]
    text = rendered(name, report_of(vms, status="running", finished_at=None, exit_code=None))
    well_formed(name, text)
    # A test case that passed carries no word of its own.
    passed = STOPPED | {Outcome.ALREADY_STOPPED, Outcome.STARTED, Outcome.ALREADY_RUNNING}
    told = set(Outcome) - (passed if name == "junit" else set())
    for outcome in told:
        spellings = (outcome, outcome.replace("_", " "), outcome.replace("_", "\\_"))
        assert any(word in text for word in spellings), outcome


@every_format
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_data(name: str, text: str) -> None:
    """Whatever a name holds, the report stays well-formed and shows no raw control or bidi character."""
    vms = [vm(1, Outcome.FAILED, text, inventory={text: text}), vm(2, Outcome.STOPPED_CLEAN, text, wave=text)]
    output = rendered(name, report_of(vms, text))
    well_formed(name, output)
    allowed = {"\n", "\r"} if name == "csv" else {"\n"}
    assert not {c for c in output if (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0) and c not in allowed}
    assert not set("\u202e\u2028\ufeff\uffff\ud800") & set(output)


@every_format
@pytest.mark.parametrize("status", ["running", "stopped_early", "interrupted", "refused"])
def test_an_unfinished_run_says_so(name: str, status: str) -> None:
    """A report of a run that did not come to its end is never mistaken for one that did."""
    text = rendered(name, report_of([vm(1, None)], status=status, finished_at=None, exit_code=None))
    well_formed(name, text)
    words = {"running": "not finished", "stopped_early": "early", "interrupted": "nterrupted", "refused": "efused"}
    if name != "csv":
        assert words[status] in text or status in text


class Sink(io.StringIO):
    """Takes everything and keeps nothing."""

    def write(self, text: str) -> int:
        """Count it as written."""
        return len(text)


@every_format
def test_vms_are_streamed(name: str) -> None:
    """Twenty thousand VMs take no more memory than a thousand: no pass holds on to what it has read."""
    inventory = {"allVolumes": [{"uuid": "d" * 32}] * 4}

    def peak(count: int) -> int:
        made = 0

        def vms() -> Iterator[VmRecord]:
            nonlocal made
            for index in range(count):
                made += 1
                cold = index % 50 == 0
                yield VmRecord(
                    uuid=f"{index:032x}",
                    host_uuid=HOST,
                    outcome=Outcome.STOPPED_COLD if cold else Outcome.STOPPED_CLEAN,
                    check_after_start=cold,
                    inventory=inventory,
                )

        cold = len(range(0, count, 50))
        totals = {**totals_of([]), "targets": count, "stopped_clean": count - cold, "stopped_cold": cold}
        report = dataclasses.replace(report_of([]), totals=totals, vms=vms)
        tracemalloc.start()
        try:
            RENDERERS[name].render(report, Sink())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert made >= count

    peak(10)
    few, many = peak(1_000), peak(20_000)
    assert many < few + 500_000


@pytest.mark.parametrize("name", sorted({*RENDERERS} - {"text"}))
def test_a_renderer_writes_before_it_has_read_everything(name: str) -> None:
    """The last pass over the VMs is written as it is read, so that a failing source leaves what came before it."""
    read, first_write = 0, 0
    vms = [vm(index, Outcome.FAILED) for index in range(200)]

    def source() -> Iterator[VmRecord]:
        nonlocal read
        read = 0
        for record in vms:
            read += 1
            yield record

    class Watch(io.StringIO):
        def write(self, text: str) -> int:
            nonlocal first_write
            if vms[0].uuid in text and not first_write:
                first_write = read
            return len(text)

    RENDERERS[name].render(dataclasses.replace(report_of(vms), vms=source), Watch())
    assert 0 < first_write < 10


def test_json_is_the_schemas_document() -> None:
    """report.json validates, has its keys in the documented order, and one VM a line."""
    report = report_of(every_outcome())
    text = rendered("json", report)
    document = well_formed("json", text)
    assert list(document) == ["schema_version", "run", "totals", "causes", "waves", "hosts", "vms"]
    assert document == report.document().model_dump(mode="json")
    for record in report.vms():
        assert [line for line in text.splitlines() if line.startswith(f'{{"uuid":"{record.uuid}"')]


def test_json_has_no_words_that_json_lacks() -> None:
    """NaN, infinities and what no JSON parser would send become null or text, never an invalid document."""
    inventory = {"a": float("nan"), "b": [float("inf")], "c": object(), "d": "\ud800"}
    document = well_formed("json", rendered("json", report_of([vm(1, Outcome.FAILED, inventory=inventory)])))
    kept = document["vms"][0]["inventory"]
    assert (kept["a"], kept["b"], kept["d"]) == (None, [None], "\\ud800")


def test_json_keeps_names_as_they_are() -> None:
    """Every name that UTF-8 can hold comes back from the JSON unchanged."""
    for text in HOSTILE:
        if "\ud800" not in text:
            document = json.loads(rendered("json", report_of([vm(1, Outcome.FAILED, text)])))
            assert document["vms"][0]["name"] == text


def test_junit_counts_are_true() -> None:
    """tests, failures and skipped are what the cases below them are, in a finished and an unfinished run."""
    for vms in ([], every_outcome(), [*every_outcome(), vm(98, None), vm(99, None)]):
        suite = well_formed("junit", rendered("junit", report_of(vms)))[0]
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase")) == len(vms)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))


def test_junit_failures_carry_the_chain() -> None:
    """A build server shows the chain of codes as the message and the words beneath it."""
    suite = well_formed("junit", rendered("junit", report_of(every_outcome())))
    failure = suite.find(".//failure[@type='failed']")
    assert failure.attrib["message"] == "VM.1002 <- HOST.1011"
    assert "the host is away" in failure.text


def test_csv_cells_are_no_formulas() -> None:
    """No cell starts with what a spreadsheet computes, and every row is one line that ends in CRLF."""
    vms = [vm(index, Outcome.FAILED, text) for index, text in enumerate(["=1", "+1", "-1", "@1", "\t=1", "\r1", " =1"])]
    text = rendered("csv", report_of(vms, "=1"))
    rows = well_formed("csv", text)
    assert text.count("\r\n") == len(rows) == len(vms) + 1
    assert text.count("\n") == len(rows)
    assert not [cell for row in rows for cell in row if cell.lstrip()[:1] in tuple("=+-@\t\r")]
    assert {row[1][0] for row in rows[1:]} == {"'"}


def test_csv_names_hosts_and_causes() -> None:
    """A row stands alone: the host's name, the chain of codes and the innermost words are in it."""
    header, row = well_formed("csv", rendered("csv", report_of([vm(1, Outcome.FAILED)])))
    cells = dict(zip(header, row, strict=True))
    assert cells["host_name"] == "rack-12"
    assert (cells["cause"], cells["error_details"]) == ("VM.1002 <- HOST.1011", "the host is away")
    assert (cells["attempts"], cells["late"]) == ("grace failed", "false")


def test_html_runs_and_fetches_nothing() -> None:
    """The page has no script, no handler and nothing to load, and its policy forbids both."""
    text = rendered("html", report_of([vm(1, Outcome.FAILED, HOSTILE[0])], HOSTILE[0]))
    page = well_formed("html", text)
    assert not {"script", "link", "img", "iframe", "object", "a", "form"} & set(page.seen)
    assert not {name for name in page.attributes if name.startswith("on") or name in ("src", "href", "style")}
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert "url(" not in text


@pytest.mark.parametrize(("count", "shown"), [(5000, 5000), (5001, 1)])
def test_html_of_a_large_run_lists_what_needs_somebody(count: int, shown: int) -> None:
    """Up to 5000 VMs each has a row; above, only those that are not simply stopped."""
    vms = [vm(index, Outcome.STOPPED_CLEAN) for index in range(count - 1)] + [vm(count, Outcome.FAILED)]
    text = rendered("html", report_of(vms))
    assert text.count('<small class="id">') - 1 == shown
    assert f"vm-{count}<" in text


@pytest.mark.parametrize(("count", "shown"), [(1000, 1000), (1001, 1)])
def test_markdown_of_a_large_run_counts_the_rest(count: int, shown: int) -> None:
    """Up to 1000 VMs each has a row; above, the simply stopped are counted per host."""
    vms = [vm(index, Outcome.STOPPED_CLEAN) for index in range(count - 1)] + [vm(count, Outcome.FAILED)]
    text = rendered("markdown", report_of(vms))
    assert sum(line.startswith("| vm-") for line in text.splitlines()) == shown
    assert ("| rack-12 | 1000 | 1000 stopped_clean |" in text) is (shown == 1)


def test_markdown_tables_keep_their_columns() -> None:
    """No name adds a cell to a row or a tag to a page."""
    for text in HOSTILE:
        output = rendered("markdown", report_of([vm(1, Outcome.FAILED, text)], text))
        widths = {line.count("|") for line in output.splitlines() if line.startswith("| ") and "vm-" in line}
        assert len(widths) <= 1
        assert "<" not in output
        assert "`c`" not in output
        assert "[d]" not in output


def test_text_fits_a_terminal() -> None:
    """No line is wider than 96 columns, whatever the names are."""
    for text in HOSTILE:
        output = rendered("text", report_of([*every_outcome(), vm(50, Outcome.FAILED, text)], text))
        assert max(map(len, output.splitlines())) <= 96


def test_text_stays_short() -> None:
    """A disaster with thousands of failures still fits what somebody reads at night."""
    vms = [vm(index, outcome) for index, outcome in enumerate(list(Outcome) * 300)]
    assert len(rendered("text", report_of(vms)).splitlines()) < 150
