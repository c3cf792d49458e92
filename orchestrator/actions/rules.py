"""A stop's numbers, and the classes of error (`outcomes.md` B)."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import AttemptType
from orchestrator.model.states import Verb
from orchestrator.plan.model import Evacuate, StopOptions

NODE_POWER_CUT_SECONDS = 60.0
"""What the node's grace waits for a guest before it cuts the power (zstack-rest.md 4.3)."""
RESEND_SECONDS = 2.5 * 3600.0
"""An intent younger than this may go out again under its own id: the node keeps ended jobs for 3 h."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How one VM is to be stopped, started or migrated, or one host changed; all times in seconds. `grace_seconds` is the
    time of whatever is not cold.
    """

    type: AttemptType
    grace_seconds: float
    cold_seconds: float
    power_cut_seconds: float
    node_outage_seconds: float
    fallback_on: frozenset[str]
    """`timeout`, `error`, both, or neither (no fallback)."""
    verb: Verb = Verb.STOP
    leaving: frozenset[str] = frozenset()
    """Hosts that are emptied: what is elsewhere is left alone, and what was migrated is on none of them."""
    as_good: frozenset[str] = frozenset()
    """States of a host that are as good as the one that is asked for, where it is found in one."""

    @property
    def scale(self) -> float:
        """1 on a real node; smaller where `power_cut_after` says that time is compressed. Our own waits follow it."""
        return min(1.0, self.power_cut_seconds / NODE_POWER_CUT_SECONDS)

    @property
    def margin_seconds(self) -> float:
        """How long past its timeout a PUT is waited for, so that the node gives up first."""
        return 10.0 * self.scale

    @property
    def late_seconds(self) -> float:
        """L: an end from here on is taken for a power cut."""
        if self.power_cut_seconds < NODE_POWER_CUT_SECONDS:
            return self.power_cut_seconds * 11 / 12
        return self.power_cut_seconds - 5.0

    @property
    def fallback_type(self) -> AttemptType:
        """What is sent where the first call did not work: a cold stop, or a start wherever the node likes."""
        return AttemptType.COLD if self.verb is Verb.STOP else AttemptType.START

    @property
    def worst_seconds(self) -> float:
        """The longest that a VM may hold its slots by these rules, the node being there."""
        worst = self.timeout_of(self.type) + self.margin_seconds
        return worst + (self.timeout_of(self.fallback_type) + self.margin_seconds if self.fallback_on else 0.0)

    def timeout_of(self, type_: AttemptType) -> float:
        """The whole timeout of a PUT of this type."""
        return self.cold_seconds if type_ is AttemptType.COLD else self.grace_seconds

    def back_off(self, tries: int) -> float:
        """Seconds to wait after that many tries: doubling from 1 s to 15 s."""
        return min(15.0, 2.0 ** min(tries, 10) / 2.0) * self.scale


def stop_rules(stop: StopOptions, node_outage_seconds: float, leaving: frozenset[str] = frozenset()) -> Rules:
    """Rules from what the plan says. `leaving`: see `Rules`."""
    return Rules(
        type=AttemptType(stop.type),
        grace_seconds=stop.grace_timeout.total_seconds(),
        cold_seconds=stop.cold_timeout.total_seconds(),
        power_cut_seconds=stop.power_cut_after.total_seconds(),
        node_outage_seconds=node_outage_seconds,
        fallback_on=frozenset(stop.fallback_on) if stop.fallback == "cold" and stop.type == "grace" else frozenset(),
        leaving=leaving,
    )


def start_rules(stop: StopOptions, node_outage_seconds: float) -> Rules:
    """Rules for starting again what was stopped by this plan: each start has the time that a grace has."""
    return Rules(
        type=AttemptType.START,
        grace_seconds=stop.grace_timeout.total_seconds(),
        cold_seconds=stop.cold_timeout.total_seconds(),
        power_cut_seconds=stop.power_cut_after.total_seconds(),
        node_outage_seconds=node_outage_seconds,
        fallback_on=frozenset({"error"}),
        verb=Verb.START,
    )


def migrate_rules(stop: StopOptions, evacuate: Evacuate, node_outage_seconds: float, leaving: frozenset[str]) -> Rules:
    """Rules for migrating a VM: one call, and nothing after it."""
    return replace(
        stop_rules(stop, node_outage_seconds, leaving),
        type=AttemptType.MIGRATE,
        grace_seconds=evacuate.migrate.timeout.total_seconds(),
        fallback_on=frozenset(),
        verb=Verb.MIGRATE,
    )


def host_rules(
    stop: StopOptions, evacuate: Evacuate, node_outage_seconds: float, verb: Verb, as_good: frozenset[str] = frozenset()
) -> Rules:
    """Rules for one change of a host's state. `as_good`: see `Rules`."""
    return replace(
        stop_rules(stop, node_outage_seconds),
        type=AttemptType(verb.value),
        grace_seconds=evacuate.host_timeout.total_seconds(),
        fallback_on=frozenset(),
        verb=verb,
        as_good=as_good,
    )


def whole_seconds(seconds: float) -> int:
    """Rounded up, at least one: the unit of `X-API-Timeout`."""
    return max(1, math.ceil(seconds - 1e-9))


