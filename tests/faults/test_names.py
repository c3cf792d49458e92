"""Names and words from the node are data: in terminals, logs and reports they are shown, and never obeyed."""

import csv
import io
import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from orchestrator.model.safe import visible
from orchestrator.simulator import ClusterSpec, Guest, HostSpec, VmGroup
from tests.cli.support import Cli, Done, Node, wait_until
from tests.cli.test_terminal import Terminal
from tests.faults.canaries import Gateway, Passing, Watched, scenario

FORGED = "FORGED-LINE: all VMs are stopped"
"""Where a break of lines gets through, this begins a line of its own."""
LONG = "long-" + "x" * 9_995
HOSTILE: Mapping[str, str] = {
    "script": "<script>alert(1)</script>",
    "handler": '"><img src=x onerror=alert(2)>',
    "quotes": "' onmouseover='alert(3)' a=\"b\" </td></tr></table><h1>x",
    "comment": "<!-- </textarea></title></style> -->",
    "entities": "&lt;script&gt; &#60;b&#62; &amp;amp; &bomb;",
    "cdata": "]]> <![CDATA[ x ]]> <?xml version='1.1'?> <!DOCTYPE x>",
    "title": "\x1b]0;owned\x07 title",
    "moves": "\x1b[2J\x1b[1;1H\x1b[31mred\x1b[0m\x1b[A",
    "hyperlink": "\x1b]8;;http://evil.example/\x1b\\click\x1b]8;;\x1b\\",
    "c1": "\x9b31m red \x9d0;owned\x9c \x90q\x9c \x85",
    "newline": f"app\n{FORGED}",
    "return": f"app\r{FORGED}\r\n{FORGED}",
    "feeds": f"app\x0b{FORGED}\x0c{FORGED}\x1c{FORGED}\x85{FORGED}\u2028{FORGED}\u2029{FORGED}",
    "tabs": "a\tb\tc",
    "nul": "a\x00b\x00",
    "backspaces": "stopped\x08\x08\x08\x08\x08\x08\x08failed!\x7f",
    "bidi": "exe\u202egnp.txt \u2066x\u2069 \u200f\u061c\u202a",
    "no width": "a\u200bb\u2060c\ufeffd\u00ade",
    "tags": "a\U000e0041\U000e0042b",
    "surrogates": "lone \ud800 and \udfff",
    "nonsense": "\uffff \ufffe \ufdd0",
    "long": LONG,
    "wide": "机房" * 500,
    "command": "=cmd|' /C calc'!A0",
    "plus": "+1+1",
    "minus": "-2",
    "at": "@SUM(1)",
    "tab formula": "\t=1+1",
    "return formula": "\r=1+1",
    "line formula": "\n=1+1",
    "space formula": " =1+1",
    "wide formula": "\uff1d1+1",
    "cells": '","=1+1","',
    "pipes": "a|b||c\\|d \\",
    "code": "`code` ```block``` ``",
    "link": "[text](javascript:alert(4)) ![image](http://evil.example/x.png) [x]: y",
    "heading": "# heading ## == -- > quote ~~gone~~ **bold** __bold__ *x* _y_ $z$",
    "format": "%s %n %(name)s {0} {name!r} \\N{BELL} ${HOME} $(id)",
    "yaml": "{\"a\": [1, !!python/object:os.system 'x', &a *a, - b]}: # c",
    "sql": "x'; DROP TABLE vm; --",
}
LISTED = {"bullet": "- item", "number": "1. item", "plus item": "+ item", "rule": "---", "indent": "    code"}
"""What Markdown acts on at the start of an item alone."""
PLAN_NAME = '=1+1 <script>alert(5)</script> "><img src=x> a|b `c` [d](javascript:e) # ]]> %s {0} \\N{BELL} 机房'
FORMATS = {"json": "json", "html": "html", "markdown": "md", "csv": "csv", "junit": "xml", "text": "txt"}
_STEERING = frozenset("\u200b\u200e\u200f\u2060\u2061\u2062\u2063\u2064\u061c\u180e\ufeff\u00ad\ufffe\uffff\ufdd0")


def steering(text: str, allowed: str = "\n") -> list[str]:
    """What in a text may move a cursor, turn its direction, hide a character, or is none."""
    return sorted(
        {
            f"U+{ord(sign):04X}"
            for sign in set(text) - set(allowed)
            if unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"}
            or unicodedata.bidirectional(sign) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
            or sign in _STEERING
            or 0xE0000 <= ord(sign) < 0xE0080
        }
    )


