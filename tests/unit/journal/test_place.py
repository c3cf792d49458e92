"""Where a journal may lie."""

from pathlib import Path

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal import place
from orchestrator.journal.place import filesystem_of, network_filesystem
from orchestrator.journal.sqlite import SqliteJournal
from tests.cli.support import Cli, refused

ROOT = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw"


def mount(point: str | Path, kind: str, optional: str = "shared:7 ") -> str:
    """A line of mountinfo; `optional` are its optional fields."""
    return f"36 22 0:32 / {point} rw,noatime {optional}- {kind} server:/export rw,vers=4.2"


def table(*lines: str) -> str:
    """A whole mountinfo."""
    return "\n".join((ROOT, *lines)) + "\n"


def use(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """This process's mounts are these, from now on."""
    path = folder / "mountinfo"
    path.write_text(table(*lines), "utf-8")
    monkeypatch.setattr(place, "MOUNTS", path)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs"])
def test_a_network_file_system_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What other machines can write to is named by its type."""
    use(monkeypatch, tmp_path, mount(tmp_path / "share", kind))
    assert network_filesystem(tmp_path / "share" / "state") == kind
    assert network_filesystem(tmp_path / "local") is None


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "overlay", "btrfs", "zfs", "fuse.portal", "fuseblk", "vfat"])
def test_a_local_file_system_is_left_in_peace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Disks, memory and containers' layers are no network, nor is FUSE as such."""
    use(monkeypatch, tmp_path, mount(tmp_path, kind))
    assert network_filesystem(tmp_path / "state") is None


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv", "ext4"),
        ("/srv/share", "nfs4"),
        ("/srv/share/deep/down", "nfs4"),
        ("/srv/shared", "ext4"),
        ("/srv/share/disk/x", "xfs"),
        ("/srv/share/disks", "nfs4"),
    ],
)
def test_the_longest_mount_point_wins(path: str, kind: str) -> None:
    """A disk inside a share is a disk; a name that merely begins alike is another folder. The order does not matter."""
    lines = [mount("/srv/share/disk", "xfs"), mount("/srv/share", "nfs4")]
    assert filesystem_of(Path(path), table(*lines)) == kind
    assert filesystem_of(Path(path), table(*reversed(lines))) == kind


def test_a_later_mount_hides_the_earlier() -> None:
    """Two mounts on one point: the one that was made last is what is seen there."""
    assert filesystem_of(Path("/srv/x"), table(mount("/srv", "nfs4"), mount("/srv", "tmpfs"))) == "tmpfs"
    assert filesystem_of(Path("/srv/x"), table(mount("/srv", "tmpfs"), mount("/srv", "nfs4"))) == "nfs4"
    assert filesystem_of(Path("/x"), table(mount("/", "nfs4"))) == "nfs4"


@pytest.mark.parametrize(
    ("written", "real"),
    [(r"/my\040share", "/my share"), (r"/tab\011bed", "/tab\tbed"), (r"/a\134b", r"/a\b"), (r"/a\134040b", r"/a\040b")],
)
def test_escapes_in_mount_points(written: str, real: str) -> None:
    """Blanks, tabs and backslashes stand there in octal."""
    assert filesystem_of(Path(real) / "state", table(mount(written, "cifs"))) == "cifs"


def test_names_beyond_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mount points in any script, and bytes that are no UTF-8, are read as they are."""
    use(monkeypatch, tmp_path, mount(tmp_path / "共享", "nfs4"))
    with place.MOUNTS.open("ab") as file:
        file.write(mount("/odd-\udcff", "nfs4").encode("utf-8", "surrogateescape") + b"\n")
    assert network_filesystem(tmp_path / "共享" / "state") == "nfs4"
    assert network_filesystem(Path("/odd-\udcff/state")) == "nfs4"


@pytest.mark.parametrize("optional", ["", "shared:1 ", "shared:1 master:2 propagate_from:3 "])
def test_optional_fields_may_be_any_number(optional: str) -> None:
    """The type is found behind the lone dash, however many fields stand before it."""
    assert filesystem_of(Path("/srv/x"), table(mount("/srv", "nfs4", optional))) == "nfs4"


def test_a_symbolic_link_counts_where_it_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder here that is a link to a share lies on the share, and the other way round."""
    share, local = tmp_path / "share", tmp_path / "local"
    for folder in (share, local):
        folder.mkdir()
    (local / "state").symlink_to(share)
    (share / "state").symlink_to(local)
    use(monkeypatch, tmp_path, mount(share, "nfs4"))
    assert network_filesystem(local / "state" / "deep") == "nfs4"
    assert network_filesystem(share / "state" / "deep") is None


def test_a_file_that_is_a_link_counts_where_it_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is itself a link to a file on a share lies on the share."""
    (tmp_path / "share").mkdir()
    (tmp_path / "journal.sqlite").symlink_to(tmp_path / "share" / "journal.sqlite")
    use(monkeypatch, tmp_path, mount(tmp_path / "share", "nfs4"))
    with pytest.raises(JournalError, match="nfs4"):
        SqliteJournal(tmp_path / "journal.sqlite")


@pytest.mark.parametrize("content", ["", "\n\n", "nonsense\n", "a b - c\n", "1 2 3 / /x rw ext4\n"])
def test_a_table_of_another_form_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """What does not read as a table of mounts, or is not there, refuses nobody."""
    path = tmp_path / "mountinfo"
    path.write_text(content, "utf-8")
    monkeypatch.setattr(place, "MOUNTS", path)
    assert network_filesystem(tmp_path) is None
    path.unlink()
    assert network_filesystem(tmp_path) is None


@pytest.mark.parametrize("read_only", [False, True])
def test_a_journal_there_is_refused_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool) -> None:
    """One sentence with the type and the way out; neither file nor folder is made."""
    path = tmp_path / "share" / "new" / "journal.sqlite"
    use(monkeypatch, tmp_path, mount(tmp_path / "share", "nfs4"))
    with pytest.raises(JournalError, match=r"^the journal .* network file system \(nfs4\).*--journal PATH$") as refusal:
        SqliteJournal(path, read_only=read_only)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "share").exists()


def test_commands_refuse_it_before_they_ask_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` answers 3 for a journal on a share, though no node is there to be asked, and leaves nothing behind."""
    cli = Cli(tmp_path)
    use(monkeypatch, tmp_path, mount(tmp_path / "share", "nfs4"))
    done = cli.inside("run", cli.plan(), "--yes", "--journal", tmp_path / "share" / "j", env={
        "ZSTACK_ENDPOINT": "http://127.0.0.1:9/zstack", "ZSTACK_SESSION_ID": "0" * 32})  # fmt: skip
    refused(done, 3, "nfs4", "--journal PATH")
    assert not (tmp_path / "share").exists()
