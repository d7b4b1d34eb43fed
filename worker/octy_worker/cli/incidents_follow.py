"""`octy incidents show --follow`: an incident's timeline, polled for new entries."""

import time
from collections.abc import Callable, Iterator

from octy_worker.reports.models import TimelineLine
from octy_worker.staff.operations import ReadingDesk
from octy_worker.staff.queries import FOLLOW_INCIDENT, IncidentKey

_INTERVAL = 1.0  # seconds between two polls


def follow(desk: ReadingDesk, incident_id: str, emit: Callable[[TimelineLine], None], *, from_start: bool) -> str:
    """Call `emit` once for each entry until the incident is closed; return its resolution.

    Without `from_start` only new entries are emitted. A mail whose state changes (retried, sent) is emitted again. For
    a closed incident the function returns after one poll.
    """
    emitted: list[TimelineLine] = []
    for number, (closed_as, lines) in enumerate(_poll(desk, incident_id)):
        new = [line for line in lines if line not in emitted]
        emitted += new
        if number or from_start:
            for line in new:
                emit(line)
        if closed_as is not None:
            return closed_as
    raise AssertionError("polling never ends")


def _poll(desk: ReadingDesk, incident_id: str) -> Iterator[tuple[str | None, tuple[TimelineLine, ...]]]:
    """Yield at every poll the resolution, None while the incident is open, and the timeline."""
    while True:
        found = desk.read(FOLLOW_INCIDENT, IncidentKey(incident_id))
        incident = found.incident
        yield (incident.resolution or incident.state if incident.closed_at else None), found.timeline
        time.sleep(_INTERVAL)
