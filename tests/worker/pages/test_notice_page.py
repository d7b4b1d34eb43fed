"""The notice page: an exposed key pair is regenerated once, on the press of a button."""

import asyncio
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import httpx2
import pytest
from support.in_session import in_session
from support.pages_browser import form_token, path_of, send_form, serving
from support.pages_rig import START, World, open_world
from support.pages_rules import text_of

from octy_middleware.clock import utc
from octy_middleware.db.models import KeyChange, KeyPair, Notice, Outbox, Regeneration, SealedSecret
from octy_middleware.domain.accounts import StaffChange
from octy_middleware.keys.secret import make_key_pair
from octy_middleware.states import KeyPairState, RegenerationState
from octy_worker.crypto.links import Purpose
from octy_worker.domain import notices

DAY = 86_400.0
NEW = "new@elsewhere.example"


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


def path_to(world: World, notice_id: str) -> str:
    return path_of(world.links.notice_url(notice_id))


def state_of(world: World, pair: KeyPair) -> str:
    return next(row["state"] for row in world.rows(KeyPair) if row["id"] == pair.id)


def ordered(world: World) -> list[tuple]:
    return [
        (row["cause"], row["old_pair_id"], row["leaked"], row["actor"], row["state"])
        for row in world.rows(Regeneration)
    ]


# Content


def test_exposed_page_says_what_happened_and_what_the_button_does(world):
    pair = world.pair()
    notice = world.exposure(pair)
    response = world.browser().get(path_to(world, notice))
    text = text_of(response.text)
    assert response.status_code == 200
    for fact in (
        pair.public_key,
        "reached us over plain HTTP, without encryption. We refused it",
        "Seen 2026-01-01 00:00:00 UTC",
        "From 192.0.2.7",
        "User agent curl/8.5",
        "A mail goes to the security address of your account",
        "works until 24 hours after you have collected the new keys, unless you tick the box",
        "Stop the current key pair at once Your current key pair stops working at once",
        "Replace my keys",
        notice,
    ):
        assert fact in text
    assert response.text.count("<button") == 1
    assert '<input type="checkbox" id="leaked" name="leaked" value="yes"' in response.text
    assert "other pair" not in text


def test_contact_changed_page_names_the_current_key_pair_and_no_address(world):
    world.pair()
    current = world.pair()
    response = world.browser().get(path_to(world, world.move_to(NEW)))
    text = text_of(response.text)
    for fact in (
        current.public_key,
        "The contact address of your account was changed",
        "Changed 2026-01-01 00:00:00 UTC",
        "Takes effect 2026-01-08 00:00:00 UTC",
        "Your account has 1 other key pair in use. The button does not replace it.",
    ):
        assert fact in text
    for private in ("owner@", "new@", "elsewhere", "Ada", "192.0.2.7"):
        assert private not in response.text


def test_contact_changed_page_says_that_support_staff_changed_it(world):
    world.pair()
    page = text_of(world.browser().get(path_to(world, world.move_to(NEW, staff=StaffChange("ada", "by phone")))).text)
    assert "Our support staff changed the contact address of your account" in page
    assert "Takes effect 2026-01-02 00:00:00 UTC" in page
    assert "by phone" not in page


@pytest.mark.parametrize("told", ["exposure", "move_to"])
def test_ten_gets_and_heads_of_the_notice_page_change_nothing(world, told):
    world.pair()
    path = path_to(world, world.exposure() if told == "exposure" else world.move_to(NEW))
    browser, before = world.browser(), world.dump()
    responses = browser.send_all([("GET", path), ("HEAD", path)] * 10)
    assert [response.status_code for response in responses] == [200] * 20
    assert world.dump() == before


HOSTILE = ("<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "a\u202eb\u2066c", "{{ 70007 * 3 }}", "x" * 5000)


def test_untrusted_text_on_the_notice_page_is_sanitized(world):
    browser = world.browser()
    for hostile in HOSTILE:
        page = browser.get(path_to(world, world.exposure(source=hostile, user_agent=hostile))).text
        assert "<script" not in page
        assert "210021" not in page
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f]", page), hostile
        assert "x" * 121 not in page


