"""The brake at work: each answer of the node is told to it, and what it says goes to the request rate and the dispatcher."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.clouds.interface import Cloud
from orchestrator.engine.brake import Brake
from orchestrator.engine.clock import Clock
from orchestrator.engine.dispatch import Dispatcher
from orchestrator.plan.sections import Limits


class Braking:
    """Listens to the cloud from `begin` on. `tell` makes an event: `brake.lowered`, `brake.raised`, `brake.released`."""

    def __init__(
        self,
        limits: Limits,
        cloud: Cloud,
        dispatcher: Dispatcher,
        clock: Clock,
        *,
        scale: float,
        tell: Callable[[str, str | None, Mapping[str, Any]], None],
    ) -> None:
        self._brake = Brake(limits.requests_per_second, limits.concurrency, now=clock.now(), scale=scale)
        self._cloud = cloud
        self._dispatcher = dispatcher
        self._clock = clock
        self._tell = tell

    def begin(self) -> None:
        """From now on."""
        self._cloud.heed(self._heard)

    def rate(self) -> float:
        """Requests a second that are allowed now."""
        return self._brake.rate

    def _heard(self, kind: str, size: int | None, seconds: float, *, too_many: bool) -> None:
        move = self._brake.heard(self._clock.now(), kind, size, seconds, too_many=too_many, flying=self._dispatcher.flying)
        if move is None:
            return
        self._cloud.pace(move.requests_per_second)
        self._dispatcher.hold_to(move.in_flight)
        data = {"requests_per_second": round(move.requests_per_second, 2), "in_flight": move.in_flight}
        self._tell(f"brake.{move.kind}", None, data | ({"why": move.why} if move.why else {}))
