"""Accounts from their registration on: attacked, alerted, answering, getting new keys; then the next account.

Every step is repeated until the tables show it, as people press a button again after an error page. An account's
scenario ends early only when something does not come in time; that is recorded as a failure.
"""

import threading
import time
from collections.abc import Callable
from itertools import chain
from uuid import uuid4

import httpx2
from support.in_session import in_session

from octy_middleware.errors import OctyError
from octy_worker.dev.customer import Customer, Keys
from octy_worker.dev.inbox import ReceivedMail
from octy_worker.errors import RefusedError
from octy_worker.staff import key_orders
from octy_worker.staff.registration import register
from proofs.faults.api_clients import ApiClient, Attack
from proofs.faults.context import RunContext
from proofs.faults.installation import APPS
from proofs.load.reference_policy import THRESHOLD

_MOST_INCIDENTS = 3  # of one account
_INTERVAL = 0.3  # seconds between two requests of a customer who waits
_READ_LATE = (30.0, 90.0)  # seconds after which a late customer reads a mail
_REMINDER_TIMEOUT = 25.0
_FAILURES_AFTER = 25  # after a false alarm; they must open no incident


class CustomerTimeoutError(Exception):
    """What a customer waits for did not come."""


class AccountScenario:
    """One account after the other. When told to stop, it still ends the incident in progress."""

    def __init__(self, run: RunContext, number: int) -> None:
        self._run, self._random = run, run.random(number)
        self._browser = Customer(run.installation.tls())
        self._host = 10 + self._random.randrange(200)
        self._clients: dict[str, list[ApiClient]] = {}

    def run(self, stop: threading.Event) -> None:
        with self._browser:
            while not stop.is_set():
                self._new_account()
                try:
                    self._run_account(stop)
                except CustomerTimeoutError as error:
                    self._run.log.failures.append(f"{self._reference}: {error}")
                finally:
                    for client in chain.from_iterable(self._clients.values()):
                        client.close()

    def _run_account(self, stop: threading.Event) -> None:
        self._until(self._register, "the registration")
        self._collect(self._new_regeneration())
        for number in range(_MOST_INCIDENTS):
            if number and stop.is_set():
                break
            self._fail_now_and_then()
            if not self._answer(self._attack()):
                break
        self._run.log.in_use.append(self._held)

    # The account

    def _new_account(self) -> None:
        self._reference = f"customer-{uuid4()}"
        self._address = f"{self._reference}@customers.example"
        self._run.log.addresses.append(self._address)
        self._keys: Keys | None = None
        self._in_use = False  # its keys must be accepted
        self._regenerations: set[str] = set()  # seen so far
        attacker = f"198.51.{self._random.randrange(1, 200)}"
        self._attacker = f"{attacker}.{self._host}"
        self._clients = {
            role: [
                ApiClient(self._run.installation.port_of(app), f"{network}.{self._host}", self._run.responses)
                for app in APPS
            ]
            for role, network in {"owner": "192.0.2", "attacker": attacker, "other": "203.0.113"}.items()
        }

    def _register(self) -> bool:
        if self._run.observer.snapshot.by_account.get(self._reference):
            return True
        contact = {"contact_email_address": self._address}
        try:
            register(self._run.installation.database, self._reference, contact, actor="faults", now=time.time())
        except OctyError:  # the database is down, or the account exists already
            time.sleep(_INTERVAL)
        return False

    # The attack

    def _fail_now_and_then(self) -> None:
        """Send some wrong secrets, as programs do; a success ends their streak."""
        for _ in range(self._random.randrange(0, 8)):
            self._client("other").send_wrong(self._held)
        self._until(lambda: self._send_right() == 200, "the key pair in use to be accepted")

    def _attack(self) -> str:
        """Send wrong secrets on up to five connections until there is an incident, and some more; return its id."""
        failures = THRESHOLD + self._random.choice([0, 0, 10, 50, 150])
        attack = Attack(self._run, self._held, self._attacker, failures)
        for app in self._random.choices(list(APPS), k=self._random.choice([1, 1, 2, 5])):
            attack.connect(app)
        while attack.in_progress():
            self._send_right()
            time.sleep(_INTERVAL * self._random.random())
        self._until(lambda: self._held.public_key in self._run.observer.snapshot.incidents, "the incident")
        return self._run.observer.snapshot.incidents[self._held.public_key][0]

    # The incident

    def _answer(self, incident: str) -> bool:
        """Answer the alert, or sometimes the first reminder; return whether the account can be attacked again."""
        mail = self._mail("alert", incident)
        if self._random.random() < self._run.options.late_share:
            if self._random.random() < 0.3 and self._has_reminder(incident):
                mail = self._mail("reminder", incident)
            else:
                self._read_late()
        answer, leaked = self._random.choice(
            [("not_us", False), ("not_us", False), ("not_us", True), ("it_was_us", False)]
        )
        old, self._in_use = self._held, not leaked
        self._press(
            lambda: self._browser.answer_alert(mail, answer, leaked=leaked),
            lambda: incident in self._run.observer.snapshot.answered,
        )
        self._run.log.answers.append((incident, answer, leaked))
        if answer == "it_was_us":
            self._until(lambda: self._resolution(old) == "false_alarm", "the false alarm to be closed")
            for _ in range(_FAILURES_AFTER):
                self._client("attacker").send_wrong(old)
            return False
        self._collect(self._new_regeneration())
        self._until(lambda: self._resolution(old) == "regenerated", "the incident to be closed", old=old)
        return True

    def _has_reminder(self, incident: str) -> bool:
        """Wait for a reminder, for a while: there is none when the alert itself was late."""
        deadline = time.monotonic() + _REMINDER_TIMEOUT
        while not (there := self._mails("reminder", incident)) and time.monotonic() < deadline:
            time.sleep(_INTERVAL)
        return bool(there)

    def _read_late(self) -> None:
        seconds = min(self._random.uniform(*_READ_LATE), self._run.remaining() / 4)
        end = time.monotonic() + seconds
        self._until(lambda: time.monotonic() > end, "the customer")

    def _resolution(self, keys: Keys) -> str | None:
        return self._run.observer.snapshot.incidents[keys.public_key][1]

    # New keys

    def _new_regeneration(self) -> str:
        def new() -> set[str]:
            return self._run.observer.snapshot.by_account.get(self._reference, set()) - self._regenerations

        self._until(lambda: bool(new()), "the regeneration")
        [regeneration] = new()
        self._regenerations.add(regeneration)
        return regeneration

    def _collect(self, regeneration: str) -> None:
        """Open the one-time page. If the secret was collected but not displayed, staff orders another key pair."""
        shown: list[Keys] = []
        mail = self._mail("new_keys", regeneration)
        self._press(
            lambda: shown.append(self._browser.collect_keys(mail)),
            lambda: bool(shown) or self._run.observer.snapshot.regenerations[regeneration][0],
        )
        if shown:
            self._keys, self._in_use = shown[0], True
            self._run.log.keys.append(shown[0])
            self._until(lambda: self._send_right() == 200, "the new key pair to be accepted")
            return
        self._run.log.unseen.append(regeneration)
        self._in_use = False  # the old key pair ends with the overlap
        self._until(
            lambda: self._run.observer.snapshot.regenerations[regeneration][1], "the unseen key pair's regeneration"
        )
        self._until(self._ask_staff, "staff to order other keys")
        self._collect(self._new_regeneration())

    def _ask_staff(self) -> bool:
        order = {"actor": "support", "reason": "the page showed no secret", "leaked": False, "now": time.time()}
        try:
            in_session(self._run.installation.database, key_orders.regenerate, self._reference, **order)
        except (OctyError, RefusedError):
            return False
        return True

    # Steps

    @property
    def _held(self) -> Keys:
        assert self._keys is not None
        return self._keys

    def _client(self, role: str) -> ApiClient:
        return self._random.choice(self._clients[role])

    def _send_right(self) -> int:
        return self._client("owner").send_right(self._held, in_use=self._in_use)

    def _mails(self, kind: str, subject: str) -> list[ReceivedMail]:
        return [mail for mail in self._run.observer.mails(self._address, kind) if mail.subject_id == subject]

    def _mail(self, kind: str, subject: str) -> ReceivedMail:
        """Return the newest mail about this. The tokens in its links must be found nowhere else."""
        self._until(lambda: bool(self._mails(kind, subject)), f"the mail {kind}")
        mail = self._mails(kind, subject)[-1]
        self._run.log.tokens += [link.rsplit("/", 1)[1] for link in mail.links if link.count("/") > 3]
        return mail

    def _press(self, press: Callable[[], object], done: Callable[[], bool]) -> None:
        """Press a button until the tables show that it was pressed."""

        def pressed() -> bool:
            if not done():
                try:
                    press()
                except (OctyError, httpx2.TransportError):  # an error page, or none: look, and press again
                    time.sleep(_INTERVAL)
            return done()

        self._until(pressed, "a button to work")

    def _until(self, done: Callable[[], bool], what: str, *, old: Keys | None = None) -> None:
        """Wait, and use the keys meanwhile, as the customer's programs do. Raises CustomerTimeoutError."""
        deadline = time.monotonic() + self._run.remaining()
        while not done():
            if time.monotonic() > deadline:
                raise CustomerTimeoutError(f"waited in vain for {what}")
            if self._keys is not None:
                self._send_right()
            if old is not None:
                self._client("owner").send_right(old, in_use=False)
            time.sleep(_INTERVAL)
