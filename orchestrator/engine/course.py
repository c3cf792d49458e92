"""How a run goes on after each outcome: what its waves, ramps and failure budgets say, as one list of orders. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from orchestrator.actions.rules import stop_rules
from orchestrator.engine.budget import Budget, BudgetLimits, Crossing, Failure, counts_as
from orchestrator.engine.estimates import QUICK_SECONDS, Estimates, Figures
from orchestrator.engine.forecast import Forecast, Outlook, Shape
from orchestrator.engine.legs import WAVE, Key, Legs, waves_of
from orchestrator.engine.schedule import SlotLimits
from orchestrator.engine.waves import ClosedOff, Decision, Finished, Opened, Wave, Waves, ramp_steps
from orchestrator.model.fault import NodeError
from orchestrator.model.outcome import AttemptReason, Outcome, Reason
from orchestrator.model.report import VmRecord
from orchestrator.model.states import Verb
from orchestrator.model.target import VmRow
from orchestrator.plan.model import Limits, Plan
from orchestrator.plan.quantities import Quantity


@dataclass(frozen=True, slots=True)
class Drop:
    """These VMs never have their turn. `stop`: what to tell of it: kind, scope, count, limit; None if told already."""

    reason: Reason
    vms: tuple[str, ...]
    stop: tuple[str, str, int, int] | None = None


Order = Drop | Opened | Finished
_NOBODY = "-"
"""No host's UUID."""


def slot_limits(limits: Limits) -> SlotLimits:
    """How many VMs may be in flight."""
    return SlotLimits(limits.concurrency, limits.per_host, limits.per_cluster, limits.per_primary_storage)


Known = Mapping[Verb, Mapping[str, Figures]]
"""What VMs took in earlier runs, by what was done to them and by UUID."""
_MIGRATION_SECONDS, _LONG_MIGRATION_SECONDS = 60.0, 300.0
"""What a migration is expected to take before any has ended, and a long one: nobody has measured that here."""


def estimates_of(plan: Plan, known: Known, legs: Legs) -> dict[Verb, Estimates]:
    """What VMs are expected to take before any has ended, by what is done first to them.

    `known` is of graceful stops: where every stop is cold, it says nothing, and a power cut is quick.
    """
    rules = stop_rules(plan.stop, 0.0)
    made: dict[Verb, Estimates] = {}
    for verb in legs.verbs:
        if verb is Verb.MIGRATE:
            long, prior = _LONG_MIGRATION_SECONDS * rules.scale, _MIGRATION_SECONDS
            made[verb] = Estimates(known.get(verb, {}), long, rules.scale, prior_seconds=prior)
        elif verb is Verb.STOP and all(plan.stop_of(wave).type == "cold" for wave in waves_of(plan).values()):
            made[verb] = Estimates({}, 0.0, rules.scale, prior_seconds=QUICK_SECONDS)
        else:
            made[verb] = Estimates(known.get(verb, {}), rules.power_cut_seconds, rules.scale)
    return made


def migrate_limits(plan: Plan) -> SlotLimits:
    """How many migrations may be under way, within all that may be in flight. Raises AssertionError where none are made."""
    assert plan.evacuate is not None
    return SlotLimits(plan.evacuate.migrate.concurrency, plan.evacuate.migrate.per_host)


def outlook_of(plan: Plan, legs: Legs, to_send: Mapping[Key, int], estimates: Mapping[Verb, Estimates]) -> Outlook:
    """A forecast of a plan's waves; nobody waits in it yet. `to_send`: the VMs that a wave's ramp is of."""
    waves, shapes = waves_of(plan), list[Shape]()
    for key in legs.keys:
        wave = waves[key[0]]
        limits = slot_limits(plan.limits_of(wave))
        if key[1] is Verb.MIGRATE:
            narrow = migrate_limits(plan)
            limits = SlotLimits(
                min(limits.total, narrow.total), min(limits.per_host, narrow.per_host),
                limits.per_cluster, limits.per_primary_storage,
            )  # fmt: skip
        shapes.append(
            Shape(
                key,
                limits,
                legs.rules(*key).worst_seconds,
                after=tuple((before, verb) for before in (wave.after if wave is not None else ()) for verb in legs.verbs),
                ramp=ramp_steps(plan.limits_of(wave).ramp, to_send.get(key, 0)),
                estimates=estimates[key[1]],
            )
        )
    return Outlook(shapes, slot_limits(plan.limits), plan.limits.requests_per_second)


