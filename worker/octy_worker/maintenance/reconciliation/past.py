"""What a workflow that is started again must know of its first life, read when it is started.

Here: SQL -> the workflows' own words. Not here: whether it is to be started again (`subjects`).
"""

from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Incident, IncidentEvent, Regeneration, SealedSecret
from octy_middleware.states import RegenerationState
from octy_workflows.messages import IncidentRestart, RegenerationRestart

_IN_VAIN = (RegenerationState.ABANDONED, RegenerationState.SUPERSEDED)


def past_of_incident(session: Session, incident_id: str, _now: float) -> IncidentRestart | None:
    """Return it, or None when the case is closed: then there is nothing to start again.

    Its times count from the first line of its timeline, which its first workflow wrote; a case that never had one
    gets the whole time: its customer may not have been alerted yet.
    """
    incident = session.get_one(Incident, incident_id)
    if incident.closed_at is not None:
        return None
    opened = session.exec(select(IncidentEvent.at).where(IncidentEvent.key == f"{incident_id}/opened")).first()
    last = None if incident.regeneration_id is None else session.get(Regeneration, incident.regeneration_id)
    return IncidentRestart(
        began=0.0 if opened is None else opened.timestamp(),
        regeneration_id=last.id if last is not None and last.state in _IN_VAIN else "",
    )


def past_of_regeneration(session: Session, regeneration_id: str, now: float) -> RegenerationRestart | None:
    """Return it, or None when the regeneration is finished. One without a pair yet has no past."""
    regeneration = session.get_one(Regeneration, regeneration_id)
    if regeneration.finished_at is not None:
        return None
    sealed = session.exec(select(SealedSecret).where(col(SealedSecret.regeneration_id) == regeneration_id)).first()
    if sealed is None:
        return RegenerationRestart()
    return RegenerationRestart(
        began=regeneration.opened_at.timestamp(),
        generation=sealed.generation,
        expired=sealed.sealed is not None and sealed.expires_at <= utc(now),
    )
