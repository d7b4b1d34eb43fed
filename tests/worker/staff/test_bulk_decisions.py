"""One decision for many incidents, each with its result; held alerts shown and released."""

import time
from datetime import UTC, datetime

import pytest
from support.cli_rig import DENIED, octy_for, open_incident
from support.in_session import in_session
from support.world import INSTALLATION, World

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import AlertHold
from octy_middleware.states import Answer
from octy_worker.access.orders import InvalidOrderError, Order, is_order_id
from octy_worker.access.roles import Action
from octy_worker.cli import alerts, incidents_bulk
from octy_worker.domain.incidents import answer_incident
from octy_worker.errors import RefusedError, UnavailableError
from octy_worker.staff.bulk_decisions import decide_each, open_since
from octy_worker.staff.outputs import DecisionResult, DecisionStatus

WHY = ("--reason", "our wrong release")
NOW = time.time()
FIELDS = {"decision": "dismiss", "leaked": False, "incidents": ["1", "2"]}
SINCE = ("--all-open", "--since", "2026-01-01T00:00Z")


@pytest.fixture
def octy(world: World):
    return octy_for(world, OCTY_TEMPORAL_ADDRESS=DENIED)


def decided(ids, faults):
    asked = []

    def decide(incident_id):
        asked.append(incident_id)
        if incident_id in faults:
            raise faults[incident_id]

    return list(decide_each(ids, decide)), asked


def test_bulk_decision_refused_for_one_incident_continues_with_the_others():
    results, asked = decided(["a", "b", "c", "a"], {"b": RefusedError("too late")})
    assert results == [
        DecisionResult("a", DecisionStatus.DECIDED),
        DecisionResult("b", DecisionStatus.REFUSED, "too late"),
        DecisionResult("c", DecisionStatus.DECIDED),
    ]
    assert asked == ["a", "b", "c"]


def test_bulk_decision_stops_when_temporal_does_not_respond():
    results, asked = decided(["a", "b", "c"], {"b": UnavailableError("no worker")})
    assert [result.end for result in results] == [
        DecisionStatus.DECIDED,
        DecisionStatus.UNAVAILABLE,
        DecisionStatus.NOT_TRIED,
    ]
    assert asked == ["a", "b"]


def test_parts_of_an_order_of_many_have_ids_of_their_own_which_a_repeat_has_too():
    orders = [Order(uuid7(NOW), INSTALLATION, Action.DECIDE_MANY, "", FIELDS, "by phone", "ada", 0) for _ in range(2)]
    parts = [order.part(incident) for order in orders for incident in ("1", "2") for _ in range(2)]
    assert len({part.order_id for part in parts if is_order_id(part.order_id)}) == 4
    assert {(part.action, part.subject, str(part.fields)) for part in parts} == {
        (Action.DECIDE, incident, "{'decision': 'dismiss', 'leaked': False}") for incident in ("1", "2")
    }
    with pytest.raises(InvalidOrderError):
        orders[0].part("3")


def test_bulk_decision_selects_unanswered_incidents_since_a_time(world):
    begin = time.time()
    _, early = open_incident(world, "early", at=begin - 7200)
    _, answered = open_incident(world, "answered", at=begin)
    _, late = open_incident(world, "late", at=begin + 1)
    in_session(world.database, answer_incident, answered, Answer.IT_WAS_US, leaked=False, by="customer", now=begin)
    with world.database.read_session() as session:
        assert open_since(session, utc(begin - 60)) == (late,)
        assert open_since(session, utc(0)) == (early, late)


def test_bulk_decision_without_temporal_decides_nothing_and_can_be_repeated(world, octy):
    incidents = [open_incident(world, f"acme{number}")[1] for number in range(3)]
    ended = octy("incidents", "decide-many", "dismiss", *incidents, *WHY, "--yes", "--json").must(4)
    assert set(ended.json) == {"order_id", "decision", "actor", "results"}
    assert [result["end"] for result in ended.json["results"]] == ["unavailable", "not_tried", "not_tried"]
    assert f"--order-id {ended.json['order_id']}" in ended.stderr
    shown = octy("incidents", "decide-many", "dismiss", *SINCE, *WHY, "--yes").must(4)
    assert "3/3" in shown.stdout
    assert incidents_bulk.DECIDE_MANY_JSON.startswith("order_id, decision, actor, results[")


def test_bulk_decision_needs_confirmation(world, octy):
    open_incident(world)
    ended = octy("incidents", "decide-many", "dismiss", *SINCE, *WHY, typed="n\n").must(1)
    assert "nothing was changed" in ended.stderr
    assert "1 incidents" in ended.stderr
    assert "1/1" in octy("incidents", "decide-many", "dismiss", *SINCE, *WHY, typed="y\n").must(4).stdout


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        ((), 2, "name the incidents in one way"),
        (("--all-open",), 2, "name the incidents in one way"),
        (("--since", "2026-01-01"), 2, "name the incidents in one way"),
        (("0199", *SINCE), 2, "name the incidents in one way"),
        (("--all-open", "--since", "yesterday"), 2, "is not a time"),
        (("nope",), 2, "no incident has the id"),
    ],
)
def test_bulk_decision_with_an_ambiguous_selection_is_rejected(world, octy, words, code, why):
    ended = octy("incidents", "decide-many", "dismiss", *words, *WHY, "--yes").must(code)
    assert why in ended.stderr


@pytest.mark.parametrize("words", [("dismiss", "--leaked", *WHY), ("dismiss", "--reason", "see ada@acme.example")])
def test_invalid_bulk_decision_is_rejected_before_any_incident(world, octy, words):
    open_incident(world)
    octy("incidents", "decide-many", *words, *SINCE, "--yes").must(3)
    assert world.rows("SELECT COUNT(*) FROM incident_event") == [(0,)]


def test_bulk_decision_without_matching_incidents_succeeds(world, octy):
    assert (
        "There are no unanswered incidents" in octy("incidents", "decide-many", "dismiss", *SINCE, *WHY).must().stdout
    )


def test_held_alerts_are_listed_and_released_once(world, octy):
    open_incident(world)
    assert "Alerts are not held." in octy("incidents", "held").must().stdout
    octy("incidents", "release", *WHY).must(3)
    now = datetime.now(UTC).timestamp()
    with world.database.write_session() as session:
        session.add(
            AlertHold(id="h", evidence="successes_stopped", accounts=7, began_at=utc(now), ends_at=utc(now + 900))
        )
    shown = octy("incidents", "held").must().stdout
    assert "successes stopped, 7 accounts" in shown
    assert "Unsent alerts: 1" in shown
    report = octy("incidents", "held", "--json").must().json
    assert set(report) == set(alerts.HELD_JSON.split(", "))
    assert (report["held"], report["unsent"], report["accounts"]) == (True, 1, 7)
    done = octy("incidents", "release", *WHY, "--json").must()
    assert set(done.json) == set(alerts.RELEASE_JSON.split(", "))
    assert '"what": "alerts_released"' in done.stderr
    assert octy("incidents", "held", "--json").must().json["held"] is False
    octy("incidents", "release", *WHY).must(3)
