"""What a run does by the clock: it looks ahead to its end, and keeps to its window (`interface.md` 4, "The window")."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import anyio

from orchestrator.engine.clock import Clock
from orchestrator.engine.forecast import Forecast, Outlook
from orchestrator.engine.halt import Halt
from orchestrator.engine.window import Times, in_words
from orchestrator.model.moment import rfc3339

_LOOK_SECONDS, _TELL_SECONDS = 5.0, 30.0
"""How often the forecast is made, and how often it is told at most, unless it crosses the window's close."""
_REST = 100.0
_NEWS = 0.05
"""A forecast that has moved by less than this part of what is left is no news."""


class Timekeeper:
    """`tell` makes an event, `warn` a warning of the report. `close` and `expire` are called at the window's close and end.
    While the run is `paused`, nobody can say when it will end.

    `scale` compresses our own pace (1 on a real node).
    """

    def __init__(
        self,
        window: Times | None,
        outlook: Outlook,
        clock: Clock,
        halt: Halt,
        scale: float,
        *,
        tell: Callable[[str, str | None, Mapping[str, Any]], None],
        warn: Callable[[str], None],
        close: Callable[[], Coroutine[Any, Any, None]],
        expire: Callable[[], None],
        paused: Callable[[], bool],
    ) -> None:
        self._window = window
        self._outlook = outlook
        self._clock = clock
        self._halt = halt
        self._scale = scale
        self._tell = tell
        self._warn = warn
        self._close = close
        self._expire = expire
        self._paused = paused
        self._told: tuple[float, float] | None = None
        """When a forecast was told last, and the end that it said, both monotonic."""
        self._late = False
        self._warned = False

    async def keep_window(self) -> None:
        """To the window's end; at once back where there is none."""
        if self._window is None:
            return
        await self._clock.sleep_until(self._window.closes)
        self._halt.close()
        async with anyio.create_task_group() as closing:
            closing.start_soon(self._close)  # of many thousands it takes a while, which the end does not wait for
            await anyio.lowlevel.checkpoint()  # begun before the end, though both are the same moment without a reserve
            await self._clock.sleep_until(self._window.end)
            if self._halt:
                return  # where sending has ended, that decides
            self._halt.end()
            self._expire()
            if self._window.at_end != "finish":
                self._halt.expire(self._window.at_end)

    async def look_ahead(self) -> None:
        """Forecast now and then for as long as something is left to do; to be cancelled at the end."""
        while True:
            now = self._clock.now()
            forecast = self._outlook.forecast(now)
            if forecast.vms and not self._halt and not self._paused():
                self._consider(forecast, now)
            # Of a hundred thousand VMs a forecast takes a while: never more than a hundredth of the time.
            await anyio.sleep(max(_LOOK_SECONDS * self._scale, _REST * (self._clock.now() - now)))

    def _consider(self, forecast: Forecast, now: float) -> None:
        window, unix = self._window, self._clock.unix()
        late = window is not None and unix + forecast.likely > window.closes
        end = now + forecast.likely
        if self._told is not None and late == self._late:
            at, said = self._told
            moved = abs(end - said)
            quiet = now - at < _TELL_SECONDS * self._scale
            if quiet or moved < max(_LOOK_SECONDS * self._scale, _NEWS * forecast.likely):
                return
        self._told, crossed, self._late = (now, end), late != self._late, late
        ends = {
            name: rfc3339(unix + seconds)
            for name, seconds in (("low", forecast.low), ("likely", forecast.likely), ("high", forecast.high))
        }
        data = {**ends, "seconds": round(forecast.likely, 1), "rests_on": forecast.rests_on}
        self._tell("run.forecast", None, data)
        if window is None or not crossed:
            return
        closes = {"closes": rfc3339(window.closes), "end": rfc3339(window.end), "likely": ends["likely"]}
        self._tell("window.crossed" if late else "window.fits", None, closes)
        if late and not self._warned:
            self._warned = True
            over = in_words(unix + forecast.likely - window.closes)
            self._warn(
                f"at {rfc3339(unix)} the run was forecast to end at {ends['likely']}, {over} after the window's close "
                f"at {closes['closes']}"
            )
