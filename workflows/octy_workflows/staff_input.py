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
    from octy_workflows.messages import StaffAction, UseOrderInput, UseOrderResult, WorkflowKind
    from octy_workflows.order_content import (
        STAFF_DECISION,
        STAFF_EXTENSION,
        STAFF_RESEND,
        OrderContent,
        StaffDecision,
        StaffExtension,
        StaffResend,
        parse_order,
        parse_order_id,
    )
    from octy_workflows.retry import DEFAULT_RETRY

HOW_TO_DECIDE = (
    "To decide: `octy incidents decide`. From here: `octy incidents decide … --order-only` prints an order id; send "
    f'it with the update `decide` or the signal `{STAFF_DECISION}` as {{"order": "ID"}}'
)
HOW_TO_EXTEND = (
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
"""Payload encodings that the codec sets in place of refused content. The last one is followed by the key's id."""
_CODEC_ERRORS = {
    REFUSED_PLAINTEXT: "it is not encrypted; without encryption only an order id from `octy incidents` is accepted",
    REFUSED_DAMAGED: "it can't be decrypted: it is damaged or forged",
    REFUSED_FOREIGN: "it was encrypted for another workflow",
    REFUSED_NO_KEY: "OCTY_TEMPORAL_KEYS lacks the key that it is encrypted with",
}

INVALID = "Invalid"
ORDER_REFUSED = "StaffOrderRefused"
TOO_EARLY = "TooEarly"
TOO_LATE = "TooLate"

_NO_ORDER_ID = 'an order id is needed, as {"order": "ID"}; `octy incidents … --order-only` prints one'
ORDERED: dict[StaffAction, type[OrderContent]] = {
    StaffAction.DECIDE: StaffDecision,
    StaffAction.EXTEND: StaffExtension,
    StaffAction.RESEND: StaffResend,
    StaffAction.RESEND_KEYS: StaffResend,
}
"""What an order to take this action contains."""


def refusal(why: str, kind: str) -> ApplicationError:
    """Return the error with which a staff order is refused; `kind` is one of the four types above."""
    return ApplicationError(why, type=kind, non_retryable=True)


def order_id_in_update(value: object) -> str:
    """Return the order id in an update's JSON value; raise a refusal when there is none."""
    order_id = parse_order_id(value)
    if order_id is None:
        raise refusal(_NO_ORDER_ID, INVALID)
    return order_id


def order_id_in_signal(content: Sequence[RawValue]) -> tuple[str, str]:
    """Return the order id in a signal, and an empty error; or an empty id, and the error."""
    if len(content) != 1:
        return "", _NO_ORDER_ID
    encoding = content[0].payload.metadata.get("encoding", b"").partition(b":")[0]
    if encoding in _CODEC_ERRORS:
        return "", _CODEC_ERRORS[encoding]
    try:
        value = workflow.payload_converter().from_payload(content[0].payload)
    except Exception:  # noqa: BLE001  # anything that can't be decoded is no order id
        return "", _NO_ORDER_ID
    order_id = parse_order_id(value)
    return (order_id, "") if order_id else ("", _NO_ORDER_ID)


class StaffOrders:
    """The orders of staff that one workflow has used. Those that it refused have no end, so they are only counted."""

    def __init__(self, kind: WorkflowKind, subject_id: str) -> None:
        self._kind = kind
        self._subject_id = subject_id
        self.used: dict[str, OrderContent] = {}  # by order id
        self._refused = 0

    async def use(self, order_id: str, action: StaffAction, error: str = "") -> OrderContent:
        """Load an order and mark it as used; raise a refusal, which is recorded and counted already.

        The activity is called even when no id was found (`error` says why). So a replay with other decryption keys
        makes the same calls.
        """
        kind = ORDERED[action]
        step = UseOrderInput(
            order_id,
            self._kind,
            self._subject_id,
            action,
            kind.refused_event,
            error,
            workflow.time(),
            self._refused,
        )
        self._refused += 1  # until it is known, so that many at once are counted too
        found: UseOrderResult = await workflow.execute_activity(
            activities.use_order, step, **DEFAULT_RETRY, summary=f"order to {action}"
        )
        order = found.refused or parse_order(kind, found.order)
        if isinstance(order, str):
            raise refusal(order, ORDER_REFUSED)
        self._refused -= 1
        self.used[order.order_id] = order
        return order
