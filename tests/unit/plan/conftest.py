"""What tests of plans share."""

import pytest

from orchestrator.plan import check


@pytest.fixture
def every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key of the contract is taken, whatever this version refuses as not supported yet."""
    monkeypatch.setattr(check, "LATER", frozenset())
