"""The two sides of an end-to-end test: a program that calls the API, and the people of an account."""

import ssl
import time
from dataclasses import dataclass, field
from uuid import uuid4

from sqlalchemy import text
from support.until import TIMEOUT, until

from octy_worker.dev.customer import Customer, Keys
from octy_worker.dev.http_client import http_client
from octy_worker.dev.inbox import ReceivedMail
from octy_worker.dev.stack import Stack
from octy_worker.staff.registration import register


class Api:
    """A customer's program: one connection to the example API, over verified TLS."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._client = http_client(tls, base_url=url)

    def status(self, keys: Keys, secret: str | None = None, **headers: str) -> int:
        auth = (keys.public_key, keys.secret if secret is None else secret)
        return self._client.get("/v1/account/authenticate", auth=auth, headers=headers).status_code

    def fail(self, keys: Keys, times: int) -> None:
        for _ in range(times):
            assert self.status(keys, "sk_wrong") == 401

    def refused_within(self, keys: Keys, seconds: float) -> bool:
        """Return whether a key pair that was cut in another process is refused here soon enough."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.status(keys) == 401:
                return True
        return False

    def close(self) -> None:
        self._client.close()


@dataclass
class StoryAccount:
    """A fresh account: its mails and incidents, and its customer, who reads and answers."""

    stack: Stack
    customer: Customer
    reference: str = field(default_factory=lambda: f"customer-{uuid4()}")

    @property
    def address(self) -> str:
        return f"{self.reference}@customers.example"

    def register(self, **more: str) -> Keys:
        contact = {"contact_email_address": self.address, **more}
        register(self.stack.database, self.reference, contact, actor="test", now=time.time())
        return self.customer.collect_keys(self.wait_for_mail("new_keys"))

    def mails(self, kind: str | None = None) -> list[ReceivedMail]:
        mine = [mail for mail in self.stack.mails.messages() if mail.to == self.address]
        return [mail for mail in mine if kind in (None, mail.kind)]

    def wait_for_mail(self, kind: str, number: int = 1) -> ReceivedMail:
        """Return the account's n-th mail of the kind."""
        self.stack.wait_for_mail(f"{kind} mail {number}", lambda _: len(self.mails(kind)) >= number, TIMEOUT)
        return self.mails(kind)[number - 1]

    def rows(self, statement: str, **values: object) -> list[tuple]:
        with self.stack.database.read() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def incidents(self) -> list[tuple]:
        return self.rows(
            "SELECT i.id, i.state, i.resolution, i.length, i.rule FROM incident i "
            "JOIN account a ON a.id = i.account_id WHERE a.reference = :reference ORDER BY i.opened_at",
            reference=self.reference,
        )

    def wait_for_state(self, state: str) -> tuple:
        until(lambda: [incident[1] for incident in self.incidents()] == [state], message=f"incident not {state}")
        return self.incidents()[0]
