"""Counts of an incident's attempts by source and by time: exact, limited, and equal for all refusals."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text
from support.world import Keys, World, listening

from middleware.recording.events import NOW, UNKNOWN, event
from octy_middleware import Outcome
from octy_middleware.equal_work import DECOY_SUBJECT_PREFIX
from octy_middleware.http.event import OVERFLOW, AuthEvent
from octy_middleware.recording import incident_counts
from octy_middleware.recording.incident_counts import ALL_TIME, NAMED_SOURCES, NOT_KEPT


def many(number: int, keys: Keys, outcome: Outcome = Outcome.WRONG_SECRET, **what: object) -> list[AuthEvent]:
    return [event(keys, outcome, **what) for _ in range(number)]  # type: ignore[arg-type]


def incidents(world: World) -> list[str]:
    return [incident_id for (incident_id,) in world.rows("SELECT id FROM incident ORDER BY opened_at")]


def by_source(world: World, subject: str) -> dict[str, int]:
    query = "SELECT source, count FROM incident_count WHERE subject = :subject AND bucket = :all"
    return dict(world.rows(query, subject=subject, all=ALL_TIME))


def by_time(world: World, subject: str) -> dict[int, int]:
    query = "SELECT bucket, count FROM incident_count WHERE subject = :subject AND bucket <> :all"
    return dict(world.rows(query, subject=subject, all=ALL_TIME))


def close(world: World, at: float = NOW) -> None:
    with world.database.write() as connection:
        connection.execute(text("UPDATE incident SET state = 'closed', closed_at = :at"), {"at": int(at * 1e6)})
        connection.execute(text("DELETE FROM streak"))


def test_counts_hold_attempts_before_in_and_after_the_opening_commit(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    outcome_writer.write(many(12, keys, at=NOW - 600, source="198.51.100.7"))
    outcome_writer.write(many(7, keys, at=NOW - 120))
    outcome_writer.write(many(3, keys, at=NOW))
    outcome_writer.write(many(70, keys, at=NOW + 60, source="192.0.2.1"))
    [incident_id] = incidents(world)
    assert by_source(world, incident_id) == {"198.51.100.7": 12, "203.0.113.9": 10, "192.0.2.1": 70}
    minute = int(NOW) // 60
    assert by_time(world, incident_id) == {minute - 10: 12, minute - 2: 7, minute: 3, minute + 1: 70}


def test_failures_before_the_streak_are_left_out(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    start = NOW // 60 * 60
    outcome_writer.write([*many(5, keys, at=start), event(keys, Outcome.ACCEPTED, at=start + 1)])
    outcome_writer.write([*many(4, keys, at=start + 2), event(keys, Outcome.ACCEPTED, at=start + 3)])
    outcome_writer.write(
        [*many(3, keys, at=start + 4), event(keys, Outcome.ACCEPTED, at=start + 5), *many(6, keys, at=start + 6)]
    )
    outcome_writer.write(many(15, keys, at=start + 7))
    [incident_id] = incidents(world)
    assert by_source(world, incident_id) == {"203.0.113.9": 21}
    assert by_time(world, incident_id) == {int(NOW) // 60: 21}


def test_batch_with_success_before_the_streak_counts_from_the_streak_on(world: World) -> None:
    keys = world.register()
    batch = [*many(9, keys, at=NOW), event(keys, Outcome.ACCEPTED, at=NOW + 1), *many(30, keys, at=NOW + 2)]
    world.outcome_writer(NOW).write(batch)
    assert by_source(world, incidents(world)[0]) == {"203.0.113.9": 30}


def test_each_incident_of_a_key_has_its_own_counts(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    outcome_writer.write(many(20, keys, at=NOW))
    close(world, NOW + 1)
    outcome_writer.write([*many(5, keys, at=NOW + 2), event(keys, Outcome.ACCEPTED, at=NOW + 3)])
    outcome_writer.write(many(25, keys, at=NOW + 4))
    outcome_writer.write(many(10, keys, at=NOW + 5))
    assert [by_source(world, incident_id) for incident_id in incidents(world)] == [
        {"203.0.113.9": 20},
        {"203.0.113.9": 35},
    ]


def test_an_incident_by_the_source_rule_counts_the_failures_of_other_networks_too(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    right = event(keys, Outcome.ACCEPTED, source="192.0.2.1")
    for _ in range(5):
        outcome_writer.write([*many(4, keys), right, *many(1, keys, source="198.51.100.7"), right])
    assert world.rows("SELECT rule FROM incident") == [("source",)]
    assert by_source(world, incidents(world)[0]) == {"203.0.113.9": 20, "198.51.100.7": 5}


def test_failures_of_quiet_time_are_counted_in_the_next_incident(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    with world.database.write() as connection:
        connection.execute(text("UPDATE key_pair SET quiet_until = :at"), {"at": int((NOW + 10) * 1e6)})
    for second in range(3):
        outcome_writer.write(many(100, keys, at=NOW + second))
    assert incidents(world) == []
    outcome_writer.write(many(5, keys, at=NOW + 11))
    assert sum(by_source(world, incidents(world)[0]).values()) == 305


def test_deleted_first_attempts_are_counted_without_a_source(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    outcome_writer.write(many(15, keys, at=NOW - 100 * 86_400))
    with world.database.write() as connection:
        connection.execute(text("DELETE FROM attempt"))  # as retention does after 90 days
    outcome_writer.write(many(5, keys))
    assert by_source(world, incidents(world)[0]) == {NOT_KEPT: 15, "203.0.113.9": 5}


def test_counts_are_by_minute_on_the_first_day_and_by_hour_afterwards(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    outcome_writer.write(many(20, keys))
    minute = int(NOW) // 60
    for later in (1_439, 1_440, 1_441, 3_000, 3_001):
        outcome_writer.write(many(2, keys, at=NOW + later * 60))
    found = by_time(world, incidents(world)[0])
    assert found[minute] == 20
    assert found[minute + 1_439] == 2
    assert all(bucket % 60 == 0 for bucket in found.keys() - {minute, minute + 1_439})
    assert sum(found.values()) == 30


def test_sources_beyond_the_limit_share_one_row(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    numbers = [*range(20), *range(NAMED_SOURCES + 500)]
    for start in range(0, len(numbers), 100):
        outcome_writer.write(
            [event(keys, source=f"10.{number // 250}.0.{number % 250}") for number in numbers[start : start + 100]]
        )
    outcome_writer.write(many(7, keys, source="10.0.0.3"))
    found = by_source(world, incidents(world)[0])
    assert NAMED_SOURCES <= len(found) - 1 <= NAMED_SOURCES + 100
    assert sum(found.values()) == len(numbers) + 7
    assert found[OVERFLOW] >= 400
    assert found["10.0.0.3"] == 9  # known ones go on by name


@pytest.mark.parametrize("open_incident", [False, True])
def test_wrong_unknown_and_retired_write_the_same_number_of_rows(world: World, open_incident: bool) -> None:
    """Equal work (T7): known and new sources, before and after an incident is open."""
    keys, old, outcome_writer = world.register(), world.register("old"), world.outcome_writer(NOW)
    if open_incident:
        outcome_writer.write(many(25, keys))
    kinds = [
        (keys, Outcome.WRONG_SECRET),
        (UNKNOWN, Outcome.UNKNOWN_KEY),
        (old, Outcome.RETIRED),
        (old, Outcome.RETIRED_WRONG),
    ]
    sizes: dict[Outcome, list[int]] = {}
    asked: dict[Outcome, list[int]] = {}
    for batch in ([1] * 3, [5]):
        for owner, outcome in kinds:
            for size in batch:
                events = [event(owner, outcome, source=f"192.0.2.{n}") for n in range(size)]
                with added_rows() as added, listening(world.database) as statements:
                    outcome_writer.write(events)
                sizes.setdefault(outcome, []).extend(added)
                asked.setdefault(outcome, []).append(sum("INTO incident_count" in each for each in statements))
    assert set(map(tuple, sizes.values())) == {(2, 2, 2, 6)}
    assert set(map(tuple, asked.values())) == {(1, 1, 1, 1)}


@contextmanager
def added_rows() -> Iterator[list[int]]:
    """Yield how many rows each commit adds."""
    sizes: list[int] = []
    real = incident_counts.sums

    def counted(*given: object) -> list[tuple[object, ...]]:
        rows = real(*given)  # type: ignore[arg-type]
        sizes.append(len(rows))
        return rows

    incident_counts.sums = counted  # type: ignore[assignment]
    try:
        yield sizes
    finally:
        incident_counts.sums = real


def test_attempts_without_an_incident_are_counted_under_a_decoy(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    outcome_writer.write([*many(19, keys), *many(40, UNKNOWN, Outcome.UNKNOWN_KEY)])
    assert {
        subject.startswith(DECOY_SUBJECT_PREFIX) for (subject,) in world.rows("SELECT subject FROM incident_count")
    } == {True}


def test_uses_of_a_retired_key_pair_are_counted_under_its_public_key(world: World) -> None:
    keys, outcome_writer = world.register(), world.outcome_writer(NOW)
    outcome_writer.write([*many(3, keys, Outcome.RETIRED), *many(8, keys, Outcome.RETIRED_WRONG)])
    assert by_source(world, keys.public_key) == {"203.0.113.9": 3}
    assert len(by_time(world, keys.public_key)) == 1