# The button


def test_regeneration_from_the_notice_page_keeps_the_old_key_pair_until_collection(world):
    pair = world.pair()
    notice = world.exposure(pair)
    path, browser = path_to(world, notice), world.browser()
    response = browser.press(path, "order", "replace")
    assert response.status_code == 303
    assert httpx2.URL("http://x" + path).join(response.headers["location"]).path == path
    [regeneration] = world.rows(Regeneration)
    assert ordered(world) == [("exposure", pair.id, False, "customer", RegenerationState.OPEN)]
    assert world.rows(Notice)[0]["regeneration_id"] == regeneration["id"]
    assert [(row["kind"], row["subject_id"], row["detail"]) for row in world.rows(Outbox)] == [
        ("notice_created", notice, {}),
        ("regeneration_opened", regeneration["id"], {"leaked": False, "replaces": True}),
    ]
    assert state_of(world, pair) == KeyPairState.ACTIVE
    page = text_of(browser.get(path).text)
    assert "Your new keys are ordered Ordered here on 2026-01-01 01:00:00 UTC." in page
    assert "works until 24 hours after the new secret key was collected" in page
    assert "A mail with the new public key goes to the security address of your account" in page


def test_leaked_box_on_the_notice_page_retires_the_old_key_pair_at_once(world):
    pair = world.pair()
    path, browser = path_to(world, world.exposure(pair)), world.browser()
    assert browser.press(path, "order", "replace", leaked="yes").status_code == 303
    assert ordered(world) == [("exposure", pair.id, True, "customer", RegenerationState.OPEN)]
    assert state_of(world, pair) == KeyPairState.RETIRED
    assert [change["public_key"] for change in world.rows(KeyChange)] == [pair.public_key]
    assert "has stopped working on 2026-01-01 01:00:00 UTC. We refuse requests with it." in text_of(
        browser.get(path).text
    )


def test_leaked_after_a_contact_change_replaces_the_current_key_pair_and_retires_the_retiring_one(world):
    going = world.pair(KeyPairState.RETIRING, retire_at=utc(START + DAY))
    other, current = world.pair(), world.pair()
    path, browser = path_to(world, world.move_to(NEW)), world.browser()
    assert browser.press(path, "order", "replace", leaked="yes").status_code == 303
    assert ordered(world) == [("customer", current.id, True, "customer", RegenerationState.OPEN)]
    states = {state_of(world, pair) for pair in (going, current)}
    assert (states, state_of(world, other)) == ({KeyPairState.RETIRED}, KeyPairState.ACTIVE)
    assert "Your new keys are ordered" in text_of(browser.get(path).text)


def test_regeneration_after_a_contact_change_without_leaked_retires_nothing(world):
    pairs = [world.pair(KeyPairState.RETIRING, retire_at=utc(START + DAY)), world.pair()]
    assert world.browser().press(path_to(world, world.move_to(NEW)), "order", "replace").status_code == 303
    assert [state_of(world, pair) for pair in pairs] == [KeyPairState.RETIRING, KeyPairState.ACTIVE]


def test_second_regeneration_from_a_notice_is_409_and_shows_the_first(world):
    notice = world.exposure()
    path, browser = path_to(world, notice), world.browser()
    browser.press(path, "order", "replace")
    before, world.now = world.dump(), world.now + 60
    for box in ({}, {"leaked": "yes"}):
        again = browser.post(path, form=world.links.token(Purpose.NOTICE_FORM, notice), order="replace", **box)
        assert again.status_code == 409
        assert "Your click changed nothing. Current status:" in again.text
        assert "Ordered here on 2026-01-01 01:00:00 UTC." in text_of(again.text)
        assert "<form" not in again.text
    assert world.dump() == before


