"""The webhook event of each step: its data, once, in the step's own transaction."""

import json
import re
from collections.abc import Callable

import pytest
from support.cli_rig import fail, open_incident
from support.in_session import in_session
from support.orders import receipts_of
from support.relay_rig import change
from support.webhook_rig import DOCUMENT, NOW, subscribe
from support.world import Keys, World

from octy_middleware.domain import key_pairs, notices, webhook_events
from octy_middleware.domain.accounts import Accounts
from octy_middleware.domain.webhook_events import WebhookEvent
from octy_middleware.states import Answer, KeyPairCause, RegenerationState, Resolution
from octy_worker.activities.incidents import IncidentActivities
from octy_worker.domain import incidents, regenerations
from octy_worker.errors import RefusedError
from octy_worker.staff import key_orders
from octy_worker.staff.amendments import Amendment, amend_answer
from octy_worker.staff.registration import register
from octy_workflows.messages import RecordIncidentEventInput

URL = "https://hooks.acme.example/t0ken"
ADDRESS = "security@acme.example"
LEAKED = Amendment(Answer.NOT_US, True, "eve", "seen in a public repo", "c-2")


def told(world: World) -> list[tuple[str, dict]]:
    """Return events and their data, oldest first; each must have its message."""
    rows = world.rows("SELECT id, event, data FROM webhook ORDER BY created_at, id")
    due = world.rows("SELECT subject_id FROM outbox WHERE kind = 'webhook_due'")
    assert sorted(row[0] for row in rows) == sorted(subject for (subject,) in due)
    return [(event, json.loads(data)) for _, event, data in rows]


def names(world: World) -> list[str]:
    return [event for event, _ in told(world)]


@pytest.fixture
def keys(world: World) -> Keys:
    keys = world.register()
    subscribe(world, URL)
    return keys


@pytest.fixture
def case(world: World) -> tuple[Keys, str]:
    keys, incident_id = open_incident(world)
    subscribe(world, URL)
    return keys, incident_id


def opened(world: World, incident_id: str, what: str = "opened") -> None:
    note = RecordIncidentEventInput(incident_id, what, what, NOW)
    for _ in range(2):
        IncidentActivities(world.database, receipts_of(world), quiet=0.0).record_incident_event(note)


def test_webhook_events_of_an_incident(world: World, case: tuple[Keys, str]) -> None:
    keys, incident_id = case
    opened(world, incident_id)
    opened(world, incident_id, "failures_increased")
    for _ in range(2):
        in_session(
            world.database,
            incidents.answer_incident,
            incident_id,
            Answer.NOT_US,
            leaked=False,
            by="customer",
            now=NOW + 1,
        )
    change(world, "UPDATE regeneration SET state = 'done'")
    change(world, "UPDATE incident SET regeneration_id = ?", keys.regeneration_id)
    for _ in range(2):
        with world.database.write_session() as session:
            incidents.close_incident(session, incident_id, Resolution.REGENERATED, quiet=0.0, now=NOW + 2)
    subject = {"account_id": keys.account_id, "incident_id": incident_id, "public_key": keys.public_key}
    first, *others = told(world)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first[1].pop("first_at"))
    assert [first, *others] == [
        ("incident.opened", {**subject, "rule": "key", "failures": 20}),
        ("incident.answered", {**subject, "answer": "not_us", "leaked": False, "by": "customer"}),
        ("incident.closed", {**subject, "resolution": "regenerated"}),
    ]


def test_answer_after_an_amendment_is_another_event_without_staff_names(world: World, case: tuple[Keys, str]) -> None:
    _, incident_id = case
    for number, by in enumerate(("customer", "ann.smith", "system")):
        in_session(
            world.database, incidents.answer_incident, incident_id, Answer.NOT_US, leaked=False, by=by, now=NOW + number
        )
        with world.database.write_session() as session:
            incidents.reopen_answer(session, incident_id)
    assert [data["by"] for _, data in told(world)] == ["customer", "staff", "system"]
    assert len(world.rows("SELECT DISTINCT key FROM webhook")) == 3


