"""Seeded cases with a guard against hanging, and damage done to JSON: what the fuzz tests share.

`ORCHESTRATOR_FUZZ_CASES` is the size of a campaign (plan cases; the other campaigns are shares or multiples of it).
`ORCHESTRATOR_FUZZ_SEED=S` makes the whole campaign of seed S again, and `S:N` its case N alone.
"""

import copy
import json
import os
import random
import re
import signal
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import anyio

CASES = int(os.environ.get("ORCHESTRATOR_FUZZ_CASES") or "500")
_SEED, _, _ONLY = os.environ.get("ORCHESTRATOR_FUZZ_SEED", "").partition(":")
SEED = _SEED or f"{random.SystemRandom().getrandbits(32)}"
PATIENCE_SECONDS = 120.0
"""No case takes a hundredth of this: what does hangs."""
_MOST_TOLD = 8


class HungError(BaseException):
    """A case did not end. No Exception, so that nothing under test can swallow it."""


@contextmanager
def guarded() -> Iterator[Callable[[], None]]:
    """Raise HungError in what runs inside for too long; call what it yields to start the time anew."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HungError(f"no end after {PATIENCE_SECONDS:g} s")

    def wind() -> None:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)

    before = signal.signal(signal.SIGALRM, ring)
    wind()
    try:
        yield wind
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Campaign:
    """The cases of one name, and those that failed, one of each kind."""

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._count = count
        self._failed = 0
        self._told: dict[str, BaseException] = {}
        self.numbers = [int(_ONLY)] if _ONLY else list(range(count))

    def dice(self, number: int) -> random.Random:
        """Chance that is the same for the same seed, campaign and number."""
        return random.Random(f"{SEED}:{self._name}:{number}")

    def fail(self, number: int, error: BaseException) -> None:
        """Keep it, with how to see it again."""
        self._failed += 1
        error.add_note(f"ORCHESTRATOR_FUZZ_SEED={SEED}:{number} makes case {number} of '{self._name}' again")
        last = traceback.extract_tb(error.__traceback__)[-1]
        self._told.setdefault(f"{type(error).__name__} {last.filename}:{last.lineno}", error)

    def judge(self) -> None:
        """Fail the test with what was kept."""
        if self._told:
            told = list(self._told.values())[:_MOST_TOLD]
            raise BaseExceptionGroup(f"{self._failed} of {self._count} cases of '{self._name}' failed, seed {SEED}", told)


def fuzz(name: str, count: int, case: Callable[[random.Random], None]) -> None:
    """Run that many cases, one after the other, and fail with one of each kind of failure."""
    campaign = _Campaign(name, count)
    for number in campaign.numbers:
        try:
            with guarded():
                case(campaign.dice(number))
        except (Exception, HungError) as error:
            campaign.fail(number, error)
    campaign.judge()


def fuzz_together(name: str, count: int, case: Callable[[random.Random], Awaitable[None]], *, at_once: int) -> None:
    """The same for cases that mostly wait: several at a time in one loop, each bounded by itself, and the loop too."""
    campaign = _Campaign(name, count)

    async def one(number: int, slots: anyio.Semaphore) -> None:
        async with slots:
            try:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await case(campaign.dice(number))
            except Exception as error:
                campaign.fail(number, error)

    async def every(wind: Callable[[], None]) -> None:
        async def keep_winding() -> None:
            while True:
                wind()
                await anyio.sleep(1)

        slots = anyio.Semaphore(at_once)
        async with anyio.create_task_group() as around:
            around.start_soon(keep_winding)
            async with anyio.create_task_group() as tasks:
                for number in campaign.numbers:
                    tasks.start_soon(one, number, slots)
            around.cancel_scope.cancel()

    with guarded() as wind:
        anyio.run(every, wind)
    campaign.judge()


# ── odd values ─────────────────────────────────────────────────────────────────────────────────────────────────────
ODD_TEXTS = (
    "", " ", "null", "true", "NaN", "-1", "1e309", "٣", "x" * 70_000, "\x00", "\x1b[31mred\x1b]0;t\x07", "a\r\nb\tc",
    "\u202egnp.exe", "\u2028\u2029\x85", "\ufeff\uffff", "\ud800", "\udfff\ud800", "生产数据库", "🚀" * 9, "a\u0301" * 40,
    "<script>alert(1)</script>", "=cmd()|x", "|`*_[a](b)]]>", "../../etc/passwd", "%00%0d%0a", "' OR 1=1 --", "{", "\\",
    "Running", "Stopped", "Nov 14, 2017 10:20:57 PM", "Feb 31, 0000 99:99:99 PM", "Jan 1, 0001 12:00:00 AM",
    "Dec 31, 9999 11:59:59 PM", "0" * 32, "F" * 32, "SYS.1000",
)  # fmt: skip
ODD_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**40, 0.1, -0.0, 1e308, float("nan"), float("inf"), -float("inf"))


def odd_value(dice: random.Random) -> Any:
    """Anything JSON can hold, mostly what nobody expects; sometimes nested deeper than is sane."""
    match dice.randrange(8):
        case 0:
            return dice.choice((None, True, False))
        case 1 | 2:
            return dice.choice(ODD_NUMBERS)
        case 3 | 4:
            return dice.choice(ODD_TEXTS)
        case 5:
            return [odd_value(dice) for _ in range(dice.randrange(4))]
        case 6:
            return {
                dice.choice((*ODD_TEXTS[:12], "uuid", "code", "state")): odd_value(dice) for _ in range(dice.randrange(4))
            }
        case _:
            return nest(dice)


def nest(dice: random.Random) -> str:
    """What `as_bytes` writes as something many levels deep, or with many digits: there it costs no stack."""
    depth = dice.choice((20, 60, 99, 101, 190, 260, 400, 3000))
    return f"<{dice.choice(list(_NESTS))} {depth}>"


_NESTS = {
    "list": ("[", "]"),
    "map": ('{"uuid":', "}"),
    "cause": ('{"code":"VM.1002","cause":', "}"),
    "causes": ('{"code":"VM.1002","causes":[', "]}"),
    "digits": ("9", ""),
}
_NEST = re.compile(r'"<(list|map|cause|causes|digits) (\d+)>"')


def _nested(match: re.Match[str]) -> str:
    opening, closing = _NESTS[match[1]]
    return opening * int(match[2]) + "0" + closing * int(match[2])


def paths_in(value: Any) -> list[tuple[Any, Any]]:
    """Every value inside as its container and its key there."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        node = waiting.pop()
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        for key in keys:
            found.append((node, key))
            waiting.append(node[key])
    return found


