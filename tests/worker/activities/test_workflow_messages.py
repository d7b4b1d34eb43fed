"""Messages to workflows: they carry the id of a staff order, and its row decides whether it is used."""

import json
import threading
from collections import Counter
from dataclasses import replace

import pytest
from support.cli_rig import DENIED, octy_for, open_incident
from support.orders import receipts_of, receive_order
from support.world import INSTALLATION, World
from temporalio.testing import ActivityEnvironment

from octy_middleware.db.bulk_sql import run
from octy_worker.activities.workflow_messages import MAX_RECORDED, WorkflowMessageActivities
from octy_workflows.messages import (
    IgnoredSignal,
    MissingSubject,
    RefusalReason,
    StaffAction,
    UseOrderInput,
    UseOrderResult,
    WorkflowKind,
)
from octy_workflows.order_content import StaffDecision

NOW = 1_770_000_000.0
D1, D2, D3, D4, D9 = (f"0199f2c4-9c3b-7d4e-8a1f-ba987654321{number}" for number in (1, 2, 3, 4, 9))
DAN = StaffDecision("dismiss", "dan", "their own test", order_id=D1)


@pytest.fixture
def incident(world: World) -> str:
    return open_incident(world)[1]


@pytest.fixture
def counted() -> Counter[RefusalReason]:
    return Counter()


@pytest.fixture
def control(world: World, counted: Counter[RefusalReason]) -> WorkflowMessageActivities:
    return WorkflowMessageActivities(
        world.database,
        receipts_of(world),
        lambda _kind, why: counted.update([why]),
        lambda kind: counted.update([kind]),
        lambda: NOW,
    )


def use(
    control: WorkflowMessageActivities, order_id: str, subject_id: str, *, call: str = "1", **more: object
) -> UseOrderResult:
    """Use a decision, in the activity of this id."""
    asked = {
        "kind": WorkflowKind.INCIDENT,
        "action": StaffAction.DECIDE,
        "refused_event": "decision_refused",
        "error": "",
        "at": NOW,
        **more,
    }
    return within(call).run(control.use_order, UseOrderInput(order_id, subject_id=subject_id, **asked))


def within(call: str) -> ActivityEnvironment:
    env = ActivityEnvironment()
    env.info = replace(env.info, activity_id=call)
    return env


def refusals(world: World, incident_id: str) -> list[tuple]:
    query = "SELECT what, actor, detail FROM incident_event WHERE incident_id = :id ORDER BY seq"
    return [(what, actor, json.loads(detail)) for what, actor, detail in world.rows(query, id=incident_id)]


def test_use_order_returns_the_order_and_the_same_for_a_retry(world, control, incident):
    receive_order(world, StaffAction.DECIDE, incident, DAN, NOW)
    first = use(control, D1, incident)
    assert first == UseOrderResult(
        "", {"decision": "dismiss", "leaked": False, "actor": "dan", "reason": DAN.reason, "order_id": D1}
    )
    assert use(control, D1, incident) == first
    assert world.rows("SELECT state, ended_at IS NOT NULL FROM staff_order") == [("used", True)]


REFUSED = {
    "missing": (D9, {}, RefusalReason.ORDER_MISSING),
    "about_another_case": (D2, {}, RefusalReason.ORDER_MISMATCH),
    "of_another_action": (
        D1,
        {"action": StaffAction.EXTEND, "refused_event": "extension_refused"},
        RefusalReason.ORDER_MISMATCH,
    ),
    "used": (D3, {}, RefusalReason.ORDER_USED),
    "withdrawn": (D4, {}, RefusalReason.ORDER_USED),
    "unreadable": ("", {"error": "it came in plaintext"}, RefusalReason.UNREADABLE),
}


@pytest.mark.parametrize(("order_id", "more", "why"), REFUSED.values(), ids=REFUSED)
def test_missing_foreign_or_used_staff_order_is_refused_recorded_and_counted(  # noqa: PLR0917  # fixtures, and a row
    world, control, counted, incident, order_id, more, why
):
    for number, subject in ((D1, incident), (D2, "another"), (D3, incident), (D4, incident)):
        receive_order(world, StaffAction.DECIDE, subject, replace(DAN, order_id=number), NOW)
    use(control, D3, incident, call="0")
    with world.database.write_session() as session:
        receipts_of(world).refuse(session, D4, "too late", NOW)
    before = world.rows("SELECT id, used_by, state FROM staff_order ORDER BY id")
    refused = use(control, order_id, incident, **more)
    assert (bool(refused.refused), refused.order) == (True, {})
    assert refusals(world, incident) == [
        (more.get("refused_event", "decision_refused"), "system", {"why": refused.refused})
    ]
    assert counted == {why: 1}
    assert world.rows("SELECT id, used_by, state FROM staff_order ORDER BY id") == before


