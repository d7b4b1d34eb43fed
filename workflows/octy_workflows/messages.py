"""Payloads of workflows and activities, as frozen dataclasses, and the workflow ids.

Temporal keeps payloads in histories, so they hold ids, choices and times, but no personal data and no key material.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from octy_workflows.order_content import Choice

HOUR = 3600.0
DAY = 24 * HOUR


def incident_workflow_id(installation: str, incident_id: str) -> str:
    """Return the workflow id of an incident.

    It is unique, so a second start changes nothing. All workflow ids contain the id of their installation, because
    several installations may share a Temporal namespace.
    """
    return f"octy-{installation}-incident-{incident_id}"


def regeneration_workflow_id(installation: str, regeneration_id: str) -> str:
    """Return the workflow id of a regeneration."""
    return f"octy-{installation}-regeneration-{regeneration_id}"


def notice_workflow_id(installation: str, notice_id: str) -> str:
    """Return the workflow id of a notice."""
    return f"octy-{installation}-notice-{notice_id}"


class DeliveryMethod(StrEnum):
    """How the new secret reaches the customer."""

    LINK = "link"  # the mail contains a link to a page that shows the secret once
    MAIL = "mail"  # the mail contains the secret: it is collected when the mail server has accepted the mail


def webhook_workflow_id(installation: str, webhook_id: str, attempt: int) -> str:
    """Return the workflow id of a webhook. `attempt` is above 1 when staff sent a failed webhook again."""
    return f"octy-{installation}-webhook-{webhook_id}-{attempt}"


def main_task_queue(name: str, installation: str) -> str:
    """Return the installation's main task queue; `name` is the setting. It is the prefix of the other queues' names."""
    return f"{name}-{installation}"


@dataclass(frozen=True)
class RegenerationTimes:
    """Times of a regeneration in seconds, from its first mail (`overlap`: from the collection of the new secret).

    `warn_before`: how long before the end of the overlap the customer is warned that the old key pair is still used.
    There is no warning when it is 0, or not shorter than the overlap.
    """

    overlap: float = DAY
    resend_after: tuple[float, ...] = (DAY, 3 * DAY)
    staff_after: float = 7 * DAY
    abandon_after: float = 14 * DAY
    warn_before: float = 0.0


@dataclass(frozen=True)
class IncidentTimes:
    """Times of an incident in seconds from the start of its workflow. A late step does not move the next one."""

    remind_after: tuple[float, ...] = (DAY, 3 * DAY)
    staff_after: float = 7 * DAY
    close_after: float = 14 * DAY
    regenerate_on_silence: bool = False


@dataclass(frozen=True)
class IncidentRestart:
    """What the database knows about an incident whose workflow is started again; empty at the first start.

    `started_at`: Unix seconds from which its times count. `regeneration_id`: its newest regeneration, when that was
    abandoned or superseded.
    """

    started_at: float = 0.0
    regeneration_id: str = ""


@dataclass(frozen=True)
class RegenerationRestart:
    """What the database knows about a regeneration whose workflow is started again; empty at the first start.

    `started_at`: Unix seconds from which its times count. `generation`: of the newest link. `expired`: that link has
    expired.
    """

    started_at: float = 0.0
    generation: int = 1
    expired: bool = False


@dataclass(frozen=True)
class IncidentInput:
    """Input of `KeyIncidentWorkflow`.

    `failures`: failed attempts in a row when it was opened; 0: unknown. `searchable`: the cluster knows our search
    attributes; a running workflow keeps the value of its start. `deadlines` and `mail_numbers` are set when a workflow
    is started again: the deadlines as staff extended them last, and the highest mail number given so far, by kind.
    """

    incident_id: str
    times: IncidentTimes = field(default_factory=IncidentTimes)
    searchable: bool = False
    failures: int = 0
    deadlines: "ExtendedDeadlines | None" = None
    mail_numbers: dict[str, int] = field(default_factory=dict)
    restart: IncidentRestart = field(default_factory=IncidentRestart)


@dataclass(frozen=True)
class RegenerationInput:
    """Input of `KeyRegenerationWorkflow`.

    `replaces`: there is an old key pair. `searchable`: see `IncidentInput`. The workflow does not use `account_id` and
    `old_pair_id`: they are for a database that was restored from a backup and has no row of this regeneration (see
    `octy_worker.maintenance.restored`).
    """

    regeneration_id: str
    leaked: bool = False
    replaces: bool = False
    times: RegenerationTimes = field(default_factory=RegenerationTimes)
    delivery_method: DeliveryMethod = DeliveryMethod.LINK
    searchable: bool = False
    restart: RegenerationRestart = field(default_factory=RegenerationRestart)
    account_id: str = ""
    old_pair_id: str = ""


class NoticeKind(StrEnum):
    """Subject of a notice; the values of its `kind` column."""

    EXPOSED = "exposed"  # an active key pair was sent over plain HTTP
    CONTACT_CHANGED = "contact_changed"
    WEBHOOK_CHANGED = "webhook_changed"
    KEYS_ADDED = "keys_added"  # an import added a key pair to an account that existed before


@dataclass(frozen=True)
class NoticeInput:
    """Input of `KeyNoticeWorkflow`.

    `ttl`: seconds after which unsent mails are given up, from `started_at`; 0: from the workflow's start.
    """

    notice_id: str
    kind: NoticeKind
    ttl: float = 14 * DAY
    started_at: float = 0.0


class NoticeFinalState(StrEnum):
    """Final state of a notice."""

    SENT = "sent"  # all its mails were sent
    OBSOLETE = "obsolete"  # a later change made it pointless
    FAILED = "failed"  # a mail could not be delivered: support staff is needed


@dataclass(frozen=True)
class WebhookInput:
    """Input of `KeyWebhookWorkflow`. `ttl`: seconds after which it is given up."""

    webhook_id: str
    event: str
    ttl: float = 3 * DAY


@dataclass(frozen=True)
class WebhookStepInput:
    """Input of `post_webhook` and `give_up_webhook`. `at`: workflow time in Unix seconds, as in all inputs below."""

    webhook_id: str
    at: float


class WebhookFinalState(StrEnum):
    """Final states of a webhook; values of its `state` column."""

    SENT = "sent"
    FAILED = "failed"  # the server refused it for good, or did not accept it in time
    SKIPPED = "skipped"  # the account has no webhook URL, or webhooks are off


@dataclass(frozen=True)
class WebhookStepResult:
    """Result of a webhook step: `state` is a `WebhookFinalState`, `reason` a code without any address."""

    state: str
    reason: str = ""


class IncidentState(StrEnum):
    """State of an incident; the values of its `state` column."""

    OPENING = "opening"
    WAITING = "waiting"
    REGENERATING = "regenerating"
    NEEDS_STAFF = "needs_staff"
    CLOSED = "closed"


class Resolution(StrEnum):
    """How an incident was closed."""

    REGENERATED = "regenerated"
    FALSE_ALARM = "false_alarm"
    UNANSWERED = "unanswered"


class RegenerationFinalState(StrEnum):
    """Final states of a regeneration."""

    DONE = "done"
    SUPERSEDED = "superseded"  # a later regeneration of the same key pair took its place
    ABANDONED = "abandoned"  # not collected in time, or the new key pair could not be made


COLLECTED = "collected"
"""Result of `finish_regeneration` when the customer collected the new secret just before: it is not finished."""

FINAL_REGENERATION_STATES = frozenset(RegenerationFinalState)
"""All final states of a regeneration."""


class Signal(StrEnum):
    """Signals of the outbox relay. They have no content: the workflow loads the facts from the database."""

    CUSTOMER_ANSWERED = "customer_answered"  # incident
    ANSWER_AMENDED = "answer_amended"  # incident: staff amended the answer
    FAILURES_INCREASED = "failures_increased"  # incident
    REGENERATION_FINISHED = "regeneration_finished"  # incident
    KEYS_COLLECTED = "keys_collected"  # regeneration
    SUPERSEDED = "superseded"  # regeneration: a later one takes its place, or its key pair was retired


@dataclass(frozen=True)
class LoadFactsInput:
    """Input of `load_incident_facts` and `load_regeneration_facts`."""

    subject_id: str
    at: float


@dataclass(frozen=True)
class IncidentFacts:
    """What the database says about an incident: its current answer, its newest regeneration, its failures in a row.

    `leaked`: a leak was reported, even if the answer was reopened since. `regeneration_state`: a
    `RegenerationFinalState` when it has ended. `recorded_signals`: names of the signals for which there is a row.
    """

    choice: Choice | None
    leaked: bool
    answered_by: str
    failures: int
    regeneration_id: str
    regeneration_state: str
    recorded_signals: list[str]


@dataclass(frozen=True)
class RegenerationFacts:
    """What the database says about a regeneration.

    `final_state`: a `RegenerationFinalState`, or empty while it is open. `recorded_signals`: see `IncidentFacts`.
    """

    collected: bool
    final_state: str
    recorded_signals: list[str]


class WorkflowKind(StrEnum):
    """Names of the workflows in events and metrics."""

    INCIDENT = "incident"
    REGENERATION = "regeneration"
    NOTICE = "notice"
    WEBHOOK = "webhook"
    MAINTENANCE = "maintenance"


class RefusalReason(StrEnum):
    """Why a workflow refused a signal or a staff order; a label of metrics."""

    NO_ROW = "no_row"  # the database has no row for this signal
    UNKNOWN_NAME = "unknown_name"  # the workflow does not know a signal of this name
    UNREADABLE = "unreadable"  # it contains no order id
    ORDER_MISSING = "order_missing"  # there is no order of this id
    ORDER_MISMATCH = "order_mismatch"  # the order is about another subject or action
    ORDER_USED = "order_used"
    ORDER_EXPIRED = "order_expired"  # it was received too long ago
    ORDER_INVALID = "order_invalid"  # the order's row has invalid values
    ORDER_UNPROVEN = "order_unproven"  # the row was not received by this system, or its proof is wrong
    ORDER_NOT_ALLOWED = "order_not_allowed"  # the person may not order this, or not any more


@dataclass(frozen=True)
class IgnoredSignal:
    """Input of `record_ignored_signal`. `number`: how many signals this workflow has ignored, with this one."""

    kind: WorkflowKind
    subject_id: str
    signal: str
    reason: RefusalReason
    number: int
    at: float


@dataclass(frozen=True)
class MissingSubject:
    """Input of `record_missing_subject`: a row has been missing for long, or (`resolved`) is there again.

    `state`: the incident's state before; empty for other workflows.
    """

    kind: WorkflowKind
    subject_id: str
    cause: str
    resolved: bool
    state: str
    at: float


class StaffAction(StrEnum):
    """What staff can order of a workflow; each is an action of orders (`octy_worker.access.roles`)."""

    DECIDE = "decide"
    EXTEND = "extend"
    RESEND = "resend"  # a mail of an incident
    RESEND_KEYS = "resend_keys"  # the mail of a regeneration


@dataclass(frozen=True)
class UseOrderInput:
    """Input of `use_order`.

    `order_id` is empty when the message contained none, and `error` says why. `refused_event`: name of the timeline
    event for a refusal. `refused`: how many orders this workflow has refused before, or not yet judged.
    """

    order_id: str
    kind: WorkflowKind
    subject_id: str
    action: StaffAction
    refused_event: str
    error: str
    at: float
    refused: int = 0


@dataclass(frozen=True)
class UseOrderResult:
    """The fields of the order, or in `refused` why it was refused."""

    refused: str
    order: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtendedDeadlines:
    """Result of the update `extend`: when staff is notified next, and when the incident ends, in Unix seconds."""

    staff_at: float
    close_at: float


@dataclass(frozen=True)
class ResendResult:
    """Result of the update `resend` of an incident: the mail's kind and number, and its `MailFinalState`."""

    mail: str
    state: str


