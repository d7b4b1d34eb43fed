"""The database: reachable, at this release, writable, whole, readable with these keys, and its messages delivered.

Here: looks. The write lock is taken and given back; nothing is written.
"""

import time
from collections.abc import Container, Iterator
from datetime import timedelta
from pathlib import Path

from sqlmodel import Session, col, func, select

from octy_middleware.clock import utc
from octy_middleware.database import SCHEMA, Database
from octy_middleware.errors import DatabaseSetupError, OctyError, StoreUnavailableError
from octy_middleware.keys import KeyHasher, bound_to
from octy_middleware.migrations import check_tables
from octy_middleware.models import Account, KeyPair, Outbox, SealedSecret, Webhook
from octy_middleware.outbox import TRIES
from octy_middleware.states import PairState, WebhookState
from octy_worker.cli.checks.apps import APPS, look_at_apps
from octy_worker.cli.checks.check import Check, fine, unchecked, wrong
from octy_worker.cli.checks.file_systems import network_file_system
from octy_worker.cli.checks.installation import INSTALLATION, KEYS, look_at_identity
from octy_worker.cli.console import moment
from octy_worker.cli.exits import UsageFaultError
from octy_worker.cli.surroundings import now, refuse_missing_file
from octy_worker.settings import WorkerSettings

_PATIENCE = 2.0  # seconds for the write lock
_LATE = timedelta(seconds=30)  # a relay delivers within a second
_CONTENT = ("peppers and pairs", "imported hashes", "sealing keys and secrets", "outbox", "webhooks", APPS)
_ASK = {
    "sqlite": "is the path right, the file readable, the disk full?",
    "postgresql": "does the server run, may this user log in, does the database exist?",
}
_RESTORE = "stop all processes, keep a copy, restore a backup"


def look_at_store(settings: WorkerSettings) -> Iterator[Check]:
    """Look at the database and what is in it."""
    try:
        database = Database(settings.database_url, busy_timeout=_PATIENCE)
    except OctyError as error:
        yield wrong("database", str(error), "set OCTY_DATABASE_URL")
        yield from _not_looked_at()
        return
    try:
        yield from _look(database, settings)
    finally:
        database.close()


def _look(database: Database, settings: WorkerSettings) -> Iterator[Check]:
    try:
        refuse_missing_file(database)
        check_tables(database)
    except (OctyError, UsageFaultError) as error:
        away = isinstance(error, StoreUnavailableError) and not isinstance(error, DatabaseSetupError)
        to_do = _ASK[database.url.get_backend_name()] if away else ""
        yield wrong("database", str(error), to_do)
        yield from _not_looked_at()
        return
    yield _look_at_place(database)
    yield from look_at_identity(database, settings)
    yield _look_at_lock(database)
    yield _look_at_integrity(database)
    for name, look in zip(_CONTENT, _LOOKS, strict=True):
        try:
            with database.read_session() as session:
                yield look(session, settings)
        except OctyError as error:
            yield wrong(name, str(error), _RESTORE)


def _not_looked_at() -> Iterator[Check]:
    return (
        unchecked(name, "needs the database") for name in (INSTALLATION, KEYS, "write lock", "integrity", *_CONTENT)
    )


def _look_at_place(database: Database) -> Check:
    is_file = database.url.get_backend_name() == "sqlite"
    network = network_file_system(Path(database.backend.place)) if is_file else ""
    if network:
        found = f"{database.backend.place} is on a network file system ({network}), where SQLite loses commits"
        return wrong("database", found, "move it to a disk of this machine, or use PostgreSQL")
    return fine("database", f"{database.backend.place} at schema {SCHEMA}")


def _look_at_lock(database: Database) -> Check:
    begun = time.monotonic()
    try:
        with database.write():
            waited = time.monotonic() - begun
    except OctyError as error:
        return wrong("write lock", str(error), "may this user write there? does a process hang?")
    return fine("write lock", f"had after {waited * 1000:.0f} ms")


def _look_at_integrity(database: Database) -> Check:
    try:
        with database.read() as connection:
            fault = database.backend.integrity_fault(connection)
    except OctyError as error:
        return wrong("integrity", str(error), _RESTORE)
    return wrong("integrity", fault, _RESTORE) if fault else fine("integrity", "quick check passed")


