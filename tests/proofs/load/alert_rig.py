"""The stack on which alerts are measured, its accounts, and one attack on them."""

import base64
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import httpx2
from sqlalchemy import insert
from support.databases import make_empty_database, remove_database
from support.paths import EXAMPLES, TESTS

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import Account, KeyPair
from octy_middleware.domain.accounts import account_values
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher, make_key_pair, row_binding
from octy_worker.dev.http_client import http_client
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import is_listening
from octy_worker.dev.stack import Stack

THRESHOLD = 20
TIMEOUT = 60.0  # seconds
_CHUNK = 500
_PATH = "/v1/account/authenticate"


@dataclass(frozen=True)
class AccountKeys:
    """An account with a key pair in use."""

    account_id: str
    address: str
    public_key: str
    secret: str


class HangingStack(Stack):
    """The embedded stack with `hanging_mail_sink` in place of the usual mail sink."""

    def start_mail(self) -> None:
        smtp, page = self._ports.smtp, self._ports.inbox
        command = sink_command(self.mails.folder, self._certificate, smtp_port=smtp, page_port=page)
        command[command.index("octy_worker.dev.mail_sink")] = "proofs.load.hanging_mail_sink"
        process = self.processes.start("mail", command, {"PYTHONPATH": str(TESTS)})
        process.wait_until(lambda: is_listening(smtp) and is_listening(page), TIMEOUT)


class Rig:
    """The stack, accounts in it, and attacks on them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._hasher = KeyHasher(Keychain.parse(stack.env["OCTY_PEPPERS"], name="OCTY_PEPPERS"))
        self._numbers = count(1)
        self._tls = stack.tls_context()

    def client(self) -> httpx2.Client:
        return http_client(self._tls, base_url=self.stack.api, timeout=TIMEOUT)

    def accounts(self, name: str, many: int, **contact: str) -> list[AccountKeys]:
        """Add so many accounts, each with a key pair in use."""
        made = [self._account(f"{name}-{next(self._numbers)}", contact) for _ in range(many)]
        for start in range(0, many, _CHUNK):
            with self.stack.database.write(timeout=TIMEOUT) as connection:
                connection.execute(insert(Account), [account for _, account, _ in made[start : start + _CHUNK]])
                connection.execute(insert(KeyPair), [row for _, _, row in made[start : start + _CHUNK]])
        return [keys for keys, _, _ in made]

    def _account(
        self, reference: str, contact: dict[str, str]
    ) -> tuple[AccountKeys, dict[str, object], dict[str, object]]:
        now, keys = time.time(), make_key_pair()
        pair_id, address = uuid7(now), f"{reference}@customers.example"
        account = account_values(reference, {"contact_email_address": address, **contact}, now - 30 * 86_400)
        row = {
            "id": pair_id,
            "account_id": account["id"],
            "public_key": keys.public_key,
            "secret_digest": self._hasher.digest(keys.secret, row_binding(pair_id, keys.public_key)),
            "state": "active",
            "cause": "first",
            "created_at": utc(now),
            "activated_at": utc(now),
        }
        return AccountKeys(account["id"], address, keys.public_key, keys.secret.reveal()), account, row

    @staticmethod
    def fail(client: httpx2.Client, keys: AccountKeys) -> None:
        """Cause an incident, one request after the other."""
        for _ in range(THRESHOLD):
            response = client.get(_PATH, auth=(keys.public_key, "sk_wrong"))
            if response.status_code not in {401, 503}:
                raise RuntimeError(f"a wrong secret was answered {response.status_code}")

    @contextmanager
    def attack(self, keys: AccountKeys) -> Iterator["Attack"]:
        """Open the attack's connections; each sends one request."""
        host, port = self.stack.api.removeprefix("https://").split(":")
        with ExitStack() as stack:
            connections = []
            for _ in range(THRESHOLD):
                plain = stack.enter_context(socket.create_connection((host, int(port)), timeout=TIMEOUT))
                connections.append(stack.enter_context(self._tls.wrap_socket(plain, server_hostname=host)))
            yield Attack(connections, keys)

    def alert_at(self, keys: AccountKeys) -> datetime | None:
        """Return when the mail server accepted the alert, or None when it did not come."""
        with suppress(TimeoutError):
            mail = self.stack.mails.wait_for(lambda m: m.to == keys.address and m.kind == "alert", TIMEOUT)
            return mail.received_at
        return None


class Attack:
    """Twenty requests with a wrong secret, sent at once: what holds the server up is waited for, not avoided."""

    def __init__(self, connections: Sequence[ssl.SSLSocket], keys: AccountKeys) -> None:
        self._connections = connections
        credentials = base64.b64encode(f"{keys.public_key}:sk_wrong".encode()).decode()
        self._request = (
            f"GET {_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n"
            "Accept-Encoding: identity\r\n\r\n"
        ).encode()

    def send(self) -> datetime:
        """Send all; return when the server had the last one."""
        for connection in self._connections:
            connection.sendall(self._request)
        return datetime.now(UTC)

    def statuses(self) -> list[int]:
        """Return how each was answered."""
        return [int(connection.recv(65_536).split(b" ", 2)[1]) for connection in self._connections]


@contextmanager
def alert_rig(folder: Path, database: str) -> Iterator[Rig]:
    """Run the stack on an empty database."""
    with ExitStack() as stack:
        url = make_empty_database(folder, database) if database == "postgresql" else None
        if url is not None:
            stack.callback(remove_database, url)
        yield Rig(
            stack.enter_context(HangingStack(folder / "stack", fixed_ports=False, database=url, examples=EXAMPLES))
        )
