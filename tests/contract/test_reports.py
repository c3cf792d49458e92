"""What every report renderer promises, run over all of them, and what each format has to be."""

import base64
import csv
import dataclasses
import hashlib
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

from orchestrator.model.outcome import GOOD, AttemptReason, AttemptResult, AttemptType, HostOutcome, Outcome, Reason
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
from orchestrator.reports import RENDERERS, TextReport, report_schema
from tests.evacuated import ENTER, REFUSED, UNDER_WAY, deed, evacuated, restored

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
    passed = GOOD - {Outcome.SKIPPED}
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


@every_format
def test_hosts_that_were_emptied_are_told(name: str) -> None:
    """What became of each host, in every format but the one of a row a VM; who migrated is told in all of them."""
    text = rendered(name, evacuated(last=REFUSED))
    well_formed(name, text)
    assert "migrat" in text
    if name != "csv":
        for words in ("rack-12-host-02", "rack-12-host-04", "HOST.1001"):
            assert words in text
        for outcome in ("not_empty", "failed"):
            assert outcome in text or outcome.replace("_", " ") in text


@every_format
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_words_about_hosts_are_data(name: str, text: str) -> None:
    """Whatever a host is called and the node says of it, the report stays well-formed and shows nothing raw."""
    error = {"code": text, "details": text}
    action = dataclasses.replace(
        deed("maintain", HostOutcome.FAILED, 1, error=error), evidence=text, state=text, state_before=text
    )
    for report in (evacuated(last=action), restored(dataclasses.replace(action, action="enable"))):
        hosts = tuple(host.model_copy(update={"name": text, "state": text}) for host in report.hosts)
        output = rendered(name, dataclasses.replace(report, hosts=hosts))
        well_formed(name, output)
        allowed = {"\n", "\r"} if name == "csv" else {"\n"}
        assert not {c for c in output if (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0) and c not in allowed}
        assert not set("\u202e\u2028\ufeff\uffff\ud800") & set(output)
        if name == "text":
            assert max(map(len, output.splitlines())) <= 96


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


def test_junit_has_a_case_for_each_host() -> None:
    """A host that was to be changed is a case of its own, failed unless that was done; the counts are of all cases."""
    enabled, refused = deed("enable", HostOutcome.DONE, 1), deed("enable", HostOutcome.FAILED, 1, error=ENTER)
    for report, failed, skipped in (
        (evacuated(), 1, 0),
        (evacuated(last=REFUSED), 2, 0),
        (evacuated(last=UNDER_WAY, status="running", finished_at=None), 1, 1),
        (restored(enabled, refused), 1, 0),
    ):
        suite = well_formed("junit", rendered("junit", report))[0]
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
        cases = suite.findall("testcase[@classname='hosts']")
        assert len(cases) == len(report.hosts)
        assert len([case for case in cases if case.find("failure") is not None]) == failed
        assert len([case for case in cases if case.find("skipped") is not None]) == skipped
    failure = well_formed("junit", rendered("junit", evacuated())).find(".//testcase[@classname='hosts']/failure")
    assert (failure.attrib["type"], failure.attrib["message"]) == ("not_empty", "2 VMs left")


def test_csv_says_where_a_vm_is_now() -> None:
    """The last columns have the host that it migrated to, with its name where that is known, and nothing of another VM."""
    header, *rows = well_formed("csv", rendered("csv", evacuated()))
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    assert header[-2:] == ["migrated_to", "migrated_to_name"]
    assert {cell["migrated_to"] for cell in cells if cell["outcome"] == "migrated"} == {"e" * 32, "d" * 32}
    assert {cell["migrated_to_name"] for cell in cells if cell["outcome"] == "migrated"} == {"rack-9-host-01", ""}
    assert {cell["migrated_to"] + cell["migrated_to_name"] for cell in cells if cell["outcome"] != "migrated"} == {""}


