"""Task queues of one worker: each kind of work has its own workers, pollers and slots, so that none starves another.

All names begin with the main task queue's name. `octy_worker.task_queue_workers` sets the number of slots.

An alert needs `INCIDENTS` for its workflow and database steps, and `ALERTS` for the first attempt of the mail. Failed
mails are retried on `MAIL_RETRIES`, so that mails to servers that hang never take the slots of a first attempt.
"""

from enum import StrEnum

from octy_workflows.messages import MailKind


class TaskQueueKind(StrEnum):
    """Kinds of task queue; the value is the suffix of the name. Regenerations use the main task queue itself."""

    INCIDENTS = "incidents"  # incident workflows and their database steps
    ALERTS = "alerts"  # first attempts of alerts
    MAILS = "mails"  # first attempts of mails with keys, reminders and other mails that customers wait for
    NOTICES = "notices"  # first attempts of notices, of which one account can cause many
    MAIL_RETRIES = "mail-retries"  # second and later attempts of all mails
    BACKGROUND = "background"  # workflows of notices, webhooks and maintenance; maintenance steps
    WEBHOOKS = "webhooks"  # posts to customers' servers


_FIRST_ATTEMPTS = {
    MailKind.ALERT: TaskQueueKind.ALERTS,
    MailKind.EXPOSED: TaskQueueKind.NOTICES,
    MailKind.CONTACT_CHANGED: TaskQueueKind.NOTICES,
    MailKind.NEW_CONTACT: TaskQueueKind.NOTICES,
}


def task_queue_name(main: str, kind: TaskQueueKind) -> str:
    """Return the name of a task queue of this kind."""
    return f"{main}-{kind}"


def incident_task_queue(main: str) -> str:
    """Return the task queue of incident workflows."""
    return task_queue_name(main, TaskQueueKind.INCIDENTS)


def background_task_queue(main: str) -> str:
    """Return the task queue of the workflows for notices, webhooks and maintenance."""
    return task_queue_name(main, TaskQueueKind.BACKGROUND)


def all_task_queues(main: str) -> list[str]:
    """Return every task queue that a worker polls."""
    return [main, *(task_queue_name(main, kind) for kind in TaskQueueKind)]


def workflow_task_queues(main: str) -> list[str]:
    """Return the task queues on which workflows run."""
    return [main, incident_task_queue(main), background_task_queue(main)]


def task_queue_beside(workflow_queue: str, kind: TaskQueueKind) -> str:
    """Return the name of a task queue of this kind, given the one on which a workflow runs."""
    for own in (TaskQueueKind.INCIDENTS, TaskQueueKind.BACKGROUND):
        if workflow_queue.endswith(f"-{own}"):
            return task_queue_name(workflow_queue.removesuffix(f"-{own}"), kind)
    return task_queue_name(workflow_queue, kind)


def first_attempt_queue(kind: str) -> TaskQueueKind:
    """Return the task queue for the first attempt of a mail."""
    return _FIRST_ATTEMPTS.get(MailKind(kind), TaskQueueKind.MAILS)
