"""Makes orders of what a command was given, and reads their fields: on the client and at the receipt alike.

Fields with personal data are private: the order, which is kept for good, holds commitments to them (SHA-256 over a
random salt and the value), and salt and value travel beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from octy_middleware.clock import RandomBytes
from octy_worker.access.orders import InvalidOrderError, Order
from octy_worker.audit.chain import SALT_BYTES, commit_to
from octy_worker.canonical_json import JsonValue, canonical_json
from octy_worker.errors import RefusedError
from octy_worker.staff.json_values import adapter, to_json
from octy_worker.staff.operations import Act, F

Private = Mapping[str, tuple[str, JsonValue]]
"""Salt in hex and value of each private field."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An order that is ready to be signed."""

    order: Order
    private: Private

    def is_repeated_by(self, other: Order) -> bool:
        """Return whether a stored order orders the same; time, reason and private fields don't count."""
        mine, theirs = ({**one.fields, **dict.fromkeys(self.private)} for one in (self.order, other))
        return (self.order.action, self.order.subject, self.order.actor, mine) == (
            other.action, other.subject, other.actor, theirs,
        )  # fmt: skip


def draft(
    act: Act[F, Any],
    *,
    order_id: str,
    installation: str,
    subject: str,
    fields: F,
    reason: str,
    actor: str,
    now: float,
    random_bytes: RandomBytes,
) -> Draft:
    """Return an order of these fields. Raises InvalidOrderError."""
    fault = fields.error()
    values: dict[str, JsonValue] = to_json(act.fields, fields)
    private = {name: (random_bytes(SALT_BYTES).hex(), values[name]) for name in sorted(act.private)}
    committed = {name: _commitment(name, *pair) for name, pair in private.items()}
    order = Order(order_id, installation, act.action, subject, {**values, **committed}, reason, actor, int(now))
    order.to_bytes()
    if fault is not None:
        raise InvalidOrderError(fault)
    return Draft(order, private)


def read_stored(body: str | None) -> Order | None:
    """Return the order that is stored with this text; None: there is none. Raises RefusedError for an erased one."""
    if body is None:
        return None
    try:
        return Order.from_bytes(body.encode())
    except InvalidOrderError:
        why = "the order of this id was erased or changed"
        raise RefusedError(why, "leave the option out to get a new id") from None


def read_fields(act: Act[F, Any], order: Order, private: Private) -> F:
    """Return an order's fields, with the private ones in place. Raises InvalidOrderError when they don't fit."""
    if order.action != act.action:
        raise InvalidOrderError(f"the order is about {order.action}, not {act.action}")
    values = dict(order.fields)
    if private.keys() != act.private:
        raise InvalidOrderError("the order's private fields are not those of its action")
    for name, (salt, value) in private.items():
        if values.get(name) != _commitment(name, salt, value):
            raise InvalidOrderError(f"the value of {name} does not match the order's commitment")
        values[name] = value
    try:
        fields: F = adapter(cast("Any", act.fields)).validate_json(json.dumps(values), strict=True)
    except ValidationError:
        raise InvalidOrderError(f"the order's fields are not those of {act.action}") from None
    if to_json(act.fields, fields) != values:  # a field that is not known, or is missing
        raise InvalidOrderError(f"the order's fields are not those of {act.action}")
    fault = fields.error()
    if fault is not None:
        raise InvalidOrderError(fault)
    return fields


def private_text(private: Private) -> str:
    """Return private fields as they are kept beside an order until it ends."""
    return canonical_json({name: list(pair) for name, pair in private.items()}).decode() if private else ""


def read_private(text: str) -> Private:
    """Return what `private_text` wrote."""
    return {name: (salt, value) for name, (salt, value) in json.loads(text or "{}").items()}


def _commitment(name: str, salt: str, value: JsonValue) -> JsonValue:
    return {"commitment": commit_to({name: value}, bytes.fromhex(salt))[1]}
