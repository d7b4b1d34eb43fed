"""Activities of maintenance: translation of inputs to retention, reconciliation and digest, and heartbeats."""

import logging
from collections.abc import Mapping

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.renderer import MailRenderer
from octy_worker.maintenance.digest import DigestSender
from octy_worker.maintenance.reconciliation.run import Findings, Reconciliation
from octy_worker.maintenance.reconciliation.workflows import WorkflowLookup
from octy_worker.maintenance.restored.histories import Histories
from octy_worker.maintenance.retention import RunStatus, prune_for
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.client import main_queue
from octy_workflows.messages import MaintenanceProgress, MaintenanceStepInput, MaintenanceStepResult

_logger = logging.getLogger(__name__)

_PROGRESS: Mapping[RunStatus, MaintenanceProgress] = {
    RunStatus.DONE: MaintenanceProgress.DONE,
    RunStatus.STOPPED: MaintenanceProgress.MORE,
    RunStatus.NOT_LEASED: MaintenanceProgress.LEASED,
}


class MaintenanceActivities:
    """Activities of maintenance. `clock` gives the time of rows; `checkpoints` of the audit log go into the digest."""

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
        checkpoints: CheckpointWriter | None = None,
    ) -> None:
        self._database = database
        self._client = client
        self._installation = installation
        self._digests = DigestSender(database, mailer, renderer, settings, clock, checkpoints=checkpoints)
        self._settings = settings
        self._clock = clock

    @activity.defn(name="prune_database", no_thread_cancel_exception=True)
    def prune_database(self, step: MaintenanceStepInput) -> MaintenanceStepResult:  # noqa: ARG002  # the run has its own cursor
        """Delete old rows, for a minute at most."""

        def should_stop() -> bool:
            activity.heartbeat()
            return activity.is_worker_shutdown() or activity.is_cancelled()

        status, counts = prune_for(self._database, self._settings, self._clock, should_stop=should_stop)
        return MaintenanceStepResult(_PROGRESS[status], dict(counts))

    @activity.defn(name="reconcile_database", no_thread_cancel_exception=True)
    async def reconcile_database(self, step: MaintenanceStepInput) -> MaintenanceStepResult:  # noqa: ARG002  # not needed
        """Compare the database with Temporal, and repair differences."""
        run = Reconciliation(
            self._database,
            WorkflowLookup(self._client, main_queue(self._settings, self._installation), self._installation),
            Histories(self._client, self._installation),
            self._clock,
            installation=self._installation,
            notice_ttl=self._settings.incident_close_after,
            on_progress=lambda found: activity.heartbeat(found.checked),
        )
        found = await run.run()
        if found is None:
            return MaintenanceStepResult(MaintenanceProgress.LEASED)
        _log_findings(found)
        return MaintenanceStepResult(MaintenanceProgress.DONE, found.counts)

    @activity.defn(name="send_digest", no_thread_cancel_exception=True)
    def send_digest(self, step: MaintenanceStepInput) -> MaintenanceStepResult:
        """Mail the day's digest, once."""
        result = self._digests.send(step.at)
        if result.waits:
            raise ApplicationError(f"the digest is not sent yet: {result.code}", type="MailTransient")
        return MaintenanceStepResult(
            MaintenanceProgress.LEASED if result.held else MaintenanceProgress.DONE, result.counts
        )


def _log_findings(found: Findings) -> None:
    if found.differences or found.unknown or found.temporal_ahead:
        _logger.warning("reconciliation: %s", found)
    else:
        _logger.info("reconciliation: %s", found)
