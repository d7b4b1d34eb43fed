"""The database: reachable, at this release, writable, whole, readable with these keys, and its messages delivered.

Here: looks. The write lock is taken and given back; nothing is written.
"""

import time
from collections.abc import Container, Iterator
from datetime import timedelta
from pathlib import Path

from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc
from octy_middleware.db.database import Database
from octy_middleware.db.migrations import check_tables
from octy_middleware.db.models import Account, KeyPair, Outbox, SealedSecret, Webhook
from octy_middleware.db.postgres_url import unverified_sslmode
from octy_middleware.db.schema_version import SCHEMA_VERSION
from octy_middleware.domain.outbox import TRIES
from octy_middleware.errors import DatabaseSetupError, DatabaseUnavailableError, OctyError
from octy_middleware.keys.secret import KeyHasher, bound_to
from octy_middleware.states import PairState, WebhookState
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

_LOCK_TIMEOUT = 2.0  # seconds for the write lock
_LATE = timedelta(seconds=30)  # a relay delivers within a second
_CONNECTION = "database connection"
_CONTENT = ("peppers and pairs", "imported hashes", "sealing keys and secrets", "outbox", "webhooks", APPS)
_INSIDE = (VERSION, DURABILITY, INSTALLATION, KEYS, "write lock", "integrity")
_UNREACHABLE = {"sqlite": "database-file-away", "postgresql": "database-server-away"}


def check_database(settings: WorkerSettings) -> Iterator[Check]:
    """Look at the database and what is in it."""
    try:
        database = Database(settings.database_url, busy_timeout=_LOCK_TIMEOUT)
    except OctyError as error:
        yield problem("database-url-refused", error=error)
        yield unchecked(_CONNECTION, "needs the database")
        yield from _unchecked()
        return
    try:
        yield from _check_opened(database, settings)
    finally:
        database.close()


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
    for name, look in zip(_CONTENT, _CONTENT_CHECKS, strict=True):
        try:
            with database.read_session() as session:
                yield look(session, settings)
        except OctyError as error:
            yield problem("rows-unreadable", name=name, error=error)


def _check_connection(database: Database) -> Check:
    """Look whether the way to a server is encrypted and the server verified; in clear only where the URL says so."""
    if database.url.get_backend_name() == "sqlite":
        return passed(_CONNECTION, "a file of this machine")
    mode = unverified_sslmode(database.url)
    if mode == "disable" and database.url.query.get("sslmode") == mode:
        return passed(
            _CONNECTION,
            "in clear beyond this machine, as sslmode=disable in OCTY_DATABASE_URL allows; sslmode=verify-full, with "
            "sslrootcert, would encrypt it and verify the server",
        )
    if mode:
        return problem("sslmode-weak", mode=mode)
    return passed(_CONNECTION, "stays on this machine, or verifies the server's certificate")


def _unchecked() -> Iterator[Check]:
    return (unchecked(name, "needs the database") for name in (*_INSIDE, *_CONTENT))


def _check_location(database: Database) -> Check:
    is_file = database.url.get_backend_name() == "sqlite"
    network = network_file_system(Path(database.backend.place)) if is_file else ""
    if network:
        return problem("database-on-network-disk", file=database.backend.place, kind=network)
    return passed("database", f"{database.backend.place} at schema {SCHEMA_VERSION}")


def _check_write_lock(database: Database) -> Check:
    begun = time.monotonic()
    try:
        with database.write():
            waited = time.monotonic() - begun
    except OctyError as error:
        return problem("write-lock-missing", error=error)
    return passed("write lock", f"had after {waited * 1000:.0f} ms")


def _check_integrity(database: Database) -> Check:
    try:
        with database.read() as connection:
            fault = database.backend.integrity_problem(connection)
    except OctyError as error:
        return problem("database-damaged", error=error)
    return problem("database-damaged", error=fault) if fault else passed("integrity", "quick check passed")


