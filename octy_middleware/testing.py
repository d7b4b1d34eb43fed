"""Test support for host apps: a temporary database with accounts and key pairs, and the headers of requests.

Not for production: no workflow runs and no mail is sent. Needs `octy-middleware[worker]`, whose Alembic creates the
tables.

    with throwaway_installation() as octy:
        app.add_middleware(OctyASGIMiddleware, settings=octy.settings())
        acme = octy.add_account("acme")
        with TestClient(app, base_url="https://testserver") as client:
            assert client.get("/hello", headers=acme.headers).status_code == 200
"""

import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlmodel import col

from octy_middleware.auth.sharing import shared_authenticators
from octy_middleware.clock import uuid7
from octy_middleware.db.database import Database
from octy_middleware.db.migrations import upgrade
from octy_middleware.db.models import OutcomeMinute
from octy_middleware.domain import key_pairs
from octy_middleware.domain.accounts import create_account
from octy_middleware.domain.installation import new_installation_id, register_installation
from octy_middleware.domain.key_checks import PEPPERS, register_keys
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher, make_key_pair, row_binding
from octy_middleware.settings import Settings
from octy_middleware.states import KeyPairCause


@dataclass(frozen=True)
class AccountKeys:
    """An account with a live key pair, in plaintext."""

    reference: str
    public_key: str
    secret_key: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request with this key pair."""
        return authorization(self.public_key, self.secret_key)

    @property
    def wrong_headers(self) -> dict[str, str]:
        """The headers of a request with a wrong secret."""
        return authorization(self.public_key, "sk_wrong")


def authorization(public_key: str, secret_key: str) -> dict[str, str]:
    """Return the headers of a request with these credentials."""
    return {"Authorization": "Basic " + b64encode(f"{public_key}:{secret_key}".encode()).decode()}


class TestInstallation:
    """A temporary database, its peppers and its accounts."""

    __test__ = False  # pytest: not a test

    def __init__(self, folder: Path) -> None:
        self.database_url = f"sqlite:///{folder / 'octy.db'}"
        self.peppers = Keychain.generate()
        self.database = Database(self.database_url)
        upgrade(self.database)
        now = time.time()
        with self.database.write() as connection:
            register_installation(self.database, connection, now, new_id=new_installation_id)
            register_keys(connection, PEPPERS, self.peppers, now)
        self._hasher = KeyHasher(self.peppers)

    def settings(self, **options: Any) -> Settings:
        """Return settings for the middleware: this database, and the given options."""
        return Settings.build(**{"database_url": self.database_url, "peppers": self.peppers, **options})

    def add_account(self, reference: str = "acme") -> AccountKeys:
        """Create an account with a live key pair. Raises InvalidInputError if one with this reference exists."""
        now, pair = time.time(), make_key_pair()
        pair_id = uuid7(now)
        digest = self._hasher.digest(pair.secret, row_binding(pair_id, pair.public_key))
        contact = {"contact_email_address": "security@example.com"}
        with self.database.write_session() as session:
            account = create_account(session, reference, contact, now)
            key_pairs.insert_key_pair(
                session.connection(),
                pair_id,
                account_id=account.id,
                public_key=pair.public_key,
                secret_digest=digest,
                cause=KeyPairCause.FIRST,
                now=now,
            )
            key_pairs.activate(session.connection(), pair_id, now)
        return AccountKeys(reference, pair.public_key, pair.secret.reveal())

    def recorded(self) -> dict[str, int]:
        """Return the number of recorded requests by outcome; queued ones are written first."""
        for authenticator in shared_authenticators.of_database(self.database_url):
            authenticator.flush()
        with self.database.read() as connection:
            total = func.sum(col(OutcomeMinute.count))
            found = connection.execute(select(col(OutcomeMinute.outcome), total).group_by(col(OutcomeMinute.outcome)))
            return {str(outcome): int(count) for outcome, count in found}

    def close(self) -> None:
        """Close the database, and every middleware that uses it."""
        for authenticator in shared_authenticators.of_database(self.database_url):
            authenticator.close()
        self.database.close()


@contextmanager
def throwaway_installation() -> Iterator[TestInstallation]:
    """Yield an installation in a temporary folder; afterwards its middleware is closed and the folder removed."""
    with tempfile.TemporaryDirectory(prefix="octy-test-") as folder:
        octy = TestInstallation(Path(folder))
        try:
            yield octy
        finally:
            octy.close()
