"""The database: connection, schema, integrity, keys, outbox, webhooks. Takes the write lock; writes nothing."""

import time
from collections.abc import Container, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc
from octy_middleware.db.database import Database
from octy_middleware.db.migrations import check_tables
from octy_middleware.db.models import Account, KeyPair, Outbox, SealedSecret, Webhook
from octy_middleware.db.postgres_url import unverified_sslmode
from octy_middleware.db.schema_version import SCHEMA_VERSION
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS
from octy_middleware.errors import DatabaseSetupError, DatabaseUnavailableError, OctyError
from octy_middleware.keys.secret import KeyHasher, row_binding
from octy_middleware.states import KeyPairState, WebhookState
from octy_worker.cli.context import now, require_database_file
from octy_worker.cli.doctor.apps import APPS, check_app_processes
from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.database_server import DURABILITY, VERSION, check_database_server
from octy_worker.cli.doctor.file_systems import network_file_system
from octy_worker.cli.doctor.installation import INSTALLATION, KEYS, check_identity
from octy_worker.cli.doctor.problems import problem
from octy_worker.cli.output import format_time
from octy_worker.errors import UsageError
from octy_worker.settings import WorkerSettings

LOCK_TIMEOUT = 2.0  # seconds for the write lock
_LATE = timedelta(seconds=30)  # a relay delivers within a second
_CONNECTION = "database connection"
_INSIDE = (VERSION, DURABILITY, INSTALLATION, KEYS, "write lock", "integrity")
_UNREACHABLE = {"sqlite": "database-file-unavailable", "postgresql": "database-server-unreachable"}


def check_database(settings: WorkerSettings) -> Iterator[Check]:
    """Check the database and its rows."""
    try:
        database = Database(settings.database_url, busy_timeout=LOCK_TIMEOUT)
    except OctyError as error:
        yield problem("database-url-refused", error=error)
        yield unchecked(_CONNECTION, "the database is not available")
        yield from _unchecked()
        return
    with closing(database):
        yield from _check_opened(database, settings)


def _check_opened(database: Database, settings: WorkerSettings) -> Iterator[Check]:
    yield _check_connection(database)
    try:
        require_database_file(database)
        check_tables(database)
    except (OctyError, UsageError) as error:
        away = isinstance(error, DatabaseUnavailableError) and not isinstance(error, DatabaseSetupError)
        yield problem(
            _UNREACHABLE[database.url.get_backend_name()] if away else "database-not-this-release", error=error
        )
        yield from _unchecked()
        return
    yield _check_location(database)
    yield from check_database_server(database)
    yield from check_identity(database, settings)
    yield _check_write_lock(database)
    yield _check_integrity(database)
    for name, check in _CONTENT_CHECKS.items():
        try:
            with database.read_session() as session:
                yield check(session, settings)
        except OctyError as error:
            yield problem("rows-unreadable", name=name, error=error)


def _check_connection(database: Database) -> Check:
    """Check that the connection to a server is encrypted and verified; in clear only where the URL says so."""
    if database.url.get_backend_name() == "sqlite":
        return passed(_CONNECTION, "a local file")
    mode = unverified_sslmode(database.url)
    if mode == "disable" and database.url.query.get("sslmode") == mode:
        return passed(
            _CONNECTION,
            "not encrypted: OCTY_DATABASE_URL has sslmode=disable; sslmode=verify-full with sslrootcert would encrypt "
            "the connection and verify the server",
        )
    if mode:
        return problem("sslmode-weak", mode=mode)
    return passed(_CONNECTION, "on this machine, or the server's certificate is verified")


def _unchecked() -> Iterator[Check]:
    return (unchecked(name, "the database is not available") for name in (*_INSIDE, *_CONTENT_CHECKS))


def _check_location(database: Database) -> Check:
    is_file = database.url.get_backend_name() == "sqlite"
    network = network_file_system(Path(database.backend.display_name)) if is_file else ""
    if network:
        return problem("database-on-network-file-system", file=database.backend.display_name, kind=network)
    return passed("database", f"{database.backend.display_name} at schema {SCHEMA_VERSION}")


def _check_write_lock(database: Database) -> Check:
    begun = time.monotonic()
    try:
        with database.write():
            waited = time.monotonic() - begun
    except OctyError as error:
        return problem("write-lock-failed", error=error)
    return passed("write lock", f"acquired in {waited * 1000:.0f} ms")


