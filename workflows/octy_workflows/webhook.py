"""KeyWebhookWorkflow: post one event to the account's own server, with retries until its time is over.

Customers' servers may be slow, and many may be down at once, so the activity has its own task queue: no mail waits for
them.
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
    from octy_workflows.task_queues import TaskQueueKind, task_queue_beside

_RETRY_POLICY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(hours=1)
)
_ATTEMPT_TIMEOUT = timedelta(seconds=60)  # an attempt ends by itself much earlier, unless its worker was killed
_HEADLINE = {
    WebhookFinalState.SENT: "Accepted by the customer's server",
    WebhookFinalState.FAILED: "Given up",
    WebhookFinalState.SKIPPED: "Not sent: no webhook URL, or webhooks are off",
}


@workflow.defn
class KeyWebhookWorkflow:
    """Delivery of one event. Returns the webhook's final state."""

    @workflow.init
    def __init__(self, webhook: WebhookInput) -> None:
        self._ignored_signals = IgnoredSignals(WorkflowKind.WEBHOOK, webhook.webhook_id)
        self._current_details = CurrentDetails(f"Webhook {webhook.webhook_id}: {webhook.event}")
        self._caller = ActivityCaller(WorkflowKind.WEBHOOK, webhook.webhook_id, self._current_details)

    @workflow.run
    async def run(self, webhook: WebhookInput) -> str:
        """Post the event with retries; give up when `ttl` is over."""
        self._current_details.update("Sending to the customer's server")
        step = WebhookStepInput(webhook.webhook_id, workflow.time())
        result = await self._post(step, webhook.ttl)
        if result is None:
            result = await self._caller.execute(activities.give_up_webhook, step)
        self._current_details.update(_HEADLINE[WebhookFinalState(result.state)], reason=result.reason)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return result.state

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, _content: Sequence[RawValue]) -> None:
        """Record the signal as ignored: this workflow takes none."""
        await self._ignored_signals.record(name, RefusalReason.UNKNOWN_NAME)

    async def _post(self, step: WebhookStepInput, ttl: float) -> WebhookStepResult | None:
        """Return the result, or None when no server accepted it in time."""
        deadline = workflow.time() + ttl
        try:
            return await _post_until(deadline, step, _RETRY_POLICY)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            cause = missing_subject_cause(error)
        if not cause or workflow.time() >= deadline:
            return None
        again = with_current_time(step)
        try:
            return await self._caller.retry_while_missing(
                cause, lambda: _post_until(deadline, again, MISSING_SUBJECT_RETRY["retry_policy"])
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return None


async def _post_until(deadline: float, step: WebhookStepInput, retry_policy: RetryPolicy) -> WebhookStepResult:
    """Post the event from the webhooks' task queue, with retries until the deadline."""
    return await workflow.execute_activity(
        activities.post_webhook,
        step,
        task_queue=task_queue_beside(workflow.info().task_queue, TaskQueueKind.WEBHOOKS),
        start_to_close_timeout=_ATTEMPT_TIMEOUT,
        schedule_to_close_timeout=timedelta(seconds=deadline - workflow.time()),
        retry_policy=retry_policy,
    )
