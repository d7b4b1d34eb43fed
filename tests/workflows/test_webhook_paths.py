"""The paths of a webhook: the results of its attempts, and the end that follows."""

import json
from typing import Any

import pytest
from support.until import until_async
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from octy_workflows.messages import DAY, HOUR, webhook_workflow_id
from workflows.workflow_harness import SLACK, Harness, on_harness

NEVER = ["down"] * 1000


@pytest.mark.parametrize(
    ("posts", "story", "ended", "shown"),
    [
        ([], ["0h post sent"], "sent", "**Accepted by the customer's server**"),
        (["failed"], ["0h post failed"], "failed", "**Given up**"),
        (["skipped"], ["0h post skipped"], "skipped", "**Not sent: no webhook URL, or webhooks are off**"),
    ],
)
@on_harness
async def test_webhook_ends_with_the_result_of_its_activity(
    harness: Harness, posts: list[str], story: list[str], ended: str, shown: str
) -> None:
    run = await harness.webhook(posts=list(posts))
    assert await run.result() == ended
    await run.check_story(*story)
    details = await run.details()
    assert shown in details
    assert ("a-code" in details) is (ended != "sent")


@on_harness
async def test_unavailable_webhook_server_is_tried_again_within_the_hour(harness: Harness) -> None:
    run = await harness.webhook(posts=["down"] * 14)  # 1 s, 2 s, … 4096 s is cut to an hour
    await until_async(lambda: run.records.attempts["post"] > 0, message=run.records.attempts)
    await run.advance_to(6 * HOUR)
    assert await run.result() == "sent"
    assert run.records.attempts["post"] == 15


@on_harness
async def test_webhook_retries_end_with_its_ttl_and_not_before(harness: Harness) -> None:
    run = await harness.webhook(posts=list(NEVER))
    await until_async(lambda: run.records.attempts["post"] > 0, message=run.records.attempts)
    await run.advance_to(3 * DAY - 2 * HOUR)  # the last try is that after which no other would fit
    assert (await run.handle.describe()).close_time is None
    await run.advance_to(3 * DAY + SLACK)
    assert await run.result() == "failed"
    [line] = run.records.story
    assert line.endswith("give up failed")
    assert run.records.attempts["post"] in range(80, 90)


@on_harness
async def test_webhook_whose_last_try_arrived_is_not_failed(harness: Harness) -> None:
    """Its worker died before it could say so, but not before it wrote it down."""
    run = await harness.webhook(ttl=60.0, posts=list(NEVER), ending="sent")
    await until_async(lambda: run.records.attempts["post"] > 0, message=run.records.attempts)
    await run.advance_to(60 + SLACK)
    assert await run.result() == "sent"


@pytest.mark.parametrize("records", [{}, {"missing": {"post_webhook"}}], ids=["posting", "without_its_row"])
@on_harness
async def test_cancelled_webhook_ends_as_cancelled(harness: Harness, records: dict[str, Any]) -> None:
    run = await harness.webhook(posts=list(NEVER), **records)
    await run.advance_to(HOUR)
    await run.handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert "give up failed" not in run.records.lines


@on_harness
async def test_webhook_history_has_an_id_and_the_event_name_only(harness: Harness) -> None:
    run = await harness.webhook(ttl=HOUR)
    await run.result()
    given = (await run.handle.fetch_history()).events[0].workflow_execution_started_event_attributes
    case = json.loads(given.input.payloads[0].data)
    assert case == {"webhook_id": run.handle.id, "event": "keys.ready", "ttl": HOUR}


def test_each_staff_order_has_its_own_webhook_workflow() -> None:
    assert len({webhook_workflow_id("a", "w", order) for order in (1, 2)}) == 2
