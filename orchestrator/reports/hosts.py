"""What a report says of hosts: their names, and whether they are really empty."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from orchestrator.model.counts import are, counted
from orchestrator.model.report import HostRecord, LeftOnHost, RunReport
from orchestrator.reports.wording import reason_phrase, without_outcome

NO_HOST = "no host"


class Standing(StrEnum):
    """Whether a host can be worked on, worst first."""

    OCCUPIED = "not empty"
    DOUBTFUL = "not certain"
    UNREAD = "not read"
    EMPTY = "empty"


class HostNames:
    """Host UUID → the name to show; hosts that share a name get a piece of their UUID as well."""

    def __init__(self, hosts: Iterable[HostRecord], others: Mapping[str, str] = MappingProxyType({})) -> None:
        self._names: dict[str, str | None] = {**others, **{host.uuid: host.name for host in hosts}}
        self._uses = Counter(self._names.values())

    @classmethod
    def of(cls, report: RunReport) -> Self:
        """Of all hosts that a report names: those of its VMs, and those that VMs were migrated to."""
        return cls(report.hosts, report.run.destinations)

    def name(self, uuid: str | None) -> str | None:
        """The host's own name, None when it is not known."""
        return None if uuid is None else self._names.get(uuid)

    def shown(self, uuid: str | None) -> str:
        """A name that tells the host from the others; its UUID without one."""
        if uuid is None:
            return NO_HOST
        name = self._names.get(uuid)
        if not name:
            return uuid
        return f"{name} ({uuid[:8]})" if self._uses[name] > 1 else name


def standing(host: HostRecord) -> Standing:
    """Empty only when nothing was found there and nothing speaks against it."""
    if host.left_on_host is None:
        return Standing.UNREAD
    if host.left_on_host:
        return Standing.OCCUPIED
    return Standing.DOUBTFUL if _doubts(host) else Standing.EMPTY


def _doubts(host: HostRecord) -> list[str]:
    doubts = []
    if unknown := host.totals.get("unknown", 0):
        doubts.append(f"{counted(unknown)} there may still run")
    # A host is powered off on the word of this report, so what contradicts an empty list is said, not weighed.
    if elsewhere := sum(host.totals.get(word, 0) for word in ("failed", "came_back", "not_reached")):
        doubts.append(f"{elsewhere} of its targets {are(elsewhere)} not stopped")
    if pending := without_outcome(host.totals):
        doubts.append(f"{counted(pending)} there without an outcome")
    if host.status not in (None, "Connected"):
        doubts.append(f"the node sees the host as {host.status}")
    return doubts


def standing_phrase(host: HostRecord) -> str:
    """`empty`, or what speaks against it; raw text, to be made safe by the caller."""
    match standing(host):
        case Standing.UNREAD:
            return "what runs there could not be read"
        case Standing.OCCUPIED:
            return f"{out_of_reach(host)}{counted(len(host.left_on_host or ()))} left"
        case Standing.DOUBTFUL:
            return "nothing found there, but " + "; ".join(_doubts(host))
        case Standing.EMPTY:
            return "empty"


def out_of_reach(host: HostRecord) -> str:
    """`Disconnected, `; empty for a host whose agent the node reaches."""
    return f"{host.status}, " if host.status not in (None, "Connected") else ""


def left_phrase(left: LeftOnHost) -> str:
    """One VM that still runs on a host; raw text."""
    why = left.why.replace("_", " ") + (f": {reason_phrase(left.cause)}" if left.cause else "")
    details = ", ".join(word for word in (left.type, left.state, why) if word)
    return f"{left.name or left.uuid} ({details})"


def by_standing(hosts: Iterable[HostRecord]) -> list[HostRecord]:
    """The hosts that need somebody first, in their own order otherwise."""
    order = list(Standing)
    return sorted(hosts, key=lambda host: order.index(standing(host)))


def hosts_sentence(hosts: Iterable[HostRecord]) -> str:
    """`5 of 8 hosts are empty; 2 are not; 1 could not be read.`"""
    counts = Counter(standing(host) for host in hosts)
    total = counts.total()
    if not total:
        return ""
    be = are(1 if total == 1 else counts[Standing.EMPTY])
    parts = [f"{counts[Standing.EMPTY]} of {counted(total, 'host')} {be} empty"]
    if number := counts[Standing.OCCUPIED]:
        parts.append(f"{number} {are(number)} not")
    if number := counts[Standing.DOUBTFUL]:
        parts.append(f"{number} {are(number)} not certain")
    if number := counts[Standing.UNREAD]:
        parts.append(f"{number} could not be read")
    return "; ".join(parts) + "."
