"""`octy db prune`, and what `octy doctor` says of retention."""

import time

import pytest
from support.cli_rig import octy_for
from support.retention_rig import DAY, add_attempts, add_counts, add_messages
from support.world import World

from octy_worker.cli import db_prune
from octy_worker.cli.doctor import State, retention
from octy_worker.cli.doctor.retention import check_retention
from octy_worker.domain.job_lease import JobLease
from octy_worker.maintenance.retention import JOB
from octy_worker.settings import WorkerSettings

NAMES = [
    "attempts",
    "messages",
    "changes",
    "webhooks",
    "apps",
    "sessions",
    "outputs",
    "secrets",
    "incident_counts",
    "counters",
    "minutes",
]


def fill(world: World) -> None:
    now = time.time()
    add_attempts(world, *(now - age * DAY for age in (1, 91, 92, 93)))
    add_messages(world, now - 31 * DAY, None)
    add_counts(world, *(("pk_1", int((now - 50 * DAY) // DAY) * 1440 + n, "10.0.0.1", "accepted", 2) for n in range(9)))


def test_db_prune_dry_run_counts_what_the_run_then_deletes(world):
    fill(world)
    octy = octy_for(world)
    expected = dict(zip(NAMES, (3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 8), strict=True))
    for _ in range(2):
        found = octy("db", "prune", "--dry-run", "--json").must().json
        assert found == {"dry_run": True, "rows": expected, "longest_step_ms": None}
    assert "3  refused attempts in detail" in octy("db", "prune", "--dry-run").must().stdout
    done = octy("db", "prune", "--json").must().json
    assert (done["dry_run"], done["rows"]) == (False, expected)
    assert done["longest_step_ms"] > 0
    assert octy("db", "prune").must().stdout == "No rows have expired.\n"
    assert world.recorded() == {"accepted": 18}


def test_db_prune_follows_the_retention_settings(world):
    fill(world)
    octy = octy_for(world, OCTY_KEEP_ATTEMPTS_DAYS="92", OCTY_COMPACT_COUNTERS_AFTER_DAYS="60")
    said = octy("db", "prune").must().stdout
    assert "eleted (longest step:" in said
    assert len(world.rows("SELECT id FROM attempt")) == 2
    assert len(world.rows("SELECT minute FROM outcome_minute")) == 9
    assert "KEEP_COUNTERS_DAYS" in octy("db", "prune", OCTY_KEEP_COUNTERS_DAYS="30").must(2).stderr


def test_db_prune_is_refused_while_another_run_has_the_lease(world):
    fill(world)
    JobLease(world.database, JOB, time.time).take()
    assert "a worker is running" in octy_for(world)("db", "prune").must(3).stderr
    assert len(world.rows("SELECT id FROM attempt")) == 4


def test_db_prune_says_that_it_removed_an_interrupted_import(world, monkeypatch):
    """How it is removed: `test_imports`."""
    monkeypatch.setattr(db_prune, "clear_interrupted", lambda *_: 3000)
    assert "removed 3,000 key pairs of an earlier, interrupted import" in octy_for(world)("db", "prune").must().stderr


def test_db_prune_help_documents_the_json(world):
    page = " ".join(octy_for(world)("db", "prune", "--help", COLUMNS="300").must().stdout.split())
    assert f"JSON: {db_prune.PRUNE_JSON}" in page
    assert all(name in db_prune.PRUNE_JSON for name in NAMES)


@pytest.mark.parametrize(
    ("filled", "pruned", "later", "runs", "state"),
    [
        (False, False, 0, True, State.OK),
        (True, False, 0, True, State.PROBLEM),
        (True, False, 0, False, State.PROBLEM),
        (True, True, 2.9, True, State.OK),
        (True, True, 3.1, True, State.PROBLEM),
        (True, True, 3.1, False, State.OK),
    ],
)
def test_doctor_reports_a_late_retention_run(world, monkeypatch, filled, pruned, later, runs, state):  # noqa: PLR0917
    if filled:
        fill(world)
    if pruned:
        octy_for(world)("db", "prune").must()
    monkeypatch.setattr(retention, "now", lambda: time.time() + later * DAY)
    keys = {"peppers": world.peppers, "sealing_keys": world.sealing_keys, "link_keys": world.peppers}
    settings = WorkerSettings(database_url=world.url, **keys)
    found = check_retention(settings, worker_runs=runs)
    assert (found.name, found.state) == ("retention", state)
    assert ("octy db prune" in found.to_do) is (state is State.PROBLEM)
