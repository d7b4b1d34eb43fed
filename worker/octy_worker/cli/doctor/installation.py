"""The installation's id, whether the database is a copy, and whether the keys set are those it is used with."""

from collections.abc import Iterator
from contextlib import closing

from sqlalchemy import Connection

from octy_middleware.db.database import Database
from octy_middleware.domain.installation import installation_id, load_installation
from octy_middleware.domain.key_checks import KeyCheckResult, compare_keys, describe_foreign, load_check_values
from octy_middleware.errors import OctyError
from octy_middleware.keys.keychain import Keychain
from octy_worker.cli.doctor.check import Check, passed
from octy_worker.cli.doctor.configuration import NO_KEY, variable_name
from octy_worker.cli.doctor.problems import problem, problem_of
from octy_worker.identity import copied_message, keychains_of
from octy_worker.settings import WorkerSettings

INSTALLATION, KEYS = "installation", "keys of this database"


def check_identity(database: Database, settings: WorkerSettings) -> Iterator[Check]:
    """Check the installation's row and the check values of all keys that are set."""
    try:
        with database.read() as connection:
            checks = [_check_location(database, connection), _check_keys(connection, keychains_of(settings))]
    except OctyError as error:
        checks = [problem("identity-unreadable", name=name, error=error) for name in (INSTALLATION, KEYS)]
    yield from checks


def _check_location(database: Database, connection: Connection) -> Check:
    found = load_installation(database, connection)
    if found is None:
        return problem("installation-missing")
    if not found.is_at_recorded_location:
        return problem_of("installation-copied", copied_message(found))
    return passed(INSTALLATION, f"{found.id}, not a copy")


def _check_keys(connection: Connection, chains: dict[str, Keychain]) -> Check:
    problems, missing = [], []
    for purpose, chain in chains.items():
        registered = load_check_values(connection, purpose)
        result = KeyCheckResult.ALL_REGISTERED if NO_KEY in chain else compare_keys(purpose, chain, registered)
        if result is KeyCheckResult.FOREIGN:
            problems.append(describe_foreign(purpose, chain, registered))
        elif result is not KeyCheckResult.ALL_REGISTERED:
            missing.append(variable_name(purpose))
    if problems:
        more = f"; {len(problems) - 1} more settings do not match" if len(problems) > 1 else ""
        return problem_of("keys-mismatch", f"{problems[0]}{more}")
    if missing:
        return problem("keys-unregistered", settings=", ".join(missing))
    return passed(KEYS, "the keys set are those that the database is used with")


def read_installation(settings: WorkerSettings) -> str | None:
    """Return the installation's id, or None when it can't be read; another check reports why."""
    try:
        with closing(Database(settings.database_url)) as database:
            return None if database.backend.is_missing() else installation_id(database)
    except OctyError:
        return None
