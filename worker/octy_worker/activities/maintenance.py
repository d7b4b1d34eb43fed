"""What recurs, done piece by piece: retention, reconciliation, the daily digest.

Here: translation between these and the workflow's orders, and heartbeats. Not here: what each of them does
(`retention`, `reconciliation`, `digest`), when one is due (`octy_worker.temporal.schedules`).
"""

import logging
from collections.abc import Mapping

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.renderer import MailRenderer
from octy_worker.maintenance.digest import DigestSender
from octy_worker.maintenance.reconciliation.run import Findings, Reconciliation
from octy_worker.maintenance.retention import RunStatus, prune_for
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.client import main_queue
from octy_workflows.messages import MaintenanceProgress, MaintenanceStepInput, MaintenanceStepResult

_logger = logging.getLogger(__name__)

_PROGRESS: Mapping[RunStatus, MaintenanceProgress] = {
    RunStatus.DONE: MaintenanceProgress.DONE,
    RunStatus.STOPPED: MaintenanceProgress.MORE,
    RunStatus.NOT_LEASED: MaintenanceProgress.HELD,
}


class MaintenanceActivities:
    """The activities of upkeep. `clock` gives the time of rows: by the workflow's own, nothing here is late."""

    def __init__(
        self,
        *,
        database: Database,
        client: Client,
        installation: str,
        mailer: Mailer,
        renderer: MailRenderer,
        settings: WorkerSettings,
        clock: Clock,
    ) -> None:
        self._database = database
        self._client = client
        self._installation = installation
        self._digests = DigestSender(database, mailer, renderer, settings, clock)
        self._settings = settings
        self._clock = clock

    @activity.defn(name="prune_store", no_thread_cancel_exception=True)
    def prune_store(self, order: MaintenanceStepInput) -> MaintenanceStepResult:  # noqa: ARG002  # the run goes by its own cursor
        """Drop what is past its time, for a minute at most."""

        def should_stop() -> bool:
            activity.heartbeat()
            return activity.is_worker_shutdown() or activity.is_cancelled()

        status, counts = prune_for(self._database, self._settings, self._clock, should_stop=should_stop)
        return MaintenanceStepResult(_PROGRESS[status], dict(counts))

    @activity.defn(name="reconcile_store", no_thread_cancel_exception=True)
    async def reconcile_store(self, order: MaintenanceStepInput) -> MaintenanceStepResult:  # noqa: ARG002  # and this one by what it finds
        """Mend what differs between SQL and Temporal."""
        run = Reconciliation(
            self._database,
            self._client,
            self._clock,
            task_queue=main_queue(self._settings, self._installation),
            installation=self._installation,
            notice_ttl=self._settings.incident_close_after,
            on_progress=lambda found: activity.heartbeat(found.checked),
        )
        found = await run.run()
        if found is None:
            return MaintenanceStepResult(MaintenanceProgress.HELD)
        _tell(found)
        return MaintenanceStepResult(MaintenanceProgress.DONE, found.counts)

    @activity.defn(name="send_digest", no_thread_cancel_exception=True)
    def send_digest(self, order: MaintenanceStepInput) -> MaintenanceStepResult:
        """Mail the day's digest, once."""
        result = self._digests.send(order.at)
        if result.waits:
            raise ApplicationError(f"the digest has not left yet: {result.code}", type="MailTransient")
        return MaintenanceStepResult(
            MaintenanceProgress.HELD if result.held else MaintenanceProgress.DONE, result.counts
        )


def _tell(found: Findings) -> None:
    if found.differences or found.unknown or found.temporal_ahead:
        _logger.warning("reconciliation: %s", found)
    else:
        _logger.info("reconciliation: %s", found)
