"""Durations in a scenario: `40`, `"2m"`, `[3, 40]` or `{median: 12, sigma: 0.6, most: 300}`."""

import math
import random
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def seconds(value: object) -> float:
    """Seconds of a number or of a text like `90s`, `1h30m`, `250ms`; a plain number is seconds."""
    if isinstance(value, bool):
        raise ValueError("write a duration like 90s, 5m or a number of seconds")
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    if isinstance(value, str) and value and _PART.sub("", value) == "":
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    raise ValueError(f"{value!r} is no duration: write 90s, 1h30m, 250ms or a number of seconds")


Seconds = Annotated[float, BeforeValidator(seconds)]
"""Simulated seconds unless the key says otherwise."""


class Spread(BaseModel):
    """How long something takes, drawn anew each time: even between `low` and `high`, or lognormal about `median`.

    Simulated seconds. `most` cuts the lognormal's tail; None leaves it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Seconds = 0.0
    high: Seconds = 0.0
    median: Seconds | None = None
    sigma: Annotated[float, Field(ge=0, le=5)] = 0.5
    most: Seconds | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        match value:
            case Spread() | dict():
                return value
            case [low, high]:
                return {"low": low, "high": high}
            case list() | tuple():
                raise ValueError("a range has two ends: [3, 40]")
            case _:
                return {"low": value, "high": value}

    @model_validator(mode="after")
    def _ordered(self) -> "Spread":
        if self.high < self.low:
            raise ValueError(f"the range ends before it begins: write [{self.high:g}, {self.low:g}]")
        return self

    def draw(self, rng: random.Random) -> float:
        """One duration, simulated seconds."""
        if self.median is None:
            return rng.uniform(self.low, self.high)
        drawn = self.median * math.exp(rng.gauss(0.0, self.sigma))
        return drawn if self.most is None else min(drawn, self.most)


def between(low: float, high: float) -> Spread:
    """The even spread from `low` to `high` simulated seconds."""
    return Spread(low=low, high=high)