def test_webhook_events_of_a_regeneration(world: World, keys: Keys) -> None:
    with world.database.write_session() as session:
        old = regenerations.current_pair(session, keys.account_id)
        order = regenerations.open_regeneration(
            session, keys.account_id, KeyPairCause.STAFF, old_pair_id=old.id, leaked=False, actor="ann", now=NOW
        )
    new = world.complete(order.regeneration_id, NOW + 1)
    for _ in range(2):
        with world.database.write_session() as session:
            regenerations.activate(session, order.regeneration_id, NOW + 2)
            regenerations.begin_overlap(session, order.regeneration_id, overlap=1, now=NOW + 2)
            regenerations.retire_old(session, order.regeneration_id, NOW + 3)
    said = {
        "account_id": keys.account_id,
        "regeneration_id": order.regeneration_id,
        "cause": "staff",
        "public_key": new.public_key,
        "replaces": keys.public_key,
        "leaked": False,
    }
    retired = {"account_id": keys.account_id, "public_key": keys.public_key, "replaced_by": new.public_key}
    found = told(world)
    assert sorted(event for event, _ in found[:2]) == ["keys.collected", "keys.ready"]  # within one moment here
    assert [data for _, data in found] == [said, said, retired]
    assert found[2][0] == "keys.retired"


def test_webhook_events_of_the_first_keys(world: World) -> None:
    contact = {"contact_email_address": ADDRESS, "webhook_url": URL}
    made = register(world.database, "new", contact, actor="ann", now=NOW)
    world.complete(made.regeneration_id, NOW)
    assert sorted(names(world)) == ["keys.collected", "keys.ready"]
    assert {data["replaces"] for _, data in told(world)} == {None}


def test_key_pair_that_was_never_active_has_no_event(world: World, keys: Keys) -> None:
    with world.database.write() as connection:
        key_pairs.insert_key_pair(
            connection,
            "pair",
            account_id=keys.account_id,
            public_key="pk_pending",
            secret_digest="-",
            cause=KeyPairCause.STAFF,
            now=NOW,
        )
        key_pairs.retire(connection, "pair", NOW)
    assert told(world) == []


def revoke(world: World, keys: Keys) -> None:
    in_session(world.database, key_orders.revoke, keys.public_key, actor="ann", reason="they asked", now=NOW)


def leak(world: World, keys: Keys) -> None:
    in_session(world.database, key_orders.regenerate, "acme", actor="ann", reason="they asked", leaked=True, now=NOW)


def leak_in_an_incident(world: World, keys: Keys) -> None:
    fail(world, keys)
    [(incident_id,)] = world.rows("SELECT id FROM incident")
    in_session(
        world.database, incidents.answer_incident, incident_id, Answer.NOT_US, leaked=True, by="customer", now=NOW
    )


@pytest.mark.parametrize("cut", [revoke, leak, leak_in_an_incident])
def test_end_of_a_key_pair_is_one_event_in_every_way(
    world: World, keys: Keys, cut: Callable[[World, Keys], None]
) -> None:
    cut(world, keys)
    retired = [data for event, data in told(world) if event == "keys.retired"]
    assert retired == [{"account_id": keys.account_id, "public_key": keys.public_key, "replaced_by": None}]


def test_abandoned_regeneration_has_an_event(world: World, keys: Keys) -> None:
    with world.database.write_session() as session:
        old = regenerations.current_pair(session, keys.account_id)
        order = regenerations.open_regeneration(
            session, keys.account_id, KeyPairCause.STAFF, old_pair_id=old.id, leaked=False, actor="ann", now=NOW
        )
        regenerations.issue_key_pair(session, world.hasher, world.sealer, order.regeneration_id, ttl=60.0, now=NOW)
    with world.database.write_session() as session:
        regenerations.activate(session, order.regeneration_id, NOW)
        regenerations.finish(session, order.regeneration_id, RegenerationState.ABANDONED, NOW + 1)
    (ready, first), (retired, second) = told(world)
    assert (ready, retired) == ("keys.ready", "keys.retired")
    assert first["public_key"] == second["public_key"] != keys.public_key
    revoke(world, keys)
    assert told(world)[2][1]["replaced_by"] is None


