"""Probes of the database: duration of a committed write, free disk space, clock offset.

The write probe commits a row: taking a lock alone would not show whether the disk is writable.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from octy_middleware.clock import Clock, utc
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.database import Database
from octy_middleware.db.models import Job

PROBE_JOB = "write-probe"  # name of the row in the table `job`; no job has this name
SLOW = 1.0  # seconds for one commit
LEAST_FREE = 200 * 1024 * 1024  # bytes: enough for a day of counters, and for the WAL during a long read
_FILL = 300  # characters


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Free and total bytes of the database's file system."""

    free: int
    size: int

    @property
    def is_low(self) -> bool:
        """Whether it will soon be full."""
        return self.free < LEAST_FREE


def write_probe(database: Database, now: float, monotonic: Clock = time.monotonic) -> float:
    """Commit a row, delete it, and return the seconds of the slower commit. Raises OctyError."""
    started = monotonic()
    with database.write_session() as session:
        session.merge(Job(name=PROBE_JOB, cursor=os.urandom(_FILL // 2).hex(), started_at=utc(now)))
    written = monotonic()
    with database.write() as connection:
        run(connection, "DELETE FROM job WHERE name = ?", PROBE_JOB)
    return max(written - started, monotonic() - written)


def disk_space(database: Database) -> DiskSpace | None:
    """Return the disk space of a database file; None for a server, whose disk we can't see."""
    if database.url.get_backend_name() != "sqlite":
        return None
    try:
        stat = os.statvfs(Path(database.backend.display_name).parent)
    except OSError:
        return None
    return DiskSpace(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)


def clock_offset(database: Database, clock: Clock) -> float | None:
    """Return how many seconds this host's clock is ahead of the database server's; None for SQLite."""
    if database.url.get_backend_name() == "sqlite":
        return None
    with database.read() as connection:
        before = clock()
        [row] = run(connection, "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)")
        return (before + clock()) / 2 - float(row[0])
