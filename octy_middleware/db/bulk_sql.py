"""Raw SQL with one text for both databases, and many rows in one statement.

ORM objects cost 20 to 50 times as much. One statement per row would release the GIL to the host app, and send the
server a message, once per row. `Batch.fetch`, `Batch.execute` and `fetch_many` call the driver directly: SQLAlchemy's
own part takes twice as long as SQLite needs for these statements. Errors are then the driver's; `Database` translates
them.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias, cast

from sqlalchemy import Connection, CursorResult

Row = tuple[Any, ...]
Rows: TypeAlias = CursorResult[*tuple[Any, ...]]
InputRows = Sequence[Sequence[object]]


class _Cursor(Protocol):
    def fetchall(self) -> list[Row]:
        """Return all rows of the result."""


class _Driver(Protocol):
    def execute(self, statement: str, values: Sequence[object]) -> _Cursor:
        """Run a statement; its parameters have the driver's own placeholders."""


def run(connection: Connection, statement: str, *values: object) -> Rows:
    """Run one statement; each `?` stands for a value."""
    return connection.exec_driver_sql(_with_placeholders(statement, connection.dialect.name), values)


def execute(connection: Connection, statement: str, *values: object) -> None:
    """Run one statement by the driver itself; each `?` stands for a value."""
    driver_of(connection).execute(_with_placeholders(statement, connection.dialect.name), values)


def driver_of(connection: Connection) -> _Driver:
    """Return the connection of the database driver itself."""
    return cast("_Driver", connection.connection.driver_connection)


@cache
def _with_placeholders(statement: str, dialect: str) -> str:
    return statement if dialect == "sqlite" else statement.replace("%", "%%").replace("?", "%s")


class Batch:
    """A statement over any number of input rows: `{input}` is a table of them, named `input`.

    `columns` maps the names of the input columns to their PostgreSQL types. Values for further `?` come after the
    rows. Rows are read in the order in which they are passed. Write `WHERE true` before an `ON CONFLICT`, which
    SQLite's parser needs, and `CROSS JOIN`, which makes SQLite keep the order of the loops. `{standby}` is whether the
    server is a standby. `for_postgresql` is another text for PostgreSQL, where it needs one.
    """

    def __init__(self, statement: str, for_postgresql: str = "", /, **columns: str) -> None:
        self._for_json = statement.replace("{standby}", "0").replace("{input}", _from_json(columns))
        postgres_text = (for_postgresql or statement).replace("{standby}", "pg_is_in_recovery()")
        self._for_arrays = _with_placeholders(postgres_text.replace("{input}", _from_arrays(columns)), "postgresql")
        self._width = len(columns)

    def run(self, connection: Connection, rows: InputRows, *values: object) -> Rows:
        """Run it; without rows the input table is empty."""
        return connection.exec_driver_sql(*self.bind(connection, rows, values))

    def fetch(self, connection: Connection, rows: InputRows) -> list[Row]:
        """Run it by the driver itself and return the rows of the result."""
        return driver_of(connection).execute(*self.bind(connection, rows, ())).fetchall()

    def execute(self, connection: Connection, rows: InputRows) -> None:
        """Run it by the driver itself."""
        driver_of(connection).execute(*self.bind(connection, rows, ()))

    def bind(self, connection: Connection, rows: InputRows, values: tuple[object, ...]) -> tuple[str, Row]:
        """Return the text and the parameters for this connection's driver."""
        if connection.dialect.name == "sqlite":
            return self._for_json, (_to_json(rows), *values)
        return self._for_arrays, (*_to_arrays(rows, self._width), *values)


class Query:
    """A SELECT over input rows: the expressions `selected`, from `source`, in which `{input}` is as in `Batch`."""

    def __init__(self, selected: Sequence[str], source: str, /, **columns: str) -> None:
        cells = ", ".join(selected)
        in_json = f"(SELECT json_group_array(json_array({cells})) FROM {source})"  # noqa: S608  # our own names
        in_arrays = f"(SELECT json_agg(json_build_array({cells})) FROM {source})"  # noqa: S608
        self.for_json = in_json.replace("{input}", _from_json(columns))
        self.for_arrays = in_arrays.replace("{input}", _from_arrays(columns))
        self.width = len(columns)


def fetch_many(connection: Connection, *queries: tuple[Query, InputRows]) -> list[list[Row]]:
    """Return the result of each query over its input rows; a query without input rows is not run.

    All run in one statement, by the driver itself: each further one would send the server a message, or release the
    GIL to the host app, which may keep it for long.
    """
    to_run = [(query, rows) for query, rows in queries if rows]
    if not to_run:
        return [[] for _ in queries]
    is_sqlite = connection.dialect.name == "sqlite"
    values: list[object] = []
    for query, rows in to_run:
        values.extend([_to_json(rows)] if is_sqlite else _to_arrays(rows, query.width))
    statement = _joined(tuple(query for query, _ in to_run), is_sqlite=is_sqlite)
    [row] = driver_of(connection).execute(statement, values).fetchall()
    results = iter([json.loads(cell) if is_sqlite else cell or [] for cell in row])
    return [next(results) if rows else [] for _, rows in queries]


def execute_many(connection: Connection, *batches: tuple[Batch, InputRows]) -> None:
    """Run inserts over their rows, on PostgreSQL in one message. None may read what another one writes."""
    bound = [batch.bind(connection, rows, ()) for batch, rows in batches if rows]
    if connection.dialect.name == "sqlite":  # has no data-modifying CTE, and a message costs nothing there
        for statement, values in bound:
            driver_of(connection).execute(statement, values)
    elif bound:
        statement = _as_one_statement(tuple(statement for statement, _ in bound))
        driver_of(connection).execute(statement, [value for _, values in bound for value in values])


@cache
def _as_one_statement(statements: tuple[str, ...]) -> str:
    *others, last = statements
    expressions = ", ".join(f"insert_{number} AS ({statement})" for number, statement in enumerate(others))
    return f"WITH {expressions} {last}" if others else last


@cache
def _joined(queries: tuple[Query, ...], *, is_sqlite: bool) -> str:
    if is_sqlite:
        return f"SELECT {', '.join(query.for_json for query in queries)}"
    return _with_placeholders(f"SELECT {', '.join(query.for_arrays for query in queries)}", "postgresql")


def _from_json(columns: Mapping[str, str]) -> str:
    cells = (f"json_extract(value, '$[{index}]') AS {name}" for index, name in enumerate(columns))
    return f"(SELECT {', '.join(cells)} FROM json_each(?)) AS input"  # noqa: S608  # our own names


def _from_arrays(columns: Mapping[str, str]) -> str:
    return f"unnest({', '.join(f'?::{kind}[]' for kind in columns.values())}) AS input({', '.join(columns)})"


def _to_arrays(rows: InputRows, width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


_to_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
