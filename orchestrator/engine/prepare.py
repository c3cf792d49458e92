"""Before the first change: the plan resolved and admitted, and what must be known of the node."""

import contextlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import anyio

from orchestrator.clouds.interface import Cloud, NodeAwayError, NodeFacts, QueryRefusedError
from orchestrator.engine.admit import Kind, Verdict, admit, guard_problems
from orchestrator.engine.aside import Aside
from orchestrator.engine.clock import Clock
from orchestrator.engine.course import Known
from orchestrator.engine.destinations import usable
from orchestrator.engine.estimates import known_figures
from orchestrator.engine.legs import Legs, waves_of
from orchestrator.engine.preview import make_preview
from orchestrator.engine.records import Prepared
from orchestrator.engine.resolve import resolve
from orchestrator.engine.window import closed_problem, times_of
from orchestrator.errors import NodeUnreachableError, PermissionDeniedError
from orchestrator.model.states import OF_HOSTS, Verb
from orchestrator.plan.load import PlanFile
from orchestrator.plan.model import Plan

Took = Callable[[str, Sequence[str]], Mapping[str, Sequence[float]]]
"""Seconds that VMs took in earlier runs for an action, the newest first (`Journal.took`)."""


def known_from(took: Took, verbs: Iterable[Verb], uuids: Sequence[str]) -> Known:
    """What earlier runs say of these VMs."""
    return {verb: {uuid: known_figures(seconds) for uuid, seconds in took(verb, uuids).items()} for verb in verbs}


async def prepare(
    plan_file: PlanFile,
    cloud: Cloud,
    *,
    strict: bool,
    terminal: bool = False,
    took: Took = lambda action, uuids: {},
    clock: Clock | None = None,
    aside: Aside | None = None,
    ask_candidates: bool = True,
) -> Prepared:
    """Resolve, admit, forecast. `strict`: warnings about the plan refuse too; `terminal`: somebody sees them.
    `aside` takes the inventories, for the journal. `ask_candidates`: ask where each VM that is to be migrated could go.

    Raises NodeUnreachableError, UsageError, LoginError.
    """
    plan, clock = plan_file.plan, clock or Clock()
    resolution = await resolve(plan_file, cloud, aside)
    verdicts = admit(resolution, plan)
    legs = Legs(plan, leaving=frozenset(host.uuid for host in resolution.hosts))
    known = known_from(took, legs.verbs, [verdict.target.uuid for verdict in verdicts])
    now, window = clock.unix(), times_of(plan.window)
    movable = await _movable(cloud, legs, verdicts) if ask_candidates else {}
    preview = make_preview(plan_file, resolution, verdicts, legs=legs, known=known, now=now, movable=movable)
    problems = guard_problems(plan, resolution, verdicts, preview.warnings, strict=strict, terminal=terminal)
    if window is not None and (closed := closed_problem(window, now)) is not None:
        problems.append(closed)
    return Prepared(plan_file, resolution, verdicts, preview.model_copy(update={"problems": tuple(problems)}), known)


_ASKED_AT_ONCE = 16


async def _movable(cloud: Cloud, legs: Legs, verdicts: Sequence[Verdict]) -> dict[str, bool]:
    """Of the VMs that are to be migrated: does the node offer a host now? Left out is what it does not tell of."""
    wanted = [
        verdict.target.uuid
        for verdict in verdicts
        if verdict.kind is Kind.OK
        and verdict.target.row is not None
        and legs.verbs_of(verdict.target.row.type, verdict.wave)[0] is Verb.MIGRATE
    ]
    found: dict[str, bool] = {}
    limit = anyio.CapacityLimiter(_ASKED_AT_ONCE)

    async def ask(uuid: str) -> None:
        with contextlib.suppress(NodeAwayError, QueryRefusedError):
            async with limit:
                found[uuid] = bool(usable(await cloud.candidates(uuid), legs.leaving))

    async with anyio.create_task_group() as asking:
        for uuid in wanted:
            asking.start_soon(ask, uuid)
    return found


async def node_facts(cloud: Cloud) -> NodeFacts:
    """What is to be known of a node before a run is carried on there. Raises NodeUnreachableError, LoginError."""
    try:
        return await cloud.facts()
    except NodeAwayError as error:
        raise NodeUnreachableError(f"the node cannot be asked ({error.detail}): see that it is up, and try again") from None


async def check_permission(cloud: Cloud, plan: Plan, verb: Verb = Verb.STOP) -> None:
    """Raises PermissionDeniedError where the node would refuse this account's stops, or starts, or what empties hosts."""
    denied, what = None, ""
    leaves_hosts = plan.evacuate is not None and plan.evacuate.hosts == "leave"
    try:
        for wanted in _needed(plan, verb):
            what = f"change the state of hosts ({wanted})" if wanted in OF_HOSTS else f"{wanted} VMs"
            if wanted is Verb.DISABLE and leaves_hosts:
                what = "change hosts, and so may not see every VM on them, of which this run would say that they are empty"
            denied = denied or await cloud.permission(wanted)
            if denied is not None:
                break
        if verb is Verb.STOP and not all(plan.stop_of(wave).stop_ha for wave in waves_of(plan).values()):
            await cloud.learn_stop_ha()
    except NodeAwayError as error:
        raise NodeUnreachableError(f"the node went away before the run began ({error.detail}): try again") from None
    if denied is not None:
        raise PermissionDeniedError(
            f"this account may not {what} ({' '.join(denied.split())[:300]}): use an account that may"
        )


def _needed(plan: Plan, verb: Verb) -> list[Verb]:
    """All that a run of this plan, or its restore, does; and what tells of an account that it sees every VM of a host.

    The node shows an account its own VMs alone unless it is an administrator (zstack-rest.md 7.4), who may change hosts too.
    """
    evacuate, needed = plan.evacuate, [verb]
    if evacuate is None:
        return needed
    if verb is Verb.START:
        return needed if evacuate.hosts == "leave" else [*needed, Verb.ENABLE]
    return [*needed, Verb.MIGRATE, Verb.DISABLE]


def new_run_id(now: datetime) -> str:
    """`20261128T220000Z-7f3a`: the time of its start in UTC, and four random hex digits."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