def test_fifty_concurrent_regenerations_from_a_notice_open_exactly_one(world):
    pair = world.pair()
    notice = world.exposure(pair)
    path, token = path_to(world, notice), world.links.token(Purpose.NOTICE_FORM, notice)
    with serving(world.pages()) as client, ThreadPoolExecutor(50) as threads:

        def click(number: int) -> int:
            box = {"leaked": "yes"} if number % 2 else {}
            return send_form(client, path, {"form": token, "order": "replace", **box}).status_code

        statuses = list(threads.map(click, range(50)))
    assert Counter(statuses) == {303: 1, 409: 49}
    leaked = statuses.index(303) % 2 == 1
    assert ordered(world) == [("exposure", pair.id, leaked, "customer", RegenerationState.OPEN)]
    assert state_of(world, pair) == (KeyPairState.RETIRED if leaked else KeyPairState.ACTIVE)
    assert [row["kind"] for row in world.rows(Outbox)] == ["notice_created", "regeneration_opened"]
    assert world.rows(Notice)[0]["regeneration_id"] == world.rows(Regeneration)[0]["id"]


def test_concurrent_regenerations_from_a_notice_are_decided_by_one_update(world):
    """What a page checks before is for its words; this is what counts."""
    pair = world.pair()
    notice = world.exposure(pair)
    with ThreadPoolExecutor(20) as threads:
        done = threads.map(
            lambda number: in_session(
                world.database, notices.order_keys, notice, leaked=number > 0, now=world.now + number
            ),
            range(20),
        )
        assert Counter(done) == {True: 1, False: 19}
    [(_, _, leaked, *_)] = ordered(world)
    assert state_of(world, pair) == (KeyPairState.RETIRED if leaked else KeyPairState.ACTIVE)


def test_regeneration_from_a_notice_for_an_account_without_key_pairs_issues_none(world):
    assert in_session(world.database, notices.order_keys, world.move_to(NEW), leaked=True, now=world.now) is False
    assert in_session(world.database, notices.order_keys, world.fresh_id(), leaked=True, now=world.now) is False
    assert world.rows(Regeneration) == []
    assert world.rows(Notice)[0]["regeneration_id"] is None


NO_CHOICE = (
    {},
    {"order": ""},
    {"order": "REPLACE"},
    {"order": "yes"},
    {"answer": "not_us"},
    {"order": "replace", "leaked": "on"},
    {"order": "replace", "leaked": "YES"},
    {"leaked": "yes"},
    {"order": "replace", "form": ""},
    {"order": "replace", "form": "A" * 32},
    {"order": "replace", "form": "\U0001f600"},
)


def test_notice_form_without_a_valid_choice_is_400_and_asks_again(world):
    notice = world.exposure()
    path, browser = path_to(world, notice), world.browser()
    before = world.dump()
    for fields in NO_CHOICE:
        response = browser.post(path, **{"form": world.links.token(Purpose.NOTICE_FORM, notice), **fields})
        assert response.status_code == 400, fields
        assert re.search(r"Nothing was (ordered|changed)\. Please press the button", response.text), fields
        assert response.text.count("<button") == 1
        assert world.dump() == before, fields


def test_enter_key_on_the_notice_page_submits_nothing_and_keeps_the_leaked_box(world):
    path, browser = path_to(world, world.exposure()), world.browser()
    page, before = browser.get(path).text, world.dump()
    submits = re.findall(r'<(?:input type="submit"|button type="submit")[^>]*>', page)
    assert submits[0] == '<input type="submit" value="" hidden>'
    response = browser.post(path, form=form_token(page), leaked="yes")
    assert response.status_code == 400
    assert 'value="yes" aria-describedby="leaked-note" checked>' in response.text
    assert world.dump() == before


def test_form_token_verifies_for_its_own_notice_and_purpose_only(world):
    mine, other = world.exposure(), world.exposure()
    browser, before = world.browser(), world.dump()
    for token in (
        world.links.token(Purpose.NOTICE_FORM, other),
        world.links.token(Purpose.NOTICE, mine),
        world.links.token(Purpose.ALERT_FORM, mine),
    ):
        assert browser.post(path_to(world, mine), form=token, order="replace").status_code == 400
    assert world.dump() == before


