"""What retention deletes and what it keeps: limits to the microsecond, exact sums, unchanged incident reports."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from support.retention_rig import (
    DAY,
    NOW,
    SETTINGS,
    TODAY,
    add_attempts,
    add_changes,
    add_counts,
    add_messages,
    add_webhooks,
    ages,
    busy_world,
    counts,
    fail_often,
    prune,
)
from support.world import LIFE, World, listening

from octy_middleware.clock import utc
from octy_middleware.http.outcome import Outcome
from octy_middleware.states import Resolution
from octy_worker.domain import incidents, regenerations
from octy_worker.domain.usage import load_sources
from octy_worker.maintenance.retention import count_due, has_due
from octy_worker.maintenance.retention.run import STEP_ROWS
from octy_worker.maintenance.retention.sweeps import limits_at
from octy_worker.reports.queries import show_key
from octy_worker.settings import RetentionSettings
from octy_worker.staff.registration import register

TINY = 0.000001 * 4  # seconds: floats of this size are exact to a quarter of a microsecond


# Limits


@pytest.mark.parametrize(("days", "kept"), [(1, [1.0]), (90, [90.0]), (400, [400.0])])
def test_attempts_are_deleted_after_their_retention_days(world, days, kept):
    add_attempts(world, NOW - days * DAY, NOW - days * DAY - TINY, NOW - 500 * DAY)
    done = prune(world, settings=RetentionSettings(keep_attempts_days=days))
    assert ages(world, "attempt") == kept
    assert done.counts["attempts"] == 2


def test_attempts_with_future_times_do_not_stop_retention(world):
    add_attempts(world, *[NOW + 400 * DAY] * 700, *[NOW - 91 * DAY] * 700, *[NOW - 1 * DAY] * 3)
    prune(world)
    assert Counter(ages(world, "attempt")) == {-400.0: 700, 1.0: 3}


def test_outbox_messages_are_deleted_only_after_delivery(world):
    add_messages(world, None, NOW - 400 * DAY, NOW - 30 * DAY - TINY, NOW - 30 * DAY, NOW)
    prune(world)
    assert ages(world, "outbox", "delivered_at") == [30.0, 0.0]
    assert world.rows("SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL") == [(1,)]


def test_webhooks_are_deleted_after_30_days_unless_pending(world):
    keys = world.register()
    old = [(state, NOW - 30 * DAY - TINY) for state in ("sent", "failed", "skipped", "pending")]
    add_webhooks(world, keys.account_id, *old, ("sent", NOW - 30 * DAY), ("failed", NOW))
    done = prune(world)
    assert done.counts["webhooks"] == 3
    assert world.rows("SELECT state FROM webhook ORDER BY id") == [("pending",), ("sent",), ("failed",)]


@pytest.mark.parametrize(
    ("written", "kept"),
    [([90, 60, 31, 30, 1], [30.0, 1.0]), ([90, 60, 31], [31.0]), ([90], [90.0]), ([1, 90, 60], [60.0, 1.0])],
)
def test_newest_key_change_is_kept(world, written, kept):
    """Its readers take a last number that went back for a restored backup."""
    add_changes(world, *(NOW - age * DAY for age in written))
    [(before,)] = world.rows("SELECT MAX(seq) FROM key_change")
    prune(world)
    assert ages(world, "key_change") == kept
    assert world.rows("SELECT MAX(seq) FROM key_change") == [(before,)]


@pytest.mark.parametrize(
    ("minutes", "kept"),
    [
        (TODAY - 400 * 1440, True),
        (TODAY - 400 * 1440 - 1, False),
        (TODAY - 401 * 1440, False),
        (TODAY - 500 * 1440 + 7, False),
    ],
)
def test_counters_are_deleted_by_whole_days(world, minutes, kept):
    """It is 18:00: the day 400 days back is not over 400 days old in all its minutes; the one before is."""
    add_counts(world, ("pk_1", minutes, "10.0.0.1", "accepted", 3))
    prune(world)
    assert [row[4] for row in counts(world)] == ([3] if kept else [])


@pytest.mark.parametrize(
    ("now", "minute", "after"),
    [
        (NOW, TODAY - 35 * 1440 - 1, TODAY - 36 * 1440),
        (NOW, TODAY - 35 * 1440 + 1, TODAY - 35 * 1440 + 1),
        (NOW, TODAY - 36 * 1440, TODAY - 36 * 1440),
        (TODAY * 60.0, TODAY - 35 * 1440 - 1, TODAY - 36 * 1440),
        (TODAY * 60.0 - TINY, TODAY - 35 * 1440 - 1, TODAY - 35 * 1440 - 1),
        (NOW, TODAY + 5 * 1440 + 5, TODAY + 5 * 1440 + 5),
    ],
)
def test_counters_are_compacted_to_one_row_per_day_when_the_day_is_due(world, now, minute, after):
    add_counts(world, ("pk_1", minute, "10.0.0.1", "accepted", 3))
    prune(world, now)
    assert counts(world) == [("pk_1", after, "10.0.0.1", "accepted", 3)]


def test_retention_limits_follow_the_settings():
    limits = limits_at(NOW, SETTINGS)
    assert [round((NOW * 1e6 - each) / 1e6 / DAY) for each in (limits.attempts, limits.messages, limits.changes)] == [
        *(90, 30, 30)
    ]
    assert ((TODAY - limits.counters) / 1440, (TODAY - limits.compaction) / 1440) == (400, 35)
    longer = limits_at(NOW, RetentionSettings(collect_abandon_after=60 * DAY))
    assert round((limits.secrets - longer.secrets) / 1e6) == 30 * DAY


# Sums

PLACES = st.tuples(
    st.sampled_from(["", "pk_a", "pk_b", "pk_c d'\"\\%"]),
    st.integers(TODAY - 420 * 1440, TODAY + 1440) | st.integers(-4, 40).map(lambda n: TODAY - 36 * 1440 + n),
    st.sampled_from(["10.0.0.1", "*", "2001:db8::1"]),
    st.sampled_from(["wrong_secret", "accepted"]),
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(PLACES, st.integers(1, 2**40), max_size=60), st.sampled_from([1, 7, 500]))
def test_compacted_counters_keep_the_exact_sums_of_each_day(world, rows, most):
    with world.database.write() as connection:
        connection.execute(text("DELETE FROM outcome_minute"))
        connection.execute(text("DELETE FROM job"))
    add_counts(world, *((*place, count) for place, count in rows.items()))
    prune(world, step_rows=most)
    expected: Counter = Counter()
    for (key, minute, source, outcome), count in rows.items():
        if minute < TODAY - 400 * 1440:
            continue
        day = minute - minute % 1440
        expected[key, day if day < TODAY - 35 * 1440 else minute, source, outcome] += count
    assert counts(world) == sorted((*place, count) for place, count in expected.items())


def test_later_compaction_adds_to_compacted_counters(world):
    for day in range(3):
        now = NOW + day * DAY
        add_counts(world, *(("pk_1", TODAY + (day - 36) * 1440 + m, "10.0.0.1", "accepted", m) for m in (1, 2, 1439)))
        assert prune(world, now).counts["minutes"] == 3
    add_counts(world, ("pk_1", TODAY - 34 * 1440 + 9, "10.0.0.1", "accepted", 5))
    prune(world, NOW + 3 * DAY)
    assert [(row[1] - TODAY, row[4]) for row in counts(world)] == [
        *((-36 * 1440, 1442), (-35 * 1440, 1442), (-34 * 1440, 1442), (-34 * 1440 + 9, 5))
    ]


def test_further_run_of_a_day_looks_at_no_key_to_compact_its_counters(world):
    add_counts(world, ("pk_1", TODAY - 36 * 1440, "10.0.0.1", "accepted", 1))
    heard = []
    for _ in range(2):
        with listening(world.database) as statements:
            prune(world)
        heard.append(sum("FROM outcome_minute" in each and "RECURSIVE" in each for each in statements))
    assert heard == [2, 1]  # for those that expire, and for those to compact


# What reports say


def attack(world: World, opened: float, *, first: float | None = None):
    keys = world.register(now=opened - 100 * DAY)
    fail_often(world, keys, 5, at=opened - 0.05 * DAY if first is None else first, source="198.51.100.7")
    fail_often(world, keys, 15, at=opened)
    return keys


@pytest.mark.parametrize("age", [40, 100, 300])
def test_incident_report_is_the_same_before_and_after_retention(world, age):
    opened = NOW - age * DAY
    keys = attack(world, opened)
    [(incident_id,)] = world.rows("SELECT id FROM incident")
    fail_often(world, keys, 7, at=opened + 1.1 * DAY)
    with world.database.write_session() as session:
        incidents.close_incident(session, incident_id, Resolution.UNANSWERED, quiet=0.0, now=opened + 2.1 * DAY)
    fail_often(world, keys, 3, at=opened + 2.15 * DAY)  # after its end, on the same day

    def told():
        with world.database.read_session() as session:
            return [(each.source, each.count) for each in load_sources(session, incident_id).named]

    before = told()
    assert before == [("203.0.113.9", 22), ("198.51.100.7", 5)]
    assert prune(world).counts["minutes"] == 1  # of the day between
    assert told() == before


def test_retention_keeps_a_streak_without_failures_for_months(world):
    first, opened = NOW - 60.2 * DAY, NOW + 1 * DAY
    keys = attack(world, NOW - 10 * DAY, first=first)
    with world.database.write() as connection:
        connection.execute(text("DELETE FROM incident_answer"))
        connection.execute(text("DELETE FROM incident"))
    prune(world)
    fail_often(world, keys, 1, at=opened)
    with world.database.read_session() as session:
        [(incident_id,)] = world.rows("SELECT id FROM incident")
        assert load_sources(session, incident_id).total == 21


def test_late_use_counters_of_a_retired_key_pair_are_kept_while_it_is_used(world):
    retired = NOW - 60 * DAY
    keys = world.register(now=retired - 50 * DAY)
    with world.database.write() as connection:
        connection.execute(
            text("UPDATE key_pair SET state = 'retired', retired_at = :at"), {"at": int(retired * 1_000_000)}
        )
    fail_often(world, keys, 4, at=retired + 3600, outcome=Outcome.RETIRED)
    fail_often(world, keys, 2, at=NOW - 3 * DAY, outcome=Outcome.RETIRED)

    def told(now: float):
        with world.database.read_session() as session:
            return [use.used_by.count for use in show_key(session, keys.public_key, now).late_uses]

    before = (told(NOW), told(retired + 10 * DAY))
    prune(world)
    assert (told(NOW), told(retired + 10 * DAY)) == before == ([6], [6])


# Incidents and secrets


def test_retention_keeps_incidents_mails_and_timelines(world):
    keys = attack(world, NOW - 300 * DAY)
    tables = ("incident", "incident_answer", "regeneration", "key_pair", "account", "streak")
    before = {table: world.rows(f"SELECT * FROM {table}") for table in tables}
    with world.database.write_session() as session:
        [(incident_id,)] = world.rows("SELECT id FROM incident")
        incidents.append_event(session, incident_id, key="x", actor="ada", what="noted", detail={}, now=NOW - 300 * DAY)
    prune(world)
    assert {table: world.rows(f"SELECT * FROM {table}") for table in tables} == before
    assert len(world.rows("SELECT * FROM incident_event")) == 1
    assert world.recorded(keys.public_key) == {"wrong_secret": 20}
    assert ages(world, "attempt") == []


@pytest.mark.parametrize(("expired", "kept"), [(29.9, True), (30.0, True), (30.1, False), (400.0, False)])
def test_uncollected_secret_is_erased_long_after_its_link_expired(world, expired, kept):
    issued = NOW - expired * DAY - LIFE
    contact = {"contact_email_address": "security@acme.example"}
    made = register(world.database, "acme", contact, actor="test", now=issued)
    with world.database.write_session() as session:
        regenerations.issue_key_pair(session, world.hasher, world.sealer, made.regeneration_id, ttl=LIFE, now=issued)
    assert prune(world).counts["secrets"] == (not kept)
    [(sealed,)] = world.rows("SELECT sealed FROM sealed_secret")
    assert (sealed is not None) is kept
    with world.database.read_session() as session:
        assert regenerations.load_regeneration(session, made.regeneration_id) is not None


# Counts of a dry run


def test_count_due_equals_what_a_run_deletes(world):
    busy_world(world)
    before = count_due(world.database, SETTINGS, NOW)
    assert min(before[name] for name in ("attempts", "messages", "changes", "counters", "minutes")) > 0
    assert has_due(world.database, SETTINGS, NOW)
    done = prune(world).counts
    assert {name: done[name] for name in before} == before
    assert not any(count_due(world.database, SETTINGS, NOW).values())
    assert not has_due(world.database, SETTINGS, NOW)


def test_retention_step_clears_at_most_step_rows(world):
    add_attempts(world, *[NOW - 91 * DAY] * 1300)
    add_counts(world, *((f"pk_{n}", TODAY - 50 * 1440 + 1 + n % 1000, "10.0.0.1", "accepted", 1) for n in range(1300)))
    sizes, seen = [], Counter()

    def report(done):
        sizes.append(sum(done.values()) - sum(seen.values()))
        seen.update({name: count - seen[name] for name, count in done.items()})

    prune(world, on_step=report)
    assert max(sizes) <= STEP_ROWS
    assert sum(sizes) == 2600


def test_retention_days_are_utc_days():
    assert utc(NOW) - timedelta(hours=18) == utc(TODAY * 60)
