"""A trampoline: ties this process to its parent's life, then becomes the command.

Run by path, `python -I -S child.py <parent pid> <command> …`, so that it starts in milliseconds and imports
nothing of ours. A `preexec_fn` would do the same, but runs Python between fork and exec, which deadlocks when
another thread held a lock at the fork.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept over exec


def main(arguments: list[str]) -> int:
    """Exec the command; return an exit status only when the parent is gone or the command can't be run."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            return _fail(f"prctl: {os.strerror(ctypes.get_errno())}", 126)
    if os.getppid() != parent:
        return _fail("the parent died before the kernel was asked", 125)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command is the parent's own argument list, no shell
    except OSError as error:
        return _fail(f"{command[0]}: {error.strerror}", 127)


def _fail(why: str, status: int) -> int:
    sys.stderr.write(why + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
