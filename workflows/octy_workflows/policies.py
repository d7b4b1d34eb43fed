"""How patiently workflows ask and wait; shared by the two of them.

Here: retries, time-outs, waiting by the workflow's clock. Not here: what is asked, and what follows.
"""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.messages import MailEnd, MailOrder, MailReport

PATIENTLY = workflow.ActivityConfig(
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=10)
    ),
)
"""Every activity lasts a second or two and is retried until it says that it failed for good."""

Condition = Callable[[], bool]


async def came_true(condition: Condition, *, by: float, waiting_for: str) -> bool:
    """Wait until the workflow's clock reads `by`; tell whether the condition came true before."""
    left = timedelta(seconds=max(0.0, by - workflow.time()))
    try:
        await workflow.wait_condition(condition, timeout=left, timeout_summary=waiting_for)
    except TimeoutError:
        return False
    return True


async def mail_unless(stop: Condition, order: MailOrder) -> MailReport | None:
    """Order one mail, which may take days; return what became of it, or None when `stop` came true before."""
    sending = workflow.start_activity(activities.send_mail, order, **PATIENTLY, summary=order.kind)
    await workflow.wait_condition(lambda: sending.done() or stop())
    if not sending.done():
        sending.cancel()
    try:
        return await sending
    except ActivityError as error:
        if is_cancelled_exception(error):
            return None
        return MailReport(MailEnd.FAILED, "the sender gave up")
