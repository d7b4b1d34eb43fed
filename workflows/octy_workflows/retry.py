"""Retry policies and timeouts of activities, and waiting by the workflow's clock."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy


class ActivityOptions(TypedDict):
    """Timeout of one attempt, and how the activity is retried."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


DEFAULT_RETRY: ActivityOptions = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=30)
    ),
}
"""For activities that use our own database: they take a second or two, and are retried until they fail for good.

The longest interval is short, so that workflows continue half a minute after an outage. (A Temporal server that is
killed dispatches old tasks again after its restart, and each of them counts as an attempt. With a longer interval ten
such attempts in a minute once delayed a customer's answer by eight minutes.)
"""

MAIL_RETRY: ActivityOptions = {
    "start_to_close_timeout": timedelta(seconds=60),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=10)
    ),
}
"""For mails. A mail may go to two addresses, and each SMTP step may take 10 s, so 30 s could cut off one being sent.

The timeout is no longer than that, because the mail of a killed worker is retried only after it. Mail servers belong to
others, so the interval grows.
"""

MAIL_FIRST_ATTEMPT: ActivityOptions = {**MAIL_RETRY, "retry_policy": RetryPolicy(maximum_attempts=1)}
"""For the first attempt of a mail, on a task queue without retries; retries use `MAIL_RETRY` and another queue."""

BACKGROUND_RETRY: ActivityOptions = {**DEFAULT_RETRY, "retry_policy": MAIL_RETRY["retry_policy"]}
"""For activities hours before their result is needed: the interval grows."""


class _HeartbeatOptions(ActivityOptions):
    heartbeat_timeout: timedelta


MAINTENANCE_RETRY: _HeartbeatOptions = {
    **DEFAULT_RETRY,
    "start_to_close_timeout": timedelta(minutes=30),
    "heartbeat_timeout": timedelta(seconds=60),
}
"""For maintenance steps. Most take a minute, a reconciliation of very many incidents more.

A dead worker is noticed after a minute.
"""

SUBJECT_MISSING = "SubjectMissing"
"""Error type of an activity whose subject (incident, regeneration …) is not in its worker's database."""

SUBJECT_MISSING_TIMEOUT = timedelta(minutes=5)
"""How long such an activity is retried as usual, for another worker may have the row. Then staff is notified."""

MISSING_SUBJECT_RETRY: ActivityOptions = {
    **DEFAULT_RETRY,
    "retry_policy": RetryPolicy(initial_interval=timedelta(minutes=10), backoff_coefficient=1),
}
"""For such an activity after that, without an end. It is one retry policy, so attempts add no events to the history.

A worker recognizes by this policy that staff was notified.
"""

MISSING_SUBJECT_MAIL_RETRY: ActivityOptions = {**MAIL_RETRY, "retry_policy": MISSING_SUBJECT_RETRY["retry_policy"]}
"""The same for mails."""

Condition = Callable[[], bool]


def never() -> bool:
    """Condition that is never true: `wait_until` then waits for its deadline only."""
    return False


async def wait_until(condition: Condition, *, deadline: float, summary: str) -> bool:
    """Wait until the condition is true or the deadline is reached; return whether the condition is true.

    `deadline`: Unix seconds by the workflow's clock. `summary`: shown with the timer in Temporal's Web UI.
    """
    timeout = timedelta(seconds=max(0.0, deadline - workflow.time()))
    try:
        await workflow.wait_condition(condition, timeout=timeout, timeout_summary=summary)
    except TimeoutError:
        return False
    return True
