"""Before the first change: the plan resolved and admitted, and what must be known of the node."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from orchestrator.clouds.interface import Cloud, NodeAwayError, NodeFacts
from orchestrator.engine.admit import admit, guard_problems
from orchestrator.engine.aside import Aside
from orchestrator.engine.clock import Clock
from orchestrator.engine.course import waves_of
from orchestrator.engine.estimates import known_figures
from orchestrator.engine.preview import make_preview
from orchestrator.engine.records import Prepared
from orchestrator.engine.resolve import resolve
from orchestrator.engine.window import closed_problem, times_of
from orchestrator.errors import NodeUnreachableError, PermissionDeniedError
from orchestrator.model.states import Verb
from orchestrator.plan.load import PlanFile
from orchestrator.plan.model import Plan

Took = Callable[[Sequence[str]], Mapping[str, Sequence[float]]]
"""Seconds that VMs took in earlier runs, the newest first (`Journal.took`)."""


async def prepare(
    plan_file: PlanFile,
    cloud: Cloud,
    *,
    strict: bool,
    terminal: bool = False,
    took: Took = lambda uuids: {},
    clock: Clock | None = None,
    aside: Aside | None = None,
) -> Prepared:
    """Resolve, admit, forecast. `strict`: warnings about the plan refuse too; `terminal`: somebody sees them.
    `aside` takes the inventories, for the journal.

    Raises NodeUnreachableError, UsageError, LoginError.
    """
    plan, clock = plan_file.plan, clock or Clock()
    resolution = await resolve(plan_file, cloud, aside)
    verdicts = admit(resolution, plan)
    known = {uuid: known_figures(seconds) for uuid, seconds in took([v.target.uuid for v in verdicts]).items()}
    now, window = clock.unix(), times_of(plan.window)
    preview = make_preview(plan_file, resolution, verdicts, known, now)
    problems = guard_problems(plan, resolution, verdicts, preview.warnings, strict=strict, terminal=terminal)
    if window is not None and (closed := closed_problem(window, now)) is not None:
        problems.append(closed)
    return Prepared(plan_file, resolution, verdicts, preview.model_copy(update={"problems": tuple(problems)}), known)


async def node_facts(cloud: Cloud) -> NodeFacts:
    """What is to be known of a node before a run is carried on there. Raises NodeUnreachableError, LoginError."""
    try:
        return await cloud.facts()
    except NodeAwayError as error:
        raise NodeUnreachableError(f"the node cannot be asked ({error.detail}): see that it is up, and try again") from None


async def check_permission(cloud: Cloud, plan: Plan, verb: Verb = Verb.STOP) -> None:
    """Raises PermissionDeniedError where the node would refuse this account's stops, or starts."""
    try:
        denied = await cloud.permission(verb)
        if verb is Verb.STOP and not all(plan.stop_of(wave).stop_ha for wave in waves_of(plan).values()):
            await cloud.learn_stop_ha()
    except NodeAwayError as error:
        raise NodeUnreachableError(f"the node went away before the run began ({error.detail}): try again") from None
    if denied is not None:
        raise PermissionDeniedError(
            f"this account may not {verb} VMs ({' '.join(denied.split())[:300]}): use an account that may"
        )


def new_run_id(now: datetime) -> str:
    """`20261128T220000Z-7f3a`: the time of its start in UTC, and four random hex digits."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
