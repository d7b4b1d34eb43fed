"""A small disk of the run's own, that can be filled: what a full volume is to a SQLite store.

Here: a mount that only this process and its children see, ballast, and other users of the file. Not here: when.
"""

import ctypes
import fcntl
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_SIZE = 192  # MiB: room for a run's tables and their log
_CLONE_NEWNS = 0x00020000  # linux/sched.h


@contextmanager
def small_disk(folder: Path, *, wanted: bool) -> Iterator[bool]:
    """Have a small disk there for the block, which only this process and its children see; False where none can be."""
    mounted = wanted and _mount(folder)
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=False)


def keep(folder: Path, *, small: bool) -> None:
    """Have what is on the small disk stand beside it afterwards."""
    if small:
        shutil.copytree(folder, folder.with_name(f"{folder.name}-kept"))


def _mount(folder: Path) -> bool:
    """Mount a tmpfs in a mount namespace of this process's own, as far as the kernel allows that."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        return False
    commands = (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}m", "octy", folder])
    with suppress(FileNotFoundError):
        return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands)
    return False


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the disk for the block; only one that `small_disk` made."""
    if not os.path.ismount(folder):
        raise RuntimeError(f"{folder} is no disk of its own, and not for filling")
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):  # ENOSPC is the aim
        block = bytes(1 << 20)
        while True:
            file.write(block if _free(folder) > len(block) else block[:512])
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be a tool that knows nothing of the lock file, and writes without end."""
    with closing(sqlite3.connect(folder / "octy.db", isolation_level=None, timeout=5)) as connection:
        connection.execute("BEGIN IMMEDIATE").close()
        try:
            yield
        finally:
            connection.rollback()


@contextmanager
def lock_file_held(folder: Path) -> Iterator[None]:
    """Be a process of ours that stopped in the middle of a transaction."""
    with (folder / "octy.db.lock-file").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
