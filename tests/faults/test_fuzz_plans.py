"""Whatever is done to a plan: what must load loads the same, what is wrong is refused at its place, and no node is asked.

Verdicts come from the contract, not from the code: `written` only changes how a plan is spelt, `BREAKS` holds values
and rules that the contract refuses, and for any other damage nothing is expected but a plan or a refusal.
"""

import copy
import json
import math
import random
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import PlanError
from orchestrator.plan.load import PlanFile, load_plan, plan_from_text
from tests.cli.support import ACCOUNT, Cli
from tests.faults.fuzzing import CASES, ODD_NUMBERS, ODD_TEXTS, damaged_bytes, fuzz, other_type, paths_in
from tests.unit.plan.examples import FULL, GOOD

SECOND = 1_000_000


# ── values with more than one spelling ─────────────────────────────────────────────────────────────────────────────
class Span(int):
    """A duration in microseconds."""


class Uuid(str):
    """A UUID: 32 lower-case hex digits."""


class Count(int):
    """An exact number of expected targets."""


class Raw(str):
    """Text that is written as it stands, without quotes."""


class Pairs:
    """A mapping that may hold a key twice."""

    def __init__(self, *pairs: tuple[Any, Any]) -> None:
        self._pairs = pairs

    def items(self) -> list[tuple[Any, Any]]:
        """Keys with their values, as a dict has them."""
        return list(self._pairs)


