"""A store with one customer in it, the pages over it, and a browser without scripts.

Here: rows and requests that the tests of the pages share. Not here: tests. `pages_rules` judges every page that the
browser loads.
"""

import asyncio
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import uvicorn
from pages_rules import check_response
from sqlalchemy import event
from starlette.applications import Starlette

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

START = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC
BASE = "http://pages.test"


@dataclass
class World:
    """One database with one customer; `now` is the pages' clock, 01:00:00 on the first day."""

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
                contact_name="Ada",
                contact_email_address="owner@example.com",
                security_email="owner@example.com",
                created_at=utc(START),
            )
        )

    def configure(self, **values: object) -> WorkerSettings:
        keys = Keychain({"k1": b"\x11" * 32, "k2": b"\x22" * 32})
        own = {name: keys for name in ("peppers", "sealing_keys", "link_keys")}
        url = f"sqlite:///{self.folder / 'octy.db'}"
        contact = "support@octy.example"
        return WorkerSettings.build(
            **{**own, "database_url": url, "public_url": BASE, "support_contact": contact, **values}
        )

    def fresh_id(self) -> str:
        self.made += 1
        return uuid7(START + self.made, lambda count: self.made.to_bytes(count, "big"))

    def insert(self, *rows: Table) -> None:
        for row in rows:  # one by one: foreign keys want their order kept
            with self.database.write_session() as session:
                session.add(row)

    def pages(self, **values: object) -> Starlette:
        return build_pages(self.configure(**values), self.database, self.links, self.sealer, lambda: self.now)

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

    def case(self, *, sources=(("192.0.2.7", 20, "curl/8.5"),), **values: object) -> str:
        """Put an open, unanswered case down and return its id. A source is (address, count, client)."""
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
        self.insert(incident, Confirmation(incident_id=incident.id))
        for number, (source, count, client) in enumerate(sources):
            self._failures(pair.public_key, source, count, client, START + number)
        return incident.id

    def _failures(self, public_key: str, source: str, count: int, client: str, at: float) -> None:
        same = {"public_key": public_key, "minute": int(START) // 60, "source": source}
        same["outcome"] = Outcome.WRONG_SECRET
        self.insert(
            OutcomeMinute(count=count, **same),
            Attempt(at=utc(at), client=client, method="GET", path="/v1/things", request_id="req", **same),
        )

    def regeneration(self, secret: Secret, *, old: KeyPair | None = None, generation: int = 1) -> str:
        """Put a regeneration down whose secret waits 24 h for its collection, and return its id."""
        row = Regeneration(
            id=self.fresh_id(),
            account_id=self.account_id,
            cause=Cause.INCIDENT,
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
        """Return every row of every table as text."""
        with self.database.read() as connection:
            tables = Table.metadata.sorted_tables
            return repr([(table.name, connection.execute(table.select()).all()) for table in tables])

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


class Browser:
    """Sends requests to the app in process. It follows no redirect and runs no script; it judges every response."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def send(self, method: str, path: str, **options) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
                return await client.request(method, path, **options)

        response = asyncio.run(once())
        check_response(response)
        return response

    def get(self, path: str) -> httpx.Response:
        return self.send("GET", path)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.send("POST", path, data=fields)

    def press(self, path: str, button: str, value: str, **fields: str) -> httpx.Response:
        """Open the page, fill its form as it stands there, and press one of its visible buttons."""
        page = self.get(path).text
        assert f'name="{button}" value="{value}"' in page
        return self.post(path, form=form_token(page), **{button: value}, **fields)


def form_token(page: str) -> str:
    """Return the hidden field of a page's form."""
    found = re.search(r'<input type="hidden" name="form" value="([^"]+)">', page)
    assert found is not None
    return found[1]


def path_of(url: str) -> str:
    """Return the path of one of our links."""
    return url.removeprefix(BASE)


@contextmanager
def serving(app: Starlette) -> Iterator[tuple[str, int]]:
    """Serve the app on a real socket; yields host and port."""
    config = uvicorn.Config(app, port=0, ws="none", lifespan="off", access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join()
