"""Reads tables and mails from the outside during a run, and records when each retirement was first seen."""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sqlalchemy import text

from octy_middleware import Database
from octy_middleware.errors import OctyError
from octy_worker.dev.inbox import Inbox, ReceivedMail

_INTERVAL = 0.05
_INCIDENTS = "SELECT public_key, id, resolution FROM incident"
_ANSWERED = "SELECT incident_id FROM incident_answer WHERE answer IS NOT NULL"
_REGENERATIONS = """SELECT r.id, r.collected_at IS NOT NULL, r.finished_at IS NOT NULL, a.reference
    FROM regeneration r JOIN account a ON a.id = r.account_id"""
_RETIRED = "SELECT public_key FROM key_pair WHERE state = 'retired'"


@dataclass(frozen=True)
class Snapshot:
    """The tables as they were read last."""

    incidents: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # public key -> id, resolution
    answered: frozenset[str] = frozenset()  # incidents
    regenerations: dict[str, tuple[bool, bool]] = field(default_factory=dict)  # id -> collected, finished
    by_account: dict[str, set[str]] = field(default_factory=dict)  # account reference -> its regenerations


class Observer:
    """Reads from a thread of its own; after an error of the database it reads again. A context manager."""

    def __init__(self, database: Database, inbox: Inbox) -> None:
        self._database, self._inbox = database, inbox
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._observe, daemon=True)
        self._mails: defaultdict[tuple[str, str], dict[str, ReceivedMail]] = defaultdict(dict)
        self.snapshot = Snapshot()
        self.retired: dict[str, float] = {}  # public key -> when its retirement was first seen (monotonic)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def mails(self, address: str, kind: str) -> list[ReceivedMail]:
        """Return the address's mails of a kind, oldest first, each Message-ID once."""
        return list(self._mails[address, kind].values())

    def _observe(self) -> None:
        read: set[Path] = set()
        while not self._stop.wait(_INTERVAL):
            for mail in self._inbox.messages():
                if mail.path not in read:
                    read.add(mail.path)
                    self._mails[mail.to, mail.kind][mail.message_id] = mail
            try:
                self._read_tables()
            except OctyError:
                continue

    def _read_tables(self) -> None:
        with self._database.read() as connection:
            incidents, answered, regenerations, retired = (
                connection.execute(text(statement)).all()
                for statement in (_INCIDENTS, _ANSWERED, _REGENERATIONS, _RETIRED)
            )
        by_account: defaultdict[str, set[str]] = defaultdict(set)
        for regeneration, _, _, reference in regenerations:
            by_account[reference].add(regeneration)
        self.snapshot = Snapshot(
            incidents={key: (incident, resolution) for key, incident, resolution in incidents},
            answered=frozenset(incident for (incident,) in answered),
            regenerations={row[0]: (bool(row[1]), bool(row[2])) for row in regenerations},
            by_account=dict(by_account),
        )
        now = time.monotonic()
        for (public_key,) in retired:
            self.retired.setdefault(public_key, now)
