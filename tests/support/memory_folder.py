"""Temporary files of tests in memory, where the system has room: thousands of commits then wait for no disk.

What a test shows does not change: a killed process loses nothing in memory either, and no test cuts the power.

Here: when, and where. Not here: tests that need a disk of their own size, which mount one.
"""

import os
import tempfile
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")  # each test has a folder of its own in it
LEAST_ROOM = 4 << 30  # bytes, of the folder and of memory: a run needs less than a tenth


def use_memory_folder(folder: Path = SHARED_MEMORY) -> bool:
    """Let this process, and those that it starts, have temporary files in that folder; return whether they do.

    Not where somebody has said where they shall be, and not where no program can be started.
    """
    if "TMPDIR" in os.environ or not _has_room(folder):
        return False
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # found again at the next use
    return True


def _has_room(folder: Path) -> bool:
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    found = os.statvfs(folder)
    free = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    return free >= LEAST_ROOM and not found.f_flag & getattr(os, "ST_NOEXEC", 0)