def harmless(text: str, *, longest: int = 1_000) -> None:
    """A terminal shows it as it is, line by line as we wrote it, none of them endless."""
    assert steering(text) == []
    lines = text.split("\n")
    assert [line for line in lines if line.lstrip().startswith(FORGED[:11])] == []
    assert max(map(len, lines)) <= longest


def as_sent(name: str) -> str:
    """A name as a client can hold it: half of a character pair becomes a question mark."""
    return re.sub("[\ud800-\udfff]", "?", name)


def _reword(gateway: Gateway, passing: Passing) -> None:
    """What no scenario may hold is put in on the way; the error of each VM's stop is worded by one of the names."""
    passing.answer = passing.answer.replace(b"@surrogates@", b"lone \\ud800 and \\udfff")
    if passing.path.startswith("/v1/api-jobs") and b'"VM.1002"' in passing.answer:
        number = gateway.notes.setdefault(passing.path, len(gateway.notes))
        passing.error(as_sent([*HOSTILE.values()][number % len(HOSTILE)]), "VM.1002", "SYS.1006")


def pattern(name: str) -> str:
    """A group's name that yields this one."""
    return "@surrogates@" if "\ud800" in name else name.replace("{", "{{").replace("}", "}}")


@dataclass
class World:
    """One fleet of hostile names, what three runs over it said, and what they left."""

    cli: Cli
    node: Node
    runs: dict[str, Done]
    previewed: Done

    @property
    def folder(self) -> Path:
        """The newest run's reports."""
        return max((self.cli.folder / "reports").iterdir())

    def file(self, form: str) -> str:
        """A report as it is on disk."""
        return (self.folder / f"report.{FORMATS[form]}").read_bytes().decode("utf-8")

    def inside(self, *args: str) -> Done:
        """A command in this process, with everything it says as a terminal would get it."""
        with mock.patch("click.utils.should_strip_ansi", return_value=False):
            return self.cli.inside(*args)


