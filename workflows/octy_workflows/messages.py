"""Everything that workflows are told and tell: frozen dataclasses of ids, choices and times.

Here: inputs, signals, updates, queries' answers, and the workflow ids as functions. Not here: personal data,
key material, anything that must not stay in a Temporal history for good.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from octy_workflows.staff_requests import Choice

HOUR = 3600.0
DAY = 24 * HOUR


def incident_workflow_id(installation: str, incident_id: str) -> str:
    """Return the id of the incident's one workflow; starting it twice is harmless.

    All workflow ids contain the id of their installation: others may use the same Temporal namespace.
    """
    return f"octy-{installation}-incident-{incident_id}"


def regeneration_workflow_id(installation: str, regeneration_id: str) -> str:
    """Return the id of the regeneration's one workflow."""
    return f"octy-{installation}-regeneration-{regeneration_id}"


def notice_workflow_id(installation: str, notice_id: str) -> str:
    """Return the id of the notice's one workflow."""
    return f"octy-{installation}-notice-{notice_id}"


class DeliveryMethod(StrEnum):
    """How the new secret reaches the customer."""

    LINK = "link"  # the mail has a link whose page shows the secret once
    MAIL = "mail"  # the mail has the secret: it counts as collected when the mail server has accepted it


def webhook_workflow_id(installation: str, webhook_id: str, order: int) -> str:
    """Return the id of the one workflow of this order; staff may order anew what was given up."""
    return f"octy-{installation}-webhook-{webhook_id}-{order}"


def main_task_queue(name: str, installation: str) -> str:
    """Return the installation's main task queue; `name` is the setting. Other queues' names begin with this one."""
    return f"{name}-{installation}"


@dataclass(frozen=True)
class RegenerationTimes:
    """Seconds, counted from the order for the new keys' first mail (overlap: from their collection).

    `warn_before`: before the end of the overlap, for the word that the old pair is still in use; 0 is none, as inputs
    say that are older than this field. None either when the overlap is no longer than that.
    """

    overlap: float = DAY
    resend_after: tuple[float, ...] = (DAY, 3 * DAY)
    staff_after: float = 7 * DAY
    abandon_after: float = 14 * DAY
    warn_before: float = 0.0


@dataclass(frozen=True)
class IncidentTimes:
    """Seconds from the start of the workflow; absolute targets, a late step does not move the next."""

    remind_after: tuple[float, ...] = (DAY, 3 * DAY)
    staff_after: float = 7 * DAY
    close_after: float = 14 * DAY
    regenerate_on_silence: bool = False


@dataclass(frozen=True)
class IncidentRestart:
    """What SQL knows of a case whose workflow is started again; empty for a case that begins.

    `began`: Unix seconds from which its times count. `regeneration_id`: the newest regeneration that ended in vain.
    """

    began: float = 0.0
    regeneration_id: str = ""


@dataclass(frozen=True)
class RegenerationRestart:
    """What SQL knows of a delivery whose workflow is started again; empty for one that begins.

    `began`: Unix seconds from which its times count. `generation`: of the newest link; `expired`: it opens no more.
    """

    began: float = 0.0
    generation: int = 1
    expired: bool = False


@dataclass(frozen=True)
class IncidentInput:
    """Input of `KeyIncidentWorkflow`. `failures`: in a row at its opening; 0: unknown.

    `searchable`: the cluster knows our search attributes. A running case keeps what it was started with.
    `extended` and `numbers` are what staff did before, should a case ever be started anew: its deadlines as they were
    moved last, and by kind of mail the highest number that was given.
    """

    incident_id: str
    times: IncidentTimes = field(default_factory=IncidentTimes)
    searchable: bool = False
    failures: int = 0
    extended: "ExtendedDeadlines | None" = None
    numbers: dict[str, int] = field(default_factory=dict)
    past: IncidentRestart = field(default_factory=IncidentRestart)


@dataclass(frozen=True)
class RegenerationInput:
    """Input of `KeyRegenerationWorkflow`. `replaces`: there is an old pair, so this is no first issue.

    `searchable`: the cluster knows our search attributes. No step uses `account_id` and `old_pair_id`: they are for a
    database that was restored from a backup and has no row of this regeneration (`octy_worker.maintenance.restored`).
    """

    regeneration_id: str
    leaked: bool = False
    replaces: bool = False
    times: RegenerationTimes = field(default_factory=RegenerationTimes)
    deliver: DeliveryMethod = DeliveryMethod.LINK
    searchable: bool = False
    past: RegenerationRestart = field(default_factory=RegenerationRestart)
    account_id: str = ""
    old_pair_id: str = ""