class ErrorClass(StrEnum):
    """What an error of the node means for the next step."""

    AGAIN = "R"
    FINAL = "N"
    FALLBACK_MAY_HELP = "C"


_AGAIN = frozenset({"ID.1001", "SYS.1009", "SYS.1010", "SYS.1011", "SYS.1012", "SYS.1015", "SYS.1016"})
_AGAIN_STATUS = "http.429"
_NO_COLD_STATUS = frozenset({"http.400", "http.403", "http.404", "http.405", "http.500"})
"""Answers at once that say no to the call itself, whatever their body holds."""
_AGENT_CALL = frozenset({"SYS.1015", "SYS.1016"})
_WRONG_STATE = "VM.1010"
_NO_COLD = frozenset({"SYS.1003", "SYS.1006", "SYS.1007", "SYS.1017", _WRONG_STATE, "HOST.1010", "HOST.1011"})
_NO_COLD_FAMILIES = ("ID.", "LOGIN_CONTROL.", "LICENSE.")
_MAYBE_DONE = frozenset({"SYS.1006", "SYS.1017"})


_HOST_MAY_RUN_IT = _AGENT_CALL | {"SYS.1001", "HOST.1006"}
"""A start that ends so may have begun on the host: started anywhere else, one disk could run twice."""
_ELSEWHERE_MAY_HELP = frozenset({"SYS.1003", "SYS.1006", "HOST.1010", "HOST.1011"})
"""The host that was asked for is gone, not connected, or refused by the allocator, whose own codes are a family."""
_ALLOCATOR = "HOST_ALLOCATION."


def classify_start(error: NodeError, *, transitional: bool, status: int | None = None) -> ErrorClass:
    """The same of a start: again, or once more without a host, or neither."""
    codes = set(error.codes())
    if codes & _HOST_MAY_RUN_IT:
        return ErrorClass.FINAL
    if classify(error, transitional=transitional, status=status) is ErrorClass.AGAIN:
        return ErrorClass.AGAIN
    refused = codes & _ELSEWHERE_MAY_HELP or any(code.startswith(_ALLOCATOR) for code in codes)
    host_said_no = any(code.startswith("HOST.") for code in codes - _ELSEWHERE_MAY_HELP)
    return ErrorClass.FALLBACK_MAY_HELP if status is None and refused and not host_said_no else ErrorClass.FINAL


def classify_once(error: NodeError, *, transitional: bool, status: int | None = None) -> ErrorClass:
    """The same of a migration or a host: again where nothing can have been done, and nothing else ever."""
    if set(error.codes()) & _AGENT_CALL:
        return ErrorClass.FINAL
    known = classify(error, transitional=transitional, status=status)
    return known if known is ErrorClass.AGAIN else ErrorClass.FINAL


def may_arrive_late(error: NodeError) -> bool:
    """Does this error of a migration leave open whether it goes on? The node gave up waiting, or lost the agent's answer."""
    return bool(set(error.codes()) & (_AGENT_CALL | {"SYS.1001"}))


def migration_never_began(error: NodeError, status: int | None = None) -> bool:
    """Does this error, or the status that came at once, say that no migration was begun?"""
    return nothing_done(error, status) and not may_arrive_late(error)


def host_may_run_it(error: NodeError) -> bool:
    """Does this error of a start leave open whether the host runs the VM?"""
    return bool(set(error.codes()) & _HOST_MAY_RUN_IT)


def start_never_began(error: NodeError, status: int | None = None) -> bool:
    """Does this error, or the status that came at once, say that the host was never asked to start it?"""
    known = classify(error, transitional=True, status=status) is not ErrorClass.FALLBACK_MAY_HELP
    return known and not host_may_run_it(error)


def classify(error: NodeError, *, transitional: bool, status: int | None = None) -> ErrorClass:
    """R before N before C over all codes of the chain; details never count.

    `transitional`: the VM's state now. `status`: the HTTP status of a PUT refused at once, None for a job's verdict.
    """
    codes = set(error.codes())
    at_once = f"http.{status}"
    if at_once == _AGAIN_STATUS:
        return ErrorClass.AGAIN
    if at_once in _NO_COLD_STATUS:
        return ErrorClass.FINAL
    if codes & (_AGAIN | {_AGAIN_STATUS}) or (_WRONG_STATE in codes and transitional):
        return ErrorClass.AGAIN
    if codes & (_NO_COLD | _NO_COLD_STATUS) or any(code.startswith(_NO_COLD_FAMILIES) for code in codes):
        return ErrorClass.FINAL
    return ErrorClass.FALLBACK_MAY_HELP


def exhausted(error: NodeError) -> ErrorClass:
    """What class R becomes when the time for trying again has run out."""
    return ErrorClass.FALLBACK_MAY_HELP if agent_call_failed(error) else ErrorClass.FINAL


def agent_call_failed(error: NodeError) -> bool:
    """Did the node's call to the host's agent break? Nobody can say whether the agent had begun."""
    return bool(set(error.codes()) & _AGENT_CALL)


def nothing_done(error: NodeError, status: int | None = None) -> bool:
    """Does this error, or the status that came at once, say that the stop was never begun?"""
    known = classify(error, transitional=True, status=status) is not ErrorClass.FALLBACK_MAY_HELP
    return known and not (set(error.codes()) & _MAYBE_DONE)
