"""Launcher of a child process: asks the kernel to kill it when its parent dies, then executes the command.

Run by path, `python -I -S child.py <parent pid> <command> …`, so that it starts in milliseconds and imports nothing of
this package. A `preexec_fn` runs Python between fork and exec, which deadlocks when another thread held a lock.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept over exec


def main(arguments: list[str]) -> int:  # pragma: no cover - run by `python -I -S`, which measures nothing
    """Execute the command. Returns an exit status only when the parent has ended or the command can't be run."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            return _fail(f"prctl: {os.strerror(ctypes.get_errno())}", 126)
    if os.getppid() != parent:
        return _fail("the parent ended before prctl was called", 125)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command is the parent's own argument list, no shell
    except OSError as error:
        return _fail(f"{command[0]}: {error.strerror}", 127)


def _fail(why: str, status: int) -> int:  # pragma: no cover - run by `python -I -S`, which measures nothing
    sys.stderr.write(why + "\n")
    return status


if __name__ == "__main__":  # pragma: no cover - run by `python -I -S`, which measures nothing
    sys.exit(main(sys.argv[1:]))
