"""`python -m proofs.faults.clock_offset FILE MODULE …`: run a module in a process whose wall clock others move.

Here: `time.time` as a file says, which holds the seconds to add. Not here: who writes it (`place`). Monotonic time
goes on as it does: nobody can set that.
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

_SECONDS = struct.Struct("d")


def make(path: Path) -> None:
    path.write_bytes(_SECONDS.pack(0.0))


def move(path: Path, seconds: float) -> None:
    """Let all clocks that read this file be so far ahead from now on, or behind."""
    with path.open("r+b") as file:
        file.write(_SECONDS.pack(seconds))


def main(path: str, module: str, *arguments: str) -> None:
    with Path(path).open("rb") as file:
        shift = mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)
    real = time.time
    time.time = lambda: real() + _SECONDS.unpack(shift)[0]  # before anything takes it for its clock
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
