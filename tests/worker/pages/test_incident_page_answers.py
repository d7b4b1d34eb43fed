"""Answers on the incident page: once, by a visible button, with the right form token, also concurrently."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx2
import pytest
from support.pages_browser import form_token, path_of, send_form, serving
from support.pages_rig import START, open_world
from support.pages_rules import text_of

from octy_middleware.clock import utc
from octy_middleware.db.models import IncidentAnswer, IncidentEvent, KeyChange, KeyPair, Outbox
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import IncidentState, KeyPairState, Resolution
from octy_worker.crypto.links import Links, Purpose

ANSWERED_AT = "2026-01-01 01:00:00 UTC"


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


def test_it_was_us_is_recorded_with_an_outbox_message(world):
    incident_id = world.incident()
    path, browser = world.alert_path(incident_id), world.browser()
    response = browser.press(path, "answer", "it_was_us")
    assert response.status_code == 303
    assert httpx2.URL("http://x" + path).join(response.headers["location"]).path == path
    incident_answer = world.rows(IncidentAnswer)[0]
    assert (incident_answer["answer"], incident_answer["leaked"]) == ("it_was_us", False)
    assert (incident_answer["answered_by"], incident_answer["answered_at"]) == ("customer", utc(world.now))
    message = world.rows(Outbox)[0]
    assert (message["kind"], message["subject_id"]) == ("incident_answered", incident_id)
    assert message["detail"] == {"answer": "it_was_us", "leaked": False}
    page = text_of(browser.get(path).text)
    assert f"Your answer: it was us Recorded on {ANSWERED_AT}." in page
    assert "We close the alert as a false alarm. You do not need to do anything else." in page


def test_it_was_not_us_keeps_the_old_key_pair_until_the_new_one_is_collected(world):
    path, browser = world.alert_path(world.incident()), world.browser()
    assert browser.press(path, "answer", "not_us").status_code == 303
    assert world.rows(KeyPair)[0]["state"] == KeyPairState.ACTIVE
    page = text_of(browser.get(path).text)
    assert "Your answer: it was not us" in page
    assert "works until 24 hours after the new secret key was collected" in page
    assert "A mail with the new public key goes to the security address of your account" in page


def test_incident_page_says_that_keys_are_sent_by_mail(world):
    path, browser = world.alert_path(world.incident()), world.browser(deliver="mail")
    question = text_of(browser.get(path).text)
    assert "You get a mail with both new keys." in question
    assert "works until 24 hours after your mail server has accepted that mail, unless" in question
    assert browser.press(path, "answer", "not_us").status_code == 303
    page = text_of(browser.get(path).text)
    assert "works until 24 hours after your mail server has accepted the mail with the new keys" in page
    assert "A mail with both new keys goes to the security address" in page
    for promise in ("link", "collected"):
        assert promise not in question + page


def test_leaked_box_retires_the_old_key_pair_at_once(world):
    path, browser = world.alert_path(world.incident()), world.browser()
    assert browser.press(path, "answer", "not_us", leaked="yes").status_code == 303
    pair = world.rows(KeyPair)[0]
    assert (pair["state"], pair["retired_at"]) == (KeyPairState.RETIRED, utc(world.now))
    assert [change["public_key"] for change in world.rows(KeyChange)] == [pair["public_key"]]
    assert world.rows(Outbox)[0]["detail"] == {"answer": "not_us", "leaked": True}
    page = text_of(browser.get(path).text)
    assert "Your secret key was reported as leaked." in page
    assert f"has stopped working on {ANSWERED_AT}. We refuse requests with it." in page


def test_leaked_box_has_no_effect_with_it_was_us(world):
    path, browser = world.alert_path(world.incident()), world.browser()
    assert browser.press(path, "answer", "it_was_us", leaked="yes").status_code == 303
    assert world.rows(KeyPair)[0]["state"] == KeyPairState.ACTIVE
    assert world.rows(IncidentAnswer)[0]["leaked"] is False
    assert "Your keys stay the same." in browser.get(path).text


def test_leaked_secret_stays_reported_when_the_alert_is_asked_again(world):
    """New keys were not collected in time, so staff may answer again; it was no false alarm all the same."""
    incident_id = world.incident()
    world.change(IncidentAnswer, incident_id, leaked=True)
    path, browser, before = world.alert_path(incident_id), world.browser(), world.dump()
    response = browser.press(path, "answer", "it_was_us")
    assert response.status_code == 400
    assert "reported as leaked, so this cannot be a false alarm. Nothing was recorded." in text_of(response.text)
    assert world.dump() == before


def test_second_answer_is_409_and_shows_the_first_with_its_time(world):
    incident_id = world.incident()
    path, browser = world.alert_path(incident_id), world.browser()
    browser.press(path, "answer", "it_was_us")
    before, world.now = world.dump(), world.now + 60
    for button in ("not_us", "it_was_us"):
        again = browser.post(path, form=world.links.token(Purpose.ALERT_FORM, incident_id), answer=button, leaked="yes")
        assert again.status_code == 409
        assert f"Your answer: it was us Recorded on {ANSWERED_AT}." in text_of(again.text)
        assert "Your click changed nothing" in again.text
        assert "<form" not in again.text
    for _ in range(5):
        assert browser.get(path).status_code == 200
    assert world.dump() == before


@pytest.mark.parametrize(
    ("leaked", "said"),
    [(False, "Your keys were not changed."), (True, "The reported secret key has stopped working, and no new keys")],
)
def test_answer_to_a_closed_incident_is_409_and_says_how_it_ended(world, leaked, said):
    incident_id = world.incident(
        state=IncidentState.CLOSED, resolution=Resolution.UNANSWERED, closed_at=utc(START) + timedelta(days=14)
    )
    world.change(IncidentAnswer, incident_id, leaked=leaked)
    path, browser = world.alert_path(incident_id), world.browser()
    before = world.dump()
    page = browser.get(path)
    assert page.status_code == 200
    assert "<form" not in page.text
    response = browser.post(path, form=world.links.token(Purpose.ALERT_FORM, incident_id), answer="not_us")
    assert response.status_code == 409
    ended = "This alert was closed without an answer It was closed on 2026-01-15 00:00:00 UTC."
    assert f"{ended} {said}" in text_of(response.text)
    assert world.dump() == before


def test_incident_link_works_as_long_as_the_incident_is_open(world):
    incident_id = world.incident()
    path, browser = world.alert_path(incident_id), world.browser()
    world.now = START + 104 * 86_400  # extended as far as it can be
    assert "Waiting for your answer" in browser.get(path).text
    assert browser.press(path, "answer", "not_us").status_code == 303
    assert world.rows(IncidentAnswer)[0]["answer"] == "not_us"


@pytest.mark.parametrize(
    ("resolution", "answer", "shown", "hidden"),
    [
        (
            Resolution.FALSE_ALARM,
            "it_was_us",
            "What was done The alert is closed as a false alarm. You do not need to do anything else. Your keys stay",
            "What happens next",
        ),
        (
            Resolution.FALSE_ALARM,
            "not_us",  # changed by staff after the close: new keys were ordered beside the incident
            "Our support’s answer: it was not us Recorded on 2026-01-01 00:00:00 UTC. What happens next",
            "What was done",
        ),
        (
            Resolution.UNANSWERED,
            "it_was_us",  # told late, and written down by staff
            "What was done The alert is closed as a false alarm. You do not need to do anything else. Your keys stay",
            "we send no new alert",
        ),
    ],
    ids=["dismissed", "changed_to_new_keys", "told_late"],
)
def test_late_answer_is_409_with_status_next_step_and_contact(  # a row of the table
    world, resolution, answer, shown, hidden
):
    incident_id = world.incident(state=IncidentState.CLOSED, resolution=resolution, closed_at=utc(START))
    world.change(IncidentAnswer, incident_id, answer=answer, answered_at=utc(START), answered_by="dan")
    before = world.dump()
    response = world.browser().post(
        world.alert_path(incident_id), form=world.links.token(Purpose.ALERT_FORM, incident_id), answer="not_us"
    )
    page = text_of(response.text)
    assert response.status_code == 409
    assert "This was already answered. Your click changed nothing. Current status:" in page
    assert shown in page
    assert hidden not in page
    assert "Was this answer a mistake? Write to support@octy.example at once." in page
    assert world.dump() == before


NO_ANSWER = (
    {},
    {"answer": ""},
    {"answer": "IT_WAS_US"},
    {"answer": "yes"},
    {"answer": "not_us", "leaked": "on"},
    {"leaked": "yes"},
    {"answer": "not_us", "form": ""},
    {"answer": "not_us", "form": "A" * 32},
    {"answer": "not_us", "form": "é" * 32},
    {"answer": "not_us", "form": "😀"},
)


def test_form_without_a_valid_answer_is_400_and_asks_again(world):
    incident_id = world.incident()
    path, browser = world.alert_path(incident_id), world.browser()
    before = world.dump()
    for fields in NO_ANSWER:
        response = browser.post(path, **{"form": world.links.token(Purpose.ALERT_FORM, incident_id), **fields})
        assert response.status_code == 400, fields
        assert "Nothing was recorded" in response.text, fields
        assert response.text.count("<button") == 2
        assert world.dump() == before, fields


def test_enter_key_submits_no_answer_and_keeps_the_leaked_box(world):
    incident_id = world.incident()
    path, browser = world.alert_path(incident_id), world.browser()
    page, before = browser.get(path).text, world.dump()
    submits = re.findall(r'<(?:input type="submit"|button type="submit")[^>]*>', page)
    assert submits[0] == '<input type="submit" value="" hidden>'  # browsers press the first, for Enter on the box
    response = browser.post(path, form=form_token(page), leaked="yes")
    assert response.status_code == 400
    assert 'value="yes" aria-describedby="leaked-note" checked>' in response.text
    assert world.dump() == before


def test_form_token_verifies_for_its_own_incident_and_purpose_only(world):
    mine, other = world.incident(), world.incident()
    browser = world.browser()
    before = world.dump()
    for token in (
        world.links.token(Purpose.ALERT_FORM, other),
        world.links.token(Purpose.ALERT, mine),
        world.links.token(Purpose.REVEAL_FORM, mine),
    ):
        assert browser.post(world.alert_path(mine), form=token, answer="not_us").status_code == 400
    assert world.dump() == before


def test_links_and_forms_work_through_a_rotation_of_link_keys(world):
    incident_id = world.incident()
    older = Links(Keychain({"k1": b"\x11" * 32}), world.settings.public_url)
    path, browser = path_of(older.alert_url(incident_id)), world.browser()
    assert path != world.alert_path(incident_id)
    response = browser.post(path, form=older.token(Purpose.ALERT_FORM, incident_id), answer="it_was_us")
    assert response.headers["location"] == "./" + path.rpartition("/")[2]
    assert "Your answer: it was us" in text_of(browser.get(path).text)


def test_fifty_concurrent_answers_record_exactly_one(world):
    incident_id = world.incident()
    token = world.links.token(Purpose.ALERT_FORM, incident_id)
    path = world.alert_path(incident_id)
    with serving(world.pages()) as client, ThreadPoolExecutor(50) as threads:

        def click(number: int) -> tuple[str, httpx2.Response]:
            button = ("it_was_us", "not_us")[number % 2]
            return button, send_form(client, path, {"form": token, "answer": button, "leaked": "yes"})

        clicks = list(threads.map(click, range(50)))
    assert Counter(response.status_code for _, response in clicks) == {303: 1, 409: 49}
    winner = next(button for button, response in clicks if response.status_code == 303)
    words = {"it_was_us": "Your answer: it was us", "not_us": "Your answer: it was not us"}[winner]
    assert all(words in text_of(response.text) for _, response in clicks if response.status_code == 409)
    assert [row["answer"] for row in world.rows(IncidentAnswer)] == [winner]
    assert [row["detail"]["answer"] for row in world.rows(Outbox)] == [winner]
    assert [row["what"] for row in world.rows(IncidentEvent)] == ["answered"]
    assert world.rows(KeyPair)[0]["state"] == (KeyPairState.RETIRED if winner == "not_us" else KeyPairState.ACTIVE)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"form": "", "answer": "not_us"}, "problem=stale"),
        ({"leaked": "yes"}, "problem=none&leaked=yes"),
        ({"answer": "it_was_us"}, "problem=late"),
    ],
)
def test_every_post_to_the_incident_page_redirects(world, fields, said):
    """Chrome shows an error in place of such a page when the customer goes back to it."""
    incident_id = world.incident()
    path, browser = world.alert_path(incident_id), world.browser()
    if said == "problem=late":
        browser.press(path, "answer", "not_us")
    response = browser.send("POST", path, data={"form": world.links.token(Purpose.ALERT_FORM, incident_id), **fields})
    assert (response.status_code, response.text) == (303, "")
    assert response.headers["location"] == f"./{path.rpartition('/')[2]}?{said}"
    first, second = browser.get(f"{path}?{said}"), browser.get(f"{path}?{said}")
    assert (first.status_code, first.text) == (second.status_code, second.text)


def test_incident_page_ignores_unknown_query_parameters(world):
    path, browser = world.alert_path(world.incident()), world.browser()
    usual = browser.get(path).text
    for query in ("problem=late", "problem=%3Cb%3E", "problem=", "leaked=yes", "other=1"):
        page = browser.get(f"{path}?{query}")
        assert (page.status_code, page.text) == (200, usual), query


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_link_of_a_closed_incident_shows_nothing_after_the_grace_period(world, method):
    incident_id = world.incident(
        state=IncidentState.CLOSED, resolution=Resolution.REGENERATED, closed_at=utc(START) + timedelta(days=3)
    )
    world.change(IncidentAnswer, incident_id, answer="not_us", answered_at=utc(START), answered_by="customer")
    path, browser = world.alert_path(incident_id), world.browser()
    data = {"form": world.links.token(Purpose.ALERT_FORM, incident_id), "answer": "not_us"}
    world.now = START + 10 * 86_400 - 1
    assert browser.get(path).status_code == 200
    world.now += 1
    page = browser.send(method, path, data=data) if method == "POST" else browser.get(path)
    assert page.status_code == 410
    assert "This security alert is closed" in page.text
    pair = world.rows(KeyPair)[0]
    for personal in (pair["public_key"], "203.0.113", "198.51.100", "2026-", "acme", incident_id):
        assert personal not in page.text
