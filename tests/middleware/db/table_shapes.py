"""What the tables of a database are like, and rows in each of them, whatever the models say."""

from sqlalchemy import Column, MetaData, Table, inspect

from octy_middleware import Database
from octy_middleware.db.models import METADATA


def tables_of(database: Database) -> dict[str, Table]:
    """Return the tables as they are, whatever the models say."""
    found = MetaData()
    with database.read() as connection:
        found.reflect(connection)
    return {name: table for name, table in found.tables.items() if not name.startswith("sqlite_")}


def shape(database: Database) -> dict[str, object]:
    """Return all that the database reports about its tables; columns by name, for migrations add them at the end."""
    with database.read() as connection:
        inspector = inspect(connection)
        columns, indexes = inspector.get_multi_columns(), inspector.get_multi_indexes()
        unique, foreign = inspector.get_multi_unique_constraints(), inspector.get_multi_foreign_keys()
        primary, options = inspector.get_multi_pk_constraint(), inspector.get_multi_table_options()
    return {
        str(table[1]): {
            "columns": sorted(
                (column["name"], str(column["type"]), column["nullable"], column.get("default"))
                for column in columns[table]
            ),
            "indexes": sorted(
                (
                    index["name"],
                    index["column_names"],
                    index["unique"],
                    sorted((name, str(value)) for name, value in index.get("dialect_options", {}).items()),
                )
                for index in indexes[table]
            ),
            "unique": sorted((each["name"], each["column_names"]) for each in unique[table]),
            "foreign": sorted((each["name"], str(each)) for each in foreign[table]),
            "primary": primary[table],
            "options": options[table],
        }
        for table in columns
        if table[1] != "octy_schema_version"
    }


def value_of(column: Column, number: int) -> object:
    """Return something of the column's type and length, another for each row."""
    kind = column.type.python_type
    if kind is int and column.primary_key:
        return number
    if kind is int:
        return 2**31 - 1 if column.type.__class__.__name__ == "INTEGER" else 2**40 + number
    if kind is bool:
        return number % 2 == 0
    if kind is str:
        return f"ä'%?:x-{number}"[: getattr(column.type, "length", None) or 40]
    return {"kind": "Ω", "n": number}


def fill(database: Database) -> dict[str, list[tuple]]:
    """Put three rows into every table as it is, each pointing at rows of others; return them all.

    Not into `write_lock`, whose rows are always there on PostgreSQL, and never on SQLite.
    """
    tables = tables_of(database)
    names = [table.name for table in METADATA.sorted_tables if table.name != "write_lock"]
    ours = [tables[name] for name in names if name in tables]
    with database.write() as connection:
        for table in ours:
            some = [
                {
                    column.name: f"{next(iter(column.foreign_keys)).column.table.name[:8]}-{number}"
                    if column.foreign_keys
                    else f"{table.name[:8]}-{number}"
                    if column.primary_key and column.type.python_type is str
                    else value_of(column, number)
                    for column in table.columns
                }
                for number in range(1, 4)
            ]
            connection.execute(table.insert(), some)
    return rows(database, ours)


def rows(database: Database, tables: list[Table]) -> dict[str, list[tuple]]:
    """Return all rows of these tables, by the columns that they are known to have."""
    with database.read() as connection:
        return {table.name: sorted(map(tuple, connection.execute(table.select())), key=str) for table in tables}