def _decimal(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def spelt_span(span: int, dice: random.Random) -> str:
    """One of the many ways to write a duration."""
    units = [("h", 3600 * SECOND), ("m", 60 * SECOND), ("s", SECOND), ("ms", 1000)]
    chosen = [unit for unit in units if dice.random() < 0.4] or [("s", SECOND)]
    parts, left = [], span
    for name, size in chosen[:-1]:
        count, left = divmod(left, size)
        if count or dice.random() < 0.3:
            parts.append(f"{count}{name}")
    name, size = chosen[-1]
    last = Decimal(left) / size
    if last * size != left or len(_decimal(last)) > 12:
        return f"{_decimal(Decimal(span) / SECOND)}s"
    return "".join(parts) + f"{_decimal(last)}{name}"


def spelt_uuid(uuid: str, dice: random.Random) -> str:
    """Upper case, dashes and blanks around."""
    text = "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:])) if dice.random() < 0.4 else uuid
    text = "".join(dice.choice((str.upper, str.lower))(sign) for sign in text) if dice.random() < 0.5 else text
    return f"{' ' * dice.randrange(3)}{text} " if dice.random() < 0.2 else text


# ── plans that are right ───────────────────────────────────────────────────────────────────────────────────────────
LINES = (
    "rack-12-power", "CHG-20417", "生产 é", "🚀 go", "yes", "12:30", "2026-11-28", "a: b # c", "- x", "*star", "'q'", '"dq"',
    "null", "1e3", "0x1f", "~", "\\n", "ends:", "[x]", "{y}", "%p", "@at", "`tick`", "!bang", "&amp", "| pipe", "> fold",
    "#hash", "a\u0301 مرحبا", "true", ".inf", "<<", "=", "? q", "'", "x" * 3000, "version: 2",
)  # fmt: skip
PROSES = (*LINES, "two\nlines", "tab\there", "trailing\n", "\n\nafter")
CONDITIONS = (
    "cluster.name=rack-12", "name~=app-%", "hostUuid not null", "hostUuid is null", "__userTag__=protected", "cpuNum>=4",
    "memorySize<1024", "state!=Stopped", "name!~=db-%", "uuid?=" + "a" * 32, "zone.uuid!?=x,y", "name=生产", "type = UserVm",
    "vmNics.ip=10.0.0.1", "name=a,b", "name~=%[x]%", "name='q'", "description=a: b # c",
)  # fmt: skip
FORMATS = ("json", "html", "markdown", "csv", "junit")


def some(pool: Iterable[Any], dice: random.Random, least: int = 1, most: int = 4) -> list[Any]:
    """A few different ones."""
    pool = list(pool)
    return dice.sample(pool, dice.randint(least, min(most, len(pool))))


def new_uuid(dice: random.Random) -> Uuid:
    """A UUID, at times one that YAML takes for a number."""
    return Uuid(
        dice.choice((f"{dice.getrandbits(128):032x}", f"{dice.randrange(10**32):032d}", f"{dice.randrange(10**30)}e1")[:2])
    )


def selection(dice: random.Random, files: list[str]) -> dict[str, Any]:
    """A selector with at least one way to select."""
    made: dict[str, Any] = {}
    if dice.random() < 0.5:
        made["uuids"] = [new_uuid(dice) for _ in range(dice.randint(1, 4))]
    if files and dice.random() < 0.4:
        made["uuid_files"] = some(files, dice, most=2)
    if not made or dice.random() < 0.6:
        made["where"] = [some(CONDITIONS, dice, most=3) for _ in range(dice.randint(1, 3))]
    return made


def valid_plan(dice: random.Random, files: list[str]) -> dict[str, Any]:
    """A plan that the contract allows, with any of its keys."""

    def sometimes(**makers: Callable[[], Any]) -> dict[str, Any]:
        return {key: make() for key, make in makers.items() if dice.random() < 0.45}

    def listed(pool: Iterable[str]) -> Callable[[], list[Any]]:
        return lambda: some(pool, dice, least=0)

    def count() -> int:
        return dice.choice((1, 2, 5, 50, 999, 1_000_000))

    stop = sometimes(
        cold_timeout=lambda: Span(dice.choice((1, 1000, SECOND, 180 * SECOND, 3600 * SECOND + 1))),
        stop_ha=lambda: dice.random() < 0.5,
        system_tags=listed(LINES),
        user_tags=listed(LINES),
        appliances=lambda: dice.choice(("skip", "include")),
        type=lambda: dice.choice(("grace", "cold")),
    )
    if dice.random() < 0.5:
        cut = dice.choice((1000, 250_000, SECOND, 60 * SECOND, 61 * SECOND, 600 * SECOND))
        stop |= {
            "power_cut_after": Span(cut),
            "grace_timeout": Span(cut * 5 // 4 + dice.choice((0, 1, SECOND, 900 * SECOND))),
        }
    if dice.random() < 0.4:
        stop["fallback_on"] = some(("timeout", "error"), dice)
    if stop.get("type") != "cold" and dice.random() < 0.4:
        stop["fallback"] = dice.choice(("cold", "none"))
    low = dice.randint(1, 500)
    guard = sometimes(
        endpoint=lambda: dice.choice(("https://mn.example:8443/zstack", "http://10.0.0.1:8080/zstack", "http://[::1]:8080")),
        max_targets=lambda: 500 + count() % 1000,
        expect_targets=lambda: dice.choice((Count(low), f"{low}..500")),
        protect=lambda: selection(dice, files) | sometimes(may_be_empty=lambda: dice.random() < 0.5),
    )
    limits = sometimes(
        concurrency=count, per_host=count, per_cluster=count, per_primary_storage=count,
        requests_per_second=lambda: dice.choice((1, 0.5, 2.5, 50, 1000)),
        node_outage=lambda: Span(dice.choice((0, 1000, 600 * SECOND))),
    )  # fmt: skip
    sections = sometimes(
        reference=lambda: dice.choice(LINES),
        description=lambda: dice.choice(PROSES),
        exclude=lambda: selection(dice, files) | sometimes(may_be_empty=lambda: dice.random() < 0.5),
        verify=lambda: sometimes(after=lambda: Span(dice.choice((0, SECOND, 120 * SECOND)))),
        report=lambda: sometimes(formats=listed(FORMATS), directory=lambda: dice.choice(LINES)),
    )
    tree = {"version": 1, "name": dice.choice(LINES), "targets": selection(dice, files), **sections}
    return tree | {key: part for key, part in (("stop", stop), ("guard", guard), ("limits", limits)) if part}


# ── how a plan is spelt ────────────────────────────────────────────────────────────────────────────────────────────
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./~=%-]*(?: [A-Za-z0-9_./~=%-]+)*")
_NOT_TEXT = {"true", "false", "null"}


class Written:
    """A tree as the text of a file. Without chance it is one plain JSON or YAML; with it, one of the many spellings."""

    def __init__(self, dice: random.Random | None, *, as_json: bool) -> None:
        self._dice = dice
        self._json = as_json
        self._anchors: dict[str, str] = {}

    def text(self, tree: Any) -> str:
        """The whole file."""
        if self._json:
            blank = blanks(self._dice)
            return f"{blank()}{self._flow(tree, blank)}{blank()}"
        if not isinstance(tree, dict | Pairs) or not tree:
            return self._flow(tree, lambda: " ") + "\n"
        body = "".join(self._block(tree, self._maybe(0.3) * 2))
        head = "---\n" if self._maybe(0.15) else ""
        head = f"%YAML 1.2\n{head}" if head and self._maybe(0.3) else head
        return f"{head}{body}{'...' + chr(10) if self._maybe(0.1) else ''}"

    def _maybe(self, chance: float) -> bool:
        return self._dice is not None and self._dice.random() < chance

    def _items(self, tree: Any) -> list[tuple[Any, Any]]:
        items = list(tree.items())
        if self._dice is not None and not isinstance(tree, Pairs):
            self._dice.shuffle(items)
        return items

    def _block(self, tree: Any, indent: int) -> Iterator[str]:
        step = 2 if self._dice is None else self._dice.randint(1, 5)
        mapping = isinstance(tree, dict | Pairs)
        for key, value in self._items(tree) if mapping else [(None, item) for item in tree]:
            if self._maybe(0.1):
                yield self._dice.choice(("\n", f"{' ' * indent}# note: [x\n", "   \n")) if self._dice else ""
            head = f"{' ' * indent}{self._scalar(key) + ':' if mapping else '-'}"
            comment = "  # why" if self._maybe(0.1) else ""
            deep = isinstance(value, dict | Pairs | list) and value and not self._maybe(0.4)
            if deep and not (isinstance(value, list) and self._dice is None):
                yield f"{head}{comment}\n"
                yield from self._block(value, indent + step)
            elif isinstance(value, str) and not isinstance(value, Raw) and self._fits_literal(value) and self._maybe(0.5):
                chomp = "" if value.endswith("\n") else "-"
                yield f"{head} |{chomp}\n" + "".join(
                    f"{' ' * (indent + 3)}{line}\n" for line in value.rstrip("\n").split("\n")
                )
            else:
                blank = "  " if self._maybe(0.2) else " "
                yield f"{head}{blank}{self._flow(value, lambda: self._gap(indent))}{comment}\n"

    def _gap(self, indent: int) -> str:
        return f"\n{' ' * (indent + 6)}" if self._maybe(0.1) else " "

    @staticmethod
    def _fits_literal(value: str) -> bool:
        lines = value.removesuffix("\n").split("\n")
        return all(line and line.isprintable() and not line.startswith(" ") for line in lines)

    def _flow(self, value: Any, blank: Callable[[], str]) -> str:
        match value:
            case dict() | Pairs():
                pairs = (
                    f"{self._scalar(key)}:{blank() or ' '}{self._flow(item, blank)}" for key, item in self._items(value)
                )
                return "{" + f",{blank()}".join(pairs) + "}"
            case list():
                return "[" + f",{blank()}".join(self._flow(item, blank) for item in value) + "]"
            case _:
                return self._anchored(value)

    def _anchored(self, value: Any) -> str:
        text = self._scalar(value)
        if self._json or isinstance(value, Raw):
            return text
        key = f"{type(value).__name__}:{value}"
        if key in self._anchors and self._maybe(0.7):
            return f"*{self._anchors[key]} "
        if self._maybe(0.05):
            self._anchors[key] = f"a{len(self._anchors)}"
            return f"&{self._anchors[key]} {text}"
        return text

    def _scalar(self, value: Any) -> str:
        match value:
            case Raw():
                return str(value)
            case Span():
                return self._quoted(spelt_span(value, self._dice) if self._dice else f"{_decimal(Decimal(value) / SECOND)}s")
            case Uuid():
                return self._quoted(spelt_uuid(value, self._dice) if self._dice else str(value))
            case Count():
                return self._quoted(f"{value}..{value}") if self._maybe(0.5) else str(int(value))
            case None | bool() | int() | float():
                word = json.dumps(value)
                return word if self._json else {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}.get(word, word)
            case _:
                return self._quoted(str(value))

    def _quoted(self, text: str) -> str:
        if self._json:
            return json.dumps(text, ensure_ascii=self._maybe(0.5)).replace("\x7f", "\\u007f")
        if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT and not self._maybe(0.3):
            return text
        if text.isprintable() and self._maybe(0.5):
            return "'" + text.replace("'", "''") + "'"
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def blanks(dice: random.Random | None) -> Callable[[], str]:
    """Blanks between the words of JSON."""
    return lambda: dice.choice(("", " ", "\n", "  ", "\r\n", "\t")) if dice else " "


def written(tree: Any, dice: random.Random | None, *, as_json: bool) -> bytes:
    """The file's bytes; with chance also a byte order mark and other line ends."""
    text = Written(dice, as_json=as_json).text(tree)
    if dice is not None:
        if dice.random() < 0.2:
            text = re.sub("\r?\n", dice.choice(("\r\n", "\r")), text)
        if dice.random() < 0.15:
            text = f"\ufeff{text}"
    return text.encode("utf-8", "surrogatepass")


# ── UUID files ─────────────────────────────────────────────────────────────────────────────────────────────────────
def uuid_file(uuids: list[Uuid], dice: random.Random | None, *, as_csv: bool) -> bytes:
    """A good file of these UUIDs."""

    def word(uuid: Uuid) -> str:
        return spelt_uuid(uuid, dice) if dice else str(uuid)

    def maybe(chance: float) -> bool:
        return dice is not None and dice.random() < chance

    end = dice.choice(("\n", "\r\n", "\r")) if dice else "\n"
    if as_csv:
        sign = dice.choice(",;\t") if dice else ","
        quote = '"' if maybe(0.4) else ""
        before = [f"{quote}name{quote}"] if maybe(0.5) else []
        rows = [[*before, f"{quote}{'UUID' if maybe(0.3) else 'uuid'}{quote}", "x"]]
        rows += [[*(["app"] if before else []), f"{quote}{word(uuid)}{quote}", "1"] for uuid in uuids]
        lines = [sign.join(row) for row in rows]
    else:
        lines = [f"{word(uuid)}{'  # note' if maybe(0.2) else ''}" for uuid in uuids]
    made = [
        line for one in lines for line in (["", one] if maybe(0.1) else ["# c", one] if maybe(0.1) and not as_csv else [one])
    ]
    text = end.join(made) + ("" if maybe(0.3) else end)
    return ("\ufeff" + text if maybe(0.2) else text).encode()


BAD_FILES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "missing": lambda good, dice: None,
    "empty": lambda good, dice: dice.choice((b"", b"\n\n", b"\xef\xbb\xbf", b"  \r\n")),
    "not UTF-8": lambda good, dice: good + dice.choice((b"\xff\n", b"\xc3\n", "é\n".encode("latin-1"))),
    "UTF-16": lambda good, dice: good.decode().encode("utf-16"),
    "NULs": lambda good, dice: good + b"\n\x00\x00\n",
    "huge line": lambda good, dice: good + b"\n" + b"a" * dice.choice((33, 70_000, 2_000_000)),
    "too short": lambda good, dice: good + b"\n" + b"a" * 31 + b"\n",
    "a table": lambda good, dice: b"\x7fELF" + dice.randbytes(200),
    "a closing quote lost": lambda good, dice: good + b'\n"' + b"b" * 32,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the plan and its UUID files."""
    return tmp_path


def write_files(folder: Path, dice: random.Random) -> tuple[list[str], dict[str, list[Uuid]]]:
    """Two good UUID files in the folder: their names and what they hold."""
    held = {name: [new_uuid(dice) for _ in range(dice.randint(1, 6))] for name in ("a.txt", "b.csv")}
    spell(folder, held, None)
    return list(held), held


def spell(folder: Path, held: dict[str, list[Uuid]], dice: random.Random | None) -> None:
    """The same files, spelt by chance."""
    for name, uuids in held.items():
        (folder / name).write_bytes(uuid_file(uuids, dice, as_csv=name.endswith("csv")))


def any_base(dice: random.Random, files: list[str]) -> Any:
    """A plan of the contract's whole grammar, or one of the examples."""
    from ruamel.yaml import YAML

    if dice.random() < 0.8:
        return valid_plan(dice, files)
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(dice.choice((FULL, *GOOD.values()))), default=str))


