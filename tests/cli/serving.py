"""A run that serves its page, and requests to it that no browser would make."""

import http.client
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.support import Cli, Running, wait_until


@dataclass(frozen=True)
class Answer:
    """One answer, whole."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class Page:
    """Where a run's page is, and its token."""

    running: Running
    scheme: str
    host: str
    port: int
    token: str
    context: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """What a person opens."""
        return f"{self.scheme}://{self.host}:{self.port}/#{self.token}"

    def ask(self, path: str, *, method: str = "GET", token: str | None = None, **headers: str) -> Answer:
        """One request; of an endless answer its head alone."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        connection: http.client.HTTPConnection = (
            http.client.HTTPConnection(self.host, self.port, timeout=10)
            if self.scheme == "http"
            else http.client.HTTPSConnection(self.host, self.port, timeout=10, context=self.context)
        )
        try:
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            endless = answer.headers.get("Content-Type", "").startswith("text/event-stream")
            text = "" if endless else answer.read().decode()
            return Answer(answer.status, dict(answer.headers.items()), text)
        finally:
            connection.close()

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Everything that one reader is told, to the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/events", headers={"Authorization": f"Bearer {self.token}"})
        text = connection.getresponse().read().decode()
        connection.close()
        return [(kind, json.loads(data)) for kind, data in re.findall(r"^event: (\w+)\ndata: (.*)$", text, re.M)]


def serve(cli: Cli, *args: str | Path, where: str = "0") -> Page:
    """A run that goes on, and its page."""
    running = cli.start("run", *args, "--yes", "--serve", where)
    wait_until(lambda: "page: " in running.out or running.process.poll() is not None, "the page's address")
    found = re.search(r"^page: (https?)://([^:]+|\[[^]]+\]):(\d+)/#([\w-]{22})$", running.out, re.M)
    assert found is not None, running.out + running.err
    return Page(running, found[1], found[2], int(found[3]), found[4])