@dataclass(frozen=True)
class StatusResult:
    """Result of the query `status`: the `IncidentState`, and the current answer."""

    state: str
    choice: str | None
    answered_by: str | None


EventDetail = dict[str, str | int | bool]
"""Details of a timeline event: ids, counts and choices."""


class MaintenanceTask(StrEnum):
    """Recurring jobs; each has a schedule."""

    RETENTION = "retention"  # delete old rows
    RECONCILIATION = "reconciliation"  # compare the database with Temporal
    DIGEST = "digest"  # mail staff once a day what waits for them


@dataclass(frozen=True)
class MaintenanceInput:
    """Input of `KeyMaintenanceWorkflow`."""

    task: MaintenanceTask


@dataclass(frozen=True)
class MaintenanceStepInput:
    """Input of one step of a maintenance run."""

    at: float


class MaintenanceProgress(StrEnum):
    """How far a maintenance run is after a step."""

    DONE = "done"
    MORE = "more"  # the step is done, and more work is left
    LEASED = "leased"  # another process has the lease of this job


@dataclass(frozen=True)
class MaintenanceStepResult:
    """Result of one step, with counts of what it did."""

    progress: MaintenanceProgress
    counts: dict[str, int] = field(default_factory=dict)


def maintenance_schedule_id(task_queue: str, task: MaintenanceTask) -> str:
    """Return the schedule id of a task; `task_queue` is the installation's main one."""
    return f"octy-maintenance-{task_queue}-{task}"