def _check_peppers(session: Session, settings: WorkerSettings) -> Check:
    """Compare the pepper ids of live digests with those set; imported hashes have none."""
    live = select(KeyPair.secret_digest).where(KeyPair.state != PairState.RETIRED)
    used = [digest.split("$")[2] for digest in session.exec(live) if digest.startswith("$octy-b2$")]
    lost = _missing_keys(used, settings.peppers)
    if lost:
        return problem("peppers-missing", lost=len(lost), used=len(used), keys=_joined(lost))
    return passed("peppers and pairs", f"{len(used)} live pairs, each with its pepper")


def _check_imported_hashes(session: Session, settings: WorkerSettings) -> Check:
    """Look for stored hashes that no import has written: whoever wrote them wanted to become a customer."""
    hasher = KeyHasher(settings.peppers)
    others = select(KeyPair.id, KeyPair.public_key, KeyPair.secret_digest).where(
        KeyPair.state != PairState.RETIRED, col(KeyPair.secret_digest).not_like("$octy-b2$%")
    )
    found = forged = 0
    for pair_id, public_key, stored in session.exec(others):
        found += 1
        forged += hasher.is_forged(stored, bound_to(pair_id, public_key))
    if forged:
        return problem("hashes-forged", forged=forged, found=found)
    return passed("imported hashes", f"{found} live pairs, each with its seal")


def _check_sealing_keys(session: Session, settings: WorkerSettings) -> Check:
    waiting = session.exec(select(SealedSecret.sealed).where(col(SealedSecret.sealed).is_not(None)))
    used = [sealed.partition("$")[0] for sealed in waiting if sealed is not None]
    lost = _missing_keys(used, settings.sealing_keys)
    if lost:
        return problem("sealing-keys-missing", lost=len(lost), used=len(used), keys=_joined(lost))
    return passed("sealing keys and secrets", f"{len(used)} secrets wait to be collected, each with its key")


def _missing_keys(used: list[str], known: Container[str]) -> list[str]:
    return [key_id for key_id in used if key_id not in known]


def _joined(lost: list[str]) -> str:
    return ", ".join(sorted(set(lost)))


def _check_outbox(session: Session, _settings: WorkerSettings) -> Check:
    aside = session.exec(
        select(func.count()).where(col(Outbox.delivered_at).is_(None), col(Outbox.tries) >= TRIES)
    ).one()
    if aside:
        return problem("messages-set-aside", count=aside, tries=TRIES)
    count, oldest = session.exec(
        select(func.count(), func.min(Outbox.id)).where(col(Outbox.delivered_at).is_(None))
    ).one()
    first = session.get(Outbox, oldest) if oldest is not None else None
    if first is None:
        return passed("outbox", "everything is delivered")
    since = format_time(first.created_at)
    error = f" after {first.tries} tries: {first.last_error}" if first.last_error else ""
    if utc(now()) - first.created_at < _LATE:
        return passed("outbox", f"{count} undelivered, the oldest since {since}{error}")
    return problem("messages-late", count=count, since=since, error=error)


def _check_webhooks(session: Session, settings: WorkerSettings) -> Check:
    """Look whether customers wait for what is never sent. That a server of theirs is away is theirs to mend."""
    wishing = session.exec(select(func.count()).where(Account.webhook_url != "")).one()
    if settings.webhook_keys is None:
        if wishing:
            return problem("webhooks-off", count=wishing)
        return passed("webhooks", "off: OCTY_WEBHOOK_KEYS is not set, and no account has a webhook_url")
    failed = session.exec(select(func.count()).where(Webhook.state == WebhookState.FAILED)).one()
    return passed("webhooks", f"{wishing} accounts have a webhook_url; {failed} webhooks of the last 30 days failed")


_CONTENT_CHECKS = (
    _check_peppers,
    _check_imported_hashes,
    _check_sealing_keys,
    _check_outbox,
    _check_webhooks,
    check_app_processes,
)
