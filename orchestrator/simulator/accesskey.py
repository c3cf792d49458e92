"""Requests signed with an access key: HMAC-SHA1 over verb, Date and path (zstack-rest.md 1.3)."""

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from orchestrator.simulator.clock import Clock
from orchestrator.simulator.failures import RefusedError
from orchestrator.simulator.scenario import Account
from orchestrator.simulator.wire import MONTHS

SKEW = timedelta(minutes=15)
_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) (\S+)")
_OFFSET = re.compile(r"(?:GMT)?([+-])(\d\d):(\d\d)")


def signed_by(
    accounts: dict[str, Account],
    authorization: str,
    date: str | None,
    *,
    method: str,
    path: str,
    clock: Clock,
    zoned: bool,
) -> Account:
    """The account whose key signed this request. `path` is decoded, without context path and query.

    Raises RefusedError with 400 for what has the wrong shape and 403 for what is wrong. `zoned` compares instants, else
    only the digits of the wall clock are compared: a correct UTC date fails against a node in Shanghai.
    """
    parts = authorization.removeprefix("ZStack").strip().split(":")
    if len(parts) != 2:
        raise RefusedError(400, "the format of header 'Authorization' must be 'ZStack AccessKeyID:signature'")
    key_id, signature = parts
    if date is None:
        raise RefusedError(400, "missing header 'Date'")
    claimed = _read_date(date)
    now = clock.now()
    # With check_time_zone=false the server compares wall-clock digits with its own and ignores the zone.
    apart = abs(claimed - now) if zoned else abs(claimed.replace(tzinfo=None) - now.replace(tzinfo=None))
    if apart > SKEW:
        raise RefusedError(403, "requestTimeTooSkewed")
    for account in accounts.values():
        for key in account.access_keys:
            if key.id == key_id and key.enabled:
                if signature != sign(key.secret, method, date, path):
                    raise RefusedError(403, "wrong accessKey signature")
                return account
    raise RefusedError(403, f"access key id: {key_id} does not existed or disabled")


def sign(secret: str, method: str, date: str, path: str) -> str:
    """The signature of a request, Base64."""
    text = f"{method}\n{date}\n{path}"
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def _read_date(text: str) -> datetime:
    match = _DATE.fullmatch(text.strip())
    zone = None if match is None else _zone(match[7])
    if match is None or match[2] not in MONTHS or zone is None:
        raise RefusedError(400, f"the format of header 'Date' is wrong: {text}")
    day, month, year, hour, minute, second, _ = match.groups()
    try:
        return datetime(int(year), MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=zone)
    except ValueError as error:
        raise RefusedError(400, f"the format of header 'Date' is wrong: {text}") from error


def _zone(name: str) -> tzinfo | None:
    if name in {"GMT", "UTC"}:
        return UTC
    if name == "CST":  # to the server's Java this is US Central, whatever the client meant
        return ZoneInfo("America/Chicago")
    if offset := _OFFSET.fullmatch(name):
        sign_of = -1 if offset[1] == "-" else 1
        return timezone(sign_of * timedelta(hours=int(offset[2]), minutes=int(offset[3])))
    if "/" not in name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
