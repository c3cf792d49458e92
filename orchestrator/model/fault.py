"""What went wrong at the node, kept whole."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

MAX_TEXT = 4096
"""Longest text kept of a body that is not an error object (the node cuts its own `details` at the same length)."""


class NodeError(BaseModel):
    """One error of the node with everything beneath it (zstack-rest.md 6.1).

    `code` is the only key to branch on. A failure that came without an error object (plain text, HTML, a broken
    connection) is one of these too, with a code of our own that starts with `http.` or `orchestrator.` and the text
    in `details`. Keys the node added are kept as they came.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    code: str = ""
    description: str | None = None
    details: str | None = None
    elaboration: str | None = None
    opaque: dict[str, Any] | None = None
    cause: "NodeError | None" = None
    causes: tuple["NodeError", ...] = ()

    @field_validator("code", mode="before")
    @classmethod
    def _code_is_text(cls, value: object) -> object:
        return "" if value is None else str(value)

    def codes(self) -> Iterator[str]:
        """Every code in the chain, outermost first, the branches of `causes` after `cause`."""
        if self.code:
            yield self.code
        if self.cause is not None:
            yield from self.cause.codes()
        for error in self.causes:
            yield from error.codes()

    def chain(self) -> str:
        """`VM.1002 <- HOST.1011 <- HOST.1010`: the codes alone, never the details, for grouping equal causes."""
        return " <- ".join(self.codes()) or "no code"

    def sentence(self) -> str:
        """The chain and the innermost words there are, in one line for a person."""
        root = self
        while root.cause is not None:
            root = root.cause
        words = root.details or root.description or self.details or self.description or ""
        return f"{self.chain()}: {words}" if words else self.chain()

    def plain(self) -> Mapping[str, Any]:
        """As JSON-ready data: what the node sent, without the keys it did not send."""
        return self.model_dump(mode="json", exclude_unset=True)


def fault_of(error: Mapping[str, Any]) -> NodeError:
    """The error that a record keeps as data; of a shape that nobody foresaw, its code and details."""
    try:
        return NodeError.model_validate(error)
    except ValidationError:
        code, details = error.get("code"), error.get("details")
        return NodeError(code="" if code is None else str(code), details=None if details is None else str(details))


def own_error(code: str, details: str) -> NodeError:
    """An error the node did not word: `code` starts with `http.` or `orchestrator.`; long text is cut."""
    return NodeError(code=code, details=details[:MAX_TEXT])