def test_notice_page_works_under_a_path_prefix_of_a_proxy(world):
    app, path = world.pages(), path_to(world, world.exposure())
    page = world.browser().get(path).text

    async def mounted() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, root_path="/octy")
        async with httpx2.AsyncClient(transport=transport, base_url="http://host.test") as client:
            data = {"form": form_token(page), "order": "replace"}
            return await client.post("/octy" + path, data=data, follow_redirects=True)

    response = asyncio.run(mounted())
    assert (response.status_code, response.url.path, len(response.history)) == (200, "/octy" + path, 1)
    assert "Your new keys are ordered" in text_of(response.text)


# Refused regenerations


def test_notice_link_expires_as_an_incident_link_does(world):
    notice = world.exposure()
    path, browser = path_to(world, notice), world.browser(incident_close_after=5 * DAY)
    world.now = START + 5 * DAY - 1
    assert browser.get(path).status_code == 200
    world.now = START + 5 * DAY
    before = world.dump()
    late = browser.post(path, form=world.links.token(Purpose.NOTICE_FORM, notice), order="replace", leaked="yes")
    for response in (browser.get(path), late):
        assert response.status_code == 410
        assert "This link has expired" in response.text
        assert "support@octy.example" in response.text
    assert world.dump() == before
    world.now = START + 13 * DAY
    assert world.browser().get(path).status_code == 200  # 14 days by default


def test_notice_orders_no_regeneration_once_security_mails_go_to_the_new_address(world):
    """The old address may hold the link for longer, but new keys would be sent to the thief."""
    world.pair()
    notice = world.move_to(NEW)
    path, browser = path_to(world, notice), world.browser()
    world.now = START + 7 * DAY - 1
    assert browser.get(path).status_code == 200
    world.now = START + 7 * DAY
    before = world.dump()
    late = browser.post(path, form=world.links.token(Purpose.NOTICE_FORM, notice), order="replace", leaked="yes")
    for response in (browser.get(path), late):
        assert response.status_code == 410
        assert "Security mails now go to another address" in response.text
        assert "elsewhere" not in response.text
    assert world.dump() == before


def test_notice_of_an_ended_key_pair_replaces_nothing(world):
    pair = world.pair(KeyPairState.RETIRED, retired_at=utc(START + 60))
    notice = world.exposure(pair)
    path, browser = path_to(world, notice), world.browser()
    before = world.dump()
    late = browser.post(path, form=world.links.token(Purpose.NOTICE_FORM, notice), order="replace")
    for response, status in ((browser.get(path), 200), (late, 409)):
        assert response.status_code == status
        assert "These keys have already stopped working" in text_of(response.text)
        assert f"The key pair {pair.public_key} has stopped working on 2026-01-01 00:01:00 UTC" in text_of(
            response.text
        )
        assert "<form" not in response.text
    assert world.dump() == before


def test_notice_of_an_account_without_a_key_pair_replaces_nothing(world):
    page = world.browser().get(path_to(world, world.move_to(NEW)))
    assert (page.status_code, "<form" in page.text) == (200, False)
    assert "There are no keys to replace" in text_of(page.text)


@pytest.mark.parametrize("told", ["exposure", "move_to"])
def test_notice_page_says_that_new_keys_are_on_their_way(world, told):
    pair = world.pair()
    world.regeneration(make_key_pair().secret, old=pair)
    notice = world.exposure(pair) if told == "exposure" else world.move_to(NEW)
    path, browser = path_to(world, notice), world.browser()
    before = world.dump()
    late = browser.post(path, form=world.links.token(Purpose.NOTICE_FORM, notice), order="replace", leaked="yes")
    for response, status in ((browser.get(path), 200), (late, 409)):
        assert response.status_code == status
        text = text_of(response.text)
        assert "New keys are already on the way They were ordered on 2026-01-01 00:00:00 UTC." in text
        assert f"The old key pair {pair.public_key} works until 24 hours after" in text
        assert "<form" not in response.text
    assert world.dump() == before


def test_notice_page_says_that_uncollected_first_keys_are_on_their_way(world):
    world.regeneration(make_key_pair().secret)
    assert "New keys are already on the way" in world.browser().get(path_to(world, world.move_to(NEW))).text


