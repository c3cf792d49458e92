"""The one switch that ends all sending."""

import anyio

from orchestrator.model.outcome import Reason


class Halt:
    """Set once, by the first reason; from then on no PUT of any kind leaves."""

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self._event = anyio.Event()

    def set(self, reason: Reason) -> None:
        """End all sending; a second reason does not replace the first."""
        if self.reason is None:
            self.reason = reason
            self._event.set()

    def __bool__(self) -> bool:
        return self.reason is not None

    async def wait(self) -> None:
        """Return when it is set."""
        await self._event.wait()
