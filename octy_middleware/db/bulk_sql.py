"""Raw SQL with one text for both databases, and many rows in one statement.

ORM objects cost 20 to 50 times as much. One statement per row would release the GIL to the host app, and send the
server a message, once per row. `fetch_many` and the writes of a `BatchTransaction` call the driver directly:
SQLAlchemy's own part takes twice as long as SQLite needs for these statements. Errors are then the driver's; `Database`
translates them.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sqlalchemy import Connection, CursorResult

if TYPE_CHECKING:
    import sqlite3

Row = tuple[Any, ...]
Rows: TypeAlias = CursorResult[*tuple[Any, ...]]
InputRows = Sequence[Sequence[object]]


def run(connection: Connection, statement: str, *values: object) -> Rows:
    """Run one statement; each `?` is replaced by a value."""
    return connection.exec_driver_sql(_with_placeholders(statement, connection.dialect.name), values)


@cache
def _with_placeholders(statement: str, dialect: str) -> str:
    return statement if dialect == "sqlite" else statement.replace("%", "%%").replace("?", "%s")


class Batch:
    """A statement over any number of input rows: `{input}` is a table of them, named `input`.

    `columns` maps the names of the input columns to their PostgreSQL types. Values for further `?` come after the
    rows. Rows are read in the order in which they are passed. Write `WHERE true` before an `ON CONFLICT`, which
    SQLite's parser needs, and `CROSS JOIN`, which makes SQLite keep the order of the loops. `for_postgresql` is another
    text for PostgreSQL, where it needs one.
    """

    def __init__(self, statement: str, for_postgresql: str = "", /, **columns: str) -> None:
        arrays = (for_postgresql or statement).replace("{input}", _from_arrays(columns))
        self.for_json = statement.replace("{input}", _from_json(columns))
        self.for_server = numbered(arrays)
        self._for_driver = _with_placeholders(arrays, "postgresql")
        self.kinds = tuple(columns.values())

    def run(self, connection: Connection, rows: InputRows, *values: object) -> Rows:
        """Run it by SQLAlchemy; without rows the input table is empty."""
        if connection.dialect.name == "sqlite":
            return connection.exec_driver_sql(self.for_json, (to_json(rows), *values))
        columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in self.kinds]
        return connection.exec_driver_sql(self._for_driver, (*columns, *values))


class Query:
    """A SELECT over input rows: the expressions `selected`, from `source`, in which `{input}` is as in `Batch`.

    `{standby}` is whether the server is a standby.
    """

    def __init__(self, selected: Sequence[str], source: str, /, **columns: str) -> None:
        cells = ", ".join(selected)
        in_json = f"(SELECT json_group_array(json_array({cells})) FROM {source})"  # noqa: S608  # our own names
        in_arrays = f"(SELECT json_agg(json_build_array({cells})) FROM {source})"  # noqa: S608
        self.for_json = in_json.replace("{standby}", "0").replace("{input}", _from_json(columns))
        self.kinds = tuple(columns.values())
        self.for_arrays = in_arrays.replace("{standby}", "pg_is_in_recovery()").replace(
            "{input}", _from_arrays(columns)
        )


Queries: TypeAlias = Sequence[tuple[Query, InputRows]]


def fetch_many(connection: Connection, *queries: tuple[Query, InputRows]) -> list[list[Row]]:
    """Return the result of each query over its input rows; a query without input rows is not run.

    All run in one statement, by the driver itself: each further one would send the server a message, or release the
    GIL to the host app, which may keep it for long.
    """
    if not any(rows for _, rows in queries):
        return [[] for _ in queries]
    if connection.dialect.name == "sqlite":
        [row] = sqlite_driver(connection).execute(*bind_for_sqlite(queries)).fetchall()
        return results_of(queries, row)
    from octy_middleware.db import postgres_pipeline  # noqa: PLC0415  # psycopg may not be installed

    [result] = postgres_pipeline.run_together(connection, bind_for_server(queries))
    return results_of(queries, postgres_pipeline.row_of(result))


def sqlite_driver(connection: Connection) -> "sqlite3.Connection":
    """Return SQLite's own connection."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def bind_for_sqlite(queries: Queries) -> tuple[str, list[str]]:
    """Return one SELECT of all queries that have input rows, and its parameters."""
    to_run = [(query, rows) for query, rows in queries if rows]
    return _joined(tuple(query for query, _ in to_run)), [to_json(rows) for _, rows in to_run]


def bind_for_server(queries: Queries) -> tuple[bytes, list[bytes]]:
    """Return one SELECT of all queries that have input rows, and its parameters in PostgreSQL's text form."""
    to_run = [(query, rows) for query, rows in queries if rows]
    return _joined_for_server(tuple(query for query, _ in to_run)), [
        column for query, rows in to_run for column in to_arrays(rows, query.kinds)
    ]


def results_of(queries: Queries, row: Sequence[str | bytes | None]) -> list[list[Row]]:
    """Return the result of each query from the row that their common SELECT returned."""
    cells = iter(row)
    return [_from_cell(next(cells)) if rows else [] for _, rows in queries]


def _from_cell(cell: str | bytes | None) -> list[Row]:
    return json.loads(cell) if cell else []  # NULL: no row was found


@cache
def _joined(queries: tuple[Query, ...]) -> str:
    return f"SELECT {', '.join(query.for_json for query in queries)}"


@cache
def _joined_for_server(queries: tuple[Query, ...]) -> bytes:
    return numbered(f"SELECT {', '.join(query.for_arrays for query in queries)}")


def numbered(statement: str) -> bytes:
    """Return a statement with PostgreSQL's own placeholders, `$1` for the first `?`."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", statement).encode()


def _from_json(columns: Mapping[str, str]) -> str:
    cells = (f"json_extract(value, '$[{index}]') AS {name}" for index, name in enumerate(columns))
    return f"(SELECT {', '.join(cells)} FROM json_each(?)) AS input"  # noqa: S608  # our own names


def _from_arrays(columns: Mapping[str, str]) -> str:
    return f"unnest({', '.join(f'?::{kind}[]' for kind in columns.values())}) AS input({', '.join(columns)})"


def _make_encoder() -> Callable[[object], str]:
    """Return a function that encodes as JSON. `JSONEncoder` makes C's encoder again at each call, which costs more."""
    plain = json.JSONEncoder(separators=(",", ":"), check_circular=False)
    try:
        c = json.encoder.c_make_encoder  # type: ignore[attr-defined]  # not documented
        encode = c(None, plain.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    except (AttributeError, TypeError):  # another implementation of Python, or a later release
        return plain.encode
    return lambda value: "".join(encode(value, 0))


to_json = _make_encoder()


def to_arrays(rows: InputRows, kinds: Sequence[str]) -> list[bytes]:
    """Return the columns of rows, of these types, each as an array in PostgreSQL's text form.

    psycopg's own arrays take twenty times as long.
    """
    columns = zip(*rows, strict=True)
    return [_to_array(column, kind) for column, kind in zip(columns, kinds, strict=True)]


def _to_array(column: Sequence[Any], kind: str) -> bytes:
    if None in column:
        return b"{%b}" % ",".join("NULL" if each is None else _quoted(str(each)) for each in column).encode()
    if kind != "text":
        return b"{%b}" % ",".join(map(str, column)).encode()
    joined = '","'.join(column)
    if "\\" in joined or "\0" in joined or joined.count('"') > 2 * len(column) - 2:
        joined = '","'.join(map(_escaped, column))
    return b'{"%b"}' % joined.encode()


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text contains a NUL character, which PostgreSQL can't store")
    return text.replace("\\", r"\\").replace('"', r"\"")
