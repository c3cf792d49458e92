"""What every test of the client starts from: an environment that names no node and no credential."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("ZSTACK_") or name.upper() in {"CA_FILE", "INSECURE"}:
            monkeypatch.delenv(name)
