"""Metrics of the database: cached, right after an outage, and missing for what can't be read."""

import asyncio
import os
import socket
import time
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from support.cli_rig import fail, open_incident
from support.relay_rig import change, put
from support.until import until_async
from support.world import FakeRequest, World, listening

from octy_middleware import ConfigurationError, Database
from octy_middleware.db.bulk_sql import run
from octy_middleware.domain.outbox import Priority
from octy_middleware.states import Resolution
from octy_worker import daemon
from octy_worker.cli.doctor import State, observability
from octy_worker.cli.doctor.observability import check_observability
from octy_worker.dev.processes import free_port, is_listening
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.mail.unsent import capped_by_kind, unsent_alerts
from octy_worker.observability.database_probe import disk_space
from octy_worker.observability.metrics import queries
from octy_worker.observability.metrics.collector import CachedReading, DatabaseCollector
from octy_worker.observability.metrics.counters import CountedMailer, WorkerCounters
from octy_worker.observability.metrics.metrics_server import Metrics, sdk_runtime
from octy_worker.observability.metrics.queries import AttemptCounter, read_current, read_totals
from octy_worker.outbox.leases import DeliveryResult, DeliveryStatus, Message
from octy_workflows.messages import WorkflowKind


def registry_of(database: Database) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(DatabaseCollector(database, time.time))
    return registry


def test_undelivered_outbox_messages_and_dead_letters_are_counted_apart(world: World) -> None:
    open_incident(world)
    change(world, "UPDATE outbox SET delivered_at = created_at")
    for _ in range(3):
        put(world, "incident_grew", "x", failures=40)
    change(world, "UPDATE outbox SET delivery_attempts = 5 WHERE id = (SELECT MAX(id) FROM outbox)")
    change(world, "UPDATE outbox SET created_at = created_at - 60000000")
    found = read_current(world.database, time.time()).outbox
    assert (found.undelivered, found.dead_letters) == (3, 1)
    assert 60 <= found.oldest < 90


def test_app_processes_have_series_of_their_own_up_to_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_PROCESSES", 3)
    now = int(time.time() * 1e6)
    with world.database.write() as connection:
        for number in range(6):
            seen = now - (number == 5) * 3_600_000_000  # the last one ended an hour ago
            run(
                connection,
                "INSERT INTO app_process (id, host, pid, release, seen_at, queued, lost, commit_micros, failures, "
                "last_error) VALUES (?, 'h', ?, '1', ?, 4, 2, 1500, 3, '')",
                *(f"{number}", number, seen - number),
            )
    found = read_current(world.database, time.time())
    assert found.process_count == 5
    assert [(app.id, app.queued, app.lost, app.failures, app.commit) for app in found.processes] == [
        (f"{number}", 4, 2, 3, 0.0015) for number in range(3)
    ]


