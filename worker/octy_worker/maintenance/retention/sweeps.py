"""What has expired: limits from the settings, and sweeps over tables along an id.

A sweep walks a table in ranges of its primary key, each small enough for one read. Rows that a sweep has cleared are no
longer due, so a range can be started again at any time: after a crash, or after a commit whose result is unknown.

A sweep reads the whole table, although ids mostly ascend with time: rows of a clock that was once wrong are found, too.
Reading blocks no writer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from octy_middleware.clock import to_micros
from octy_middleware.db.bulk_sql import Batch, Row, run
from octy_worker.settings import RetentionSettings
from octy_workflows.messages import DAY

MINUTES = 1440
"""Minutes of a UTC day."""

_MONTH = 30 * DAY  # delivered messages are not read again; the change feed is read every second
_RANGE_ROWS = 5000  # rows of one read


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows before these limits have expired: microseconds since 1970; of counters the first minute of a UTC day."""

    attempts: int
    messages: int
    changes: int
    secrets: int
    counters: int
    compaction: int
    decoys: int
    outputs: int


def limits_at(now: float, settings: RetentionSettings) -> Limits:
    """Return the limits of a run that started at `now`. Counters expire by whole UTC days."""
    return Limits(
        attempts=to_micros(now - settings.keep_attempts_days * DAY),
        messages=to_micros(now - _MONTH),
        changes=to_micros(now - _MONTH),
        # Staff can renew a link until the regeneration is abandoned; from then on no one could open the secret.
        secrets=to_micros(now - max(_MONTH, settings.collect_abandon_after)),
        counters=_first_minute(now - settings.keep_counters_days * DAY),
        compaction=_first_minute(now - settings.compact_counters_after_days * DAY),
        decoys=to_micros(now - DAY),
        outputs=to_micros(now - DAY),
    )


def _first_minute(time: float) -> int:
    return int(time // DAY) * MINUTES


class KeyRange(Protocol):
    """The rows of a table between two values of its primary key."""

    def count_due(self, connection: Connection) -> int:
        """Return how many rows are due."""

    def find_due(self, connection: Connection, limit: int) -> Sequence[Row]:
        """Return the primary keys of rows that are due, at most `limit`."""

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Delete or compact these rows; return how many there were."""


class Sweep(Protocol):
    """One kind of row that expires, in one table."""

    @property
    def name(self) -> str:
        """Its name in cursors and reports."""

    def range_at(self, connection: Connection, position: str) -> tuple[KeyRange, str | None]:
        """Return the range at a position, and the next position, None after the last. The first position is ""."""


@dataclass(frozen=True)
class TableSweep:
    """Rows of one table that are due before `limit`. `due` and `action` are SQL; `kind` is the type of the id."""

    name: str
    table: str
    id: str
    due: str
    limit: int
    action: str = ""
    kind: str = "bigint"

    def range_at(self, connection: Connection, position: str) -> tuple[KeyRange, str | None]:
        """See `Sweep`."""
        after: object = position if self.kind == "text" else int(position or 0)
        last = run(
            connection,
            f"SELECT MAX(id) FROM (SELECT {self.id} AS id FROM {self.table} WHERE {self.id} > ? "  # noqa: S608
            f"ORDER BY {self.id} LIMIT {_RANGE_ROWS}) AS span",
            after,
        ).scalar_one()
        return _IdRange(self, after, after if last is None else last), None if last is None else str(last)


@dataclass(frozen=True)
class _IdRange:
    """The rows of a table after one id, up to and including another."""

    sweep: TableSweep
    after: object
    last: object

    def count_due(self, connection: Connection) -> int:
        """See `KeyRange`."""
        return int(run(connection, f"SELECT COUNT(*) {self._rows}", *self._values).scalar_one())

    def find_due(self, connection: Connection, limit: int) -> Sequence[Row]:
        """See `KeyRange`."""
        query = f"SELECT {self.sweep.id} {self._rows} ORDER BY {self.sweep.id} LIMIT ?"
        return [tuple(row) for row in run(connection, query, *self._values, limit)]

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """See `KeyRange`."""
        sweep = self.sweep
        action = sweep.action or f"DELETE FROM {sweep.table}"  # noqa: S608  # our own names
        statement = f"{action} WHERE {sweep.id} IN (SELECT id FROM {{input}}) AND {sweep.due}"  # noqa: S608
        return Batch(statement, id=sweep.kind).run(connection, rows, sweep.limit).rowcount

    @property
    def _rows(self) -> str:
        sweep = self.sweep
        return f"FROM {sweep.table} WHERE {sweep.id} > ? AND {sweep.id} <= ? AND {sweep.due}"

    @property
    def _values(self) -> tuple[object, ...]:
        return (self.after, self.last, self.sweep.limit)


def table_sweeps(limits: Limits) -> tuple[Sweep, ...]:
    """Return the sweeps of all tables except counters."""
    return (
        TableSweep("attempts", "attempt", "id", "at < ?", limits.attempts),
        TableSweep("messages", "outbox", "id", "delivered_at < ?", limits.messages),
        # The newest entry is kept: readers of the feed detect a restored backup by the last number.
        TableSweep(
            "changes", "key_change", "seq", "at < ? AND seq < (SELECT MAX(seq) FROM key_change)", limits.changes
        ),
        TableSweep("webhooks", "webhook", "id", "state <> 'pending' AND created_at < ?", limits.messages, kind="text"),
        TableSweep("apps", "app_process", "id", "seen_at < ?", limits.messages, kind="text"),
        TableSweep("sessions", "staff_session", "id", "expires_at < ?", limits.messages, kind="text"),
        TableSweep(
            "outputs",
            "staff_order",
            "id",
            "output <> '' AND ended_at < ?",
            limits.outputs,
            action="UPDATE staff_order SET output = ''",
            kind="text",
        ),
        TableSweep(
            "secrets",
            "sealed_secret",
            "regeneration_id",
            "sealed IS NOT NULL AND expires_at < ?",
            limits.secrets,
            action="UPDATE sealed_secret SET sealed = NULL",
            kind="text",
        ),
    )