def named(plan: Path) -> Path:
    """The plan under a name that is no better than the VMs'."""
    plan.write_text(json.dumps({**json.loads(plan.read_text("utf-8")), "name": PLAN_NAME}), "utf-8")
    return plan


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Every name on a VM whose stop fails, on an appliance and on a host; some on VMs that the plan excludes."""
    refusing = Guest(behaviour="plugin_refuses")
    groups, hosts = [], []
    for name in HOSTILE.values():
        hosts.append(f"{pattern(name)} host".replace("{{", "{").replace("}}", "}"))
        groups.append(VmGroup(name=pattern(name), guest=refusing, ha_level="NeverStop", hosts=(hosts[-1],)))
        groups.append(VmGroup(name=f"{pattern(name)} router", type="ApplianceVm", hosts=(hosts[-1],)))
    groups += [VmGroup(name=pattern(name), user_tags=("kept",)) for name in LISTED.values()]
    clusters = [ClusterSpec(name=HOSTILE["script"], hosts=tuple(HostSpec(name=host) for host in hosts))]
    fleet = scenario(*groups, clusters=clusters)
    cli = Cli(tmp_path_factory.mktemp("names"))
    with Node(fleet) as node, Gateway(node, _reword) as gateway:
        Watched(cli, "account", node, gateway.endpoint)
        sections: dict[str, Any] = {
            "reference": PLAN_NAME,
            "targets": {"where": [["name~=%"]]},
            "exclude": {"where": [["__userTag__=kept"]]},
            "limits": {"requests_per_second": 5000, "concurrency": 100, "per_host": 100},
            "report": {"formats": ["json", "html", "markdown", "csv", "junit"]},
        }
        plan = named(cli.plan(**sections))
        made = World(cli, node, {}, Done(0, "", ""))
        stop = {**json.loads(plan.read_text("utf-8"))["stop"], "stop_ha": False}
        without_ha = named(cli.plan("ha.yaml", stop=stop, **sections))
        made.previewed = made.inside("preview", str(without_ha), "--out", "preview.json")
        for form in ("json", "console", "progress"):
            more = () if form == "progress" else ("--log-format", form)
            made.runs[form] = made.inside("run", str(plan), "--yes", *more)
            assert made.runs[form].code == 1, made.runs[form].err[-2000:]
        yield made


def test_every_name_is_kept(world: World) -> None:
    """Whatever the names are, the run ends as ever, and report.json holds each of them as the node sent it."""
    report = json.loads(world.file("json"))
    names = {vm["name"] for vm in report["vms"]}
    assert {as_sent(name) for name in HOSTILE.values()} <= names
    assert {f"{as_sent(name)} router" for name in HOSTILE.values()} <= names
    assert {vm["name"] for vm in report["run"]["excluded"]} == set(LISTED.values())
    assert {host["name"] for host in report["hosts"]} == {f"{as_sent(name)} host" for name in HOSTILE.values()}
    words = {vm["error"]["cause"]["details"] for vm in report["vms"] if vm["error"]}
    assert words == {as_sent(name) for name in HOSTILE.values()}
    assert report["run"]["plan"] == PLAN_NAME


@pytest.mark.parametrize("form", ["progress", "console", "json"])
def test_streams_of_a_run(world: World, form: str) -> None:
    """Progress and console log, and the summary on stdout: names are written out, on lines that we began."""
    done = world.runs[form]
    harmless(done.out)
    harmless(done.err, longest=100_000 if form == "json" else 25_000 if form == "console" else 1_000)
    assert r"\x1b]0;owned\x07 title" in done.err.replace(r"\\", "\\"), "the name is told"


def test_a_json_log_is_ascii_and_json(world: World) -> None:
    """Every line of it is one object, and no name is more than text in it."""
    done = world.runs["json"]
    assert done.err.isascii()
    lines = [json.loads(line) for line in done.err.splitlines()]
    named = {line["name"] for line in lines if line.get("event") == "vm.outcome"}
    assert {visible(as_sent(name)) for name in HOSTILE.values()} <= named


@pytest.mark.parametrize("args", [("runs",), ("show", "last"), ("report", "last", "--format", "text")], ids=" ".join)
def test_what_is_looked_at_later(world: World, args: tuple[str, ...]) -> None:
    """`runs`, `show` and the text report: the same names, just as harmless."""
    done = world.inside(*args)
    assert done.code == 0
    harmless(done.said)
    assert visible(PLAN_NAME)[:20] in done.out


def test_each_vm_looked_at(world: World) -> None:
    """`show RUN VM`: name, evidence and events of each hostile VM stand on lines of ours."""
    for vm in json.loads(world.file("json"))["vms"][: len(HOSTILE)]:
        done = world.inside("show", "last", vm["uuid"])
        assert done.code == 0
        harmless(done.said)
        assert vm["uuid"] in done.out.splitlines()[0]


def test_a_preview(world: World) -> None:
    """`preview`: names of skipped VMs and in warnings; its file holds them as they are."""
    assert world.previewed.code == 0
    harmless(world.previewed.said)
    assert "HA would bring back" in world.previewed.out
    assert r"skip: \x1b]0;owned\x07 title router" in world.previewed.out
    kept = json.loads((world.cli.folder / "preview.json").read_text("utf-8"))
    assert {as_sent(name) for name in HOSTILE.values()} <= {vm["name"] for vm in kept["vms"]}


def test_the_question_on_a_terminal(world: World) -> None:
    """The confirmation on a real terminal shows the skipped VMs and steers nothing."""
    terminal = Terminal(world.cli, "run", world.cli.folder / "plan.yaml", "--no-color")
    try:
        wait_until(lambda: "Type yes" in terminal.seen, "the question")
        terminal.type("no\n")
    finally:
        assert terminal.end() == 3
    harmless(terminal.seen)
    assert r"skip: \x1b]0;owned\x07 title router" in terminal.seen


# ── reports ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "form",
    FORMATS,
)
def test_reports_hold_nothing_that_steers(world: World, form: str) -> None:
    """Each format, from disk and on stdout: no control character, no turned or hidden text."""
    done = world.inside("report", "last", "--format", form)
    assert done.code == 0
    assert steering(done.out, "\r\n" if form == "csv" else "\n") == []
    if form != "text":
        assert done.out == world.file(form)


class _Page(HTMLParser):
    """What a browser would build: elements, attributes, text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.others: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(attrs)
        if tag not in {"meta", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)


_TAGS = re.findall(
    r"\w+",
    "html head meta title style body main header p h1 h2 h3 div dl dt dd b span ul li small code table thead tbody tr th td "
    "input details summary pre section select option button canvas dialog script",
)
_ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "type",
        "id",
        "hidden",
        "role",
        "tabindex",
        "placeholder",
        "aria-label",
        "aria-labelledby",
        "data-zoom",
        "data-filter",
        "data-outcome",
        "data-cause",
        "data-host",
        "value",
    ]
)


