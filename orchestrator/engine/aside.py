"""Inventories of a run's targets, put aside in an unnamed file until the journal takes them: they would fill a memory."""

import json
import tempfile
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any


class Aside:
    """Use as `with`; afterwards nothing of it is left on the disk. Written by one thread, and read by any."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `__exit__`
        self._end = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Aside":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def put(self, inventory: Mapping[str, Any]) -> int:
        """Keep it; returns where. Raises OSError where the disk is full."""
        text = json.dumps(dict(inventory)).encode("ascii") + b"\n"
        with self._lock:
            at = self._end
            self._file.seek(at)
            self._file.write(text)
            self._end += len(text)
        return at

    def get(self, at: int) -> dict[str, Any]:
        """What was put there."""
        with self._lock:
            self._file.seek(at)
            found: dict[str, Any] = json.loads(self._file.readline())
        return found
