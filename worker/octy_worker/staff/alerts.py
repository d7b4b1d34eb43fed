"""Support staff releases alerts that are held because many accounts are affected at once."""

from dataclasses import dataclass
from datetime import datetime

from octy_middleware.db.database import Database
from octy_worker.access.orders import check_staff
from octy_worker.errors import RefusedError
from octy_worker.mail.alert_hold import release_hold
from octy_worker.staff.audit import record


@dataclass(frozen=True, slots=True)
class ReleasedHold:
    """A hold that was ended, by whom and when."""

    id: str
    actor: str
    released_at: datetime | None


def release_alerts(database: Database, *, actor: str, reason: str, now: float) -> ReleasedHold:
    """End the hold. Raises RefusedError when alerts are not held."""
    check_staff(actor, reason)
    with database.write_session() as session:
        hold = release_hold(session, actor=actor, reason=reason, now=now)
        if hold is None:
            raise RefusedError("alerts are not held")
        released = ReleasedHold(hold.id, actor, hold.released_at)
    record("alerts_released", actor, reason=reason, hold=released.id)
    return released
