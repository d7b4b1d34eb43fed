"""The parts of an installation: processes that are killed, suspended and started again."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
from support.postgres import PostgresServer

from octy_worker.dev.processes import Process, ProcessGroup


@dataclass
class Part:
    """One process with its children."""

    name: str
    command: Sequence[str]
    port: int
    environment: dict[str, str] = field(default_factory=dict)  # added to that of all parts
    process: Process | None = None
    start_at: float | None = None  # monotonic, while it is down after a kill
    exits: list[str] = field(default_factory=list)  # exits without a kill: status and last line of the log

    @property
    def pid(self) -> int | None:
        """The process id, None while it is down."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    def kill(self, downtime: float) -> bool:
        """Kill -9 it with its children; False when it is down already. It is due again after `downtime` seconds."""
        if self.pid is None:
            return False
        _signal_group(self.pid, signal.SIGKILL)
        self.start_at = time.monotonic() + downtime
        return True

    def kill_child(self) -> bool:
        """Kill -9 one forked child, which the part must replace itself."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.pid).children() if self.pid else ():
                child.kill()
                return True
        return False

    def suspend(self) -> Callable[[], None] | None:
        """Stop it with its children (SIGSTOP). Return what resumes it, or None when it is down."""
        pid = self.pid
        if pid is None:
            return None
        _signal_group(pid, signal.SIGSTOP)
        return lambda: _signal_group(pid, signal.SIGCONT)

    def supervise(self, group: ProcessGroup) -> None:
        """Start it when it is due. An exit without a kill is recorded, and then it is due at once."""
        if self.pid is not None:
            return
        if self.start_at is None and self.process is not None:
            last = self.process.log_tail().rpartition("\n")[2]
            self.exits.append(f"{self.name} exited with status {self.process.returncode}: {last[:300]}")
        if self.start_at is None or self.start_at <= time.monotonic():
            self.start_at = None
            self.process = group.start(self.name, self.command, self.environment)

    def start_now(self) -> None:
        """Have it due at once when it is down."""
        self.start_at = None if self.start_at is None else 0.0


class DatabaseServer:
    """A PostgreSQL server that is killed, or shut down "immediate", alternately. A thread starts it again."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._kills = 0
        self._recovery = threading.Thread()

    def kill(self, downtime: float) -> bool:
        """Kill it for `downtime` seconds; False when it is down already."""
        if self._recovery.is_alive():
            return False
        self._kills += 1
        if self._kills % 2:
            self.server.kill()
        else:
            self.server.stop("immediate")
        self._recovery = threading.Timer(downtime, self.server.start)
        self._recovery.daemon = True
        self._recovery.start()
        return True

    def start_now(self) -> None:
        """Return when it serves."""
        if self._recovery.is_alive():
            self._recovery.join()


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)
