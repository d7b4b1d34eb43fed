"""Ways in which a SQLite file goes away under a running server, each real, each undone at the end of its block."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from support.paths import TESTS
from support.world import World

from proofs.faults import resource_faults
from proofs.load.servers import Server

_DISK = 16  # MiB of the small disk: room for the database and its log, quickly filled


@contextmanager
def file_moved(world: World, _server: Server) -> Iterator[None]:
    """Move the database file away, and back: its log and lock file stay where they are."""
    path = world.folder / "octy.db"
    away = path.rename(world.folder / "octy.db.away")
    with ExitStack() as stack:
        stack.callback(away.rename, path)
        yield


@contextmanager
def folder_moved(world: World, _server: Server) -> Iterator[None]:
    """Take the whole folder away, as an unmounted volume does."""
    away = world.folder.rename(world.folder.with_name("away"))
    with ExitStack() as stack:
        stack.callback(away.rename, world.folder)
        yield


@contextmanager
def database_locked(world: World, _server: Server) -> Iterator[None]:
    """Be another process that writes and doesn't end, such as a tool that knows nothing of the lock file."""
    with resource_faults.foreign_write_lock(world.folder):
        yield


@contextmanager
def lock_file_held(world: World, _server: Server) -> Iterator[None]:
    """Be another process of ours that stopped in the middle of a transaction."""
    with resource_faults.lock_file_held(world.folder):
        yield


@contextmanager
def writes_refused(_world: World, server: Server) -> Iterator[None]:
    """Let the kernel refuse the server's writes (EFBIG): a full disk that needs no disk and no privileges."""
    with ExitStack() as stack:
        for pid in [server.process.pid, *server.pids()]:
            _, hard = limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            stack.callback(resource.prlimit, pid, resource.RLIMIT_FSIZE, limit)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        yield


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
    with ExitStack() as stack:
        stack.callback(ballast.unlink)
        yield


def with_small_disk(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a command with `--folder` on a small disk that only it can see; None where the kernel allows no such thing.

    That is a mount namespace, with a user namespace around it for those who are not root.
    """
    namespaces = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}  # as pytest imports
    script = f'mount -t tmpfs -o size={_DISK}m octy "$0" || exit 99; exec "$@" --folder "$0"'
    with tempfile.TemporaryDirectory() as folder:
        whole = [*namespaces, "sh", "-c", script, folder, *command]
        try:
            done = subprocess.run(whole, env=environment, text=True, check=False)
        except FileNotFoundError:
            return None
    allowed = subprocess.run([*namespaces, "true"], capture_output=True, check=False).returncode == 0
    return None if done.returncode == 99 or (done.returncode == 1 and not allowed) else done


KINDS = {
    kind.__name__: kind
    for kind in (file_moved, folder_moved, database_locked, lock_file_held, writes_refused, disk_full)
}
UNREADABLE = frozenset({"file_moved", "folder_moved"})
"""While these last, the database can't even be read, so remembered key pairs are accepted for the grace period only."""
