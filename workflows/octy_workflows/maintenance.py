"""KeyMaintenanceWorkflow: one run of a recurring job, started by a schedule (`octy_worker.temporal.schedules`)."""

from collections import Counter
from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.messages import (
        MaintenanceInput,
        MaintenanceProgress,
        MaintenanceStepInput,
        MaintenanceTask,
        RefusalReason,
        WorkflowKind,
    )
    from octy_workflows.retry import MAINTENANCE_RETRY
    from octy_workflows.signals import IgnoredSignals

_ACTIVITIES = {
    MaintenanceTask.RETENTION: activities.prune_database,
    MaintenanceTask.RECONCILIATION: activities.reconcile_database,
    MaintenanceTask.DIGEST: activities.send_digest,
}
MAX_STEPS = 1500
"""Steps of one run; the next run does the rest."""

_LEASE_WAIT = 60  # seconds until a job that another process has leased is tried again; a dead process's lease is over


@workflow.defn
class KeyMaintenanceWorkflow:
    """One maintenance run. Returns counts of what it did."""

    def __init__(self) -> None:
        self._ignored_signals = IgnoredSignals(WorkflowKind.MAINTENANCE)

    @workflow.run
    async def run(self, job: MaintenanceInput) -> dict[str, int]:
        """Run step after step until the job is done."""
        current_details, counts = CurrentDetails(f"Maintenance: {job.task}"), Counter[str]()
        current_details.update("Running")
        for _ in range(MAX_STEPS):
            step = MaintenanceStepInput(workflow.time())
            result = await workflow.execute_activity(_ACTIVITIES[job.task], step, **MAINTENANCE_RETRY)
            counts.update(result.counts)
            current_details.update(
                counts=", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count)
            )
            if result.progress is MaintenanceProgress.DONE:
                break
            if result.progress is MaintenanceProgress.LEASED:
                await workflow.sleep(_LEASE_WAIT)
        current_details.update("Done")
        await workflow.wait_condition(workflow.all_handlers_finished)
        return dict(counts)

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, _content: Sequence[RawValue]) -> None:
        """Record the signal as ignored: this workflow takes none."""
        await self._ignored_signals.record(name, RefusalReason.UNKNOWN_NAME)
