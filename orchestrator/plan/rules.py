"""What must hold between the keys of one section. Each rule names the key that is at fault."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.plan.durations import format_duration

if TYPE_CHECKING:
    from orchestrator.plan.sections import (
        Evacuate,
        Guard,
        HostSelection,
        Migrate,
        Notify,
        ReportOptions,
        Selection,
        WaveLimits,
        WaveStop,
        Window,
    )

GRACE_OVER_POWER_CUT = 1.25
"""How much longer than the node's own power cut we must wait at least: less would give up on every slow guest."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken rule. `keys` are the keys at fault, the first that is written counts; empty means the section.

    `index` is the entry at fault where the key holds a list, None where it is the key.
    """

    keys: tuple[str, ...]
    message: str
    index: int | None = None


def stop_breaches(stop: "WaveStop") -> Iterator[Breach]:
    """What is wrong between the keys of `stop`."""
    yield from positive_breaches(stop, "grace_timeout", "cold_timeout", "power_cut_after")
    least = stop.power_cut_after * GRACE_OVER_POWER_CUT
    if timedelta(0) < stop.grace_timeout < least:
        yield Breach(
            ("grace_timeout", "power_cut_after"),
            f"a `grace_timeout` of {format_duration(stop.grace_timeout)} is under 1.25 times `power_cut_after` "
            f"({format_duration(stop.power_cut_after)}); write at least `{format_duration(least)}`",
        )
    written = stop.model_fields_set
    if stop.type == "cold" and "fallback" in written:
        yield Breach(("fallback",), "`type: cold` has no fallback; remove `fallback`, or write `type: grace`")
    if "fallback_on" in written and not stop.fallback_on:
        yield Breach(
            ("fallback_on",),
            "found an empty list; write `[timeout]`, `[error]` or both, or `fallback: none` for no cold stop at all",
        )
    if len(set(stop.fallback_on)) < len(stop.fallback_on):
        yield Breach(("fallback_on",), "an entry is written twice; write each once")


def positive_breaches(section: "WaveStop | Migrate | Evacuate", *keys: str) -> Iterator[Breach]:
    """Durations that are waited for, and must not be zero."""
    for key in keys:
        if not getattr(section, key):
            yield Breach((key,), "found 0s; it must be longer than zero")


def limits_breaches(limits: "WaveLimits") -> Iterator[Breach]:
    """What is wrong between the steps of a ramp. A count and a share are compared when the number of VMs is known."""
    for is_share in (False, True):
        highest = None
        for index, step in enumerate(limits.ramp):
            if step.is_share is not is_share:
                continue
            if highest is not None and step.number < highest.number:
                message = f"found {step} after {highest}; a step includes those before it, so write at least `{highest}`"
                yield Breach(("ramp",), message, index)
            else:
                highest = step


def window_breaches(window: "Window") -> Iterator[Breach]:
    """What is wrong between the keys of `window`."""
    if window.start is None:
        return
    length = window.end - window.start
    if length <= timedelta(0):
        yield Breach(("end",), "the window ends before it begins; write a time later than `start`, or mend the offsets")
    elif window.reserve >= length:
        yield Breach(
            ("reserve",),
            f"found {format_duration(window.reserve)}, as long as the whole window, so nothing would be started; write less",
        )


def guard_breaches(guard: "Guard") -> Iterator[Breach]:
    """What is wrong between the keys of `guard`."""
    expected, most = guard.expect_targets, guard.max_targets
    if expected is not None and expected.min > expected.max:
        yield Breach(("expect_targets",), f"the range {expected.min}..{expected.max} ends before it begins")
    if expected is not None and most is not None and most < expected.min:
        yield Breach(
            ("max_targets",),
            f"found {most}, fewer than the {expected.min} that `expect_targets` asks for, so every run would be refused",
        )


def report_breaches(report: "ReportOptions") -> Iterator[Breach]:
    """What is wrong in `report`."""
    if len(set(report.formats)) < len(report.formats):
        yield Breach(("formats",), "a format is written twice; write each once")


def notify_breaches(notify: "Notify") -> Iterator[Breach]:
    """Exactly one way to be told, and a token only where it is sent."""
    ways = tuple(key for key in ("url_env", "url_file", "command") if getattr(notify, key) is not None)
    if len(ways) != 1:
        found = "found " + " and ".join(f"`{way}`" for way in ways) if ways else "nobody is told"
        yield Breach(ways[1:], f"{found}; write one of `url_env`, `url_file` and `command`")
    tokens = tuple(key for key in ("token_env", "token_file") if getattr(notify, key) is not None)
    if len(tokens) > 1:
        yield Breach(tokens[1:], "found two tokens; write one of `token_env` and `token_file`")
    elif tokens and notify.command is not None:
        yield Breach(tokens, "a token is sent to a webhook, and this is a command; leave it out")
    if len(set(notify.on)) < len(notify.on):
        yield Breach(("on",), "an entry is written twice; write each once")


def selection_breaches(selection: "Selection") -> Iterator[Breach]:
    """A selection selects by something."""
    if not (selection.uuids or selection.uuid_files or selection.where):
        yield Breach((), "nothing is selected; give at least one of `uuids`, `uuid_files` or `where`")


def host_selection_breaches(selection: "HostSelection") -> Iterator[Breach]:
    """A selection of hosts selects by something."""
    if not (selection.uuids or selection.names or selection.where):
        yield Breach((), "no host is selected; give at least one of `uuids`, `names` or `where`")


def targets_breaches(named: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """VMs or hosts, not both. `named`: the keys of `targets` that select something. Keys at fault, and the message."""
    if not named:
        yield (), "nothing is selected; give at least one of `uuids`, `uuid_files` or `where`, or `hosts` to empty hosts"
    if "hosts" in named:
        for key in named:
            if key != "hosts":
                words = "beside `hosts` the targets are the VMs on them; leave it out, and stop others by another plan"
                yield (key,), words


def evacuation_breaches(named: Collection[str], *, evacuates: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    """Hosts to be emptied, and what becomes of them, stand together. The path at fault, and the message."""
    if "hosts" in named and not evacuates:
        words = "nothing says what becomes of these hosts; write `evacuate: {vms: stop, hosts: maintain}`"
        yield ("targets", "hosts"), words
    if evacuates and "hosts" not in named:
        yield ("evacuate",), "no host is named; write which under `targets.hosts`, or leave `evacuate` out"
