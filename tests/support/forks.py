"""What a forked child does, and how it ended. Not here: processes of their own (`load.servers`)."""

import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from support.descriptors import is_readable

_TIMEOUT = 60  # seconds for a child's work
_HANDOVER_TIMEOUT = 10  # seconds; more is one more fork
_HANDOVERS = 0.05  # seconds of many handovers
_FORKS = 20


def in_child(work: Callable[[], None]) -> int:
    """Do the work in a forked child and return its exit status: 0, or 1 when it raised; it is ended if it hangs."""
    child = os.fork()
    if child == 0:
        _work_and_exit(work)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_untold(work: Callable[[], None]) -> int:
    """Do the work in a child that the C library forks, as uWSGI does; return its exit status.

    CPython isn't told, so a thread of the parent's that waited for the interpreter's lock at the fork is waited for in
    vain by the child, whatever its code does. A thread that wakes up by a timer does so now and then. Such a child is
    found before its work begins, and another one is forked.
    """
    for _ in range(_FORKS):
        ready, write = os.pipe()
        child = int(ctypes.PyDLL(None).fork())  # holds the interpreter's lock, as uWSGI does
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a handler would need a thread that runs
            _hand_over()
            os.write(write, b"1")
            _work_and_exit(work)
        os.close(write)
        begun = is_readable(ready, _HANDOVER_TIMEOUT)
        os.close(ready)
        if not begun:
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if begun:
            return code
    raise AssertionError(f"{_FORKS} forked children could not hand over the interpreter's lock")


def _hand_over() -> None:
    """Let three threads hand over the interpreter's lock: it hangs where a thread of the parent's is waited for."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)

    def alternate() -> None:
        until = time.monotonic() + _HANDOVERS
        while time.monotonic() < until:  # by request of another thread, and by a call that blocks
            if random.random() < 0.01:
                time.sleep(0)

    others = [threading.Thread(target=alternate) for _ in range(2)]
    for other in others:
        other.start()
    alternate()
    for other in others:
        other.join()
    sys.setswitchinterval(interval)


def _work_and_exit(work: Callable[[], None]) -> NoReturn:
    signal.alarm(_TIMEOUT)  # a lock that a child inherits is never released
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)