def test_html_is_made_of_our_elements_alone(world: World) -> None:
    """No element, attribute, comment or declaration comes from a name; each name is there, as text or in the data."""
    page = _Page()
    page.feed(whole := world.file("html"))
    page.close()
    assert page.open == []
    assert page.tags <= set(_TAGS)
    assert {name for name, _ in page.attributes} <= _ATTRIBUTES
    ours = {value for name, value in page.attributes if name not in {"content", "data-cause", "data-host", "aria-label"}}
    assert all(re.fullmatch(r"[A-Za-z0-9 ,/_-]+", value) for value in ours if value), ours
    assert page.others == []
    data = json.loads(whole.partition('id="data">')[2].partition("</script>")[0])
    shown = [row[data["fields"].index("name")] for row in data["rows"]]
    for name in HOSTILE.values():
        assert any(visible(as_sent(name))[:100].split("…")[0] in text for text in (page.text, *shown))
    assert PLAN_NAME in page.text


_ESCAPED = re.compile(r"\\[!-/:-@\[-`{-~]|&(?:amp|lt|gt|#124);")


def _bare(text: str) -> str:
    """What is left for Markdown to act on once escaped characters and entities are taken out."""
    return _ESCAPED.sub("", text)


def test_markdown_tables_keep_their_columns(world: World) -> None:
    """Each row of a table has as many cells as its head, and no cell holds anything that Markdown acts on."""
    width = rows = 0
    for line in world.file("markdown").splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]
        width = width or len(cells)
        assert len(cells) == width, line[:200]
        rows += 1
        assert re.findall(r"[<>&`*\[\]~#!|\\$]|\b_|_\b", _bare("".join(cells))) == [], line[:200]
    assert rows > 2 * len(HOSTILE)


def test_markdown_around_the_tables(world: World) -> None:
    """No line but ours is a heading, a fence, a quote or markup; no raw HTML; lists hold text."""
    for line in world.file("markdown").splitlines():
        if line.startswith("|"):
            continue
        begin = re.match(r"#{1,2} |- |\*\*|and \d|$|[A-Z0-9]", line)
        assert begin, line[:200]
        ours = line.replace("**", "") if line.startswith("**") else line[begin.end() :]
        ours = re.sub("`(report\\.(json|csv)|orchestrator resume [^`]*)`", "", ours)
        assert re.findall(r"[<>&`*\[\]~#!|\\$]|\b_|_\b", _bare(ours)) == [], line[:200]


@pytest.mark.parametrize("name", LISTED)
def test_markdown_lists_hold_no_lists(world: World, name: str) -> None:
    """A name at the start of an item makes no list, rule or block of its own."""
    items = [line[2:] for line in world.file("markdown").splitlines() if line.startswith("- ")]
    [item] = [item for item in items if LISTED[name].strip() in item.replace("\\", "") and "userTag" in item]
    assert not re.match(r"[-+*]\s|\d+[.)]\s|\s{4}|(-\s*){3,}", item)


def test_csv_cells_are_text(world: World) -> None:
    """Read by a CSV reader, every row is as wide as the head and no cell begins as a formula."""
    text = world.file("csv")
    head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert len(rows) == 2 * len(HOSTILE) == text.count("\r\n") - 1
    assert {len(row) for row in rows} == {len(head)}
    triggers = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
    assert [cell for row in rows for cell in row if cell.lstrip().startswith(triggers)] == []
    names = {row[head.index("name")] for row in rows}
    for name in HOSTILE.values():
        assert {visible(as_sent(name)), f"'{visible(as_sent(name))}"} & names


def test_junit_is_xml(world: World) -> None:
    """Read by an XML parser: one case a VM, no element but those of the format, names as attributes."""
    root = ET.fromstring(world.file("junit"))
    assert {element.tag for element in root.iter()} <= {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "skipped", "system-out",
    }  # fmt: skip
    cases = list(root.iter("testcase"))
    assert len(cases) == 2 * len(HOSTILE)
    assert root.attrib["name"] == PLAN_NAME
    shown = " ".join(case.attrib["name"] for case in cases)
    assert all(visible(as_sent(name))[:90] in shown for name in HOSTILE.values())


