"""Where a journal may lie. SQLite's WAL needs memory that all its users share: a network file system has none."""

import os
import re
import stat
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How space, tab, newline and backslash are written in a mount point."""
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
     "nfs4", "ocfs2", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "prl_fs", "virtiofs"}
)  # fmt: skip
_NETWORK_FUSE = frozenset(
    {"ceph", "curlftpfs", "davfs2", "gcsfuse", "glusterfs", "goofys", "grpcfuse", "juicefs", "mfs", "moosefs", "rclone",
     "s3fs", "smbnetfs", "sshfs", "vmhgfs-fuse"}
)  # fmt: skip
MOUNTS = Path("/proc/self/mountinfo")


def network_filesystem(path: Path) -> str | None:
    """The type of the network file system that holds this path, None for a local one or where the system does not tell."""
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    kind = filesystem_of(path.resolve(), mounts)
    name, _, fuse = (kind or "").partition(".")
    return kind if name in _NETWORK or (name == "fuse" and fuse in _NETWORK_FUSE) else None


def filesystem_of(path: Path, mounts: str) -> str | None:
    """The type of the file system that holds this absolute path, by a table in the form of `mountinfo` (proc(5))."""
    found, longest = None, -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= longest:  # of two on one point, the later hides the earlier
            found, longest = after.split(" ", 1)[0], len(point.parts)
    return found


def private_folder(path: Path) -> None:
    """The folder, and those above it that are missing, for its owner alone; one that is there keeps its mode."""
    for folder in [folder for folder in reversed([path, *path.parents]) if not folder.exists()]:
        folder.mkdir(mode=0o700, exist_ok=True)


def make_private(path: Path) -> None:
    """The file, made where it is missing with the folders above it, for its owner alone. Raises OSError."""
    private_folder(path.parent)
    number = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        status = os.fstat(number)
        if hasattr(os, "fchmod") and stat.S_IMODE(status.st_mode) & 0o077 and status.st_uid == os.getuid():
            os.fchmod(number, 0o600)  # its -wal and -shm take the same mode
    finally:
        os.close(number)
