"""Typed declarations of the activities; `octy_worker.activities` does what is declared here.

Every activity is idempotent: it has a deterministic key and a row, and a second call finds the row. All of
them last a second or two, those of upkeep a minute with heartbeats, and take the workflow's time as `at`. A step of
a regeneration that SQL has already finished, or of an old pair that there isn't, changes nothing and returns.
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
    UseStaffRequestInput,
    UseStaffRequestResult,
    WebhookStepInput,
    WebhookStepResult,
)


@activity.defn
def send_mail(order: SendMailInput) -> SendMailResult:
    """Write the intent row, send, and note the result. A transient fault raises, to be retried."""
    raise NotImplementedError


@activity.defn
def note_incident(note: RecordIncidentEventInput) -> None:
    """Append the event to the timeline, and set the state when one is given."""
    raise NotImplementedError


@activity.defn
def look_at_incident(look: LoadFactsInput) -> IncidentFacts:
    """Return what SQL says of the incident. Signals say only that there may be something new."""
    raise NotImplementedError


@activity.defn
def look_at_regeneration(look: LoadFactsInput) -> RegenerationFacts:
    """Return what SQL says of the regeneration."""
    raise NotImplementedError


@activity.defn
def note_ignored(signal: IgnoredSignal) -> None:
    """Count a signal that changes nothing, and append it to the incident's timeline, if there is one."""
    raise NotImplementedError


@activity.defn
def note_missing(missing: MissingSubject) -> None:
    """Log and count a subject that has been missing for long, and call staff in the timelines that there are.

    `over`: the workflow goes on, so take the staff task back.
    """
    raise NotImplementedError


@activity.defn
def use_order(use: UseStaffRequestInput) -> UseStaffRequestResult:
    """Load a staff order by its id, and let one conditional UPDATE mark it as used; a retry of this call may repeat it.

    One that is missing, used or about another subject is refused with the reason, noted in the timeline and counted.
    """
    raise NotImplementedError


@activity.defn
def take_decision(order: RecordDecisionInput) -> DecisionResult:
    """Let one conditional UPDATE decide whether this decision stands; a leaked pair is retired with it.

    The timeline gets the decision as an event, whether it stands or not. A repeat of an order gets its answer.
    """
    raise NotImplementedError


@activity.defn
def open_regeneration(order: OpenRegenerationInput) -> str:
    """Return the id of the case's regeneration, opened with its outbox row or joined when one is on its way.

    With `after`, what replaces the pair after that one: a later order is joined, or the pair is ordered anew. Its
    workflow is started by the relay; the signal `regeneration_finished` says when to look for its end. Returns nothing
    where SQL holds no answer that wants new keys.
    """
    raise NotImplementedError


@activity.defn
def close_incident(order: CloseIncidentInput) -> bool:
    """Close the case, start its streaks at zero, and begin the quiet time after a false alarm.

    One conditional UPDATE: `unanswered` closes only a case that nobody has answered, `false_alarm` one whose answer
    says so, `regenerated` one that wants new keys and whose regeneration is over. Else nothing is closed, and False is
    returned. True for a case that is closed already.
    """
    raise NotImplementedError


@activity.defn
def issue_pair(step: RegenerationStepInput) -> None:
    """Make the new pair, pending, its secret sealed."""
    raise NotImplementedError


@activity.defn
def prove_pair(step: RegenerationStepInput) -> None:
    """Verify the unsealed secret against the stored digest with the verifier that requests meet.

    A pair that does not verify raises a non-retryable ApplicationError; so does whatever makes a pair
    impossible in `issue_pair` and `activate_pair`. The regeneration is abandoned then.
    """
    raise NotImplementedError


@activity.defn
def activate_pair(step: RegenerationStepInput) -> None:
    """Let the new pair authenticate; a leaked old pair is retired in the same transaction."""
    raise NotImplementedError


@activity.defn
def renew_link(order: RenewLinkInput) -> int:
    """Give the uncollected secret a fresh link life; return the generation, which is also the mail's number.

    Raises the generation to the order's one at least; a repeat finds it there. Returns 0 when there is
    nothing left to renew: the secret was collected or its regeneration is finished, and the signal that tells
    is on its way.
    """
    raise NotImplementedError


@activity.defn
def begin_overlap(order: BeginOverlapInput) -> float | None:
    """Mark the old pair as retiring, and return its end in Unix seconds: it is accepted until then.

    Returns None, with nothing done, when SQL knows of no collection.

    The end is counted from the collection as SQL holds it, not from `at`: what the customer was promised holds
    however late the workflow hears of it. Returns `at` when the old pair is retired already; it stays so.
    """
    raise NotImplementedError


@activity.defn
def count_old_uses(step: RegenerationStepInput) -> int:
    """Return how often the old pair was accepted since the new secret was collected; 0 when it has ended already.

    Changes nothing. Counts are by the minute: that of the collection itself is left out.
    """
    raise NotImplementedError


@activity.defn
def retire_old_pair(step: RegenerationStepInput) -> bool:
    """Cut the old pair whose successor was collected and whose overlap is over; False when SQL does not say so."""
    raise NotImplementedError


@activity.defn
def finish_regeneration(order: FinishRegenerationInput) -> str:
    """Finish the row, erase an uncollected secret, and tell the cases that wait for it, once, by the outbox.

    An abandonment reopens the answer of these cases in the same transaction.
    Returns the state that stands: the ending that it already has; else the order's, when that is `done` and the keys
    were collected, or `abandoned` and they were not; else where it stands, with nothing finished.
    """
    raise NotImplementedError


@activity.defn
def note_regeneration(note: RecordRegenerationEventInput) -> None:
    """Append the event to the timelines of the cases that wait for this regeneration, once each.

    `staff_done` brings those that are in `needs_staff` back to `regenerating`.
    """
    raise NotImplementedError


@activity.defn
def post_webhook(order: WebhookStepInput) -> WebhookStepResult:
    """Write the try down, post the event, and note the result. What may go better next time raises, to be retried."""
    raise NotImplementedError


@activity.defn
def give_up_webhook(order: WebhookStepInput) -> WebhookStepResult:
    """Note that it is tried no more, and return the state that stands: the last try may have arrived."""
    raise NotImplementedError


@activity.defn
def prune_store(order: MaintenanceStepInput) -> MaintenanceStepResult:
    """Drop what is past its time, for a minute at most; the next call goes on where this one ended."""
    raise NotImplementedError


@activity.defn
def reconcile_store(order: MaintenanceStepInput) -> MaintenanceStepResult:
    """Compare every open case, regeneration, notice and webhook with Temporal, and mend what differs by the outbox."""
    raise NotImplementedError


@activity.defn
def send_digest(order: MaintenanceStepInput) -> MaintenanceStepResult:
    """Mail to support staff what waits for it, once for each UTC day of `at`."""
    raise NotImplementedError
