"""Whether the database was restored from a backup: Temporal knows incidents and regenerations further than SQL.

They are only counted here. A workflow is started after its row is committed, and ends by itself after SQL has ended its
subject; so neither can differ unless the database was taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import col, select

from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, Regeneration
from octy_middleware.states import RegenerationState
from octy_worker.domain.job_lease import read_job
from octy_worker.maintenance.reconciliation.subjects import Subject
from octy_worker.maintenance.restored.histories import Execution, Histories

JOB = "restored-backup"
"""The job whose last end says until when everything is compared: what is older and not in SQL was handled."""

KINDS = (Subject.REGENERATION, Subject.INCIDENT)
LOST_KEYS = "lost keys"
"""How a regeneration ended that was abandoned without a new pair: `octy db restored` ends so what has lost its keys."""

_LOOKED_AT = 1000  # workflows of each kind and state, the newest: what a backup lacks is what came last
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BackupGap:
    """How many incidents and regenerations are missing in SQL, and how many are open there and over in Temporal."""

    missing: int = 0
    earlier: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.missing + self.earlier


async def find_backup_gap(database: Database, histories: Histories) -> BackupGap:
    """Compare the newest workflows with SQL. Raises RPCError while Temporal is away."""
    missing = earlier = 0
    handled = handled_until(database)
    for kind in KINDS:
        for running in (True, False):
            found = [one async for one in histories.executions(kind, running=running, limit=_LOOKED_AT)]
            rows = endings_by_id(database, kind, found)
            missing += len({one.subject_id for one in found if one.subject_id not in rows and one.started_at > handled})
            earlier += len({one.subject_id for one in found if not running and rows.get(one.subject_id) == ""})
    return BackupGap(missing, earlier)


def handled_until(database: Database) -> datetime:
    """Return when `octy db restored` was last complete, as far as this database knows."""
    state = read_job(database, JOB)
    return _EVER if state is None or state.finished_at is None else state.finished_at


def endings_by_id(database: Database, kind: Subject, found: Sequence[Execution]) -> dict[str, str]:
    """Return, of those that SQL knows, how they ended; "" is open. Read it after the list: SQL ends them first."""
    ids = sorted({one.subject_id for one in found})
    rows: dict[str, str] = {}
    with database.read_session() as session:
        for start in range(0, len(ids), 200):
            page = ids[start : start + 200]
            if kind is Subject.INCIDENT:
                incidents = session.exec(select(Incident).where(col(Incident.id).in_(page)))
                rows |= {one.id: "" if one.closed_at is None else str(one.resolution) for one in incidents}
            else:
                regenerations = session.exec(select(Regeneration).where(col(Regeneration.id).in_(page)))
                rows |= {one.id: _ending(one) for one in regenerations}
    return rows


def _ending(row: Regeneration) -> str:
    if row.finished_at is None:
        return ""
    return LOST_KEYS if row.state == RegenerationState.ABANDONED and row.new_pair_id is None else str(row.state)
