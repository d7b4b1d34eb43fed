"""Network file systems, on which SQLite must not be: its locks and its shared memory work on one machine only.

Reads Linux's list of mounts; on other systems nothing is found.
"""

from contextlib import suppress
from pathlib import Path, PurePath

MOUNT_TABLE = Path("/proc/self/mountinfo")  # proc_pid_mountinfo(5)
_NETWORK = {
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb3",
    "smbfs",
    "fuse.ceph",
    "fuse.curlftpfs",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
}


def network_file_system(path: Path) -> str:
    """Return the type of network file system that the path is on; "" for a local one."""
    with suppress(OSError, UnicodeDecodeError):
        return network_type(path.resolve(), MOUNT_TABLE.read_text("utf-8"))
    return ""


def network_type(path: PurePath, mounts: str) -> str:
    """Return the type from the text of `mountinfo`: the deepest mount counts, and of several at one path the last."""
    found, depth = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place = PurePath(_unescape(before.split(" ")[4]))
        if path.is_relative_to(place) and len(place.parts) >= depth:
            found, depth = after.split(" ")[0], len(place.parts)
    return found if found in _NETWORK else ""


def _unescape(place: str) -> str:
    """Return a path without the octal escapes of blanks and backslashes."""
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(escaped, plain)
    return place
