"""What a forked child does, and how it ended. Not here: processes of their own (`load.servers`)."""

import os
import signal
from collections.abc import Callable

_PATIENCE = 20  # seconds


def in_child(work: Callable[[], None]) -> int:
    """Do the work in a forked child and return its exit status: 0, or 1 when it raised; it is ended if it hangs."""
    child = os.fork()
    if child == 0:
        signal.alarm(_PATIENCE)  # what a child inherits locked it waits for in vain
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
