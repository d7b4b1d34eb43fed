"""Whether a process's keys are those that the database is used with, compared by a keyed check value of each key.

The first keys of a purpose are registered by `octy db upgrade` or by a worker's first start. A keychain that contains
a registered key may register its further keys: that is a rotation. A keychain without any registered key, or with
another key under a registered id, belongs to another database.
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
COMPARISON_INTERVAL = 5.0  # seconds between two comparisons once the peppers match; until then each look-up compares


class KeyCheckResult(Enum):
    """How a keychain compares with the registered keys of its purpose."""

    ALL_REGISTERED = "all_registered"  # all keys of the keychain
    SOME_REGISTERED = "some_registered"  # at least one, and none differs; the others are new
    NONE_REGISTERED = "none_registered"
    FOREIGN = "foreign"  # keys of another database


def check_value(purpose: str, key_id: str, key: bytes) -> str:
    """Return a value that differs for each key and reveals nothing about it."""
    return blake2b(f"{purpose}\0{key_id}".encode(), key=key, digest_size=16, person=b"octy-key-check").hexdigest()


def compare_keys(purpose: str, chain: Keychain, registered: Mapping[str, str]) -> KeyCheckResult:
    """Compare a keychain with the registered check values of its purpose, by key id."""
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
    """Register the new keys of a keychain, in a transaction that writes. Raises KeyMismatchError."""
    registered = load_check_values(connection, purpose)
    if compare_keys(purpose, chain, registered) is KeyCheckResult.FOREIGN:
        raise KeyMismatchError(describe_foreign(purpose, chain, registered))
    for key_id, key in chain.items():
        if key_id not in registered:
            run(connection, _INSERT, purpose, key_id, check_value(purpose, key_id, key), to_micros(now))


def describe_foreign(purpose: str, chain: Keychain, registered: Mapping[str, str]) -> str:
    """Return what is wrong with a foreign keychain, and what to do. It contains key ids only."""
    setting = f"OCTY_{purpose.upper()}"
    differing = [key_id for key_id in chain if key_id in registered]
    found = (
        f"its key {differing[0]!r} differs from the key with that id that this database is used with"
        if differing
        else f"none of its keys ({', '.join(chain)}) is registered in this database, but {', '.join(registered)}"
    )
    return (
        f"{setting}: {found} → set {setting} to the value on the hosts that use this database, or OCTY_DATABASE_URL to "
        "the database of these keys"
    )


class PepperCheck:
    """Compares a host app's peppers with those of the database, every few seconds. Thread-safe."""

    def __init__(self, peppers: Keychain, monotonic: Clock = elapsed) -> None:
        self._peppers = peppers
        self._monotonic = monotonic
        self._logged = False
        self.restart()

    def restart(self) -> None:
        """Forget the last comparison, in a forked child."""
        self._valid_until = -inf

    @property
    def is_confirmed(self) -> bool:
        """Whether the last comparison matched; else each look-up compares."""
        return self._valid_until > -inf

    def confirm(self, connection: Connection, *, force: bool = False) -> None:
        """Compare when the interval is over, or by `force`. Raises KeyMismatchError for peppers of another database."""
        now = self._monotonic()
        if not force and now < self._valid_until:
            return
        registered = load_check_values(connection, PEPPERS)
        result = compare_keys(PEPPERS, self._peppers, registered)
        if result is KeyCheckResult.FOREIGN:
            self._reject(describe_foreign(PEPPERS, self._peppers, registered))
        if result is KeyCheckResult.NONE_REGISTERED:
            self._valid_until = -inf
            if connection.execute(_ANY_PAIR).first() is not None:
                self._reject(
                    "OCTY_PEPPERS: this database has key pairs and no registered peppers → run `octy db upgrade` with "
                    "the settings of the worker"
                )
            return
        self._valid_until = now + COMPARISON_INTERVAL
        if self._logged:
            self._logged = False
            _logger.warning("OCTY_PEPPERS matches the database again: requests are authenticated")

    def _reject(self, reason: str) -> None:
        self._valid_until = -inf
        if not self._logged:
            self._logged = True
            _logger.error("requests with keys get 503 and are not recorded: %s", reason)
        raise KeyMismatchError(reason)
