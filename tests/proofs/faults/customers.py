"""Whole lives of accounts: attacked, asked, answering, with new keys in the end; and again.

Here: what a customer and an attacker do, one step after the other, through every outage. Not here: single requests
(`callers`), what they should see (`judge`).

Every step is tried until the tables say that it was taken, as people press a button again after an error page. A life
ends early only when something does not come within its patience: that is told, and the judge finds out why.
"""

import random
import threading
import time
from collections.abc import Callable
from itertools import chain
from uuid import uuid4

import httpx2

from octy_middleware.errors import OctyError
from octy_worker.dev.customer import Customer, Keys
from octy_worker.dev.inbox import ReceivedMail
from octy_worker.staff import key_orders
from octy_worker.staff.registration import register
from proofs.faults.api_clients import Books, Caller
from proofs.faults.attackers import Attack
from proofs.faults.diary import Diary
from proofs.faults.installation import APPS, Place
from proofs.faults.observer import Witness

THRESHOLD = 20
_MOST_CASES = 3  # of one account
_REST = 0.3  # seconds between two requests of a customer who waits
_SLOWEST = 90.0  # seconds for which a slow customer reads no mail
_REMINDED = 25.0  # seconds in which a customer who waits for it is reminded
_AFTER = 25  # failures after a false alarm, which must open nothing


class TooLateError(Exception):
    """What a customer waits for did not come."""


