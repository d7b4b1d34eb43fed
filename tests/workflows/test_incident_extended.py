"""More time for a case: later deadlines to the second, who may ask for it and when, and races with the old end."""

import asyncio
import time
from dataclasses import replace

import pytest
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.exceptions import ApplicationError

from octy_workflows.incident import KeyIncidentWorkflow as Case
from octy_workflows.messages import DAY, ExtendedDeadlines, IncidentTimes, RecordIncidentEventInput, StatusResult
from octy_workflows.staff_requests import Choice, StaffDecision, StaffExtension
from workflows.workflow_stage import SLACK, Play, Stage, played

WEEK = StaffExtension(7, "eve", "on holiday until Monday", request_id="e-1")
DAN = StaffDecision("dismiss", "dan", "their own test", decision_id="d-2")
STAFF_TASK, END = "note no_answer needs_staff", "close unanswered"
OPEN_AGAIN = StatusResult("waiting", None, None)


async def extend(play: Play, said: StaffExtension = WEEK) -> ExtendedDeadlines:
    extended: ExtendedDeadlines = await play.orders(said)
    return extended


async def refused(play: Play, said: StaffExtension) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await extend(play, said)
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


def notes(play: Play, what: str) -> list[RecordIncidentEventInput]:
    return [order for order in play.books.orders if isinstance(order, RecordIncidentEventInput) and order.event == what]


@pytest.mark.parametrize(
    ("due", "line", "before"),
    [
        pytest.param(14 * DAY, STAFF_TASK, [], id="staff_task_after_14_days_instead_of_7"),
        pytest.param(21 * DAY, END, [STAFF_TASK], id="closed_after_21_days_instead_of_14"),
    ],
)
@played
async def test_extended_deadline_is_kept_to_the_second(stage: Stage, due: float, line: str, before: list[str]) -> None:
    play = await stage.incident()
    await play.comes("mail alert-1")
    extended = await extend(play)
    start = play.books.start
    assert (extended.staff_at - start, extended.close_at - start) == pytest.approx((14 * DAY, 21 * DAY), abs=0.01)
    await play.until(due - 1)
    assert [moment for moment in play.when(line) if moment < due] == []
    await play.until(due + 1)
    await play.comes(line)
    [moment] = play.when(line)
    assert due <= moment < due + SLACK
    assert [told for told in before if not play.when(told)] == []


@played
async def test_extended_unanswered_incident_waits_again_and_needs_staff_later(stage: Stage) -> None:
    play = await stage.incident()
    await play.until(8 * DAY)
    assert (await play.handle.query(Case.status)).state == "needs_staff"
    extended = await extend(play)  # said on day 8, so staff is told again on day 15; the end is on day 21
    assert await play.handle.query(Case.status) == OPEN_AGAIN
    assert "Support staff is needed" not in await play.details()
    assert extended.staff_at - play.books.start == pytest.approx(15 * DAY, abs=SLACK)
    await play.until(15 * DAY + SLACK)
    assert len(play.when(STAFF_TASK)) == 2
    assert [note.key for note in notes(play, "no_answer")] == ["no_answer", f"no_answer-{extended.staff_at:.0f}"]
    await play.until(21 * DAY - 1)
    assert play.when(END) == []
    await play.until(21 * DAY + 1)
    assert await play.result() == "unanswered"


@played
async def test_extension_is_recorded_with_actor_days_and_reason(stage: Stage) -> None:
    play = await stage.incident()
    extended = await extend(play)
    [note] = notes(play, "extended")
    assert (note.actor, note.key, note.state) == ("eve", "extended-e-1", None)
    ends = {"staff_at": int(extended.staff_at), "ends_at": int(extended.close_at)}
    assert note.detail == {"days": 7, **ends, "reason": WEEK.reason}


@played
async def test_extension_by_signal_has_the_same_effect(stage: Stage) -> None:
    play = await stage.incident()
    await play.orders_by_signal(WEEK)
    await play.comes("note extended")
    await play.until(15 * DAY)
    assert play.when(END) == []
    await play.until(21 * DAY + 1)
    assert await play.result() == "unanswered"


@played
async def test_repeated_extension_moves_the_end_once(stage: Stage) -> None:
    play = await stage.incident()
    first = await extend(play)
    assert await extend(play) == first
    await play.orders_by_signal(WEEK)
    await play.rest()
    assert len(notes(play, "extended")) == 1
    second = await extend(play, replace(WEEK, request_id="e-2"))
    assert second.close_at - first.close_at == pytest.approx(7 * DAY)


@played
async def test_extensions_are_limited_to_90_days(stage: Stage) -> None:
    play = await stage.incident()
    await extend(play, replace(WEEK, days=80))
    error = await refused(play, replace(WEEK, days=11, request_id="e-2"))
    assert (error.type, "10 are left" in error.message) == ("Invalid", True)
    await extend(play, replace(WEEK, days=10, request_id="e-3"))
    await play.until(104 * DAY - 1)
    assert play.when(END) == []
    await play.until(104 * DAY + 1)
    assert await play.result() == "unanswered"


@played
async def test_extension_of_an_answered_incident_is_refused_and_a_late_signal_is_audited(stage: Stage) -> None:
    play = await stage.incident()
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    error = await refused(play, WEEK)  # by the validator, which asks nobody and uses no order
    assert (error.type, "there is an answer: regenerate, decided by customer" in error.message) == ("TooLate", True)
    await play.orders_by_signal(WEEK)
    await play.comes("note extension_refused")
    [note] = notes(play, "extension_refused")
    assert (note.actor, note.key) == ("eve", "refused-e-1")
    assert note.detail == {"days": 7, "reason": WEEK.reason, "why": error.message}


