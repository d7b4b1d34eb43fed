"""What can be seen from the outside while it happens: tables by another connection, mails as files.

Here: looking, again and again, and remembering when something was seen first. Not here: what follows from it.
A store that is away is looked at again a moment later.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Row, text

from octy_middleware import Database
from octy_middleware.errors import OctyError
from octy_worker.dev.inbox import Inbox, ReceivedMail

_PAUSE = 0.05


@dataclass(frozen=True)
class Sight:
    """The tables as they were seen last."""

    incidents: dict[str, tuple[str, str | None, str | None]]  # public key -> id, resolution, regeneration
    answers: dict[str, str]  # incident -> answer
    regenerations: dict[str, tuple[str, bool, bool]]  # id -> cause, collected, finished
    orders: dict[str, list[str]]  # account reference -> its regenerations


NOTHING = Sight({}, {}, {}, {})


class Witness:
    """Looks from a thread of its own. A context manager."""

    def __init__(self, database: Database, inbox: Inbox) -> None:
        self._database, self._inbox = database, inbox
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._mails: dict[str, list[ReceivedMail]] = defaultdict(list)
        self._files: set[str] = set()
        self.sight = NOTHING
        self.cut: dict[str, float] = {}
        """When each retired pair was seen to be so, by the monotonic clock."""
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)

    def mails(self, address: str, kind: str) -> list[ReceivedMail]:
        """Return the address's different mails of a kind, oldest first."""
        found = {mail.message_id: mail for mail in list(self._mails[address]) if mail.kind == kind}
        return list(found.values())

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
        return True

    def _look_on(self) -> None:
        while not self._end.wait(_PAUSE):
            try:
                self._look()
            except OctyError:  # the store is away
                continue
            finally:
                self._read_mails()

    def _look(self) -> None:
        with self._database.read() as connection:
            incidents = connection.execute(text("SELECT public_key, id, resolution, regeneration_id FROM incident"))
            answers = connection.execute(
                text("SELECT incident_id, answer FROM incident_answer WHERE answer IS NOT NULL")
            )
            orders = connection.execute(
                text(
                    "SELECT r.id, r.cause, r.collected_at, r.finished_at, a.reference FROM regeneration r "
                    "JOIN account a ON a.id = r.account_id"
                )
            ).all()
            self.sight = Sight(
                incidents={key: (one, resolution, order) for key, one, resolution, order in incidents},
                answers=dict(map(tuple, answers)),
                regenerations={row[0]: (row[1], row[2] is not None, row[3] is not None) for row in orders},
                orders=_by_account(orders),
            )
            cut = connection.execute(text("SELECT public_key FROM key_pair WHERE state = 'retired'")).all()
        now = time.monotonic()
        for (public_key,) in cut:
            self.cut.setdefault(public_key, now)

    def _read_mails(self) -> None:
        for mail in self._inbox.messages():
            if mail.path.name not in self._files:
                self._files.add(mail.path.name)
                self._mails[mail.to].append(mail)


def _by_account(rows: Iterable[Row[Any]]) -> dict[str, list[str]]:
    orders: dict[str, list[str]] = {}
    for row in rows:
        orders.setdefault(row[4], []).append(row[0])
    return orders
