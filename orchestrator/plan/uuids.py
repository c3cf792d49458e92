"""UUIDs as people paste them, made into the one form the node knows."""

import re

from orchestrator.plan.wording import shown

_HEX = re.compile(r"[0-9a-f]{32}")
_DASHED = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

WANTED = "a UUID is 32 hex digits (0-9, a-f)"


def normalise_uuid(text: str) -> str:
    """The UUID in lower case without dashes. Raises ValueError, which says what is wrong with it."""
    wanted = text.strip().lower()
    if _HEX.fullmatch(wanted):
        return wanted
    if _DASHED.fullmatch(wanted):
        return wanted.replace("-", "")
    digits = wanted.replace("-", "")
    strange = next((character for character in digits if character not in "0123456789abcdef"), None)
    if not digits:
        raise ValueError(f"found {shown(text)}, an empty text; {WANTED}")
    if strange is not None:
        raise ValueError(f"found {shown(text)}, which holds {shown(strange)}; {WANTED}")
    if len(digits) == 32:
        raise ValueError(f"found {shown(text)}, with dashes in odd places; leave them out")
    raise ValueError(f"found {shown(text)}, which has {len(digits)} hex digits; {WANTED}")
