"""One comparison of tables with the models for each schema that a test process sees.

A comparison reads every column and index, by 600 statements on SQLite, and `octy doctor` begins with one. What is
compared here is what the database says its schema is: a test that changes a table has another comparison. The models
are taken to be the same: tests of the comparison itself use `compare`.
"""

from sqlalchemy import Connection

from octy_middleware.db.migrations import comparison
from support.database_reset import SCHEMA_DIGEST

compare = comparison.differences  # what is called for a schema that was not seen before
_OF_A_FILE = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


def share_comparisons() -> None:
    """Have `differences` remember its results."""
    known: dict[object, list[str]] = {}

    def differences(connection: Connection, *, extra: bool = True) -> list[str]:
        statement = _OF_A_FILE if connection.dialect.name == "sqlite" else SCHEMA_DIGEST
        key = (*map(tuple, connection.exec_driver_sql(statement)), extra)
        if key not in known:
            known[key] = compare(connection, extra=extra)
        return list(known[key])

    comparison.differences = differences
