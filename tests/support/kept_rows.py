"""All rows of a world, to be put into fresh ones: what takes many commands or signatures is then done once for a file.

Not here: what a test keeps beside the database (keys, files), and tests.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, exists, func, insert, or_, select

from octy_middleware.db.models import METADATA
from support.world import World

T = TypeVar("T")
_OF_EACH_WORLD = {"installation", "key_check", "write_lock"}


@dataclass(frozen=True)
class KeptRows:
    """Rows by table; not those that a new world has itself."""

    rows: Mapping[str, list[dict[str, Any]]]

    @classmethod
    def of(cls, world: World) -> "KeptRows":
        with world.database.read() as connection:
            return cls(
                {
                    table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
                    for table in METADATA.sorted_tables
                    if table.name not in _OF_EACH_WORLD
                }
            )

    def put(self, world: World) -> None:
        """Insert them into a world that is new."""
        with world.database.write() as connection:
            for table in METADATA.sorted_tables:
                if rows := self.rows.get(table.name):
                    connection.execute(insert(table), rows)
                    if world.database_kind == "postgresql":
                        _go_on_with_numbers(connection, table)


def once_for_each_kind(make_folder: Callable[[str], Path], fill: Callable[[World], T]) -> Callable[[str], T]:
    """Return what gives, by the kind of a database, what `fill` returned for a world on one; it is called once a kind.

    `make_folder`: pytest's `mktemp`.
    """

    @cache
    def filled(database_kind: str) -> T:
        with closing(World(make_folder("kept"), database_kind)) as world:
            return fill(world)

    return filled


_written: dict[object, KeptRows] = {}


def write_or_copy(world: World, key: object, write: Callable[[], None]) -> None:
    """Have `write` add rows, or copy what it added in this process for an equal key; copies are for new worlds only.

    `key`: all that the rows depend on, so also the keychain of their codes.
    """
    is_new = _is_new(world)
    if is_new and key in _written:
        _written[key].put(world)
        return
    write()
    if is_new:
        _written[key] = KeptRows.of(world)


def _is_new(world: World) -> bool:
    """Return whether a world has only rows that each one has: what a test has added itself is not kept."""
    tables = [table for table in METADATA.sorted_tables if table.name not in _OF_EACH_WORLD]
    with world.database.read() as connection:
        return not connection.scalar(select(or_(*(exists().select_from(table) for table in tables))))


def _go_on_with_numbers(connection: Connection, table: Any) -> None:
    """Have a table's sequence continue after its rows; a file does so by itself."""
    column = table.autoincrement_column
    if column is None:
        return
    sequence = func.pg_get_serial_sequence(table.name, column.name)
    connection.execute(select(func.setval(sequence, select(func.max(column)).scalar_subquery())))
