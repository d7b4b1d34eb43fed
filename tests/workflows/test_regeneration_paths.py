"""The paths of a regeneration, as a table; deadlines, resends, and malformed signals."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.service import RPCError

from octy_workflows.messages import DAY, HOUR, DeliveryMethod, RegenerationTimes, StaffAction
from octy_workflows.order_content import StaffResend
from octy_workflows.regeneration import KeyRegenerationWorkflow
from workflows.workflow_harness import SLACK, Event, Harness, WorkflowRun, at, on_harness, refused, wait_for_line

MADE = ("0h issue", "0h prove", "0h activate")
SENT = (*MADE, "0h mail new_keys-1")
RESENT = ("24h renew 2", "24h mail new_keys-2", "72h renew 3", "72h mail new_keys-3")
MAILED = (*MADE, "0h mail new_keys_inside-1")
WARNED = RegenerationTimes(warn_before=6 * HOUR)
RETIRED_ON_DAY_2 = ("1h overlap until 25h", "25h retire", "25h mail keys_retired-1", "25h finish done")


@dataclass(frozen=True)
class Path:
    """A row: what happens in order, the whole story, and how it ended (or "" while it goes on)."""

    name: str
    happens: list[Event]
    story: list[str]
    ended: str = ""
    leaked: bool = False
    replaces: bool = True
    times: RegenerationTimes = field(default_factory=RegenerationTimes)
    delivery_method: DeliveryMethod = DeliveryMethod.LINK
    records: dict[str, Any] = field(default_factory=dict)


async def collects(run: WorkflowRun) -> None:
    """The customer presses the button: SQL has it, and the signal follows."""
    await collects_unheard(run)
    await hears_of_it(run)


async def collects_unheard(run: WorkflowRun) -> None:
    """SQL has it; its signal is still in the outbox."""
    run.records.collected_at = await run.now()


async def hears_of_it(run: WorkflowRun) -> None:
    """The outbox delivers the signal."""
    await run.signal("keys_collected")


async def superseded(run: WorkflowRun) -> None:
    """SQL ends it for a later one, and the signal follows."""
    await superseded_unheard(run)
    await run.signal("superseded")


async def superseded_unheard(run: WorkflowRun) -> None:
    run.records.ending = "superseded"


def goes_on(activity: str) -> Event:
    """An activity that was slow goes on."""

    async def released(run: WorkflowRun) -> None:
        run.records.slow[activity].set()

    return released


async def resend(run: WorkflowRun) -> Any:
    order = run.records.order(StaffResend("eve", "they lost it"), StaffAction.RESEND_KEYS)
    return await run.handle.execute_update(KeyRegenerationWorkflow.resend, order)


PATHS = [
    Path(
        "collected_then_overlap_then_the_old_pair_is_retired",
        [at(HOUR), collects, at(2 * DAY)],
        [*SENT, *RETIRED_ON_DAY_2],
        "done",
    ),
    Path(
        "a_leaked_pair_was_cut_at_once_so_there_is_no_overlap",
        [at(HOUR), collects],
        [*SENT, "1h mail keys_retired-1", "1h finish done"],
        "done",
        leaked=True,
    ),
    Path(
        "a_first_pair_replaces_nothing",
        [at(HOUR), collects],
        [*SENT, "1h finish done"],
        "done",
        replaces=False,
    ),
    Path(
        "the_overlap_is_a_setting",
        [at(HOUR), collects, at(4 * HOUR)],
        [*SENT, "1h overlap until 3h", "3h retire", "3h mail keys_retired-1", "3h finish done"],
        "done",
        times=RegenerationTimes(overlap=2 * HOUR),
    ),
    Path(
        "an_outage_does_not_prolong_the_overlap",
        [at(HOUR), collects_unheard, at(8 * HOUR), hears_of_it, at(2 * DAY)],
        [*SENT, "8h overlap until 25h", "25h retire", "25h mail keys_retired-1", "25h finish done"],
        "done",
    ),
    Path(
        "after_an_outage_longer_than_the_overlap_the_old_pair_is_retired_at_once",
        [at(HOUR), collects_unheard, at(8 * HOUR), hears_of_it],
        [*SENT, "8h overlap until 3h", "8h retire", "8h mail keys_retired-1", "8h finish done"],
        "done",
        times=RegenerationTimes(overlap=2 * HOUR),
    ),
    Path(
        "an_old_pair_cut_meanwhile_is_not_waited_for",
        [at(HOUR), collects],
        [*SENT, "1h overlap until 1h", "1h retire", "1h mail keys_retired-1", "1h finish done"],
        "done",
        records={"retired": True},
    ),
    Path(
        "uncollected_keys_are_sent_again_with_a_fresh_link",
        [at(30 * HOUR), collects, at(3 * DAY)],
        [
            *(*SENT, *RESENT[:2]),
            *("30h overlap until 54h", "54h retire", "54h mail keys_retired-1", "54h finish done"),
        ],
        "done",
    ),
    Path(
        "never_collected_is_abandoned_and_the_old_pair_lives",
        [at(15 * DAY)],
        [*SENT, *RESENT, "168h note not_collected needs_staff", "336h finish abandoned"],
        "abandoned",
    ),
    Path(
        "collected_in_the_last_moment_before_it_is_abandoned",
        [at(13 * DAY), collects_unheard, at(16 * DAY)],
        [
            *(*SENT, *RESENT, "168h note not_collected needs_staff"),
            "336h note staff_not_needed staff_done",
            *("336h overlap until 336h", "336h retire", "336h mail keys_retired-1", "336h finish done"),
        ],
        "done",
    ),
    Path(
        "collected_just_before_a_fresh_link_is_due",
        [at(23 * HOUR), collects_unheard, at(25 * HOUR), hears_of_it, at(3 * DAY)],
        [*SENT, "25h overlap until 47h", "47h retire", "47h mail keys_retired-1", "47h finish done"],
        "done",
    ),
    Path(
        "superseded_while_it_waits",
        [at(HOUR), superseded],
        [*SENT, "1h finish superseded"],
        "superseded",
    ),
    Path(
        "superseded_before_anything_was_sent_sends_nothing",
        [wait_for_line("issue"), superseded, goes_on("verify_key_pair")],
        [*MADE, "0h finish superseded"],
        "superseded",
        records={"slow": ["verify_key_pair"]},
    ),
    Path(
        "superseded_told_after_the_collection_changes_nothing",
        [
            at(HOUR),
            collects,
            wait_for_line("overlap until 25h"),
            lambda run: run.handle.signal("superseded"),
            at(2 * DAY),
        ],
        [*SENT, *RETIRED_ON_DAY_2],
        "done",
    ),
    Path(
        "abandoned_but_superseded_in_sql",
        [at(13 * DAY), superseded_unheard, at(15 * DAY)],
        [*SENT, *RESENT, "168h note not_collected needs_staff", "336h finish superseded"],
        "superseded",
    ),
    Path(
        "staff_resends_at_once",
        [at(HOUR), resend, wait_for_line("mail new_keys-2"), at(26 * HOUR)],
        [*SENT, "1h renew 2", "1h mail new_keys-2", "24h renew 3", "24h mail new_keys-3"],
    ),
    Path(
        "a_mail_that_fails_for_good_calls_staff_who_resends",
        [wait_for_line("note mail_failed needs_staff"), at(HOUR), resend, wait_for_line("mail new_keys-2")],
        [
            *(*MADE, "0h mail new_keys-1 failed", "0h note mail_failed needs_staff", "1h renew 2"),
            *("1h mail new_keys-2", "1h note staff_not_needed staff_done"),
        ],
        records={"mail_ends": {"new_keys-1": ["failed"]}},
    ),
    Path(
        "a_mail_that_fails_for_good_is_followed_by_the_next_resend",
        [at(25 * HOUR)],
        [
            *(*MADE, "0h mail new_keys-1 failed", "0h note mail_failed needs_staff", *RESENT[:2]),
            "24h note staff_not_needed staff_done",
        ],
        records={"mail_ends": {"new_keys-1": ["failed"]}},
    ),
    Path(
        "a_mail_withheld_by_the_cap_is_renewed_next_day",
        [at(25 * HOUR)],
        [*MADE, "0h mail new_keys-1 skipped", "0h note mail_skipped", *RESENT[:2]],
        times=RegenerationTimes(resend_after=()),
        records={"mail_ends": {"new_keys-1": ["skipped"]}},
    ),
    Path(
        "a_mail_still_tried_makes_way_for_the_fresh_link",
        [at(HOUR)],
        [*MADE, "0h renew 2", "0h mail new_keys-2"],
        times=RegenerationTimes(resend_after=(10,)),
        records={"mail_ends": {"new_keys-1": ["down"] * 1000}},
    ),
    Path(
        "word_of_the_retired_keys_withheld_by_the_cap_comes_a_day_later",
        [at(HOUR), collects, at(3 * DAY)],
        [
            *(*SENT, *RETIRED_ON_DAY_2[:2], "25h mail keys_retired-1 skipped", "25h note mail_skipped"),
            *("49h mail keys_retired-1", "49h finish done"),
        ],
        "done",
        records={"mail_ends": {"keys_retired-1": ["skipped"]}},
    ),
    Path(
        "word_of_the_retired_keys_that_can_not_be_delivered_is_shown",
        [at(HOUR), collects],
        [*SENT, "1h mail keys_retired-1 failed", "1h note mail_failed needs_staff", "1h finish done"],
        "done",
        leaked=True,
        records={"mail_ends": {"keys_retired-1": ["failed"]}},
    ),
    *(
        Path(
            f"{step}_fails_for_good_so_nothing_is_sent_and_{'a_leaked' if leaked else 'the'}_old_pair_is_left_alone",
            [],
            [*done, "0h note pair_failed needs_staff", "0h finish abandoned"],
            "abandoned",
            leaked=leaked,
            records={"broken": {step}},
        )
        for step, done in (("issue_key_pair", ()), ("verify_key_pair", MADE[:1]), ("activate_key_pair", MADE[:2]))
        for leaked in (False, True)
    ),
    Path(
        "an_old_pair_that_is_still_used_is_told_before_its_end",
        [at(HOUR), collects, at(2 * DAY)],
        [
            *(*SENT, RETIRED_ON_DAY_2[0]),
            *("19h look 5", "19h note old_keys_still_used", "19h mail still_used-1"),
            *RETIRED_ON_DAY_2[1:],
        ],
        "done",
        times=WARNED,
        records={"old_uses": 5},
    ),
    Path(
        "an_old_pair_that_is_not_used_any_more_is_not_told",
        [at(HOUR), collects, at(2 * DAY)],
        [*SENT, RETIRED_ON_DAY_2[0], "19h look 0", *RETIRED_ON_DAY_2[1:]],
        "done",
        times=WARNED,
    ),
    Path(
        "an_overlap_too_short_for_a_warning_has_none",
        [at(HOUR), collects, at(2 * DAY)],
        [*SENT, "1h overlap until 7h", "7h retire", "7h mail keys_retired-1", "7h finish done"],
        "done",
        times=RegenerationTimes(overlap=6 * HOUR, warn_before=6 * HOUR),
        records={"old_uses": 5},
    ),
    Path(
        "after_an_outage_the_look_at_the_old_keys_is_taken_at_once",
        [at(HOUR), collects_unheard, at(22 * HOUR), hears_of_it, at(2 * DAY)],
        [
            *(*SENT, "22h overlap until 25h", "22h look 5", "22h note old_keys_still_used", "22h mail still_used-1"),
            *RETIRED_ON_DAY_2[1:],
        ],
        "done",
        times=WARNED,
        records={"old_uses": 5},
    ),
    Path(
        "after_an_outage_past_its_end_there_is_no_warning",
        [at(HOUR), collects_unheard, at(26 * HOUR), hears_of_it],
        [
            *(*SENT, "26h overlap until 25h", "26h retire"),
            *("26h mail keys_retired-1", "26h finish done"),
        ],
        "done",
        times=replace(WARNED, resend_after=()),
        records={"old_uses": 5},
    ),
    Path(
        "an_old_pair_cut_meanwhile_is_not_warned_of",
        [at(HOUR), collects],
        [*SENT, "1h overlap until 1h", "1h retire", "1h mail keys_retired-1", "1h finish done"],
        "done",
        times=WARNED,
        records={"retired": True, "old_uses": 5},
    ),
    Path(
        "a_leaked_pair_is_not_warned_of",
        [at(HOUR), collects],
        [*SENT, "1h mail keys_retired-1", "1h finish done"],
        "done",
        leaked=True,
        times=WARNED,
        records={"old_uses": 5},
    ),
    Path(
        "a_warning_that_has_not_left_by_the_end_is_given_up",
        [at(HOUR), collects, at(2 * DAY)],
        [
            *(*SENT, RETIRED_ON_DAY_2[0], "19h look 5", "19h note old_keys_still_used"),
            *RETIRED_ON_DAY_2[1:],
        ],
        "done",
        times=WARNED,
        records={"old_uses": 5, "mail_ends": {"still_used-1": ["down"] * 1000}},
    ),
    Path(
        "a_warning_that_can_not_be_delivered_calls_staff_and_moves_no_end",
        [at(HOUR), collects, at(2 * DAY)],
        [
            *(*SENT, RETIRED_ON_DAY_2[0], "19h look 5", "19h note old_keys_still_used"),
            *("19h mail still_used-1 failed", "19h note mail_failed needs_staff", *RETIRED_ON_DAY_2[1:-1]),
            *("25h note staff_not_needed staff_done", RETIRED_ON_DAY_2[-1]),
        ],
        "done",
        times=WARNED,
        records={"old_uses": 5, "mail_ends": {"still_used-1": ["failed"]}},
    ),
    *(
        Path(
            f"a_look_at_the_old_keys_that_{how}_moves_no_end",
            [at(HOUR), collects, at(2 * DAY)],
            [*SENT, *RETIRED_ON_DAY_2],
            "done",
            times=WARNED,
            records={"old_uses": 5, fault: {"count_old_key_uses"}},
        )
        for how, fault in (("fails_for_good", "broken"), ("fails_until_then", "shaky"))
    ),
    Path(
        "keys_that_are_mailed_are_collected_when_their_mail_was_accepted",
        [wait_for_line("mail new_keys_inside-1"), collects, at(2 * DAY)],
        [*MAILED, "0h overlap until 24h", "24h retire", "24h mail keys_retired-1", "24h finish done"],
        "done",
        delivery_method=DeliveryMethod.MAIL,
    ),
    Path(
        "a_leaked_pair_was_cut_at_once_when_the_keys_are_mailed_too",
        [wait_for_line("mail new_keys_inside-1"), collects],
        [*MAILED, "0h mail keys_retired-1", "0h finish done"],
        "done",
        leaked=True,
        delivery_method=DeliveryMethod.MAIL,
    ),
    Path(
        "first_keys_that_are_mailed_replace_nothing",
        [wait_for_line("mail new_keys_inside-1"), collects],
        [*MAILED, "0h finish done"],
        "done",
        replaces=False,
        delivery_method=DeliveryMethod.MAIL,
    ),
    Path(
        "mailed_keys_that_are_refused_call_staff_who_resends_and_the_old_pair_lives",
        [wait_for_line("note mail_failed needs_staff"), at(HOUR), resend, wait_for_line("mail new_keys_inside-2")],
        [
            *(*MADE, "0h mail new_keys_inside-1 failed", "0h note mail_failed needs_staff"),
            *("1h renew 2", "1h mail new_keys_inside-2", "1h note staff_not_needed staff_done"),
        ],
        delivery_method=DeliveryMethod.MAIL,
        records={"mail_ends": {"new_keys_inside-1": ["failed"]}},
    ),
    Path(
        "mailed_keys_that_are_always_refused_are_abandoned_and_the_old_pair_lives",
        [at(15 * DAY)],
        [
            *(*MADE, "0h mail new_keys_inside-1 failed", "0h note mail_failed needs_staff"),
            *("168h note not_collected needs_staff", "336h finish abandoned"),
        ],
        "abandoned",
        times=RegenerationTimes(resend_after=()),
        delivery_method=DeliveryMethod.MAIL,
        records={"mail_ends": {"new_keys_inside-1": ["failed"]}},
    ),
    Path(
        "mailed_keys_whose_server_is_away_are_mailed_when_it_is_back",
        [at(DAY / 2), collects, at(2 * DAY)],
        [*MAILED, "12h overlap until 36h", "36h retire", "36h mail keys_retired-1", "36h finish done"],
        "done",
        delivery_method=DeliveryMethod.MAIL,
        records={"mail_ends": {"new_keys_inside-1": ["down"] * 3}},
    ),
]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in PATHS])
@on_harness
async def test_path(harness: Harness, path: Path) -> None:
    records = {**path.records, "slow": {name: asyncio.Event() for name in path.records.get("slow", [])}}
    run = await harness.regeneration(
        path.times, leaked=path.leaked, replaces=path.replaces, delivery_method=path.delivery_method, **records
    )
    await run.wait_for_line(path.story[0].partition(" ")[2])
    for event in path.happens:
        await event(run)
    if path.ended:
        assert await run.result() == path.ended
    await run.check_story(*path.story)


@pytest.mark.parametrize(
    ("due", "line"),
    [
        pytest.param(DAY, "renew 2", id="first_resend_after_24_hours"),
        pytest.param(3 * DAY, "renew 3", id="second_resend_after_72_hours"),
        pytest.param(7 * DAY, "note not_collected needs_staff", id="staff_task_after_7_days"),
        pytest.param(14 * DAY, "finish abandoned", id="abandoned_after_14_days"),
    ],
)
@on_harness
async def test_deadline_is_kept_to_the_second(harness: Harness, due: float, line: str) -> None:
    run = await harness.regeneration()
    await run.wait_for_line("mail new_keys-1")
    [first] = run.when("mail new_keys-1")  # the deadlines are counted from here
    await run.advance_to(first + due - 1)
    assert [moment for moment in run.when(line) if moment < first + due] == []
    await run.advance_to(first + due + 1)
    await run.wait_for_line(line)
    assert first + due <= run.when(line)[0] < first + due + SLACK


@on_harness
async def test_overlap_lasts_to_the_second(harness: Harness) -> None:
    run = await harness.regeneration()
    await run.wait_for_line("mail new_keys-1")
    await collects(run)
    await run.wait_for_line("overlap until 24h")
    assert run.records.collected_at is not None
    end = run.records.collected_at - run.records.start + DAY
    await run.advance_to(end - 1)
    assert [moment for moment in run.when("retire") if moment < end] == []
    await run.advance_to(end + 1)
    await run.wait_for_line("retire")
    assert end <= run.when("retire")[0] < end + SLACK


@on_harness
async def test_check_of_old_key_pair_use_is_to_the_second(harness: Harness) -> None:
    run = await harness.regeneration(WARNED)
    await run.wait_for_line("mail new_keys-1")
    await collects(run)
    await run.wait_for_line("overlap until 24h")
    assert run.records.collected_at is not None
    due = run.records.collected_at - run.records.start + DAY - WARNED.warn_before
    await run.advance_to(due - 1)
    assert [moment for moment in run.when("look 0") if moment < due] == []
    await run.advance_to(due + 1)
    await run.wait_for_line("look 0")
    assert due <= run.when("look 0")[0] < due + SLACK


@on_harness
async def test_resend_returns_the_number_of_its_mail(harness: Harness) -> None:
    run = await harness.regeneration()
    await run.wait_for_line("mail new_keys-1")
    assert await resend(run) == 2
    order = run.records.order(StaffResend("eve", "they lost it"), StaffAction.RESEND_KEYS)
    numbers = [await run.handle.execute_update(KeyRegenerationWorkflow.resend, order) for _ in range(2)]
    assert numbers == [3, 3]  # a repeat sends nothing
    await run.wait_for_line("mail new_keys-3")


@on_harness
async def test_resend_is_refused_before_the_keys_exist_and_after_their_collection(harness: Harness) -> None:
    making = asyncio.Event()
    run = await harness.regeneration(slow={"activate_key_pair": making})
    await run.wait_for_line("prove")
    assert (await refused(resend(run))).type == "TooEarly"
    making.set()
    await run.wait_for_line("mail new_keys-1")
    await collects_unheard(run)
    unheard = await refused(resend(run))
    assert (unheard.type, "just collected" in unheard.message) == ("TooLate", True)
    await collects(run)
    heard = await refused(resend(run))
    assert (heard.type, "collected" in heard.message) == ("TooLate", True)
    await run.advance_to(2 * DAY)
    await run.result()
    with pytest.raises(RPCError, match="already completed"):
        await resend(run)


@on_harness
async def test_resend_is_refused_once_a_later_regeneration_takes_its_place(harness: Harness) -> None:
    finishing = asyncio.Event()
    run = await harness.regeneration(slow={"finish_regeneration": finishing})
    await run.wait_for_line("mail new_keys-1")
    await superseded(run)
    await run.wait_until_idle(but="finish_regeneration")
    late = await refused(resend(run))
    assert (late.type, late.message) == ("TooLate", "too late: this regeneration is superseded")
    finishing.set()
    assert await run.result() == "superseded"


@on_harness
async def test_staff_is_still_needed_while_one_of_two_causes_is_left(harness: Harness) -> None:
    run = await harness.regeneration(RegenerationTimes(resend_after=()), mail_ends={"new_keys-1": ["failed"]})
    await run.advance_to(8 * DAY)
    await run.wait_for_line("note not_collected needs_staff")
    await resend(run)
    await run.wait_for_line("mail new_keys-2")
    await run.wait_until_idle()
    assert run.when("note staff_not_needed staff_done") == []
    await collects(run)
    await run.wait_for_line("note staff_not_needed staff_done")


@on_harness
async def test_collection_that_the_database_forgot_retires_nothing_and_is_waited_for_again(harness: Harness) -> None:
    """A backup was restored between the signal and the overlap."""
    beginning = asyncio.Event()
    run = await harness.regeneration(slow={"begin_overlap": beginning})
    await run.wait_for_line("mail new_keys-1")
    await collects(run)
    await run.wait_until_idle(but="begin_overlap")
    run.records.collected_at = None
    beginning.set()
    await run.wait_until_idle()
    assert run.records.lines[3:] == ["mail new_keys-1", "mail new_keys-1"]
    await collects(run)
    await run.advance_to(2 * DAY)
    assert await run.result() == "done"


@pytest.mark.parametrize("activity", ["verify_key_pair", "count_old_key_uses"])
@on_harness
async def test_cancelled_regeneration_ends_as_cancelled(harness: Harness, activity: str) -> None:
    run = await harness.regeneration(WARNED, shaky={activity})
    if activity == "count_old_key_uses":
        await run.wait_for_line("mail new_keys-1")
        await collects(run)
        await run.wait_for_line("overlap until 24h")
        await run.advance_to(DAY - WARNED.warn_before + HOUR)
    await run.wait_until_idle()
    await run.handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert "note pair_failed needs_staff" not in run.records.lines


@on_harness
async def test_mailed_keys_are_not_mailed_again_after_their_acceptance(harness: Harness) -> None:
    run = await harness.regeneration(delivery_method=DeliveryMethod.MAIL)
    await run.wait_for_line("mail new_keys_inside-1")
    assert await resend(run) == 2
    await run.wait_for_line("mail new_keys_inside-2")
    await collects(run)
    await run.wait_until_idle()
    late = await refused(resend(run))
    assert (late.type, "the secret is erased" in late.message) == ("TooLate", True)


@on_harness
async def test_regeneration_waits_for_running_update_handlers(harness: Harness) -> None:
    renewing = asyncio.Event()
    run = await harness.regeneration(slow={"renew_link": renewing})
    await run.wait_for_line("mail new_keys-1")
    order = run.records.order(StaffResend("eve", "they lost it"), StaffAction.RESEND_KEYS)
    asking = await run.start_update(KeyRegenerationWorkflow.resend, order)
    await run.wait_until_idle(but="renew_link")
    await superseded(run)
    await run.wait_for_line("finish superseded")
    await run.wait_until_idle(but="renew_link")
    assert (await run.handle.describe()).close_time is None
    renewing.set()
    await refused(asking.result())
    assert await run.result() == "superseded"


@on_harness
async def test_signals_with_unexpected_content_do_not_fail_the_regeneration(harness: Harness) -> None:
    run = await harness.regeneration()
    await run.wait_for_line("mail new_keys-1")
    await run.handle.signal("superseded", args=[{}, {}])
    await run.wait_until_idle()
    assert [signal.signal for signal in run.records.ignored] == ["superseded"]
    await collects_unheard(run)
    await run.handle.signal("keys_collected", args=[{}, {}])  # whatever it says, SQL says that they were collected
    await run.wait_for_line("overlap until 24h")
    await run.advance_to(2 * DAY)
    assert await run.result() == "done"


@on_harness
async def test_details_show_the_state_of_the_regeneration(harness: Harness) -> None:
    run = await harness.regeneration(mail_ends={"new_keys-1": ["failed"]})
    await run.wait_for_line("note mail_failed needs_staff")
    details = await run.details()
    assert "Waiting for the customer to collect" in details
    assert "Support staff is needed" in details
    assert "octy incidents resend" in details
    await collects(run)
    await run.wait_for_line("note staff_not_needed staff_done")
    await run.wait_for_line("overlap until 24h")
    details = await run.details()
    assert "the old ones are still accepted" in details
    assert "resend" not in details
    assert "Support staff" not in details
    await run.advance_to(2 * DAY)
    await run.result()
    assert "Ended: done" in await run.details()
