"""The paths of an incident, as a table: the events, and the story that follows."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from support.until import until_async

from octy_workflows.messages import DAY, HOUR, IncidentTimes
from octy_workflows.order_content import Choice, StaffDecision
from workflows.workflow_harness import Event, Harness, WorkflowRun, at, on_harness, wait_for_line

OPENED = "0h note opened waiting"
ALERT = "0h mail alert-1"
REMINDED = ("24h mail reminder-1", "72h mail reminder-2")
SILENT_FOR_14_DAYS = (OPENED, ALERT, *REMINDED, "168h note no_answer needs_staff")
EVE = StaffDecision("regenerate", "eve", "called them", order_id="d-1")
DAN = StaffDecision("dismiss", "dan", "their own test", order_id="d-2")


@dataclass(frozen=True)
class Path:
    """A row: what happens in order, the whole story, and how the incident is closed (or "" while it is open)."""

    name: str
    happens: list[Event]
    story: list[str]
    closed: str = ""
    times: IncidentTimes = field(default_factory=IncidentTimes)
    records: dict[str, Any] = field(default_factory=dict)


def customer(choice: Choice, *, leaked: bool = False) -> Event:
    return lambda run: run.answers(choice, leaked=leaked)


async def told_again(run: WorkflowRun) -> None:
    """The outbox delivers the customer's answer once more."""
    await run.signal("customer_answered")


def at_once(*events: Event) -> Event:
    """The workflow hears of all this in one activation."""

    async def happens(run: WorkflowRun) -> None:
        async with run.one_activation():
            for event in events:
                await event(run)

    return happens


def customer_clicks_unheard(choice: Choice) -> Event:
    """SQL has the answer; its signal is still in the outbox."""

    async def clicks(run: WorkflowRun) -> None:
        run.records.customer_says(choice)

    return clicks


def update(decision: StaffDecision) -> Event:
    return lambda run: run.orders(decision)


def signal(decision: StaffDecision) -> Event:
    return lambda run: run.orders_by_signal(decision)


def grows(failures: int) -> Event:
    async def grew(run: WorkflowRun) -> None:
        run.records.failures = failures
        await run.signal("failures_increased")

    return grew


def regeneration(state: str, *, later: str = "") -> Event:
    """The regeneration under way ends; `later` is the one that takes its place."""

    async def ends(run: WorkflowRun) -> None:
        await run.wait_for_line("note regenerating regenerating")
        run.records.later_id = later
        await run.regeneration_ends(state)

    return ends


def rejoined(regeneration_id: str) -> Event:
    """The incident waits for this regeneration."""

    async def waits(run: WorkflowRun) -> None:
        key = f"regenerating-{regeneration_id}"
        await until_async(
            lambda: any(getattr(told, "key", "") == key for told in run.records.inputs), message=run.records.inputs
        )

    return waits