def other_type(value: Any, dice: random.Random) -> Any:
    """The same said in another type: numbers as text, text as numbers, one as a list, a list as one."""
    match value:
        case bool():
            return dice.choice((str(value).lower(), int(value)))
        case int() | float():
            return dice.choice((str(value), [value], value + 0.5, -value))
        case str():
            return dice.choice(
                ([value], {"value": value}, len(value), value.encode("utf-8", "surrogatepass").hex(), value.upper())
            )
        case list():
            return dice.choice((value[0] if value else {}, {str(n): item for n, item in enumerate(value)}, len(value)))
        case dict():
            return dice.choice((list(value.values()), [value], str(value)[:5000], list(value)))
        case _:
            return dice.choice((0, "", [], {}))


def damaged(value: Any, dice: random.Random, times: int) -> Any:
    """A copy with so many things wrong: keys dropped and renamed, values of other types, rows doubled and missing."""
    box = [copy.deepcopy(value)]
    for _ in range(times):
        container, key = dice.choice(paths_in(box))
        match dice.randrange(7):
            case 0 if container is not box:
                del container[key]
            case 1 if isinstance(container, dict):
                container[f"{key}{dice.choice(('', ' ', 's', '2', chr(0)))}".swapcase()] = container.pop(key)
            case 2 if isinstance(container, list) and container is not box:
                container.insert(key, copy.deepcopy(container[key]))
            case 3:
                other, its = dice.choice(paths_in(box))
                try:
                    container[key] = copy.deepcopy(other[its])
                except (KeyError, IndexError):  # it was inside what has just gone
                    container[key] = None
            case 4 | 5:
                container[key] = other_type(container[key], dice)
            case _:
                container[key] = odd_value(dice)
    return box[0]


def as_bytes(value: Any, dice: random.Random) -> bytes:
    """JSON as some server might write it: escaped or raw, lone surrogates as they are, at times in another encoding."""
    text = _NEST.sub(_nested, json.dumps(value, ensure_ascii=dice.random() < 0.5))
    encoding = dice.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be"))
    return text.encode(encoding, "surrogatepass")


_PIECES = (b"\xff", b"\xed\xa0\x80", b"\x00", b"\xc3", b'"', b"}", b"\\u", b"\\ud800", b"NaN", b",,", b"\xf8\x88")
_WHOLES = (b"", b" ", b"null", b"[]", b"{}", b"0", b'""', b"<html><body>hi</body></html>", b"[" * 100_000)


def damaged_bytes(body: bytes, dice: random.Random) -> bytes:
    """Bytes cut off, flipped, doubled, or with something between them that belongs nowhere."""
    at = dice.randrange(len(body) + 1)
    piece = dice.choice(_PIECES)
    match dice.randrange(6):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + piece + body[at:]
        case 2:
            return body[:at] + piece + body[at + len(piece) :]
        case 3:
            return body[:at] + body[dice.randrange(len(body) + 1) :]
        case 4:
            return body + body
        case _:
            return dice.choice(_WHOLES)
