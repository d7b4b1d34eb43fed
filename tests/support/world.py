"""A world without Temporal and mail: a real database, accounts with pairs that are really issued and collected."""

import json
import os
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, event, inspect, text

from octy_middleware import Authenticator, Database, Settings
from octy_middleware.auth.pending import PendingCredentials, PendingSlowHash
from octy_middleware.clock import Clock
from octy_middleware.db import bulk_sql, postgres_batches, postgres_pipeline, sqlite
from octy_middleware.db.bulk_sql import run, sqlite_driver
from octy_middleware.db.postgres_pipeline import run_together as run_on_server
from octy_middleware.domain.installation import register_installation
from octy_middleware.domain.key_checks import PEPPERS, register_keys
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.request import Request
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher
from octy_middleware.recording.commit_waiter import ThreadWaiter
from octy_middleware.recording.outcome_writer import OutcomeWriter
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.domain import regenerations
from octy_worker.settings import WorkerSettings
from octy_worker.staff.registration import register
from support.databases import make_database, remove_database
from support.fake_request import FakeRequest  # noqa: F401 - tests import it with a world
from support.postgres import PostgresServer

LIFE = 86_400.0
INSTALLATION = "0123456789abcdef"  # of every world
QUEUE = f"octy-{INSTALLATION}"  # the main task queue by default


@dataclass(frozen=True)
class Keys:
    """A customer's pair in clear, as the customer has it."""

    reference: str
    account_id: str
    regeneration_id: str
    public_key: str
    secret: str

    def basic(self, secret: str | None = None) -> str:
        return basic(self.public_key, self.secret if secret is None else secret)


def basic(public_key: str, secret: str) -> str:
    return "Basic " + b64encode(f"{public_key}:{secret}".encode()).decode()


