"""Who else is there: a host with foreign keys, a second installation, a restless customer, an account with four pairs.

Here: what each does, from a thread of its own, until told to stop; and what each saw that must not be. Not here: who
reaches Temporal (`forger`), kills and hindrances (`chaos`), the customers whose whole lives are told (`customers`).
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from octy_middleware import Accounts, InvalidInputError
from octy_middleware.clock import utc, uuid7
from octy_middleware.domain import key_pairs
from octy_middleware.domain.accounts import create_account, find_account
from octy_middleware.errors import OctyError
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import KeyHasher, make_key_pair, row_binding
from octy_worker.dev.customer import Keys
from proofs.faults.api_clients import UNANSWERED, Books, Caller
from proofs.faults.attackers import Attack
from proofs.faults.diary import Diary
from proofs.faults.installation import APPS, Place
from proofs.faults.observer import Witness
from proofs.faults.second_installation import SecondInstallation

THRESHOLD = 20
PAIRS = 4
_PAUSE = 0.5
_RESTLESS = 0.02  # seconds between two changes of an address


@dataclass
class Bystander:
    """What all of them leave: what must not be, and how often each did something, so that none is idle unseen."""

    findings: list[str] = field(default_factory=list)
    acts: int = 0


class ForeignHost(Bystander):
    """Asks an app whose peppers are not this installation's, with right pairs and wrong secrets: 503 always."""

    def __init__(self, place: Place, diary: Diary, patience: Callable[[], float]) -> None:
        super().__init__()
        self._place, self._diary, self._patience = place, diary, patience

    def run(self, stop: threading.Event) -> None:
        books = Books()  # of its own: nothing of this may be recorded
        caller = Caller(self._place.port_of("foreign"), "192.0.2.250", books)
        while not stop.wait(_PAUSE) or (not self.acts and self._patience() > 0):
            for keys in self._diary.keys[-3:]:
                for status in (caller.right(keys, in_use=False), caller.wrong(keys)):
                    self.acts += status == 503
                    if status not in (503, UNANSWERED):
                        self.findings.append(f"foreign: a host with other peppers answered {status}")
        caller.close()


class RestlessCustomer(Bystander):
    """Changes the contact address without end."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def run(self, stop: threading.Event) -> None:
        reference = f"restless-{uuid4()}"
        contact = {"contact_email_address": f"{reference}@customers.example"}
        _until_done(lambda: _open_account(self._place, reference, contact), stop)
        accounts = Accounts(self._place.database)
        while not stop.wait(_RESTLESS):
            with suppress(InvalidInputError, OctyError):  # too often, or the store is away
                accounts.change_contact(reference, {"contact_email_address": f"{uuid4()}@elsewhere.example"})
            self.acts += 1


class FourPairs(Bystander):
    """An account whose four pairs are attacked at once: every one of them has to be named in an alert."""

    def __init__(
        self, place: Place, witness: Witness, books: Books, *, seed: str, patience: Callable[[], float]
    ) -> None:
        super().__init__()
        self._place, self._witness, self._books, self._patience = place, witness, books, patience
        self._chance = random.Random(seed)
        self._hasher = KeyHasher(Keychain.parse(place.env["OCTY_PEPPERS"], name="OCTY_PEPPERS"))

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._attack_all(stop)
            stop.wait(5)

    def _attack_all(self, stop: threading.Event) -> None:
        reference = f"four-pairs-{uuid4()}"
        address = f"{reference}@customers.example"
        _until_done(lambda: _open_account(self._place, reference, {"contact_email_address": address}), stop)
        held: list[Keys] = []
        while len(held) < PAIRS and not stop.is_set():
            _until_done(lambda: held.append(self._add_pair(reference)), stop)
        attacks = [Attack(self._place, self._books, keys, "198.51.100.77", THRESHOLD) for keys in held]
        for attack in attacks:
            attack.begin(self._chance.choice(list(APPS)), until=time.monotonic() + self._patience())
        deadline = time.monotonic() + self._patience()
        while any(attack.goes_on() for attack in attacks) or not self._named(address, held):
            if time.monotonic() > deadline:
                missing = [keys.public_key for keys in held if not self._is_named(address, keys)]
                self.findings.append(f"withheld: {missing} of one account are named in no alert")
                return
            time.sleep(0.2)
        self.acts += 1

    def _add_pair(self, reference: str) -> Keys:
        """Give the account one more pair, as an import does."""
        made, pair_id, now = make_key_pair(), uuid7(time.time()), time.time()
        with self._place.database.write_session() as session:
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

    def _named(self, address: str, held: list[Keys]) -> bool:
        return all(self._is_named(address, keys) for keys in held)

    def _is_named(self, address: str, keys: Keys) -> bool:
        return any(keys.public_key in mail.text for mail in self._witness.mails(address, "alert"))


class Neighbours(Bystander):
    """A second installation, with default settings, on the same Temporal server: its alerts are its own."""

    def __init__(self, second: SecondInstallation, patience: Callable[[], float]) -> None:
        super().__init__()
        self._second, self._patience = second, patience

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            address = self._second.attack_somebody(THRESHOLD)
            deadline = time.monotonic() + self._patience()
            while not self._second.alerts_to(address):
                if time.monotonic() > deadline:
                    self.findings.append(f"withheld: the second installation's alert to {address} never came")
                    return
                time.sleep(0.2)
            self.acts += 1
            stop.wait(5)


def _open_account(place: Place, reference: str, contact: dict[str, str]) -> None:
    with place.database.write_session() as session:
        create_account(session, reference, contact, time.time())


def _until_done(step: Callable[[], object], stop: threading.Event) -> None:
    """Do it once the store takes it."""
    while not stop.is_set():
        try:
            step()
        except InvalidInputError:  # it was done, and the store was away before it said so
            return
        except OctyError:
            time.sleep(0.2)
        else:
            return