class MailKind(StrEnum):
    """Kinds of mail; each has a folder of templates."""

    ALERT = "alert"
    REMINDER = "reminder"
    NEW_KEYS = "new_keys"
    NEW_KEYS_INSIDE = "new_keys_inside"  # contains the secret: `DeliveryMethod.MAIL`
    STILL_USED = "still_used"  # the old key pair is still used, shortly before its end
    KEYS_RETIRED = "keys_retired"
    EXPOSED = "exposed"
    CONTACT_CHANGED = "contact_changed"  # to the security address, with a link
    KEYS_ADDED = "keys_added"  # an import added key pairs to the account
    NEW_CONTACT = "new_contact"  # to the new address, which may be an attacker's: without a link
    WEBHOOK_CHANGED = "webhook_changed"
    ACCOUNT_NOTICE = "account_notice"  # copy of another mail for the account's further addresses: no link, no details


@dataclass(frozen=True)
class SendMailInput:
    """Input of `send_mail`. `subject_id` is the id of an incident, a regeneration (mails with keys) or a notice.

    The mail's key is `subject_id/kind/number`: the same key is sent once. `delayed_for`: for how many seconds the mail
    was `DELAYED` so far, by the workflow's clock.
    """

    subject_id: str
    kind: MailKind
    number: int
    at: float
    delayed_for: float = 0.0

    @property
    def name(self) -> str:
        """Kind and number, for staff and for the keys of events."""
        return f"{self.kind}-{self.number}"