class NoticeKind(StrEnum):
    """What a notice tells; the values of its `kind` column."""

    EXPOSED = "exposed"  # a live pair came over plain HTTP
    CONTACT_CHANGED = "contact_changed"
    WEBHOOK_CHANGED = "webhook_changed"
    KEYS_ADDED = "keys_added"  # an import gave an account that was there already a further pair


@dataclass(frozen=True)
class NoticeInput:
    """Input of `KeyNoticeWorkflow`. `life`: seconds for which its mails are tried, from `began` or else its start."""

    notice_id: str
    kind: NoticeKind
    life: float = 14 * DAY
    began: float = 0.0


class NoticeFinalState(StrEnum):
    """How a notice ends."""

    TOLD = "told"  # each of its mails left
    OUTDATED = "overtaken"  # what came later left nothing to tell
    FAILED = "failed"  # somebody could not be told: support staff is needed


@dataclass(frozen=True)
class WebhookInput:
    """Input of `KeyWebhookWorkflow`. `life`: seconds for which it is tried."""

    webhook_id: str
    event: str
    life: float = 3 * DAY


@dataclass(frozen=True)
class WebhookStepInput:
    """Ask to post one event to the account's server, or to give it up."""

    webhook_id: str
    at: float


class WebhookFinalState(StrEnum):
    """What can become of a webhook; the values of its `state` column."""

    SENT = "sent"
    FAILED = "failed"  # the server wants no more, or did not take it in time
    SKIPPED = "skipped"  # there was nowhere to send it


@dataclass(frozen=True)
class WebhookStepResult:
    """What became of it: `state` is a `WebhookFinalState`, `why` a code without any address."""

    state: str
    why: str = ""


class IncidentState(StrEnum):
    """Where a case stands; the values of the `state` column."""

    OPENING = "opening"
    WAITING = "waiting"
    REGENERATING = "regenerating"
    NEEDS_STAFF = "needs_staff"
    CLOSED = "closed"


class Resolution(StrEnum):
    """How a case ends."""

    REGENERATED = "regenerated"
    FALSE_ALARM = "false_alarm"
    UNANSWERED = "unanswered"


class RegenerationFinalState(StrEnum):
    """How a regeneration ends."""

    DONE = "done"
    SUPERSEDED = "superseded"  # a later one replaces what this one would have delivered
    ABANDONED = "abandoned"  # never collected, or the new pair could not be made


COLLECTED = "collected"
"""What `finish_regeneration` answers instead of an ending when the customer collected the keys first."""

FINAL_REGENERATION_STATES = frozenset(RegenerationFinalState)
"""The states of a regeneration that is over."""


class Signal(StrEnum):
    """What the relay sends to a workflow. Signals carry no content: each only asks the workflow to read SQL."""

    CUSTOMER_ANSWERED = "customer_answered"  # incident
    ANSWER_CHANGED = "answer_changed"  # incident: by support staff
    ATTEMPTS_GREW = "attempts_grew"  # incident
    REGENERATION_FINISHED = "regeneration_finished"  # incident
    KEYS_COLLECTED = "keys_collected"  # regeneration
    SUPERSEDED = "superseded"  # regeneration: a later one takes its place, or its pair was cut


@dataclass(frozen=True)
class LoadFactsInput:
    """Ask what SQL says of an incident or a regeneration."""

    subject_id: str
    at: float


@dataclass(frozen=True)
class IncidentFacts:
    """What SQL says of an incident: the answer that stands, its newest regeneration, and the failures in a row.

    `leaked`: a leak was reported, whether the answer still stands or not. `regeneration_state`: an `RegenerationFinalState` once it
    has ended. `backed`: names of the signals for which there is a row.
    """

    choice: Choice | None
    leaked: bool
    by: str
    failures: int
    regeneration_id: str
    regeneration_state: str
    backed: list[str]


@dataclass(frozen=True)
class RegenerationFacts:
    """What SQL says of a regeneration. `ending`: an `RegenerationFinalState`, or empty while it goes on. `backed`: see above."""

    collected: bool
    ending: str
    backed: list[str]


class WorkflowKind(StrEnum):
    """The workflows, as events and metrics name them."""

    INCIDENT = "incident"
    REGENERATION = "regeneration"
    NOTICE = "notice"
    WEBHOOK = "webhook"
    UPKEEP = "upkeep"


