"""A case's timeline, followed as it grows.

Here: looking again and again, and what is new since. Not here: the timeline's rows (`reports`), how a line looks
(`views`).
"""

import time
from collections.abc import Callable, Iterator

from octy_middleware.db.database import Database
from octy_worker.reports.models import TimelineLine
from octy_worker.reports.queries import show_progress

_INTERVAL = 1.0  # seconds between two looks


def follow(database: Database, incident_id: str, tell: Callable[[TimelineLine], None], *, from_start: bool) -> str:
    """Tell each line once until the case is closed; return its resolution. Without `from_start` only what is new.

    A mail that gets on (tried again, sent) is told again. A closed case is told and left at once.
    """
    looks = _looks(database, incident_id)
    told: list[TimelineLine] = []
    for number, (closed_as, lines) in enumerate(looks):
        new = [line for line in lines if line not in told]
        told += new
        if number or from_start:
            for line in new:
                tell(line)
        if closed_as is not None:
            return closed_as
    raise AssertionError("looks end never")


def _looks(database: Database, incident_id: str) -> Iterator[tuple[str | None, tuple[TimelineLine, ...]]]:
    """Yield how the case was closed, if it is, and its timeline, now and at every further look."""
    while True:
        with database.read_session() as session:
            case, lines = show_progress(session, incident_id)
        yield (case.resolution or case.state if case.closed_at else None), lines
        time.sleep(_INTERVAL)
