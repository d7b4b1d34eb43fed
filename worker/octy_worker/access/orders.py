"""PURE. An order: what a staff member signs for every act that changes something, as canonical bytes.

The bytes are JSON (RFC 8259) with sorted keys, no spaces, UTF-8 and no floating-point numbers, so that one order has
one form (as in RFC 8785). A reader accepts only that form. Nothing in an order is secret, and it has no mail address.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NoReturn

from octy_worker.access.roles import Action
from octy_worker.canonical_json import JsonValue, NotCanonicalError, canonical_json
from octy_worker.errors import RefusedError
from octy_workflows.order_content import actor_error, reason_error

MAX_BYTES = 65_536
FRESHNESS = 300.0
"""Seconds between the making of an order and its receipt; also for clocks that are ahead."""

_ORDER_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")  # UUIDv7
_INSTALLATION = re.compile(r"[0-9a-f]{16}")
_MAX_SUBJECT = 200


class Namespace(StrEnum):
    """What a signature is for (`ssh-keygen -Y sign -n`): one for a log-in never serves as one for an order."""

    LOGIN = "octy-login"
    ORDER = "octy-order"
    APPROVAL = "octy-approval"
    ENROLMENT = "octy-enrolment"


PARTS = {Action.DECIDE_MANY: (Action.DECIDE, "incidents")}
"""Orders of many acts: the action of each part, and the field that lists their subjects."""


class InvalidOrderError(ValueError):
    """The bytes are not an order in canonical form. The text names the field."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a staff member wants done. `issued_at`: Unix seconds. `fields`: the parameters of the action."""

    order_id: str
    installation: str
    action: Action
    subject: str
    fields: Mapping[str, JsonValue]
    reason: str
    actor: str
    issued_at: int

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are signed and kept. Raises InvalidOrderError when a field is invalid."""
        data = self._canonical()
        self._check(len(data))
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> "Order":
        """Read canonical bytes. Raises InvalidOrderError for every other form, and nothing else."""
        if len(data) > MAX_BYTES:
            raise InvalidOrderError(f"an order has at most {MAX_BYTES} bytes")
        try:
            value = json.loads(data, parse_float=_refuse_number, parse_constant=_refuse_number)
            order = cls(**{**value, "action": Action(value["action"])})
        except InvalidOrderError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InvalidOrderError("the order does not have the fields of an order") from None
        if order._canonical() != data:
            raise InvalidOrderError("the order is not canonical JSON")
        order._check(len(data))
        return order

    @property
    def namespace(self) -> Namespace:
        """What its signature is for."""
        return Namespace.APPROVAL if self.action is Action.APPROVE else Namespace.ORDER

    def digest(self) -> str:
        """Return SHA-256 of the canonical bytes in hex: what a second person signs to approve it."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def is_fresh(self, now: float) -> bool:
        """Return whether it was made at most `FRESHNESS` seconds ago."""
        return abs(now - self.issued_at) <= FRESHNESS

    def part(self, subject: str) -> "Order":
        """Return the order about one of the subjects that an order of many names. Raises InvalidOrderError."""
        action, name = PARTS.get(self.action, (None, ""))
        subjects = self.fields.get(name)
        if action is None or not isinstance(subjects, list) or subject not in subjects:
            raise InvalidOrderError("the order is not about this subject")
        fields = {key: value for key, value in self.fields.items() if key != name}
        part_id = _part_id(self.order_id, subject)
        return replace(self, order_id=part_id, action=action, subject=subject, fields=fields)

    def _canonical(self) -> bytes:
        try:
            return canonical_json({name: getattr(self, name) for name in self.__slots__})
        except NotCanonicalError as error:
            raise InvalidOrderError(f"in an order {error}") from None

    def _check(self, length: int) -> None:
        error = (actor_error(self.actor) if isinstance(self.actor, str) else "actor must be text") or (
            reason_error(self.reason) if isinstance(self.reason, str) else "reason must be text"
        )
        checks = {
            "order_id must be a UUIDv7": isinstance(self.order_id, str) and is_order_id(self.order_id),
            "installation must have 16 hex digits": isinstance(self.installation, str)
            and _INSTALLATION.fullmatch(self.installation),
            "subject must be text of at most 200 printable characters": isinstance(self.subject, str)
            and len(self.subject) <= _MAX_SUBJECT
            and self.subject.isprintable(),
            "fields must be a JSON object": isinstance(self.fields, Mapping),
            "issued_at must be a whole number": type(self.issued_at) is int,
            f"an order has at most {MAX_BYTES} bytes": length <= MAX_BYTES,
        }
        error = error or next((text for text, is_valid in checks.items() if not is_valid), None)
        if error is not None:
            raise InvalidOrderError(error)


def _part_id(order_id: str, subject: str) -> str:
    """Return a UUIDv7 that is always the same for this part of an order."""
    digest = hashlib.sha256(f"{order_id}/{subject}".encode()).hexdigest()
    return f"{order_id[:13]}-7{digest[:3]}-8{digest[3:6]}-{digest[6:18]}"


def is_order_id(text: str) -> bool:
    """Return whether a text has the form of an order's id, a UUIDv7."""
    return _ORDER_ID.fullmatch(text) is not None


def check_staff(actor: str, reason: str) -> None:
    """Raise RefusedError unless actor and reason are valid; the rules are those of orders."""
    error = actor_error(actor) or reason_error(reason)
    if error is not None:
        raise RefusedError(error)


def _refuse_number(text: str) -> NoReturn:
    raise InvalidOrderError(f"an order has no floating-point numbers: {text[:20]}")