def test_staff_order_that_waited_for_more_than_a_day_is_refused_and_ends(world, control, counted, incident):
    receive_order(world, StaffAction.DECIDE, incident, DAN, NOW - 24 * 3600 - 1)
    for _ in range(2):  # the second is a retry of the same call
        assert use(control, D1, incident).refused
    assert world.rows("SELECT state, used_by FROM staff_order") == [("refused", "")]
    [(what, _, detail)] = refusals(world, incident)
    assert (what, "order it again" in detail["why"]) == ("decision_refused", True)
    refused = "SELECT actor, order_id FROM audit_entry WHERE action = 'order.refused'"
    assert world.rows(refused) == [("dan", D1)]
    assert counted[RefusalReason.ORDER_EXPIRED] == 1


def test_staff_order_is_as_old_as_the_worker_s_clock_says_not_temporal_s(world, control, incident):
    receive_order(world, StaffAction.DECIDE, incident, DAN, NOW - 24 * 3600 - 1)
    assert "order it again" in use(control, D1, incident, at=NOW - 3600).refused


def test_messages_without_an_order_are_recorded_up_to_a_limit_and_all_are_counted(world, control, counted, incident):
    receive_order(world, StaffAction.DECIDE, "another", replace(DAN, order_id=D2), NOW)
    for number in range(30):
        missing = number % 2 == 0
        order_id, error = (f"0199f2c4-9c3b-7d4e-8a1f-0000000000{number:02}", "") if missing else ("", "no id")
        assert use(control, order_id, incident, call=str(number), refused=number, error=error).refused
    noted = refusals(world, incident)
    assert len(noted) == 20
    assert ["only counted" in detail["why"] for _, _, detail in noted] == [False] * 19 + [True]
    audited = "SELECT COUNT(*) FROM audit_entry WHERE action = 'order.refused'"
    assert world.rows(audited) == [(20,)]
    assert counted.total() == 30
    assert "about something else" in use(control, D2, incident, call="later", refused=1000).refused
    assert len(refusals(world, incident)) == 21, "an order that there is, is recorded beside any flood"


@pytest.mark.parametrize("age", [0, 24 * 3600 + 1], ids=["used", "expired"])
def test_refusal_of_an_order_says_nothing_about_messages_without_one(world, control, incident, age):
    receive_order(world, StaffAction.DECIDE, incident, DAN, NOW - age)
    if not age:
        use(control, D1, incident, call="0")
    refused = use(control, D1, incident, refused=MAX_RECORDED - 1).refused
    assert refusals(world, incident) == [("decision_refused", "system", {"why": refused})]
    assert world.rows("SELECT refusal FROM staff_order") == [(refused if age else "",)]


def test_order_refused_by_a_regeneration_without_a_timeline_is_recorded_once(world, control, counted, incident):
    receive_order(world, StaffAction.DECIDE, incident, DAN, NOW)
    more = {"kind": WorkflowKind.REGENERATION, "action": StaffAction.RESEND_KEYS, "refused_event": "resend_refused"}
    for number in range(3):
        assert use(control, D1, "r1", call=str(number), refused=number, **more).refused
    assert world.rows("SELECT subject, order_id FROM audit_entry WHERE action = 'order.refused'") == [("r1", D1)]
    assert counted == {RefusalReason.ORDER_MISMATCH: 3}


def test_staff_order_whose_fields_are_no_decision_is_refused(world, control, counted, incident):
    receive_order(world, StaffAction.DECIDE, incident, replace(DAN, decision="destroy"), NOW)
    assert "decision must be one of" in use(control, D1, incident).refused
    assert counted == {RefusalReason.ORDER_INVALID: 1}


CHANGED = {
    "body": ("UPDATE staff_order SET body = REPLACE(body, 'dismiss', 'regen')", RefusalReason.ORDER_INVALID),
    "no_json": ("UPDATE staff_order SET body = '{'", RefusalReason.ORDER_INVALID),
    "actor": ("UPDATE staff_order SET body = REPLACE(body, 'dan', 'system')", RefusalReason.ORDER_INVALID),
    "column": ("UPDATE staff_order SET actor = 'eve'", RefusalReason.ORDER_MISMATCH),
    "state": ("UPDATE staff_order SET state = 'granted'", RefusalReason.ORDER_USED),
    "installation": (
        f"UPDATE staff_order SET body = REPLACE(body, '{INSTALLATION}', '{INSTALLATION[::-1]}')",
        RefusalReason.ORDER_UNPROVEN,
    ),
}


@pytest.mark.parametrize(("statement", "why"), CHANGED.values(), ids=CHANGED)
def test_staff_order_changed_by_sql_to_something_invalid_is_refused(  # noqa: PLR0917  # fixtures, and a row
    world, control, counted, incident, statement, why
):
    receive_order(world, StaffAction.DECIDE, incident, DAN, NOW)
    with world.database.write() as connection:
        run(connection, statement)
    assert use(control, D1, incident).refused
    assert counted == {why: 1}


