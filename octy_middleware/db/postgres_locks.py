"""The locks of writers on PostgreSQL, by mode, and the statements that a transaction begins with.

Writers lock the table `write_lock`, always in this order, so that there is no deadlock: the row of exclusive writers,
the table itself (shared by recorders, exclusive for others), the rows of keys in sorted order, the row of the change
feed. All these locks need the right to write that table. Advisory locks need no right: any role that may connect could
take them and stop all recording.
"""

from collections.abc import Iterable
from zlib import crc32

from octy_middleware.db.backend import VERSION_TABLE, WriteMode

EXCLUSIVE_ROW, FEED_ROW = 0, 1  # rows of `write_lock`
_FIRST_KEY_ROW = 64  # the first row for keys
_KEY_ROWS = 16_384  # rows that keys are hashed to: of a hundred pairs of batches with 13 keys each, one pair collides


def lock_row(slot: int) -> str:
    """Return the statement that locks a row. Without the row it returns no row, and nothing is locked."""
    return f"SELECT slot FROM write_lock WHERE slot = {slot} FOR UPDATE"  # noqa: S608  # our own number


# Row locks take ROW SHARE on the table, which is compatible with both modes.
_SHARED = "LOCK TABLE write_lock IN ROW EXCLUSIVE MODE"
_EXCLUSIVE = "LOCK TABLE write_lock IN SHARE ROW EXCLUSIVE MODE"
# A table `write_lock` without our version table is not Octy's.
_HAS_LOCKS = f"SELECT num_nulls(to_regclass('write_lock'), to_regclass('{VERSION_TABLE}')) = 0"
LOCKS = {
    WriteMode.EXCLUSIVE: (lock_row(EXCLUSIVE_ROW), _EXCLUSIVE),
    WriteMode.IMPORT: (),
    WriteMode.RECORDER: (_SHARED,),
    WriteMode.BULK_RECORDER: (_EXCLUSIVE,),
    # The table may not exist yet. Another role that takes this lock blocks migrations and nothing else.
    WriteMode.MIGRATION: ("SELECT pg_advisory_xact_lock(3191, 1)", _HAS_LOCKS),
}
# idle_in_transaction_session_timeout in seconds: a process that is stopped inside a transaction loses its locks. For a
# recorder it is below the time that others wait for it; exclusive writers compute between statements.
IDLE = {
    WriteMode.EXCLUSIVE: 5,
    WriteMode.IMPORT: 5,
    WriteMode.RECORDER: 2,
    WriteMode.BULK_RECORDER: 2,
    WriteMode.MIGRATION: 60,
    None: 60,
}
LOCK_KEYS = "SELECT slot FROM write_lock WHERE slot = ANY(?::int[]) ORDER BY slot FOR UPDATE"
ADD_ROWS = f"INSERT INTO write_lock SELECT generate_series(0, {_FIRST_KEY_ROW + _KEY_ROWS - 1}) ON CONFLICT DO NOTHING"
LOCK_ROWS_MISSING = "rows of the table write_lock are missing, so writers can't lock them → run `octy db upgrade`"
WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"  # each statement sees what was committed before it got its locks
READ = (
    f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE[None]}s'; SELECT pg_is_in_recovery()"
).encode()
KEEP_DURABLE = (  # always returns a row: an empty result means that rows of `write_lock` are missing
    "SELECT set_config('synchronous_commit', "
    "COALESCE(NULLIF(current_setting('synchronous_commit'), 'off'), 'on'), true)"
)


def key_slots(public_keys: Iterable[str]) -> list[int]:
    """Return the rows to lock for these keys, in the order in which every recorder locks them."""
    return sorted({_FIRST_KEY_ROW + crc32(key.encode()) % _KEY_ROWS for key in public_keys})


def lock_timeout(seconds: float) -> int:
    """Return a `lock_timeout` in milliseconds; 0 would mean none."""
    return max(1, int(seconds * 1000))
