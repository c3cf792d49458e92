"""Why one VM is where it is: its error, its reason and its evidence, as raw text, not yet made safe."""

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.model.fault import fault_of
from orchestrator.model.outcome import Outcome
from orchestrator.model.report import AttemptRecord, VmRecord
from orchestrator.reports.wording import reason_phrase


def cause_of(error: Mapping[str, Any] | None) -> str:
    """The chain of codes, as the causes of a report group it; empty without an error."""
    return "" if error is None else fault_of(error).chain()


def words_of(error: Mapping[str, Any] | None) -> str:
    """The innermost words of an error; empty without any."""
    if error is None:
        return ""
    fault = fault_of(error)
    return fault.sentence().removeprefix(fault.chain()).removeprefix(": ")


def explanation(vm: VmRecord) -> str:
    """Why a VM is where it is, in one line: the error, else the reason, else the evidence. Raw text."""
    if vm.outcome is Outcome.CAME_BACK and vm.evidence is not None:
        return vm.evidence.text  # which says where it runs, since when, and why
    if vm.error is not None:
        return fault_of(vm.error).sentence()
    return reason_phrase(vm.reason) or (vm.evidence.text if vm.evidence else "")


def seconds_text(seconds: float | None) -> str:
    """`71.2`; empty when there is none or when it is no number."""
    return "" if seconds is None or not math.isfinite(seconds) else f"{seconds:.1f}"


def attempts_text(attempts: tuple[AttemptRecord, ...]) -> str:
    """`grace failed; cold succeeded`."""
    return "; ".join(f"{attempt.type} {attempt.result}" for attempt in attempts)
