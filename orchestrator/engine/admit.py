"""A verdict for every target before the first change; one refusal stops the run. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.engine.legs import APPLIANCE, WAVE, waves_of
from orchestrator.engine.resolve import Resolution, Target
from orchestrator.model.outcome import Outcome, Reason
from orchestrator.model.safe import one_line
from orchestrator.model.states import LEFT_ALONE_STATES
from orchestrator.plan.model import Plan, StopOptions


class Kind(StrEnum):
    """What is going to happen to a target."""

    OK = "ok"
    ALREADY_STOPPED = "already_stopped"
    SKIP = "skip"
    NOT_FOUND = "not_found"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target with its verdict; `why` is a clause for a person, empty for `ok`. `reason` goes with an outcome."""

    target: Target
    kind: Kind
    why: str = ""
    reason: Reason | None = None
    wave: str = WAVE

    @property
    def outcome(self) -> Outcome | None:
        """The outcome it has already, None where it is going to be sent."""
        match self.kind:
            case Kind.ALREADY_STOPPED:
                return Outcome.ALREADY_STOPPED
            case Kind.SKIP:
                return Outcome.SKIPPED
            case Kind.NOT_FOUND:
                return Outcome.NOT_FOUND
            case _:
                return None


def admit(resolution: Resolution, plan: Plan) -> list[Verdict]:
    """Verdicts in the order of the targets."""
    return [
        Verdict(target, *_verdict(target, resolution, plan), wave=resolution.waves.get(target.uuid, WAVE))
        for target in resolution.targets
    ]


def _verdict(target: Target, resolution: Resolution, plan: Plan) -> tuple[Kind, str, Reason | None]:
    if target.uuid in resolution.protected:
        return Kind.REFUSE, f"protected by {resolution.protected[target.uuid]!r}", None
    row = target.row
    if row is None:
        return Kind.NOT_FOUND, "the node does not know this UUID", Reason.UNKNOWN_UUID
    if target.ours:
        return Kind.REFUSE, target.ours, None
    if plan.evacuate is None and row.type == APPLIANCE and _stop(plan, resolution, target).appliances == "skip":
        return Kind.SKIP, "an appliance (stop.appliances is skip)", Reason.APPLIANCE
    if row.state in LEFT_ALONE_STATES:
        return Kind.SKIP, f"its state is {row.state}", Reason.STATE
    if row.state == "Stopped":
        return Kind.ALREADY_STOPPED, "it is Stopped", None
    return Kind.OK, "", None


def _stop(plan: Plan, resolution: Resolution, target: Target) -> StopOptions:
    return plan.stop_of(waves_of(plan).get(resolution.waves.get(target.uuid, WAVE)))


def guard_problems(
    plan: Plan,
    resolution: Resolution,
    verdicts: list[Verdict],
    warnings: Sequence[str],
    *,
    strict: bool,
    terminal: bool,
) -> list[str]:
    """Every reason to refuse the whole run, each one sentence with the remedy; empty when it may begin.

    `warnings`: what `strict` refuses.
    Where nobody looks (`terminal` false), a protection that protects nothing refuses as `strict` does.
    """
    problems = []
    guard, count = plan.guard, len(verdicts)
    if guard.max_targets is not None and count > guard.max_targets:
        problems.append(
            f"{count} targets are more than guard.max_targets {guard.max_targets}: check the selectors, or raise it"
        )
    expect = guard.expect_targets
    if expect is not None and not expect.min <= count <= expect.max:
        wanted = str(expect.min) if expect.min == expect.max else f"{expect.min}..{expect.max}"
        problems.append(f"{count} targets, where guard.expect_targets says {wanted}: check the selectors, or correct it")
    problems += [*resolution.host_problems, *resolution.wave_problems]
    if plan.evacuate is not None:
        if not resolution.hosts and not resolution.host_problems:
            problems.append("no host matched: check the selectors in targets.hosts")
    elif not verdicts:
        problems.append("no target matched: check the selectors in targets, and what exclude removes")
    for verdict in verdicts:
        if verdict.kind is Kind.REFUSE:
            name = verdict.target.row.name if verdict.target.row is not None else None
            must, remedy = "must not be stopped", "exclude it, or take it off the plan"
            if plan.evacuate is not None:
                must, remedy = "must not be touched", "move it to another host yourself, or exclude it in the plan"
            problems.append(
                f"{one_line(name or 'VM', 100)} ({verdict.target.uuid}) {must}: {one_line(verdict.why)}; {remedy}"
            )
    if strict or not terminal:
        problems += [
            f"{selector} matches nothing on the node: correct it, or add may_be_empty: true"
            for selector in resolution.empty_selectors
        ]
    if strict:
        problems += [f"--strict refuses a warning: {warning}" for warning in warnings]
    return problems
