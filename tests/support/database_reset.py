"""Resets used databases of a PostgreSQL server: deletes all rows and restarts all sequences.

A database that cannot be reset is found by a digest of its catalog (a test changed its tables) or by open connections.
"""

import time

import psycopg

_PATIENCE = 0.5  # seconds for connections that were just closed to be gone
_POLL = 0.005
_LOOK = """
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


def look(url: str) -> str:
    """Return what a database's tables look like, in short."""
    with psycopg.connect(url, autocommit=True) as connection:
        return _look(connection)


def wash(url: str, *, like: str) -> bool:
    """Empty the database; False, and nothing done, when it does not look like this, or is in use, or is away."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
            if not _alone(connection) or _look(connection) != like:
                return False
            _empty(connection)
            return True
    except psycopg.Error:
        return False


def _look(connection: psycopg.Connection) -> str:
    row = connection.execute(_LOOK).fetchone()
    assert row is not None
    return str(row[0])


def _alone(connection: psycopg.Connection) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while connection.execute(_OTHERS).fetchone() != (0,):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def _empty(connection: psycopg.Connection) -> None:
    """Truncate only what has rows: each truncated table costs a file or two."""
    tables = [name for (name,) in connection.execute(_TABLES)]
    looks = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in tables)
    used = [name for (name,) in connection.execute(looks)]
    if used:
        connection.execute(f"TRUNCATE {', '.join(used)} CASCADE")
    connection.execute(_COUNTERS)
