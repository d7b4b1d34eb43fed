"""PURE. What support staff asks of a case, and what of it can be taken.

Here: decision, extension and re-sending as values, their faults in words, and reading them from JSON that a person
typed. Not here: whether one comes too late (`incident_answer`, `deadlines`, `incident_mails`), how it arrives (`staff_input`).
"""

import re
from dataclasses import MISSING, dataclass, fields, replace
from enum import StrEnum
from typing import ClassVar, Self, TypeVar

STAFF_DECISION = "staff_decision"
"""The signal by which support staff decide from Temporal's Web UI; its content is a `StaffDecision`."""
STAFF_EXTENSION = "staff_extension"
"""The signal by which they give a case more time; its content is a `StaffExtension`."""
STAFF_RESEND = "staff_resend"
"""The signal by which they have a mail of a case sent again; its content is a `StaffResend`."""

MAX_EXTENSION_DAYS = 90
"""How much later a case can end than it would have, all extensions together."""

_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOT_STAFF = ("system", "customer")  # the timeline's other actors
_REASON_LIMIT = 300
_SECRET_KEY = re.compile(r"sk_[0-9A-Za-z]")
_WORDS = {str: "text", int: "a whole number", bool: "true or false"}


class Choice(StrEnum):
    """What can be decided about a case."""

    REGENERATE = "regenerate"
    DISMISS = "dismiss"


RESENDABLE = ("alert", "reminder")
"""The mails of a case that can be sent again; those with new keys belong to the regeneration."""


@dataclass(frozen=True)
class _StaffRequestBase:
    """What all that staff asks for has in common; `id_field` names the field that tells repeats."""

    id_field: ClassVar[str]

    @property
    def id(self) -> str:
        """The id under which it is repeated and audited."""
        return str(getattr(self, self.id_field))

    def with_id(self, number: str) -> Self:
        """Return the same under this id."""
        return replace(self, **{self.id_field: number})


@dataclass(frozen=True)
class StaffDecision(_StaffRequestBase):
    """Update or signal of support staff.

    `decision` is text, not a `Choice`, so that a mistyped one reaches `fault` and is answered with a reason.
    `decision_id` makes a repeat harmless.
    """

    decision: str
    actor: str
    reason: str
    leaked: bool = False
    decision_id: str = ""
    refused_as: ClassVar[str] = "decision_refused"
    id_field: ClassVar[str] = "decision_id"

    def fault(self) -> str | None:
        """Return why this can't be taken, or None. Keeps addresses and secrets out of the history.

        The text repeats nothing of what was typed: it is noted in the timeline.
        """
        if self.decision not in list(Choice):
            return f"decision must be one of: {', '.join(Choice)}"
        if self.leaked and self.decision == Choice.DISMISS and not actor_error(self.actor):
            return "a case whose secret leaked can't be dismissed"
        return _common_error(self)

    def facts(self) -> dict[str, str | int | bool]:
        """Return what the timeline keeps of it beside actor and reason."""
        return {"decision": self.decision}


@dataclass(frozen=True)
class StaffExtension(_StaffRequestBase):
    """Update or signal of support staff: wait so many days longer. `request_id` makes a repeat harmless."""

    days: int
    actor: str
    reason: str
    request_id: str = ""
    refused_as: ClassVar[str] = "extension_refused"
    id_field: ClassVar[str] = "request_id"

    def fault(self) -> str | None:
        """Return why this can't be taken, or None; see `StaffDecision.fault`."""
        if not 1 <= self.days <= MAX_EXTENSION_DAYS:
            return f"days must be between 1 and {MAX_EXTENSION_DAYS}"
        return _common_error(self)

    def facts(self) -> dict[str, str | int | bool]:
        """Return what the timeline keeps of it beside actor and reason."""
        return {"days": self.days}