def test_amendment_is_one_event_without_staff_names(world: World, case: tuple[Keys, str]) -> None:
    _, incident_id = case
    in_session(
        world.database, incidents.answer_incident, incident_id, Answer.NOT_US, leaked=False, by="customer", now=NOW
    )
    for amendment in (Amendment(Answer.IT_WAS_US, False, "dan", "their own script", "c-1"), LEAKED):
        in_session(world.database, amend_answer, incident_id, amendment, NOW + 1)
    with pytest.raises(RefusedError, match="this change was made before"):
        in_session(world.database, amend_answer, incident_id, LEAKED, NOW + 1)
    said = [(data["answer"], data["leaked"], data["by"]) for event, data in told(world) if event == "incident.answered"]
    assert said[0] == ("not_us", False, "customer")
    assert sorted(said[1:]) == [("it_was_us", False, "staff"), ("not_us", True, "staff")]


def test_exposed_and_contact_changed_events_have_no_details(world: World, keys: Keys) -> None:
    [(pair_id,)] = world.rows("SELECT id FROM key_pair")
    detail = {"source": "198.51.100.7", "user_agent": "curl/8.5.0", "request_id": "req-1"}
    for _ in range(2):
        with world.database.write() as connection:
            notices.record_exposure(connection, pair_id, detail, NOW)
    Accounts(world.database).change_contact("acme", {"contact_email_address": "thief@elsewhere.example"})
    ids = [notice for (notice,) in world.rows("SELECT id FROM notice WHERE kind <> 'webhook_changed' ORDER BY at")]
    assert told(world) == [
        ("keys.exposed", {"account_id": keys.account_id, "notice_id": ids[0], "public_key": keys.public_key}),
        ("contact.changed", {"account_id": keys.account_id, "notice_id": ids[1]}),
    ]


def test_account_without_a_webhook_url_has_no_events(world: World) -> None:
    keys, incident_id = open_incident(world)
    opened(world, incident_id)
    revoke(world, keys)
    assert told(world) == []


def test_rolled_back_transaction_has_no_event(world: World, keys: Keys) -> None:
    with pytest.raises(ZeroDivisionError), world.database.write() as connection:
        assert webhook_events.enqueue_webhook(connection, WebhookEvent.TEST, keys.account_id, "s1", NOW, data={})
        raise ZeroDivisionError
    assert told(world) == []


def test_repeated_event_finds_its_row(world: World, keys: Keys) -> None:
    with world.database.write() as connection:
        made = [
            webhook_events.enqueue_webhook(connection, WebhookEvent.TEST, keys.account_id, "s1", NOW, data={})
            for _ in range(2)
        ]
    assert made == [True, False]
    assert names(world) == ["webhook.test"]


def test_webhook_rows_have_no_secret_address_or_url(world: World, case: tuple[Keys, str]) -> None:
    keys, incident_id = case
    opened(world, incident_id)
    in_session(world.database, incidents.answer_incident, incident_id, Answer.NOT_US, leaked=True, by="ann", now=NOW)
    Accounts(world.database).change_contact("acme", {"contact_email_address": "new@acme.example"})
    rows = str(world.rows("SELECT * FROM webhook")) + str(world.rows("SELECT * FROM outbox"))
    assert not any(part in rows for part in (keys.secret, "acme.example", "t0ken", "203.0.113.9", "curl", "ann"))


def test_document_names_every_webhook_event_and_its_data() -> None:
    text = DOCUMENT.read_text("utf-8")
    source = re.findall(
        r'"([a-z]+\.[a-z]+)"  # \((.*?)\)', webhook_events.__spec__.loader.get_source(webhook_events.__name__)
    )
    assert {event for event, _ in source} == set(WebhookEvent)
    for event, fields in source:
        [row] = [line for line in text.splitlines() if line.startswith(f"| `{event}` |")]
        assert all(f"`{name.strip()}`" in row for name in fields.split(",") if name and name != "the same"), event
