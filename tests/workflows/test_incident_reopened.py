"""The question is open again after an abandonment: whose answer counts then, however closely the messages follow."""

import asyncio

import pytest
from support.until import until_async
from temporalio.client import WorkflowUpdateFailedError

from octy_workflows.incident import KeyIncidentWorkflow as Case
from octy_workflows.messages import StatusResult
from octy_workflows.staff_requests import Choice, StaffDecision
from workflows.workflow_stage import Play, Stage, played

DAN = StaffDecision("dismiss", "dan", "their own test", decision_id="d-2")
EVE = StaffDecision("regenerate", "eve", "the keys leaked", decision_id="d-3")
OPEN = StatusResult("needs_staff", None, None)
ABANDONED = "note regeneration_abandoned needs_staff"


async def regenerating(stage: Stage) -> Play:
    play = await stage.incident()
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    return play


async def abandons(play: Play) -> None:
    await play.regeneration_ends("abandoned")


async def customer_answers(play: Play, choice: Choice = Choice.DISMISS) -> None:
    await play.answers(choice)


async def old_answer_is_told_again(play: Play) -> None:
    await play.told("customer_answered")


@played
async def test_new_answer_in_the_activation_of_the_abandonment_is_handled(stage: Stage) -> None:
    play = await regenerating(stage)
    async with play.one_activation():
        await abandons(play)
        await customer_answers(play)
    assert await play.result() == "false_alarm"
    assert [line.partition(" ")[2] for line in play.books.story[-2:]] == [
        "note regeneration_abandoned",  # nobody of staff is needed
        "close false_alarm",
    ]


@played
async def test_new_regeneration_in_the_activation_of_the_abandonment_replaces_the_keys(stage: Stage) -> None:
    play = await regenerating(stage)
    first = play.books.regeneration_id
    async with play.one_activation():
        await abandons(play)
        await customer_answers(play, Choice.REGENERATE)
    await until_async(lambda: play.books.regeneration_id != first, message=play.books.story)
    await until_async(lambda: play.books.story[-1].endswith("note regenerating regenerating"), message=play.books.story)
    assert await play.handle.query(Case.status) == StatusResult("regenerating", "regenerate", "customer")
    details = await play.details()
    assert "Answer: regenerate, decided by customer" in details
    assert "To decide" not in details
    await play.regeneration_ends("done")
    assert await play.result() == "regenerated"


@played
async def test_new_answer_during_the_recording_of_the_abandonment_is_handled(stage: Stage) -> None:
    play = await regenerating(stage)
    play.books.slow["regeneration_abandoned"] = noting = asyncio.Event()
    await abandons(play)
    await play.rest(but="record_incident_event")
    await customer_answers(play)
    noting.set()
    assert await play.result() == "false_alarm"


@pytest.mark.parametrize("together", [True, False], ids=["in_one_activation", "apart"])
@played
async def test_answer_signaled_before_the_abandonment_is_ignored(stage: Stage, together: bool) -> None:
    play = await regenerating(stage)
    if together:
        async with play.one_activation():
            await old_answer_is_told_again(play)
            await abandons(play)
    else:
        await old_answer_is_told_again(play)
        await play.rest()
        await abandons(play)
    await play.comes(ABANDONED)
    assert await play.handle.query(Case.status) == OPEN
    details = await play.details()
    assert "To decide" in details
    assert "Answer:" not in details
    await play.orders(DAN)
    assert await play.result() == "false_alarm"


@played
async def test_answer_without_signal_is_found_with_the_next_decision(stage: Stage) -> None:
    play = await regenerating(stage)
    await abandons(play)
    await play.comes(ABANDONED)
    play.books.customer_says(Choice.DISMISS)
    await play.orders_by_signal(StaffDecision("regenerate", "eve", "called them"))
    assert await play.result() == "false_alarm"


@pytest.mark.parametrize("together", [True, False], ids=["in_one_activation", "apart"])
@played
async def test_repeated_abandonment_does_not_change_the_new_answer(stage: Stage, together: bool) -> None:
    play = await regenerating(stage)
    play.books.ends("abandoned")
    play.books.customer_says(Choice.REGENERATE, leaked=True)
    if together:
        async with play.one_activation():
            await play.told("regeneration_finished", "customer_answered", "regeneration_finished")
    else:
        for signal in ("regeneration_finished", "customer_answered", "regeneration_finished"):
            await play.told(signal)
            await play.rest()
    await play.comes("regenerate leaked")
    await play.rest()
    assert await play.handle.query(Case.status) == StatusResult("regenerating", "regenerate", "customer")


@played
async def test_decision_in_the_activation_of_the_abandonment_is_handled(stage: Stage) -> None:
    play = await regenerating(stage)
    async with play.one_activation():
        await abandons(play)
        await play.orders_by_signal(DAN)
    assert await play.result() == "false_alarm"
    assert not any("decision_refused" in line for line in play.books.story)


@pytest.mark.parametrize("faster", ["customer", "staff"])
@played
async def test_first_new_answer_in_sql_wins_between_staff_and_customer(stage: Stage, faster: str) -> None:
    play = await regenerating(stage)
    async with play.one_activation():
        await abandons(play)
        await play.orders_by_signal(DAN)
        if faster == "customer":
            await customer_answers(play, Choice.REGENERATE)
    if faster == "staff":
        assert await play.result() == "false_alarm"
        return
    await play.comes("note decision_refused")
    await play.rest()
    assert await play.handle.query(Case.status) == StatusResult("regenerating", "regenerate", "customer")
    assert sum(isinstance(order, StaffDecision) for order in play.books.orders) <= 1


@played
async def test_decision_between_the_abandonment_and_the_repeated_old_answer_is_handled(stage: Stage) -> None:
    play = await regenerating(stage)
    deciding = asyncio.Event()
    await abandons(play)
    await play.comes(ABANDONED)
    play.books.slow["close_incident"] = deciding
    await play.orders(DAN)
    await old_answer_is_told_again(play)
    deciding.set()
    assert await play.result() == "false_alarm"


@played
async def test_incidents_that_supersede_each_other_end(stage: Stage) -> None:
    play = await regenerating(stage)
    for _ in range(3):
        before = play.books.regeneration_id
        await play.regeneration_ends("superseded")
        await until_async(lambda before=before: play.books.regeneration_id != before, message=play.books.story)
        await play.rest()
    await play.regeneration_ends("superseded")
    assert await play.result() == "regenerated"
    assert len(play.when("note superseded")) == 4


@played
async def test_reported_leak_cannot_be_dismissed_after_an_abandonment(stage: Stage) -> None:
    play = await stage.incident()
    await play.answers(Choice.REGENERATE, leaked=True)
    await play.comes("note regenerating regenerating")
    await abandons(play)
    await play.comes(ABANDONED)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await play.orders(DAN)
    assert "can't be dismissed" in str(refused.value.cause)
    assert (await play.orders(EVE)).accepted
