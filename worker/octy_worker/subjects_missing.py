"""A subject that is not in this database: retried, for another worker may have it, and never passed over.

Here: the error and its words. Not here: how often it is tried, and what staff is told (`octy_workflows.policies`).
"""

from temporalio.exceptions import ApplicationError

from octy_workflows.policies import SUBJECT_MISSING


def subject_missing(what: str, subject_id: str) -> ApplicationError:
    """Return the retryable error for an activity whose subject is not there."""
    return ApplicationError(
        f"there is no {what} {subject_id} in this worker's database: is it the one that the workflow was started from, "
        "and was it restored from an older backup?",
        type=SUBJECT_MISSING,
    )
