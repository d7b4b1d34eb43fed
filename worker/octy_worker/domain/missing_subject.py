"""The error for a subject that is missing in this database: retried, because another worker may have it.

After a while the error is final for its workflow, which then notifies staff.
"""

from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_workflows.retry import MISSING_SUBJECT_RETRY, SUBJECT_MISSING, SUBJECT_MISSING_TIMEOUT


def missing_subject_error(what: str, subject_id: str) -> ApplicationError:
    """Return the error for an activity whose subject is missing; retryable until its workflow is to notify staff."""
    return ApplicationError(
        f"there is no {what} {subject_id} in this worker's database: is it the one that the workflow was started from, "
        "and was it restored from an older backup?",
        type=SUBJECT_MISSING,
        non_retryable=_is_final(),
    )


def _is_final() -> bool:
    """Return whether the activity was retried for long enough, and staff is not notified yet."""
    if not activity.in_activity():
        return False
    info = activity.info()
    if (
        info.retry_policy is None
        or info.retry_policy.initial_interval >= MISSING_SUBJECT_RETRY["retry_policy"].initial_interval
    ):
        return False
    return info.current_attempt_scheduled_time - info.scheduled_time >= SUBJECT_MISSING_TIMEOUT
