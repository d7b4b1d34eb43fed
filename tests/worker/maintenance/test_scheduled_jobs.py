"""Activities of maintenance, the doctor's checks of their last runs, and `octy incidents reconcile`."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.cli_rig import octy_for, open_incident
from support.mail_rig import RecordingMailer
from support.relay_rig import change, put
from support.retention_rig import DAY, add_attempts
from support.world import INSTALLATION, World
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from octy_worker.activities.maintenance import MaintenanceActivities
from octy_worker.cli.doctor import State
from octy_worker.cli.doctor.scheduled_jobs import check_scheduled_jobs
from octy_worker.domain.job_lease import JobLease
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.maintenance.reconciliation.run import JOB, Findings
from octy_worker.maintenance.reconciliation.subjects import Subject
from octy_worker.maintenance.reconciliation.workflows import WorkflowState
from octy_worker.maintenance.restored.histories import Execution
from octy_workflows.messages import MaintenanceProgress, MaintenanceStepInput
from worker.maintenance.test_reconciliation import FakeTemporal

NOW = MaintenanceStepInput(time.time())
DIGEST_TO = {"support_digest_to": "support@octy.example"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def fake_temporal(monkeypatch: pytest.MonkeyPatch) -> FakeTemporal:
    fake_temporal = FakeTemporal()
    for module in ("octy_worker.activities.maintenance", "octy_worker.cli.incidents_reconcile"):
        monkeypatch.setattr(f"{module}.WorkflowLookup", lambda *_given: fake_temporal)
    for module in ("octy_worker.activities.maintenance", "octy_worker.cli.incidents_reconcile"):
        monkeypatch.setattr(f"{module}.Histories", lambda *_given: fake_temporal)
    return fake_temporal


def activities(world: World, told: RecordingMailer | None = None, **options: object) -> MaintenanceActivities:
    settings = world.worker_settings(**options)
    return MaintenanceActivities(
        database=world.database,
        installation=INSTALLATION,
        client=None,  # type: ignore[arg-type]  # what Temporal says, `FakeTemporal` says
        mailer=told or RecordingMailer(),
        renderer=MailRenderer(settings),
        settings=settings,
        clock=time.time,
    )


def beating() -> tuple[ActivityEnvironment, list[object]]:
    beats: list[object] = []
    inside = ActivityEnvironment()
    inside.on_heartbeat = lambda *details: beats.append(details)
    return inside, beats


def test_prune_database_activity_heartbeats_and_returns_counts(world: World) -> None:
    add_attempts(world, *(time.time() - age * DAY for age in (1, 91, 92)))
    inside, beats = beating()
    report = inside.run(activities(world).prune_database, NOW)
    assert (report.progress, report.counts["attempts"]) == (MaintenanceProgress.DONE, 2)
    assert beats
    JobLease(world.database, "retention", time.time).take()
    assert ActivityEnvironment().run(activities(world).prune_database, NOW).progress is MaintenanceProgress.LEASED


def test_reconcile_database_activity_heartbeats_and_returns_findings(
    world: World, fake_temporal: FakeTemporal, caplog: pytest.LogCaptureFixture
) -> None:
    _, incident_id = open_incident(world)
    change(world, "UPDATE outbox SET delivered_at = 1")
    fake_temporal.known = {incident_id: WorkflowState.NOT_FOUND}
    inside, beats = beating()
    report = asyncio.run(inside.run(activities(world).reconcile_database, NOW))
    assert (report.progress, report.counts["restarted"]) == (MaintenanceProgress.DONE, 1)
    assert beats
    assert '"restarted":1' in caplog.text
    JobLease(world.database, JOB, time.time).take()
    held = asyncio.run(ActivityEnvironment().run(activities(world).reconcile_database, NOW))
    assert held.progress is MaintenanceProgress.LEASED


def test_send_digest_activity_is_retried_while_deferred(world: World) -> None:
    put(world, "incident_grew", "x", failures=40)
    change(world, "UPDATE outbox SET delivery_attempts = 5")
    told = RecordingMailer(SmtpResult(SmtpStatus.DEFERRED, "connect"), SmtpResult(SmtpStatus.ACCEPTED))
    sending = activities(world, told, **DIGEST_TO).send_digest
    with pytest.raises(ApplicationError, match="is not sent yet: connect") as waits:
        ActivityEnvironment().run(sending, NOW)
    assert not waits.value.non_retryable
    report = ActivityEnvironment().run(sending, NOW)
    assert (report.progress, report.counts) == (MaintenanceProgress.DONE, {"sent": 1})


# `octy doctor`


def checked(world: World, *, worker_runs: bool = True, **options: object) -> dict[str, tuple[State, str]]:
    found = check_scheduled_jobs(world.worker_settings(**options), worker_runs=worker_runs)
    return {check.name: (check.state, f"{check.found} → {check.to_do}") for check in found}


def finish(world: World, job: str, cursor: str, ago: float = 0.0) -> None:
    lease = JobLease(world.database, job, lambda: time.time() - ago)
    lease.take()
    lease.begin("", time.time() - ago)
    lease.finish(cursor)


def test_doctor_shows_the_last_reconciliation_and_its_findings(world: World) -> None:
    assert checked(world)["reconciliation"][0] is State.OK
    finish(world, JOB, str(Findings(checked=3, restarted=2)))
    state, text = checked(world)["reconciliation"]
    assert (state, "3 checked, 2 restarted" in text) == (State.OK, True)
    finish(world, JOB, str(Findings(checked=3, unknown=1)))
    assert checked(world)["reconciliation"][0] is State.PROBLEM


@pytest.mark.parametrize(("worker_runs", "state"), [(True, State.PROBLEM), (False, State.OK)])
def test_doctor_reports_a_late_reconciliation_where_a_worker_runs(
    world: World, worker_runs: bool, state: State
) -> None:
    finish(world, JOB, str(Findings()), ago=3 * 3600 + 60)
    found, text = checked(world, worker_runs=worker_runs)["reconciliation"]
    assert found is state
    assert ("octy incidents reconcile" in text) is worker_runs


@pytest.mark.parametrize(
    ("cursor", "ago", "state", "word"),
    [
        ("2030-03-17 sent", 60, State.OK, "2030-03-17 sent"),
        ("2030-03-17 nothing", 60, State.OK, "nothing"),
        ("2030-03-17 failed rcpt-550", 60, State.PROBLEM, "OCTY_SUPPORT_DIGEST_TO"),
        ("2030-03-17 sent", 3 * DAY, State.PROBLEM, "log"),
        (None, 0, State.OK, "none sent yet; the first is due at 06:00 UTC"),
    ],
)
def test_doctor_shows_the_last_digest(world: World, cursor: str | None, ago: float, state: State, word: str) -> None:
    if cursor is not None:
        finish(world, "digest", cursor, ago)
    found, text = checked(world, **DIGEST_TO)["digest"]
    assert (found, word in text) == (state, True)
    assert checked(world)["digest"] == (State.OK, "off: OCTY_SUPPORT_DIGEST_TO is not set → ")


def test_scheduled_jobs_are_unchecked_without_a_database(tmp_path: Path, world: World) -> None:
    settings = world.worker_settings().model_copy(update={"database_url": f"sqlite:///{tmp_path / 'no' / 'no.db'}"})
    assert [check.state for check in check_scheduled_jobs(settings, worker_runs=True)] == [State.UNCHECKED] * 2


# `octy incidents reconcile`


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_client(_access: object) -> None: ...

    monkeypatch.setattr("octy_worker.cli.incidents_reconcile.open_client", open_client)


@pytest.mark.usefixtures("reached")
def test_reconcile_command_prints_differences_then_repairs_them(world: World, fake_temporal: FakeTemporal) -> None:
    _, incident_id = open_incident(world)
    change(world, "UPDATE outbox SET delivered_at = 1")
    fake_temporal.known = {incident_id: WorkflowState.NOT_FOUND}
    octy = octy_for(world)
    for _ in range(2):
        dry = octy("incidents", "reconcile", "--dry-run").must(1).stdout
        assert "workflows were missing in Temporal" in dry
        assert dry.startswith("Nothing was changed. ")
    done = octy("incidents", "reconcile", "--json").must()
    assert done.json == {"dry_run": False, **Findings(checked=2, restarted=1).counts}
    assert '"what": "reconciled"' in done.stderr
    assert "No differences found." in octy("incidents", "reconcile").must().stdout
    fake_temporal.runs = {Subject.INCIDENT: ["foreign"]}
    assert "workflows run without a row in the database" in octy("incidents", "reconcile").must(1).stdout
    fake_temporal.runs = {}
    fake_temporal.executed = [Execution(Subject.INCIDENT, "lost", "run", False, datetime.now(UTC), time.time())]
    assert "see `octy db restored`" in octy("incidents", "reconcile").must(1).stdout
    JobLease(world.database, JOB, time.time).take()
    assert "a worker is running" in octy("incidents", "reconcile").must(3).stderr
