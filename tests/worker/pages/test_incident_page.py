"""The incident page, read by anybody with the link."""

import asyncio
from datetime import timedelta

import httpx2
import pytest
from support.pages_browser import form_token
from support.pages_rig import START, open_world
from support.pages_rules import text_of

from octy_middleware.clock import utc
from octy_middleware.db.models import Incident, IncidentAnswer, KeyPair
from octy_middleware.states import KeyPairState


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


def test_incident_page_says_what_happened_and_what_each_answer_does(world):
    clients = (("192.0.2.7", 15, "curl/8.5"), ("2001:db8::7", 5, "python-requests/2.31"))
    incident_id = world.incident(sources=clients)
    response = world.browser().get(world.alert_path(incident_id))
    text = text_of(response.text)
    assert response.status_code == 200
    for fact in (
        world.rows(Incident)[0]["public_key"],
        "20 attempts",
        "First 2026-01-01 00:00:00 UTC",
        "Last 2026-01-01 00:00:01 UTC",
        "20 requests in a row with your public key and a wrong secret key, and no successful request in between",
        "192.0.2.7 curl/8.5 15",
        "2001:db8::7 python-requests/2.31 5",
        "Waiting for your answer",
        "We start counting from zero and send no new alert for this key for 24 hours",
        "works until 24 hours after you have collected the new keys, unless you tick the box",
        "Someone else may know our secret key Your current key pair stops working at once",
        incident_id,
    ):
        assert fact in text
    assert response.text.count("<button") == 2
    assert '<input type="checkbox" id="leaked" name="leaked" value="yes"' in response.text
    assert "owner@example.com" not in response.text
    assert "Ada" not in response.text


def test_incident_page_of_the_source_rule_names_the_network(world):
    incident_id = world.incident(rule="source", network="192.0.2.0/24")
    page = world.browser().get(world.alert_path(incident_id)).text
    assert "20 requests in a row from one network (192.0.2.0/24)" in text_of(page)


def test_incident_page_of_the_window_rule_states_the_time_window(world):
    page = text_of(world.browser().get(world.alert_path(world.incident(rule="window"))).text)
    assert "20 requests with your public key and a wrong secret key within" in page
    assert "There may have been successful requests in between" in page


def test_incident_page_sums_up_many_sources(world):
    sources = tuple((f"192.0.2.{number}", 100 - number, "curl") for number in range(7))
    page = text_of(world.browser().get(world.alert_path(world.incident(sources=sources))).text)
    assert "192.0.2.4 curl 96" in page
    assert "192.0.2.5" not in page
    assert "and 189 attempts from 2 more addresses" in page
    capped = text_of(world.browser().get(world.alert_path(world.incident(sources=(*sources, ("*", 7, ""))))).text)
    assert "and 196 attempts from at least 3 more addresses" in capped


def test_incident_page_describes_sources_that_are_no_address_as_mails_do(world):
    sources = (("*", 30, ""), ("unix", 20, "curl"), ("unknown", 10, ""))
    page = text_of(world.browser().get(world.alert_path(world.incident(sources=sources))).text)
    assert "many other addresses none 30" in page
    assert "a local connection curl 20" in page
    assert "an unknown address none 10" in page
    local = world.incident(rule="source", network="unix")
    assert "from one network (a local connection)" in text_of(world.browser().get(world.alert_path(local)).text)


def test_incident_page_works_after_its_details_were_deleted(world):
    page = text_of(world.browser().get(world.alert_path(world.incident(sources=()))).text)
    assert "The details have been deleted." in page
    assert "Last 2026-01-01 00:01:00 UTC" in page


def test_ten_gets_and_heads_of_the_incident_page_change_nothing(world):
    path, browser = world.alert_path(world.incident()), world.browser()
    before = world.dump()
    responses = browser.send_all([("GET", path), ("HEAD", path)] * 10)
    assert [response.status_code for response in responses] == [200] * 20
    assert world.dump() == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"answer": "it_was_us", "answered_by": "zoe.staff"}, "Our support’s answer: it was us"),
        ({"answer": "not_us", "answered_by": "zoe.staff", "leaked": True}, "Our support’s answer: it was not us"),
        ({"answer": "not_us", "answered_by": "system"}, "We are replacing your keys to be safe We had no answer by"),
    ],
)
def test_incident_page_shows_answers_of_staff_without_names(world, values, words):
    incident_id = world.incident()
    world.change(IncidentAnswer, incident_id, answered_at=utc(START + 120), **values)
    page = text_of(world.browser().get(world.alert_path(incident_id)).text)
    assert words in page
    assert "zoe" not in page


@pytest.mark.parametrize(
    ("values", "answer", "words"),
    [
        ({"resolution": "false_alarm", "closed_at": utc(START)}, "it_was_us", "The alert is closed as a false alarm"),
        (
            {"resolution": "regenerated", "closed_at": utc(START)},
            "not_us",
            "collected with the link in our mail",
        ),
        ({"state": "needs_staff"}, "not_us", "With our support"),
    ],
)
def test_incident_page_shows_the_next_step_of_each_state(world, values, answer, words):
    incident_id = world.incident(**values)
    world.change(IncidentAnswer, incident_id, answer=answer, answered_at=utc(START), answered_by="customer")
    assert words in text_of(world.browser().get(world.alert_path(incident_id)).text)


def test_incident_page_shows_the_end_of_a_retiring_key_pair(world):
    incident_id = world.incident()
    world.change(IncidentAnswer, incident_id, answer="not_us", answered_at=utc(START), answered_by="customer")
    pair_id = world.rows(KeyPair)[0]["id"]
    world.change(KeyPair, pair_id, state=KeyPairState.RETIRING, retire_at=utc(START) + timedelta(days=2))
    page = text_of(world.browser().get(world.alert_path(incident_id)).text)
    assert "works until 2026-01-03 00:00:00 UTC" in page


def test_incident_page_works_under_a_path_prefix_of_a_proxy(world):
    incident_id = world.incident()
    app, path = world.pages(), world.alert_path(incident_id)
    page = world.browser().get(path).text
    assert "action=" not in page

    async def mounted() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, root_path="/octy")
        async with httpx2.AsyncClient(transport=transport, base_url="http://host.test") as client:
            data = {"form": form_token(page), "answer": "it_was_us"}
            return await client.post("/octy" + path, data=data, follow_redirects=True)

    response = asyncio.run(mounted())
    assert (response.status_code, response.url.path) == (200, "/octy" + path)
    assert "Your answer: it was us" in text_of(response.text)
