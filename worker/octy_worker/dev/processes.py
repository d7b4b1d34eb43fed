"""Child processes that end with their parent.

Each child leads its own session, so Ctrl-C reaches only the parent, which stops them in order. On Linux the kernel
kills a child whose parent dies; on other systems a regular end of the parent stops them.
"""

import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from octy_middleware.errors import OctyError
from octy_worker.dev import LOOPBACK
from octy_worker.private_files import private

_TRAMPOLINE = Path(__file__).with_name("child.py")
_POLL_INTERVAL = 0.02  # seconds
_LOG_TAIL_LINES = 20  # lines of the log in an error
_PORTS = range(20_000, 32_000)  # below the ephemeral range, so no outgoing connection uses one


class ProcessError(OctyError):
    """A child process did not start, or ended. The text has the end of its log."""


class Process:
    """A child process. Its output is appended to `log`, which only its owner can read."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Start it, from the main thread: the kernel kills a child when the thread that started it ends."""
        if threading.current_thread() is not threading.main_thread():
            raise ProcessError(f"{name}: children are started from the main thread only")
        self.name = name
        self.log = log
        self._stopped = False
        trampoline = [sys.executable, "-I", "-S", str(_TRAMPOLINE), str(os.getpid())]
        with open(log, "ab", opener=private) as output:
            self._log_start = output.tell()
            self._child = subprocess.Popen(  # noqa: S603 - argument lists of this package, no shell
                [*trampoline, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which is also its group and session id."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    def log_tail(self) -> str:
        """Return the last lines of this run."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def check(self) -> None:
        """Raise ProcessError when the process has ended."""
        if self.returncode is not None:
            raise self._error(f"ended with status {self.returncode}")

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return when `ready` is true. Raises ProcessError when the process ends or `timeout` seconds pass first."""
        deadline = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise self._error(f"not ready after {timeout:g} s")
            time.sleep(_POLL_INTERVAL)
        self.check()

    def stop(self, grace_period: float) -> None:
        """Stop the process group: SIGTERM, SIGKILL after `grace_period` seconds. Idempotent."""
        if self._stopped:  # another process may have the id by now
            return
        if self.returncode is None:
            _signal_group(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(grace_period)
        _signal_group(self.pid, signal.SIGKILL)  # also children of the child
        self._child.wait()
        self._stopped = True

    def _error(self, what: str) -> ProcessError:
        return ProcessError(f"{self.name} {what}; the end of {self.log}:\n{self.log_tail() or '(empty)'}")


class ProcessGroup:
    """Child processes by name: started in order, stopped in reverse order. A context manager."""

    def __init__(self, log_folder: Path, environment: Mapping[str, str], *, grace_period: float = 10.0) -> None:
        self._log_folder = log_folder
        self._environment = environment
        self._grace_period = grace_period
        self._processes: dict[str, Process] = {}

    def __getitem__(self, name: str) -> Process:
        return self._processes[name]

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start a process that logs to `<name>.log`; a process of that name is stopped first.

        `environment` is added to the group's own.
        """
        if name in self._processes:
            self._processes.pop(name).stop(self._grace_period)
        self._log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        merged = {**self._environment, **(environment or {})}
        process = Process(name, command, self._log_folder / f"{name}.log", merged)
        self._processes[name] = process
        return process

    def check(self) -> None:
        """Raise ProcessError when any process has ended."""
        for process in self._processes.values():
            process.check()

    def stop(self) -> None:
        """Stop all in reverse order. Idempotent."""
        for process in reversed(self._processes.values()):
            process.stop(self._grace_period)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


@contextlib.contextmanager
def interrupt_on_termination() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on SIGTERM and SIGHUP, as on Ctrl-C."""
    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def is_free(port: int) -> bool:
    """Return whether the port is free on IPv4 and, if available, IPv6 loopback."""
    for family, host in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
    return True


def is_listening(port: int) -> bool:
    """Return whether a server accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def free_port() -> int:
    """Return a free loopback port."""
    for port in random.sample(_PORTS, 200):
        if is_free(port):
            return port
    raise ProcessError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; on macOS a zombie group is EPERM
        os.killpg(leader, number)
