"""Who works on a run: the process that holds its lock, and whether it still lives.

On the machine we are on, a process lives when its id does and it began when it says it began. Of any other
(another container beside the same file, a system without `/proc`) only its heartbeat tells.
"""

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestrator.errors import RefusedError
from orchestrator.model.report import Worker

BEAT_SECONDS = 5.0
"""How often a run says that it lives."""
SILENT_SECONDS = 60.0
"""A process that we cannot look at counts as dead when it has said nothing for so long."""


class Owner(BaseModel):
    """A process. `machine` and `began` are None where the system does not tell."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    token: str
    """One holding of one lock; a process that holds twice has two."""
    who: str
    pid: int
    host: str
    machine: str | None = None
    """This boot of this machine, as this container sees its processes."""
    began: int | None = None
    """Clock ticks from boot to the start of the process."""


@dataclass(frozen=True, slots=True)
class Held:
    """A run's lock: whose it is, the seconds since the last heartbeat, and whether that process lives."""

    owner: Owner
    silent_seconds: float
    alive: bool

    @property
    def worker(self) -> Worker:
        """The process, for a person."""
        return Worker(self.owner.who, self.owner.pid, self.silent_seconds)


class RunLockedError(RefusedError):
    """A living process works on this run, or on another run with VMs or hosts (`what`) in common (`shared` of them)."""

    def __init__(self, run_id: str, held: Held, shared: int = 0, what: str = "VMs") -> None:
        which = f"{shared} of these {what} are in run {run_id}, on which" if shared else f"on run {run_id}"
        super().__init__(
            f"{which} {held.worker} still works (last sign {held.silent_seconds:.0f} s ago): wait for its end, "
            "or end that process first"
        )


def this_process(who: str) -> Owner:
    """An owner that is us; `who` is `user@host`."""
    pid = os.getpid()
    token = os.urandom(8).hex()
    return Owner(token=token, who=who, pid=pid, host=socket.gethostname(), machine=_machine(), began=_began(pid))


def lives(owner: Owner, silent_seconds: float) -> bool:
    """Does this process still work? `silent_seconds`: since its last heartbeat."""
    heard = -SILENT_SECONDS < silent_seconds < SILENT_SECONDS
    machine = _machine()
    if owner.machine is not None and machine is not None:
        if owner.machine.split()[0] != machine.split()[0]:
            return False  # a journal lies on a local disk: that boot of this machine is over
        if owner.machine != machine:
            return heard
        return owner.began is not None and _began(owner.pid) == owner.began
    if owner.host == socket.gethostname() and not _exists(owner.pid):
        return False
    return heard


def _machine() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - its target is no path
    except OSError:
        return None


def _began(pid: int) -> int | None:
    """None where there is no such process, or only what is left of one that nobody has waited for."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name in brackets may hold anything, brackets too; the fields we want come after its last one.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else int(fields[19])
    return None


def _exists(pid: int) -> bool:
    """True where it cannot be told: on Windows the question itself would be a signal."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
