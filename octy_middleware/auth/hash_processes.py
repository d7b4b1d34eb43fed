"""Computes slow hashes in child processes of the lowest priority, so that they do not slow down other requests.

In threads of the app a hash competes with the requests of the same process, and a thread of a low priority may hold
the interpreter's lock when it loses the processor. Where no child can be started (the interpreter is embedded, as in
uWSGI and mod_wsgi, or the host forbids it) the calling thread computes, at a lower priority where the system has that.

Children get no environment beyond what libraries need, and secrets through a pipe only. Each is in a session of its
own, and ends when its pipe does: with this process, however that ends. PR_SET_PDEATHSIG would end it with the thread.
"""

import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path

from passlib.context import CryptContext

from octy_middleware.auth.hash_child import MATCH, NO_MATCH, OUT_OF_MEMORY, READY
from octy_middleware.keys.imported_hashes import verify_imported
from octy_middleware.process.fork import pause_during_fork

_logger = logging.getLogger(__name__)

_PROGRAM = """
import json, sys, types
sys.path[:], places = json.loads(sys.stdin.buffer.readline())
sys.modules["octy_middleware"] = package = types.ModuleType("octy_middleware")
package.__path__ = places
from octy_middleware.auth.hash_child import serve
serve()
"""  # not by the package's `__init__`: a child needs neither database nor framework
_PACKAGE = str(Path(__file__).parent.parent)
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH")
_START_TIMEOUT = 30.0  # seconds for the start of a child
_START_RETRY_DELAY = 60.0  # seconds without children after a failed start


class _Child:
    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603  # this interpreter, and our own text
            [python, "-I", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout

    def request(self, message: object, timeout: float) -> bytes:
        """Return the reply byte; empty when the child has ended or the time is over."""
        line = json.dumps(message).encode() + b"\n"
        with suppress(OSError):
            while line:
                line = line[os.write(self._input.fileno(), line) :]
            reply = select.poll()
            reply.register(self._output, select.POLLIN)
            if reply.poll(timeout * 1000):
                return os.read(self._output.fileno(), 1)
        return b""

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        self._input.close()
        self._output.close()

    def close_inherited(self) -> None:  # pragma: no cover - in forked children
        """Close the inherited pipes of the parent's child, after a fork."""
        self.process.returncode = 0  # it is not our child: do not wait for it
        self.close()


class HashProcesses:
    """One per authenticator; one child for each concurrent call of `verify`. Safe for threads and after fork."""

    def __init__(self) -> None:
        self.hash_timeout = 60.0  # seconds
        self.thread_nice = 10  # of a thread that computes without children
        self._all: set[_Child] = set()
        self._idle: list[_Child] = []
        self._lock = threading.Lock()  # held while a child is started
        self._closed = False
        self._pause_until = 0.0
        weakref.finalize(self, _kill_all, self._all)
        pause_during_fork(self)

    def verify(self, context: CryptContext, secret: str, stored: str) -> bool:
        """Return whether the secret matches, as `verify_imported` does.

        Raises MemoryError when the hash could not be computed: for want of memory, or its processes were killed.
        """
        for _ in range(2):  # a second try, when the child was killed
            child = self._acquire()
            if child is None:
                _lower_priority(self.thread_nice)
                return verify_imported(context, secret, stored)
            reply = b""
            try:
                reply = child.request([secret, stored], self.hash_timeout)
            finally:
                self._release(child, works=reply != b"")
            if reply in (MATCH, NO_MATCH):
                return reply == MATCH
            if reply == OUT_OF_MEMORY:
                break
        raise MemoryError("an imported hash could not be computed")

    def trim(self) -> None:
        """Kill one idle child."""
        with self._lock:
            child = self._idle.pop() if self._idle else None
        if child is not None:
            self._discard(child)

    def close(self) -> None:
        """Kill the idle children now, the others after their hash. A later call starts new ones."""
        self._closed = True
        while self._idle:
            self.trim()

    def before_fork(self) -> None:
        """Prevent the start of children, whose pipes the new process would inherit."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Allow the start of children again, in the parent."""
        self._lock.release()

    def restart(self) -> None:
        """Start without children, in a forked child: the existing ones belong to the parent."""
        for child in self._all:
            child.close_inherited()  # pragma: no cover - in forked children
        self._all.clear()
        self._idle.clear()
        self._lock = threading.Lock()

    def _acquire(self) -> _Child | None:
        with self._lock:
            self._closed = False
            while self._idle:
                child = self._idle.pop()
                if child.process.poll() is None:
                    return child
                self._discard(child)
            started = self._start()
        if started is None:
            return None
        if started.request([sys.path, [_PACKAGE]], _START_TIMEOUT) == READY:
            return started
        self._discard(started)
        self._warn_and_pause("it did not become ready")
        return None

    def _start(self) -> _Child | None:
        if time.monotonic() < self._pause_until:
            return None
        python = _interpreter()
        if python is None:
            self._warn_and_pause("sys.executable is no Python interpreter", pause=float("inf"))
            return None
        try:
            child = _Child(python)
        except OSError as error:
            self._warn_and_pause(str(error))
            return None
        self._all.add(child)
        return child

    def _warn_and_pause(self, why: str, pause: float = _START_RETRY_DELAY) -> None:
        self._pause_until = time.monotonic() + pause
        _logger.warning(
            "no child process could be started for imported hashes (%s): they are computed in threads of this process, "
            "which slows other requests when there are many",
            why,
        )

    def _release(self, child: _Child, *, works: bool) -> None:
        if works and not self._closed:
            with self._lock:
                self._idle.append(child)
        else:
            self._discard(child)

    def _discard(self, child: _Child) -> None:
        self._all.discard(child)
        child.kill()


def _kill_all(children: set[_Child]) -> None:
    while children:
        children.pop().kill()


def _interpreter() -> str | None:
    """Return the running Python, or None where sys.executable is another program: embedded or frozen."""
    name = Path(sys.executable or "").name.lower()
    if getattr(sys, "frozen", False) or not name.startswith(("python", "pypy")):
        return None
    return sys.executable


def _lower_priority(nice: int) -> None:
    """Lower the priority of this thread; only Linux can do that for a thread."""
    if sys.platform == "linux":  # pragma: no branch - other platforms
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