PATHS = [
    Path(
        "customer_says_it_was_us",
        [at(5 * HOUR), customer(Choice.DISMISS)],
        [OPENED, ALERT, "5h close false_alarm"],
        "false_alarm",
    ),
    Path(
        "customer_says_not_us",
        [at(5 * HOUR), customer(Choice.REGENERATE), at(9 * HOUR), regeneration("done")],
        [OPENED, ALERT, "5h regenerate", "5h note regenerating regenerating", "9h close regenerated"],
        "regenerated",
    ),
    Path(
        "customer_says_not_us_and_leaked",
        [at(5 * HOUR), customer(Choice.REGENERATE, leaked=True), regeneration("done")],
        [OPENED, ALERT, "5h regenerate leaked", "5h note regenerating regenerating", "5h close regenerated"],
        "regenerated",
    ),
    Path(
        "no_reminder_and_no_staff_task_after_the_answer",
        [at(5 * HOUR), customer(Choice.REGENERATE), at(10 * DAY), regeneration("done")],
        [OPENED, ALERT, "5h regenerate", "5h note regenerating regenerating", "240h close regenerated"],
        "regenerated",
    ),
    Path(
        "customer_answers_between_the_reminders",
        [at(30 * HOUR), customer(Choice.DISMISS)],
        [OPENED, ALERT, REMINDED[0], "30h close false_alarm"],
        "false_alarm",
    ),
    Path(
        "an_answer_told_twice_is_one",
        [at(5 * HOUR), customer(Choice.REGENERATE), told_again, regeneration("done")],
        [OPENED, ALERT, "5h regenerate", "5h note regenerating regenerating", "5h close regenerated"],
        "regenerated",
    ),
    Path(
        "a_superseded_regeneration_delivered_nothing_so_the_case_joins_the_later_one",
        [
            *(at(5 * HOUR), customer(Choice.REGENERATE), regeneration("superseded", later="r-of-staff")),
            *(rejoined("r-of-staff"), at(30 * HOUR), regeneration("done")),
        ],
        [
            *(OPENED, ALERT, "5h regenerate", "5h note regenerating regenerating", "5h note superseded"),
            *("5h regenerate", "5h note regenerating regenerating", "30h close regenerated"),
        ],
        "regenerated",
    ),
    Path(
        "a_later_regeneration_that_is_abandoned_calls_staff",
        [
            *(at(5 * HOUR), customer(Choice.REGENERATE), regeneration("superseded", later="r-of-staff-2")),
            *(rejoined("r-of-staff-2"), regeneration("abandoned")),
            *(wait_for_line("note regeneration_abandoned needs_staff"), update(DAN)),
        ],
        [
            *(OPENED, ALERT, "5h regenerate", "5h note regenerating regenerating", "5h note superseded"),
            *("5h regenerate", "5h note regenerating regenerating", "5h note regeneration_abandoned needs_staff"),
            *("5h take dismiss of dan", "5h close false_alarm"),
        ],
        "false_alarm",
    ),
    Path(
        "no_answer_in_14_days",
        [at(15 * DAY)],
        [*SILENT_FOR_14_DAYS, "336h close unanswered"],
        "unanswered",
    ),
    Path(
        "no_answer_where_silence_regenerates",
        [at(14 * DAY), regeneration("done")],
        [
            *SILENT_FOR_14_DAYS,
            *("336h take regenerate of system", "336h regenerate", "336h note regenerating regenerating"),
            "336h close regenerated",
        ],
        "regenerated",
        times=IncidentTimes(regenerate_on_silence=True),
    ),
    Path(
        "customer_clicks_in_the_last_moment_before_the_end",
        [at(13 * DAY), customer_clicks_unheard(Choice.REGENERATE), at(14 * DAY), regeneration("done")],
        [*SILENT_FOR_14_DAYS, "336h regenerate", "336h note regenerating regenerating", "336h close regenerated"],
        "regenerated",
    ),
    Path(
        "customer_clicks_in_the_last_moment_before_silence_regenerates",
        [at(13 * DAY), customer_clicks_unheard(Choice.DISMISS), at(14 * DAY)],
        [*SILENT_FOR_14_DAYS, "336h take regenerate of system", "336h close false_alarm"],
        "false_alarm",
        times=IncidentTimes(regenerate_on_silence=True),
    ),
    Path(
        "a_staff_task_later_than_the_end_does_not_delay_the_end",
        [at(3 * HOUR)],
        [OPENED, ALERT, "2h note no_answer needs_staff", "2h close unanswered"],
        "unanswered",
        times=IncidentTimes(remind_after=(), staff_after=5 * HOUR, close_after=2 * HOUR),
    ),
    Path(
        "staff_regenerates_by_update",
        [at(HOUR), update(EVE), regeneration("done")],
        [
            *(OPENED, ALERT, "1h take regenerate of eve", "1h regenerate"),
            *("1h note regenerating regenerating", "1h close regenerated"),
        ],
        "regenerated",
    ),
    Path(
        "staff_dismisses_by_update",
        [at(HOUR), update(DAN)],
        [OPENED, ALERT, "1h take dismiss of dan", "1h close false_alarm"],
        "false_alarm",
    ),
    Path(
        "staff_regenerates_by_signal",
        [at(HOUR), signal(EVE), regeneration("done")],
        [
            *(OPENED, ALERT, "1h take regenerate of eve", "1h regenerate"),
            *("1h note regenerating regenerating", "1h close regenerated"),
        ],
        "regenerated",
    ),
    Path(
        "staff_decides_long_after_the_staff_task",
        [at(8 * DAY), signal(DAN)],
        [*SILENT_FOR_14_DAYS, "192h take dismiss of dan", "192h close false_alarm"],
        "false_alarm",
    ),
    Path(
        "a_late_signal_of_staff_is_answered_and_changes_nothing",
        [
            *(at(HOUR), update(EVE), wait_for_line("note regenerating regenerating")),
            *(signal(DAN), wait_for_line("note decision_refused"), regeneration("done")),
        ],
        [
            *(OPENED, ALERT, "1h take regenerate of eve", "1h regenerate", "1h note regenerating regenerating"),
            *("1h note decision_refused", "1h close regenerated"),
        ],
        "regenerated",
    ),
    Path(
        "a_repeated_decision_changes_nothing",
        [at(HOUR), update(EVE), update(EVE), regeneration("done")],
        [
            *(OPENED, ALERT, "1h take regenerate of eve", "1h regenerate"),
            *("1h note regenerating regenerating", "1h close regenerated"),
        ],
        "regenerated",
    ),
    Path(
        "an_alert_that_fails_for_good_calls_staff_who_can_still_decide",
        [wait_for_line("note mail_failed needs_staff"), update(DAN)],
        [
            *(OPENED, "0h mail alert-1 failed", "0h note mail_failed needs_staff"),
            *("0h take dismiss of dan", "0h close false_alarm"),
        ],
        "false_alarm",
        records={"mail_ends": {"alert-1": ["failed"]}},
    ),
    Path(
        "an_alert_that_fails_for_good_leaves_the_customer_free_to_answer",
        [at(2 * DAY), customer(Choice.DISMISS)],
        [
            *(OPENED, "0h mail alert-1 failed", "0h note mail_failed needs_staff"),
            *(REMINDED[0], "24h note staff_not_needed waiting", "48h close false_alarm"),
        ],
        "false_alarm",
        records={"mail_ends": {"alert-1": ["failed"]}},
    ),
    Path(
        "a_sender_that_gives_up_counts_as_failed",
        [wait_for_line("note mail_failed needs_staff"), update(DAN)],
        [
            *(OPENED, "0h note mail_failed needs_staff"),
            *("0h take dismiss of dan", "0h close false_alarm"),
        ],
        "false_alarm",
        records={"broken": {"send_mail"}},
    ),
    Path(
        "reminder_withheld_by_the_cap_calls_staff_and_is_ordered_again_next_day",
        [at(80 * HOUR), customer(Choice.DISMISS)],
        [
            *(OPENED, "0h mail alert-1", "24h mail reminder-1 withheld", "24h note mail_withheld needs_staff"),
            *("48h mail reminder-1", "48h note staff_not_needed waiting", REMINDED[1], "80h close false_alarm"),
        ],
        "false_alarm",
        records={"mail_ends": {"reminder-1": ["withheld"]}},
    ),
    Path(
        "answer_ends_the_wait_for_the_cap",
        [at(25 * HOUR), customer(Choice.REGENERATE), at(3 * DAY), regeneration("done")],
        [
            *(OPENED, "0h mail alert-1", "24h mail reminder-1 withheld", "24h note mail_withheld needs_staff"),
            *("25h regenerate", "25h note regenerating regenerating", "72h close regenerated"),
        ],
        "regenerated",
        records={"mail_ends": {"reminder-1": ["withheld"]}},
    ),
    Path(
        "alert_that_joins_others_is_ordered_again_after_its_delay",
        [at(2 * HOUR), customer(Choice.DISMISS)],
        [
            *(OPENED, "0h mail alert-1 grouped", "0h note mail_delayed", "0.1h mail alert-1"),
            "2h close false_alarm",
        ],
        "false_alarm",
        records={"mail_ends": {"alert-1": ["grouped"]}},
    ),
    Path(
        "held_alert_calls_staff_once_until_it_is_sent",
        [at(2 * HOUR), customer(Choice.DISMISS)],
        [
            *(OPENED, "0h mail alert-1 held", "0h note alert_held needs_staff", "0.1h mail alert-1 held"),
            *("0.2h mail alert-1", "0.2h note staff_not_needed waiting", "2h close false_alarm"),
        ],
        "false_alarm",
        records={"mail_ends": {"alert-1": ["held", "held"]}},
    ),
    Path(
        "answer_ends_the_delay_of_an_alert",
        [wait_for_line("note alert_held needs_staff"), update(DAN)],
        [
            *(OPENED, "0h mail alert-1 held", "0h note alert_held needs_staff"),
            "0h take dismiss of dan",
            "0h close false_alarm",
        ],
        "false_alarm",
        records={"mail_ends": {"alert-1": ["held"]}},
    ),
    Path(
        "growth_is_noted_and_sends_no_mail",
        [at(HOUR), grows(40), wait_for_line("note failures_increased"), grows(80), at(2 * HOUR)],
        [OPENED, ALERT, "1h note failures_increased", "1h note failures_increased"],
    ),
    Path(
        "after_an_abandoned_regeneration_staff_regenerates_again",
        [
            *(at(HOUR), customer(Choice.REGENERATE), at(15 * DAY), regeneration("abandoned")),
            *(wait_for_line("note regeneration_abandoned needs_staff"), at(30 * DAY), update(EVE)),
            *(wait_for_line("take regenerate of eve"), at(31 * DAY), regeneration("done")),
        ],
        [
            *(OPENED, ALERT, "1h regenerate", "1h note regenerating regenerating"),
            *("360h note regeneration_abandoned needs_staff", "720h take regenerate of eve", "720h regenerate"),
            *("720h note regenerating regenerating", "744h close regenerated"),
        ],
        "regenerated",
    ),
    Path(
        "after_an_abandoned_regeneration_the_customer_may_answer_again",
        [
            *(at(HOUR), customer(Choice.REGENERATE), at(15 * DAY), regeneration("abandoned")),
            *(wait_for_line("note regeneration_abandoned needs_staff"), customer(Choice.DISMISS)),
        ],
        [
            *(OPENED, ALERT, "1h regenerate", "1h note regenerating regenerating"),
            *("360h note regeneration_abandoned needs_staff", "360h close false_alarm"),
        ],
        "false_alarm",
    ),
    Path(
        "after_an_abandoned_regeneration_staff_dismisses",
        [
            *(at(HOUR), update(EVE), regeneration("abandoned")),
            *(wait_for_line("note regeneration_abandoned needs_staff"), update(DAN)),
        ],
        [
            *(OPENED, ALERT, "1h take regenerate of eve", "1h regenerate", "1h note regenerating regenerating"),
            *("1h note regeneration_abandoned needs_staff", "1h take dismiss of dan", "1h close false_alarm"),
        ],
        "false_alarm",
    ),
]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in PATHS])
@on_harness
async def test_path(harness: Harness, path: Path) -> None:
    run = await harness.incident(path.times, **path.records)
    await run.wait_for_line("note opened waiting")
    for event in path.happens:
        await event(run)
    if path.closed:
        assert await run.result() == path.closed
        assert run.records.resolution == path.closed
    await run.check_story(*path.story)
