"""Declarations of the activities; `octy_worker.activities` implements them.

Every activity is idempotent: its input determines a key and a row, and a second call finds the row. They take a second
or two (maintenance: a minute, with heartbeats), and use the workflow's time `at`. A step of a regeneration that is
finished, or whose old key pair does not exist, changes nothing.
"""

from temporalio import activity

from octy_workflows.messages import (
    BeginOverlapInput,
    CloseIncidentInput,
    DecisionResult,
    FinishRegenerationInput,
    IgnoredSignal,
    IncidentFacts,
    LoadFactsInput,
    MaintenanceStepInput,
    MaintenanceStepResult,
    MissingSubject,
    OpenRegenerationInput,
    RecordDecisionInput,
    RecordIncidentEventInput,
    RecordRegenerationEventInput,
    RegenerationFacts,
    RegenerationStepInput,
    RenewLinkInput,
    SendMailInput,
    SendMailResult,
    UseOrderInput,
    UseOrderResult,
    WebhookStepInput,
    WebhookStepResult,
)


@activity.defn
def send_mail(mail: SendMailInput) -> SendMailResult:
    """Record the intent, send the mail, and record the result. A transient failure raises, and is retried."""
    raise NotImplementedError


@activity.defn
def record_incident_event(step: RecordIncidentEventInput) -> None:
    """Add an event to the timeline, and set the state when one is given."""
    raise NotImplementedError


@activity.defn
def load_incident_facts(step: LoadFactsInput) -> IncidentFacts:
    """Return what the database says about the incident."""
    raise NotImplementedError


@activity.defn
def load_regeneration_facts(step: LoadFactsInput) -> RegenerationFacts:
    """Return what the database says about the regeneration."""
    raise NotImplementedError


@activity.defn
def record_ignored_signal(signal: IgnoredSignal) -> None:
    """Count a signal that changes nothing, and add it to the incident's timeline if there is one."""
    raise NotImplementedError


@activity.defn
def record_missing_subject(missing: MissingSubject) -> None:
    """Log and count a subject that has been missing for long, and notify staff in the timelines of its incidents.

    With `resolved` the workflow continues, and the staff task is closed.
    """
    raise NotImplementedError


@activity.defn
def use_order(step: UseOrderInput) -> UseOrderResult:
    """Load a staff order by its id, and mark it as used by one conditional UPDATE; a retry may repeat that.

    An order that is missing, used or about another subject is refused, added to the timeline and counted.
    """
    raise NotImplementedError


@activity.defn
def record_decision(step: RecordDecisionInput) -> DecisionResult:
    """Let one conditional UPDATE decide whether this decision is accepted; a leaked key pair is retired with it.

    The decision is added to the timeline, accepted or not. A repeat returns the same result.
    """
    raise NotImplementedError


@activity.defn
def open_regeneration(step: OpenRegenerationInput) -> str:
    """Return the id of the incident's regeneration: a new one with its outbox row, or one that is open already.

    With `after`, the one that follows that regeneration. The relay starts its workflow, and the signal
    `regeneration_finished` announces its end. Returns an empty id when no answer in the database asks for new keys.
    """
    raise NotImplementedError


@activity.defn
def close_incident(step: CloseIncidentInput) -> bool:
    """Close the incident, reset its streaks, and start the quiet time after a false alarm; return whether it is closed.

    One conditional UPDATE: `unanswered` needs that there is no answer, `false_alarm` that the answer is a dismissal,
    `regenerated` that the answer asks for new keys and their regeneration has ended. Otherwise nothing is changed and
    False is returned. True for an incident that is closed already.
    """
    raise NotImplementedError


@activity.defn
def issue_key_pair(step: RegenerationStepInput) -> None:
    """Create the new key pair, pending, with its secret sealed."""
    raise NotImplementedError


@activity.defn
def verify_key_pair(step: RegenerationStepInput) -> None:
    """Verify the unsealed secret against the stored digest, with the code that verifies requests.

    A failed verification raises a non-retryable ApplicationError, and so does anything that makes a key pair
    impossible in `issue_key_pair` and `activate_key_pair`. The regeneration is then abandoned.
    """
    raise NotImplementedError


@activity.defn
def activate_key_pair(step: RegenerationStepInput) -> None:
    """Accept the new key pair; a leaked old one is retired in the same transaction."""
    raise NotImplementedError


@activity.defn
def renew_link(step: RenewLinkInput) -> int:
    """Create a new link to the uncollected secret; return its generation, which is also the mail's number.

    The generation becomes at least that of the input, so a repeat changes nothing. Returns 0 when there is nothing to
    renew: the secret was collected or the regeneration is finished, and a signal about that follows.
    """
    raise NotImplementedError


@activity.defn
def begin_overlap(step: BeginOverlapInput) -> float | None:
    """Set the old key pair to retiring; return its end in Unix seconds, until which it is accepted.

    The end counts from the collection in the database, not from `at`: the customer was promised that time, however late
    the workflow continues. Returns `at` when the old key pair is retired already. Returns None, with nothing changed,
    when the database knows of no collection.
    """
    raise NotImplementedError


@activity.defn
def count_old_key_uses(step: RegenerationStepInput) -> int:
    """Return how often the old key pair was accepted since the new secret was collected; 0 when it is retired.

    Counters are by the minute, and the minute of the collection is left out.
    """
    raise NotImplementedError


@activity.defn
def retire_old_key_pair(step: RegenerationStepInput) -> bool:
    """Retire the old key pair when the new secret was collected and the overlap is over.

    Returns False, with nothing changed, otherwise.
    """
    raise NotImplementedError


@activity.defn
def finish_regeneration(step: FinishRegenerationInput) -> str:
    """Finish the row, erase an uncollected secret, and signal the waiting incidents through the outbox, once.

    An abandonment reopens the answer of these incidents in the same transaction. Returns the state in the database: the
    final state if it has one already; the requested one when that is `done` and the secret was collected, or
    `abandoned` and it was not; otherwise the current state, with nothing finished.
    """
    raise NotImplementedError


@activity.defn
def record_regeneration_event(step: RecordRegenerationEventInput) -> None:
    """Add the event to the timelines of the incidents that wait for this regeneration, once each.

    `staff_not_needed` sets those in `needs_staff` back to `regenerating`.
    """
    raise NotImplementedError


@activity.defn
def post_webhook(step: WebhookStepInput) -> WebhookStepResult:
    """Record the attempt, post the event, and record the result. A transient failure raises, and is retried."""
    raise NotImplementedError


@activity.defn
def give_up_webhook(step: WebhookStepInput) -> WebhookStepResult:
    """Record that there are no more attempts; return the final state, for the last attempt may have been accepted."""
    raise NotImplementedError


@activity.defn
def prune_database(step: MaintenanceStepInput) -> MaintenanceStepResult:
    """Delete old rows, for a minute at most; the next call continues where this one ended."""
    raise NotImplementedError


@activity.defn
def reconcile_database(step: MaintenanceStepInput) -> MaintenanceStepResult:
    """Compare open incidents, regenerations, notices and webhooks with Temporal; repair differences by the outbox."""
    raise NotImplementedError


@activity.defn
def send_digest(step: MaintenanceStepInput) -> MaintenanceStepResult:
    """Mail to support staff what waits for them, once for each UTC day of `at`."""
    raise NotImplementedError