@played
async def test_extension_after_an_abandonment_is_refused(stage: Stage) -> None:
    play = await stage.incident()
    await play.answers(Choice.REGENERATE)
    await play.comes("note regenerating regenerating")
    await play.regeneration_ends("abandoned")
    await play.comes("note regeneration_abandoned needs_staff")
    error = await refused(play, WEEK)
    assert (error.type, "has no deadline any more" in error.message) == ("TooLate", True)


@played
async def test_customer_answer_after_the_old_end_is_accepted(stage: Stage) -> None:
    play = await stage.incident()
    await extend(play)
    await play.until(15 * DAY)
    await play.answers(Choice.DISMISS)
    assert await play.result() == "false_alarm"


@played
async def test_extension_requested_before_the_end_keeps_the_incident_open(stage: Stage) -> None:
    """Both wait for a decision that SQL has not heard of yet, and that comes to nothing."""
    taking = asyncio.Event()
    times = IncidentTimes(remind_after=(), staff_after=0.1, close_after=1.0)
    play = await stage.incident(times, slow={"record_decision": taking}, broken={"record_decision"})
    await play.comes(STAFF_TASK)
    accepted = WorkflowUpdateStage.ACCEPTED
    deciding = await play.handle.start_update(Case.decide, play.books.order(DAN), wait_for_stage=accepted)
    extending = await play.handle.start_update(Case.extend, play.books.order(WEEK), wait_for_stage=accepted)
    await asyncio.sleep(1.0)
    taking.set()
    with pytest.raises(WorkflowUpdateFailedError):
        await deciding.result()
    assert (await extending.result()).close_at - play.books.start == pytest.approx(7 * DAY + 1, abs=0.1)
    await play.rest()
    assert play.when(END) == []
    assert await play.handle.query(Case.status) == OPEN_AGAIN


@played
async def test_extension_during_the_close_is_refused(stage: Stage) -> None:
    closing = asyncio.Event()
    play = await stage.incident(slow={"close_incident": closing})
    await play.until(14 * DAY + 1)
    await play.rest(but="close_incident")
    asking = await play.handle.start_update(
        Case.extend, play.books.order(WEEK), wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    closing.set()
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await asking.result()
    assert "the incident is closed as unanswered: nobody answered" in str(caught.value.cause)
    assert await play.result() == "unanswered"


# Customer, staff and silence at one and the same moment


@pytest.mark.parametrize("first", ["customer", "staff"])
@played
async def test_first_answer_in_sql_wins_at_the_end(stage: Stage, first: str) -> None:
    closing = asyncio.Event()
    play = await stage.incident(slow={"close_incident": closing})
    await play.until(14 * DAY + 1)
    await play.rest(but="close_incident")  # silence is about to end the case, and SQL has not heard of it
    if first == "customer":
        play.books.customer_says(Choice.REGENERATE)
    deciding = await play.handle.start_update(
        Case.decide, play.books.order(DAN), wait_for_stage=WorkflowUpdateStage.ACCEPTED
    )
    if first == "customer":
        await play.told("customer_answered")
    closing.set()
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await deciding.result()
    if first == "customer":  # silence found the answer, and so did staff
        assert "decided by customer" in str(caught.value.cause)
        await play.comes("note regenerating regenerating")
        assert play.when(END) == []
    else:  # silence was asked for before the decision, which found the case closed
        assert "closed as unanswered" in str(caught.value.cause)
        assert await play.result() == "unanswered"


@pytest.mark.parametrize("silence", ["closes", "regenerates"])
@pytest.mark.parametrize("order", ["customer_first", "staff_first"])
@played
async def test_customer_and_staff_in_one_activation_at_the_end_give_one_answer(
    stage: Stage, silence: str, order: str
) -> None:
    due = 4.0  # real seconds after the start: a busy machine needs some until the worker is kept busy
    times = IncidentTimes(remind_after=(), staff_after=0.2, close_after=due, regenerate_on_silence=silence != "closes")
    play = await stage.incident(times)
    await play.comes(STAFF_TASK)
    async with play.one_activation():
        if order == "customer_first":
            await play.answers(Choice.DISMISS)
            await play.orders_by_signal(replace(DAN, decision="regenerate"))
        else:
            await play.orders_by_signal(DAN)
            await play.answers(Choice.DISMISS)
        assert await play.now() < play.books.start + due
        await asyncio.sleep(
            play.books.start + due + 0.2 - await play.now()
        )  # the end falls due while the worker is busy
    assert await play.result() == "false_alarm"
    ends = [line for line in play.books.story if "close" in line]
    assert len(ends) == 1
    assert not any("regenerate" in line and "take" not in line for line in play.books.story)


# A case that is started anew


@played
async def test_restarted_incident_keeps_its_extended_end(stage: Stage) -> None:
    times = IncidentTimes(remind_after=(), staff_after=7 * DAY, close_after=14 * DAY)
    start = time.time()
    again = ExtendedDeadlines(start + 30 * DAY, start + 100 * DAY)
    play = await stage.incident(times, earlier={"deadlines": again})
    error = await refused(play, WEEK)
    assert (error.type, "4 are left" in error.message) == ("Invalid", True)
    await play.until(30 * DAY - 60)
    assert play.when(STAFF_TASK) == []
    await play.until(100 * DAY - 60)
    assert len(play.when(STAFF_TASK)) == 1
    assert play.when(END) == []
    await play.until(100 * DAY + 60)
    assert await play.result() == "unanswered"
