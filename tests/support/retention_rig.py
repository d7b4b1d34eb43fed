"""Rows of every table that retention touches, at ages in days; queries for what is left; and a database that dies.

Here: what the tests of retention share. Not here: tests.
"""

from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import insert

from octy_middleware import Database, DatabaseUnavailableError
from octy_middleware.clock import utc
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.models import Attempt, KeyChange, Outbox, OutcomeMinute, Webhook
from octy_worker.maintenance.retention import RetentionRun
from octy_worker.settings import RetentionSettings
from support.cli_rig import fail
from support.world import Keys, World

DAY = 86_400.0
NOW = 1_900_000_800.0  # 2030-03-17, 18:00 UTC
TODAY = int(NOW // DAY) * 1440  # today's first minute
SETTINGS = RetentionSettings()


class KilledError(BaseException):
    """As kill -9: nothing after it happens in the database."""


class MortalDatabase(Database):
    """A database whose process is killed at its n-th write, before it begins or right after its commit, or by `kill`.

    `dies_at` 0: only by `kill`. After that every write raises KilledError.
    """

    def __init__(self, url: str, *, dies_at: int = 0, committed: bool = False) -> None:
        super().__init__(url)
        self._left = dies_at
        self._committed = committed
        self.dead = False

    def kill(self) -> None:
        """Kill the process now: raises KilledError."""
        self.dead = True
        raise KilledError

    @contextmanager
    def write(self, *, timeout: float | None = None, mode: WriteMode = WriteMode.EXCLUSIVE):
        if self.dead:
            raise KilledError
        self._left -= 1
        self.dead = self._left == 0
        if self.dead and not self._committed:
            raise KilledError
        with super().write(timeout=timeout, mode=mode) as connection:
            yield connection
        if self.dead:
            raise KilledError


class AwayDatabase(Database):
    """A database that is not available for writes: so many times, or from the commit on that makes an import valid."""

    def __init__(self, url: str, failures: int = 0, *, silent: bool = False) -> None:
        super().__init__(url)
        self._failures, self._silent = failures, silent

    @contextmanager
    def write(self, *, timeout: float | None = None, mode: WriteMode = WriteMode.EXCLUSIVE):
        if self._failures > 0:
            self._failures -= 1
            raise DatabaseUnavailableError("away")
        with super().write(timeout=timeout, mode=mode) as connection:
            yield connection
        if self._silent and mode is WriteMode.IMPORT:
            self._failures = 1
            raise DatabaseUnavailableError("the commit has no response")


def prune(world: World, now: float = NOW, **options) -> RetentionRun:
    """Do a whole run without pauses."""
    options = {"step_pause": 0.0, **options}
    done = RetentionRun(
        options.pop("database", world.database), options.pop("settings", SETTINGS), lambda: now, **options
    )
    assert done.run() == "done"
    return done


def add_attempts(world: World, *times: float) -> None:
    rows = [
        {"at": utc(at), "public_key": f"pk_{number % 3}", "minute": int(at) // 60, "outcome": "wrong_secret"}
        for number, at in enumerate(times)
    ]
    words = dict.fromkeys(("source", "user_agent", "method", "path", "request_id", "key_hash"), "x")
    _insert(world, Attempt, [row | words for row in rows])


def add_counts(world: World, *counts: tuple[str, int, str, str, int]) -> None:
    names = ("public_key", "minute", "source", "outcome", "count")
    _insert(world, OutcomeMinute, [dict(zip(names, row, strict=True)) for row in counts])


def add_messages(world: World, *delivered: float | None) -> None:
    rows = [
        {"kind": "incident_opened", "subject_id": "x", "detail": {}, "created_at": utc(0.0)}
        | {"delivered_at": None if at is None else utc(at), "delivery_attempts": 1, "last_error": "", "leased_by": ""}
        for at in delivered
    ]
    _insert(world, Outbox, rows)


def add_changes(world: World, *times: float) -> None:
    _insert(world, KeyChange, [{"public_key": "pk_1", "at": utc(at)} for at in times])


def add_webhooks(world: World, account_id: str, *rows: tuple[str, float]) -> None:
    """Put webhooks down, each by its state and the time of its cause."""
    words = {
        "account_id": account_id,
        "event": "keys.ready",
        "data": {},
        "orders": 1,
        "delivery_attempts": 1,
        "last_error": "",
    }
    made = [
        {"id": f"w{number}", "key": f"k{number}", "state": state, "created_at": utc(at), **words}
        for number, (state, at) in enumerate(rows)
    ]
    _insert(world, Webhook, made)


def _insert(world: World, table, rows) -> None:
    if rows:
        with world.database.write() as connection:
            connection.execute(insert(table), rows)


def fail_often(world: World, keys: Keys, count: int, **what) -> None:
    for _ in range(count):
        fail(world, keys, 1, **what)


def counts(world: World) -> list[tuple]:
    return world.rows("SELECT public_key, minute, source, outcome, count FROM outcome_minute ORDER BY 1, 2, 3, 4")


def ages(world: World, table: str, column: str = "at", now: float = NOW) -> list[float]:
    """Return the ages in days of the rows that are left, oldest first."""
    rows = world.rows(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1")
    return [round((now - at / 1_000_000) / DAY, 6) for (at,) in rows]


def everything(world: World) -> dict[str, list[tuple]]:
    """Return all rows of the tables that retention touches, and its job row without the holder."""
    queries = {
        "attempt": "SELECT id FROM attempt ORDER BY 1",
        "outbox": "SELECT id FROM outbox ORDER BY 1",
        "key_change": "SELECT seq FROM key_change ORDER BY 1",
        "job": "SELECT cursor, started_at, done, holder, last_error FROM job",
    }
    return {"counts": counts(world), **{name: world.rows(query) for name, query in queries.items()}}


def fresh(folder: Path, database_kind: str) -> World:
    folder.mkdir()
    return World(folder, database_kind)


def busy_world(world: World) -> None:
    """Fill a world with something due, and something not, in every table."""
    add_attempts(world, *(NOW - (80 + number) * DAY for number in range(30)))
    add_messages(world, *(NOW - (20 + number) * DAY for number in range(20)), None)
    add_changes(world, *(NOW - (50 - number) * DAY for number in range(25)))
    add_counts(
        world,
        *(
            (f"pk_{number % 230:03}", TODAY - number % 45 * 14_400 + number % 7, "10.0.0.1", "wrong_secret", number + 1)
            for number in range(450)
        ),
    )
