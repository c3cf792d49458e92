"""Points in time as plans write them: RFC 3339 with an offset, `2026-11-28T22:00:00+08:00`."""

import re
from datetime import datetime

from orchestrator.plan.wording import shown, visible

PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
"""The grammar as a regular expression for editors; it does not know which days and hours there are."""

YEARS = range(2000, 3000)
"""The years a plan may name; any other is a slip of the keyboard, and could not be turned into every time zone."""

_MOMENT = re.compile(PATTERN)
_LOOSE = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt\s]\s*(?P<minute>[0-9]{2}:[0-9]{2})(?P<second>:[0-9]{2}(?:\.[0-9]{1,6})?)?"
    r"\s*(?P<offset>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_WANTED = "a date and time with its offset is expected: `2026-11-28T22:00:00+08:00`"


def parse_moment(text: str) -> datetime:
    """The moment that `text` names, with the offset it was written with.

    Raises ValueError, whose message says what was found and what would be right.
    """
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"found {shown(text)}; {_remedy(text)}")
    if text.endswith("-00:00"):
        raise ValueError(f"found {shown(text)}; the offset -00:00 says that none is known: write `Z` for UTC")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"found {shown(text)}, a day, a time or an offset that does not exist; mend its numbers") from None
    return checked_moment(moment)


def checked_moment(moment: datetime) -> datetime:
    """The moment itself. Raises ValueError where it has no offset, or a year outside 2000 to 2999."""
    if moment.utcoffset() is None:
        raise ValueError(f"found {shown(moment.isoformat())}, a time without an offset; {_WANTED}")
    if moment.year not in YEARS:
        raise ValueError(f"found the year {moment.year}; write one from {YEARS[0]} to {YEARS[-1]}")
    return moment


def _remedy(text: str) -> str:
    loose = _LOOSE.fullmatch(text.strip())
    if loose is None:
        return _WANTED
    written = f"{loose['day']}T{loose['minute']}{loose['second'] or ':00'}"
    offset = loose["offset"]
    if offset is None:
        return (
            "a time without an offset means another moment in each time zone: add the one that is meant, "
            f"`{visible(written)}+08:00` or such, or `{visible(written)}Z` for UTC"
        )
    if offset[0] in "+-":
        digits = offset[1:].replace(":", "").ljust(4, "0")
        return f"write `{visible(written)}{offset[0]}{digits[:2]}:{digits[2:]}`"
    return f"write `{visible(written)}Z`"