# ── what breaks a plan ─────────────────────────────────────────────────────────────────────────────────────────────
_BAD_DURATIONS: tuple[Any, ...] = (
    90,
    "90",
    "5 min",
    "-5s",
    "",
    True,
    [],
    {},
    "1d",
    "5M",
    "1.5.5s",
    "1e3s",
    "∞s",
    "s",
    "1h 30m",
    "30m1h",
    0.5,
    "5%",
)
_BAD_COUNTS: tuple[Any, ...] = (0, -1, 1.5, "5", True, [], {}, "", "many", float("nan"), float("inf"), -(10**30))
_BAD_TRUTHS: tuple[Any, ...] = ("true", 1, 0, "yes", [], {}, "")
_BAD_TAGS: tuple[Any, ...] = ("a", [1], [True], [""], ["  "], [[]], [{}], {"a": "b"}, ["a\x07b"], 3)
_BAD_LINES: tuple[Any, ...] = (5, 1.5, True, [], {}, "", "   ", "a\nb", "a\x1b[31m", "\x7f", ["a"])
_BAD_UUIDS: tuple[Any, ...] = (
    "0" * 32, ["0" * 31], ["0" * 33], ["g" + "0" * 31], [""], [True], [["0" * 32]], [{}], {"a": 1}, ["-" * 32], ["0-" * 32],
    ["0" * 16 + " " + "0" * 15],
)  # fmt: skip
_BAD_WHERES: tuple[Any, ...] = (
    [], [[]], "name=a", ["name=a"], [["name"]], [[""]], [[1]], [["=x"]], [["name="]], [[{"name": "a"}]], [["name=a"], []],
    [["name == a"]], [["na me=a"]], [["name=a\nb"]], {"name": "a"}, [["name=a>=b"]], [["name IS NULL"]], [[True]], 5,
)  # fmt: skip
_BAD_ENDPOINTS = (
    "mn.example",
    "ftp://mn/zstack",
    "https://root:pw@mn/zstack",
    "",
    5,
    "http://",
    "http://mn:99999/",
    "http://a b/",
)
_BAD_EXPECTS: tuple[Any, ...] = ("500..480", "x", "1-2", "480", -1, True, [1, 2], {}, "..", "1..", "1...2", 1.5, "")
_BAD_SECTIONS: tuple[Any, ...] = ("x", 5, [], True, ["a"], [{}], "")


