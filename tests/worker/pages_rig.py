"""A store with one customer in it, the pages over it, and a browser without scripts.

Here: rows and requests that the tests of the pages share. Not here: tests.
"""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from octy_middleware.clock import utc, uuid7
from octy_middleware.credentials import Secret
from octy_middleware.database import Database
from octy_middleware.keychain import Keychain
from octy_middleware.keys import make_pair
from octy_middleware.models import (
    Account,
    Attempt,
    Cause,
    Confirmation,
    Incident,
    IncidentState,
    KeyPair,
    OutcomeMinute,
    PairState,
    Regeneration,
    RegenerationState,
    SealedSecret,
    Table,
)
from octy_middleware.outcome import Outcome
from octy_middleware.streak import Rule
from octy_worker.links import Links
from octy_worker.pages import build_pages
from octy_worker.sealed import Sealer
from octy_worker.settings import WorkerSettings
from sqlalchemy import select
from starlette.applications import Starlette

START = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC
BASE = "http://pages.test"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class World:
    """One database with one customer; `now` is the pages' clock."""

    folder: Path
    now: float = START + 3600
    settings: WorkerSettings = field(init=False)
    made: int = 0

    def __post_init__(self) -> None:
        self.settings = self.configure()
        self.database = Database(self.settings.database_url, busy_timeout=20.0)
        Table.metadata.create_all(self.database.engine)
        self.links = Links(self.settings.link_keys, BASE)
        self.sealer = Sealer(self.settings.sealing_keys, lambda count: bytes(range(count)))
        self.account_id = self.fresh_id()
        self.insert(
            Account(
                id=self.account_id,
                reference="customer-1",
                contact_email_address="owner@example.com",
                security_email="owner@example.com",
                created_at=utc(START),
            )
        )

    def configure(self, **values: object) -> WorkerSettings:
        keys = Keychain({"k1": b"\x11" * 32, "k2": b"\x22" * 32})
        return WorkerSettings.build(
            **{
                "database_url": f"sqlite:///{self.folder / 'octy.db'}",
                "peppers": keys,
                "sealing_keys": keys,
                "link_keys": keys,
                "public_url": BASE,
                "support_contact": "support@octy.example",
                **values,
            }
        )

    def fresh_id(self) -> str:
        self.made += 1
        return uuid7(START + self.made, lambda count: self.made.to_bytes(count, "big"))

    def insert(self, *rows: Table) -> None:
        for row in rows:  # one by one: foreign keys want their order kept
            with self.database.write_session() as session:
                session.add(row)

    def pages(self, **values: object) -> Starlette:
        settings = self.configure(**values) if values else self.settings
        return build_pages(settings, self.database, self.links, self.sealer, lambda: self.now)

    def browser(self, **values: object) -> "Browser":
        return Browser(self.pages(**values))

    def pair(self, state: PairState = PairState.ACTIVE, **values: object) -> KeyPair:
        row = KeyPair(
            id=self.fresh_id(),
            account_id=self.account_id,
            public_key=make_pair().public_key,
            secret_digest="$octy-b2$k1$" + "0" * 64,
            state=state,
            cause=Cause.FIRST,
            created_at=utc(START),
            **values,
        )
        self.insert(row)
        return row

    def case(self, *, sources: tuple[tuple[str, int, str], ...] = (("192.0.2.7", 20, "curl/8.5"),), **values) -> str:
        """Put an open, unanswered case down and return its id. A source is (address, count, client)."""
        pair = self.pair()
        incident = Incident(
            **{
                "id": self.fresh_id(),
                "key_pair_id": pair.id,
                "account_id": self.account_id,
                "public_key": pair.public_key,
                "rule": Rule.KEY,
                "length": 20,
                "request_id": "req-20",
                "first_at": utc(START),
                "opened_at": utc(START + 60),
                "failures": 20,
                "notify_at": 40,
                "state": IncidentState.WAITING,
                **values,
            }
        )
        self.insert(incident, Confirmation(incident_id=incident.id))
        for number, (source, count, client) in enumerate(sources):
            self._failures(pair.public_key, source, count, client, utc(START + number))
        return incident.id

    def _failures(self, public_key: str, source: str, count: int, client: str, at: datetime) -> None:
        minute, wrong = int(START) // 60, Outcome.WRONG_SECRET
        detail = {"method": "GET", "path": "/v1/things", "request_id": "req", "client": client, "source": source}
        self.insert(
            OutcomeMinute(public_key=public_key, minute=minute, source=source, outcome=wrong, count=count),
            Attempt(at=at, public_key=public_key, minute=minute, outcome=wrong, **detail),
        )

    def regeneration(
        self, secret: Secret, *, old: KeyPair | None = None, life: float = 86_400.0, generation: int = 1
    ) -> str:
        """Put a regeneration down whose secret waits to be collected, and return its id."""
        new = self.pair()
        row = Regeneration(
            id=self.fresh_id(),
            account_id=self.account_id,
            cause=Cause.INCIDENT,
            actor="system",
            old_pair_id=old.id if old else None,
            new_pair_id=new.id,
            state=RegenerationState.SENT,
            opened_at=utc(START),
        )
        sealed = SealedSecret(
            regeneration_id=row.id,
            sealed=self.sealer.seal(secret.reveal(), row.id),
            generation=generation,
            expires_at=utc(self.now) + timedelta(seconds=life),
        )
        self.insert(row, sealed)
        return row.id

    def rows(self, table: type[Table]) -> list[dict[str, object]]:
        with self.database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(select(Table.metadata.tables[table.__tablename__]))]

    def dump(self) -> str:
        """Return every row of every table as text."""
        with self.database.read() as connection:
            tables = Table.metadata.sorted_tables
            return repr([(table.name, connection.execute(table.select()).all()) for table in tables])


class Browser:
    """Sends requests to the app in process. It follows no redirect unless told to and runs no script."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def send(self, method: str, path: str, **options) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
                return await client.request(method, path, **options)

        return asyncio.run(once())

    def get(self, path: str, **options) -> httpx.Response:
        return self.send("GET", path, **options)

    def press(self, path: str, button: str, value: str, **fields: str) -> httpx.Response:
        """Open the page, fill its form as it stands there, and press one of its visible buttons."""
        page = self.get(path).text
        assert f'name="{button}" value="{value}"' in page
        return self.send("POST", path, data={"form": form_token(page), button: value, **fields})


def form_token(page: str) -> str:
    """Return the hidden field of a page's form."""
    found = re.search(r'<input type="hidden" name="form" value="([^"]+)">', page)
    assert found is not None
    return found[1]


def path_of(url: str) -> str:
    """Return the path of one of our links."""
    return url.removeprefix(BASE)
