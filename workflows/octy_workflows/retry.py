"""How patiently workflows ask and wait; shared by all of them.

Here: retries, time-outs, waiting by the workflow's clock. Not here: what is asked, and what follows.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy


class ActivityOptions(TypedDict):
    """How long one try of an activity may last, and how it is tried again."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


DEFAULT_RETRY: ActivityOptions = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=30)
    ),
}
"""An activity lasts a second or two, and is retried until it says that it failed for good.

What it waits for is our own store: half a minute after that is back, cases go on. (A Temporal server that is killed
hands out old tasks again when it is back, and each counts as a try: ten of them came within a minute, and what a
customer had answered then waited for eight.)
"""

MAIL_RETRY: ActivityOptions = {
    "start_to_close_timeout": timedelta(seconds=60),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=10)
    ),
}
"""A mail may go to two addresses, and each step of SMTP may last 10 s: 30 s could cut off one that is leaving.

No longer than that: the mail of a worker that was killed is tried again only when this time is over. Relays are others'
servers, and are asked less and less often.
"""

MAIL_FIRST_ATTEMPT: ActivityOptions = {**MAIL_RETRY, "retry_policy": RetryPolicy(maximum_attempts=1)}
"""The first try of a mail, in a slot that no retry can take: what fails is tried again elsewhere, by `MAIL_RETRY`."""

BACKGROUND_RETRY: ActivityOptions = {**DEFAULT_RETRY, "retry_policy": MAIL_RETRY["retry_policy"]}
"""A look for which nobody waits, hours before it matters: asked less and less often, so that it fills no history."""


class _HeartbeatOptions(ActivityOptions):
    heartbeat_timeout: timedelta


MAINTENANCE_RETRY: _HeartbeatOptions = {
    **DEFAULT_RETRY,
    "start_to_close_timeout": timedelta(minutes=30),
    "heartbeat_timeout": timedelta(seconds=60),
}
"""A piece of upkeep lasts a minute or so, a look at very many cases some more; a dead worker is noticed in a minute."""

SUBJECT_MISSING = "SubjectMissing"
"""The type of the error of an activity whose subject is not in its worker's database."""

SUBJECT_MISSING_TIMEOUT = timedelta(minutes=5)
"""So long an activity is tried as usual: another worker may have its subject. Then it gives up, and staff is told."""

MISSING_SUBJECT_RETRY: ActivityOptions = {
    **DEFAULT_RETRY,
    "retry_policy": RetryPolicy(initial_interval=timedelta(minutes=10), backoff_coefficient=1),
}
"""How a subject is looked for after that, without end: one retry policy, so that no try is an event of the history.

A worker tells by it that staff knows already.
"""

MISSING_SUBJECT_MAIL_RETRY: ActivityOptions = {**MAIL_RETRY, "retry_policy": MISSING_SUBJECT_RETRY["retry_policy"]}
"""The same for mails."""

Condition = Callable[[], bool]


def never() -> bool:
    """Wait for nothing but the time."""
    return False


async def wait_until(condition: Condition, *, by: float, waiting_for: str) -> bool:
    """Wait until the workflow's clock reads `by`; tell whether the condition came true before."""
    left = timedelta(seconds=max(0.0, by - workflow.time()))
    try:
        await workflow.wait_condition(condition, timeout=left, timeout_summary=waiting_for)
    except TimeoutError:
        return False
    return True