@dataclass
class World:
    """One database, a file in the folder or on a PostgreSQL server, with its peppers."""

    folder: Path
    database_kind: str = "sqlite"
    server: PostgresServer | None = None  # of a database that is no file; this process's own by default
    peppers: Keychain = field(default_factory=lambda: Keychain.generate("k1"))
    sealing_keys: Keychain = field(default_factory=lambda: Keychain.generate("k1"))
    installation: str = INSTALLATION

    def __post_init__(self) -> None:
        self.url = make_database(self.folder, self.database_kind, self.server)
        self.database = Database(self.url)
        with self.database.write() as connection:
            register_installation(self.database, connection, time.time(), new_id=lambda: self.installation)
            register_keys(connection, PEPPERS, self.peppers, time.time())
        self.hasher = KeyHasher(self.peppers)
        self.sealer = Sealer(self.sealing_keys, os.urandom)

    def close(self) -> None:
        """Close the connections, and drop what does not go with the folder."""
        self.database.close()
        remove_database(self.url, self.server)

    def settings(self, **options: object) -> Settings:
        return Settings.build(**{"database_url": self.url, "peppers": self.peppers, **options})

    def environment(self, url: str | None = None) -> dict[str, str]:
        """Return what a host app on this database runs with: no OCTY_* variables but these."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCTY_")}
        ours = {"OCTY_DATABASE_URL": url or self.url, "OCTY_PEPPERS": self.peppers.export()}
        return {**inherited, **ours, "OCTY_REQUIRE_HTTPS": "0"}

    def worker_settings(self, **options: object) -> WorkerSettings:
        keys = {"peppers": self.peppers, "sealing_keys": self.sealing_keys, "link_keys": self.peppers}
        return WorkerSettings(**{"database_url": self.url, "staff_auth": "off", **keys, **options})  # type: ignore[arg-type]

    @contextmanager
    def authenticator(self, clock: Clock = time.time, **options: object) -> Iterator[Authenticator]:
        authenticator = Authenticator(self.settings(**options), clock=clock)
        try:
            yield authenticator
        finally:
            authenticator.close()

    def outcome_writer(self, at: float, **options: Any) -> OutcomeWriter:
        """Return one with the settings' defaults but for the options, whose clock stands still."""
        limits = {"threshold": 20, "attempts_per_minute": 60, "sources_per_minute": 256, "max_networks": 1000}
        return OutcomeWriter(self.database, clock=lambda: at, **{**limits, **options})

    def register(self, reference: str = "acme", now: float | None = None, *, address: str | None = None) -> Keys:
        """Open an account and go all the way to a collected pair."""
        now = time.time() if now is None else now
        contact = {"contact_email_address": address or f"security@{reference}.example"}
        made = register(self.database, reference, contact, actor="test", now=now)
        return self.complete(made.regeneration_id, now)

    def complete(self, regeneration_id: str, now: float | None = None) -> Keys:
        """Do what the workflow and the customer do with a regeneration, up to the collection."""
        now = time.time() if now is None else now
        with self.database.write_session() as session:  # one for all: what is loaded stays loaded
            regenerations.issue_key_pair(session, self.hasher, self.sealer, regeneration_id, ttl=LIFE, now=now)
            assert regenerations.verify_new_pair(session, self.hasher, self.sealer, regeneration_id)
            regenerations.activate(session, regeneration_id, now)
            keys = regenerations.collect(session, self.sealer, regeneration_id, 1, now)
            assert keys is not None
            view = regenerations.load_regeneration(session, regeneration_id)
            assert view is not None
            reference, account_id = view.account.reference, view.account.id
        return Keys(reference, account_id, regeneration_id, keys.public_key, keys.secret.reveal())

    def set_state(self, keys: Keys, state: str) -> None:
        """Write a key pair's state as it is, in place of what would lead to it."""
        with self.database.write() as connection:
            run(connection, "UPDATE key_pair SET state = ? WHERE public_key = ?", state, keys.public_key)

    def rows(self, statement: str, **values: object) -> list[tuple]:
        with self.database.read() as connection:
            return [tuple(map(_as_text, row)) for row in connection.execute(text(statement), values)]

    def everything(self, *but: str) -> dict[str, list[tuple]]:
        """Return all rows by table, without these tables and the 16,448 rows of `write_lock`, which never change."""
        with self.database.read() as connection:
            tables = set(inspect(connection).get_table_names()) - {"write_lock", *but}
            read = connection.exec_driver_sql  # a third of the time of statements that SQLAlchemy makes
            return {table: [tuple(map(_as_text, row)) for row in read(f"SELECT * FROM {table}")] for table in tables}

    def recorded(self, public_key: str | None = None) -> dict[str, int]:
        """Return the counted outcomes, of one key or of all."""
        where = "" if public_key is None else "WHERE public_key = :key"
        rows = self.rows(f"SELECT outcome, SUM(count) FROM outcome_minute {where} GROUP BY outcome", key=public_key)
        return {outcome: int(count) for outcome, count in rows}


def _as_text(value: object) -> object:
    """Return JSON as SQLite has it: a driver of PostgreSQL reads it for us."""
    return json.dumps(value) if isinstance(value, dict | list) else value


def look_into(
    authenticator: Authenticator, pending: PendingCredentials | AuthDecision, request: Request
) -> AuthDecision | PendingSlowHash:
    """Look credentials up; return the decision after its commit, or what must be proven first."""
    waiter = ThreadWaiter()
    authenticator.finish(pending, request, waiter)
    waiter.wait(60)
    return authenticator.result_of(waiter, pending)


@contextmanager
def listening(database: Database) -> Iterator[list[str]]:
    """Yield the statements that this process sends to the database, by SQLAlchemy or by the driver itself."""
    heard: list[str] = []

    class Heard:
        """SQLite's connection."""

        def __init__(self, connection: Connection) -> None:
            self._driver = sqlite_driver(connection)

        def execute(self, statement: str, *values: Any) -> object:
            heard.append(statement)
            return self._driver.execute(statement, *values)

    def note(*call: object) -> None:
        heard.append(str(call[2]))

    def run_together(connection: Connection, *statements: postgres_pipeline.Statement) -> object:
        heard.extend(text.decode() for text, _ in statements)
        return run_on_server(connection, *statements)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        with (
            patch.object(bulk_sql, "sqlite_driver", Heard),
            patch.object(sqlite, "sqlite_driver", Heard),
            patch.object(postgres_pipeline, "run_together", run_together),
            patch.object(postgres_batches, "run_together", run_together),
        ):
            yield heard
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
