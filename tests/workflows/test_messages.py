"""Staff input is parsed into a decision, or refused with a reason that repeats nothing of it."""

from dataclasses import asdict
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import DefaultPayloadConverter

from octy_middleware import states
from octy_workflows import messages
from octy_workflows.order_content import StaffDecision, StaffExtension, StaffResend, parse_order, parse_order_id

ADDRESS = "ada@example.com"
GOOD = {"decision": "dismiss", "actor": "dan", "reason": "their own test"}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


MALFORMED: list[tuple[str, Any, str]] = [
    ("text", "dismiss", "a JSON object"),
    ("number", 7, "a JSON object"),
    ("nothing", None, "a JSON object"),
    ("list", [GOOD], "a JSON object"),
    ("empty_object", {}, "decision is missing"),
    ("no_decision", without("decision"), "decision is missing"),
    ("no_actor", without("actor"), "actor is missing"),
    ("no_reason", without("reason"), "reason is missing"),
    ("unknown_decision", GOOD | {"decision": "dismis"}, "must be one of: regenerate, dismiss"),
    ("decision_of_wrong_type", GOOD | {"decision": ["dismiss"]}, "decision must be text"),
    ("actor_of_wrong_type", GOOD | {"actor": 7}, "actor must be text"),
    ("reason_of_wrong_type", GOOD | {"reason": None}, "reason must be text"),
    ("leaked_as_text", GOOD | {"leaked": "yes"}, "leaked must be true or false"),
    ("leaked_mistyped", GOOD | {"decision": "regenerate", "laeked": True}, "no other fields"),
    ("actor_with_address", GOOD | {"actor": ADDRESS}, "actor must be a staff id"),
    ("actor_system", GOOD | {"actor": "system"}, "actor must be a staff id"),
    ("actor_customer", GOOD | {"actor": "customer"}, "actor must be a staff id"),
    ("blank_reason", GOOD | {"reason": "  "}, "a reason is needed"),
    ("reason_with_address", GOOD | {"reason": f"asked {ADDRESS}"}, "no mail address"),
    ("reason_with_secret", GOOD | {"reason": "they sent sk_4fzQ"}, "no secret key"),
    ("reason_of_two_lines", GOOD | {"reason": "one\ntwo"}, "one line"),
    ("reason_with_escape", GOOD | {"reason": "\x1b[2J"}, "printable"),
    ("reason_too_long", GOOD | {"reason": "x" * 301}, "at most 300"),
    ("dismissed_though_leaked", GOOD | {"leaked": True}, "can't be dismissed"),
    ("order_id_with_address", GOOD | {"order_id": ADDRESS}, "order_id must be"),
]


@pytest.mark.parametrize(("said", "why"), [pytest.param(*rest, id=name) for name, *rest in MALFORMED])
def test_malformed_decision_is_refused_with_a_reason(said: Any, why: str) -> None:
    reason = parse_order(StaffDecision, said)
    assert isinstance(reason, str)
    assert why in reason
    assert ADDRESS not in reason


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        (StaffExtension, {"days": 0}, "days must be between 1 and 90"),
        (StaffExtension, {"days": 91}, "days must be between 1 and 90"),
        (StaffExtension, {"days": True}, "days must be a whole number"),
        (StaffExtension, {}, "days is missing"),
        (StaffResend, {"kind": "new_keys"}, "kind must be one of: alert, reminder"),
        (StaffResend, {"days": 1}, "a resend order has no other fields"),
    ],
)
def test_malformed_extension_or_resend_is_refused_with_a_reason(kind: Any, fields: dict[str, Any], why: str) -> None:
    assert why in str(parse_order(kind, {"actor": "dan", "reason": "they asked", **fields}))


@pytest.mark.parametrize(
    "sent",
    [GOOD, {**GOOD, "order": "r-1"}, {"order": GOOD}, {"order": ""}, ["r-1"], "r-1\n", "r 1", "x" * 65, 7, None],
)
def test_only_the_id_of_an_order_is_taken_from_a_message(sent: Any) -> None:
    assert parse_order_id(sent) is None
    assert parse_order_id("r-1") == parse_order_id({"order": "r-1"}) == "r-1"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(GOOD, id="short"),
        pytest.param(GOOD | {"leaked": False, "order_id": "d-1"}, id="long"),
        pytest.param(GOOD | {"decision": "regenerate", "leaked": True}, id="leaked"),
        pytest.param(GOOD | {"reason": "x" * 300, "actor": "a" * 64}, id="longest"),
        pytest.param(GOOD | {"reason": "sie sagten: »das waren wir« – geprüft"}, id="any_language"),
    ],
)
def test_decision_is_parsed(said: dict[str, Any]) -> None:
    decision = parse_order(StaffDecision, said)
    assert isinstance(decision, StaffDecision)
    assert asdict(decision) == {"leaked": False, "order_id": "", **said}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (messages.IncidentState, states.IncidentState),
        (messages.Resolution, states.Resolution),
        ([*messages.RegenerationFinalState, messages.COLLECTED], states.RegenerationState),
        (messages.MailFinalState, states.MailState),
        (messages.NoticeKind, states.NoticeKind),
        (messages.WebhookFinalState, states.WebhookState),
    ],
    ids=["case", "resolution", "regeneration", "mail", "notice", "webhook"],
)
def test_message_values_are_those_of_the_tables(ours: Any, theirs: Any) -> None:
    assert {str(word) for word in ours} <= {str(word) for word in theirs}


def test_regeneration_without_newer_fields_keeps_its_defaults() -> None:
    """Inputs of workflows that wait since before an update lack its fields: no mail with a secret, and no new step."""
    old = b'{"regeneration_id": "r1", "leaked": false, "replaces": true, "times": {"overlap": 3600.0}}'
    [case] = DefaultPayloadConverter().from_payloads(
        [Payload(metadata={"encoding": b"json/plain"}, data=old)], [messages.RegenerationInput]
    )
    assert (case.delivery_method, case.times.warn_before, case.times.overlap) == (
        messages.DeliveryMethod.LINK,
        0.0,
        3600.0,
    )


def test_workflow_ids_are_functions_of_the_subject() -> None:
    assert messages.incident_workflow_id("a", "1") == messages.incident_workflow_id("a", "1")
    functions = (messages.incident_workflow_id, messages.regeneration_workflow_id, messages.notice_workflow_id)
    assert len({function("a", "1") for function in functions}) == len(functions)
