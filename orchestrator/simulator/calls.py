"""A request as the node reads it, and an answer before it is written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.simulator.failures import RefusedError

JSON_HEADER = "X-JSON-Schema"


@dataclass(slots=True)
class Call:
    """One request. `path` is decoded and begins after the context path; `action` and `params` come from the body."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    content: Any = None
    action: str | None = None
    uuids: dict[str, str] = field(default_factory=dict)
    job_uuid: str | None = None

    @property
    def params(self) -> dict[str, Any]:
        """What stands under the action's key; an empty mapping for null or nothing."""
        found = self.content.get(self.action) if isinstance(self.content, dict) and self.action else None
        return found if isinstance(found, dict) else {}

    def read_content(self) -> None:
        """Parse the body of a PUT; 500 for what the server's parser chokes on (zstack-rest.md 3)."""
        text = self.body.decode("iso-8859-1")
        if "charset=utf-8" in self.headers.get("Content-Type", "").lower().replace(" ", ""):
            text = self.body.decode("utf-8", "replace")
        if not text.strip():
            raise RefusedError(500, "")
        try:
            self.content = json.loads(text)
        except ValueError as error:
            raise RefusedError(500, f"com.google.gson.JsonSyntaxException: {error}") from None
        if not isinstance(self.content, dict):
            raise RefusedError(500, "java.lang.IllegalStateException: Expected BEGIN_OBJECT")
        for key in ("systemTags", "userTags"):
            if not isinstance(self.content.get(key, []), list | None):
                raise RefusedError(500, "java.lang.String cannot be cast to java.util.List")

    def system_tags(self) -> list[Any]:
        """The system tags beside the action; those inside it where there are none beside."""
        beside = self.content.get("systemTags") if isinstance(self.content, dict) else None
        found = beside if beside is not None else self.params.get("systemTags")
        return found if isinstance(found, list) else []

    def api_timeout(self) -> float | None:
        """Real seconds of `X-API-Timeout`; None without. 500 for what is no integer."""
        text = self.headers.get("X-API-Timeout")
        if text is None:
            return None
        try:
            return float(int(text))
        except ValueError:
            raise RefusedError(500, f'For input string: "{text}"') from None


@dataclass(slots=True)
class Answer:
    """Status, body and content type; `content_type` None: the header is left out, as the server does."""

    status: int
    body: bytes = b""
    content_type: str | None = None


def html(status: int, reason: str) -> Answer:
    """A page as the servlet container makes it when the REST server never saw the request."""
    page = (
        f'<!doctype html><html lang="en"><head><title>HTTP Status {status} - {reason}</title></head>'
        f"<body><h1>HTTP Status {status} - {reason}</h1></body></html>"
    )
    return Answer(status, page.encode(), "text/html;charset=utf-8")
