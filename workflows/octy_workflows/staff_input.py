"""What staff send by updates and signals: the id of an order, whose content is then loaded from the database.

Content typed into Temporal's Web UI is not trusted: only an id is taken from it. `octy_worker.access.receipts` checks
the order: what was signed, by whom, and that it is unused.
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
    "To decide: `octy incidents decide`. From here: `octy incidents decide … --request-only` prints a request id; send "
    f'it with the update `decide` or the signal `{STAFF_DECISION}` as {{"request": "ID"}}'
)
HOW_TO_EXTEND = (
    "To wait longer: `octy incidents extend`; to send the last mail again: `octy incidents resend`. From here, with "
    f"`--request-only`: the updates `extend` and `resend`, or the signals `{STAFF_EXTENSION}` and `{STAFF_RESEND}`"
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
"""Payload encodings that the codec sets in place of refused content. The last one is followed by the key's id."""
_CODEC_ERRORS = {
    REFUSED_PLAINTEXT: "it is not encrypted; without encryption only a request id from `octy incidents` is accepted",
    REFUSED_DAMAGED: "it can't be decrypted: it is damaged or forged",
    REFUSED_FOREIGN: "it was encrypted for another workflow",
    REFUSED_NO_KEY: "OCTY_TEMPORAL_KEYS lacks the key that it is encrypted with",
}

INVALID = "Invalid"
REQUEST_REFUSED = "StaffRequestRefused"
TOO_EARLY = "TooEarly"
TOO_LATE = "TooLate"

_NO_REQUEST_ID = 'a request id is needed, as {"request": "ID"}; `octy incidents … --request-only` prints one'
_FORMS: dict[StaffAction, tuple[type[StaffDecision] | type[StaffExtension] | type[StaffResend], str]] = {
    StaffAction.DECIDE: (StaffDecision, "a decision"),
    StaffAction.EXTEND: (StaffExtension, "an extension"),
    StaffAction.RESEND: (StaffResend, "a resend request"),
    StaffAction.RESEND_KEYS: (StaffResend, "a resend request"),
}


def refusal(why: str, kind: str) -> ApplicationError:
    """Return the error with which a staff request is refused; `kind` is one of the four types above."""
    return ApplicationError(why, type=kind, non_retryable=True)


def request_id_in_update(value: object) -> str:
    """Return the request id in an update's JSON value; raise a refusal when there is none."""
    request_id = parse_request_id(value)
    if request_id is None:
        raise refusal(_NO_REQUEST_ID, INVALID)
    return request_id


def request_id_in_signal(content: Sequence[RawValue]) -> tuple[str, str]:
    """Return the request id in a signal, and an empty error; or an empty id, and the error."""
    if len(content) != 1:
        return "", _NO_REQUEST_ID
    encoding = content[0].payload.metadata.get("encoding", b"").partition(b":")[0]
    if encoding in _CODEC_ERRORS:
        return "", _CODEC_ERRORS[encoding]
    try:
        value = workflow.payload_converter().from_payload(content[0].payload)
    except Exception:  # noqa: BLE001  # anything that can't be decoded is no request
        return "", _NO_REQUEST_ID
    request_id = parse_request_id(value)
    return (request_id, "") if request_id else ("", _NO_REQUEST_ID)


class StaffRequests:
    """The staff requests that one workflow has used."""

    def __init__(self, kind: WorkflowKind, subject_id: str) -> None:
        self._kind = kind
        self._subject_id = subject_id
        self.used: dict[str, StaffRequest] = {}  # by request id

    async def use(self, request_id: str, action: StaffAction, error: str = "") -> StaffRequest:
        """Load a request and mark it as used; raise a refusal, which is recorded and counted already.

        The activity is called even when no id was found (`error` says why). So a replay with other decryption keys
        makes the same calls.
        """
        form, noun = _FORMS[action]
        step = UseStaffRequestInput(
            request_id, self._kind, self._subject_id, action, form.refused_event, error, workflow.time()
        )
        found: UseStaffRequestResult = await workflow.execute_activity(
            activities.use_staff_request, step, **DEFAULT_RETRY, summary=f"request to {action}"
        )
        request = found.refused or parse_request(form, noun, found.request)
        if isinstance(request, str):
            raise refusal(request, REQUEST_REFUSED)
        self.used[request.id] = request
        return request
