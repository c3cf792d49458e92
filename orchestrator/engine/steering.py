"""Words from other terminals: a run looks for them in its journal, heeds them, and writes down what it made of them."""

import contextlib
from collections.abc import Awaitable, Callable

import anyio

from orchestrator.engine.ledger import Ledger
from orchestrator.errors import JournalError
from orchestrator.journal.interface import Journal, JournalWriteError, Word

LOOK_SECONDS = 1.0
"""How often a run looks for words."""


class Steering:
    """`pause` is told on and off and by whom, and answers; `skip` a VM and by whom."""

    def __init__(
        self,
        run_id: str,
        journal: Journal,
        ledger: Ledger,
        *,
        pause: Callable[[bool, str], str],
        skip: Callable[[str, str], Awaitable[str]],
    ) -> None:
        self._run_id = run_id
        self._journal = journal
        self._ledger = ledger
        self._pause = pause
        self._skip = skip
        self._heard = 0

    async def begin(self, since: str) -> None:
        """Words that no process has answered. `since`: when this one took the run up; a pause of before is over."""
        for word in self._journal.words(self._run_id):
            self._heard = word.number
            if word.answer is not None:
                continue
            if word.what == "skip" or word.at >= since:
                await self._heed(word)
            else:
                self._answer(word, "the process that was to heed it has ended: say it again")

    async def listen(self) -> None:
        """To be cancelled at the run's end."""
        while True:
            words = list[Word]()
            with contextlib.suppress(JournalError):  # one that cannot be read just now; the run goes on without a word
                words = self._journal.words(self._run_id, self._heard)
            for word in words:
                self._heard = word.number
                await self._heed(word)
            await anyio.sleep(LOOK_SECONDS)

    async def _heed(self, word: Word) -> None:
        match word.what:
            case "skip" if word.vm_uuid is not None:
                answer = await self._skip(word.vm_uuid, word.who)
            case "pause" | "go":
                answer = self._pause(word.what == "pause", word.who)
            case _:
                answer = "this version does not know that word"
        self._answer(word, answer)

    def _answer(self, word: Word, answer: str) -> None:
        try:
            self._journal.answer(word.number, answer)
        except JournalWriteError as error:
            self._ledger.lose(error)
