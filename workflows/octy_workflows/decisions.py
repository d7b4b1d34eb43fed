"""What support staff typed, read with suspicion: a decision, or a refusal that says why.

Here: the way from a payload to a `StaffDecision`. Not here: whether the decision comes too late (`incident`).
"""

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from octy_workflows.messages import STAFF_DECISION, StaffDecision, read_decision

HOW_TO_DECIDE = (
    f"To decide, send the update `decide` or the signal `{STAFF_DECISION}` with one JSON object: "
    '{"decision": "regenerate" or "dismiss", "actor": your staff id, "reason": one line, "leaked": true or false}'
)

INVALID = "Invalid"
TOO_LATE = "TooLate"


def refusal(why: str, kind: str) -> ApplicationError:
    """Return the error that refuses a decision for good; `kind` is its type: INVALID or TOO_LATE."""
    return ApplicationError(why, type=kind, non_retryable=True)


def decision_in(said: object) -> StaffDecision:
    """Return the decision in a JSON value; raise a refusal when there is none."""
    decision = read_decision(said)
    if isinstance(decision, str):
        raise refusal(decision, INVALID)
    return decision


def decision_signalled(name: str, said: Sequence[RawValue]) -> StaffDecision:
    """Return the decision in a signal of any name and content; raise a refusal when there is none."""
    if name != STAFF_DECISION:
        raise refusal(f"no signal has this name; the one of support staff is {STAFF_DECISION}", INVALID)
    if len(said) != 1:
        raise refusal("a decision is one JSON object, no more and no less", INVALID)
    try:
        value = workflow.payload_converter().from_payload(said[0].payload)
    except Exception:  # noqa: BLE001  # whatever ails it, it is no decision
        raise refusal("a decision must be readable as JSON", INVALID) from None
    return decision_in(value)
