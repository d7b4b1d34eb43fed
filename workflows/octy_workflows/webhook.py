"""KeyWebhookWorkflow: one event, told to the account's own server.

Here: how patiently it is tried, and when trying ends. Not here: what it says, where it goes and how it is signed, which
only the activity knows.

Servers of customers may be slow, and many of them may be away at once: their activity has a task queue of its own, so
that no mail waits for them.
"""

from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.activity_calls import ActivityCaller, missing_subject_cause, with_current_time
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.messages import (
        RefusalReason,
        WebhookFinalState,
        WebhookInput,
        WebhookStepInput,
        WebhookStepResult,
        WorkflowKind,
    )
    from octy_workflows.retry import MISSING_SUBJECT_RETRY
    from octy_workflows.signals import IgnoredSignals
    from octy_workflows.task_queues import main_task_queue_of, webhook_task_queue

_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(hours=1)
)
_ONE_TRY = timedelta(seconds=60)  # it ends by itself long before, unless its worker was killed
_HEADLINE = {
    WebhookFinalState.SENT: "The customer's server was told",
    WebhookFinalState.FAILED: "Given up",
    WebhookFinalState.SKIPPED: "There was nowhere to send it",
}


@workflow.defn
class KeyWebhookWorkflow:
    """One event, from its cause until the server took it or trying ended. Returns how it ended."""

    @workflow.init
    def __init__(self, case: WebhookInput) -> None:
        self._ignored = IgnoredSignals(WorkflowKind.WEBHOOK, case.webhook_id)
        self._board = CurrentDetails(f"Webhook {case.webhook_id}: {case.event}")
        self._asking = ActivityCaller(WorkflowKind.WEBHOOK, case.webhook_id, self._board)

    @workflow.run
    async def run(self, case: WebhookInput) -> str:
        """Have it posted, and posted again; give up at the end of its life."""
        self._board.show("The customer's server is being told")
        order = WebhookStepInput(case.webhook_id, workflow.time())
        report = await self._post(order, case.life) or await self._give_up(order)
        self._board.show(_HEADLINE[WebhookFinalState(report.state)], fault=report.why)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return report.state

    @workflow.signal(dynamic=True)
    async def hear(self, name: str, _said: Sequence[RawValue]) -> None:
        """Note and count it: this workflow goes by no signal."""
        await self._ignored.note(name, RefusalReason.UNKNOWN_NAME)

    async def _post(self, order: WebhookStepInput, life: float) -> WebhookStepResult | None:
        """Return what became of it, or None when no server took it in time."""
        end = workflow.time() + life
        try:
            return await _posted(order, _RETRIES, end)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            cause = missing_subject_cause(error)
        if not cause or workflow.time() >= end:
            return None
        again = with_current_time(order)
        try:
            return await self._asking.missing(cause, lambda: _posted(again, MISSING_SUBJECT_RETRY["retry_policy"], end))
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return None

    async def _give_up(self, order: WebhookStepInput) -> WebhookStepResult:
        return await self._asking.ask(activities.give_up_webhook, order)


async def _posted(order: WebhookStepInput, retries: RetryPolicy, end: float) -> WebhookStepResult:
    """Have it posted where webhooks are, until `end`."""
    return await workflow.execute_activity(
        activities.post_webhook,
        order,
        task_queue=webhook_task_queue(main_task_queue_of(workflow.info().task_queue)),
        start_to_close_timeout=_ONE_TRY,
        schedule_to_close_timeout=timedelta(seconds=end - workflow.time()),
        retry_policy=retries,
    )