@dataclass(frozen=True)
class StaffResend(_StaffRequestBase):
    """Update or signal of support staff: send a mail of the case again.

    `kind` is one of `RESENDABLE`, or empty for the mail that went out last. `request_id` makes a repeat harmless.
    """

    actor: str
    reason: str
    kind: str = ""
    request_id: str = ""
    refused_as: ClassVar[str] = "resend_refused"
    id_field: ClassVar[str] = "request_id"

    def fault(self) -> str | None:
        """Return why this can't be taken, or None; see `StaffDecision.fault`."""
        if self.kind and self.kind not in RESENDABLE:
            return f"kind must be one of: {', '.join(RESENDABLE)}; or left out, for the mail that went out last"
        return _common_error(self)

    def facts(self) -> dict[str, str | int | bool]:
        """Return what the timeline keeps of it beside actor and reason."""
        return {"kind": self.kind} if self.kind else {}


StaffRequest = StaffDecision | StaffExtension | StaffResend
_Request = TypeVar("_Request", StaffDecision, StaffExtension, StaffResend)


def _common_error(said: StaffRequest) -> str | None:
    """Return what is wrong with who, why, or the id."""
    if said.id and not _ACTOR.fullmatch(said.id):
        why_not = f"{said.id_field} must be letters, digits, '.', '_' or '-', at most 64"
        return actor_error(said.actor) or why_not
    return actor_error(said.actor) or reason_error(said.reason)


def actor_error(actor: str) -> str | None:
    """Return why nobody can act under this name, or None."""
    if not _ACTOR.fullmatch(actor) or actor in _NOT_STAFF:
        return "actor must be a staff id: letters, digits, '.', '_' or '-', at most 64"
    return None


def reason_error(reason: str) -> str | None:
    """Return why this reason can't be kept, or None."""
    if not reason.strip():
        return "a reason is needed: it is what the next colleague reads"
    if len(reason) > _REASON_LIMIT or not reason.isprintable():
        return f"the reason must be one line of at most {_REASON_LIMIT} printable characters"
    if "@" in reason or _SECRET_KEY.search(reason):
        return "the reason must hold no mail address and no secret key: it is kept in the history"
    return None


def parse_request_id(said: object) -> str | None:
    """Return the order's id in a decoded JSON value, `"ID"` or `{"order": "ID"}`; None when that is all it is not."""
    number = said.get("order") if isinstance(said, dict) and len(said) == 1 else said
    return number if isinstance(number, str) and _ACTOR.fullmatch(number) else None


def parse_decision(said: object) -> StaffDecision | str:
    """Return the decision in a decoded JSON value, or why there is none. Never raises."""
    return parse(StaffDecision, "a decision", said)


def parse_extension(said: object) -> StaffExtension | str:
    """Return the extension in a decoded JSON value, or why there is none. Never raises."""
    return parse(StaffExtension, "an extension", said)


def parse_resend(said: object) -> StaffResend | str:
    """Return the order to send again in a decoded JSON value, or why there is none. Never raises."""
    return parse(StaffResend, "an order to send again", said)


def parse_request(
    kind: type[StaffDecision] | type[StaffExtension] | type[StaffResend], noun: str, said: object
) -> StaffRequest | str:
    """Return what a decoded JSON value holds, of a kind that is known only now; see `read`."""
    if kind is StaffDecision:
        return parse(StaffDecision, noun, said)
    if kind is StaffExtension:
        return parse(StaffExtension, noun, said)
    return parse(StaffResend, noun, said)


def parse(kind: type[_Request], noun: str, said: object) -> _Request | str:
    """Return what a decoded JSON value holds, or why it holds none.

    An unknown field is refused, not ignored: a mistyped `leaked` must not leave a leaked pair alive.
    """
    known = {part.name: field_type(part.type) for part in fields(kind)}
    needed = [part.name for part in fields(kind) if part.default is MISSING]
    if not isinstance(said, dict):
        return f"{noun} is a JSON object with {', '.join(needed[:-1])} and {needed[-1]}"
    if not said.keys() <= known.keys():
        return f"{noun} has no other fields than {', '.join(known)}"
    for name, wanted in known.items():
        if name not in said and name in needed:
            return f"{name} is missing"
        if name in said and type(said[name]) is not wanted:  # True is an int, too
            return f"{name} must be {_WORDS[wanted]}"
    request = kind(**said)
    return request.fault() or request


def field_type(annotation: object) -> type:
    """Return the type of a field of one of the classes above."""
    assert isinstance(annotation, type)
    return annotation
