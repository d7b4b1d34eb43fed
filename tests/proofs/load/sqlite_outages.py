"""Ways in which a SQLite file goes away under a running server, each real, each undone at the end of its block.

Here: what is done to file, disk and locks. Not here: what clients must see meanwhile; a server of the database's own
(`database_servers`).
"""

import fcntl
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from support.world import World

from proofs.load.kinds import Kind
from proofs.load.servers import TESTS, Server

_DISK = 16  # MiB of the small disk: room for the database and its log, quickly filled


@contextmanager
def file_moved(world: World, _server: Server) -> Iterator[None]:
    """Move the database file away, and back: its log and lock file stay where they are."""
    path = world.folder / "octy.db"
    away = path.rename(world.folder / "octy.db.away")
    try:
        yield
    finally:
        away.rename(path)


@contextmanager
def folder_moved(world: World, _server: Server) -> Iterator[None]:
    """Take the whole folder away, as an unmounted volume does."""
    away = world.folder.rename(world.folder.with_name("away"))
    try:
        yield
    finally:
        away.rename(world.folder)


@contextmanager
def database_locked(world: World, _server: Server) -> Iterator[None]:
    """Be another process that writes and doesn't end, such as a tool that knows nothing of the lock file."""
    with closing(sqlite3.connect(world.folder / "octy.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE").close()
        try:
            yield
        finally:
            connection.rollback()


@contextmanager
def lock_file_held(world: World, _server: Server) -> Iterator[None]:
    """Be another process of ours that stopped in the middle of a transaction."""
    with (world.folder / "octy.db.lock-file").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def writes_refused(_world: World, server: Server) -> Iterator[None]:
    """Let the kernel refuse the server's writes (EFBIG): a full disk that needs no disk and no privileges."""
    pids = [server.process.pid, *server.pids()]
    limits = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids]
    for pid, (_, hard) in zip(pids, limits, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limit in zip(pids, limits, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@contextmanager
def disk_full(world: World, _server: Server) -> Iterator[None]:
    """Fill the file system that the database is on; only for a small one of its own (`with_small_disk`)."""
    size = shutil.disk_usage(world.folder).total
    if size > 2 * _DISK << 20:
        raise RuntimeError(f"{world.folder} is on a disk of {size} bytes, which is not for filling")
    ballast = world.folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):  # ENOSPC is the aim
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


def with_small_disk(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a command with `--folder` on a small disk that only it can see; None where the kernel allows no such thing.

    That is a mount namespace, with a user namespace around it for those who are not root.
    """
    spaces = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}  # as pytest was told to import
    with tempfile.TemporaryDirectory() as folder:
        script = f'mount -t tmpfs -o size={_DISK}m octy "$0" || exit 99; exec "$@" --folder "$0"'
        try:
            done = subprocess.run([*spaces, "sh", "-c", script, folder, *command], env=path, text=True, check=False)
        except FileNotFoundError:
            return None
    refused = done.returncode == 99 or (done.returncode == 1 and not _allowed(spaces))
    return None if refused else done


def _allowed(spaces: list[str]) -> bool:
    return subprocess.run([*spaces, "true"], capture_output=True, check=False).returncode == 0


KINDS = {
    "file_moved": Kind(file_moved, blind=True),
    "folder_moved": Kind(folder_moved, blind=True),
    "database_locked": Kind(database_locked, blind=False),
    "lock_file_held": Kind(lock_file_held, blind=False),
    "writes_refused": Kind(writes_refused, blind=False),
    "disk_full": Kind(disk_full, blind=False),
}