class RefusalReason(StrEnum):
    """Why a message to a workflow was refused."""

    NO_ROW = "no_row"  # a signal for which SQL has no row
    UNKNOWN_NAME = "unknown_name"  # a signal that the workflow does not know
    UNREADABLE = "unreadable"  # no order's id in it
    ORDER_MISSING = "order_missing"  # no order of this id
    ORDER_FOREIGN = "order_foreign"  # an order about something else
    ORDER_USED = "order_used"
    ORDER_FAULTY = "order_faulty"  # what the order's row says can't be taken


@dataclass(frozen=True)
class IgnoredSignal:
    """Ask to note and count a signal that changes nothing. `number`: of the signals that this workflow ignored."""

    kind: WorkflowKind
    subject_id: str
    signal: str
    why: RefusalReason
    number: int
    at: float


@dataclass(frozen=True)
class MissingSubject:
    """Ask to tell that a workflow's subject has been missing for long, or (`over`) that the workflow goes on.

    `state`: where the incident stands, as its workflow knows; empty for other workflows.
    """

    kind: WorkflowKind
    subject_id: str
    cause: str
    over: bool
    state: str
    at: float


class StaffAction(StrEnum):
    """What staff can order of a workflow; the values of `staff_request.action`."""

    DECIDE = "decide"
    EXTEND = "extend"
    RESEND = "resend"  # a mail of an incident
    RESEND_KEYS = "resend_keys"  # the mail of a regeneration


@dataclass(frozen=True)
class UseStaffRequestInput:
    """Ask to load a staff order and to mark it as used, once.

    `order_id` is empty where a message held none; `what` names the event of a refusal.
    """

    order_id: str
    kind: WorkflowKind
    subject_id: str
    action: StaffAction
    what: str
    why: str
    at: float


@dataclass(frozen=True)
class UseStaffRequestResult:
    """What the order's row says; or why it is refused, in `refused`, and then nothing else."""

    refused: str
    request: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtendedDeadlines:
    """Answer of the update `extend`: when staff is told next, and when the case ends, in Unix seconds."""

    staff_at: float
    close_at: float


@dataclass(frozen=True)
class ResendResult:
    """Answer of the update `resend` of a case: the mail's kind and number, and what became of it: a `MailFinalState`."""

    mail: str
    end: str


@dataclass(frozen=True)
class StatusResult:
    """Answer of the query `status`: a `IncidentState`, and the answer that stands."""

    state: str
    choice: str | None
    decided_by: str | None


EventDetail = dict[str, str | int | bool]
"""What an event of a timeline says beyond its name: ids, counts and choices."""


class MaintenanceTask(StrEnum):
    """What recurs; each has a schedule."""

    RETENTION = "retention"  # what is past its time goes
    RECONCILIATION = "reconciliation"  # what SQL and Temporal know of each case is the same again
    DIGEST = "digest"  # support staff reads once a day what waits for it


@dataclass(frozen=True)
class MaintenanceInput:
    """Input of `KeyUpkeepWorkflow`."""

    task: MaintenanceTask


@dataclass(frozen=True)
class MaintenanceStepInput:
    """Ask for the next piece of a round at workflow time `at`."""

    at: float


class MaintenanceProgress(StrEnum):
    """How far a round has come."""

    DONE = "done"
    MORE = "more"  # the piece is done, and there are others
    HELD = "held"  # somebody else is doing it


@dataclass(frozen=True)
class MaintenanceStepResult:
    """What one piece did, counted."""

    progress: MaintenanceProgress
    counts: dict[str, int] = field(default_factory=dict)


def maintenance_schedule_id(task_queue: str, task: MaintenanceTask) -> str:
    """Return the id of a task's schedule, by the installation's main task queue."""
    return f"octy-upkeep-{task_queue}-{task}"


class MailKind(StrEnum):
    """The mails that workflows ask for; each is a folder of templates."""

    ALERT = "alert"
    REMINDER = "reminder"
    NEW_KEYS = "new_keys"
    NEW_KEYS_INSIDE = "new_keys_inside"  # with the secret itself: `DeliveryMethod.MAIL`
    STILL_USED = "still_used"  # the old pair, shortly before its end
    KEYS_RETIRED = "keys_retired"
    EXPOSED = "exposed"
    CONTACT_CHANGED = "contact_changed"  # to the security address, with a link
    KEYS_ADDED = "keys_added"  # an import gave the account further pairs
    NEW_CONTACT = "new_contact"  # to the new address, which may be a thief's: it gets no link
    WEBHOOK_CHANGED = "webhook_changed"
    ACCOUNT_NOTICE = "account_notice"  # beside another mail, to further addresses of the account: no link, no details


