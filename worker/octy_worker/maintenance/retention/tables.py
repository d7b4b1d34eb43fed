"""Tables that are walked along an id: attempts, messages, the change feed, webhooks, app processes, forgotten secrets.

Here: which of their rows are due, and what becomes of those. Not here: counters (`counters`), limits (`limits`).

All of a table is looked at, although ids mostly go with time: a clock that was once wrong stops nothing for ever.
Reading keeps nobody waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from octy_middleware.db.bulk_sql import Batch, Row, run
from octy_worker.maintenance.retention.limits import Limits
from octy_worker.maintenance.retention.parts import Found, Sweep

_PART = 5000  # rows looked at in one read


@dataclass(frozen=True)
class TableSweep:
    """Rows of one table that are due since a limit. `due` and `action` are SQL; `kind` is the id's type."""

    name: str
    table: str
    id: str
    due: str
    limit: int
    action: str = ""
    kind: str = "bigint"

    def find(self, connection: Connection, position: str) -> Found:
        """See `Sweep`."""
        after: object = position if self.kind == "text" else int(position or 0)
        last = run(
            connection,
            f"SELECT MAX(id) FROM (SELECT {self.id} AS id FROM {self.table} WHERE {self.id} > ? "  # noqa: S608
            f"ORDER BY {self.id} LIMIT {_PART}) AS span",
            after,
        ).scalar_one()
        return Found(_Span(self, after, after if last is None else last), None if last is None else str(last))


@dataclass(frozen=True)
class _Span:
    """The rows of a table after one id, up to another."""

    sweep: TableSweep
    after: object
    last: object

    def count(self, connection: Connection) -> int:
        """See `Part`."""
        return int(run(connection, f"SELECT COUNT(*) {self._rows}", *self._values).scalar_one())

    def look(self, connection: Connection, most: int) -> Sequence[Row]:
        """See `Part`."""
        asked = f"SELECT {self.sweep.id} {self._rows} ORDER BY {self.sweep.id} LIMIT ?"
        return [tuple(row) for row in run(connection, asked, *self._values, most)]

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """See `Part`."""
        sweep = self.sweep
        action = sweep.action or f"DELETE FROM {sweep.table}"  # noqa: S608  # our own names
        statement = f"{action} WHERE {sweep.id} IN (SELECT id FROM {{given}}) AND {sweep.due}"  # noqa: S608
        return Batch(statement, id=sweep.kind).run(connection, rows, sweep.limit).rowcount

    @property
    def _rows(self) -> str:
        sweep = self.sweep
        return f"FROM {sweep.table} WHERE {sweep.id} > ? AND {sweep.id} <= ? AND {sweep.due}"

    @property
    def _values(self) -> tuple[object, ...]:
        return (self.after, self.last, self.sweep.limit)


def table_sweeps(limits: Limits) -> tuple[Sweep, ...]:
    """Return the sweeps of all tables but the counters'."""
    return (
        TableSweep("attempts", "attempt", "id", "at < ?", limits.attempts),
        TableSweep("messages", "outbox", "id", "delivered_at < ?", limits.messages),
        # The newest entry stays: readers know by the last number whether a backup was restored.
        TableSweep(
            "changes", "key_change", "seq", "at < ? AND seq < (SELECT MAX(seq) FROM key_change)", limits.changes
        ),
        TableSweep("webhooks", "webhook", "id", "state <> 'pending' AND created_at < ?", limits.messages, kind="text"),
        TableSweep("apps", "app_process", "id", "seen_at < ?", limits.messages, kind="text"),
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