def forecast_of(plan: Plan, legs: Legs, waiting: Sequence[tuple[VmRow, str]], known: Known) -> Forecast:
    """Of a run that begins now with these VMs, each in its wave."""
    keys = [legs.key(row, wave) for row, wave in waiting]
    outlook = outlook_of(plan, legs, Counter(keys), estimates_of(plan, known, legs))
    for (row, _), key in zip(waiting, keys, strict=True):
        outlook.waits(row, key)
    return outlook.forecast(0.0)


class Course:
    """Waves and budgets together. Told of each VM that starts and ends; answers with orders, to be obeyed in their order.

    `records` are all targets, `rows` those without an outcome. A run that is carried on is told so by its records.
    """

    def __init__(self, plan: Plan, records: Sequence[VmRecord], rows: Mapping[str, VmRow]) -> None:
        self._plan = plan
        self._planned = waves_of(plan)
        self._waiting = {uuid: row.host_uuid for uuid, row in rows.items()}
        # What had an outcome without a turn, before the run, holds up nothing and is no part of any share.
        sent = [record for record in records if not _settled_before(record)]
        self._past = [record for record in sent if record.outcome is not None]
        self._through = [record.uuid for record in sent if record.started_at is not None or record.attempts]
        by_wave: dict[str, list[VmRecord]] = {name: [] for name in self._planned}
        for record in records:
            by_wave[_wave(record)].append(record)
        self._waves = Waves(
            Wave(
                name,
                tuple(record.uuid for record in by_wave[name]),
                after=planned.after if planned is not None else (),
                settled=frozenset(record.uuid for record in by_wave[name] if _settled_before(record)),
                ramp=plan.limits_of(planned).ramp or (),
                per_wave=plan.budget_of(planned).per_wave,
            )
            for name, planned in self._planned.items()
        )
        limits = plan.budget
        self._budget = Budget(
            BudgetLimits(limits.failures, _count(limits.per_host), _count(limits.same_cause), limits.power_cuts),
            [record.host_uuid for record in sent],
        )

    def begin(self) -> list[Order]:
        """Open what may open; what an earlier process had decided is decided again."""
        failures = [_failure(record) for record in self._past if self._counts_as(record) == "failure"]
        cuts = [record.uuid for record in self._past if self._counts_as(record) == "power_cut"]
        crossings = self._budget.recount(failures, cuts, ())
        ended = {record.uuid: record.outcome for record in self._past if record.outcome is not None}
        for uuid in (*self._through, *ended):
            self._waiting.pop(uuid, None)
        orders = self._obey(self._waves.begin(self._through, ended, self._budget.excused))
        return [*orders, *(order for crossing in crossings for order in self._cross(crossing))]

    def join(self, record: VmRecord, host: str | None) -> list[Order]:
        """A VM that has turned up is a target too, without an outcome."""
        self._waiting[record.uuid] = host
        self._budget.join(host)
        orders = self._obey(self._waves.join(record.uuid, _wave(record)))
        if host not in self._budget.closed or self._waiting.pop(record.uuid, _NOBODY) is _NOBODY:
            return orders
        dropped = Drop(Reason.HOST_BUDGET, (record.uuid,))
        return [*orders, dropped, *self._obey(self._waves.ended(record.uuid, Outcome.NOT_REACHED))]

    def close_host(self, host: str) -> list[Order]:
        """What is on this host, and has not begun, never has its turn."""
        left = tuple(uuid for uuid, where in self._waiting.items() if where == host)
        orders: list[Order] = [Drop(Reason.HOST, left)]
        for uuid in left:
            del self._waiting[uuid]
            orders += self._obey(self._waves.ended(uuid, Outcome.NOT_REACHED))
        return orders

    @property
    def to_send(self) -> dict[str, int]:
        """By wave: its VMs without an outcome before the run."""
        return {name: self._waves.to_send(name) for name in self._planned}

    def close(self) -> list[Order]:
        """The window takes nobody any more: what waits is not reached."""
        return self._obey(self._waves.stop(Reason.WINDOW))

    def allowance(self, wave: str) -> int:
        """How many more VMs of this wave may start now."""
        return self._waves.allowance(wave)

    def skip(self, uuid: str) -> list[Order] | None:
        """An operator takes this VM out; None where it does not wait any more."""
        if self._waiting.pop(uuid, _NOBODY) is _NOBODY:
            return None
        return self._obey(self._waves.ended(uuid, Outcome.SKIPPED))

    def let_through(self, uuid: str) -> None:
        """A VM starts."""
        self._waiting.pop(uuid, None)
        self._waves.let_through(uuid)

    def ended(self, record: VmRecord) -> list[Order]:
        """A VM that was started has its outcome."""
        assert record.outcome is not None
        crossings: tuple[Crossing, ...] = ()
        match self._counts_as(record):
            case "failure":
                failure = _failure(record)
                crossings = self._budget.failed(failure.uuid, failure.host, failure.cause)
                if failure.host in self._budget.closed:
                    self._waves.excuse([failure.uuid])
            case "power_cut":
                crossings = self._budget.power_cut(record.uuid)
        orders = [order for crossing in crossings for order in self._cross(crossing)]
        return [*orders, *self._obey(self._waves.ended(record.uuid, record.outcome))]

    def _cross(self, crossing: Crossing) -> list[Order]:
        stop = (crossing.kind, crossing.scope, crossing.count, crossing.limit)
        if crossing.host is None:
            return [Drop(Reason.BUDGET, (), stop), *self._obey(self._waves.stop(Reason.BUDGET))]
        self._waves.excuse(crossing.excused)
        left = tuple(uuid for uuid, host in self._waiting.items() if host == crossing.host)
        orders: list[Order] = [Drop(Reason.HOST_BUDGET, left, stop)]
        for uuid in left:
            del self._waiting[uuid]
            orders += self._obey(self._waves.ended(uuid, Outcome.NOT_REACHED))
        return orders

    def _obey(self, decisions: Iterable[Decision]) -> list[Order]:
        orders: list[Order] = []
        for decision in decisions:
            match decision:
                case ClosedOff(wave=wave, reason=reason, vms=vms, count=count, limit=limit):
                    for uuid in vms:
                        self._waiting.pop(uuid, None)
                    told = None if count is None or limit is None else (reason.value, f"wave {wave}", count, limit)
                    orders.append(Drop(reason, vms, told))
                case _:
                    orders.append(decision)
        return orders

    def _counts_as(self, record: VmRecord) -> Literal["failure", "power_cut"] | None:
        assert record.outcome is not None
        planned = self._planned[_wave(record)]
        asked = any(attempt.reason is AttemptReason.WINDOW for attempt in record.attempts)  # by `at_end: cold`
        return counts_as(record.outcome, cold_planned=asked or self._plan.stop_of(planned).type == "cold")


def _count(number: int | None) -> Quantity | None:
    return None if number is None else Quantity(Decimal(number))


def _wave(record: VmRecord) -> str:
    return record.wave or WAVE


def _settled_before(record: VmRecord) -> bool:
    return record.outcome is not None and record.outcome is not Outcome.NOT_REACHED and record.started_at is None


def _failure(record: VmRecord) -> Failure:
    error = NodeError.model_validate(record.error) if record.error is not None else None
    # Where there is no code there is no cause that could be the same as another.
    return Failure(record.uuid, record.host_uuid, error.chain() if error is not None and any(error.codes()) else None)
