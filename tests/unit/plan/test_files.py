"""Files: the plan's own, and the UUID files it names."""

import os
from pathlib import Path

import pytest

from orchestrator.errors import PlanError
from orchestrator.plan.load import LARGEST, load_plan, plan_from_text
from tests.unit.plan.examples import OTHER, SMALL, UUID, assert_told

THIRD = "a" * 32
WITH_FILE = "version: 1\nname: a\ntargets:\n  uuid_files: [{}]\n"


def write(folder: Path, plan: str, **files: str | bytes) -> Path:
    """A plan in a folder with files beside it; `__` in a name stands for the dot."""
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(data)
    path = folder / "plan.yaml"
    path.write_text(plan)
    return path


def refused(path: Path) -> PlanError:
    """What loading the plan refuses."""
    with pytest.raises(PlanError) as raised:
        load_plan(path)
    return raised.value


def test_plan_that_is_not_there(tmp_path: Path) -> None:
    """A missing file, a folder and an impossible name are told, not raised as they are."""
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "a\0b", tmp_path / ("x" * 5000)):
        assert_told(refused(path).problems, (None, None, "cannot be read"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path) -> None:
    """A file without permission is told."""
    path = write(tmp_path, SMALL)
    path.chmod(0)
    assert_told(refused(path).problems, (None, None, "Permission denied"))


def test_too_large(tmp_path: Path) -> None:
    """A file beyond the bound is refused before it is parsed."""
    path = tmp_path / "plan.yaml"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    assert_told(refused(path).problems, (None, None, "larger than 16 MiB"))


def test_not_utf8(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are told at their line and column."""
    path = tmp_path / "plan.yaml"
    path.write_bytes("version: 1\nname: é\xe9".encode("latin-1"))
    assert_told(refused(path).problems, (2, 7, "0xe9"))


def test_uuid_file(tmp_path: Path) -> None:
    """One UUID a line, comments and blank lines aside; UUIDs of the plan come first, each once."""
    text = f"\ufeff# rack 12\r\n{UUID.upper()} # app\r\n\r\n  {OTHER}\r\n"
    plan = WITH_FILE.format("rack-12.txt") + f"  uuids: [{THIRD}, {OTHER}]\n"
    path = write(tmp_path, plan)
    (tmp_path / "rack-12.txt").write_bytes(text.encode())
    targets = load_plan(path).targets
    assert targets.uuids == (THIRD, OTHER, UUID)
    assert targets.sources == (("uuids", (THIRD, OTHER)), ("rack-12.txt", (UUID, OTHER)))
    assert targets.selectors() == ("uuids", "rack-12.txt")


@pytest.mark.parametrize(
    "text",
    [
        f"name,UUID,host\napp,{UUID},h1\n\n,,\ndb,{OTHER},h2\n",
        f"uuid;name\r\n{UUID};a,b\r\n{OTHER};c\r\n",
        f"name\tUuid\na\t{UUID}\nb\t{OTHER}",
        f'"name"," uuid "\n"a\nb","{UUID}"\n"c, d",{OTHER}\n',
        f"\ufeffuuid\n{UUID}\n{OTHER}\n",
    ],
)
def test_csv(tmp_path: Path, text: str) -> None:
    """The uuid column of a CSV file is read, whatever its case, place and delimiter."""
    assert load_plan(write(tmp_path, WITH_FILE.format("a.csv"), a__csv=text)).targets.uuids == (UUID, OTHER)


@pytest.mark.parametrize(
    ("name", "content", "line", "column", "piece"),
    [
        ("a__txt", f"{UUID}\n  xyz\n", 2, 3, 'holds "x"'),
        ("a__txt", f"{UUID} {OTHER}\n", 1, 1, "found"),
        ("a__txt", "", None, None, "names no UUID"),
        ("a__txt", "# only\n\n", None, None, "names no UUID"),
        ("a__txt", b"\n\xff", 2, 1, "not UTF-8"),
        ("a__csv", "", None, None, "names no UUID"),
        ("a__csv", "uuid\n", None, None, "names no UUID"),
        ("a__csv", f"id,name\n{UUID},a\n", 1, 1, "no column called `uuid`"),
        ("a__csv", f"uuid,uuid\n{UUID},a\n", 1, 1, "2 columns"),
        ("a__csv", f"name,uuid\na,{UUID}\nb,123\n", 3, 3, "has 3 hex digits"),
        ("a__csv", f"name,uuid\na,{UUID}\nb\n", 3, 1, "empty"),
        ("a__csv", f'uuid\n{UUID}\n"x', 3, 1, "not valid CSV"),
    ],
)
def test_bad_uuid_files(
    tmp_path: Path, name: str, content: str | bytes, line: int | None, column: int | None, piece: str
) -> None:
    """What is wrong in a UUID file is told in that file, at its place."""
    file = name.replace("__", ".")
    told = refused(write(tmp_path, WITH_FILE.format(file), **{name: content})).problems
    assert_told(told, (line, column, piece))
    assert told[0].file == str(tmp_path / file)


def test_missing_uuid_file(tmp_path: Path) -> None:
    """A UUID file that is not there is told where the plan names it."""
    told = refused(write(tmp_path, WITH_FILE.format("none.txt"))).problems
    assert_told(told, (4, 16, "none.txt"))
    assert told[0].file.endswith("plan.yaml")


def test_problems_of_plan_and_files_together(tmp_path: Path) -> None:
    """A wrong plan does not hide what is wrong in its files; the plan's problems come first."""
    plan = WITH_FILE.format("none.txt, a.txt, b.txt") + "colour: red\n"
    told = refused(write(tmp_path, plan, a__txt="x\ny\n", b__txt=f"{UUID}\n1\n")).problems
    assert_told(told, (4, 16, "none.txt"), (5, 1, "unknown key"), (1, 1, "x"), (2, 1, "y"), (2, 1, "1 hex"))


def test_endless_bad_lines(tmp_path: Path) -> None:
    """A file that is no list at all is told in a thousand problems, not in a million."""
    told = refused(write(tmp_path, WITH_FILE.format("a.txt"), a__txt="x\n" * 5000)).problems
    assert len(told) == 1001
    assert "more bad lines" in told[-1].message


def test_duplicates_are_warnings(tmp_path: Path) -> None:
    """A UUID twice in a file, and a file named twice, count once and are told."""
    loaded = load_plan(write(tmp_path, WITH_FILE.format("a.txt, a.txt"), a__txt=f"{UUID}\n{UUID.upper()}\n"))
    assert loaded.targets.uuids == (UUID,)
    assert [(Path(w.file).name, w.line, w.column) for w in loaded.warnings] == [("plan.yaml", 4, 23), ("a.txt", 2, 1)]


def test_a_journalled_plan_needs_no_files(tmp_path: Path) -> None:
    """A plan's text can be judged again when its UUID files have gone."""
    loaded = plan_from_text(WITH_FILE.format("gone.txt"), name="journal", folder=tmp_path, read_uuid_files=False)
    assert loaded.plan.targets.uuid_files == ("gone.txt",)
    assert loaded.targets.uuids == ()
