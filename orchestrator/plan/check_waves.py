"""The rules between waves, and between a wave and the plan, each broken one at its place."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from orchestrator.plan.explain import dotted
from orchestrator.plan.order import Outline, order_breaches
from orchestrator.plan.sections import Selectors, WaveStop
from orchestrator.plan.tree import Located, Path, Place
from orchestrator.plan.waves import EMPTIED, override_breaches

WrongKeys: TypeAlias = dict[Path, set[str | int]]
"""What is refused already: the keys and positions by the path of the mapping or list that holds them."""

_SELECTORS = tuple(Selectors.model_fields)


def check_waves(plan: Mapping[str, Any], wrong: WrongKeys, places: dict[Path, Located]) -> Iterator[tuple[Place, str]]:
    """Every broken rule with its place. `plan` holds values as read."""
    waves = plan.get("waves")
    if not isinstance(waves, tuple):
        return
    stop = _sound_stop(plan, (), wrong)
    sketches: list[Outline] = []
    for index, wave in enumerate(waves):
        path: Path = ("waves", index)
        if not isinstance(wave, dict):
            sketches.append(Outline(None, (), takes_the_rest=False))
            continue
        sketches.append(_outline(wave, path, wrong))
        written = [key for key in _SELECTORS if key in wave]
        if written and not any(wave[key] for key in written) and wrong.get(path, set()).isdisjoint(written):
            yield places[*path, written[0]].key_place, f"`{dotted((*path, written[0]))}`: {EMPTIED}"
        over = _sound_stop(wave, path, wrong)
        for breach in override_breaches(stop, over):
            spot = (*path, "stop", next(key for key in breach.keys if key in over.model_fields_set))
            yield places[spot].key_place, f"`{dotted(spot)}`: {breach.message}"
    for within, message in order_breaches(sketches):
        spot = ("waves", *within)
        at = places[spot]
        yield at.node.place if within[-1] != "after" else at.key_place, f"`{dotted(spot)}`: {message}"


def _outline(wave: dict[str, Any], path: Path, wrong: WrongKeys) -> Outline:
    name, after = wave.get("name"), wave.get("after", ())
    wrong_here, wrong_after = wrong.get(path, set()), wrong.get((*path, "after"), set())
    items = after if isinstance(after, tuple) else ()
    return Outline(
        name=name if isinstance(name, str) and "name" not in wrong_here else None,
        after=tuple(item if isinstance(item, str) and at not in wrong_after else None for at, item in enumerate(items)),
        takes_the_rest=not any(key in wave for key in _SELECTORS),
    )


def _sound_stop(parent: Mapping[str, Any], path: Path, wrong: WrongKeys) -> WaveStop:
    """The written keys of the `stop` in a plan or a wave, without those that are wrong."""
    stop = parent.get("stop")
    if not isinstance(stop, dict):
        return WaveStop()
    refused = wrong.get((*path, "stop"), ())
    return WaveStop.model_validate({key: value for key, value in stop.items() if key not in refused})
