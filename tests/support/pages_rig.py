"""A database with one customer, and the pages on it.

Here: the rows that the tests of the pages share. Not here: tests, and requests (`pages_browser`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import event
from starlette.applications import Starlette

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.database import Database
from octy_middleware.db.models import (
    Account,
    Incident,
    IncidentAnswer,
    IncidentCount,
    KeyPair,
    Notice,
    Regeneration,
    SealedSecret,
    Table,
)
from octy_middleware.domain.accounts import StaffChange, change_contact
from octy_middleware.domain.notices import create_notice
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import make_key_pair
from octy_middleware.recording.incident_counts import ALL_TIME
from octy_middleware.recording.streak import Rule
from octy_middleware.states import IncidentState, KeyPairCause, KeyPairState, NoticeKind, RegenerationState
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.pages import build_pages
from octy_worker.settings import WorkerSettings
from support.databases import make_database, remove_database
from support.pages_browser import BASE, Browser, path_of

START = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC


@dataclass
class World:
    """One database with one customer; `now` is the pages' clock, 01:00:00 on the first day."""

    folder: Path
    database_kind: str = "sqlite"
    now: float = START + 3600
    settings: WorkerSettings = field(init=False)
    made: int = 0

    def __post_init__(self) -> None:
        self.url = make_database(self.folder, self.database_kind)
        self.settings = self.configure()
        self.database = Database(self.url, busy_timeout=20.0)
        self.links = Links(self.settings.link_keys, BASE)
        self.sealer = Sealer(self.settings.sealing_keys, lambda count: bytes(range(count)))
        self.account_id = self.fresh_id()
        self.insert(
            Account(
                id=self.account_id,
                reference="customer-1",
                contact_name="Ada",
                contact_email_address="owner@example.com",
                security_email="owner@example.com",
                created_at=utc(START),
            )
        )

    def configure(self, **values: object) -> WorkerSettings:
        keys = Keychain({"k1": b"\x11" * 32, "k2": b"\x22" * 32})
        own: dict[str, object] = dict.fromkeys(("peppers", "sealing_keys", "link_keys"), keys)
        own |= {"database_url": self.url, "public_url": BASE, "support_contact": "support@octy.example"}
        return WorkerSettings.build(**{**own, **values})

    def close(self) -> None:
        self.database.close()
        remove_database(self.url)

    def fresh_id(self) -> str:
        self.made += 1
        return uuid7(START + self.made, lambda count: self.made.to_bytes(count, "big"))

    def insert(self, *rows: Table) -> None:
        with self.database.write_session() as session:
            for row in rows:
                session.add(row)
                session.flush()  # one by one: foreign keys want their order kept

    def pages(self, **values: object) -> Starlette:
        return build_pages(self.configure(**values), self.database, self.links, self.sealer, lambda: self.now)

    def browser(self, **values: object) -> Browser:
        return Browser(self.pages(**values))

    def alert_path(self, incident_id: str) -> str:
        return path_of(self.links.alert_url(incident_id))

    def pair(self, state: KeyPairState = KeyPairState.ACTIVE, **values: object) -> KeyPair:
        row = KeyPair(
            id=self.fresh_id(),
            account_id=self.account_id,
            public_key=make_key_pair().public_key,
            secret_digest="$octy-b2$k1$" + "0" * 64,
            state=state,
            cause=KeyPairCause.FIRST,
            created_at=utc(START),
            **values,
        )
        self.insert(row)
        return row

    def incident(self, *, sources=(("192.0.2.7", 20, "curl/8.5"),), **values: object) -> str:
        """Create an open, unanswered incident and return its id. A source is (address, count, user_agent)."""
        pair = self.pair()
        given = {
            "id": self.fresh_id(),
            "rule": Rule.KEY,
            "length": 20,
            "first_at": utc(START),
            "opened_at": utc(START + 60),
            "failures": 20,
            "notify_at": 40,
            "state": IncidentState.WAITING,
            **values,
        }
        incident = Incident(
            key_pair_id=pair.id, account_id=self.account_id, public_key=pair.public_key, request_id="req-20", **given
        )
        self.insert(incident, IncidentAnswer(incident_id=incident.id))
        for number, (source, count, user_agent) in enumerate(sources):
            self._failures(incident, source, count, user_agent, START + number)
        return incident.id

    def _failures(self, incident: Incident, source: str, count: int, user_agent: str, at: float) -> None:
        last = {"count": count, "last_at": utc(at), "user_agent": user_agent}
        self.insert(IncidentCount(subject=incident.id, bucket=ALL_TIME, source=source, **last))

    def regeneration(self, secret: Secret, *, old: KeyPair | None = None, generation: int = 1) -> str:
        """Create a regeneration whose secret is uncollected for 24 h, and return its id."""
        row = Regeneration(
            id=self.fresh_id(),
            account_id=self.account_id,
            cause=KeyPairCause.INCIDENT,
            actor="system",
            old_pair_id=old.id if old else None,
            new_pair_id=self.pair().id,
            state=RegenerationState.SENT,
            opened_at=utc(START),
        )
        self.insert(row)
        self.insert(
            SealedSecret(
                regeneration_id=row.id,
                sealed=self.sealer.seal(secret.reveal(), row.id),
                generation=generation,
                expires_at=utc(self.now) + timedelta(days=1),
            )
        )
        return row.id

    def exposure(self, pair: KeyPair | None = None, **detail: str) -> str:
        """A key pair came over plain HTTP an hour before now; return the notice's id."""
        told = {"source": "192.0.2.7", "user_agent": "curl/8.5", "request_id": "req-1", **detail}
        pair_id = (pair or self.pair()).id
        with self.database.write() as connection:
            return create_notice(connection, NoticeKind.EXPOSED, self.account_id, START, told, key_pair_id=pair_id)

    def move_to(self, address: str, *, staff: StaffChange | None = None) -> str:
        """The contact address was changed an hour before now; return the newest notice's id."""
        with self.database.write_session() as session:
            account = session.get_one(Account, self.account_id)
            change_contact(session, account, {"contact_email_address": address}, START, staff=staff)
        return self.rows(Notice)[-1]["id"]

    def change(self, table: type[Table], row_id: str, **values: object) -> None:
        with self.database.write_session() as session:
            row = session.get_one(table, row_id)
            for name, value in values.items():
                setattr(row, name, value)
            session.add(row)

    def rows(self, table: type[Table]) -> list[Mapping[str, object]]:
        with self.database.read() as connection:
            return [row._mapping for row in connection.execute(table.__table__.select())]

    def dump(self) -> str:
        """Return every row of every table as text, but for the 16,448 of the one that never changes."""
        with self.database.read() as connection:
            tables = [table for table in Table.metadata.sorted_tables if table.name != "write_lock"]
            read = connection.exec_driver_sql  # a third of the time of statements that SQLAlchemy makes
            return repr([(table.name, read(f"SELECT * FROM {table.name}").all()) for table in tables])

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collect the SQL that is run meanwhile."""
        seen: list[str] = []

        def note(_connection, _cursor, statement, *_rest) -> None:
            seen.append(statement)

        event.listen(self.database.engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(self.database.engine, "before_cursor_execute", note)


def open_world(folder: Path, database_kind: str) -> Iterator[World]:
    """Yield a world and close it; for fixtures."""
    world = World(folder, database_kind)
    yield world
    world.close()