class MailFinalState(StrEnum):
    """Final states of a mail; values of its `state` column."""

    SENT = "sent"
    SKIPPED = "skipped"  # because of the `DAILY_CAP`, or because it is `OBSOLETE`
    FAILED = "failed"  # refused for good


DAILY_CAP = "daily-cap"
"""Reason of a skipped mail: the account got its maximum of reminders or notices for today. Never used for an alert."""

DELAYED = "delayed"
"""State in a result when the mail was not sent yet: ask again after `retry_after` seconds."""

GROUPED = "grouped"
"""Reason of a delayed alert: it is sent some minutes later, in one mail with other alerts of its account."""

HELD = "held"
"""Reason of a delayed alert: so many customers would get one that a fault of our own is more likely."""

OBSOLETE = "obsolete"
"""Reason of a skipped mail: a later change made it pointless."""


@dataclass(frozen=True)
class SendMailResult:
    """Result of `send_mail`: `state` is a `MailFinalState` or `DELAYED`.

    A skipped mail is asked for again on the next day, unless it is `OBSOLETE`. `reason` is a code or a text without an
    address: it is kept in the history and shown to staff.
    """

    state: str
    reason: str = ""
    retry_after: float = 0.0


@dataclass(frozen=True)
class RecordIncidentEventInput:
    """Input of `record_incident_event`. `key` is unique within the incident; `state` is set when it is not None."""

    incident_id: str
    key: str
    event: str
    at: float
    actor: str = "system"
    state: str | None = None
    detail: EventDetail = field(default_factory=dict)


@dataclass(frozen=True)
class RecordDecisionInput:
    """Input of `record_decision`. `order_id`: of a used staff order. Empty: no answer, "system" decides."""

    incident_id: str
    order_id: str
    at: float


@dataclass(frozen=True)
class DecisionResult:
    """Whether the decision was accepted, and the answer that is current now.

    `answered_by`: "customer", "system" or a staff id. `reason`: why the decision was refused when there is no current
    answer.
    """

    accepted: bool
    current_choice: Choice
    current_leaked: bool
    answered_by: str
    reason: str = ""


@dataclass(frozen=True)
class OpenRegenerationInput:
    """Input of `open_regeneration`; the same input twice is one row.

    `after`: the regeneration of this incident that was abandoned or superseded, and that the new one follows. It is
    replaced only while it still is the incident's newest.
    """

    incident_id: str
    at: float
    after: str = ""


@dataclass(frozen=True)
class RegenerationStepInput:
    """Input of a step of a regeneration that needs nothing else."""

    regeneration_id: str
    at: float


@dataclass(frozen=True)
class RenewLinkInput:
    """Input of `renew_link`: a new link of at least this `generation`; the same input twice is one renewal."""

    regeneration_id: str
    generation: int
    at: float


@dataclass(frozen=True)
class BeginOverlapInput:
    """Input of `begin_overlap`: accept the old key pair too, for `overlap` seconds from the collection."""

    regeneration_id: str
    at: float
    overlap: float


@dataclass(frozen=True)
class RecordRegenerationEventInput:
    """Input of `record_regeneration_event`, for the timeline of every incident that waits for this regeneration.

    `needs_staff` sets these incidents to `needs_staff`; `staff_not_needed` takes that back. `key` is unique within the
    regeneration. When no incident waits for it, there is no timeline: only the workflow's current details show it.
    """

    regeneration_id: str
    key: str
    event: str
    at: float
    needs_staff: bool = False
    detail: EventDetail = field(default_factory=dict)
    staff_not_needed: bool = False


@dataclass(frozen=True)
class CloseIncidentInput:
    """Input of `close_incident`: `resolution` is a `Resolution`."""

    incident_id: str
    resolution: str
    at: float


@dataclass(frozen=True)
class FinishRegenerationInput:
    """Input of `finish_regeneration`: `state` is a `RegenerationFinalState`."""

    regeneration_id: str
    state: str
    at: float
