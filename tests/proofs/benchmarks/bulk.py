"""Many keys and many outcomes, inserted in bulk: what years would bring, in a minute or two.

Keys have real digests and numbers in place of randomness, so that any process knows the n-th key pair. Outcomes are
distributed as real ones: attempts in bursts on one key and minute and in the order of time, counters by key, minute
and source, over ninety days.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from support.world import World, basic

from octy_middleware.db.models import Attempt
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.secret import row_binding

_CHUNK = 500_000  # rows a transaction
_FIRST_ID = UUID("01890000-0000-7000-8000-000000000000").int
[_INDEX] = Attempt.__table__.indexes  # type: ignore[attr-defined]
_BURST = 20  # attempts on a key within a minute
_MINUTES = 90 * 24 * 60
_MOST_A_KEY = 1000  # rows


def public_key(number: int) -> str:
    return f"pk_{number:028d}"


def secret(number: int) -> str:
    return f"sk_{number:049d}"


def authorization(number: int, *, wrong: bool = False) -> str:
    """Return the n-th key pair's header, or one with a wrong secret."""
    return basic(public_key(number), "sk_wrong" if wrong else secret(number))


def insert_keys(world: World, number: int) -> None:
    """Insert so many accounts, each with an active key pair."""
    now = int(time.time() * 1e6)
    accounts = ((_id(n), f"customer-{n}", f"c{n}@bulk.example", f"c{n}@bulk.example", now) for n in range(number))
    pairs = (
        (
            _id(n),
            _id(n),
            public_key(n),
            world.hasher.digest(Secret(secret(n)), row_binding(_id(n), public_key(n))),
            "active",
            "first",
            now,
            now,
        )
        for n in range(number)
    )
    empty = dict.fromkeys(("contact_name", "contact_surname", "webhook_url", "authenticated_id_key"), "")
    account_columns = ("id", "reference", "contact_email_address", "security_email", "created_at")
    pair_columns = ("id", "account_id", "public_key", "secret_digest", "state", "cause", "created_at", "activated_at")
    with _loading(world) as load:
        load.rows("account", account_columns, accounts, {**empty, "contact_history": "[]"})
        load.rows("key_pair", pair_columns, pairs, {})
        load.finish()


def insert_outcomes(world: World, number: int) -> None:
    """Insert so many rows, half of them attempts and half of them counters, and their keys."""
    keys = keys_of(number)
    insert_keys(world, keys)
    half, last = number // 2, int(time.time()) // 60 - 60
    values = {"half": half, "keys": keys, "each": half // keys, "last": last}
    with world.database.write() as connection:
        _INDEX.drop(connection)  # rows come in the order of time, so that each would go to another page of it
    with _loading(world) as load:
        for start in range(0, half, _CHUNK):
            for statement in (_ATTEMPTS, _COUNTS):
                load.generated(statement, start=start, end=min(start + _CHUNK, half), **values)
    with world.database.write() as connection:
        _INDEX.create(connection)
    with _loading(world) as load:
        load.finish()


def keys_of(outcomes: int) -> int:
    """Return how many keys so many rows have; never fewer than a measurement attacks."""
    return max(50, outcomes // _MOST_A_KEY)


def _id(number: int) -> str:
    return str(UUID(int=_FIRST_ID + number))


# The same text on both databases: ten zeros and the eighteen last digits of a number with nineteen.
_KEY = "'pk_0000000000' || substr(CAST(1000000000000000000 + {0} AS TEXT), 2)"
_SOURCE = "'203.' || (i * 7 % 32) || '.' || (i * 31 % 256) || '.' || (i * 17 % 256)"
_ATTEMPTS = f"""
INSERT INTO attempt (at, public_key, key_hash, minute, outcome, source, user_agent, method, path, request_id)
SELECT ({{minute}}) * 60000000 + i % 60 * 1000000, {_KEY.format(f"(i / {_BURST} * 7919) % {{keys}}")}, '', {{minute}},
  'wrong_secret', {_SOURCE}, 'client/1.0', 'GET', '/v1/account/authenticate',
  '01890000-0000-7000-8' || substr(CAST(1000000000000000000 + i AS TEXT), 4)
FROM ({{numbers}}) AS n
""".replace("{minute}", f"{{last}} - {_MINUTES} + i / {_BURST} * {_BURST} * {_MINUTES} / {{half}}")
_COUNTS = f"""
INSERT INTO outcome_minute (public_key, minute, source, outcome, count)
SELECT {_KEY.format("i / {each}")},
  {{last}} - 1 - (i % {{each}} * {_MINUTES} / {{each}} + i / {{each}} * 37) % {_MINUTES},
  {_SOURCE}, CASE WHEN i % 4 = 0 THEN 'wrong_secret' ELSE 'accepted' END, 1 + i % 30
FROM ({{numbers}}) AS n
"""
_NUMBERS = {
    "sqlite": (
        "WITH RECURSIVE s(i) AS (SELECT {start} UNION ALL SELECT i + 1 FROM s WHERE i + 1 < {end}) SELECT i FROM s"
    ),
    "postgresql": "SELECT generate_series({start}::bigint, {end}::bigint - 1) AS i",
}


class _SqliteLoad:
    """A connection that may lose everything in a power cut: only until the rows are there."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        raw.execute("PRAGMA synchronous=OFF").close()
        raw.execute("PRAGMA cache_size=-1000000").close()

    def rows(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]], more: dict[str, object]
    ) -> None:
        names = (*columns, *more)
        marks = ", ".join("?" * len(names))
        self._raw.execute("BEGIN").close()
        filled = ((*row, *more.values()) for row in rows)
        self._raw.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", filled).close()
        self._raw.execute("COMMIT").close()

    def generated(self, statement: str, **values: int) -> None:
        numbers = _NUMBERS["sqlite"].format(**values)
        self._raw.execute(statement.format(numbers=numbers, **values)).close()

    def finish(self) -> None:
        """Fold the log into the file, as it would be after a while."""
        self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


class _PostgresLoad:
    """COPY and INSERT ... SELECT, each its own transaction."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        raw.rollback()
        raw.autocommit = True

    def rows(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]], more: dict[str, object]
    ) -> None:
        names = ", ".join((*columns, *more))
        with self._raw.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row((*row, *more.values()))

    def generated(self, statement: str, **values: int) -> None:
        numbers = _NUMBERS["postgresql"].format(**values)
        with self._raw.cursor() as cursor:
            cursor.execute(statement.format(numbers=numbers, **values))

    def finish(self) -> None:
        """Do what the server's own housekeeping would soon do: statistics, visibility, and the log."""
        for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
            self._raw.execute(statement)


@contextmanager
def _loading(world: World) -> Iterator[_SqliteLoad | _PostgresLoad]:
    """Lend the driver's own connection; it is not used for anything else after."""
    pooled = world.database.engine.raw_connection()
    try:
        raw = pooled.driver_connection
        yield _SqliteLoad(raw) if world.url.startswith("sqlite") else _PostgresLoad(raw)
    finally:
        pooled.invalidate()
