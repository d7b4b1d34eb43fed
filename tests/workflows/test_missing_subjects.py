"""A workflow whose subject is not in the database: tried for minutes, then staff is told, and it heals by itself."""

import pytest
from support.until import until_async
from temporalio.api.enums.v1 import EventType

from octy_workflows.messages import NoticeKind
from octy_workflows.retry import MISSING_SUBJECT_RETRY, SUBJECT_MISSING_TIMEOUT
from octy_workflows.staff_requests import Choice
from workflows.workflow_stage import Play, Stage, played

HOUR = 3600.0
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


async def begin(stage: Stage, kind: str, missing: set[str]) -> Play:
    match kind:
        case "incident":
            return await stage.incident(missing=missing)
        case "regeneration":
            return await stage.regeneration(missing=missing)
        case "notice":
            return await stage.notice(NoticeKind.EXPOSED, missing=missing)
        case _:
            return await stage.webhook(missing=missing)


async def activities_scheduled(play: Play) -> int:
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    return sum(event.event_type == scheduled for event in (await play.handle.fetch_history()).events)


def lines(play: Play) -> list[str]:
    return [line.partition(" ")[2] for line in play.books.story]


@pytest.mark.parametrize("kind", WORKFLOWS)
@played
async def test_missing_subject_creates_one_staff_task_that_ends_when_it_is_found(stage: Stage, kind: str) -> None:
    play = await begin(stage, kind, set(WORKFLOWS[kind]))
    await play.until(LONG - 60)
    assert lines(play) == []
    await play.until(3 * LONG)
    assert lines(play) == [f"missing {kind}"]
    details = await play.details()
    assert "Support staff is needed: there is no row" in details
    await play.until(2 * HOUR)
    scheduled = await activities_scheduled(play)
    await play.until(4 * HOUR)
    assert lines(play) == [f"missing {kind}"]
    assert await activities_scheduled(play) == scheduled  # tries are no events of the history
    play.books.missing.clear()
    await play.until(4 * HOUR + 2 * SELDOM_SECONDS)
    await until_async(lambda: FIRST[kind] in lines(play), message=play.books.story)
    assert [line for line in lines(play) if line.endswith(f" {kind}")] == [f"missing {kind}", f"over {kind}"]
    assert "Support staff is needed: there is no row" not in await play.details()


@played
async def test_subject_found_within_minutes_creates_no_staff_task(stage: Stage) -> None:
    play = await begin(stage, "regeneration", {"issue_key_pair"})
    await play.until(120)
    play.books.missing.clear()
    await play.until(200)
    await play.comes("mail new_keys-1")
    assert "missing regeneration" not in lines(play)


@played
async def test_incident_missing_for_days_continues_with_the_customer_answer(stage: Stage) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    play.books.missing.update(WORKFLOWS["incident"])
    await play.answers(Choice.DISMISS)
    await play.until(3 * LONG)
    assert lines(play)[-1] == "missing incident"
    [missing] = [order for order in play.books.orders if hasattr(order, "cause")]
    assert (missing.resolved, missing.state) == (False, "waiting")
    play.books.missing.clear()
    await play.until(3 * LONG + 2 * SELDOM_SECONDS)
    assert await play.result() == "false_alarm"


@pytest.mark.parametrize("kind", ["notice", "webhook"])
@played
async def test_subject_that_is_never_found_ends_with_its_ttl(stage: Stage, kind: str) -> None:
    ttl = 4 * HOUR
    if kind == "notice":
        play = await stage.notice(NoticeKind.EXPOSED, ttl, missing={"send_mail"})
    else:
        play = await stage.webhook(ttl, missing={"post_webhook"})
    await play.until(ttl + 2 * SELDOM_SECONDS)
    assert await play.result() == "failed"
    assert lines(play)[0] == f"missing {kind}"
    assert f"over {kind}" in lines(play)
