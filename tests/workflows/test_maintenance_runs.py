"""Maintenance runs, and restarted workflows: their deadlines count from the first start."""

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from octy_workflows import maintenance
from octy_workflows.messages import (
    DAY,
    HOUR,
    DecisionResult,
    IncidentRestart,
    MaintenanceInput,
    MaintenanceProgress,
    MaintenanceStepResult,
    MaintenanceTask,
    OpenRegenerationInput,
    RegenerationRestart,
)
from octy_workflows.order_content import Choice, StaffDecision
from workflows.workflow_fakes import FakeRecords
from workflows.workflow_harness import BUILD_ID, Harness, on_harness, refused

DONE, MORE, HELD = MaintenanceProgress.DONE, MaintenanceProgress.MORE, MaintenanceProgress.LEASED


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (MaintenanceTask.RETENTION, "prune"),
        (MaintenanceTask.RECONCILIATION, "reconcile"),
        (MaintenanceTask.DIGEST, "digest"),
    ],
)
@on_harness
async def test_maintenance_run_continues_until_done_and_adds_up_its_results(
    harness: Harness, task: MaintenanceTask, name: str
) -> None:
    pieces = [
        MaintenanceStepResult(MORE, {"a": 1}),
        MaintenanceStepResult(MORE, {"a": 2, "b": 1}),
        MaintenanceStepResult(DONE, {"b": 4}),
    ]
    run = await harness.maintenance(task, pieces=pieces)
    assert await run.result() == {"a": 3, "b": 5}
    assert run.records.story == [f"0h {name}"] * 3


@on_harness
async def test_maintenance_job_leased_elsewhere_is_tried_again_after_a_minute(harness: Harness) -> None:
    pieces = [MaintenanceStepResult(HELD), MaintenanceStepResult(DONE, {"a": 1})]
    run = await harness.maintenance(MaintenanceTask.RETENTION, pieces=pieces)
    await run.advance_to(59)
    assert len(run.records.story) == 1
    await run.advance_to(61)
    assert await run.result() == {"a": 1}


@on_harness
async def test_maintenance_run_that_is_too_long_leaves_the_rest_to_the_next(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker without the sandbox, which would load the module again."""
    monkeypatch.setattr(maintenance, "MAX_STEPS", 2)
    worker = Worker(
        harness.env.client,
        task_queue="long-run",
        workflows=[maintenance.KeyMaintenanceWorkflow],
        activities=harness.fake_activities.activities(),
        workflow_runner=UnsandboxedWorkflowRunner(),
        build_id=BUILD_ID,
    )
    records = FakeRecords(pieces=[MaintenanceStepResult(MORE, {"a": 1})] * 3)
    case = MaintenanceInput(MaintenanceTask.RETENTION)
    async with worker:
        run = await harness.start(
            maintenance.KeyMaintenanceWorkflow.run, case, "long-run", records, task_queue="long-run"
        )
        assert await run.result() == {"a": 2}


# Started again


@on_harness
async def test_deadlines_of_a_restarted_incident_count_from_its_first_start(harness: Harness) -> None:
    """Its second day: the first reminder's time is over, the second one's is not."""
    case = await harness.incident()
    await case.advance_to(10)
    again = await harness.incident(restart=IncidentRestart(started_at=case.records.start - 2 * DAY))
    await again.advance_to(12 * DAY + HOUR)
    assert again.records.lines == [
        *("note opened waiting", "mail alert-1", "mail reminder-2"),
        *("note no_answer needs_staff", "close unanswered"),
    ]
    assert [round(again.when(line)[0] / DAY) for line in ("mail reminder-2", "close unanswered")] == [1, 12]


@on_harness
async def test_restarted_incident_with_abandoned_regeneration_starts_a_new_one(harness: Harness) -> None:
    case = await harness.incident(
        restart=IncidentRestart(regeneration_id="r-old"), regeneration_id="r-old", leaked=True
    )
    await case.wait_until_idle()
    error = await refused(case.orders(StaffDecision("dismiss", "dan", "no")))  # the leak was reported in its first life
    assert "leaked" in error.message
    await case.answers(Choice.REGENERATE, leaked=True)
    await case.wait_for_line("regenerate leaked")
    [step] = [step for step in case.records.inputs if isinstance(step, OpenRegenerationInput)]
    assert step.after == "r-old"
    await case.wait_until_idle()
    await case.regeneration_ends("done")
    assert await case.result() == "regenerated"


@on_harness
async def test_answer_of_staff_is_recorded_as_by_staff(harness: Harness) -> None:
    case = await harness.incident()
    case.records.take(DecisionResult(False, Choice.REGENERATE, False, "dan"), "d-1")
    await case.signal("customer_answered")
    await case.wait_for_line("regenerate")
    assert "decided by dan" in await case.details()


@on_harness
async def test_restarted_regeneration_renews_only_an_expired_link(harness: Harness) -> None:
    first = await harness.regeneration()
    await first.advance_to(10)
    started_at = first.records.start - 4 * DAY
    still = await harness.regeneration(restart=RegenerationRestart(started_at, generation=3), generation=3)
    await still.advance_to(3 * DAY + HOUR)
    assert still.records.lines == [
        *("issue", "prove", "activate", "mail new_keys-3", "note not_collected needs_staff"),
    ]
    late = await harness.regeneration(restart=RegenerationRestart(started_at, generation=3, expired=True), generation=3)
    await late.advance_to(HOUR)
    assert late.records.lines[3:] == ["renew 4", "mail new_keys-4"]
