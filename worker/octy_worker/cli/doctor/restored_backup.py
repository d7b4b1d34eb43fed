"""Whether the database was restored from a backup: Temporal has incidents or regenerations that are newer."""

import asyncio
import json

from temporalio.service import RPCError

from octy_middleware.db.database import Database
from octy_middleware.domain.installation import load_installation
from octy_middleware.errors import OctyError
from octy_worker.cli.doctor.check import Check, opened_database, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.domain.job_lease import read_job
from octy_worker.errors import UnavailableError
from octy_worker.maintenance.restored.detection import JOB, find_backup_gap
from octy_worker.maintenance.restored.histories import Histories
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.access import open_client

_NAME = "restored backup"


def check_restored_backup(settings: WorkerSettings, installation: str | None) -> Check:
    """Compare the newest workflows with the database. `installation`: its id; None when it could not be read."""
    if installation is None:
        return unchecked(_NAME, "the database is not available")
    try:
        with opened_database(settings) as database:
            return asyncio.run(_check(database, settings, installation))
    except (RPCError, UnavailableError):
        return unchecked(_NAME, "Temporal is not available")
    except OctyError:
        return unchecked(_NAME, "the database or Temporal is not available")


async def _check(database: Database, settings: WorkerSettings, installation: str) -> Check:
    with database.read() as connection:
        found_at = load_installation(database, connection)
    if found_at is None or not found_at.is_at_recorded_location:  # a copy rightly lacks what the original did since
        return unchecked(_NAME, "the database is a copy")
    client = await open_client(settings)
    found = await find_backup_gap(database, Histories(client, installation))
    if found.total:
        return problem("database-restored", missing=found.missing, earlier=found.earlier)
    state = read_job(database, JOB)
    lost = json.loads(state.cursor)["lost_keys"] if state is not None and state.cursor else 0
    if lost:
        return problem("restored-keys-lost", count=lost)
    return passed(_NAME, "no: the database is as new as Temporal")
