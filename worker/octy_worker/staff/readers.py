"""The readers of `queries`: each opens one read transaction."""

from typing import Any

from octy_middleware.db.models import Incident
from octy_worker.reports import queries as reports
from octy_worker.reports.models import IncidentLine
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Listed
from octy_worker.staff.queries import ListIncidents


def list_incidents(context: StaffContext, wanted: ListIncidents) -> Listed[IncidentLine]:
    """Return incidents, newest first."""
    with context.database.read_session() as session:
        which: list[Any] = [] if wanted.closed else [reports.IS_OPEN]
        which += [Incident.account_id == reports.account_of(session, wanted.account).id] if wanted.account else []
        found = reports.list_incidents(session, *which, limit=wanted.limit, offset=wanted.offset)
        return Listed(found, reports.count_rows(session, Incident, *which))
