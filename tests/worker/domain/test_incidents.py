"""Incidents in SQL: whose answer counts, what one transaction does, and that repeats have no effect."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.in_session import in_session
from support.relay_rig import change
from support.world import LIFE, Keys, World

from octy_middleware import Outcome
from octy_middleware.clock import utc
from octy_middleware.http.event import AuthEvent, Description
from octy_middleware.recording.outcome_writer import OutcomeWriter
from octy_middleware.states import Answer, IncidentState, KeyPairCause, RegenerationState, Resolution
from octy_worker.domain import incidents, regenerations
from octy_worker.domain.incidents import CUSTOMER

NOW = time.time()


def open_case(world: World, keys: Keys, times: int = 20) -> str:
    """Fail so often that an incident is opened; return its id."""
    fail(world, keys, times, NOW)
    [(incident_id,)] = world.rows("SELECT id FROM incident WHERE closed_at IS NULL")
    return incident_id


def fail(world: World, keys: Keys, times: int, now: float) -> None:
    limits = {"threshold": 20, "attempts_per_minute": 60, "sources_per_minute": 256, "max_networks": 1000}
    ledger = OutcomeWriter(world.database, **limits, clock=lambda: now)
    hits = [
        AuthEvent(
            Outcome.WRONG_SECRET,
            now,
            f"198.51.100.{n % 3}",
            "198.51.100.0/24",
            keys.public_key,
            description=Description(f"curl/{n % 3}"),
        )
        for n in range(times)
    ]
    ledger.write(hits)


def answer(world: World, incident_id: str, said: Answer, **more: object) -> incidents.AnswerResult:
    options = {"leaked": False, "by": CUSTOMER, "now": NOW, **more}
    standing = in_session(world.database, incidents.answer_incident, incident_id, said, **options)  # type: ignore[arg-type]
    assert standing is not None
    return standing


def pair_state(world: World, keys: Keys) -> str:
    return world.rows("SELECT state FROM key_pair WHERE public_key = :key", key=keys.public_key)[0][0]


def told(world: World, kind: str) -> list[tuple]:
    return world.rows("SELECT detail FROM outbox WHERE kind = :kind", kind=kind)


def test_incident_view_has_what_pages_mails_and_staff_need(world: World) -> None:
    keys = world.register("acme")
    incident_id = open_case(world, keys)
    with world.database.read_session() as session:
        view = incidents.load_incident(session, incident_id)
    assert view is not None
    assert (view.account.reference, view.pair.public_key, view.failures) == ("acme", keys.public_key, 20)
    assert [(source.source, source.count, source.user_agent) for source in view.sources.named] == [
        ("198.51.100.0", 7, "curl/0"),
        ("198.51.100.1", 7, "curl/1"),
        ("198.51.100.2", 6, "curl/2"),
    ]
    with world.database.read_session() as session:
        assert incidents.load_incident(session, "no-such-case") is None


@pytest.mark.parametrize(
    ("said", "leaked", "state", "detail"),
    [
        (Answer.IT_WAS_US, False, "active", '{"answer": "it_was_us", "leaked": false}'),
        (Answer.IT_WAS_US, True, "active", '{"answer": "it_was_us", "leaked": false}'),
        (Answer.NOT_US, False, "active", '{"answer": "not_us", "leaked": false}'),
        (Answer.NOT_US, True, "retired", '{"answer": "not_us", "leaked": true}'),
    ],
)
def test_answer_leak_and_outbox_message_are_one_transaction(
    world: World, said: Answer, leaked: bool, state: str, detail: str
) -> None:
    keys = world.register()
    standing = answer(world, open_case(world, keys), said, leaked=leaked)
    assert (standing.taken, standing.answer, standing.answered_by) == (True, said, "customer")
    assert pair_state(world, keys) == state
    assert told(world, "incident_answered") == [(detail,)]


@pytest.mark.parametrize("end", [None, RegenerationState.SUPERSEDED, RegenerationState.ABANDONED])
@pytest.mark.parametrize("leaked", [True, False])
def test_leak_of_an_uncollected_key_pair_retires_the_one_in_use(
    world: World, leaked: bool, end: RegenerationState | None
) -> None:
    """The customer holds no other secret than the one that the attacked key pair was to replace."""
    old = world.register()
    new = replace_uncollected(world, old)
    incident_id = open_case(world, new)
    if end is not None:
        with world.database.write_session() as session:
            regenerations.finish(session, new.regeneration_id, end, NOW)
    answer(world, incident_id, Answer.NOT_US, leaked=leaked)
    assert pair_state(world, old) == ("retired" if leaked else "active")
    assert pair_state(world, new) == ("retired" if leaked or end else "active")


def test_leak_of_a_collected_key_pair_keeps_the_overlap_of_its_predecessor(world: World) -> None:
    old = world.register()
    new = world.complete(replace_uncollected(world, old).regeneration_id)
    answer(world, open_case(world, new), Answer.NOT_US, leaked=True)
    assert (pair_state(world, old), pair_state(world, new)) == ("active", "retired")


def replace_uncollected(world: World, old: Keys) -> Keys:
    """Order a regeneration up to its sent link; the secret is unknown."""
    with world.database.write_session() as session:
        current = regenerations.current_pair(session, old.account_id)
        assert current is not None
        opened = regenerations.open_regeneration(
            session, old.account_id, KeyPairCause.STAFF, old_pair_id=current.id, leaked=False, actor="ann", now=NOW
        )
    with world.database.write_session() as session:
        regenerations.issue_key_pair(session, world.hasher, world.sealer, opened.regeneration_id, ttl=LIFE, now=NOW)
        regenerations.activate(session, opened.regeneration_id, NOW)
    [(public_key,)] = world.rows(
        "SELECT public_key FROM key_pair JOIN regeneration ON new_pair_id = key_pair.id WHERE regeneration.id = :id",
        id=opened.regeneration_id,
    )
    return Keys(old.reference, old.account_id, opened.regeneration_id, public_key, "")


def test_fifty_concurrent_answers_give_one_answer(world: World) -> None:
    keys = world.register()
    incident_id = open_case(world, keys)
    said = [Answer.NOT_US if n % 2 else Answer.IT_WAS_US for n in range(50)]
    with ThreadPoolExecutor(16) as pool:
        standings = list(pool.map(lambda one: answer(world, incident_id, one), said))
    assert sum(standing.taken for standing in standings) == 1
    assert len({standing.answer for standing in standings}) == 1
    assert len(told(world, "incident_answered")) == 1


def test_racing_staff_and_customer_answers_keep_the_first(world: World) -> None:
    keys = world.register()
    incident_id = open_case(world, keys)
    answer(world, incident_id, Answer.NOT_US)
    late = answer(world, incident_id, Answer.IT_WAS_US, by="ann", decision_id="d1", reason="phone")
    assert (late.taken, late.answer, late.answered_by) == (False, Answer.NOT_US, "customer")


def test_repeated_decision_is_applied_once_with_the_same_result(world: World) -> None:
    keys = world.register()
    incident_id = open_case(world, keys)
    first = answer(world, incident_id, Answer.NOT_US, by="ann", decision_id="d1", reason="phone")
    again = answer(world, incident_id, Answer.NOT_US, by="ann", decision_id="d1", reason="phone")
    assert first == again
    assert world.rows("SELECT COUNT(*) FROM incident_event WHERE what = 'answered'") == [(1,)]
    assert told(world, "incident_answered") == []  # the workflow asked for it


def test_closed_or_unknown_incident_accepts_no_answer(world: World) -> None:
    keys = world.register()
    incident_id = open_case(world, keys)
    with world.database.write_session() as session:
        assert incidents.close_incident(session, incident_id, Resolution.UNANSWERED, quiet=1.0, now=NOW)
    standing = answer(world, incident_id, Answer.NOT_US, leaked=True)
    assert (standing.taken, standing.closed, standing.resolution) == (False, True, Resolution.UNANSWERED)
    assert pair_state(world, keys) == "active"
    assert (
        in_session(world.database, incidents.answer_incident, "none", Answer.NOT_US, leaked=False, by=CUSTOMER, now=NOW)
        is None
    )


@pytest.mark.parametrize("resolution", list(Resolution))
def test_closed_incident_resets_streaks_and_only_a_false_alarm_is_quiet(world: World, resolution: Resolution) -> None:
    keys = world.register()
    incident_id = open_case(world, keys)
    if resolution is Resolution.FALSE_ALARM:
        answer(world, incident_id, Answer.IT_WAS_US)
    if resolution is Resolution.REGENERATED:
        answer(world, incident_id, Answer.NOT_US)
        change(world, "UPDATE regeneration SET state = 'done'")
        change(world, "UPDATE incident SET regeneration_id = ?", keys.regeneration_id)
    for _ in range(2):  # a repeat changes nothing
        with world.database.write_session() as session:
            assert incidents.close_incident(session, incident_id, resolution, quiet=100.0, now=NOW)
    assert world.rows("SELECT COUNT(*) FROM streak") == [(0,)]
    [(quiet_until,)] = world.rows("SELECT quiet_until FROM key_pair")
    assert (quiet_until is not None) is (resolution is Resolution.FALSE_ALARM)
    assert world.rows("SELECT state, resolution FROM incident") == [("closed", str(resolution))]
    assert world.rows("SELECT COUNT(*) FROM incident_event WHERE what = 'closed'") == [(1,)]


def test_closing_as_unanswered_keeps_an_existing_answer(world: World) -> None:
    incident_id = open_case(world, world.register())
    answer(world, incident_id, Answer.NOT_US)
    with world.database.write_session() as session:
        assert not incidents.close_incident(session, incident_id, Resolution.UNANSWERED, quiet=1.0, now=NOW)
    assert world.rows("SELECT closed_at FROM incident") == [(None,)]


def test_twenty_failures_after_closing_open_a_new_incident(world: World) -> None:
    keys = world.register()
    first = open_case(world, keys)
    with world.database.write_session() as session:
        incidents.close_incident(session, first, Resolution.UNANSWERED, quiet=1.0, now=NOW)
    assert open_case(world, keys) != first


def test_closed_incident_counts_no_later_failures(world: World) -> None:
    keys = world.register()
    first = open_case(world, keys)
    with world.database.write_session() as session:
        incidents.close_incident(session, first, Resolution.UNANSWERED, quiet=1.0, now=NOW + 60)
    fail(world, keys, 30, NOW + 180)
    with world.database.read_session() as session:
        view = incidents.load_incident(session, first)
    assert view is not None
    assert view.failures == view.sources.total == 20
    seen = [source.last_at for source in view.sources.named]
    assert max(at for at in seen if at is not None) < utc(NOW + 120)


def test_refused_decision_is_recorded_once(world: World) -> None:
    incident_id = open_case(world, world.register())
    for why in ("by the workflow", "by SQL"):
        with world.database.write_session() as session:
            incidents.record_refused_decision(
                session, incident_id, decision_id="d1", actor="ann", detail={"why": why}, now=NOW
            )
    assert world.rows("SELECT key, actor, what, detail FROM incident_event") == [
        (f"{incident_id}/refused-d1", "ann", "decision_refused", '{"why": "by the workflow"}')
    ]


def test_timeline_records_an_event_once_in_order(world: World) -> None:
    incident_id = open_case(world, world.register())
    for key in ("a", "b", "a"):
        with world.database.write_session() as session:
            incidents.append_event(session, incident_id, key=key, actor="system", what=key, detail={"n": 1}, now=NOW)
            incidents.set_state(session, incident_id, IncidentState.WAITING)
    assert world.rows("SELECT seq, what FROM incident_event ORDER BY seq") == [(1, "a"), (2, "b")]
    assert world.rows("SELECT state FROM incident") == [("waiting",)]


def test_incident_with_a_reported_leak_cannot_become_a_false_alarm(world: World) -> None:
    """After an abandoned regeneration the incident is asked again, but the leak stays reported."""
    keys = world.register()
    incident_id = open_case(world, keys)
    answer(world, incident_id, Answer.NOT_US, leaked=True)
    with world.database.write_session() as session:
        incidents.reopen_answer(session, incident_id)
    denied = answer(world, incident_id, Answer.IT_WAS_US, by="ann", decision_id="d1", reason="phone")
    assert (denied.taken, denied.answer, denied.leaked) == (False, None, True)
    again = answer(world, incident_id, Answer.NOT_US, by="ann", decision_id="d2", reason="phone")
    assert (again.taken, again.leaked) == (True, True)
