"""`python -m proofs.faults.clock_offset FILE MODULE …`: run a module whose `time.time` is shifted by a file.

The file holds the seconds to add and may change at any time. Monotonic time is not shifted: it cannot be set.
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

_SECONDS = struct.Struct("d")


def write(path: Path, seconds: float) -> None:
    """Shift all processes that read this file, from now on. The file is created when it is missing."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(_SECONDS.pack(seconds))


def main(path: str, module: str, *arguments: str) -> None:
    with Path(path).open("rb") as file:
        offset = mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)
    real = time.time
    time.time = lambda: real() + _SECONDS.unpack(offset)[0]  # before any module uses it as its clock
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
