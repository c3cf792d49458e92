"""Waves, and what holds for one: the plan's options with the wave's own over them."""

from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar

from pydantic import ValidationInfo, model_validator

from orchestrator.plan import rules
from orchestrator.plan.fields import Line, Section
from orchestrator.plan.order import Outline
from orchestrator.plan.sections import Budget, Selectors, StopOptions, WaveBudget, WaveLimits, WaveStop, refuse

EMPTIED = "found an empty list, and nothing else selects; name VMs, or leave the key out for a wave of all that is left"
"""An emptied selector must not make its wave the one that takes everything else."""

_S = TypeVar("_S", bound=Section)


class WaveOrder(Section):
    """What a wave is called, and what it waits for."""

    name: Line
    """What the wave is called, one line; no two have the same name."""
    after: tuple[Line, ...] = ()
    """The waves that must have ended well enough before this one begins; none unless written: it begins at once."""


class Wave(Selectors, WaveOrder):
    """VMs that are stopped together. Its selectors pick among the targets; without one it takes what no other took."""

    stop: WaveStop = WaveStop()
    """Keys of `stop` that are different in this wave; what is not written is as the plan's."""
    limits: WaveLimits = WaveLimits()
    """Limits of this wave alone, which hold in addition to the run's. Its ramp replaces the run's."""
    budget: WaveBudget = WaveBudget()
    """How much of this wave may go wrong before what comes after it stays shut. Its per_wave replaces the
    run's."""

    @property
    def takes_the_rest(self) -> bool:
        """Whether the wave takes the targets that no other took, as it has no selector."""
        return not (self.uuids or self.uuid_files or self.where)

    @model_validator(mode="after")
    def _selects(self, info: ValidationInfo) -> Self:
        emptied = self.takes_the_rest and not self.model_fields_set.isdisjoint(Selectors.model_fields)
        refuse(iter([rules.Breach((), EMPTIED)] if emptied else []), info)
        return self


def override_breaches(stop: WaveStop, wave: WaveStop) -> Iterator[rules.Breach]:
    """What is wrong in the stop of a wave over the plan's, where a key is at fault that the wave wrote."""
    for breach in rules.stop_breaches(WaveStop(**_over(stop, wave))):
        if not wave.model_fields_set.isdisjoint(breach.keys):
            yield breach


def stop_over(stop: StopOptions, wave: WaveStop) -> StopOptions:
    """The stop options of a wave: the plan's, with what the wave wrote over them."""
    return StopOptions(**_over(stop, wave))


def _over(stop: WaveStop, wave: WaveStop) -> dict[str, Any]:
    """The written keys of both. A wave that turns to `type: cold` leaves the plan's fallback behind: it means nothing."""
    over = _written(stop) | _written(wave)
    if over.get("type") == "cold" and "fallback" not in wave.model_fields_set:
        over.pop("fallback", None)
    return over


def budget_over(budget: Budget, wave: WaveBudget) -> WaveBudget:
    """The budget of a wave over its own VMs: the plan's `per_wave` unless it wrote its own."""
    return overridden(WaveBudget(per_wave=budget.per_wave), wave)


def overridden(section: _S, by: Section) -> _S:
    """The section with the written keys of the other in place of its own. Raises where a rule between them is broken."""
    return type(section)(**_written(section) | _written(by))


def _written(section: Section) -> dict[str, Any]:
    return {key: getattr(section, key) for key in section.model_fields_set}


def outlines(waves: Sequence[Wave]) -> list[Outline]:
    """What the rules between waves need."""
    return [Outline(wave.name, wave.after, wave.takes_the_rest) for wave in waves]
