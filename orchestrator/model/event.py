"""What happens in a run, as one stream: journal, log and progress all listen to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`kind` is a stable name such as `vm.sent`; `at` is RFC 3339 in UTC; `vm_uuid` None for the run itself."""

    kind: str
    at: str
    vm_uuid: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]
