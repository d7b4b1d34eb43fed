"""What is left of a PostgreSQL server, and its end: every process, its shared memory, its folder.

Here: find the processes by the server's folder, kill them, wipe; run as a program, wipe as soon as the parent is gone.
Not here: starting a server (`postgres`).

The program is needed because the kernel's PR_SET_PDEATHSIG (`octy_worker.dev.child`) does not fit: changing the user
clears it, it fires when the *thread* that started the server ends, and it would leave the folder behind.
A test process that ends by kill -9 or by os._exit runs no `atexit` either.
"""

import contextlib
import ctypes
import os
import shutil
import sys
import time
from pathlib import Path

import psutil

DATA = "data"
_IPC_RMID = 0
_POLL = 0.01
_WATCH = 0.2


def members(folder: Path) -> list[psutil.Process]:
    """Return the server's living processes, initdb's too, and children whose postmaster is dead.

    A command line is open to all; a child's title holds the `cluster_name`, for which `postgres` takes the folder's.
    """
    marks = (str(folder / DATA), f"postgres: {folder.name}: ")  # arguments, and the titles of children
    return [process for process in psutil.process_iter(["cmdline"]) if any(mark in _title(process) for mark in marks)]


def kill(folder: Path) -> None:
    """Kill -9 every process of the server; return when the last is gone."""
    while found := members(folder):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(_POLL)


def wipe(folder: Path) -> None:
    """End the server at once and remove all that it had."""
    kill(folder)
    _free_shared_memory(folder / DATA / "postmaster.pid")
    shutil.rmtree(folder, ignore_errors=True)  # also when someone else has removed it already


def _title(process: psutil.Process) -> str:
    """Return the command line: empty for a zombie, and for another user's where that is hidden."""
    return " ".join(process.info["cmdline"] or ())


def _free_shared_memory(lock_file: Path) -> None:
    """A killed postmaster leaves a System V segment, which only its next start in the same folder would free."""
    with contextlib.suppress(FileNotFoundError):
        lines = lock_file.read_text().splitlines()
        if len(lines) > 6:  # the seventh line is "key id"
            ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), _IPC_RMID, None)


def main(parent: int, folder: Path) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH)
    wipe(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
