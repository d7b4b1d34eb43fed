"""Figures of stalled work, read from SQL: zero while all is well, and each figure with its problem."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from support.cli_rig import open_incident
from support.kept_rows import KeptRows, once_for_each_kind
from support.relay_rig import change
from support.retention_rig import add_webhooks
from support.world import FakeRequest, World

from octy_middleware._version import __version__
from octy_middleware.errors import DatabaseUnavailableError
from octy_middleware.recording.heartbeat import Heartbeat
from octy_middleware.recording.recorder import RecorderHealth
from octy_worker.observability.database_probe import PROBE_JOB, DiskSpace, clock_offset, disk_space, write_probe
from octy_worker.observability.metrics import collector
from octy_worker.observability.metrics.collector import DatabaseCollector
from octy_worker.reports.stalled_work import Backlog, StalledWork, read_stalled_work

DAY = 86_400 * 1_000_000
NONE = StalledWork(
    alerts_failed=0,
    incidents_stalled=Backlog(0, 0),
    keys_refused=0,
    keys_uncollected=0,
    mails_retrying=Backlog(0, 0),
    mails_refused=0,
    webhooks_retrying=Backlog(0, 0),
    webhooks_failed=0,
    apps_failing=0,
    apps_of_other_release=0,
)


def results(world: World) -> StalledWork:
    with world.database.read_session() as session:
        return read_stalled_work(session, time.time())


def add_mail(
    world: World, account_id: str, key: str, state: str, *, incident_id: str | None = None, ago: float
) -> None:
    at = int((time.time() - ago) * 1e6)
    change(
        world,
        "INSERT INTO mail (key, account_id, incident_id, kind, message_id, state, delivery_attempts, last_error, "
        "created_at, attempted_at) VALUES (?, ?, ?, 'any', ?, ?, 3, 'rcpt-550', ?, ?)",
        *(key, account_id, incident_id, key, state, at, at),
    )


def fail_alert(world: World) -> None:
    keys, incident_id = open_incident(world)
    add_mail(world, keys.account_id, f"{incident_id}/alert/1", "failed", incident_id=incident_id, ago=100_000)


def answer(world: World) -> None:
    _, incident_id = open_incident(world)
    at = int((time.time() - 660) * 1e6)
    change(
        world, "UPDATE incident_answer SET answer = 'not_us', answered_at = ? WHERE incident_id = ?", at, incident_id
    )


def refuse_keys(world: World) -> None:
    keys = world.register()
    change(world, "UPDATE regeneration SET collected_at = NULL, state = 'sent'")
    add_mail(world, keys.account_id, f"{keys.regeneration_id}/new_keys/1", "failed", ago=100_000)


def leave_keys(world: World) -> None:
    keys, at = world.register(), int(time.time() * 1e6) - 5 * DAY
    uncollected = "UPDATE regeneration SET collected_at = NULL, state = 'sent', opened_at = ? WHERE id = ?"
    change(world, uncollected, at, keys.regeneration_id)


def put_process(world: World, *, release: str, failed_ago: float | None) -> None:
    now = int(time.time() * 1e6)
    failed_at = None if failed_ago is None else now - int(failed_ago * 1e6)
    change(world, "INSERT INTO app_process VALUES ('a', 'h', 1, ?, ?, 0, 0, 0, 70, 'full', ?)", release, now, failed_at)


PROVOKED: dict[str, Callable[[World], object]] = {
    "alerts_failed": fail_alert,
    "incidents_stalled": answer,
    "keys_refused": refuse_keys,
    "keys_uncollected": leave_keys,
    "mails_retrying": lambda world: add_mail(world, world.register().account_id, "x/reminder/1", "pending", ago=1000),
    "mails_refused": lambda world: add_mail(world, world.register().account_id, "x/reminder/1", "failed", ago=1000),
    "webhooks_retrying": lambda world: (
        add_webhooks(world, world.register().account_id, ("pending", time.time() - 4000)),
        change(world, "UPDATE webhook SET delivery_attempts = 3"),
    ),
    "webhooks_failed": lambda world: add_webhooks(world, world.register().account_id, ("failed", time.time())),
    "apps_failing": lambda world: put_process(world, release=__version__, failed_ago=60),
    "apps_of_other_release": lambda world: put_process(world, release="0.0.1", failed_ago=None),
}


@pytest.fixture(scope="module")
def kept_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], KeptRows]:
    """Return the rows of a sound installation, by the kind of its database: a customer who has sent a request."""

    def fill(world: World) -> KeptRows:
        keys = world.register("sound")
        with world.authenticator() as authenticator:
            authenticator.decide(FakeRequest(keys.basic()))
        assert results(world) == NONE
        return KeptRows.of(world)

    return once_for_each_kind(tmp_path_factory.mktemp, fill)


@pytest.fixture
def sound(world: World, kept_for: Callable[[str], KeptRows]) -> World:
    kept_for(world.database_kind).put(world)
    return world


def test_every_stalled_work_figure_is_provoked() -> None:
    assert set(PROVOKED) == set(asdict(NONE))


@pytest.mark.parametrize("name", PROVOKED)
def test_stalled_work_figure_is_zero_without_and_one_with_its_problem(sound: World, name: str) -> None:
    PROVOKED[name](sound)
    found = results(sound)
    told = getattr(found, name)
    assert (told.count if isinstance(told, Backlog) else told) == 1
    assert replace(found, **{name: getattr(NONE, name)}) == NONE


def test_heartbeat_records_the_time_of_a_failed_commit(world: World) -> None:
    health = RecorderHealth(
        queued=0,
        lost=0,
        last_error="",
        past_error="",
        seconds_since_failure=5.0,
        failures=1,
        last_commit_seconds=0.1,
        current_commit_seconds=0.0,
    )
    with world.database.write_batch(set()) as transaction:
        Heartbeat(lambda: health, time.time).write_if_due(transaction)
    [(seen_at, failed_at)] = world.rows("SELECT seen_at, failed_at FROM app_process")
    assert seen_at - failed_at == pytest.approx(5e6, abs=2)
    assert results(world).apps_failing == 1


def test_probe_commits_a_row_and_leaves_none(world: World) -> None:
    assert 0 < write_probe(world.database, time.time()) < 30
    assert world.rows("SELECT COUNT(*) FROM job WHERE name = :name", name=PROBE_JOB) == [(0,)]


def test_database_that_rejects_writes_is_reported_by_the_probe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise DatabaseUnavailableError("database or disk is full")

    monkeypatch.setattr(collector, "write_probe", full)
    told = {metric.name: metric for metric in DatabaseCollector(world.database, time.time).collect()}
    assert told["octy_database_writable"].samples[0].value == 0
    assert "octy_database_write_seconds" not in told


def test_disk_space_is_known_on_sqlite_and_the_clock_offset_on_postgresql(world: World) -> None:
    room, offset = disk_space(world.database), clock_offset(world.database, lambda: time.time() + 3600)
    if world.database_kind == "sqlite":
        assert room is not None
        assert 0 < room.free <= room.size
        assert offset is None
    else:
        assert room is None
        assert offset is not None
        assert 3590 < offset < 3610
    assert DiskSpace(199 * 1024 * 1024, 10**12).is_low
    assert not DiskSpace(201 * 1024 * 1024, 10**12).is_low
