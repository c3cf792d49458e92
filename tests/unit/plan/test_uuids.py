"""UUIDs come in as people paste them and go on as the node knows them."""

import pytest

from orchestrator.plan.uuids import normalise_uuid
from tests.unit.plan.examples import UUID


@pytest.mark.parametrize("text", [UUID, UUID.upper(), "0B54A1D0-a1c3-4f5f-9d1f-5e0f7d6c2b11", f" {UUID} "])
def test_normalised(text: str) -> None:
    """Upper case, dashes and blanks around make no difference."""
    assert normalise_uuid(text) == UUID


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        (UUID[:31], "has 31 hex digits"),
        (UUID + "0", "has 33 hex digits"),
        ("g" + UUID[1:], 'holds "g"'),
        ("0b54-a1d0a1c34f5f9d1f5e0f7d6c2b11", "odd places"),
        ("", "empty"),
        ("-", "empty"),
        ("é" * 32, 'holds "é"'),
    ],
)
def test_refused(text: str, piece: str) -> None:
    """The message says what is wrong with a UUID."""
    with pytest.raises(ValueError, match="found") as raised:
        normalise_uuid(text)
    assert piece in str(raised.value)