def test_markdown_has_a_checklist_of_what_is_left_to_do() -> None:
    """Hosts that are not as they were to be, with what is left on them, and the VMs that somebody has to look at."""
    lines = [line for line in rendered("markdown", evacuated(last=REFUSED)).splitlines() if line.startswith("- [ ] ")]
    left = "db-3 (UserVm, Running, failed: HOST.1007 &lt;- KVM.1000), keeper (UserVm, Running, protected)"
    assert lines == [
        f"- [ ] Host rack-12-host-02: 2 VMs left: {left}",
        "- [ ] Host rack-12-host-04: could not be put into maintenance: HOST.1001 &lt;- SYS.1003",
        "- [ ] VM db-3 on rack-12-host-02: failed: HOST.1007 &lt;- KVM.1000: it kept writing",
    ]
    assert "- [ ]" not in rendered("markdown", restored(deed("enable", HostOutcome.DONE, 1)))


def test_json_carries_what_was_done_to_hosts() -> None:
    """Each action with its attempts and errors, and what the run was to do; it is the schema's document."""
    report = evacuated(last=REFUSED)
    document = well_formed("json", rendered("json", report))
    assert document == report.document().model_dump(mode="json")
    assert document["run"]["evacuate"] == {"vms": "migrate_then_stop", "hosts": "maintain"}
    assert [action["outcome"] for action in document["hosts"][3]["actions"]] == ["done", "failed"]
    assert document["hosts"][3]["actions"][1]["error"] == ENTER


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


def test_html_runs_its_own_script_and_fetches_nothing() -> None:
    """The page has its data and one script, no handler and nothing to load; its policy allows that one script alone."""
    text = rendered("html", report_of([vm(1, Outcome.FAILED, HOSTILE[0])], HOSTILE[0]))
    page = well_formed("html", text)
    assert page.seen["script"] == 2
    assert not {"link", "img", "iframe", "object", "a", "form"} & set(page.seen)
    assert not {name for name in page.attributes if name.startswith("on") or name in ("src", "href", "style")}
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in text
    assert "url(" not in text


def page_data(text: str) -> dict[str, Any]:
    """What the page's script reads, each row under its names."""
    data: dict[str, Any] = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    for name in ("fields", "attempt_fields"):
        assert len(set(data[name])) == len(data[name])
    data["vms"] = [
        {
            field: data["words"][value] if field in data["numbered"] and value is not None else value
            for field, value in zip(data["fields"], row, strict=False)
        }
        for row in data["rows"]
    ]
    return data


def test_html_embeds_what_a_row_and_its_steps_show() -> None:
    """Name, host, outcome, error and each attempt of a VM are in the page's data."""
    failed = vm(1, Outcome.FAILED, started_at="2026-11-28T14:00:02.5Z", finished_at="2026-11-28T14:01:00Z")
    data = page_data(rendered("html", report_of([failed])))
    (row,) = data["vms"]
    assert (row["uuid"], row["name"], row["host"], row["outcome"]) == (failed.uuid, "vm-1", "rack-12", "failed")
    assert (row["cause"], row["error"], row["evidence"]) == ("VM.1002 <- HOST.1011", "the host is away", "seen by the job")
    assert (row["from"], row["to"]) == (2.5, 60.0)
    (attempt,) = row["attempts"]
    values = dict(zip(data["attempt_fields"], attempt, strict=False))
    assert [data["words"][values[name]] for name in ("type", "reason", "result")] == ["grace", "plan", "failed"]
    assert (values["sent"], values["timeout"], values["job"]) == (0.0, 240, "a" * 32)


def test_html_embeds_where_a_vm_migrated_and_what_was_done_to_hosts() -> None:
    """The host that it is on now and that each attempt was to reach; of the hosts every action with its times and error."""
    data = page_data(rendered("html", evacuated(last=REFUSED)))
    row = next(row for row in data["vms"] if row["outcome"] == "migrated")
    assert row["migrated_to"] == "rack-9-host-01"
    attempt = dict(zip(data["attempt_fields"], row["attempts"][0], strict=False))
    assert (data["words"][attempt["type"]], data["words"][attempt["host"]]) == ("migrate", "rack-9-host-01")
    disable, maintain = data["hosts"][3]["actions"]
    assert (disable["action"], disable["outcome"], disable["from"], disable["to"]) == ("disable", "done", 1.0, 3.0)
    assert (maintain["outcome"], maintain["tone"], maintain["cause"]) == ("failed", "bad", "HOST.1001 <- SYS.1003")
    assert maintain["attempts"][0]["error"] == "a volume is busy"
    assert "migrated_to" not in next(row for row in data["vms"] if row["outcome"] == "failed")


