"""A real write to the database, what it took, and how much room there is: a lock alone proves no disk.

Here: one row of the table of jobs, committed and taken away again. Not here: who asks (`metrics`, `cli.checks`).
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from octy_middleware.clock import Clock, utc
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.database import Database
from octy_middleware.db.models import Job

PROBE = "write-probe"  # the row's name; a job of this name is never run
SLOW = 1.0  # seconds for one commit
LEAST_FREE = 200 * 1024 * 1024  # bytes; a day of counters and the log of a long read fit in
_FILL = 300  # characters


@dataclass(frozen=True, slots=True)
class Room:
    """Free bytes of the file system, and its size."""

    free: int
    size: int

    @property
    def is_scarce(self) -> bool:
        """Tell whether it will soon be full."""
        return self.free < LEAST_FREE


def write_probe(database: Database, now: float, monotonic: Clock = time.monotonic) -> float:
    """Commit a row, take it away again, and return the seconds that the slower commit took. Raises OctyError."""
    begun = monotonic()
    with database.write_session() as session:
        session.merge(Job(name=PROBE, cursor=os.urandom(_FILL // 2).hex(), started_at=utc(now)))
    written = monotonic()
    with database.write() as connection:
        run(connection, "DELETE FROM job WHERE name = ?", PROBE)
    return max(written - begun, monotonic() - written)


def room_of(database: Database) -> Room | None:
    """Return the room beside the file; None for a server, whose disk is out of sight."""
    if database.url.get_backend_name() != "sqlite":
        return None
    try:
        found = os.statvfs(Path(database.backend.place).parent)
    except OSError:
        return None
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def clock_offset(database: Database, clock: Clock) -> float | None:
    """Return how many seconds this host's clock is ahead of the database server's; None where both are one host."""
    if database.url.get_backend_name() == "sqlite":
        return None
    with database.read() as connection:
        before = clock()
        [row] = run(connection, "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)")
        return (before + clock()) / 2 - float(row[0])
