"""What ends a command before or instead of a result.

The tree, with the exit code a command answers (`interface.md` 2)::

    OrchestratorError
    ├── UsageError              2   the command line, the environment or a name in it is wrong
    │   ├── PlanError           2   the plan is wrong; carries every problem with its place
    │   └── UnknownRunError     2   RUN names no run of this journal
    ├── RefusedError            3   refused before the first change: a guard, no target, drift, a "no" at the question
    │   ├── NodeUnreachableError 3  nothing answers at the endpoint, or not with this protocol
    │   ├── LoginError          3   the node does not take the credentials
    │   ├── PermissionDeniedError 3 the account may not stop VMs
    │   └── JournalError        3   the journal cannot be opened, read or written
    └── ZStackError             -   one call's failure, with the node's whole error chain (Python users only)

Every message is one sentence that says what is wrong and what to do about it. None holds a secret.
What happens to one VM is never an exception: it is a value of `orchestrator.model`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from orchestrator.model.fault import NodeError


class OrchestratorError(Exception):
    """The root: anything this package raises on purpose."""

    exit_code: ClassVar[int] = 3


class UsageError(OrchestratorError):
    """The command line, the environment or a file named there is wrong; nothing was sent."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in one place of one file.

    `line` and `column` count from 1; None where the whole file is meant (it does not exist, is empty).
    `message` says what was found and what would be right.
    """

    file: str
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        """`file:line:column: message`, the form editors can jump to."""
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column or 1}"
        return f"{place}: {self.message}"


class PlanError(UsageError):
    """The plan, or a file it names, is wrong. `problems` holds every one found, in the order of the files."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnknownRunError(UsageError):
    """RUN is no run id, no unique prefix of one, or there is no run yet."""


class RefusedError(OrchestratorError):
    """Refused before the first change."""


class NodeUnreachableError(RefusedError):
    """Nothing answers at the endpoint, or what answers does not speak this protocol."""


class LoginError(RefusedError):
    """The node refuses the credentials; `code` is its error code, None where it gave none."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class PermissionDeniedError(RefusedError):
    """The account is known but may not stop VMs."""


class JournalError(RefusedError):
    """The journal cannot be opened, read or written."""


class ZStackError(OrchestratorError):
    """One call failed at the node, or its end could not be learned.

    `error` is the node's whole chain, or one of our own with a code starting `orchestrator.` where the node gave none.
    """

    def __init__(self, message: str, error: "NodeError") -> None:
        super().__init__(message)
        self.error = error
