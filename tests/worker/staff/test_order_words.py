"""Orders in words: every action, and every value that is signed."""

import pytest

from octy_worker.access.orders import Order
from octy_worker.access.roles import Action
from octy_worker.staff.order_words import order_facts, sentence


def order(action: Action, **fields: object) -> Order:
    return Order("0199f2c4-9c3b-7d4e-8a1f-ba9876543210", "0" * 16, action, "acme", fields, "phoned", "ada", 1)


@pytest.mark.parametrize("action", Action)
def test_every_action_is_a_sentence(action: Action) -> None:
    words = sentence(order(action))
    assert words[0].isupper(), words
    assert "{" not in words


def test_every_value_that_is_signed_is_shown() -> None:
    facts = order_facts(
        order(Action.DECIDE, leaked=True, days=7, ids=["a", "b"], secret={"commitment": "x"}), {"secret": "s"}
    )
    assert dict(facts) == {
        "Field days": "7",
        "Field ids": '["a", "b"]',
        "Field leaked": "yes",
        "Field secret": "s",
        "Reason": "phoned",
        "Action": "incident.decide",
        "Subject": "acme",
        "By": "ada",
        "Order": "0199f2c4-9c3b-7d4e-8a1f-ba9876543210",
    }