def _words(*right: str) -> tuple[Any, ...]:
    return (*(word.upper() for word in right), *(f"{word}x" for word in right), "", 1, True, [], {}, [right[0]])


SECTIONS = ("targets", "exclude", "stop", "limits", "guard", "verify", "report")
BREAKS: dict[tuple[str, ...], tuple[Any, ...]] = {
    ("version",): (2, "1", True, 0, -1, "", [], {}, 1.5, float("nan")),
    ("name",): _BAD_LINES,
    ("reference",): _BAD_LINES,
    ("description",): (5, True, [], {}, "a\x07b"),
    **{(section,): _BAD_SECTIONS for section in SECTIONS},
    **{
        (*path, key): values
        for path in (("targets",), ("exclude",), ("guard", "protect"))
        for key, values in (("uuids", _BAD_UUIDS), ("where", _BAD_WHERES), ("uuid_files", ("a", [1], [""], {}, [[]])))
    },
    ("targets", "may_be_empty"): (True, False, "true"),
    ("exclude", "may_be_empty"): _BAD_TRUTHS,
    ("guard", "protect", "may_be_empty"): _BAD_TRUTHS,
    ("stop", "type"): _words("grace", "cold"),
    ("stop", "grace_timeout"): (*_BAD_DURATIONS, "0s", "0ms"),
    ("stop", "fallback"): _words("cold", "none"),
    ("stop", "fallback_on"): ([], ["timeout", "timeout"], ["errors"], "error", [1], {}, [[]], ["none"]),
    ("stop", "cold_timeout"): (*_BAD_DURATIONS, "0s"),
    ("stop", "power_cut_after"): (*_BAD_DURATIONS, "0s"),
    ("stop", "stop_ha"): _BAD_TRUTHS,
    ("stop", "system_tags"): (*_BAD_TAGS, ["validationOnly"], ["VALIDATIONONLY"]),
    ("stop", "user_tags"): _BAD_TAGS,
    ("stop", "appliances"): _words("skip", "include"),
    **{("limits", key): _BAD_COUNTS for key in ("concurrency", "per_host", "per_cluster", "per_primary_storage")},
    ("limits", "requests_per_second"): (0, -1, "50", True, [], float("nan"), float("inf"), "fast"),
    ("limits", "node_outage"): _BAD_DURATIONS,
    ("guard", "endpoint"): _BAD_ENDPOINTS,
    ("guard", "max_targets"): _BAD_COUNTS,
    ("guard", "expect_targets"): _BAD_EXPECTS,
    ("verify", "after"): _BAD_DURATIONS,
    ("report", "formats"): (["pdf"], "json", ["json", "json"], [1], ["JSON"], [""], {}),
    ("report", "directory"): _BAD_LINES,
}  # fmt: skip
"""For each key of the contract values that it refuses."""
CONTRACT_KEYS = {step for path in BREAKS for step in path} | {"waves", "budget", "window", "ramp"}
PLACES = (*((section,) for section in SECTIONS), ("guard", "protect"), ())