def _look_at_peppers(session: Session, settings: WorkerSettings) -> Check:
    """Compare the pepper ids of live digests with those set; imported hashes have none."""
    live = select(KeyPair.secret_digest).where(KeyPair.state != PairState.RETIRED)
    used = [digest.split("$")[2] for digest in session.exec(live) if digest.startswith("$octy-b2$")]
    lost = _lost(used, settings.peppers)
    if lost:
        found = f"{len(lost)} of {len(used)} live pairs can't be used"
        return wrong("peppers and pairs", found, _put_back("OCTY_PEPPERS", lost))
    return fine("peppers and pairs", f"{len(used)} live pairs, each with its pepper")


def _look_at_imported(session: Session, settings: WorkerSettings) -> Check:
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
        what = f"{forged} of {found} were not written by an import, or were changed or copied since; nothing fits them"
        return wrong("imported hashes", what, "find out who wrote to the database, and replace these pairs")
    return fine("imported hashes", f"{found} live pairs, each with its seal")


def _look_at_seals(session: Session, settings: WorkerSettings) -> Check:
    waiting = session.exec(select(SealedSecret.sealed).where(col(SealedSecret.sealed).is_not(None)))
    used = [sealed.partition("$")[0] for sealed in waiting if sealed is not None]
    lost = _lost(used, settings.sealing_keys)
    if lost:
        found = f"{len(lost)} of {len(used)} new secrets can't be collected"
        return wrong("sealing keys and secrets", found, _put_back("OCTY_SEALING_KEYS", lost))
    return fine("sealing keys and secrets", f"{len(used)} secrets wait to be collected, each with its key")


def _lost(used: list[str], known: Container[str]) -> list[str]:
    return [key_id for key_id in used if key_id not in known]


def _put_back(variable: str, lost: list[str]) -> str:
    return f"{variable} lacks {', '.join(sorted(set(lost)))}: put it back"


def _look_at_outbox(session: Session, _settings: WorkerSettings) -> Check:
    aside = session.exec(
        select(func.count()).where(col(Outbox.delivered_at).is_(None), col(Outbox.tries) >= TRIES)
    ).one()
    if aside:
        return wrong(
            "outbox",
            f"{aside} messages are set aside after {TRIES} tries",
            "see `octy outbox list --aside`, end the fault, then `octy outbox retry --all --reason …`",
        )
    count, oldest = session.exec(
        select(func.count(), func.min(Outbox.id)).where(col(Outbox.delivered_at).is_(None))
    ).one()
    first = session.get(Outbox, oldest) if oldest is not None else None
    if first is None:
        return fine("outbox", "everything is delivered")
    found = f"{count} undelivered, the oldest since {moment(first.created_at)}"
    if first.last_error:
        found += f" after {first.tries} tries: {first.last_error}"
    if utc(now()) - first.created_at < _LATE:
        return fine("outbox", found)
    return wrong("outbox", found, "start `octy worker`, and see that it reaches Temporal; nothing is lost meanwhile")


def _look_at_webhooks(session: Session, settings: WorkerSettings) -> Check:
    """Look whether customers wait for what is never sent. That a server of theirs is away is theirs to mend."""
    wishing = session.exec(select(func.count()).where(Account.webhook_url != "")).one()
    if settings.webhook_keys is None:
        if wishing:
            found = f"off, and {wishing} accounts have a webhook_url"
            return wrong("webhooks", found, "set OCTY_WEBHOOK_KEYS; `octy secrets` prints a fresh one")
        return fine("webhooks", "off: OCTY_WEBHOOK_KEYS is not set, and no account has a webhook_url")
    failed = session.exec(select(func.count()).where(Webhook.state == WebhookState.FAILED)).one()
    return fine("webhooks", f"{wishing} accounts have a webhook_url; {failed} webhooks of the last 30 days failed")


_LOOKS = (_look_at_peppers, _look_at_imported, _look_at_seals, _look_at_outbox, _look_at_webhooks, look_at_apps)
