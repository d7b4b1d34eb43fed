"""Everything that staff can read: names, inputs, outputs. The readers are in `readers`."""

from dataclasses import dataclass
from typing import Any

from octy_worker.reports.models import IncidentLine
from octy_worker.staff.operations import Listed, Query

_READERS = "octy_worker.staff.readers"


@dataclass(frozen=True, slots=True)
class ListIncidents:
    """`closed`: closed ones too. `account`: a reference or id. `limit`: how many rows, None for all."""

    closed: bool = False
    account: str | None = None
    limit: int | None = 200
    offset: int = 0


LIST_INCIDENTS = Query("incidents.list", ListIncidents, Listed[IncidentLine], f"{_READERS}:list_incidents")

QUERIES: dict[str, Query[Any, Any]] = {query.name: query for query in (LIST_INCIDENTS,)}
"""All queries by name."""
