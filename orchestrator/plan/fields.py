"""The kinds of value that plan keys hold, each with its check and its form in the JSON Schema.

Every check raises ValueError with the whole message: what was found and what would be right.
"""

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

from orchestrator.plan import moments, quantities
from orchestrator.plan.conditions import parse_condition
from orchestrator.plan.durations import LONGEST, PATTERN, format_duration, parse_duration
from orchestrator.plan.quantities import MOST, Quantity, parse_quantity
from orchestrator.plan.uuids import normalise_uuid
from orchestrator.plan.wording import shown


class Section(BaseModel):
    """What every part of a plan has in common: frozen, unknown keys refused, no silent conversions.

    The text under a key is its description; `schema` reads it from the source where somebody wants it, for it takes a while.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _as_duration(value: object) -> object:
    if isinstance(value, timedelta):
        if not timedelta(0) <= value <= LONGEST:
            raise ValueError("a duration is between 0s and 168h")
        return value
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"found {value:.12g}, a number without a unit; write `{value:.12g}s`, `{value:.12g}m` or such")
    raise ValueError("a duration is expected: `90s`, `5m`, `1h30m`, `1.5s` or `250ms`")


def _one(value: object) -> object:
    """Version 1 itself: Python takes True and 1.0 for 1, a plan does not."""
    if type(value) is int and value == 1:
        return value
    raise ValueError("this version reads plans of `version: 1`")


def _line(value: str) -> str:
    if not value.strip():
        raise ValueError(f"found {shown(value)}, an empty text; write something or leave the key out")
    return _without_controls(value, allowed="")


def _prose(value: str) -> str:
    return _without_controls(value, allowed="\n\t\r")


def _without_controls(value: str, allowed: str) -> str:
    if any((ord(sign) < 32 or 127 <= ord(sign) < 160) and sign not in allowed for sign in value):
        raise ValueError(f"found {shown(value)}, which holds a control character; remove it")
    return value


def _variable(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        # The value is not shown: it may be the secret itself, written where its name belongs.
        raise ValueError(
            "found something else than the name of an environment variable, like `CHAT_URL`; what it holds stays out of the "
            "plan, for the plan is journalled"
        )
    return value


def _condition(value: str) -> str:
    parse_condition(value)
    return value


def _system_tag(value: str) -> str:
    if "validationonly" in value.lower():
        raise ValueError(
            f"found {shown(value)}; the node would answer success without stopping anything. "
            "Remove it, and use `preview` for a dry run"
        )
    return value


def _endpoint(value: str) -> str:
    try:
        url = urlsplit(value)
        has_user, host, port = "@" in url.netloc, url.hostname, url.port
    except ValueError:
        url, has_user, host, port = None, "@" in value, None, None
    if has_user:
        # The value is not shown: what stands before the @ may be a password.
        raise ValueError("found a URL with user info; leave out what stands before the `@`: credentials never belong here")
    if url is None or url.scheme not in ("http", "https") or not host or port == 0 or re.search(r"[\s?#]", value):
        raise ValueError(f"found {shown(value)}; an http or https URL is expected: `https://mn.example:8443/zstack`")
    return value


class Expect(Section):
    """How many targets a plan expects, both ends included; equal ends for an exact count."""

    min: Annotated[int, Field(ge=0)]
    max: Annotated[int, Field(ge=0)]


def _expect(value: object) -> object:
    if isinstance(value, Expect):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        low = high = value
    elif isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", value)):
        low, high = int(match[1]), int(match[2])
    else:
        found = f"found {shown(value)}; " if isinstance(value, str) else ""
        raise ValueError(f"{found}a range like `480..500` or a whole number like `480` is expected, without quotes")
    if low > high:
        raise ValueError(f"found {shown(str(value))}, a range that ends before it begins; write `{high}..{low}`")
    if not 1 <= high <= MOST:
        raise ValueError(f"found {shown(str(value))}; expect at least 1 target and at most {MOST}")
    return Expect(min=low, max=high)


def _moment(value: object) -> datetime:
    match value:
        case datetime():
            return moments.checked_moment(value)
        case str():
            return moments.parse_moment(value)
        case _:
            raise ValueError("a date and time with its offset is expected: `2026-11-28T22:00:00+08:00`")


def _ramp_step(value: object) -> Quantity:
    step = parse_quantity(value)
    if not step.number:
        raise ValueError(f"found {step}; a step lets more than none through: write `1` or more, or a share like `5%`")
    return step


def _no_share(value: object) -> object:
    if isinstance(value, str) and "%" in value:
        raise ValueError(f"found {shown(value)}, a share; only a count is taken here: write a whole number like `3`")
    return value


def _written(quantity: Quantity) -> int | str:
    return str(quantity) if quantity.is_share else int(quantity.number)


def _quantity_schema(least: int) -> WithJsonSchema:
    share: dict[str, object] = {"type": "string", "pattern": quantities.PATTERN, "examples": ["5%"]}
    return WithJsonSchema({"anyOf": [{"type": "integer", "minimum": least, "maximum": MOST}, share]})


Version = Annotated[Literal[1], BeforeValidator(_one)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_as_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["90s", "5m", "1h30m"]}),
]
Count = Annotated[int, Field(ge=1, le=MOST)]
Tally = Annotated[int, Field(ge=0, le=MOST), BeforeValidator(_no_share)]
Allowance = Annotated[
    Quantity,
    PlainValidator(parse_quantity),
    PlainSerializer(_written, when_used="json"),
    _quantity_schema(0),
]
RampStep = Annotated[
    Quantity,
    PlainValidator(_ramp_step),
    PlainSerializer(_written, when_used="json"),
    _quantity_schema(1),
]
Moment = Annotated[
    datetime,
    PlainValidator(_moment),
    PlainSerializer(datetime.isoformat, return_type=str, when_used="json"),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "pattern": moments.PATTERN, "examples": ["2026-11-28T22:00:00+08:00"]}
    ),
]
Rate = Annotated[float, Field(ge=0.1, le=100_000)]
Line = Annotated[str, AfterValidator(_line), WithJsonSchema({"type": "string", "minLength": 1})]
Variable = Annotated[
    str, AfterValidator(_variable), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
]
Prose = Annotated[str, AfterValidator(_prose)]
Tag = Annotated[str, AfterValidator(_line), WithJsonSchema({"type": "string", "minLength": 1})]
SystemTag = Annotated[Tag, AfterValidator(_system_tag), WithJsonSchema({"type": "string", "minLength": 1})]
Uuid = Annotated[str, AfterValidator(normalise_uuid), WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f-]{32,36}$"})]
ConditionText = Annotated[str, AfterValidator(_condition), WithJsonSchema({"type": "string", "minLength": 3})]
Group = Annotated[tuple[ConditionText, ...], Field(min_length=1)]
Endpoint = Annotated[
    str, AfterValidator(_endpoint), WithJsonSchema({"type": "string", "pattern": "^https?://[^@/?#\\s]+(/[^?#\\s]*)?$"})
]
ExpectedTargets = Annotated[
    Expect,
    BeforeValidator(_expect),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^[0-9]+\.\.[0-9]+$"}]}),
]
