"""The paths of a notice, as a table: the results of its mails, and the story and the end that follow."""

from dataclasses import dataclass, field

import pytest
from support.until import until_async

from octy_workflows.messages import DAY, HOUR, NoticeKind
from workflows.workflow_harness import SLACK, Event, Harness, at, on_harness

CHANGED = NoticeKind.CONTACT_CHANGED


@dataclass(frozen=True)
class Path:
    """A row: what happens in order, the whole story, how it ended (or "" while it goes on), and what staff reads."""

    name: str
    kind: NoticeKind
    mails: dict[str, list[str]]
    story: list[str]
    ended: str
    shown: str = "**The customer was informed**"
    happens: list[Event] = field(default_factory=list)
    ttl: float = 14 * DAY


def tried(mail: str) -> Event:
    """Wait, in real time, for a first attempt."""
    return lambda run: until_async(lambda: run.records.attempts[mail] > 0, message=run.records.attempts)


PATHS = [
    Path("exposed_is_one_mail", NoticeKind.EXPOSED, {}, ["0h mail exposed-1"], "sent"),
    Path(
        "a_changed_address_is_told_to_the_old_one_then_to_the_new_one",
        CHANGED,
        {},
        ["0h mail contact_changed-1", "0h mail new_contact-1"],
        "sent",
    ),
    Path(
        "a_withheld_mail_is_ordered_again_next_day_and_the_new_address_waits_for_the_old_one",
        CHANGED,
        {"contact_changed-1": ["skipped", "skipped"]},
        [
            "0h mail contact_changed-1 skipped",
            "24h mail contact_changed-1 skipped",
            "48h mail contact_changed-1",
            "48h mail new_contact-1",
        ],
        "sent",
        happens=[at(3 * DAY)],
    ),
    Path(
        "what_was_overtaken_is_not_sent",
        CHANGED,
        {"contact_changed-1": ["obsolete"]},
        ["0h mail contact_changed-1 obsolete"],
        "obsolete",
        "**Not sent: a later change made it obsolete**",
    ),
    Path(
        "overtaken_while_the_cap_withheld_it",
        CHANGED,
        {"contact_changed-1": ["skipped", "obsolete"]},
        ["0h mail contact_changed-1 skipped", "24h mail contact_changed-1 obsolete"],
        "obsolete",
        "**Not sent: a later change made it obsolete**",
        [at(2 * DAY)],
    ),
    Path(
        "overtaken_between_the_two_addresses",
        CHANGED,
        {"new_contact-1": ["obsolete"]},
        ["0h mail contact_changed-1", "0h mail new_contact-1 obsolete"],
        "obsolete",
        "**Not sent: a later change made it obsolete**",
    ),
    Path(
        "an_old_address_that_is_dead_is_for_staff_and_the_new_one_is_told",
        CHANGED,
        {"contact_changed-1": ["failed"]},
        ["0h mail contact_changed-1 failed", "0h mail new_contact-1"],
        "failed",
        "Support staff is needed. The mail can't be delivered.",
    ),
    Path(
        "a_new_address_that_does_not_exist_is_for_staff",
        CHANGED,
        {"new_contact-1": ["failed"]},
        ["0h mail contact_changed-1", "0h mail new_contact-1 failed"],
        "failed",
        "Support staff is needed. The mail can't be delivered.",
    ),
    Path(
        "failed_stays_failed_when_the_rest_is_overtaken",
        CHANGED,
        {"contact_changed-1": ["failed"], "new_contact-1": ["obsolete"]},
        ["0h mail contact_changed-1 failed", "0h mail new_contact-1 obsolete"],
        "failed",
        "Support staff is needed. The mail can't be delivered.",
    ),
    Path(
        "without_a_mail_server_it_is_given_up_at_the_end_of_its_life",
        NoticeKind.EXPOSED,
        {"exposed-1": ["down"] * 1000},
        [],
        "failed",
        "Support staff is needed. The mail was not sent in time.",
        [tried("exposed-1"), at(600 + SLACK)],
        ttl=600,
    ),
    Path(
        "withheld_until_the_end_of_its_life",
        NoticeKind.EXPOSED,
        {"exposed-1": ["skipped"] * 10},
        ["0h mail exposed-1 skipped", "24h mail exposed-1 skipped"],
        "failed",
        "Support staff is needed. The mail was not sent in time.",
        [at(DAY + HOUR), at(2 * DAY)],
        ttl=1.5 * DAY,
    ),
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@on_harness
async def test_notice_path(harness: Harness, path: Path) -> None:
    run = await harness.notice(path.kind, path.ttl, mail_ends={mail: list(ends) for mail, ends in path.mails.items()})
    for event in path.happens:
        await event(run)
    assert await run.result() == path.ended
    await run.check_story(*path.story)
    assert path.shown in await run.details()


@on_harness
async def test_notice_that_the_daily_cap_delays_shows_it_until_it_is_sent(harness: Harness) -> None:
    run = await harness.notice(NoticeKind.EXPOSED, mail_ends={"exposed-1": ["withheld"]})
    await run.wait_for_line("mail exposed-1 withheld")
    await run.wait_until_idle()
    assert "The daily cap on mails is reached" in await run.details()
    await run.advance_to(DAY + HOUR)
    assert await run.result() == "sent"
    assert "daily cap" not in await run.details()


@on_harness
async def test_notice_is_given_up_at_its_ttl_and_not_before(harness: Harness) -> None:
    run = await harness.notice(NoticeKind.EXPOSED, 4 * HOUR, mail_ends={"exposed-1": ["down"] * 1000})
    await tried("exposed-1")(run)
    await run.advance_to(3 * HOUR)
    assert (await run.handle.describe()).close_time is None
    await run.advance_to(4 * HOUR + SLACK)
    assert await run.result() == "failed"


@on_harness
async def test_notice_history_has_ids_and_enums_only(harness: Harness) -> None:
    run = await harness.notice(CHANGED)
    await run.result()
    [first, second] = run.records.inputs
    assert {step.subject_id for step in (first, second)} == {run.handle.id}
    assert (first.kind, first.number, second.kind, second.number) == ("contact_changed", 1, "new_contact", 1)
