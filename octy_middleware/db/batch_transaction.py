"""A recorder's transaction, in two messages to a server: one begins, locks and reads, the other writes and commits."""

from sqlalchemy import Connection

from octy_middleware.db.bulk_sql import Batch, InputRows, Row


class BatchTransaction:
    """An open transaction. `found`: results of the queries that it began with; `writes`: what was added until now."""

    def __init__(self, connection: Connection, found: list[list[Row]]) -> None:
        self.connection = connection
        self.found = found
        self.writes: list[tuple[Batch, InputRows]] = []

    def add(self, batch: Batch, rows: InputRows) -> None:
        """Write these rows at the end of the transaction, after those added before; nothing without rows.

        Statements on `connection` are sent at once, so they run before.
        """
        if rows:
            self.writes.append((batch, rows))
