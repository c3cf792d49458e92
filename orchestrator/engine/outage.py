"""The node being away: every read waits for it together, up to `node_outage`, and no VM fails for it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from orchestrator.clouds.interface import NodeAwayError

T = TypeVar("T")


class NodeGoneError(Exception):
    """The node was away longer than the plan allows."""


class Outage:
    """How long the node has taken no query. A job's own URL does not count: it answers without a login, or is one VM's
    own trouble.
    """

    def __init__(
        self, limit_seconds: float, scale: float, tell: Callable[[str, str], None], gone: Callable[[], None]
    ) -> None:
        self._limit = limit_seconds
        self._scale = scale
        self._tell = tell
        self._gone = gone
        self._since: float | None = None
        self._told = False
        self.over = False

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the node answers. Raises NodeGoneError once it has been away for the limit."""
        tries = 0
        while True:
            if self.over:
                raise NodeGoneError
            try:
                answer = await ask()
            except NodeAwayError as error:
                now = anyio.current_time()
                if self._since is None:
                    self._since = now
                if not self._told and not error.busy:  # of a node that is only busy the brake tells
                    self._told = True
                    self._tell("node.away", error.detail)
                if now - self._since >= self._limit:
                    if not self.over:
                        self.over = True
                        self._gone()
                    raise NodeGoneError from None
                left = self._since + self._limit - now
                await anyio.sleep(min(left, 5.0 * self._scale, 0.5 * self._scale * 2 ** min(tries, 8)))
                tries += 1
            else:
                self._since = None
                if self._told:
                    self._told = False
                    self._tell("node.back", "")
                return answer
