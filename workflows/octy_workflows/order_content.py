"""Orders of support staff to a workflow: decision, extension and resend, and their validation. No I/O."""

import re
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import ClassVar, TypeVar

STAFF_DECISION = "staff_decision"
"""Signal with which staff send a `StaffDecision` from Temporal's Web UI; it contains the order's id."""
STAFF_EXTENSION = "staff_extension"
"""Signal for a `StaffExtension`."""
STAFF_RESEND = "staff_resend"
"""Signal for a `StaffResend`."""

MAX_EXTENSION_DAYS = 90
"""By how many days an incident can be extended, all extensions together."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OTHER_ACTORS = ("system", "customer")  # actors of the timeline that are no staff
_MAX_REASON_LENGTH = 300
_SECRET_KEY = re.compile(r"sk_[0-9A-Za-z]")
_TYPE_NAMES: dict[object, str] = {str: "text", int: "a whole number", bool: "true or false"}


class Choice(StrEnum):
    """Possible decisions about an incident."""

    REGENERATE = "regenerate"
    DISMISS = "dismiss"


RESENDABLE = ("alert", "reminder")
"""Mails of an incident that can be sent again; those with new keys belong to the regeneration."""


@dataclass(frozen=True)
class StaffDecision:
    """Decide an incident. `decision` is text, not a `Choice`, so that `error` can explain a mistyped one."""

    decision: str
    actor: str
    reason: str
    leaked: bool = False
    order_id: str = ""
    noun: ClassVar[str] = "a decision"
    refused_event: ClassVar[str] = "decision_refused"

    def error(self) -> str | None:
        """Return why this is invalid, or None.

        Mail addresses and secrets are refused, and the text repeats no input: both are kept in the timeline.
        """
        if self.decision not in list(Choice):
            return f"decision must be one of: {', '.join(Choice)}"
        if self.leaked and self.decision == Choice.DISMISS and not actor_error(self.actor):
            return "an incident whose secret leaked can't be dismissed"
        return _common_error(self)

    def event_detail(self) -> dict[str, str | int | bool]:
        """Return the details of its timeline event, without actor and reason."""
        return {"decision": self.decision}


@dataclass(frozen=True)
class StaffExtension:
    """Extend an incident's deadlines by so many days."""

    days: int
    actor: str
    reason: str
    order_id: str = ""
    noun: ClassVar[str] = "an extension"
    refused_event: ClassVar[str] = "extension_refused"

    def error(self) -> str | None:
        """Return why this is invalid, or None; see `StaffDecision.error`."""
        if not 1 <= self.days <= MAX_EXTENSION_DAYS:
            return f"days must be between 1 and {MAX_EXTENSION_DAYS}"
        return _common_error(self)

    def event_detail(self) -> dict[str, str | int | bool]:
        """Return the details of its timeline event, without actor and reason."""
        return {"days": self.days}


@dataclass(frozen=True)
class StaffResend:
    """Send a mail again. `kind` is one of `RESENDABLE`, or empty for the mail that was sent last."""

    actor: str
    reason: str
    kind: str = ""
    order_id: str = ""
    noun: ClassVar[str] = "a resend order"
    refused_event: ClassVar[str] = "resend_refused"

    def error(self) -> str | None:
        """Return why this is invalid, or None; see `StaffDecision.error`."""
        if self.kind and self.kind not in RESENDABLE:
            return f"kind must be one of: {', '.join(RESENDABLE)}; or left out, for the mail that was sent last"
        return _common_error(self)

    def event_detail(self) -> dict[str, str | int | bool]:
        """Return the details of its timeline event, without actor and reason."""
        return {"kind": self.kind} if self.kind else {}


OrderContent = StaffDecision | StaffExtension | StaffResend
_Order = TypeVar("_Order", bound=OrderContent)


def _common_error(order: OrderContent) -> str | None:
    """Return why actor, reason or id are invalid, or None."""
    if order.order_id and not _ID.fullmatch(order.order_id):
        id_error = "order_id must be letters, digits, '.', '_' or '-', at most 64"
        return actor_error(order.actor) or id_error
    return actor_error(order.actor) or reason_error(order.reason)


def actor_error(actor: str) -> str | None:
    """Return why this staff id is invalid, or None."""
    if not _ID.fullmatch(actor) or actor in _OTHER_ACTORS:
        return "actor must be a staff id: letters, digits, '.', '_' or '-', at most 64"
    return None


def reason_error(reason: str) -> str | None:
    """Return why this reason is invalid, or None."""
    if not reason.strip():
        return "a reason is needed: it is what the next colleague reads"
    if len(reason) > _MAX_REASON_LENGTH or not reason.isprintable():
        return f"the reason must be one line of at most {_MAX_REASON_LENGTH} printable characters"
    if "@" in reason or _SECRET_KEY.search(reason):
        return "the reason must contain no mail address and no secret key, because it is kept in the history"
    return None


def parse_order_id(value: object) -> str | None:
    """Return the order id in a decoded JSON value, `"ID"` or `{"order": "ID"}`; None for anything else."""
    order_id = value.get("order") if isinstance(value, dict) and len(value) == 1 else value
    return order_id if isinstance(order_id, str) and _ID.fullmatch(order_id) else None


def parse_order(kind: type[_Order], value: object) -> _Order | str:
    """Return the order of this kind in a decoded JSON value, or why it is invalid. Never raises.

    An unknown field is refused, not ignored: a mistyped `leaked` must not leave a leaked key pair active.
    """
    known = {part.name: part.type for part in fields(kind)}
    required = [part.name for part in fields(kind) if part.default is MISSING]
    if not isinstance(value, dict):
        return f"{kind.noun} is a JSON object with {', '.join(required[:-1])} and {required[-1]}"
    if not value.keys() <= known.keys():
        return f"{kind.noun} has no other fields than {', '.join(known)}"
    for name, expected in known.items():
        if name not in value and name in required:
            return f"{name} is missing"
        if name in value and type(value[name]) is not expected:  # isinstance would accept True as an int
            return f"{name} must be {_TYPE_NAMES[expected]}"
    order = kind(**value)
    return order.error() or order
