"""How many messages a commit and a look-up send to a PostgreSQL server, counted between client and server."""

from collections.abc import Iterator

import pytest
from proofs.faults.tcp_proxy import TcpProxy
from support.postgres import shared_server
from support.world import World

from middleware.recording.events import NOW, UNKNOWN, event, pair_id_of
from octy_middleware import Database, Outcome
from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.clock import Clock
from octy_middleware.domain.key_checks import PepperCheck
from octy_middleware.http.event import AuthEvent
from octy_middleware.recording.heartbeat import Heartbeat
from octy_middleware.recording.outcome_writer import OutcomeWriter
from octy_middleware.recording.recorder import RecorderHealth
from octy_middleware.recording.window_rule import WindowRule

NEW_SOURCE, NEW_NETWORK = "203.0.113.10", "198.51.100.7"
HEALTH = RecorderHealth(0, 0, "", "", None, 0, 0.1, 0.0)


@pytest.fixture
def database_kind() -> str:
    return "postgresql"


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    with TcpProxy(shared_server().port) as proxy:
        yield proxy


@pytest.fixture
def database(world: World, proxy: TcpProxy) -> Iterator[Database]:
    database = Database(world.url.replace(f":{shared_server().port}/", f":{proxy.port}/"))
    yield database
    database.close()


@pytest.mark.parametrize("window", [WindowRule(), WindowRule(failures=100_000)], ids=["two rules", "window rule"])
def test_commit_sends_two_messages_and_three_with_a_new_source(
    world: World, database: Database, proxy: TcpProxy, window: WindowRule
) -> None:
    """The first begins, locks and reads, the last writes and commits; one between them counts, if a source is new."""
    some = [world.register(f"customer-{number}") for number in range(12)]
    new, used_key = world.register("new"), world.register("used")
    tick: Clock = iter(range(0, 1_000_000, 60)).__next__  # a heartbeat is due in each transaction
    writer = OutcomeWriter(
        database,
        threshold=100_000,
        attempts_per_minute=60,
        sources_per_minute=256,
        max_networks=1000,
        clock=lambda: NOW,
        window=window,
        also_write=Heartbeat(lambda: HEALTH, lambda: NOW, tick).write_if_due,
    )
    wrong = [event(keys) for keys in some]
    unknown = event(UNKNOWN, Outcome.UNKNOWN_KEY)
    used = event(used_key, Outcome.ACCEPTED, pair_id=pair_id_of(world, used_key))
    writer.write([*wrong, used, unknown])

    def messages(*batch: AuthEvent) -> int:
        before = proxy.round_trips
        writer.write(batch)
        return proxy.round_trips - before

    assert messages(wrong[0]) == 2
    assert messages(unknown) == 2
    assert messages(used) == 2
    assert messages(*wrong * 20) == 2  # 240 attempts: details of each key stay below the limit
    assert messages(*wrong * 50) == 2  # each reaches the limit
    assert messages(*wrong, unknown, used, *wrong) == 2  # the last detail of each is overwritten
    assert messages(event(some[0], source=NEW_SOURCE)) == 3
    assert messages(event(some[0], source=NEW_NETWORK)) == 3
    assert messages(event(new), event(UNKNOWN, Outcome.UNKNOWN_KEY, source=NEW_NETWORK)) == 3
    assert world.rows("SELECT COUNT(*) FROM app_process") == [(1,)]


def test_commit_that_opens_an_incident_sends_few_messages(world: World, database: Database, proxy: TcpProxy) -> None:
    keys = world.register()
    writer = OutcomeWriter(
        database, threshold=20, attempts_per_minute=60, sources_per_minute=256, max_networks=9, clock=lambda: NOW
    )
    writer.write([event(keys)] * 19)
    before = proxy.round_trips
    writer.write([event(keys)])
    assert world.rows("SELECT length FROM incident") == [(20,)]
    assert proxy.round_trips - before <= 8  # incident, answer, message and notification one by one, and two reads


def test_look_up_of_key_records_is_one_message(world: World, database: Database, proxy: TcpProxy) -> None:
    one, two = world.register(), world.register("two")
    cache = KeyCache(database, size=10, interval=3600.0, grace_period=1.0, peppers=PepperCheck(world.peppers))
    cache.load(one.public_key)
    before = proxy.round_trips
    assert cache.load_many([one.public_key, two.public_key, "pk_unknown"]).keys() == {one.public_key, two.public_key}
    assert proxy.round_trips - before == 1
    cache.close()
