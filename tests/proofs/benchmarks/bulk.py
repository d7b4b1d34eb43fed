"""Many keys and many outcomes, inserted in bulk: what years would bring, in a minute or two.

Keys have real digests and numbers in place of randomness, so that any process knows the n-th key pair. Outcomes are
distributed as real ones: attempts in bursts on one key and minute and in the order of time, counters by key, minute
and source, over ninety days.
"""

import time
from typing import Any
from uuid import UUID

from support.world import World, basic

from octy_middleware.db.bulk_sql import Batch, run
from octy_middleware.db.models import Attempt
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.secret import row_binding

_CHUNK = 100_000  # rows a transaction
_FIRST_ID = UUID("01890000-0000-7000-8000-000000000000").int
[_INDEX] = Attempt.__table__.indexes  # type: ignore[attr-defined]
_BURST = 20  # attempts on a key within a minute
_MINUTES = 90 * 24 * 60
_MOST_A_KEY = 1000  # rows
_INPUT = {"id": "text", "number": "int", "public_key": "text", "digest": "text", "now": "bigint"}
_ACCOUNTS = Batch(
    "INSERT INTO account (id, reference, contact_email_address, security_email, contact_name, contact_surname, "
    "webhook_url, authenticated_id_key, contact_history, created_at) SELECT id, 'customer-' || number, "
    "'c' || number || '@bulk.example', 'c' || number || '@bulk.example', '', '', '', '', '[]', now FROM {input}",
    **_INPUT,
)
_KEY_PAIRS = Batch(
    "INSERT INTO key_pair (id, account_id, public_key, secret_digest, state, cause, created_at, activated_at) "
    "SELECT id, id, public_key, digest, 'active', 'first', now, now FROM {input}",
    **_INPUT,
)


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

    def row(n: int) -> tuple[object, ...]:
        identifier = str(UUID(int=_FIRST_ID + n))
        digest = world.hasher.digest(Secret(secret(n)), row_binding(identifier, public_key(n)))
        return identifier, n, public_key(n), digest, now

    for start in range(0, number, _CHUNK):
        rows = [row(n) for n in range(start, min(start + _CHUNK, number))]
        with world.database.write() as connection:
            _ACCOUNTS.run(connection, rows)
            _KEY_PAIRS.run(connection, rows)
    _clean_up(world)


def insert_outcomes(world: World, number: int) -> None:
    """Insert so many rows, half of them attempts and half of them counters, and their keys."""
    keys = keys_of(number)
    insert_keys(world, keys)
    half, last = number // 2, int(time.time()) // 60 - 60
    values = {"half": half, "keys": keys, "each": half // keys, "last": last}
    with world.database.write() as connection:
        _INDEX.drop(connection)  # rows come in the order of time, so that each would go to another page of it
    for start in range(0, half, _CHUNK):
        with world.database.write() as connection:
            numbers = _NUMBERS[connection.dialect.name].format(start=start, end=min(start + _CHUNK, half))
            for statement in (_ATTEMPTS, _COUNTS):
                run(connection, statement.format(numbers=numbers, **values))
    with world.database.write() as connection:
        _INDEX.create(connection)
    _clean_up(world)


def _clean_up(world: World) -> None:
    """Do what the database would do after a while: empty its log, and on a server refresh statistics and visibility."""
    pooled = world.database.engine.raw_connection()
    try:
        driver: Any = pooled.driver_connection
        if world.database_kind == "sqlite":
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        else:
            driver.rollback()
            driver.autocommit = True
            for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
                driver.execute(statement)
    finally:
        pooled.invalidate()


def keys_of(outcomes: int) -> int:
    """Return how many keys so many rows have; never fewer than a measurement attacks."""
    return max(50, outcomes // _MOST_A_KEY)


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
