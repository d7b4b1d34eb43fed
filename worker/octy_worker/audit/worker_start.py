"""The entry of a worker's start: its release, and which settings differ from those of the last start.

Keys count by their ids; passwords and what may hold one are left out.
"""

import hashlib
import json
from collections.abc import Mapping

from pydantic import SecretStr
from sqlmodel import Session, col, select

from octy_middleware.clock import RandomBytes
from octy_middleware.db.models import AuditEntry
from octy_middleware.keys.keychain import Keychain
from octy_middleware.settings import BaseSettings
from octy_worker.audit.chain import Entry
from octy_worker.audit.repository import append

STARTED = "worker.started"
_DIGEST_LENGTH = 16  # hexadecimal digits of a setting's hash


def settings_digests(settings: BaseSettings) -> dict[str, str]:
    """Return a hash of each setting that is no secret, by name."""
    fields = type(settings).model_fields
    values = {name: getattr(settings, name) for name, field in fields.items() if field.repr}
    return {name: _digest(value) for name, value in sorted(values.items()) if not isinstance(value, SecretStr)}


def record_start(
    session: Session, settings: BaseSettings, *, host: str, release: str, now: float, random_bytes: RandomBytes
) -> Entry:
    """Append the entry, in the caller's transaction. `changed`: names of settings, None at the first start."""
    digests = settings_digests(settings)
    before = _last_digests(session)
    changed = (
        None
        if before is None
        else sorted(name for name in {*digests, *before} if digests.get(name) != before.get(name))
    )
    fingerprint = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    detail = {"release": release, "fingerprint": fingerprint, "changed": changed, "settings": digests}
    return append(session, STARTED, actor="system", subject=host, detail=detail, now=now, random_bytes=random_bytes)


def _last_digests(session: Session) -> Mapping[str, str] | None:
    query = (
        select(AuditEntry.detail)
        .where(AuditEntry.action == STARTED, col(AuditEntry.detail).is_not(None))
        .order_by(col(AuditEntry.seq).desc())
        .limit(1)
    )
    detail = session.exec(query).first()
    found: Mapping[str, str] | None = None if detail is None else json.loads(detail)["settings"]
    return found


def _digest(value: object) -> str:
    text = ",".join(value) if isinstance(value, Keychain) else str(value)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
