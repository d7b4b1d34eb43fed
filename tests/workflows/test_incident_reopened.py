"""An incident that is open again after an abandonment: which answer counts, in races of messages."""

import asyncio

import pytest
from support.until import until_async

from octy_workflows.messages import StatusResult
from octy_workflows.order_content import Choice, StaffDecision
from workflows.workflow_harness import Harness, WorkflowRun, on_harness, refused

DAN = StaffDecision("dismiss", "dan", "their own test", order_id="d-2")
EVE = StaffDecision("regenerate", "eve", "the keys leaked", order_id="d-3")
OPEN = StatusResult("needs_staff", None, None)
ABANDONED = "note regeneration_abandoned needs_staff"


async def regenerating(harness: Harness) -> WorkflowRun:
    run = await harness.incident()
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    return run


@on_harness
async def test_new_answer_in_the_activation_of_the_abandonment_is_handled(harness: Harness) -> None:
    run = await regenerating(harness)
    async with run.one_activation():
        await run.regeneration_ends("abandoned")
        await run.answers(Choice.DISMISS)
    assert await run.result() == "false_alarm"
    assert run.records.lines[-2:] == [
        "note regeneration_abandoned",  # no staff is needed
        "close false_alarm",
    ]


@on_harness
async def test_new_regeneration_in_the_activation_of_the_abandonment_replaces_the_keys(harness: Harness) -> None:
    run = await regenerating(harness)
    first = run.records.regeneration_id
    async with run.one_activation():
        await run.regeneration_ends("abandoned")
        await run.answers(Choice.REGENERATE)
    await until_async(lambda: run.records.regeneration_id != first, message=run.records.story)
    await until_async(
        lambda: run.records.story[-1].endswith("note regenerating regenerating"), message=run.records.story
    )
    assert await run.status() == StatusResult("regenerating", "regenerate", "customer")
    details = await run.details()
    assert "Answer: regenerate, decided by customer" in details
    assert "To decide" not in details
    await run.regeneration_ends("done")
    assert await run.result() == "regenerated"


@on_harness
async def test_new_answer_during_the_recording_of_the_abandonment_is_handled(harness: Harness) -> None:
    run = await regenerating(harness)
    run.records.slow["regeneration_abandoned"] = noting = asyncio.Event()
    await run.regeneration_ends("abandoned")
    await run.wait_until_idle(but="record_incident_event")
    await run.answers(Choice.DISMISS)
    noting.set()
    assert await run.result() == "false_alarm"


@pytest.mark.parametrize("together", [True, False], ids=["in_one_activation", "apart"])
@on_harness
async def test_answer_signaled_before_the_abandonment_is_ignored(harness: Harness, together: bool) -> None:
    run = await regenerating(harness)
    if together:
        async with run.one_activation():
            await run.signal("customer_answered")  # told again
            await run.regeneration_ends("abandoned")
    else:
        await run.signal("customer_answered")  # told again
        await run.wait_until_idle()
        await run.regeneration_ends("abandoned")
    await run.wait_for_line(ABANDONED)
    assert await run.status() == OPEN
    details = await run.details()
    assert "To decide" in details
    assert "Answer:" not in details
    await run.orders(DAN)
    assert await run.result() == "false_alarm"


@on_harness
async def test_answer_without_signal_is_found_with_the_next_decision(harness: Harness) -> None:
    run = await regenerating(harness)
    await run.regeneration_ends("abandoned")
    await run.wait_for_line(ABANDONED)
    run.records.customer_says(Choice.DISMISS)
    await run.orders_by_signal(StaffDecision("regenerate", "eve", "called them"))
    assert await run.result() == "false_alarm"


@pytest.mark.parametrize("together", [True, False], ids=["in_one_activation", "apart"])
@on_harness
async def test_repeated_abandonment_does_not_change_the_new_answer(harness: Harness, together: bool) -> None:
    run = await regenerating(harness)
    run.records.ends("abandoned")
    run.records.customer_says(Choice.REGENERATE, leaked=True)
    if together:
        async with run.one_activation():
            await run.signal("regeneration_finished", "customer_answered", "regeneration_finished")
    else:
        for signal in ("regeneration_finished", "customer_answered", "regeneration_finished"):
            await run.signal(signal)
            await run.wait_until_idle()
    await run.wait_for_line("regenerate leaked")
    await run.wait_until_idle()
    assert await run.status() == StatusResult("regenerating", "regenerate", "customer")


@on_harness
async def test_decision_in_the_activation_of_the_abandonment_is_handled(harness: Harness) -> None:
    run = await regenerating(harness)
    async with run.one_activation():
        await run.regeneration_ends("abandoned")
        await run.orders_by_signal(DAN)
    assert await run.result() == "false_alarm"
    assert not any("decision_refused" in line for line in run.records.story)


@pytest.mark.parametrize("faster", ["customer", "staff"])
@on_harness
async def test_first_new_answer_in_sql_wins_between_staff_and_customer(harness: Harness, faster: str) -> None:
    run = await regenerating(harness)
    async with run.one_activation():
        await run.regeneration_ends("abandoned")
        await run.orders_by_signal(DAN)
        if faster == "customer":
            await run.answers(Choice.REGENERATE)
    if faster == "staff":
        assert await run.result() == "false_alarm"
        return
    await run.wait_for_line("note decision_refused")
    await run.wait_until_idle()
    assert await run.status() == StatusResult("regenerating", "regenerate", "customer")
    assert sum(isinstance(step, StaffDecision) for step in run.records.inputs) <= 1


@on_harness
async def test_decision_between_the_abandonment_and_the_repeated_old_answer_is_handled(harness: Harness) -> None:
    run = await regenerating(harness)
    deciding = asyncio.Event()
    await run.regeneration_ends("abandoned")
    await run.wait_for_line(ABANDONED)
    run.records.slow["close_incident"] = deciding
    await run.orders(DAN)
    await run.signal("customer_answered")  # told again
    deciding.set()
    assert await run.result() == "false_alarm"


@on_harness
async def test_incidents_that_supersede_each_other_end(harness: Harness) -> None:
    run = await regenerating(harness)
    for _ in range(3):
        before = run.records.regeneration_id
        await run.regeneration_ends("superseded")
        await until_async(lambda before=before: run.records.regeneration_id != before, message=run.records.story)
        await run.wait_until_idle()
    await run.regeneration_ends("superseded")
    assert await run.result() == "regenerated"
    assert len(run.when("note superseded")) == 4


@on_harness
async def test_reported_leak_cannot_be_dismissed_after_an_abandonment(harness: Harness) -> None:
    run = await harness.incident()
    await run.answers(Choice.REGENERATE, leaked=True)
    await run.wait_for_line("note regenerating regenerating")
    await run.regeneration_ends("abandoned")
    await run.wait_for_line(ABANDONED)
    error = await refused(run.orders(DAN))
    assert "can't be dismissed" in error.message
    assert (await run.orders(EVE)).accepted
