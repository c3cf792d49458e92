"""A point in time as reports write it."""

from datetime import UTC, datetime


def rfc3339(unix: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, milliseconds."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