@pytest.mark.parametrize(("count", "listed"), [(20_000, 20_000), (20_001, 1)])
def test_html_of_a_large_run_lists_what_needs_somebody(count: int, listed: int) -> None:
    """Up to 20 000 VMs each has a row; above, those that are not simply stopped, and the rest is counted by host."""
    clean = vm(0, Outcome.STOPPED_CLEAN, started_at="2026-11-28T14:00:02Z", finished_at="2026-11-28T14:01:00Z")
    vms = [clean] * (count - 1) + [vm(count, Outcome.FAILED)]
    text = rendered("html", report_of(vms))
    data = page_data(text)
    assert len(data["vms"]) == listed
    assert data["vms"][-1]["outcome"] == "failed"
    rest = [{"host": "rack-12", "from": 2.0, "to": 60.0, "outcomes": {"stopped_clean": count - 1}}]
    assert data["rest"] == (rest if listed == 1 else [])


@pytest.mark.parametrize("text", [*HOSTILE, "<&>" * 100, "\u751f" * 5000, "\U00020000" * 5000], ids=range(len(HOSTILE) + 3))
def test_html_embeds_at_most_a_kilobyte_a_vm(text: str) -> None:
    """Whatever names, errors, states and how many attempts: each further VM adds no more than 1024 bytes to the page."""
    error = {"code": text[:200], "details": text, "cause": {"code": text[:200], "details": text}}

    def spoilt(index: int) -> VmRecord:
        def own(words: str) -> str:  # no word is shared between two VMs
            return f"{index}{words}"

        attempt = AttemptRecord(
            type=AttemptType.COLD, reason=AttemptReason.ERROR, job_uuid=f"{index:032x}", api_timeout_seconds=86_400,
            sent_at="2026-11-28T14:00:00Z", ended_at="2026-11-28T14:00:00Z", result=AttemptResult.TIMED_OUT,
            error={**error, "details": own(text)}, host_uuid=own(text),
        )  # fmt: skip
        return dataclasses.replace(
            vm(index, Outcome.STOPPED_COLD, own(text)),
            type=own(text), host_uuid=own(text), wave=own(text), ha_level=own(text), state_before=own(text), state=own(text),
            late=True, check_after_start=True, verified_at="2026-11-28T14:00:00Z", started_at="2026-11-28T14:00:00Z",
            finished_at="2026-11-28T14:00:00Z", elapsed_seconds=12345.6, attempts=(attempt,) * 40,
            evidence=Evidence(text=own(text), seconds=1.5, basis="job"),
            error={"code": own(text[:200]), "details": own(text)}, migrated_to=own(text),
        )  # fmt: skip

    sizes = [len(rendered("html", report_of([spoilt(i) for i in range(count)])).encode()) for count in (10, 110)]
    assert sizes[1] - sizes[0] <= 1024 * 100


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


@pytest.mark.parametrize(("columns", "widest"), [(20, 60), (72, 72), (96, 96), (400, 96)])
def test_text_fits_a_terminal(columns: int, widest: int) -> None:
    """No line is wider than the terminal, nor than 96 columns, whatever the names are."""
    for text in HOSTILE:
        out = io.StringIO()
        TextReport(columns).render(report_of([*every_outcome(), vm(50, Outcome.FAILED, text)], text), out)
        lines = list(map(len, out.getvalue().splitlines()))
        assert widest - 20 < max(lines) <= widest


def test_text_stays_short() -> None:
    """A disaster with thousands of failures still fits what somebody reads at night."""
    vms = [vm(index, outcome) for index, outcome in enumerate(list(Outcome) * 300)]
    assert len(rendered("text", report_of(vms)).splitlines()) < 150