def _check_integrity(database: Database) -> Check:
    try:
        with database.read() as connection:
            damage = database.backend.integrity_problem(connection)
    except OctyError as error:
        return problem("database-damaged", error=error)
    return problem("database-damaged", error=damage) if damage else passed("integrity", "quick check passed")


def _check_peppers(session: Session, settings: WorkerSettings) -> Check:
    """Check that the pepper of every live digest is set; imported hashes have none."""
    live = select(KeyPair.secret_digest).where(KeyPair.state != KeyPairState.RETIRED)
    used = [digest.split("$")[2] for digest in session.exec(live) if digest.startswith("$octy-b2$")]
    missing = _missing_keys(used, settings.peppers)
    if missing:
        return problem("peppers-missing", lost=len(missing), used=len(used), keys=_joined(missing))
    return passed("peppers and key pairs", f"the peppers of all {len(used)} live key pairs are set")


def _check_imported_hashes(session: Session, settings: WorkerSettings) -> Check:
    """Look for stored hashes that no import has written: somebody with access to the database may have forged them."""
    hasher = KeyHasher(settings.peppers)
    imported = select(KeyPair.id, KeyPair.public_key, KeyPair.secret_digest).where(
        KeyPair.state != KeyPairState.RETIRED, col(KeyPair.secret_digest).not_like("$octy-b2$%")
    )
    found = forged = 0
    for pair_id, public_key, stored in session.exec(imported):
        found += 1
        forged += hasher.is_forged(stored, row_binding(pair_id, public_key))
    if forged:
        return problem("hashes-forged", forged=forged, found=found)
    return passed("imported hashes", f"the hashes of all {found} imported key pairs were written by an import")


def _check_sealing_keys(session: Session, settings: WorkerSettings) -> Check:
    uncollected = session.exec(select(SealedSecret.sealed).where(col(SealedSecret.sealed).is_not(None)))
    used = [sealed.partition("$")[0] for sealed in uncollected if sealed is not None]
    missing = _missing_keys(used, settings.sealing_keys)
    if missing:
        return problem("sealing-keys-missing", lost=len(missing), used=len(used), keys=_joined(missing))
    return passed("sealing keys and secrets", f"{len(used)} secrets are not collected yet; all their keys are set")


def _missing_keys(used: list[str], known: Container[str]) -> list[str]:
    return [key_id for key_id in used if key_id not in known]


def _joined(key_ids: list[str]) -> str:
    return ", ".join(sorted(set(key_ids)))


def _check_outbox(session: Session, _settings: WorkerSettings) -> Check:
    dead_letters = session.exec(
        select(func.count()).where(
            col(Outbox.delivered_at).is_(None), col(Outbox.delivery_attempts) >= MAX_DELIVERY_ATTEMPTS
        )
    ).one()
    if dead_letters:
        return problem("dead-letters", count=dead_letters, attempts=MAX_DELIVERY_ATTEMPTS)
    count, oldest = session.exec(
        select(func.count(), func.min(Outbox.id)).where(col(Outbox.delivered_at).is_(None))
    ).one()
    first = session.get(Outbox, oldest) if oldest is not None else None
    if first is None:
        return passed("outbox", "all messages are delivered")
    since = format_time(first.created_at)
    error = f" after {first.delivery_attempts} attempts: {first.last_error}" if first.last_error else ""
    if utc(now()) - first.created_at < _LATE:
        return passed("outbox", f"{count} undelivered, the oldest since {since}{error}")
    return problem("messages-late", count=count, since=since, error=error)


def _check_webhooks(session: Session, settings: WorkerSettings) -> Check:
    """Check that webhooks are on where accounts have a URL. Customers' unreachable servers are not our problem."""
    with_url = session.exec(select(func.count()).where(Account.webhook_url != "")).one()
    if settings.webhook_keys is None:
        if with_url:
            return problem("webhooks-off", count=with_url)
        return passed("webhooks", "off: OCTY_WEBHOOK_KEYS is not set, and no account has a webhook URL")
    failed = session.exec(select(func.count()).where(Webhook.state == WebhookState.FAILED)).one()
    return passed("webhooks", f"{with_url} accounts have a webhook URL; {failed} webhooks of the last 30 days failed")


_CONTENT_CHECKS = {
    "peppers and key pairs": _check_peppers,
    "imported hashes": _check_imported_hashes,
    "sealing keys and secrets": _check_sealing_keys,
    "outbox": _check_outbox,
    "webhooks": _check_webhooks,
    APPS: check_app_processes,
}
