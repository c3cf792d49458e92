"""A listener that tells a plan's targets, each at its own pace and in order; a target that fails never harms the run."""

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup

from orchestrator.model.counts import counted
from orchestrator.model.event import Event
from orchestrator.model.safe import one_line
from orchestrator.notify.send import NotToldError, post, run
from orchestrator.notify.targets import Command, Target, Webhook
from orchestrator.observe.picture import Picture
from orchestrator.observe.words import hosts_count, missed_lines, news, outcomes
from orchestrator.plan.model import Occasion

_TRIES, _WAIT_SECONDS = 3, 1.0
_MOST_WAITING = 100
"""Messages that wait for one target; older ones are left out, and that is said."""
_CAUSES, _HOSTS = 3, 5
"""How many of each are named at the end."""


class Notifier:
    """A listener of one run. `environment` is what commands are given; `warn` is told what went wrong, once a target."""

    def __init__(
        self, run_id: str, targets: Sequence[Target], environment: Mapping[str, str], warn: Callable[[str], None]
    ) -> None:
        self._run_id = run_id
        self._picture = Picture()
        self._lines = [_Line(target, environment, warn) for target in targets]

    def begin(self, tasks: TaskGroup) -> None:
        """Tell what there is to tell, until `tasks` are cancelled."""
        for line in self._lines:
            tasks.start_soon(line.work)

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self._picture(event)
        occasion = self._occasion(event)
        if occasion is not None and any(occasion in line.target.on for line in self._lines):
            message = self._message(occasion, event)
            for line in self._lines:
                if occasion in line.target.on:
                    line.add(message)

    async def drain(self) -> None:
        """Return when everything has been told, or given up."""
        for line in self._lines:
            await line.idle.wait()

    def _occasion(self, event: Event) -> Occasion | None:
        match event.kind:
            case "run.started" | "run.resumed":
                return "started"
            case "wave.finished" if len(self._picture.waves) > 1:
                return "wave_ended"
            case "budget.crossed":
                return "budget_crossed"
            case "window.crossed":
                return "past_window"
            case "run.finished":
                return "finished"
            case _:
                return None

    def _message(self, occasion: Occasion, event: Event) -> dict[str, Any]:
        picture = self._picture
        return {
            "occasion": occasion,
            "run": self._run_id,
            "plan": picture.plan,
            "at": event.at,
            "text": f"{one_line(picture.plan, 120)}: {self._text(event)} (run {self._run_id})",
            "outcomes": {word: count for word, count in picture.outcomes.items() if count},
            "data": dict(event.data),
        }

    def _text(self, event: Event) -> str:
        picture, data = self._picture, event.data
        match event.kind:
            case "wave.finished":
                tally = picture.waves[data["wave"]]
                had = "had its turn" if tally.to_do == 1 else "had their turn"
                return f"wave {one_line(data['wave'])} is over, {tally.done} of {counted(tally.to_do)} {had}"
            case "run.finished":
                status = str(data["status"]).replace("_", " ")
                causes = sorted(picture.causes.items(), key=lambda item: -item[1].total())[:_CAUSES]
                blamed = "; ".join(f"{hosts.total()} for {one_line(cause, 80)}" for cause, hosts in causes)
                told = f"{status}, exit code {data['exit_code']}: {outcomes(picture) or 'no VM has an outcome'}"
                hosts = filter(None, [hosts_count(picture), *missed_lines(picture, _HOSTS)])
                return "; ".join([told, *([f"failures: {blamed}"] if blamed else []), *hosts])
            case _:
                return news(event, picture) or event.kind


class _Line:
    """One target and what waits for it."""

    def __init__(self, target: Target, environment: Mapping[str, str], warn: Callable[[str], None]) -> None:
        self.target = target
        self.idle = anyio.Event()
        self.idle.set()
        self._environment = environment
        self._warn = warn
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._news = anyio.Event()
        self._warned = False

    def add(self, message: dict[str, Any]) -> None:
        if len(self._waiting) == _MOST_WAITING:
            self._complain("it is slower than what happens: older messages are left out")
        if self.idle.is_set():
            self.idle = anyio.Event()
        self._waiting.append(message)
        self._news.set()

    async def work(self) -> None:
        while True:
            await self._news.wait()
            while self._waiting:
                await self._tell(self._waiting.popleft())
            self._news = anyio.Event()
            self.idle.set()

    async def _tell(self, message: dict[str, Any]) -> None:
        for tries in range(1, _TRIES + 1):
            try:
                match self.target:
                    case Webhook():
                        await post(self.target, json.dumps({"text": _for_chat(message["text"])}).encode())
                    case Command():
                        await run(self.target, json.dumps(message, default=str).encode() + b"\n", self._environment)
            except NotToldError as error:
                if not error.again or tries == _TRIES:
                    self._complain(str(error))
                    return
                await anyio.sleep(_WAIT_SECONDS * math.pow(4, tries - 1))
            else:
                return

    def _complain(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"{self.target.label} was not told of the run: {why}; the run goes on")


def _for_chat(text: str) -> str:
    """Names are data: in a chat none of them is a link or calls everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
