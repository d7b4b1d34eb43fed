"""Faults of resources: a full disk, a locked database file, and idle connections to the pages."""

import ctypes
import fcntl
import os
import socket
import sqlite3
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from octy_worker.dev import LOOPBACK

_SIZE = 192  # MiB: room for a run's tables and their log
_CLONE_NEWNS = 0x00020000  # linux/sched.h
_HALF_HEADER = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: "
_CONNECT_TIMEOUT = 1.0  # seconds for each step
_MOST_ERRORS = 20


@contextmanager
def small_disk(folder: Path, *, wanted: bool) -> Iterator[bool]:
    """Mount a small tmpfs on the folder that only this process and its children see; False where that is impossible."""
    mounted = wanted and _mount(folder)
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=False)


def _mount(folder: Path) -> bool:
    """Mount a tmpfs in a mount namespace of this process, as far as the kernel allows that."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        return False
    commands = (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}m", "octy", folder])
    with suppress(FileNotFoundError):
        return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands)
    return False


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Fill the disk for the block. Raises RuntimeError when `small_disk` did not make it."""
    if not os.path.ismount(folder):
        raise RuntimeError(f"{folder} is not a disk of this run and is not filled")
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):  # until ENOSPC; the last block is written in part
        while True:
            file.write(bytes(1 << 20))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def foreign_write_lock(folder: Path) -> Iterator[None]:
    """Lock the database as another program does, which knows nothing of the lock file."""
    with closing(sqlite3.connect(folder / "octy.db", isolation_level=None, timeout=5)) as connection:
        connection.execute("BEGIN IMMEDIATE").close()
        try:
            yield
        finally:
            connection.rollback()


@contextmanager
def lock_file_held(folder: Path) -> Iterator[None]:
    """Hold the lock file, as a process of ours does that was stopped in a transaction."""
    with (folder / "octy.db.lock-file").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    """Hold TLS connections that send half a header, each from an address of its own, as far as the server accepts."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    errors = 0
    with ExitStack() as stack:
        for number in range(count):
            try:
                plain = socket.create_connection(
                    (LOOPBACK, port), _CONNECT_TIMEOUT, (f"127.0.{number // 200 + 1}.{number % 200 + 1}", 0)
                )
                stack.enter_context(plain)  # after TLS has taken its descriptor over, closing it does nothing
                connection = stack.enter_context(context.wrap_socket(plain))
                connection.sendall(_HALF_HEADER)
            except OSError:
                errors += 1
                if errors > _MOST_ERRORS:  # it is down or full
                    break
        yield
