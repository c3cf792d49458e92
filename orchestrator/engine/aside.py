"""Inventories of a run's targets, put aside in an unnamed file until the journal takes them: they would fill a memory."""

import contextlib
import json
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.errors import RefusedError


class Aside:
    """Use as `with`; afterwards nothing of it is left on the disk. Written by one thread, and read by any."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is on the disk that is to take them; None is wherever this system has such files.

        Raises RefusedError where no file can be made there.
        """
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by `__exit__`
        except OSError as error:
            raise _refused(error) from None
        self._end = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Aside":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # what a full disk did not take is not wanted any more
            self._file.close()

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._file.seek(0)
            self._file.truncate()
            self._end = 0

    def flush(self) -> None:
        """Everything is on the disk. Raises RefusedError where that is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise _refused(error) from None

    def put(self, inventory: Mapping[str, Any]) -> int:
        """Keep it; returns where. Raises RefusedError where the disk is full."""
        text = json.dumps(dict(inventory)).encode("ascii") + b"\n"
        with self._lock:
            at = self._end
            try:
                self._file.seek(at)
                self._file.write(text)
            except OSError as error:
                raise _refused(error) from None
            self._end += len(text)
        return at

    def get(self, at: int) -> dict[str, Any]:
        """What was put there."""
        with self._lock:
            self._file.seek(at)
            found: dict[str, Any] = json.loads(self._file.readline())
        return found


def _refused(error: OSError) -> RefusedError:
    return RefusedError(
        f"the inventories of the targets cannot be put aside ({error.strerror or error}): make room on the journal's disk, "
        "or give a journal on another with --journal PATH"
    )
