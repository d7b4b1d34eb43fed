"""The input of a workflow that is started again: what its first run already did, read from SQL."""

from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Incident, IncidentEvent, Regeneration, SealedSecret
from octy_middleware.states import RegenerationState
from octy_workflows.messages import IncidentRestart, RegenerationRestart

_NO_NEW_KEYS = (RegenerationState.ABANDONED, RegenerationState.SUPERSEDED)


def incident_restart(session: Session, incident_id: str, _now: float) -> IncidentRestart | None:
    """Return it, or None if the incident is closed.

    Deadlines count from the first entry of the timeline, which the first workflow wrote. Without one they start anew,
    because the customer may not have been alerted yet.
    """
    incident = session.get_one(Incident, incident_id)
    if incident.closed_at is not None:
        return None
    opened = session.exec(select(IncidentEvent.at).where(IncidentEvent.key == f"{incident_id}/opened")).first()
    last = None if incident.regeneration_id is None else session.get(Regeneration, incident.regeneration_id)
    return IncidentRestart(
        started_at=0.0 if opened is None else opened.timestamp(),
        regeneration_id=last.id if last is not None and last.state in _NO_NEW_KEYS else "",
    )


def regeneration_restart(session: Session, regeneration_id: str, now: float) -> RegenerationRestart | None:
    """Return it, or None if the regeneration is finished. Empty if no key pair was issued yet."""
    regeneration = session.get_one(Regeneration, regeneration_id)
    if regeneration.finished_at is not None:
        return None
    sealed = session.exec(select(SealedSecret).where(col(SealedSecret.regeneration_id) == regeneration_id)).first()
    if sealed is None:
        return RegenerationRestart()
    return RegenerationRestart(
        started_at=regeneration.opened_at.timestamp(),
        generation=sealed.generation,
        expired=sealed.sealed is not None and sealed.expires_at <= utc(now),
    )
