"""A subject that is not in this database: retried, for another worker may have it, and never passed over.

Here: the error, its words, and when it is final for its workflow, which calls staff then. Not here: how it is asked for
after that (`octy_workflows.activity_calls`).
"""

from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_workflows.retry import MISSING_SUBJECT_RETRY, SUBJECT_MISSING, SUBJECT_MISSING_TIMEOUT


def missing_subject_error(what: str, subject_id: str) -> ApplicationError:
    """Return the error for an activity whose subject is not there: retryable, until its workflow is to call staff."""
    return ApplicationError(
        f"there is no {what} {subject_id} in this worker's database: is it the one that the workflow was started from, "
        "and was it restored from an older backup?",
        type=SUBJECT_MISSING,
        non_retryable=_is_final(),
    )


def _is_final() -> bool:
    """Tell whether the activity was tried for long, and staff does not know yet."""
    if not activity.in_activity():
        return False
    info = activity.info()
    if (
        info.retry_policy is None
        or info.retry_policy.initial_interval >= MISSING_SUBJECT_RETRY["retry_policy"].initial_interval
    ):
        return False
    return info.current_attempt_scheduled_time - info.scheduled_time >= SUBJECT_MISSING_TIMEOUT