class Life:
    """One account after the other, from a thread, until told to stop; then the case under way is brought to its end.

    `patience` says for how many seconds a customer waits from now on, `slow` which part of them is slow to answer.
    """

    def __init__(
        self,
        place: Place,
        witness: Witness,
        books: Books,
        diary: Diary,
        *,
        seed: str,
        patience: Callable[[], float],
        slow: float,
    ) -> None:
        self._place, self._witness, self._books, self._diary = place, witness, books, diary
        self._chance = random.Random(seed)
        self._patience, self._slow = patience, slow
        self._browser = Customer(place.tls())
        self._number = 10 + self._chance.randrange(200)
        self._callers: dict[str, list[Caller]] = {}

    def run(self, stop: threading.Event) -> None:
        """Live until told to stop."""
        with self._browser:
            while not stop.is_set():
                self._open_account()
                try:
                    self._live(stop)
                except TooLateError as late:
                    self._diary.stopped.append(f"{self._reference}: {late}")
                finally:
                    for caller in chain.from_iterable(self._callers.values()):
                        caller.close()

    def _live(self, stop: threading.Event) -> None:
        self._register()
        for case in range(_MOST_CASES):
            if case and stop.is_set():
                break
            self._noise()
            incident = self._attack()
            again = self._answer(incident)
            if not again:
                break
        self._diary.in_use.append(self._keys)

    # An account

    def _open_account(self) -> None:
        self._reference = f"customer-{uuid4()}"
        self._address = f"{self._reference}@customers.example"
        self._diary.addresses.append(self._address)
        self._keys: Keys | None = None
        self._seen: set[str] = set()  # regenerations
        attacker = f"198.51.{self._chance.randrange(1, 200)}"
        nets = {"owner": "192.0.2", "attacker": attacker, "other": "203.0.113"}
        self._nets = {role: f"{net}.{self._number}" for role, net in nets.items()}
        self._callers = {
            role: [Caller(self._place.port_of(app), source, self._books) for app in APPS]
            for role, source in self._nets.items()
        }

    def _register(self) -> None:
        contact = {"contact_email_address": self._address}

        def opened() -> bool:
            if self._witness.sight.orders.get(self._reference):
                return True
            try:
                register(self._place.database, self._reference, contact, actor="faults", now=time.time())
            except OctyError:  # the store is away, or it was just opened
                time.sleep(_REST)
            return False

        self._until(opened, "the account to be opened")
        self._collect(self._new_order())

    # An attack

    def _noise(self) -> None:
        """Fail now and then, as programs do; a success ends it."""
        for _ in range(self._chance.randrange(0, 8)):
            self._caller("other").wrong(self._held)
        self._until(lambda: self._right() == 200, "the pair in use to be accepted")

    def _attack(self) -> str:
        """Send wrong secrets until there is a case, and some more; from up to five connections at once."""
        attack = Attack(self._place, self._books, self._held, self._nets["attacker"], THRESHOLD + self._more())
        for app in self._chance.choices(list(APPS), k=self._chance.choice([1, 1, 2, 5])):
            attack.begin(app, until=time.monotonic() + self._patience())
        while attack.goes_on():
            self._right()
            time.sleep(_REST * self._chance.random())
        self._until(lambda: self._held.public_key in self._witness.sight.incidents, "the case to be opened")
        return self._witness.sight.incidents[self._held.public_key][0]

    def _more(self) -> int:
        return self._chance.choice([0, 0, 10, 50, 150])

    # The case

    def _answer(self, incident: str) -> bool:
        """Answer the alert, or sometimes the first reminder; tell whether the account is to be attacked again."""
        mail = self._mail("alert", incident)
        if self._chance.random() < self._slow:
            if self._chance.random() < 0.3 and self._is_reminded(incident):
                mail = self._mail("reminder", incident)
            else:
                self._wait(self._chance.uniform(30, _SLOWEST))
        answer, leaked = self._chance.choice(
            [("not_us", False), ("not_us", False), ("not_us", True), ("it_was_us", False)]
        )
        old, self._fate = self._held, "leaked" if leaked else "in use"
        self._press(lambda: self._browser.answer_alert(mail, answer, leaked=leaked), self._answered(incident))
        self._diary.answered.append((incident, answer, leaked))
        if answer == "it_was_us":
            self._until(lambda: self._closed(old) == "false_alarm", "the false alarm to be closed")
            for _ in range(_AFTER):
                self._caller("attacker").wrong(old)
            return False
        self._collect(self._new_order())
        self._until(lambda: self._closed(old) == "regenerated", "the case to be closed", old=old)
        return True

    def _is_reminded(self, incident: str) -> bool:
        """Wait for a reminder a while; there is none when the alert itself was that late."""

        def there() -> bool:
            return any(mail.subject_id == incident for mail in self._witness.mails(self._address, "reminder"))

        return self._witness.wait(there, _REMINDED)

    def _answered(self, incident: str) -> Callable[[], bool]:
        return lambda: incident in self._witness.sight.answers

    def _closed(self, keys: Keys) -> str | None:
        return self._witness.sight.incidents[keys.public_key][1]

    # New keys

    def _new_order(self) -> str:
        def there() -> bool:
            return bool(set(self._witness.sight.orders.get(self._reference, ())) - self._seen)

        self._until(there, "new keys to be ordered")
        [order] = set(self._witness.sight.orders[self._reference]) - self._seen
        self._seen.add(order)
        return order

    def _collect(self, order: str) -> None:
        """Open the one-time page. Who presses its button and sees no secret asks support for other keys."""
        found: list[Keys] = []
        mail = self._mail("new_keys", order)
        self._press(
            lambda: found.append(self._browser.collect_keys(mail)),
            lambda: bool(found) or self._witness.sight.regenerations[order][1],
        )
        if found:
            self._keys, self._fate = found[0], "in use"
            self._diary.keys.append(found[0])
            self._until(lambda: self._right() == 200, "the new pair to be accepted")
            return
        self._diary.unseen.append(order)
        self._fate = "old"  # it ends with the overlap
        self._until(lambda: self._witness.sight.regenerations[order][2], "the unseen pair's delivery to end")
        self._until(self._ask_support, "support to order other keys")
        self._collect(self._new_order())

    def _ask_support(self) -> bool:
        try:
            key_orders.regenerate(
                self._place.database,
                self._reference,
                actor="support",
                reason="the page showed no secret",
                leaked=False,
                now=time.time(),
            )
        except (OctyError, key_orders.OrderRefusedError):
            return False
        return True

    # How it is done

    @property
    def _held(self) -> Keys:
        assert self._keys is not None
        return self._keys

    def _caller(self, role: str) -> Caller:
        return self._chance.choice(self._callers[role])

    def _right(self) -> int:
        return self._caller("owner").right(self._held, in_use=self._fate == "in use")

    def _mail(self, kind: str, subject: str) -> ReceivedMail:
        """Return the newest mail of a kind about this; its links' tokens must be found nowhere but in it."""

        def there() -> list[ReceivedMail]:
            return [mail for mail in self._witness.mails(self._address, kind) if mail.subject_id == subject]

        self._until(lambda: bool(there()), f"the mail {kind}")
        self._diary.tokens += [link.rsplit("/", 1)[1] for link in there()[-1].links if link.count("/") > 3]
        return there()[-1]

    def _press(self, button: Callable[[], object], done: Callable[[], bool]) -> None:
        """Press a button until the tables say that it was pressed."""

        def pressed() -> bool:
            if not done():
                try:
                    button()
                except (OctyError, httpx2.TransportError):  # an error page, or none: look, and press again
                    time.sleep(_REST)
            return done()

        self._until(pressed, "a button to work")

    def _wait(self, seconds: float) -> None:
        """Leave a mail unread for a while; meanwhile it may be sent again."""
        end = time.monotonic() + min(seconds, self._patience() / 4)
        self._until(lambda: time.monotonic() > end, "the customer")

    def _until(self, done: Callable[[], bool], what: str, *, old: Keys | None = None) -> None:
        """Wait, and use the keys meanwhile, as the customer's programs do."""
        deadline = time.monotonic() + self._patience()
        while not done():
            if time.monotonic() > deadline:
                raise TooLateError(f"waited in vain for {what}")
            if self._keys is not None:
                self._right()
            if old is not None:
                self._caller("owner").right(old, in_use=False)
            time.sleep(_REST)
