"""Inventories that are put aside, and a disk that does not take them."""

from pathlib import Path

import pytest

from orchestrator.engine.aside import Aside
from orchestrator.errors import RefusedError


def test_what_is_put_aside_comes_back(tmp_path: Path) -> None:
    """Each under its own place, in any order, whatever it holds; nothing is left in the folder."""
    with Aside(tmp_path) as aside:
        places = [aside.put({"uuid": n, "odd": "\ud800\n\u2028", "list": [n] * n}) for n in range(50)]
        aside.flush()
        assert [aside.get(at)["list"] for at in reversed(places)] == [[n] * n for n in reversed(range(50))]
        assert aside.get(places[1])["odd"] == "\ud800\n\u2028"
        aside.clear()
        assert aside.put({"uuid": "new"}) == 0
        assert aside.get(0) == {"uuid": "new"}
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_full_disk_refuses_before_the_run() -> None:
    """One sentence with the remedy, from wherever the disk says no; closing says nothing more."""
    with Aside() as aside:
        aside._file.close()
        aside._file = Path("/dev/full").open("r+b", buffering=64)  # type: ignore[assignment]  # noqa: SIM115

        def much() -> None:
            aside._end = 0
            aside.put({"text": "x" * 500})
            aside.flush()

        with pytest.raises(RefusedError, match=r"cannot be put aside \(No space left on device\): make room"):
            much()


def test_a_folder_that_is_not_there_refuses(tmp_path: Path) -> None:
    """So does one that takes no file."""
    with pytest.raises(RefusedError, match="cannot be put aside"):
        Aside(tmp_path / "gone")