# ── refusals ───────────────────────────────────────────────────────────────────────────────────────────────────────
_BREAKS, _LONG = ["newline", "return", "feeds"], ["long", "wide"]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(_BREAKS, id="that break lines"),
        pytest.param(_LONG, id="that are long"),
        pytest.param([name for name in HOSTILE if name not in {*_BREAKS, *_LONG}], id="all others"),
    ],
)
@pytest.mark.parametrize("why", ["protected", "drifted"])
def test_names_in_refusals(world: World, names: list[str], why: str) -> None:
    """VMs that are protected, or have changed since the preview: the refusal names each on a line of ours."""
    wanted = {as_sent(HOSTILE[name]) for name in names}
    kept = json.loads((world.cli.folder / "preview.json").read_text("utf-8"))
    uuids = [vm["uuid"] for vm in kept["vms"] if vm["name"] in wanted]
    assert len(uuids) == len(names)
    drift: list[str] = []
    if why == "drifted":
        plan = world.cli.plan("drifted.yaml", targets={"uuids": uuids})
        assert world.inside("preview", str(plan), "--out", "drift.json").code == 0
        old = json.loads((world.cli.folder / "drift.json").read_text("utf-8"))
        moved = {**old, "vms": [{**vm, "wave": "another"} for vm in old["vms"]]}
        (world.cli.folder / "drift.json").write_text(json.dumps(moved), "utf-8")
        drift = ["--preview", "drift.json"]
    else:
        plan = world.cli.plan("protected.yaml", targets={"uuids": uuids}, guard={"protect": {"uuids": uuids}})
    done = world.inside("run", str(plan), "--yes", *drift)
    assert done.code == 3
    assert done.err.count("\n  - ") == min(len(names), 20 if drift else len(names))
    harmless(done.said)


_WORDS = f"no\n{FORGED}\r{FORGED}\x85{FORGED}\u2028{FORGED} \x1b]0;owned\x07\x1b[2J \x9b31m \u202ex <script>x</script>{LONG}"


def _login(gateway: Gateway, passing: Passing) -> None:
    if passing.path == "/v1/accounts/login":
        passing.error(_WORDS, "ID.1099")


def _version(gateway: Gateway, passing: Passing) -> None:
    if passing.action == "getVersion":
        passing.answer = json.dumps({"version": _WORDS}).encode()


def _zone(gateway: Gateway, passing: Passing) -> None:
    if passing.path == "/v1/management-nodes/platform-timezone":
        passing.answer = json.dumps({"timezone": _WORDS, "offset": _WORDS}).encode()


def _session_gone(gateway: Gateway, passing: Passing) -> None:
    if passing.path == "/v1/management-nodes/platform-timezone":
        passing.error(_WORDS, "ID.1001")


def _forbidden(gateway: Gateway, passing: Passing) -> None:
    if passing.path == "/v1/management-nodes/platform-timezone":
        passing.status, passing.answer = 403, _WORDS.encode()


def _permission(gateway: Gateway, passing: Passing) -> None:
    if passing.action == "stopVmInstance":
        passing.error(_WORDS, "ID.1002")


def _query(gateway: Gateway, passing: Passing) -> None:
    if passing.path.startswith("/v1/vm-instances?"):
        passing.error(_WORDS, "SYS.1007")


def _page(gateway: Gateway, passing: Passing) -> None:
    if passing.path.startswith("/v1/vm-instances?"):
        passing.status, passing.answer = 502, _WORDS.encode()


def _code(gateway: Gateway, passing: Passing) -> None:
    if passing.path.startswith("/v1/vm-instances?"):
        passing.error("no", _WORDS)


def _broken_header(gateway: Gateway, passing: Passing) -> None:
    if passing.authorization:
        passing.broken = b"X-Words: \x1b]0;owned\x07 \x00 FORGED\r\n"


@pytest.mark.parametrize(
    ("kind", "command", "alter"),
    [
        ("account", "doctor", _login),
        ("account", "doctor", _version),
        ("account", "doctor", _zone),
        ("access key", "doctor", _zone),
        ("account", "doctor", _session_gone),
        ("access key", "doctor", _session_gone),
        ("account", "doctor", _forbidden),
        ("access key", "doctor", _forbidden),
        ("account", "doctor", _permission),
        ("account", "preview", _permission),
        ("account", "preview", _query),
        ("account", "preview", _page),
        ("account", "preview", _code),
        ("account", "doctor", _broken_header),
        ("access key", "doctor", _broken_header),
    ],
)
def test_words_of_the_node_in_refusals(
    tmp_path: Path, kind: str, command: str, alter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a node or a proxy says when it refuses stands in our sentence, on our line."""
    monkeypatch.setattr("orchestrator.clouds.zstack.http.PAUSES", ())
    monkeypatch.setattr("orchestrator.engine.resolve._PAUSES", ())
    cli = Cli(tmp_path)
    with Node(scenario()) as node, Gateway(node, alter) as gateway:
        Watched(cli, kind, node, gateway.endpoint)
        done = World(cli, node, {}, Done(0, "", "")).inside(command, *([str(cli.plan())] if command == "preview" else []))
        assert done.code in {0, 2, 3}
        harmless(done.said)
