"""The heartbeat of a host-app process: its row in `app_process`, for `octy doctor` and the worker's metrics.

It is written together with outcomes, so a process without requests writes none.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable

from octy_middleware._version import __version__
from octy_middleware.clock import Clock, to_micros
from octy_middleware.db.batch_transaction import BatchTransaction
from octy_middleware.db.bulk_sql import Batch
from octy_middleware.process.fork import restart_after_fork
from octy_middleware.recording.recorder import RecorderHealth

_INTERVAL = 10.0  # seconds
_ID_BYTES = 8
_COLUMNS = {
    "id": "text",
    "host": "text",
    "pid": "bigint",
    "release": "text",
    "seen_at": "bigint",
    "queued": "bigint",
    "lost": "bigint",
    "commit_micros": "bigint",
    "failures": "bigint",
    "last_error": "text",
    "failed_at": "bigint",
}
_NAMES = ", ".join(_COLUMNS)
_UPSERT = Batch(
    f"INSERT INTO app_process ({_NAMES}) SELECT {_NAMES} FROM {{input}} WHERE true "  # noqa: S608  # our own names
    "ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, queued = excluded.queued, lost = excluded.lost, "
    "commit_micros = excluded.commit_micros, failures = excluded.failures, last_error = excluded.last_error, "
    "failed_at = excluded.failed_at",
    **_COLUMNS,
)


class Heartbeat:
    """Writes the row of this process, at most every ten seconds, in transactions of the recorder."""

    def __init__(self, health: Callable[[], RecorderHealth], clock: Clock, monotonic: Clock = time.monotonic) -> None:
        self._health = health
        self._clock = clock
        self._monotonic = monotonic
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Take a new id, in a forked child."""
        self._id = secrets.token_hex(_ID_BYTES)  # host name and pid may repeat after a container restart
        self._due = self._monotonic()

    def write_if_due(self, transaction: BatchTransaction) -> None:
        """Write the row if the last write was ten seconds ago."""
        now = self._monotonic()
        if now < self._due:
            return
        self._due = now + _INTERVAL
        health, seen_at = self._health(), self._clock()
        failed_at = None if health.seconds_since_failure is None else to_micros(seen_at - health.seconds_since_failure)
        row = (
            self._id,
            socket.gethostname()[:100],
            os.getpid(),
            __version__,
            to_micros(seen_at),
            health.queued,
            health.lost,
            to_micros(health.last_commit_seconds),
            health.failures,
            health.past_error,
            failed_at,
        )
        transaction.add(_UPSERT, [row])
