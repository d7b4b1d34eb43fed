"""Staff requests in SQL: messages to workflows carry an id, and the row decides whether it is used."""

import json
import threading
from collections import Counter
from dataclasses import replace

import pytest
from support.cli_rig import DENIED, octy_for, open_incident
from support.in_session import in_session
from support.world import World
from temporalio.testing import ActivityEnvironment

from octy_middleware.db.bulk_sql import run
from octy_worker.activities.workflow_messages import WorkflowMessageActivities
from octy_worker.domain import staff_requests
from octy_worker.errors import RefusedError
from octy_workflows.messages import (
    IgnoredSignal,
    RefusalReason,
    StaffAction,
    UseStaffRequestInput,
    UseStaffRequestResult,
    WorkflowKind,
)
from octy_workflows.staff_requests import StaffDecision, StaffExtension

NOW = 1_770_000_000.0
DAN = StaffDecision("dismiss", "dan", "their own test", decision_id="d-1")
WEEK = StaffExtension(7, "eve", "on holiday", request_id="e-1")


@pytest.fixture
def incident(world: World) -> str:
    return open_incident(world)[1]


@pytest.fixture
def counted() -> Counter[RefusalReason]:
    return Counter()


@pytest.fixture
def control(world: World, counted: Counter[RefusalReason]) -> WorkflowMessageActivities:
    return WorkflowMessageActivities(
        world.database, lambda _kind, why: counted.update([why]), lambda kind: counted.update([kind])
    )


def use(
    control: WorkflowMessageActivities, order_id: str, subject_id: str, *, call: str = "1", **more: object
) -> UseStaffRequestResult:
    """Use a decision, in the activity of this id."""
    asked = {
        "kind": WorkflowKind.INCIDENT,
        "action": StaffAction.DECIDE,
        "refused_event": "decision_refused",
        "error": "",
        **more,
    }
    return within(call).run(
        control.use_staff_request, UseStaffRequestInput(order_id, subject_id=subject_id, at=NOW, **asked)
    )


def within(call: str) -> ActivityEnvironment:
    env = ActivityEnvironment()
    env.info = replace(env.info, activity_id=call)
    return env


def refusals(world: World, incident_id: str) -> list[tuple]:
    query = "SELECT what, actor, detail FROM incident_event WHERE incident_id = :id ORDER BY seq"
    return [(what, actor, json.loads(detail)) for what, actor, detail in world.rows(query, id=incident_id)]


def test_use_staff_request_returns_its_row_and_the_same_for_a_retry(world, control, incident):
    in_session(world.database, staff_requests.save_order, StaffAction.DECIDE, incident, DAN, NOW)
    first = use(control, "d-1", incident)
    assert first == UseStaffRequestResult(
        "", {"decision": "dismiss", "leaked": False, "actor": "dan", "reason": DAN.reason, "decision_id": "d-1"}
    )
    assert use(control, "d-1", incident) == first
    assert world.rows("SELECT result, used_at IS NOT NULL FROM staff_request") == [("used", True)]


REFUSED = {
    "missing": ("d-9", {}, RefusalReason.REQUEST_MISSING),
    "about_another_case": ("d-2", {}, RefusalReason.REQUEST_MISMATCH),
    "of_another_action": (
        "d-1",
        {"action": StaffAction.EXTEND, "refused_event": "extension_refused"},
        RefusalReason.REQUEST_MISMATCH,
    ),
    "used": ("d-3", {}, RefusalReason.REQUEST_USED),
    "withdrawn": ("d-4", {}, RefusalReason.REQUEST_USED),
    "unreadable": ("", {"error": "it came in plaintext"}, RefusalReason.UNREADABLE),
}


@pytest.mark.parametrize(("order_id", "more", "why"), REFUSED.values(), ids=REFUSED)
def test_missing_foreign_or_used_staff_request_is_refused_recorded_and_counted(  # noqa: PLR0917  # fixtures, and a row
    world, control, counted, incident, order_id, more, why
):
    for number, subject in (("d-1", incident), ("d-2", "another"), ("d-3", incident), ("d-4", incident)):
        in_session(
            world.database,
            staff_requests.save_order,
            StaffAction.DECIDE,
            subject,
            replace(DAN, decision_id=number),
            NOW,
        )
    use(control, "d-3", incident, call="0")
    with world.database.write_session() as session:
        staff_requests.withdraw_order(session, "d-4", NOW)
    before = world.rows("SELECT id, used_by, result FROM staff_request ORDER BY id")
    refused = use(control, order_id, incident, **more)
    assert (bool(refused.refused), refused.request) == (True, {})
    assert refusals(world, incident) == [
        (more.get("refused_event", "decision_refused"), "system", {"why": refused.refused})
    ]
    assert counted == {why: 1}
    assert world.rows("SELECT id, used_by, result FROM staff_request ORDER BY id") == before


def test_staff_request_row_with_invalid_content_is_refused(world, control, counted, incident):
    in_session(world.database, staff_requests.save_order, StaffAction.DECIDE, incident, DAN, NOW)
    with world.database.write() as connection:
        run(connection, "UPDATE staff_request SET actor = 'system'")
    assert "actor must be a staff id" in use(control, "d-1", incident).refused
    assert counted == {RefusalReason.REQUEST_INVALID: 1}


def test_concurrent_calls_use_a_staff_request_once(world, control, counted, incident):
    in_session(world.database, staff_requests.save_order, StaffAction.DECIDE, incident, DAN, NOW)
    found: list[UseStaffRequestResult] = []
    threads = [
        threading.Thread(target=lambda call=call: found.append(use(control, "d-1", incident, call=str(call))))
        for call in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not one.refused for one in found) == 1
    assert counted == {RefusalReason.REQUEST_USED: 7}


def test_same_staff_request_is_saved_once_and_another_of_its_id_is_refused(world, incident):
    in_session(world.database, staff_requests.save_order, StaffAction.EXTEND, incident, WEEK, NOW)
    in_session(
        world.database,
        staff_requests.save_order,
        StaffAction.EXTEND,
        incident,
        replace(WEEK, reason="said again"),
        NOW + 1,
    )
    for other in (replace(WEEK, days=8), replace(WEEK, actor="dan")):
        with pytest.raises(RefusedError, match="belongs to another request"):
            in_session(world.database, staff_requests.save_order, StaffAction.EXTEND, incident, other, NOW)
    with pytest.raises(RefusedError):
        in_session(world.database, staff_requests.save_order, StaffAction.EXTEND, "another", WEEK, NOW)
    assert world.rows("SELECT action, subject_id, fields, actor, reason FROM staff_request") == [
        ("extend", incident, '{"days": 7}', "eve", WEEK.reason)
    ]


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
    ("words", "action", "fields"),
    [
        (("decide", "dismiss"), "decide", {"decision": "dismiss", "leaked": False}),
        (("extend", "--days", "7"), "extend", {"days": 7}),
        (("resend", "--kind", "alert"), "resend", {"kind": "alert"}),
    ],
)
def test_request_only_saves_the_request_and_prints_its_id_without_temporal(world, incident, words, action, fields):
    verb, *rest = words
    octy = octy_for(world, OCTY_TEMPORAL_ADDRESS=DENIED)
    done = octy("incidents", verb, incident, *rest, "--reason", "by phone", "--request-only", "--json").must()
    assert done.json["update"] == action
    [(order_id, said, subject, given, actor)] = world.rows(
        "SELECT id, action, subject_id, fields, actor FROM staff_request"
    )
    assert (order_id, said, subject, actor) == (done.json["request"], action, incident, "ada")
    assert json.loads(given) == fields