@pytest.mark.parametrize("told", ["exposure", "move_to"])
def test_notice_page_follows_its_regeneration_to_the_end(world, told):
    pair = world.pair()
    path = path_to(world, world.exposure(pair) if told == "exposure" else world.move_to(NEW))
    browser = world.browser()
    browser.press(path, "order", "replace")
    [regeneration] = world.rows(Regeneration)
    for values, words in (
        (
            {"state": RegenerationState.COLLECTED, "collected_at": utc(START + 7200)},
            "Your keys were replaced The new key pair was collected on 2026-01-01 02:00:00 UTC",
        ),
        (
            {"state": RegenerationState.ABANDONED, "collected_at": None, "finished_at": utc(START + 7200)},
            "The new keys were not delivered They were not collected in time.",
        ),
        (
            {"state": RegenerationState.SUPERSEDED, "finished_at": utc(START + 7200)},
            "The new keys were not delivered A later order replaced this one",
        ),
    ):
        world.change(Regeneration, regeneration["id"], **values)
        page = text_of(browser.get(path).text)
        assert words in page
        assert pair.public_key in page


def test_notice_page_says_that_keys_are_sent_by_mail_to_the_end(tmp_path):
    with contextmanager(open_world)(tmp_path, "sqlite") as world:
        path, browser = path_to(world, world.exposure(world.pair())), world.browser(deliver="mail")
        shown = [text_of(browser.get(path).text)]
        browser.press(path, "order", "replace")
        shown.append(text_of(browser.get(path).text))
        for values in (
            {"state": RegenerationState.COLLECTED, "collected_at": utc(START + 7200)},
            {"state": RegenerationState.ABANDONED, "collected_at": None, "finished_at": utc(START + 7200)},
        ):
            world.change(Regeneration, world.rows(Regeneration)[0]["id"], **values)
            shown.append(text_of(browser.get(path).text))
    for page, words in zip(
        shown,
        (
            "Your current key pair works until 24 hours after your mail server has accepted that mail",
            "A mail with both new keys goes to the security address of your account",
            "Your mail server accepted our mail with the new key pair on 2026-01-01 02:00:00 UTC.",
            "We could not deliver our mail with the new keys.",
        ),
        strict=True,
    ):
        assert words in page
        assert "link" not in page
        assert "ollected" not in page


def test_failed_regeneration_elsewhere_does_not_block_the_notice_page(world):
    pair = world.pair()
    elsewhere = world.regeneration(make_key_pair().secret, old=pair)
    world.change(Regeneration, elsewhere, state=RegenerationState.ABANDONED, finished_at=utc(START))
    world.change(SealedSecret, elsewhere, sealed=None, expires_at=utc(START) + timedelta(days=1))
    assert world.browser().press(path_to(world, world.exposure(pair)), "order", "replace").status_code == 303
    assert [row[0] for row in ordered(world)] == ["incident", "exposure"]


@pytest.mark.parametrize(("fields", "said"), [({"form": ""}, "stale"), ({"order": ""}, "none"), ({}, "late")])
def test_every_post_to_the_notice_page_redirects(world, fields, said):
    notice = world.exposure()
    path, browser = path_to(world, notice), world.browser()
    if said == "late":
        browser.press(path, "order", "replace")
    data = {"form": world.links.token(Purpose.NOTICE_FORM, notice), "order": "replace", **fields}
    response = browser.send("POST", path, data=data)
    assert (response.status_code, response.headers["location"]) == (303, f"./{path.rpartition('/')[2]}?problem={said}")
    assert browser.get(f"{path}?problem=late").status_code == (409 if said == "late" else 200)


def test_expired_notice_page_shows_no_personal_data(world):
    pair = world.pair()
    path, browser = path_to(world, world.exposure(pair)), world.browser()
    browser.press(path, "order", "replace")
    world.now += 14 * DAY
    page = browser.get(path)
    assert page.status_code == 410
    for personal in (pair.public_key, "203.0.113", "2026-"):
        assert personal not in page.text