@dataclass(frozen=True)
class SendMailInput:
    """Ask for one mail. `subject_id` is the id of an incident, of a regeneration for key mails, or of a notice.

    The key of the mail is `subject_id/kind/number`: the same order twice is one mail. `waited`: for how many seconds it
    was `DELAYED` so far, by the workflow's clock.
    """

    subject_id: str
    kind: MailKind
    number: int
    at: float
    waited: float = 0.0


class MailFinalState(StrEnum):
    """What can become of a mail; the values of its `state` column."""

    SENT = "sent"
    SKIPPED = "skipped"  # `DAILY_CAP`, or for good: see `OUTDATED`
    FAILED = "failed"  # refused for good


DAILY_CAP = "daily-cap"
"""Why a reminder or a notice is skipped for a day: the account got as many as it may have. Never an alert."""

DELAYED = "delayed"
"""The state of a report when nothing became of the mail yet: it is to be ordered again after `again_in` seconds."""

JOINED = "joins"
"""Why an alert is delayed: it joins others of its account in one mail, minutes later."""

HELD = "held"
"""Why an alert is delayed: there is evidence of a fault of our own that would mail many customers."""

OUTDATED = "overtaken"
"""Why a mail is skipped for good: what it would tell is no longer so."""


@dataclass(frozen=True)
class SendMailResult:
    """What became of it: `state` is a `MailFinalState`, or `DELAYED`.

    Sent and failed stand for this order. A skipped one is ordered again next day, and tried again then, unless it
    was `OUTDATED`. `why` is a code or plain words, no address: it is kept in the history and shown to staff.
    """

    state: str
    why: str = ""
    again_in: float = 0.0


@dataclass(frozen=True)
class RecordIncidentEventInput:
    """Ask to write the state and one event into the case's timeline. `key` is unique within the case."""

    incident_id: str
    key: str
    what: str
    at: float
    actor: str = "system"
    state: str | None = None
    detail: EventDetail = field(default_factory=dict)


@dataclass(frozen=True)
class RecordDecisionInput:
    """Ask to take a staff decision in SQL, where the customer may have answered first.

    `order_id` names a staff order that was marked as used. Empty: silence decides, as actor "system".
    """

    incident_id: str
    order_id: str
    at: float


@dataclass(frozen=True)
class DecisionResult:
    """Whether the decision stands; else whose earlier answer stands: "customer", "system" or a staff id."""

    accepted: bool
    standing_choice: Choice
    standing_leaked: bool
    answered_by: str
    why: str = ""  # it does not stand, where no earlier answer does either


@dataclass(frozen=True)
class OpenRegenerationInput:
    """Ask for the regeneration of a case's pair, as its answer in SQL wants it; the same order twice is one row.

    `after` is the regeneration of this case that ended in vain, abandoned or superseded, and that the new one
    follows: the case's regeneration is replaced only while it is still that one.
    """

    incident_id: str
    at: float
    after: str = ""


@dataclass(frozen=True)
class RegenerationStepInput:
    """Ask for one step of a regeneration at workflow time `at`."""

    regeneration_id: str
    at: float


@dataclass(frozen=True)
class RenewLinkInput:
    """Ask for a fresh link of at least this `generation`; the same order twice is one renewal."""

    regeneration_id: str
    generation: int
    at: float


@dataclass(frozen=True)
class BeginOverlapInput:
    """Ask to let the old pair live on beside the new one, for `overlap` seconds from the collection."""

    regeneration_id: str
    at: float
    overlap: float


@dataclass(frozen=True)
class RecordRegenerationEventInput:
    """Ask to write one event into the timeline of every case that waits for this regeneration.

    `needs_staff` sets these cases to `needs_staff`, and `staff_done` takes that back. `key` is unique within the
    regeneration. A regeneration for which no case waits has no timeline: its workflow's current details tell.
    """

    regeneration_id: str
    key: str
    what: str
    at: float
    needs_staff: bool = False
    detail: EventDetail = field(default_factory=dict)
    staff_done: bool = False


@dataclass(frozen=True)
class CloseIncidentInput:
    """Ask to close the case: `resolution` is a `Resolution`."""

    incident_id: str
    resolution: str
    at: float


@dataclass(frozen=True)
class FinishRegenerationInput:
    """Ask to finish a regeneration: `state` is an `RegenerationFinalState`."""

    regeneration_id: str
    state: str
    at: float
