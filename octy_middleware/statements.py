"""Plain SQL: one text for every kind of database, many rows in one statement, and on the hot path by the driver itself.

Here: `run`, for a statement with question marks, and `Batch`, for one that takes any number of rows at once. Not here:
the statements themselves. ORM objects cost 20 to 50 times as much; and a statement a row would have the recorder hand
the interpreter's lock to the host app, and the server a message, once a row.

`Batch.fetch` and `Batch.execute` pass SQLAlchemy by: its own part costs twice what SQLite does for these statements.
Errors are then the driver's; `Database` knows them.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias, cast

from sqlalchemy import Connection, CursorResult

Row = tuple[Any, ...]
Rows: TypeAlias = CursorResult[*tuple[Any, ...]]
Given = Sequence[Sequence[object]]


class _Cursor(Protocol):
    def fetchall(self) -> list[Row]:
        """Return the rows that a statement found."""


class _Driver(Protocol):
    def execute(self, statement: str, values: Sequence[object]) -> _Cursor:
        """Run a statement, its values marked in the driver's own way."""


def run(connection: Connection, statement: str, *values: object) -> Rows:
    """Run one statement, its values marked by `?`."""
    return connection.exec_driver_sql(_marked(statement, connection.dialect.name), values)


def execute(connection: Connection, statement: str, *values: object) -> None:
    """Run one statement by the driver itself, its values marked by `?`."""
    _driver(connection).execute(_marked(statement, connection.dialect.name), values)


def _driver(connection: Connection) -> _Driver:
    return cast("_Driver", connection.connection.driver_connection)


@cache
def _marked(statement: str, dialect: str) -> str:
    return statement if dialect == "sqlite" else statement.replace("%", "%%").replace("?", "%s")


class Batch:
    """A statement in which `{given}` is a table of rows, handed over at once, with these columns and types.

    Values for further `?` stand behind `{given}`. Rows are taken in the order in which they are given. It says
    `WHERE true` before an `ON CONFLICT`, as SQLite asks, and `CROSS JOIN`, which SQLite takes for the order of loops.
    """

    def __init__(self, statement: str, **columns: str) -> None:
        cells = (f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(columns))
        rows = f"(SELECT {', '.join(cells)} FROM json_each(?)) AS given"  # noqa: S608  # our own names
        self._for_json = statement.replace("{given}", rows)
        arrays = f"unnest({', '.join(f'?::{kind}[]' for kind in columns.values())}) AS given({', '.join(columns)})"
        self._for_arrays = _marked(statement.replace("{given}", arrays), "postgresql")
        self._width = len(columns)

    def run(self, connection: Connection, rows: Given, *values: object) -> Rows:
        """Run it over these rows; no rows are none in the table."""
        return connection.exec_driver_sql(*self._prepared(connection, rows, values))

    def fetch(self, connection: Connection, rows: Given) -> list[Row]:
        """Run it over these rows, by the driver itself, and return what it found."""
        return _driver(connection).execute(*self._prepared(connection, rows, ())).fetchall()

    def execute(self, connection: Connection, rows: Given) -> None:
        """Run it over these rows, by the driver itself."""
        _driver(connection).execute(*self._prepared(connection, rows, ()))

    def _prepared(self, connection: Connection, rows: Given, values: tuple[object, ...]) -> tuple[str, Row]:
        if connection.dialect.name == "sqlite":
            return self._for_json, (_to_json(rows), *values)
        arrays = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(self._width)]
        return self._for_arrays, (*arrays, *values)


_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
