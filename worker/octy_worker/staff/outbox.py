"""Support staff retries dead letters."""

from collections.abc import Collection, Sequence

from octy_middleware.db.database import Database
from octy_worker.outbox.dead_letters import retry_dead_letters
from octy_worker.staff.audit import record


def retry_messages(database: Database, ids: Collection[int] | None, *, actor: str, reason: str) -> Sequence[int]:
    """Retry these dead letters, or with None all; return their ids. If one is no dead letter, none is retried."""
    with database.write_session() as session:
        retried = retry_dead_letters(session, ids, actor=actor, reason=reason)
    if retried:
        record("messages_retried", actor, reason=reason, messages=", ".join(map(str, retried)))
    return retried
