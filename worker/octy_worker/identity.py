"""A worker's start: the database is its installation's own, still where it was, and used with these keys.

Here: what is registered at the first start, and what is refused. Not here: the rows (`octy_middleware.domain.installation`,
`octy_middleware.domain.key_checks`), confirming another place (`adoption`).
"""

from collections.abc import Mapping

from octy_middleware.db.database import Database
from octy_middleware.domain.installation import Installation, record_location, register_installation
from octy_middleware.domain.key_checks import PEPPERS, Fit, compare, describe_foreign, load_check_values, register_keys
from octy_middleware.errors import ConfigurationError, ForeignKeysError
from octy_middleware.keys.keychain import Keychain
from octy_worker.settings import WorkerSettings

PURPOSES = (PEPPERS, "sealing_keys", "link_keys", "webhook_keys", "temporal_keys")
"""The settings that hold keys, each of which has check values in the database."""
_COPIED = (
    "this database is not where installation {id} had it, and a copy must not act for the original → if the original "
    "is gone and this is its new place, run `octy db adopt --moved`; if this is a copy, run `octy db adopt --copy`"
)


def keychains_of(settings: WorkerSettings) -> dict[str, Keychain]:
    """Return the keys that are set, by purpose."""
    chains = {purpose: getattr(settings, purpose) for purpose in PURPOSES}
    return {purpose: chain for purpose, chain in chains.items() if chain is not None}


def keychains_from_environment(variables: Mapping[str, str], *purposes: str) -> dict[str, Keychain]:
    """Return the keys that OCTY_* variables hold, by purpose; all of them, unless purposes are given.

    Raises ConfigurationError for one that can't be read.
    """
    names = {purpose: f"OCTY_{purpose.upper()}" for purpose in purposes or PURPOSES}
    return {
        purpose: Keychain.parse(variables[name], name=name) for purpose, name in names.items() if variables.get(name)
    }


def verify_installation(database: Database, chains: Mapping[str, Keychain], now: float) -> str:
    """Return the installation's id, and register what is not registered yet: the id, and the first keys of a purpose.

    Raises ConfigurationError for a copied database, and ForeignKeysError for keys of another one; nothing is
    registered then.
    """
    with database.write() as connection:
        found = register_installation(database, connection, now)
        if not found.is_at_recorded_location:
            raise ConfigurationError(copied_message(found))
        if (
            found.recorded_location != found.current_location
        ):  # renamed, or its device has another number since a reboot
            record_location(connection, found.id, found.current_location)
        for purpose, chain in chains.items():
            register_keys(connection, purpose, chain, now)
    return found.id


def check_registered_keys(database: Database, purpose: str, chain: Keychain) -> None:
    """Raise ForeignKeysError when the database is used with other keys; none registered yet is fine."""
    with database.read() as connection:
        registered = load_check_values(connection, purpose)
    if compare(purpose, chain, registered) is Fit.FOREIGN:
        raise ForeignKeysError(describe_foreign(purpose, chain, registered))


def copied_message(found: Installation) -> str:
    """Return what to say of a database that is in another place than recorded."""
    return _COPIED.format(id=found.id)
