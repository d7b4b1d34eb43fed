"""Typed declarations of the activities; `octy_worker.activities` does what is declared here.

Every activity is idempotent: it has a deterministic key and a row, and a second call finds the row. All of them are
synchronous, last a second or two, and take the workflow's time as `at`.
"""

from temporalio import activity

from octy_workflows.messages import (
    CloseOrder,
    DecisionOrder,
    DecisionReport,
    FinishOrder,
    IncidentNote,
    MailOrder,
    MailReport,
    RegenerationOrder,
    Step,
)


@activity.defn
def send_mail(order: MailOrder) -> MailReport:
    """Write the intent row, send, and note the result. A transient fault raises, to be retried."""
    raise NotImplementedError


@activity.defn
def note_incident(note: IncidentNote) -> None:
    """Append the event to the timeline, and set the state when one is given."""
    raise NotImplementedError


@activity.defn
def take_decision(order: DecisionOrder) -> DecisionReport:
    """Let one conditional UPDATE decide whether this decision stands; a leaked pair is retired with it."""
    raise NotImplementedError


@activity.defn
def open_regeneration(order: RegenerationOrder) -> str:
    """Return the id of the case's regeneration, opened with its outbox row or joined when one is on its way.

    Its workflow is started by the relay; the case hears of its end by the signal `regeneration_finished`.
    """
    raise NotImplementedError


@activity.defn
def close_incident(order: CloseOrder) -> None:
    """Close the case, start its streaks at zero, and begin the quiet time after a false alarm."""
    raise NotImplementedError


@activity.defn
def issue_pair(step: Step) -> None:
    """Make the new pair, pending, its secret sealed."""
    raise NotImplementedError


@activity.defn
def prove_pair(step: Step) -> None:
    """Verify the unsealed secret against the stored digest with the verifier that requests meet."""
    raise NotImplementedError


@activity.defn
def activate_pair(step: Step) -> None:
    """Let the new pair authenticate; a leaked old pair is retired in the same transaction."""
    raise NotImplementedError


@activity.defn
def renew_link(step: Step) -> int:
    """Give the uncollected secret a fresh link life; return the generation, which is also the mail's number."""
    raise NotImplementedError


@activity.defn
def begin_overlap(step: Step) -> None:
    """Mark the old pair as retiring, from the collection on."""
    raise NotImplementedError


@activity.defn
def retire_old_pair(step: Step) -> None:
    """Cut the old pair."""
    raise NotImplementedError


@activity.defn
def finish_regeneration(order: FinishOrder) -> None:
    """Finish the row, erase an uncollected secret, and let the cases that wait for it know (by the outbox)."""
    raise NotImplementedError
