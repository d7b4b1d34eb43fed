"""Plain SQL for the hot path: one text for every kind of database, many rows in one statement.

Here: `run`, for a statement with question marks, and `Batch`, for one that takes any number of rows at once. Not here:
the statements themselves. ORM objects cost 20 to 50 times as much, and a statement a row would have the recorder
hand the interpreter's lock to the host app, and the server a message, once a row.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import Connection, CursorResult

Row = Sequence[object]
Rows: TypeAlias = CursorResult[*tuple[Any, ...]]


def run(connection: Connection, statement: str, *values: object) -> Rows:
    """Run one statement, its values marked by `?`."""
    return connection.exec_driver_sql(_marked(statement, connection.dialect.name), values)


@cache
def _marked(statement: str, dialect: str) -> str:
    return statement if dialect == "sqlite" else statement.replace("%", "%%").replace("?", "%s")


class Batch:
    """A statement in which `{given}` is a table of rows, handed over at once, with these columns and types.

    Values for further `?` stand behind `{given}`. Rows are taken in the order in which they are given. It says
    `WHERE true` before an `ON CONFLICT`, as SQLite asks, and `CROSS JOIN`, which SQLite takes for the order of loops.
    """

    def __init__(self, statement: str, **columns: str) -> None:
        self._statement = statement
        self._columns = columns
        self._texts = {"sqlite": _marked(statement.replace("{given}", self._from_json()), "sqlite")}

    def run(self, connection: Connection, rows: Sequence[Row], *values: object) -> Rows:
        """Run it over these rows; no rows are none in the table."""
        if connection.dialect.name == "sqlite":
            return connection.exec_driver_sql(self._texts["sqlite"], (json.dumps(rows), *values))
        text = self._texts.get("others") or self._texts.setdefault("others", self._for_arrays())
        arrays = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in self._columns]
        return connection.exec_driver_sql(text, (*arrays, *values))

    def _from_json(self) -> str:
        cells = (f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(self._columns))
        return f"(SELECT {', '.join(cells)} FROM json_each(?)) AS given"  # noqa: S608  # our own names

    def _for_arrays(self) -> str:
        arrays = ", ".join(f"?::{kind}[]" for kind in self._columns.values())
        return _marked(self._statement.replace("{given}", f"unnest({arrays}) AS given({', '.join(self._columns)})"), "")