def test_restarted_container_with_the_same_host_and_pid_has_its_own_series(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same host name and pid again, within the ten minutes for which the dead process has series."""
    keys = world.register()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    for _ in range(2):
        with world.authenticator() as authenticator:
            authenticator.decide(FakeRequest(keys.basic()))
    change(world, "UPDATE app_process SET queued = 7 WHERE id = (SELECT id FROM app_process ORDER BY seen_at LIMIT 1)")
    registry = registry_of(world.database)
    [family] = [family for family in registry.collect() if family.name == "octy_recorder_queued"]
    assert sorted(sample.value for sample in family.samples) == [0.0, 7.0]
    assert len({(sample.labels["host"], sample.labels["process"]) for sample in family.samples}) == 2


def test_whole_tables_are_counted_by_state(world: World) -> None:
    keys, incident_id = open_incident(world)
    fail(world, keys, 3)
    found = read_totals(world.database, time.time())
    assert (found.pairs, found.regenerations) == ({("active",): 1}, {("collected",): 1})
    assert found.closed == {(resolution,): 0 for resolution in Resolution}
    assert (found.streaks, found.longest) == (2, 23)
    change(world, "UPDATE incident SET closed_at = 1, resolution = 'unanswered' WHERE id = ?", incident_id)
    assert read_totals(world.database, time.time()).closed[("unanswered",)] == 1


def test_attempt_counter_counts_each_attempt_once_in_bounded_readings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_ATTEMPTS", 7)
    keys = world.register()
    fail(world, keys, 5)
    attempts = AttemptCounter(world.database)
    attempts.read()
    assert not +attempts.counts  # they were before us
    fail(world, keys, 19)
    seen = [attempts.counts["wrong_secret"]]
    for _ in range(6):
        attempts.read()
        seen.append(attempts.counts["wrong_secret"])
    assert seen == [0, 0, 7, 14, 19, 19, 19]
    change(world, "DELETE FROM attempt")  # retention, or a restored backup: a counter never goes back
    attempts.read()
    assert attempts.counts["wrong_secret"] == 19


def test_use_of_a_retiring_key_pair_is_not_counted_as_a_refused_attempt(world: World) -> None:
    keys = world.register()
    attempts = AttemptCounter(world.database)
    attempts.read()
    fail(world, keys, 2)
    change(world, "UPDATE attempt SET outcome = 'accepted' WHERE id = (SELECT MAX(id) FROM attempt)")
    attempts.read()  # sees where they end
    attempts.read()
    assert +attempts.counts == {"wrong_secret": 1}


def test_cached_reading_is_read_again_after_its_ttl() -> None:
    clock, reads = [0.0], Counter[str]()

    def read() -> int:
        reads["n"] += 1
        clock[0] += 0.1
        return reads["n"]

    reading = CachedReading(read, 10.0, lambda: clock[0])
    assert [reading.get(), reading.get()] == [1, 1]
    clock[0] += 9.9
    assert reading.get() == 1
    clock[0] += 0.2
    assert reading.get() == 2


def test_second_scrape_within_ttl_runs_no_statement(world: World) -> None:
    open_incident(world)
    with listening(world.database) as statements:
        registry = registry_of(world.database)
        assert statements == []  # registering reads nothing
        generate_latest(registry)
        first = [said for said in statements if said.lstrip().startswith("SELECT")]
        generate_latest(registry)
    assert 0 < len(first) < 40
    assert len([said for said in statements if said.lstrip().startswith("SELECT")]) == len(first)


def test_unavailable_database_is_reported_and_its_gauges_are_missing(tmp_path) -> None:
    registry = registry_of(Database(f"sqlite:///{tmp_path / 'none' / 'none.db'}"))
    text = generate_latest(registry).decode()
    assert "octy_database_up 0.0" in text
    assert "octy_outbox" not in text


def test_disk_space_of_a_missing_folder_is_not_known(tmp_path: Path) -> None:
    assert disk_space(Database(f"sqlite:///{tmp_path / 'none' / 'none.db'}")) is None
    assert disk_space(Database(f"sqlite:///{tmp_path / 'octy.db'}")) is not None


def test_no_label_has_the_name_of_a_target_label(world: World) -> None:
    """Prometheus would rename it to `exported_job`, and rules and panels would not find it."""
    change(world, "INSERT INTO job VALUES ('retention', '', NULL, '', 1, 2, 0, '')")
    registry = registry_of(world.database)
    WorkerCounters(registry)
    labels = {name for family in registry.collect() for sample in family.samples for name in sample.labels}
    assert "task" in labels
    assert labels.isdisjoint({"job", "instance"})


def test_counters_start_at_zero_and_accept_known_label_values_only() -> None:
    registry = CollectorRegistry()
    counts = WorkerCounters(registry)
    assert 'octy_mail_sends_total{result="deferred"} 0.0' in generate_latest(registry).decode()
    counts.count_delivery(
        DeliveryResult(
            Message(1, Priority.ALERT, "ann@customer.example", "x", "{}", 0), DeliveryStatus.FAILED, "ValueError"
        )
    )
    counts.count_delivery(
        DeliveryResult(Message(2, Priority.NOTICE, "notice_created", "x", "{}", 0), DeliveryStatus.DELIVERED)
    )
    counts.count_missing(WorkflowKind.INCIDENT)
    text = generate_latest(registry).decode()
    assert 'octy_subjects_missing_total{workflow="incident"} 1.0' in text
    assert 'octy_relay_messages_total{event="unknown",result="failed"} 1.0' in text
    assert 'octy_relay_messages_total{event="notice_created",result="delivered"} 1.0' in text
    assert "customer" not in text


def test_mail_send_is_timed_whatever_its_result() -> None:
    told: list[tuple[SmtpResult, float]] = []
    times = iter([1.0, 3.5])

    class Refuses:
        def send(self, _envelope: object) -> SmtpResult:
            return SmtpResult(SmtpStatus.REFUSED, "rcpt-550")

    mailer = CountedMailer(Refuses(), lambda *what: told.append(what), lambda: next(times))
    assert mailer.send(None).code == "rcpt-550"  # type: ignore[arg-type]
    assert told == [(SmtpResult(SmtpStatus.REFUSED, "rcpt-550"), 2.5)]


def test_metrics_port_in_use_is_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def idle(_parts: daemon.WorkerComponents, stop: asyncio.Event) -> None:
        await stop.wait()

    world = World(tmp_path)
    monkeypatch.setattr(daemon, "run_worker", idle)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"OCTY_METRICS_SDK_PORT.*{port}"):
            sdk_runtime(world.worker_settings(metrics_sdk_port=port))
        assert daemon.serve(world.worker_settings(metrics_port=port), pages=False) == 1
    assert (
        f"stopping because component 'metrics' failed: OSError: the metrics can't listen on 127.0.0.1:{port}"
        in caplog.text
    )
    world.close()


def test_doctor_reads_the_metrics_from_the_configured_port(tmp_path: Path) -> None:
    world = World(tmp_path)

    def look(*, worker_runs: bool = True, **options: object) -> tuple[State, str]:
        found, _ = check_observability(world.worker_settings(**options), worker_runs=worker_runs)
        return found.state, found.found

    async def serve(port: int) -> tuple[State, str]:
        stop = asyncio.Event()
        own = world.worker_settings(metrics_port=port)
        serving = asyncio.create_task(Metrics(world.database, time.time, lambda _order: True).serve(own, stop))
        await until_async(lambda: asyncio.to_thread(is_listening, port))
        found = await asyncio.to_thread(look, metrics_port=port)
        stop.set()
        await serving
        return found

    port = free_port()
    assert look() == (State.OK, "off: OCTY_METRICS_PORT is not set")
    assert look(metrics_port=port)[0] is State.PROBLEM
    assert look(metrics_port=port, worker_runs=False)[0] is State.UNCHECKED
    assert asyncio.run(serve(port)) == (State.OK, f"http://127.0.0.1:{port}/metrics")
    world.close()


def test_doctor_names_the_missing_package_of_tracing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    states = []
    for missing in (False, True):
        if missing:
            monkeypatch.setattr(observability, "find_spec", lambda _name: None)
        _, found = check_observability(world.worker_settings(tracing=True), worker_runs=True)
        states.append((found.state, found.to_do))
    assert states == [(State.OK, ""), (State.PROBLEM, "pip install 'octy-middleware[telemetry]'")]
    world.close()


def test_withheld_mails_and_unsent_and_held_alerts_are_gauges(world: World) -> None:
    keys, incident_id = open_incident(world, at=time.time() - 1300)
    put_mail = (
        "INSERT INTO mail (key, account_id, incident_id, kind, message_id, state, delivery_attempts, last_error, "
        "created_at) VALUES (?, ?, ?, ?, ?, 'skipped', 0, ?, ?)"
    )
    now = int(time.time() * 1e6)
    for key, kind, why, age in (
        ("a", "reminder", "daily-cap", 0),
        ("b", "exposed", "obsolete", 0),
        ("c", "reminder", "daily-cap", 26 * 3_600_000_000),
    ):
        change(world, put_mail, key, keys.account_id, incident_id, kind, f"<{key}>", why, now - age)
    registry = registry_of(world.database)
    told = generate_latest(registry).decode()
    assert 'octy_mails_withheld{kind="reminder"} 1.0' in told
    assert 'octy_mails_withheld{kind="exposed"} 0.0' in told
    assert "octy_alerts_unsent 1.0" in told
    assert "octy_alerts_held 0.0" in told
    [age] = [line.split()[1] for line in told.splitlines() if line.startswith("octy_alerts_unsent_oldest_seconds ")]
    assert 1300 <= float(age) < 1400
    change(world, "UPDATE incident_answer SET answer = 'it_was_us' WHERE incident_id = ?", incident_id)
    with world.database.read_session() as session:
        assert (unsent_alerts(session, time.time()).count, capped_by_kind(session, time.time())) == (0, {})