def within(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The mapping at that path, made where it is missing, and made a sound one."""
    for step in path:
        if not isinstance(tree.get(step), dict):
            tree[step] = {}
        tree = tree[step]
    return tree


def break_value(tree: dict[str, Any], dice: random.Random) -> str:
    """A value that the contract refuses for its key."""
    path = dice.choice(list(BREAKS))
    value = dice.choice((*BREAKS[path], None))
    within(tree, path[:-1])[path[-1]] = value
    endless = isinstance(value, float) and not math.isfinite(value)  # refused where it stands, before its key matters
    return "" if endless else path[-1]


def break_key(tree: dict[str, Any], dice: random.Random) -> str:
    """A key that the contract does not know there."""
    section = within(tree, dice.choice(PLACES))
    key = dice.choice(sorted(CONTRACT_KEYS))
    at = dice.randrange(len(key))
    odd = dice.choice(
        (key[:at] + key[at + 1 :], key[:at] + key[at] + key[at:], key.upper(), key.replace("_", "-"), f"{key} ", key)
    )
    if dice.random() < 0.2:
        odd = dice.choice(("colour", "<<", "生产", "a b", "0", "x" * 500, "-"))
    known_there = odd in CONTRACT_KEYS
    odd = f"{odd}_" if known_there else odd
    section[odd] = dice.choice((1, "a", [], {}, True, "90s", [["name=a"]]))
    return odd if odd.isprintable() and len(odd) < 20 else ""


def break_required(tree: dict[str, Any], dice: random.Random) -> str:
    """One of the three required keys goes."""
    key = dice.choice(("version", "name", "targets"))
    del tree[key]
    return key


def break_nothing_selected(tree: dict[str, Any], dice: random.Random) -> str:
    """A selector that selects nothing."""
    path = dice.choice((("targets",), ("exclude",), ("guard", "protect")))
    section = within(tree, path)
    section.clear()
    section |= dice.choice(({}, {"uuids": []}, {"uuid_files": []}, {"uuids": [], "uuid_files": []}))
    return path[-1]


def break_timeouts(tree: dict[str, Any], dice: random.Random) -> str:
    """grace_timeout a little, or much, under 1.25 times power_cut_after, which is 60 s where it is not written."""
    stop = within(tree, ("stop",))
    cut = dice.choice((60 * SECOND, 1000, 4 * SECOND, 3600 * SECOND))
    stop["power_cut_after"] = Span(cut)
    if cut == 60 * SECOND and dice.random() < 0.5:
        del stop["power_cut_after"]
    stop["grace_timeout"] = Span(max(1, cut * 5 // 4 - dice.choice((1, 1000, cut))))
    return "grace_timeout"


def break_fallback(tree: dict[str, Any], dice: random.Random) -> str:
    """A fallback beside a cold stop."""
    within(tree, ("stop",)).update({"type": "cold", "fallback": dice.choice(("cold", "none"))})
    return "fallback"


def break_twice(tree: dict[str, Any], dice: random.Random) -> str:
    """The same key written twice."""
    key = dice.choice(list(tree))
    broken = Pairs(*tree.items(), (key, dice.choice((tree[key], 1, "a"))))
    tree.clear()
    tree["<root>"] = broken
    return str(key)


def break_expected(tree: dict[str, Any], dice: random.Random) -> str:
    """Fewer targets allowed than expected."""
    within(tree, ("guard",)).update(
        {"expect_targets": dice.choice((Count(500), "500..600")), "max_targets": dice.choice((1, 499))}
    )
    return "max_targets"


TREE_BREAKS = (
    *(break_value,) * 6, *(break_key,) * 3, break_required, break_nothing_selected, break_timeouts, break_fallback,
    break_twice, break_expected,
)  # fmt: skip

_BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
_YAML_ENDS = (
    "]\n", 'x: "unclosed\n', "x: [1, 2\n", "\n--- \nversion: 1\n", "- item\n", "verify:\n\tafter: 2m\n",
    "reference: *nowhere\n", "reference: &r [*r]\n", "reference: !!str a\n", "reference: !x a\n",
    "verify: !!map {}\n", "<<: {name: b}\n",
    "reference: !!python/object/apply:os.system [ls]\n", "<<: [{name: b}, {name: c}]\n", "? [a, b]\n: c\n", "1: a\n",
    "null: a\n", "true: a\n", "? \n", "~: x\n", f"x: {'[' * 70}\n", f"x: {'[' * 5000}\n", f"x: {'{a: ' * 5000}\n", _BOMB,
    'reference: "\\q"\n', 'reference: "\\ud800"\n', 'reference: "\\U00110000"\n', f"limits: {{concurrency: {'9' * 500}}}\n",
    f"limits: {{concurrency: {'9' * 100_000}}}\n", "reference: \x07\n", "version: 1\n", "x: 'a' b\n", "x: a: b\n", "x: @a\n",
)  # fmt: skip
"""What no plan may end with."""
_JSON_ENDS = (
    "", ",}", '"}', ', "name": "b"}', ', "verify": NaN}', ', "verify": -Infinity}', ", 'verify': {}}",
    ', "verify": undefined}', ', "verify": 01}', ', "reference": "\\ud800"}', ', "reference": "a\nb"}', ', reference: "b"}',
    "}}", "} x", "}{}", "},",
    f', "x": {"[" * 70}{"]" * 70}}}', f', "x": {"[" * 5000}}}', f', "x": {"[" * 200_000}}}', "} // plan",
    ', "reference": "\\q"}',
    f', "limits": {{"concurrency": {"9" * 100_000}}}}}', f', "limits": {{"per_host": {"9" * 20}}}}}', '}\x00',
)  # fmt: skip
"""What no plan may have in place of its last brace."""
_WHOLE_DAMAGE: tuple[Callable[[str], str], ...] = (
    lambda text: f"[{text}]",
    lambda text: "",
    lambda text: "# nothing but this\n",
    lambda text: f"%YAML 1.1\n---\n{text}",
    lambda text: f"\x00{text}",
    json.dumps,
    lambda text: "null",
)
_BYTE_DAMAGE: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    lambda data, dice: data + b"\xff",
    lambda data, dice: data[:8] + b"\xed\xa0\x80" + data[8:],
    lambda data, dice: data.decode().encode("utf-16"),
)


def broken_plan(dice: random.Random, folder: Path, *, as_json: bool) -> tuple[bytes, str]:
    """A plan that the contract refuses, and a word that a message must hold ("" where none is sure)."""
    files, _ = write_files(folder, dice)
    kind = dice.random()
    tree = valid_plan(dice, files)
    if kind < 0.65:
        word = dice.choice(TREE_BREAKS)(tree, dice)
        return written(tree.get("<root>", tree), dice, as_json=as_json), word
    if kind < 0.9:
        for key in ("reference", "verify", "limits"):
            tree.pop(key, None)
        text = Written(None, as_json=as_json).text(tree).rstrip("\n ")
        if dice.random() < 0.1:
            return dice.choice(_WHOLE_DAMAGE)(text).encode(), ""
        return (text[:-1] + dice.choice(_JSON_ENDS) if as_json else f"{text}\n{dice.choice(_YAML_ENDS)}").encode(), ""
    if kind < 0.94:
        return dice.choice(_BYTE_DAMAGE)(written(tree, None, as_json=as_json), dice), ""
    tree["targets"] = {"uuid_files": files}
    name = dice.choice(files)
    path = folder / name
    spoilt = BAD_FILES[dice.choice(list(BAD_FILES))](path.read_bytes(), dice)
    path.unlink()
    if spoilt is not None:
        path.write_bytes(spoilt)
    elif dice.random() < 0.5:
        path.mkdir()
    return written(tree, dice, as_json=as_json), name


def clear(folder: Path) -> None:
    """The last case's files are gone."""
    for path in folder.iterdir():
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


# ── what is expected ───────────────────────────────────────────────────────────────────────────────────────────────
def loaded_or_refused(path: Path) -> PlanFile | PlanError:
    """Load it; any other exception is the test's failure."""
    try:
        return load_plan(path)
    except PlanError as error:
        return error


def check_refusal(error: PlanError, path: Path) -> None:
    """At least one message, each printable and at a place that its file has."""
    assert error.problems
    sizes: dict[str, list[int]] = {}
    for problem in error.problems:
        assert problem.message.isprintable(), problem
        assert len(problem.message) < 2000, problem
        assert (problem.line is None) == (problem.column is None)
        assert str(problem).startswith(f"{problem.file}:")
        if problem.line is None or problem.column is None:
            continue
        if problem.file not in sizes:
            text = Path(problem.file).read_bytes().decode("utf-8", "replace")
            sizes[problem.file] = [len(line) for line in re.split(r"\r\n|\n|\r", text)]
        lines = sizes[problem.file]
        assert 1 <= problem.line <= len(lines), problem
        assert 1 <= problem.column <= lines[problem.line - 1] + 1, problem
    assert problem.file.startswith(str(path.parent))


def as_json_plan(loaded: PlanFile) -> str:
    """The plan's own values, written as a plan again."""
    data = loaded.plan.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    expected = data.get("guard", {}).get("expect_targets")
    if expected:
        data["guard"]["expect_targets"] = f"{expected['min']}..{expected['max']}"
    return json.dumps(data)


def check_plan(loaded: PlanFile, path: Path) -> None:
    """Its text loads to the same again, and so do its own values."""
    again = plan_from_text(loaded.text, name=str(path), folder=path.parent, json=path.suffix == ".json")
    assert (again.plan, again.targets, again.exclude, again.protect) == (
        loaded.plan, loaded.targets, loaded.exclude, loaded.protect,
    )  # fmt: skip
    assert plan_from_text(as_json_plan(loaded), name="again", folder=path.parent, json=True).plan == loaded.plan


def test_a_plan_may_be_spelt_in_many_ways(folder: Path) -> None:
    """Order, quotes, comments, YAML or JSON, line ends, and spellings of UUIDs and durations change nothing in a plan."""

    def case(dice: random.Random) -> None:
        clear(folder)
        files, held = write_files(folder, dice)
        tree = any_base(dice, files)
        plain = plan_from_text(written(tree, None, as_json=True).decode(), name="plain", folder=folder, json=True)
        spell(folder, held, dice)
        as_json = dice.random() < 0.4
        path = folder / ("plan.json" if as_json else "plan.yaml")
        path.write_bytes(written(tree, dice, as_json=as_json))
        try:
            loaded = load_plan(path)
            assert (loaded.plan, loaded.targets, loaded.exclude, loaded.protect) == (
                plain.plan, plain.targets, plain.exclude, plain.protect,
            )  # fmt: skip
            check_plan(loaded, path)
        except (PlanError, AssertionError) as error:
            error.add_note(path.read_text("utf-8")[:3000])
            raise

    fuzz("spelt", CASES * 3 // 10, case)


def test_what_the_contract_refuses_is_refused(folder: Path) -> None:
    """An unknown key, a wrong type, a broken rule, damaged syntax or a bad UUID file is refused, and named."""

    def case(dice: random.Random) -> None:
        clear(folder)
        as_json = dice.random() < 0.4
        data, word = broken_plan(dice, folder, as_json=as_json)
        path = folder / ("plan.json" if as_json else "plan.yaml")
        path.write_bytes(data)
        told = loaded_or_refused(path)
        try:
            assert isinstance(told, PlanError), f"it loads, and it must not: {word!r}"
            check_refusal(told, path)
            words = [f"{Path(problem.file).name}: {problem.message}" for problem in told.problems]
            assert any(word in one for one in words), f"nothing speaks of {word!r}: {told}"
        except AssertionError as error:
            error.add_note(data.decode("utf-8", "replace")[:3000])
            raise

    fuzz("broken", CASES * 4 // 10, case)


def mangled(dice: random.Random, folder: Path, *, as_json: bool) -> bytes:
    """A good plan after one to five things that may or may not break it."""
    files, held = write_files(folder, dice)
    spell(folder, held, dice)
    for name in files:
        if dice.random() < 0.15:
            (folder / name).write_bytes(damaged_bytes((folder / name).read_bytes(), dice))
    box = [any_base(dice, files)]
    for _ in range(dice.randint(1, 5)):
        container, key = dice.choice(paths_in(box))
        if container is box and dice.random() < 0.95:
            continue
        match dice.randrange(8):
            case 0 if container is not box:
                del container[key]
            case 1 if isinstance(container, dict):
                container[dice.choice((*ODD_TEXTS, *CONTRACT_KEYS, f"{key}s"))] = container.pop(key)
            case 2 if isinstance(container, list):
                container.insert(key, container[key])
            case 3:
                other, its = dice.choice([spot for spot in paths_in(container) if spot[0] is not box] or [(container, key)])
                container[key] = copy.deepcopy(other[its])
            case 4:
                container[key] = other_type(container[key], dice)
            case 5:
                container[key] = dice.choice(
                    (*ODD_NUMBERS, *ODD_TEXTS, None, [], {}, [[]], True, "0s", "168h", "168h1ms", "1s1s")
                )
            case 6 if not as_json:
                container[key] = Raw(
                    dice.choice(("&a 1", "*a", "!!str x", "|", ">-", "? x", "- - a", "{a", "'", "1:2", "<<: *a"))
                )
            case _:
                container[key] = Pairs(("where", [["name=a"]]), ("where", 1)) if isinstance(container, dict) else None
    data = written(box[0], dice, as_json=as_json)
    return damaged_bytes(data, dice) if dice.random() < 0.3 else data


def test_anything_else_loads_or_is_refused(folder: Path) -> None:
    """After any damage a plan loads to what it loads to again, or is refused with places; nothing else ever escapes."""

    def case(dice: random.Random) -> None:
        clear(folder)
        as_json = dice.random() < 0.4
        path = folder / ("plan.json" if as_json else "plan.yaml")
        data = mangled(dice, folder, as_json=as_json)
        path.write_bytes(data)
        try:
            told = loaded_or_refused(path)
            if isinstance(told, PlanError):
                check_refusal(told, path)
            else:
                check_plan(told, path)
        except Exception as error:
            error.add_note(data.decode("utf-8", "replace")[:3000])
            raise

    fuzz("mangled", CASES * 2 // 10, case)


def test_a_tab_in_a_csv_file_is_not_shown_raw(folder: Path) -> None:
    """What the CSV reader says of a file is made visible like all that is shown."""
    (folder / "b.csv").write_text('uuid\tname\n"' + "0" * 32 + '"x\ta\n', "utf-8")
    path = folder / "plan.yaml"
    path.write_text("version: 1\nname: a\ntargets: {uuid_files: [b.csv]}\n", "utf-8")
    told = loaded_or_refused(path)
    assert isinstance(told, PlanError)
    assert all(problem.message.isprintable() for problem in told.problems), told.problems


# ── the commands ───────────────────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def nobody_asks() -> Iterator[str]:
    """An endpoint where at the end not even a connection may wait to be taken."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/zstack"
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_no_node_is_asked_about_a_plan_that_is_wrong(tmp_path: Path) -> None:
    """validate, preview and run --yes answer 2 to a wrong plan, with its file, line and column, and open no connection."""
    cli = Cli(tmp_path)
    folder = tmp_path / "plans"
    folder.mkdir()

    def case(dice: random.Random) -> None:
        clear(folder)
        as_json = dice.random() < 0.4
        path = folder / ("plan.json" if as_json else "plan.yaml")
        broken = dice.random() < 0.6
        path.write_bytes(broken_plan(dice, folder, as_json=as_json)[0] if broken else mangled(dice, folder, as_json=as_json))
        told = loaded_or_refused(path)
        command = dice.choice((["validate"], ["preview"], ["run", "--yes"], ["run", "--yes", "--log-format", "json"]))
        if isinstance(told, PlanFile):
            done = cli.inside("validate", path)
            assert (done.code, done.out) == (0, f"{path}: ok\n"), done
            return
        with nobody_asks() as endpoint:
            done = cli.inside(*command, path, env={"ZSTACK_ENDPOINT": endpoint, **ACCOUNT})
        assert done.code == 2, done
        placed = any(problem.line is not None for problem in told.problems)
        place = rf"{re.escape(str(folder))}/[^:]+:{'[0-9]+:[0-9]+:' if placed else ''} \S"
        assert re.search(place, done.err), done.err
        assert done.out == ""
        assert [name.name for name in tmp_path.iterdir() if name.is_file()] == []

    fuzz("commands", CASES // 10, case)
