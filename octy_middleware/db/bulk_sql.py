"""Plain SQL: one text for every kind of database, many rows in one statement, and on the hot path by the driver itself.

Here: `run`, for a statement with question marks, `Batch`, for one that takes any number of rows at once, `fetch_many`,
for several questions in one statement, and `execute_many`, for several inserts in one. Not here: the statements.

ORM objects cost 20 to 50 times as much; and a statement a row would have the recorder hand
the interpreter's lock to the host app, and the server a message, once a row.

`Batch.fetch` and `Batch.execute` pass SQLAlchemy by: its own part costs twice what SQLite does for these statements.
Errors are then the driver's; `Database` knows them.
"""

import json
from collections.abc import Mapping, Sequence
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
    `{standby}` tells whether the connection leads to a standby. Where PostgreSQL needs another text, it comes second.
    """

    def __init__(self, statement: str, for_postgresql: str = "", /, **columns: str) -> None:
        self._for_json = statement.replace("{standby}", "0").replace("{given}", _from_json(columns))
        there = (for_postgresql or statement).replace("{standby}", "pg_is_in_recovery()")
        self._for_arrays = _marked(there.replace("{given}", _from_arrays(columns)), "postgresql")
        self._width = len(columns)

    def run(self, connection: Connection, rows: Given, *values: object) -> Rows:
        """Run it over these rows; no rows are none in the table."""
        return connection.exec_driver_sql(*self.prepared(connection, rows, values))

    def fetch(self, connection: Connection, rows: Given) -> list[Row]:
        """Run it over these rows, by the driver itself, and return what it found."""
        return _driver(connection).execute(*self.prepared(connection, rows, ())).fetchall()

    def execute(self, connection: Connection, rows: Given) -> None:
        """Run it over these rows, by the driver itself."""
        _driver(connection).execute(*self.prepared(connection, rows, ()))

    def prepared(self, connection: Connection, rows: Given, values: tuple[object, ...]) -> tuple[str, Row]:
        """Return its text and values as the driver takes them."""
        if connection.dialect.name == "sqlite":
            return self._for_json, (_to_json(rows), *values)
        return self._for_arrays, (*_to_arrays(rows, self._width), *values)


class Query:
    """What is found of rows that are handed over: these columns, from `source`, in which `{given}` is as in `Batch`."""

    def __init__(self, columns: Sequence[str], source: str, /, **given: str) -> None:
        found = ", ".join(columns)
        in_json = f"(SELECT json_group_array(json_array({found})) FROM {source})"  # noqa: S608  # our own names
        in_arrays = f"(SELECT json_agg(json_build_array({found})) FROM {source})"  # noqa: S608
        self.for_json = in_json.replace("{given}", _from_json(given))
        self.for_arrays = in_arrays.replace("{given}", _from_arrays(given))
        self.width = len(given)


def fetch_many(connection: Connection, *asked: tuple[Query, Given]) -> list[list[Row]]:
    """Return what each question finds of its rows; no rows find nothing, without being asked.

    One statement asks them all, by the driver itself: each further one would cost a message to the server, or hand the
    interpreter's lock to the host app, which gives it back when it likes.
    """
    some = [(question, rows) for question, rows in asked if rows]
    if not some:
        return [[] for _ in asked]
    of_sqlite = connection.dialect.name == "sqlite"
    values: list[object] = []
    for question, rows in some:
        values.extend([_to_json(rows)] if of_sqlite else _to_arrays(rows, question.width))
    statement = _joined(tuple(question for question, _ in some), of_sqlite=of_sqlite)
    [answers] = _driver(connection).execute(statement, values).fetchall()
    found = iter([json.loads(answer) if of_sqlite else answer or [] for answer in answers])
    return [next(found) if rows else [] for _, rows in asked]


def execute_many(connection: Connection, *written: tuple[Batch, Given]) -> None:
    """Run inserts over their rows, in one message where that saves one; none may build on what another writes."""
    some = [batch.prepared(connection, rows, ()) for batch, rows in written if rows]
    if connection.dialect.name == "sqlite":  # which knows no insert beside another; a message costs nothing there
        for statement, values in some:
            _driver(connection).execute(statement, values)
    elif some:
        statement = _beside_each_other(tuple(statement for statement, _ in some))
        _driver(connection).execute(statement, [value for _, values in some for value in values])


@cache
def _beside_each_other(statements: tuple[str, ...]) -> str:
    *others, last = statements
    beside = ", ".join(f"written_{place} AS ({statement})" for place, statement in enumerate(others))
    return f"WITH {beside} {last}" if others else last


@cache
def _joined(questions: tuple[Query, ...], *, of_sqlite: bool) -> str:
    if of_sqlite:
        return f"SELECT {', '.join(question.for_json for question in questions)}"
    return _marked(f"SELECT {', '.join(question.for_arrays for question in questions)}", "postgresql")


def _from_json(columns: Mapping[str, str]) -> str:
    cells = (f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(columns))
    return f"(SELECT {', '.join(cells)} FROM json_each(?)) AS given"  # noqa: S608  # our own names


def _from_arrays(columns: Mapping[str, str]) -> str:
    return f"unnest({', '.join(f'?::{kind}[]' for kind in columns.values())}) AS given({', '.join(columns)})"


def _to_arrays(rows: Given, width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
