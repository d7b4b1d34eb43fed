"""One Temporal worker for each task queue, with its own threads: its workflows, activities and concurrency limits."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker, WorkerDeploymentConfig

from octy_middleware._version import __version__ as RELEASE  # noqa: N812  # a constant
from octy_worker.activities.incidents import IncidentActivities
from octy_worker.activities.mail import MailActivities
from octy_worker.activities.maintenance import MaintenanceActivities
from octy_worker.activities.regenerations import RegenerationActivities
from octy_worker.activities.webhooks import WebhookActivities
from octy_worker.activities.workflow_messages import WorkflowMessageActivities
from octy_worker.mail.alert_priority import AlertsInProgress, interceptors
from octy_worker.webhooks.concurrency import SLOTS
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.maintenance import KeyMaintenanceWorkflow
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.task_queues import TaskQueueKind, task_queue_name
from octy_workflows.webhook import KeyWebhookWorkflow

GRACE_PERIOD = 20.0  # seconds for running activities when the process stops

ALERT_THREADS = 64  # a hanging mail server blocks a thread for 10 s; the next alert must find a free one
_RETRY_THREADS = 32
_LOW = 2  # polls and workflow tasks at a time of low-priority queues: a small Temporal server is free for alerts


@dataclass(frozen=True, slots=True)
class Slots:
    """Concurrency limits of one task queue."""

    threads: int  # also the limit of concurrent activities, so that none waits for a thread while its timeout runs
    workflow_tasks: int | None = None  # None: the SDK's default
    polls: int = 5


QUEUE_SLOTS: dict[TaskQueueKind | None, Slots] = {
    None: Slots(8),
    TaskQueueKind.INCIDENTS: Slots(8),
    TaskQueueKind.ALERTS: Slots(ALERT_THREADS),
    TaskQueueKind.MAILS: Slots(16),
    TaskQueueKind.NOTICES: Slots(4, polls=_LOW),
    TaskQueueKind.MAIL_RETRIES: Slots(_RETRY_THREADS, polls=_LOW),
    TaskQueueKind.BACKGROUND: Slots(4, workflow_tasks=_LOW, polls=_LOW),
    TaskQueueKind.WEBHOOKS: Slots(SLOTS, polls=_LOW),  # each account has a share of these
}


@dataclass(frozen=True, slots=True)
class Activities:
    """The activities of a worker. `alerts` is like `mail`, with its own database connections."""

    control: WorkflowMessageActivities
    incidents: IncidentActivities
    regenerations: RegenerationActivities
    alerts: MailActivities
    mail: MailActivities
    upkeep: MaintenanceActivities
    webhooks: WebhookActivities

    def of(self, kind: TaskQueueKind | None) -> list[Callable[..., Any]]:
        """Return the activities of a task queue; None: the main one."""
        found: dict[TaskQueueKind | None, list[Callable[..., Any]]] = {
            None: [
                *self._of_messages(),
                self.regenerations.load_regeneration_facts,
                self.regenerations.issue_key_pair,
                self.regenerations.verify_key_pair,
                self.regenerations.activate_key_pair,
                self.regenerations.renew_link,
                self.regenerations.begin_overlap,
                self.regenerations.count_old_key_uses,
                self.regenerations.retire_old_key_pair,
                self.regenerations.finish_regeneration,
                self.regenerations.record_regeneration_event,
            ],
            TaskQueueKind.INCIDENTS: [
                *self._of_messages(),
                self.incidents.load_incident_facts,
                self.incidents.record_incident_event,
                self.incidents.record_decision,
                self.incidents.open_regeneration,
                self.incidents.close_incident,
            ],
            TaskQueueKind.ALERTS: [self.alerts.send_mail],
            TaskQueueKind.MAILS: [self.mail.send_mail],
            TaskQueueKind.NOTICES: [self.mail.send_mail],
            TaskQueueKind.MAIL_RETRIES: [self.mail.send_mail],
            TaskQueueKind.BACKGROUND: [
                *self._of_messages(),
                self.upkeep.prune_database,
                self.upkeep.reconcile_database,
                self.upkeep.send_digest,
                self.webhooks.give_up_webhook,
            ],
            TaskQueueKind.WEBHOOKS: [self.webhooks.post_webhook],
        }
        return found[kind]

    def _of_messages(self) -> list[Callable[..., Any]]:
        return [self.control.record_ignored_signal, self.control.record_missing_subject, self.control.use_order]


_WORKFLOWS: dict[TaskQueueKind | None, Sequence[type]] = {
    None: [KeyRegenerationWorkflow],
    TaskQueueKind.INCIDENTS: [KeyIncidentWorkflow],
    TaskQueueKind.BACKGROUND: [KeyNoticeWorkflow, KeyMaintenanceWorkflow, KeyWebhookWorkflow],
}


def executors() -> dict[TaskQueueKind | None, ThreadPoolExecutor]:
    """Return the threads of each task queue; None: the main one. The caller shuts them down."""
    return {
        kind: ThreadPoolExecutor(slots.threads, thread_name_prefix=f"octy-{kind or 'keys'}")
        for kind, slots in QUEUE_SLOTS.items()
    }


def workers(
    client: Client,
    main: str,
    activities: Activities,
    threads: dict[TaskQueueKind | None, ThreadPoolExecutor],
    deployment: WorkerDeploymentConfig | None,
    *,
    alerts: AlertsInProgress,
) -> list[Worker]:
    """Return one worker for each task queue. Those without workflows are not versioned.

    A worker that is not versioned tells Temporal its release, too: the SDK's own build id is a hash of all modules that
    are loaded, for which it reads each again, for a second at every start.
    """
    return [
        Worker(
            client,
            task_queue=main if kind is None else task_queue_name(main, kind),
            workflows=_WORKFLOWS.get(kind, ()),
            activities=activities.of(kind),
            activity_executor=threads[kind],
            max_concurrent_activities=slots.threads,
            max_concurrent_workflow_tasks=slots.workflow_tasks if kind in _WORKFLOWS else None,
            max_concurrent_workflow_task_polls=slots.polls,
            max_concurrent_activity_task_polls=slots.polls,
            interceptors=interceptors(alerts, kind),
            graceful_shutdown_timeout=timedelta(seconds=GRACE_PERIOD),
            **_version(deployment if kind in _WORKFLOWS else None),
        )
        for kind, slots in QUEUE_SLOTS.items()
    ]


def _version(deployment: WorkerDeploymentConfig | None) -> dict[str, Any]:
    """Return the options of a worker that say its version."""
    return {"build_id": RELEASE} if deployment is None else {"deployment_config": deployment}
