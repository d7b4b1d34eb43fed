"""One decision for many incidents: which ones, and the result of each."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import NAMESPACE_URL, uuid5

from sqlmodel import Session, col, select

from octy_middleware.db.models import Incident, IncidentAnswer
from octy_worker.mail.alert_grouping import is_unanswered


class DecisionStatus(StrEnum):
    """The result of the decision for one incident."""

    DECIDED = "decided"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    NOT_TRIED = "not_tried"


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """The result for one incident, and why."""

    incident_id: str
    end: DecisionStatus
    why: str = ""


def decision_id_of(batch_id: str, incident_id: str) -> str:
    """Return the id of an incident's decision within a batch: repeating a batch changes nothing."""
    return str(uuid5(NAMESPACE_URL, f"octy-batch:{batch_id}:{incident_id}"))


def open_since(session: Session, since: datetime) -> tuple[str, ...]:
    """Return the open, unanswered incidents that were opened since then, oldest first."""
    found = (
        select(Incident.id)
        .join(IncidentAnswer, col(IncidentAnswer.incident_id) == Incident.id)
        .where(is_unanswered(), col(Incident.opened_at) >= since)
        .order_by(col(Incident.opened_at), col(Incident.id))
    )
    return tuple(session.exec(found))


def decide_each(
    incident_ids: Iterable[str],
    decide: Callable[[str], None],
    *,
    refused: type[Exception],
    unavailable: type[Exception],
) -> Iterator[DecisionResult]:
    """Decide one after the other. A refusal does not stop the others; an unavailable service stops them."""
    stopped = ""
    for incident_id in dict.fromkeys(incident_ids):
        if stopped:
            yield DecisionResult(incident_id, DecisionStatus.NOT_TRIED, stopped)
            continue
        try:
            decide(incident_id)
        except refused as error:
            yield DecisionResult(incident_id, DecisionStatus.REFUSED, str(error))
        except unavailable as error:
            stopped = str(error)
            yield DecisionResult(incident_id, DecisionStatus.UNAVAILABLE, stopped)
        else:
            yield DecisionResult(incident_id, DecisionStatus.DECIDED)
