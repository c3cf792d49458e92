"""What is done to each VM of a run, one thing after the other, and by which rules. Pure."""

from orchestrator.actions.rules import Rules, migrate_rules, start_rules, stop_rules
from orchestrator.model.states import Verb
from orchestrator.model.target import VmRow
from orchestrator.plan.model import Plan
from orchestrator.plan.waves import Wave as PlannedWave

WAVE = "all"
"""The one wave of a plan without waves."""
APPLIANCE = "ApplianceVm"

Key = tuple[str, Verb]
"""A wave, and what is done first to some of its VMs."""


def waves_of(plan: Plan) -> dict[str, PlannedWave | None]:
    """The waves by name, in the plan's order; one of our own name where the plan has none."""
    return {wave.name: wave for wave in plan.waves} or {WAVE: None}


class Legs:
    """By the plan, of a run that stops or starts VMs, or empties hosts. `leaving`: the UUIDs of those hosts.

    Where hosts are emptied, an appliance that the plan does not stop is migrated; all else is, as `evacuate.vms` says,
    stopped, migrated, or migrated and then stopped where that has failed.
    """

    def __init__(self, plan: Plan, verb: Verb = Verb.STOP, leaving: frozenset[str] = frozenset()) -> None:
        self._plan = plan
        self._waves = waves_of(plan)
        self._evacuate = plan.evacuate if verb is Verb.STOP else None
        self.leaving: frozenset[str] = leaving if self._evacuate is not None else frozenset()
        self.verbs: tuple[Verb, ...] = (verb,) if self._evacuate is None else (Verb.MIGRATE, Verb.STOP)
        """All that is done first to some VM."""
        self.keys: tuple[Key, ...] = tuple((wave, verb) for wave in self._waves for verb in self.verbs)
        """In the order of the plan's waves."""
        self._rules = {key: self._rules_for(key) for key in self.keys}

    def rules(self, wave: str, verb: Verb | None = None) -> Rules:
        """How it is done in a wave; None is what the run does last to a VM."""
        return self._rules[wave, self.verbs[-1] if verb is None else verb]

    def of(self, row: VmRow, wave: str) -> tuple[Rules, ...]:
        """What is done to this VM: the second thing where the first has failed."""
        return tuple(self._rules[wave, verb] for verb in self.verbs_of(row.type, wave))

    def verbs_of(self, type_: str | None, wave: str) -> tuple[Verb, ...]:
        """The same by the VM's type, without the rules."""
        if self._evacuate is None:
            return self.verbs
        if type_ == APPLIANCE and self._plan.stop_of(self._waves.get(wave)).appliances == "skip":
            return (Verb.MIGRATE,)
        match self._evacuate.vms:
            case "stop":
                return (Verb.STOP,)
            case "migrate":
                return (Verb.MIGRATE,)
            case _:
                return (Verb.MIGRATE, Verb.STOP)

    def key(self, row: VmRow, wave: str) -> Key:
        """Where it waits for its turn."""
        return wave, self.verbs_of(row.type, wave)[0]

    def _rules_for(self, key: Key) -> Rules:
        wave, verb = key
        stop, outage = self._plan.stop_of(self._waves[wave]), self._plan.limits.node_outage.total_seconds()
        match verb:
            case Verb.MIGRATE:
                assert self._evacuate is not None
                return migrate_rules(stop, self._evacuate, outage, self.leaving)
            case Verb.START:
                return start_rules(stop, outage)
            case _:
                return stop_rules(stop, outage, self.leaving)
