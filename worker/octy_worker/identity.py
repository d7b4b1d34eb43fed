"""Checks at a worker's start: the database is at its recorded location, and is used with the registered keys.

The first start registers both. `adoption` confirms another location.
"""

from collections.abc import Mapping

from octy_middleware.db.database import Database
from octy_middleware.domain.installation import Installation, record_location, register_installation
from octy_middleware.domain.key_checks import (
    KeyCheckResult,
    compare_keys,
    describe_foreign,
    load_check_values,
    register_keys,
)
from octy_middleware.errors import ConfigurationError, KeyMismatchError
from octy_middleware.keys.keychain import Keychain
from octy_worker.settings import KEY_SETTINGS, WorkerSettings

_COPIED = (
    "this database is not at the location recorded for installation {id}, and a copy must not act for the original → "
    "if the database was moved, run `octy db adopt --moved`; if this is a copy, run `octy db adopt --copy`"
)


def keychains_of(settings: WorkerSettings) -> dict[str, Keychain]:
    """Return the keychains that are set, by purpose."""
    chains = {purpose: getattr(settings, purpose) for purpose in KEY_SETTINGS}
    return {purpose: chain for purpose, chain in chains.items() if chain is not None}


def keychains_from_environment(variables: Mapping[str, str], *purposes: str) -> dict[str, Keychain]:
    """Return the keychains of OCTY_* variables, by purpose; all purposes, unless some are given.

    Raises ConfigurationError for one that can't be parsed.
    """
    names = {purpose: f"OCTY_{purpose.upper()}" for purpose in purposes or KEY_SETTINGS}
    return {
        purpose: Keychain.parse(variables[name], name=name) for purpose, name in names.items() if variables.get(name)
    }


def verify_installation(database: Database, chains: Mapping[str, Keychain], now: float) -> str:
    """Return the installation's id; register the id and the first keys of each purpose if they are new.

    Raises ConfigurationError for a copied database, and KeyMismatchError for keys of another one; nothing is
    registered then.
    """
    with database.write() as connection:
        found = register_installation(database, connection, now)
        if not found.is_at_recorded_location:
            raise ConfigurationError(copied_message(found))
        if found.recorded_location != found.current_location:  # renamed, or another device number after a reboot
            record_location(connection, found.id, found.current_location)
        for purpose, chain in chains.items():
            register_keys(connection, purpose, chain, now)
    return found.id


def check_registered_keys(database: Database, purpose: str, chain: Keychain) -> None:
    """Raise KeyMismatchError if other keys are registered; no registered keys are fine."""
    with database.read() as connection:
        registered = load_check_values(connection, purpose)
    if compare_keys(purpose, chain, registered) is KeyCheckResult.FOREIGN:
        raise KeyMismatchError(describe_foreign(purpose, chain, registered))


def copied_message(found: Installation) -> str:
    """Return the error text for a database that is not at its recorded location."""
    return _COPIED.format(id=found.id)
