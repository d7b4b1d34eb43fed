"""Of a key with more counters than are read at once, only the newest minutes are read."""

import time

from support.retention_rig import add_counts
from support.world import World

from octy_worker.domain import usage
from octy_worker.domain.usage import uses_by_source
from octy_worker.reports.queries import show_key


def flood(world: World, outcome: str) -> tuple[str, int]:
    """Count one request of each of ten sources in each of the last ten minutes; return the key and this minute."""
    public_key, minute = world.register().public_key, int(time.time()) // 60
    add_counts(
        world, *((public_key, minute - age, f"10.0.0.{n}", outcome, 1) for age in range(1, 11) for n in range(10))
    )
    return public_key, minute


def test_keys_show_of_a_key_with_many_counters_says_since_when_it_counts(world, monkeypatch):
    public_key, minute = flood(world, "wrong_secret")
    monkeypatch.setattr(usage, "MAX_COUNTERS", 35)
    with world.database.read_session() as session:
        report = show_key(session, public_key, time.time())
    assert report.since.timestamp() == (minute - 3) * 60
    assert sum(use.count for use in report.uses) == 30


def test_uses_of_a_key_with_many_counters_are_those_of_the_newest_minutes(world, monkeypatch):
    public_key, minute = flood(world, "accepted")
    with world.database.read_session() as session:
        assert sum(use.count for use in uses_by_source(session, public_key, minute - 10)) == 100
        monkeypatch.setattr(usage, "MAX_COUNTERS", 35)
        assert sum(use.count for use in uses_by_source(session, public_key, minute - 10)) == 30