def test_concurrent_calls_use_a_staff_order_once(world, control, counted, incident):
    receive_order(world, StaffAction.DECIDE, incident, DAN, NOW)
    found: list[UseOrderResult] = []
    threads = [
        threading.Thread(target=lambda call=call: found.append(use(control, D1, incident, call=str(call))))
        for call in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not one.refused for one in found) == 1
    assert counted == {RefusalReason.ORDER_USED: 7}


def test_missing_subject_needs_staff_until_its_workflow_continues(world, control, counted, incident):
    found = []
    for resolved in (False, True):
        missing = MissingSubject(WorkflowKind.INCIDENT, incident, "no row", resolved, "waiting", NOW)
        within(f"missing-{resolved}").run(control.record_missing_subject, missing)
        [(state,)] = world.rows("SELECT state FROM incident")
        found.append((state, refusals(world, incident)[-1][0]))
    assert found == [("needs_staff", "subject_missing"), ("waiting", "staff_not_needed")]
    assert counted == {WorkflowKind.INCIDENT: 1}


def test_ignored_signals_are_recorded_up_to_a_limit_and_all_are_counted(world, control, counted, incident):
    for number in range(1, 31):
        name = "keys_collected" if number % 2 else "a mail address: ada@example.com"
        ignored = IgnoredSignal(WorkflowKind.INCIDENT, incident, name, RefusalReason.NO_ROW, number, NOW)
        for _ in range(2):  # the second is a retry of the same call
            within(str(number)).run(control.record_ignored_signal, ignored)
    noted = refusals(world, incident)
    assert len(noted) == 20
    assert {what for what, _, _ in noted} == {"signal_ignored"}
    assert {detail["signal"] for _, _, detail in noted} == {"keys_collected", "unknown"}
    assert counted[RefusalReason.NO_ROW] >= 30


@pytest.mark.parametrize(
    "kind", [WorkflowKind.NOTICE, WorkflowKind.WEBHOOK, WorkflowKind.MAINTENANCE, WorkflowKind.REGENERATION]
)
def test_ignored_signal_of_a_subject_without_a_timeline_is_counted(world, control, counted, kind):
    within("1").run(
        control.record_ignored_signal, IgnoredSignal(kind, "nobody", "look", RefusalReason.UNKNOWN_NAME, 1, NOW)
    )
    assert counted == {RefusalReason.UNKNOWN_NAME: 1}
    assert world.rows("SELECT COUNT(*) FROM incident_event") == [(0,)]


@pytest.mark.parametrize(
    ("words", "action", "order", "fields"),
    [
        (("decide", "dismiss"), "decide", "incident.decide", {"decision": "dismiss", "leaked": False}),
        (("extend", "--days", "7"), "extend", "incident.extend", {"days": 7}),
        (("resend", "--kind", "alert"), "resend", "incident.resend", {"kind": "alert"}),
    ],
)
def test_order_only_has_the_order_received_and_prints_its_id_without_temporal(  # noqa: PLR0917  # a row
    world, incident, words, action, order, fields
):
    verb, *rest = words
    octy = octy_for(world, OCTY_TEMPORAL_ADDRESS=DENIED)
    done = octy("incidents", verb, incident, *rest, "--reason", "by phone", "--order-only", "--json").must()
    assert done.json["update"] == action
    [(order_id, said, subject, body, actor)] = world.rows("SELECT id, action, subject, body, actor FROM staff_order")
    assert (order_id, said, subject, actor) == (done.json["order"], order, incident, "ada")
    assert json.loads(body)["fields"] == fields


def test_repeated_order_is_received_once_and_another_of_its_id_is_refused(world, incident):
    octy = octy_for(world, OCTY_TEMPORAL_ADDRESS=DENIED)
    words = ("incidents", "extend", incident, "--order-only", "--order-id", D1)
    for reason in ("on holiday", "said again"):
        octy(*words, "--days", "7", "--reason", reason).must()
    for other in (("--days", "8"), ("--days", "7", "--actor", "dan")):
        refused = octy(*words, *other, "--reason", "on holiday").must(3)
        assert "belongs to another order" in refused.stderr
    other = open_incident(world, "other")[1]
    octy("incidents", "extend", other, *words[3:], "--days", "7", "--reason", "on holiday").must(3)
    [(subject, actor, body)] = world.rows("SELECT subject, actor, body FROM staff_order")
    assert (subject, actor, json.loads(body)["reason"]) == (incident, "ada", "on holiday")
    refusals = [key for (key,) in world.rows("SELECT key FROM incident_event WHERE what = 'extension_refused'")]
    assert len(refusals) == 3
    assert not any(key.endswith(D1) for key in refusals)  # each of its ids is left to the order that has it
