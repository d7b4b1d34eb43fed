"""How patiently workflows ask and wait; shared by the two of them.

Here: retries, time-outs, mails that take days, waiting by the workflow's clock. Not here: what is asked, and
what follows.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.messages import DAY, MailEnd, MailOrder, MailReport


class _Patience(TypedDict):
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


PATIENTLY: _Patience = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=10)
    ),
}
"""An activity lasts a second or two, and is retried until it says that it failed for good."""

Condition = Callable[[], bool]
Listener = Callable[[MailOrder, MailReport], Awaitable[None]]


async def came_true(condition: Condition, *, by: float, waiting_for: str) -> bool:
    """Wait until the workflow's clock reads `by`; tell whether the condition came true before."""
    left = timedelta(seconds=max(0.0, by - workflow.time()))
    try:
        await workflow.wait_condition(condition, timeout=left, timeout_summary=waiting_for)
    except TimeoutError:
        return False
    return True


async def mail(order: MailOrder, *, stop: Condition, told: Listener) -> None:
    """Have one mail sent, ordered anew each day as long as the daily cap withholds it.

    `told` hears what became of each order. Nothing more is ordered, or tried, once `stop` is true.
    """
    report = await mail_once(order, stop=stop)
    while report is not None and not stop():
        await told(order, report)
        if report.state != MailEnd.SKIPPED or await came_true(stop, by=order.at + DAY, waiting_for="the mail
        cap"): return order = replace(order, at=workflow.time()) report = await mail_once(order, stop=stop)


async def mail_once(order: MailOrder, *, stop: Condition) -> MailReport | None:
    """Order one mail; return what became of it, or None when `stop` came true while it was being tried."""
    if stop():
        return None
    sending = workflow.start_activity(activities.send_mail, order, **PATIENTLY, summary=order.kind)
    await workflow.wait_condition(lambda: sending.done() or stop())
    if not sending.done():
        sending.cancel()
    try:
        return await sending
    except ActivityError as error:
        if is_cancelled_exception(error):
            return None
        return MailReport(MailEnd.FAILED, "gave up")
