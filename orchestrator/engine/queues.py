"""Where VMs wait for their turn: one queue for each wave and each thing that is done first. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.engine.course import migrate_limits, slot_limits
from orchestrator.engine.estimates import Estimates
from orchestrator.engine.legs import Key, Legs, waves_of
from orchestrator.engine.schedule import Lanes, Slots
from orchestrator.model.states import Verb
from orchestrator.plan.model import Plan


@dataclass(slots=True, eq=False)
class Queue:
    """The VMs of one wave that wait for their turn, all for the same thing to be done to them."""

    wave: str
    slots: Slots
    lanes: Lanes
    verb: Verb = Verb.STOP


def queues_of(plan: Plan, legs: Legs, estimates: Mapping[Verb, Estimates]) -> dict[Key, Queue]:
    """In the order of the plan's waves. A wave's slots lie within the run's; migrations share their own over all waves."""
    whole = Slots(slot_limits(plan.limits))
    migrations = Slots(migrate_limits(plan)) if Verb.MIGRATE in legs.verbs else None
    made: dict[Key, Queue] = {}
    for name, wave in waves_of(plan).items():
        within = Slots(slot_limits(plan.limits_of(wave)), within=whole) if wave is not None else whole
        for verb in legs.verbs:
            own = within
            if migrations is not None and verb is Verb.MIGRATE:
                own = Slots(migrations.limits, within=within, beside=migrations)
            made[name, verb] = Queue(name, own, Lanes(own, estimates[verb]), verb)
    return made
