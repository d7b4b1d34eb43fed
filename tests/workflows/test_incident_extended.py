"""Extensions of an incident: deadlines to the second, who may extend and when, and races with the old end."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from temporalio.client import WorkflowUpdateFailedError

from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import DAY, ExtendedDeadlines, IncidentTimes, StatusResult
from octy_workflows.order_content import Choice, StaffDecision, StaffExtension
from workflows.workflow_harness import SLACK, Harness, WorkflowRun, on_harness, refused

WEEK = StaffExtension(7, "eve", "on holiday until Monday", order_id="e-1")
DAN = StaffDecision("dismiss", "dan", "their own test", order_id="d-2")
STAFF_TASK, END = "note no_answer needs_staff", "close unanswered"
OPEN_AGAIN = StatusResult("waiting", None, None)


async def extend(run: WorkflowRun, said: StaffExtension = WEEK) -> ExtendedDeadlines:
    extended: ExtendedDeadlines = await run.orders(said)
    return extended


@pytest.mark.parametrize(
    ("due", "line", "before"),
    [
        pytest.param(14 * DAY, STAFF_TASK, [], id="staff_task_after_14_days_instead_of_7"),
        pytest.param(21 * DAY, END, [STAFF_TASK], id="closed_after_21_days_instead_of_14"),
    ],
)
@on_harness
async def test_extended_deadline_is_kept_to_the_second(
    harness: Harness, due: float, line: str, before: list[str]
) -> None:
    run = await harness.incident()
    await run.wait_for_line("mail alert-1")
    extended = await extend(run)
    start = run.records.start
    assert (extended.staff_at - start, extended.close_at - start) == pytest.approx((14 * DAY, 21 * DAY), abs=0.01)
    await run.advance_to(due - 1)
    assert [moment for moment in run.when(line) if moment < due] == []
    await run.advance_to(due + 1)
    await run.wait_for_line(line)
    [moment] = run.when(line)
    assert due <= moment < due + SLACK
    assert [told for told in before if not run.when(told)] == []


@on_harness
async def test_extended_unanswered_incident_waits_again_and_needs_staff_later(harness: Harness) -> None:
    run = await harness.incident()
    await run.advance_to(8 * DAY)
    assert (await run.status()).state == "needs_staff"
    extended = await extend(run)  # said on day 8, so staff is told again on day 15; the end is on day 21
    assert await run.status() == OPEN_AGAIN
    assert "Support staff is needed" not in await run.details()
    assert extended.staff_at - run.records.start == pytest.approx(15 * DAY, abs=SLACK)
    await run.advance_to(15 * DAY + SLACK)
    assert len(run.when(STAFF_TASK)) == 2
    assert [note.key for note in run.records.events("no_answer")] == ["no_answer", f"no_answer-{extended.staff_at:.0f}"]
    await run.advance_to(21 * DAY - 1)
    assert run.when(END) == []
    await run.advance_to(21 * DAY + 1)
    assert await run.result() == "unanswered"


@on_harness
async def test_extension_is_recorded_with_actor_days_and_reason(harness: Harness) -> None:
    run = await harness.incident()
    extended = await extend(run)
    [note] = run.records.events("extended")
    assert (note.actor, note.key, note.state) == ("eve", "extended-e-1", None)
    ends = {"staff_at": int(extended.staff_at), "ends_at": int(extended.close_at)}
    assert note.detail == {"days": 7, **ends, "reason": WEEK.reason}


@on_harness
async def test_extension_by_signal_has_the_same_effect(harness: Harness) -> None:
    run = await harness.incident()
    await run.orders_by_signal(WEEK)
    await run.wait_for_line("note extended")
    await run.advance_to(15 * DAY)
    assert run.when(END) == []
    await run.advance_to(21 * DAY + 1)
    assert await run.result() == "unanswered"


@on_harness
async def test_repeated_extension_moves_the_end_once(harness: Harness) -> None:
    run = await harness.incident()
    first = await extend(run)
    assert await extend(run) == first
    await run.orders_by_signal(WEEK)
    await run.wait_until_idle()
    assert len(run.records.events("extended")) == 1
    second = await extend(run, replace(WEEK, order_id="e-2"))
    assert second.close_at - first.close_at == pytest.approx(7 * DAY)


@on_harness
async def test_extensions_are_limited_to_90_days(harness: Harness) -> None:
    run = await harness.incident()
    await extend(run, replace(WEEK, days=80))
    error = await refused(extend(run, replace(WEEK, days=11, order_id="e-2")))
    assert (error.type, "10 are left" in error.message) == ("Invalid", True)
    await extend(run, replace(WEEK, days=10, order_id="e-3"))
    await run.advance_to(104 * DAY - 1)
    assert run.when(END) == []
    await run.advance_to(104 * DAY + 1)
    assert await run.result() == "unanswered"


@on_harness
async def test_extension_of_an_answered_incident_is_refused_and_a_late_signal_is_audited(harness: Harness) -> None:
    run = await harness.incident()
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    error = await refused(extend(run, WEEK))  # by the validator, without an activity; the order stays unused
    assert (error.type, "there is an answer: regenerate, decided by customer" in error.message) == ("TooLate", True)
    await run.orders_by_signal(WEEK)
    await run.wait_for_line("note extension_refused")
    [note] = run.records.events("extension_refused")
    assert (note.actor, note.key) == ("eve", "refused-e-1")
    assert note.detail == {"days": 7, "reason": WEEK.reason, "why": error.message}


@on_harness
async def test_extension_after_an_abandonment_is_refused(harness: Harness) -> None:
    run = await harness.incident()
    await run.answers(Choice.REGENERATE)
    await run.wait_for_line("note regenerating regenerating")
    await run.regeneration_ends("abandoned")
    await run.wait_for_line("note regeneration_abandoned needs_staff")
    error = await refused(extend(run, WEEK))
    assert (error.type, "has no deadline any more" in error.message) == ("TooLate", True)


@on_harness
async def test_customer_answer_after_the_old_end_is_accepted(harness: Harness) -> None:
    run = await harness.incident()
    await extend(run)
    await run.advance_to(15 * DAY)
    await run.answers(Choice.DISMISS)
    assert await run.result() == "false_alarm"


@on_harness
async def test_extension_requested_before_the_end_keeps_the_incident_open(harness: Harness) -> None:
    """Both wait for a decision that SQL has not heard of yet, and that comes to nothing."""
    taking = asyncio.Event()
    times = IncidentTimes(remind_after=(), staff_after=0.1, close_after=1.0)
    run = await harness.incident(times, slow={"record_decision": taking}, broken={"record_decision"})
    await run.wait_for_line(STAFF_TASK)
    deciding = await run.start_update(KeyIncidentWorkflow.decide, run.records.order(DAN))
    extending = await run.start_update(KeyIncidentWorkflow.extend, run.records.order(WEEK))
    await asyncio.sleep(1.0)
    taking.set()
    with pytest.raises(WorkflowUpdateFailedError):
        await deciding.result()
    assert (await extending.result()).close_at - run.records.start == pytest.approx(7 * DAY + 1, abs=0.1)
    await run.wait_until_idle()
    assert run.when(END) == []
    assert await run.status() == OPEN_AGAIN


@on_harness
async def test_extension_during_the_close_is_refused(harness: Harness) -> None:
    closing = asyncio.Event()
    run = await harness.incident(slow={"close_incident": closing})
    await run.advance_to(14 * DAY + 1)
    await run.wait_until_idle(but="close_incident")
    asking = await run.start_update(KeyIncidentWorkflow.extend, run.records.order(WEEK))
    closing.set()
    error = await refused(asking.result())
    assert "the incident is closed as unanswered: no answer" in error.message
    assert await run.result() == "unanswered"


# Customer, staff and silence at one and the same moment


@pytest.mark.parametrize("first", ["customer", "staff"])
@on_harness
async def test_first_answer_in_sql_wins_at_the_end(harness: Harness, first: str) -> None:
    closing = asyncio.Event()
    run = await harness.incident(slow={"close_incident": closing})
    await run.advance_to(14 * DAY + 1)
    await run.wait_until_idle(but="close_incident")  # silence is about to end the incident, and SQL has not heard of it
    if first == "customer":
        run.records.customer_says(Choice.REGENERATE)
    deciding = await run.start_update(KeyIncidentWorkflow.decide, run.records.order(DAN))
    if first == "customer":
        await run.signal("customer_answered")
    closing.set()
    error = await refused(deciding.result())
    if first == "customer":  # silence found the answer, and so did staff
        assert "decided by customer" in error.message
        await run.wait_for_line("note regenerating regenerating")
        assert run.when(END) == []
    else:  # silence was asked for before the decision, which found the incident closed
        assert "closed as unanswered" in error.message
        assert await run.result() == "unanswered"


@on_harness
async def test_customer_and_staff_in_one_activation_at_the_end_give_one_answer(harness: Harness) -> None:
    """Whichever comes first, and whatever silence does; all at one time, as each waits for its end in real seconds."""
    due = 5.0  # real seconds after the start: a busy machine needs some until the worker is kept busy
    times = IncidentTimes(remind_after=(), staff_after=0.2, close_after=due)
    cases = {
        (silence, first): await harness.incident(replace(times, regenerate_on_silence=silence == "regenerates"))
        for silence in ("closes", "regenerates")
        for first in ("customer", "staff")
    }
    for run in cases.values():
        await run.wait_for_line(STAFF_TASK)
        await run.wait_until_idle()  # before the worker is kept busy, for all of them
    async with AsyncExitStack() as one_activation_each:
        for (_, first), run in cases.items():
            await one_activation_each.enter_async_context(run.one_activation())
            if first == "customer":
                await run.answers(Choice.DISMISS)
                await run.orders_by_signal(replace(DAN, decision="regenerate"))
            else:
                await run.orders_by_signal(DAN)
                await run.answers(Choice.DISMISS)
            assert await run.now() < run.records.start + due
        for run in cases.values():  # the end falls due while the worker is busy
            await asyncio.sleep(max(0.0, run.records.start + due + 0.2 - await run.now()))
    for case, run in cases.items():
        assert await run.result() == "false_alarm", case
        assert len([line for line in run.records.story if "close" in line]) == 1, case
        assert not any("regenerate" in line and "take" not in line for line in run.records.story), case


# An incident that is started again


@on_harness
async def test_restarted_incident_keeps_its_extended_end(harness: Harness) -> None:
    times = IncidentTimes(remind_after=(), staff_after=7 * DAY, close_after=14 * DAY)
    start = time.time()
    again = ExtendedDeadlines(start + 30 * DAY, start + 100 * DAY)
    run = await harness.incident(times, earlier={"deadlines": again})
    error = await refused(extend(run, WEEK))
    assert (error.type, "4 are left" in error.message) == ("Invalid", True)
    await run.advance_to(30 * DAY - 60)
    assert run.when(STAFF_TASK) == []
    await run.advance_to(100 * DAY - 60)
    assert len(run.when(STAFF_TASK)) == 1
    assert run.when(END) == []
    await run.advance_to(100 * DAY + 60)
    assert await run.result() == "unanswered"
