"""Orders: one form, read strictly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_worker.access.orders import MAX_BYTES, InvalidOrderError, Order
from octy_worker.access.roles import REQUIRED_ROLES, Action, Role, required_role
from octy_worker.canonical_json import canonical_json

ORDER = Order(
    order_id="0199f2c4-9c3b-7d4e-8a1f-0123456789ab",
    installation="0123456789abcdef",
    action=Action.DECIDE,
    subject="0199f2c4-9c3b-7d4e-8a1f-ba9876543210",
    fields={"decision": "regenerate", "leaked": True},
    reason="confirmed by phone: Zoë",
    actor="ada",
    issued_at=1_800_000_000,
)
CANONICAL = (
    '{"action":"incident.decide","actor":"ada","fields":{"decision":"regenerate","leaked":true},'
    '"installation":"0123456789abcdef","issued_at":1800000000,"order_id":"0199f2c4-9c3b-7d4e-8a1f-0123456789ab",'
    '"reason":"confirmed by phone: Zoë","subject":"0199f2c4-9c3b-7d4e-8a1f-ba9876543210"}'
).encode()


def changed(**fields: object) -> bytes:
    return canonical_json({**json.loads(CANONICAL), **fields})


def test_canonical_bytes_are_these_and_are_read_back() -> None:
    assert ORDER.to_bytes() == CANONICAL
    assert Order.from_bytes(CANONICAL) == ORDER


INVALID = [
    (b"", "fields of an order"),
    (b"[]", "fields of an order"),
    (b"{}", "fields of an order"),
    (CANONICAL + b" ", "canonical"),
    (CANONICAL.replace(b":1800000000", b": 1800000000"), "canonical"),
    (CANONICAL.replace(b"1800000000", b"1.8e9"), "floating-point"),
    (CANONICAL.replace(b"1800000000", b"NaN"), "floating-point"),
    (CANONICAL.replace("ë".encode(), b"\\u00eb"), "canonical"),
    (CANONICAL[:1] + b'"action":"keys.revoke",' + CANONICAL[1:], "canonical"),  # a name twice
    (b"[" * 100_000, "at most"),
    (b"[" * 60_000, "fields of an order"),
    (CANONICAL.replace(b"confirmed", b"\\ud800"), "JSON values only"),
    (changed(action="incident.delete"), "fields of an order"),
    (changed(extra=1), "fields of an order"),
    (changed(order_id="0199f2c4-9c3b-4d4e-8a1f-0123456789ab"), "UUIDv7"),
    (changed(order_id=7), "UUIDv7"),
    (changed(installation="octy"), "installation"),
    (changed(actor="customer"), "staff id"),
    (changed(actor=["ada"]), "actor must be text"),
    (changed(reason=""), "a reason is needed"),
    (changed(reason="mail to a@b.example"), "no mail address"),
    (changed(subject="x" * 201), "subject"),
    (changed(subject="a\nb"), "subject"),
    (changed(fields=[]), "fields must be"),
    (changed(issued_at=True), "whole number"),
    (changed(fields={"x": "y" * MAX_BYTES}), "at most"),
]


@pytest.mark.parametrize(("data", "why"), INVALID)
def test_every_other_form_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidOrderError, match=why):
        Order.from_bytes(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(fields=st.dictionaries(st.text(max_size=10), json_values, max_size=4))
def test_orders_survive_their_bytes(fields: dict) -> None:
    order = Order(**{**{name: getattr(ORDER, name) for name in Order.__slots__}, "fields": fields})
    assert Order.from_bytes(order.to_bytes()) == order


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_arbitrary_bytes_are_refused_and_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(InvalidOrderError):
        Order.from_bytes(data)


def test_order_is_fresh_for_five_minutes_in_both_directions() -> None:
    assert [ORDER.is_fresh(ORDER.issued_at + shift) for shift in (-301, -300, 0, 300, 301)] == [
        False, True, True, True, False,
    ]  # fmt: skip


def test_every_action_needs_a_role_and_roles_are_ordered() -> None:
    assert REQUIRED_ROLES.keys() == set(Action)
    assert [role.includes(Role.KEY_ADMIN) for role in Role] == [False, False, True, True]


@pytest.mark.parametrize("action", [Action.DECIDE, Action.DECIDE_MANY, Action.AMEND])
def test_report_of_a_leak_needs_a_key_admin(action: Action) -> None:
    roles = [required_role(action, fields) for fields in ({}, {"leaked": False}, {"leaked": True}, {"leaked": "true"})]
    assert roles == [Role.RESPONDER, Role.RESPONDER, Role.KEY_ADMIN, Role.KEY_ADMIN]
    assert required_role(Action.ADD_STAFF, {"leaked": True}) is Role.ADMIN
