"""Scenarios beside the accounts: other peppers, a second installation, endless contact changes, four key pairs.

Each runs in a thread of its own until told to stop, and records what must not happen.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar
from uuid import uuid4

from octy_middleware import Accounts, InvalidInputError
from octy_middleware.clock import utc, uuid7
from octy_middleware.domain import key_pairs
from octy_middleware.domain.accounts import create_account, find_account
from octy_middleware.errors import OctyError
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher, make_key_pair, row_binding
from octy_worker.dev.customer import Keys
from proofs.faults.api_clients import ApiClient, Attack
from proofs.faults.context import NO_RESPONSE, Responses, RunContext
from proofs.faults.installation import APPS
from proofs.load.reference_policy import THRESHOLD

_KEY_PAIRS = 4
_ATTACK_INTERVAL = 5.0
_POLL_INTERVAL = 0.2
_REQUEST_INTERVAL = 0.5
_CHANGE_INTERVAL = 0.02  # seconds between two changes of an address


@dataclass
class SideScenario(ABC):
    """`name` says in brackets what its actions are, which are counted: a scenario without actions proves nothing."""

    name: ClassVar[str]
    context: RunContext
    findings: list[str] = field(default_factory=list)
    actions: int = 0

    @abstractmethod
    def run(self, stop: threading.Event) -> None:
        """Act until `stop` is set."""

    def wait(self, done: Callable[[], bool], what: Callable[[], str]) -> bool:
        """Wait as long as anybody does; a timeout is a finding."""
        deadline = time.monotonic() + self.context.remaining()
        while not done():
            if time.monotonic() > deadline:
                self.findings.append(what())
                return False
            time.sleep(_POLL_INTERVAL)
        return True

    def create_account(self, reference: str, stop: threading.Event) -> str:
        """Create an account; return its mail address."""
        address = f"{reference}@customers.example"

        def create() -> None:
            with self.context.installation.database.write_session() as session:
                create_account(session, reference, {"contact_email_address": address}, time.time())

        _retry(create, stop)
        return address


class ForeignHost(SideScenario):
    """Sends right and wrong secrets to an app with other peppers: always 503, and nothing is recorded."""

    name = "foreign host (refused by 503)"

    def run(self, stop: threading.Event) -> None:
        client = ApiClient(self.context.installation.port_of("foreign"), "192.0.2.250", Responses())
        while not stop.wait(_REQUEST_INTERVAL) or (not self.actions and self.context.remaining() > 0):
            for keys in self.context.log.keys[-3:]:
                for status in (client.send_right(keys, in_use=False), client.send_wrong(keys)):
                    self.actions += status == 503
                    if status not in (503, NO_RESPONSE):
                        self.findings.append(f"foreign: response {status} of a host with other peppers")
        client.close()


class ContactChanges(SideScenario):
    """Changes a contact address without end."""

    name = "restless customer (changed the address)"

    def run(self, stop: threading.Event) -> None:
        reference = f"restless-{uuid4()}"
        self.create_account(reference, stop)
        accounts = Accounts(self.context.installation.database)
        while not stop.wait(_CHANGE_INTERVAL):
            with suppress(OctyError):  # too often, or the database is down
                accounts.change_contact(reference, {"contact_email_address": f"{uuid4()}@elsewhere.example"})
            self.actions += 1


class FourKeyPairs(SideScenario):
    """Attacks four key pairs of one account at once: an alert must name each of them."""

    name = "four pairs (had four keys named in alerts)"

    def run(self, stop: threading.Event) -> None:
        self._random = self.context.random("four pairs")
        peppers = Keychain.parse(self.context.installation.env["OCTY_PEPPERS"], name="OCTY_PEPPERS")
        self._hasher = KeyHasher(peppers)
        while not stop.is_set() and self._attack(stop):
            stop.wait(_ATTACK_INTERVAL)

    def _attack(self, stop: threading.Event) -> bool:
        reference = f"four-pairs-{uuid4()}"
        address = self.create_account(reference, stop)
        held: list[Keys] = []
        while len(held) < _KEY_PAIRS and not stop.is_set():
            _retry(lambda: held.append(self._add_key_pair(reference)), stop)
        attacks = [Attack(self.context, keys, "198.51.100.77", THRESHOLD) for keys in held]
        for attack in attacks:
            attack.connect(self._random.choice(list(APPS)))
        named = self.wait(
            lambda: not any(attack.in_progress() for attack in attacks) and not self._unnamed(address, held),
            lambda: f"withheld: no alert names {self._unnamed(address, held)} of one account",
        )
        self.actions += named and len(held) == _KEY_PAIRS
        return named

    def _add_key_pair(self, reference: str) -> Keys:
        """Add a key pair to the account, as an import does."""
        made, pair_id, now = make_key_pair(), uuid7(time.time()), time.time()
        with self.context.installation.database.write_session() as session:
            account = find_account(session, reference)
            assert account is not None
            known = key_pairs.ImportedKeyPair(
                id=pair_id,
                account_id=account.id,
                public_key=made.public_key,
                secret_digest=self._hasher.digest(made.secret, row_binding(pair_id, made.public_key)),
                imported_scheme=None,
                created_at=utc(now),
            )
            key_pairs.insert_imported(session.connection(), [known])
            key_pairs.activate(session.connection(), pair_id, now)
        return Keys(made.public_key, made.secret.reveal())

    def _unnamed(self, address: str, held: Sequence[Keys]) -> list[str]:
        texts = [mail.text for mail in self.context.observer.mails(address, "alert")]
        return [keys.public_key for keys in held if not any(keys.public_key in text for text in texts)]


class SecondInstallationAlerts(SideScenario):
    """Attacks accounts of the second installation, which shares the Temporal server: it sends its own alerts."""

    name = "second installation (had an alert)"

    def run(self, stop: threading.Event) -> None:
        second, alerted = self.context.installation.second, True
        while not stop.is_set() and alerted:
            address = second.attack_new_account(THRESHOLD)
            alerted = self.wait(
                lambda address=address: second.has_alert(address),
                lambda address=address: f"withheld: the second installation's alert to {address} did not come",
            )
            self.actions += alerted
            stop.wait(_ATTACK_INTERVAL)


SIDE_SCENARIOS = (ForeignHost, ContactChanges, FourKeyPairs, SecondInstallationAlerts)


def _retry(step: Callable[[], object], stop: threading.Event) -> None:
    """Repeat the step until the database takes it."""
    while not stop.is_set():
        try:
            step()
        except InvalidInputError:  # the database took it, and was down before it confirmed that
            return
        except OctyError:
            time.sleep(_POLL_INTERVAL)
        else:
            return
