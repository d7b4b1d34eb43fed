"""A workflow whose subject is not in the database: retried for minutes, then a staff task until it is found."""

import pytest
from support.until import until_async
from temporalio.api.enums.v1 import EventType

from octy_workflows.messages import HOUR, NoticeKind
from octy_workflows.order_content import Choice
from octy_workflows.retry import MISSING_SUBJECT_RETRY, SUBJECT_MISSING_TIMEOUT
from workflows.workflow_harness import Harness, WorkflowRun, on_harness

LONG = SUBJECT_MISSING_TIMEOUT.total_seconds()
SELDOM_SECONDS = MISSING_SUBJECT_RETRY["retry_policy"].initial_interval.total_seconds()
WORKFLOWS = {  # how each is started, and the activities that do not find their subject
    "incident": {"load_incident_facts", "record_incident_event", "send_mail", "record_decision", "close_incident"},
    "regeneration": {
        "issue_key_pair",
        "verify_key_pair",
        "activate_key_pair",
        "load_regeneration_facts",
        "record_regeneration_event",
        "send_mail",
    },
    "notice": {"send_mail"},
    "webhook": {"post_webhook", "give_up_webhook"},
}
FIRST = {  # what each does once its subject is there
    "incident": "note opened waiting",
    "regeneration": "issue",
    "notice": "mail exposed-1",
    "webhook": "post sent",
}


async def begin(harness: Harness, kind: str, missing: set[str]) -> WorkflowRun:
    match kind:
        case "incident":
            return await harness.incident(missing=missing)
        case "regeneration":
            return await harness.regeneration(missing=missing)
        case "notice":
            return await harness.notice(NoticeKind.EXPOSED, missing=missing)
        case _:
            return await harness.webhook(missing=missing)


async def activities_scheduled(run: WorkflowRun) -> int:
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    return sum(event.event_type == scheduled for event in (await run.handle.fetch_history()).events)


@pytest.mark.parametrize("kind", WORKFLOWS)
@on_harness
async def test_missing_subject_creates_one_staff_task_that_ends_when_it_is_found(harness: Harness, kind: str) -> None:
    run = await begin(harness, kind, set(WORKFLOWS[kind]))
    await run.advance_to(LONG - 60)
    assert run.records.lines == []
    await run.advance_to(3 * LONG)
    assert run.records.lines == [f"missing {kind}"]
    details = await run.details()
    assert "Support staff is needed: there is no row" in details
    await run.advance_to(2 * HOUR)
    scheduled = await activities_scheduled(run)
    await run.advance_to(4 * HOUR)
    assert run.records.lines == [f"missing {kind}"]
    assert await activities_scheduled(run) == scheduled  # attempts are no events of the history
    run.records.missing.clear()
    await run.advance_to(4 * HOUR + 2 * SELDOM_SECONDS)
    await until_async(lambda: FIRST[kind] in run.records.lines, message=run.records.story)
    assert [line for line in run.records.lines if line.endswith(f" {kind}")] == [f"missing {kind}", f"over {kind}"]
    assert "Support staff is needed: there is no row" not in await run.details()


@on_harness
async def test_subject_found_within_minutes_creates_no_staff_task(harness: Harness) -> None:
    run = await begin(harness, "regeneration", {"issue_key_pair"})
    await run.advance_to(120)
    run.records.missing.clear()
    await run.advance_to(200)
    await run.wait_for_line("mail new_keys-1")
    assert "missing regeneration" not in run.records.lines


@on_harness
async def test_incident_missing_for_days_continues_with_the_customer_answer(harness: Harness) -> None:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    run.records.missing.update(WORKFLOWS["incident"])
    await run.answers(Choice.DISMISS)
    await run.advance_to(3 * LONG)
    assert run.records.lines[-1] == "missing incident"
    [missing] = [step for step in run.records.inputs if hasattr(step, "cause")]
    assert (missing.resolved, missing.state) == (False, "waiting")
    run.records.missing.clear()
    await run.advance_to(3 * LONG + 2 * SELDOM_SECONDS)
    assert await run.result() == "false_alarm"


@pytest.mark.parametrize("kind", ["notice", "webhook"])
@on_harness
async def test_subject_that_is_never_found_ends_with_its_ttl(harness: Harness, kind: str) -> None:
    ttl = 4 * HOUR
    if kind == "notice":
        run = await harness.notice(NoticeKind.EXPOSED, ttl, missing={"send_mail"})
    else:
        run = await harness.webhook(ttl, missing={"post_webhook"})
    await run.advance_to(ttl + 2 * SELDOM_SECONDS)
    assert await run.result() == "failed"
    assert run.records.lines[0] == f"missing {kind}"
    assert f"over {kind}" in run.records.lines


@on_harness
async def test_mail_that_fails_for_good_once_its_subject_is_found_is_given_up(harness: Harness) -> None:
    run = await harness.notice(NoticeKind.EXPOSED, missing={"send_mail"})
    await run.advance_to(3 * LONG)
    run.records.missing.clear()
    run.records.broken.add("send_mail")
    await run.advance_to(3 * LONG + 2 * SELDOM_SECONDS)
    assert await run.result() == "failed"
    assert run.records.lines == ["missing notice", "over notice"]
    assert "The mail can't be delivered" in await run.details()
