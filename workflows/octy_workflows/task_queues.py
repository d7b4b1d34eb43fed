"""The task queues of one worker: each kind of work has workers, pollers and slots that no other kind can fill.

Here: their names, all made from one main task queue, and which mail is sent from which. Not here: how many slots each
has (`octy_worker.task_queue_workers`).

An alert needs three of them from its start to SMTP: `INCIDENTS` for the workflow and its SQL steps, `ALERTS` for the
first try of the mail. What failed once is tried again from `MAIL_RETRIES`, so that mails to servers that hang never
take the slots of a first try.
"""

from enum import StrEnum

from octy_workflows.messages import MailKind


class TaskQueueKind(StrEnum):
    """A kind of work, and the suffix of its task queue. Regenerations and key work use the main task queue itself."""

    INCIDENTS = "incidents"  # incident workflows, their SQL steps, and the decisions of staff
    ALERTS = "alerts"  # first tries of alerts
    MAILS = "mails"  # first tries of mails with keys, reminders and whatever else a customer waits for
    NOTICES = "notices"  # first tries of notices, of which one account can cause many
    MAIL_RETRIES = "mail-retries"  # second and later tries of all mails
    BACKGROUND = "background"  # workflows of notices, webhooks and upkeep; retention, reconciliation, digest
    WEBHOOKS = "webhooks"  # posts to customers' servers


_FIRST_TRIES = {
    MailKind.ALERT: TaskQueueKind.ALERTS,
    MailKind.EXPOSED: TaskQueueKind.NOTICES,
    MailKind.CONTACT_CHANGED: TaskQueueKind.NOTICES,
    MailKind.NEW_CONTACT: TaskQueueKind.NOTICES,
}


def task_queue_name(main: str, work: TaskQueueKind) -> str:
    """Return the name of a task queue beside the main one."""
    return f"{main}-{work}"


def incident_task_queue(main: str) -> str:
    """Return the task queue of incident workflows."""
    return task_queue_name(main, TaskQueueKind.INCIDENTS)


def background_task_queue(main: str) -> str:
    """Return the task queue of the workflows for notices, webhooks and upkeep."""
    return task_queue_name(main, TaskQueueKind.BACKGROUND)


def webhook_task_queue(main: str) -> str:
    """Return the task queue from which webhooks are posted."""
    return task_queue_name(main, TaskQueueKind.WEBHOOKS)


def all_task_queues(main: str) -> list[str]:
    """Return every task queue that a worker polls."""
    return [main, *(task_queue_name(main, work) for work in TaskQueueKind)]


def workflow_task_queues(main: str) -> list[str]:
    """Return the task queues on which workflows run."""
    return [main, incident_task_queue(main), background_task_queue(main)]


def main_task_queue_of(workflow_queue: str) -> str:
    """Return the main task queue, given the one on which a workflow runs."""
    for work in (TaskQueueKind.INCIDENTS, TaskQueueKind.BACKGROUND):
        if workflow_queue.endswith(f"-{work}"):
            return workflow_queue.removesuffix(f"-{work}")
    return workflow_queue


def first_attempt_queue(kind: str) -> TaskQueueKind:
    """Return from where the first try of a mail is made."""
    return _FIRST_TRIES.get(MailKind(kind), TaskQueueKind.MAILS)
