"""Resets used databases of a PostgreSQL server: deletes all rows and restarts all sequences.

A database that cannot be reset is found by a digest of its catalog (a test changed its tables) or by open connections.
"""

from contextlib import suppress

import psycopg

from support.until import until

_CLOSE_TIMEOUT = 0.5  # seconds for connections that were just closed to be gone
SCHEMA_DIGEST = """
SELECT md5(string_agg(line, ';' ORDER BY line)) FROM (
  SELECT concat_ws(' ', 'relation', oid, relname, relkind, reloptions) AS line FROM pg_class WHERE oid >= 16384
  UNION ALL SELECT concat_ws(' ', 'column', attrelid, attname, atttypid, atttypmod, attnotnull, attisdropped)
    FROM pg_attribute WHERE attrelid >= 16384
  UNION ALL SELECT concat_ws(' ', 'constraint', oid, conname) FROM pg_constraint WHERE oid >= 16384
  UNION ALL SELECT concat_ws(' ', 'default', oid) FROM pg_attrdef
  UNION ALL SELECT concat_ws(' ', 'trigger', oid, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT concat_ws(' ', 'function', oid) FROM pg_proc WHERE oid >= 16384
  UNION ALL SELECT concat_ws(' ', 'setting', setconfig) FROM pg_db_role_setting
    JOIN pg_database ON pg_database.oid = setdatabase AND datname = current_database()
  UNION ALL SELECT concat_ws(' ', 'release', version_num) FROM octy_schema_version
)
"""
_OTHERS = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_TABLES = """
SELECT tablename FROM pg_tables
WHERE schemaname = 'public' AND tablename NOT IN ('octy_schema_version', 'write_lock')
"""
_COUNTERS = """
SELECT setval(quote_ident(sequencename)::regclass, 1, false) FROM pg_sequences
WHERE schemaname = 'public' AND last_value IS NOT NULL
"""


def schema_digest(url: str) -> str:
    """Return a digest of a database's catalog."""
    with psycopg.connect(url, autocommit=True) as connection:
        return _schema_digest(connection)


def reset(url: str, *, digest: str) -> bool:
    """Empty the database. Return False, with nothing done, when its digest differs, or it is in use or unavailable."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
            if not _is_alone(connection) or _schema_digest(connection) != digest:
                return False
            _empty(connection)
            return True
    except psycopg.Error:
        return False


def _schema_digest(connection: psycopg.Connection) -> str:
    row = connection.execute(SCHEMA_DIGEST).fetchone()
    assert row is not None
    return str(row[0])


def _is_alone(connection: psycopg.Connection) -> bool:
    with suppress(AssertionError):
        return until(lambda: connection.execute(_OTHERS).fetchone() == (0,), _CLOSE_TIMEOUT, interval=0.005)
    return False


def _empty(connection: psycopg.Connection) -> None:
    """Truncate only what has rows: each truncated table costs a file or two."""
    tables = [name for (name,) in connection.execute(_TABLES)]
    looks = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in tables)
    used = [name for (name,) in connection.execute(looks)]
    if used:
        connection.execute(f"TRUNCATE {', '.join(used)} CASCADE")
    connection.execute(_COUNTERS)
