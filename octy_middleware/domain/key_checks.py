"""Whether keys are those that a database was used with: by a keyed value of each key, never by the key's id alone.

Here: the check value, comparing a chain of keys with the table `key_check`, registering keys, and the comparison that a
host app repeats. Not here: what a process does when its keys do not fit (`keyring`, `octy_worker.identity`).

The rule: the first keys of a purpose are registered by `octy db upgrade` or a worker's first start. A chain that holds
a registered key may register its further keys, which is a rotation. A chain without any registered key, or with another
key under a registered id, belongs to another database.
"""

import logging
from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from math import inf

from sqlalchemy import Connection, text

from octy_middleware.clock import Clock, elapsed, to_micros
from octy_middleware.db.bulk_sql import run
from octy_middleware.errors import KeyMismatchError
from octy_middleware.keys.keychain import Keychain

_logger = logging.getLogger(__name__)

PEPPERS = "peppers"
_REGISTERED = text("SELECT key_id, check_value FROM key_check WHERE purpose = :purpose ORDER BY registered_at, key_id")
_INSERT = "INSERT INTO key_check (purpose, key_id, check_value, registered_at) VALUES (?, ?, ?, ?)"
_ANY_PAIR = text("SELECT 1 FROM key_pair LIMIT 1")
_INTERVAL = 5.0  # seconds between two comparisons of peppers that fit; others are compared at each look-up


class KeyCheckResult(Enum):
    """How a chain compares with what is registered for its purpose."""

    ALL_REGISTERED = "registered"  # every key
    SOME_REGISTERED = "grown"  # some, and none differs: the others are new
    NONE_REGISTERED = "nothing_registered"
    FOREIGN = "foreign"


def check_value(purpose: str, key_id: str, key: bytes) -> str:
    """Return what tells this key from any other, and nothing about the key itself."""
    return blake2b(f"{purpose}\0{key_id}".encode(), key=key, digest_size=16, person=b"octy-key-check").hexdigest()


def compare_keys(purpose: str, chain: Keychain, registered: Mapping[str, str]) -> KeyCheckResult:
    """Compare a chain with the registered check values of its purpose, by key id."""
    if not registered:
        return KeyCheckResult.NONE_REGISTERED
    known = [key_id for key_id in chain if key_id in registered]
    if not known or any(check_value(purpose, key_id, chain[key_id]) != registered[key_id] for key_id in known):
        return KeyCheckResult.FOREIGN
    return KeyCheckResult.ALL_REGISTERED if len(known) == len(chain) else KeyCheckResult.SOME_REGISTERED


def load_check_values(connection: Connection, purpose: str) -> dict[str, str]:
    """Return the registered check values of a purpose, by key id, in the order of their registration."""
    return {str(key_id): str(value) for key_id, value in connection.execute(_REGISTERED, {"purpose": purpose})}


def register_keys(connection: Connection, purpose: str, chain: Keychain, now: float) -> None:
    """Register the keys of a chain that are not yet. Give a writing transaction. Raises KeyMismatchError."""
    registered = load_check_values(connection, purpose)
    if compare_keys(purpose, chain, registered) is KeyCheckResult.FOREIGN:
        raise KeyMismatchError(describe_foreign(purpose, chain, registered))
    for key_id, key in chain.items():
        if key_id not in registered:
            run(connection, _INSERT, purpose, key_id, check_value(purpose, key_id, key), to_micros(now))


def describe_foreign(purpose: str, chain: Keychain, registered: Mapping[str, str]) -> str:
    """Return what is wrong with a foreign chain, and what to do. It names ids only."""
    setting = f"OCTY_{purpose.upper()}"
    differing = [key_id for key_id in chain if key_id in registered]
    found = (
        f"its key {differing[0]!r} is not the one with that id that this database is used with"
        if differing
        else f"none of its keys ({', '.join(chain)}) is known to this database, which knows {', '.join(registered)}"
    )
    return (
        f"{setting}: {found} → set {setting} to the value of the hosts that use this database, or OCTY_DATABASE_URL to "
        "the database of these keys"
    )


class PepperCheck:
    """The comparison that a host app repeats: its peppers with those of the database. Safe for threads."""

    def __init__(self, peppers: Keychain, monotonic: Clock = elapsed) -> None:
        self._peppers = peppers
        self._monotonic = monotonic
        self._logged = False
        self.restart()

    def restart(self) -> None:
        """Know nothing, as in a new process."""
        self._valid_until = -inf

    @property
    def is_confirmed(self) -> bool:
        """Whether the last comparison found registered peppers; else each look-up compares."""
        return self._valid_until > -inf

    def confirm(self, connection: Connection, *, anew: bool = False) -> None:
        """Compare when it is time, or `anew`. Raises KeyMismatchError when nothing may be judged with these peppers."""
        now = self._monotonic()
        if not anew and now < self._valid_until:
            return
        registered = load_check_values(connection, PEPPERS)
        result = compare_keys(PEPPERS, self._peppers, registered)
        if result is KeyCheckResult.FOREIGN:
            self._refuse(describe_foreign(PEPPERS, self._peppers, registered))
        if result is KeyCheckResult.NONE_REGISTERED:
            self._valid_until = -inf
            if connection.execute(_ANY_PAIR).first() is not None:
                self._refuse(
                    "OCTY_PEPPERS: this database has key pairs and no registered peppers → run `octy db upgrade` with "
                    "the settings of the worker"
                )
            return
        self._valid_until = now + _INTERVAL
        if self._logged:
            self._logged = False
            _logger.warning("OCTY_PEPPERS fits the database now; keys are checked again")

    def _refuse(self, why: str) -> None:
        self._valid_until = -inf
        if not self._logged:
            self._logged = True
            _logger.error("requests with keys are answered 503, and nothing of them is recorded: %s", why)
        raise KeyMismatchError(why)
