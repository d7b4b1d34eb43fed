"""KeyUpkeepWorkflow: one round of what recurs; Temporal's schedules start one after the other.

Here: a round, piece by piece, until it is done. Not here: what is done, which the activities know; when a round is due
(`octy_worker.temporal.schedules`).
"""

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

_DONE_BY = {
    MaintenanceTask.RETENTION: activities.prune_store,
    MaintenanceTask.RECONCILIATION: activities.reconcile_store,
    MaintenanceTask.DIGEST: activities.send_digest,
}
_PIECES = 1500  # of one round; what is left then is for the next one
_HELD = 60  # seconds until a job that somebody else does is looked at again: a dead holder's lease is over by then


@workflow.defn(name="KeyMaintenanceWorkflow")
class KeyMaintenanceWorkflow:
    """One round. Returns what it did, counted."""

    def __init__(self) -> None:
        self._ignored = IgnoredSignals(WorkflowKind.UPKEEP)

    @workflow.run
    async def run(self, due: MaintenanceInput) -> dict[str, int]:
        """Do piece after piece."""
        board, counts = CurrentDetails(f"Upkeep: {due.task}"), Counter[str]()
        board.show("Under way")
        for _ in range(_PIECES):
            order = MaintenanceStepInput(workflow.time())
            report = await workflow.execute_activity(_DONE_BY[due.task], order, **MAINTENANCE_RETRY)
            counts.update(report.counts)
            board.show(counts=", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count))
            if report.progress is MaintenanceProgress.DONE:
                break
            if report.progress is MaintenanceProgress.HELD:
                await workflow.sleep(_HELD)
        board.show("Done")
        await workflow.wait_condition(workflow.all_handlers_finished)
        return dict(counts)

    @workflow.signal(dynamic=True)
    async def hear(self, name: str, _said: Sequence[RawValue]) -> None:
        """Note and count it: this workflow goes by no signal."""
        await self._ignored.note(name, RefusalReason.UNKNOWN_NAME)
