"""Who is heard, and how: what people type into the Web UI or the command line is read with suspicion.

Here: the way from a payload to the id of a staff order, and refusals. Not here: what the order says (`orders`), whether
it comes too late, which is `incident_answer`, `deadlines` and `incident_mails`.
"""

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.messages import StaffAction, UseStaffRequestInput, UseStaffRequestResult, WorkflowKind
    from octy_workflows.retry import DEFAULT_RETRY
    from octy_workflows.staff_requests import (
        STAFF_DECISION,
        STAFF_EXTENSION,
        STAFF_RESEND,
        StaffDecision,
        StaffExtension,
        StaffRequest,
        StaffResend,
        parse_request,
        parse_request_id,
    )

HOW_TO_DECIDE = (
    "To decide: `octy incidents decide`. From here: `octy incidents decide … --order-only` prints an order's id; send "
    f'it with the update `decide` or the signal `{STAFF_DECISION}` as {{"order": "ID"}}'
)
HOW_TO_WAIT = (
    "To wait longer: `octy incidents extend`; to send the last mail again: `octy incidents resend`. From here, with "
    f"`--order-only`: the updates `extend` and `resend`, or the signals `{STAFF_EXTENSION}` and `{STAFF_RESEND}`"
)
STAFF_SIGNALS = {
    STAFF_DECISION: StaffAction.DECIDE,
    STAFF_EXTENSION: StaffAction.EXTEND,
    STAFF_RESEND: StaffAction.RESEND,
}
REFUSED_PLAINTEXT = b"refused/plaintext"
REFUSED_DAMAGED = b"refused/damaged"
REFUSED_FOREIGN = b"refused/of-another-workflow"
REFUSED_NO_KEY = b"refused/unknown-key"
"""Encodings of what could not be taken where payloads are encrypted; nothing of it is left. The last names the key."""
_WHY_REFUSED = {
    REFUSED_PLAINTEXT: "it came in plaintext: what is taken so is an order's id only, from `octy incidents`",
    REFUSED_DAMAGED: "it can't be decrypted: it is damaged, or made up",
    REFUSED_FOREIGN: "it was encrypted for another workflow",
    REFUSED_NO_KEY: "OCTY_TEMPORAL_KEYS lacks the key that it is encrypted with",
}

INVALID = "Invalid"
REQUEST_REFUSED = "OrderRefused"
TOO_EARLY = "TooEarly"
TOO_LATE = "TooLate"

_NO_REQUEST_ID = 'what is wanted is an order\'s id, as {"order": "ID"}; `octy incidents … --order-only` prints one'

_FORMS: dict[StaffAction, tuple[type[StaffDecision] | type[StaffExtension] | type[StaffResend], str]] = {
    StaffAction.DECIDE: (StaffDecision, "a decision"),
    StaffAction.EXTEND: (StaffExtension, "an extension"),
    StaffAction.RESEND: (StaffResend, "an order to send again"),
    StaffAction.RESEND_KEYS: (StaffResend, "an order to send again"),
}


def refusal(why: str, kind: str) -> ApplicationError:
    """Return the error that refuses what staff asks for; `kind` is one of the four above."""
    return ApplicationError(why, type=kind, non_retryable=True)


def request_id_in_update(said: object) -> str:
    """Return the order's id in a JSON value; raise a refusal when there is none."""
    order_id = parse_request_id(said)
    if order_id is None:
        raise refusal(_NO_REQUEST_ID, INVALID)
    return order_id


def request_id_in_signal(said: Sequence[RawValue]) -> tuple[str, str]:
    """Return the order's id in a signal of any content, and nothing; or nothing, and why there is none."""
    if len(said) != 1:
        return "", _NO_REQUEST_ID
    encoding = said[0].payload.metadata.get("encoding", b"").partition(b":")[0]
    if encoding in _WHY_REFUSED:
        return "", _WHY_REFUSED[encoding]
    try:
        value = workflow.payload_converter().from_payload(said[0].payload)
    except Exception:  # noqa: BLE001  # whatever ails it, it asks for nothing
        return "", _NO_REQUEST_ID
    order_id = parse_request_id(value)
    return (order_id, "") if order_id else ("", _NO_REQUEST_ID)


class StaffRequests:
    """The orders of one workflow's subject that were used."""

    def __init__(self, kind: WorkflowKind, subject_id: str) -> None:
        self._kind = kind
        self._subject_id = subject_id
        self.used: dict[str, StaffRequest] = {}  # by order id

    async def use(self, order_id: str, action: StaffAction, why: str = "") -> StaffRequest:
        """Return what the order says; raise a refusal, which is noted and counted already.

        The activity runs whatever was sent, also where no id could be read (`why` says what ails it): a replay whose
        keys decrypt less or more asks for the same.
        """
        form, noun = _FORMS[action]
        use = UseStaffRequestInput(
            order_id, self._kind, self._subject_id, action, form.refused_as, why, workflow.time()
        )
        found: UseStaffRequestResult = await workflow.execute_activity(
            activities.use_order, use, **DEFAULT_RETRY, summary=f"order to {action}"
        )
        request = found.refused or parse_request(form, noun, found.request)
        if isinstance(request, str):
            raise refusal(request, REQUEST_REFUSED)
        self.used[request.id] = request
        return request
