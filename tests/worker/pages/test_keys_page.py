"""The keys page of a one-time link: the secret key is shown once, on the press of a button."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from support.pages_browser import Browser, form_token, path_of, serving
from support.pages_rig import START, World, open_world
from support.pages_rules import text_of

from octy_middleware.clock import utc
from octy_middleware.db.models import KeyPair, Outbox, Regeneration, SealedSecret
from octy_middleware.keys.keychain import Keychain
from octy_middleware.keys.secret import make_key_pair
from octy_middleware.states import KeyPairState, RegenerationState
from octy_worker.crypto.links import Purpose
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.pages import build_pages

SECRET = make_key_pair().secret
PLAIN = SECRET.reveal()


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


def keys_path(world: World, regeneration_id: str, generation: int = 1) -> str:
    return path_of(world.links.reveal_url(regeneration_id, generation))


def test_keys_page_shows_a_button_and_keeps_the_secret(world):
    old = world.pair()
    response = world.browser().get(keys_path(world, world.regeneration(SECRET, old=old)))
    text = text_of(response.text)
    assert response.status_code == 200
    assert "Show the secret key once" in text
    assert "This link works until 2026-01-02 01:00:00 UTC" in text
    assert f"Replaces {old.public_key}" in text
    assert response.text.count("<button") == 1
    assert PLAIN not in response.text


def test_ten_gets_and_heads_of_the_keys_page_change_nothing(world):
    path, browser = keys_path(world, world.regeneration(SECRET)), world.browser()
    before = world.dump()
    responses = browser.send_all([("GET", path), ("HEAD", path)] * 10)
    assert [response.status_code for response in responses] == [200] * 20
    assert world.dump() == before


def test_reveal_button_shows_both_keys_once_and_erases_the_secret(world):
    regeneration_id = world.regeneration(SECRET)
    path, browser = keys_path(world, regeneration_id), world.browser()
    response = browser.press(path, "reveal", "once")
    assert response.status_code == 200
    assert "location" not in response.headers
    assert response.text.count(PLAIN) == 1
    assert f'readonly autocomplete="off" spellcheck="false" translate="no" aria-describedby="copy-note">{PLAIN}</' in (
        response.text
    )
    assert "We cannot show it again" in text_of(response.text)
    sealed = world.rows(SealedSecret)[0]
    assert (sealed["sealed"], sealed["collected_at"]) == (None, utc(world.now))
    assert [(row["kind"], row["subject_id"]) for row in world.rows(Outbox)] == [
        ("regeneration_collected", regeneration_id)
    ]
    world.now += 60
    again = browser.post(path, form=form_token_of(world, regeneration_id), reveal="once")
    for late in (again, browser.get(path)):
        assert late.status_code == 410
        assert "It was shown on 2026-01-01 01:00:00 UTC" in text_of(late.text)
        assert "support@octy.example" in late.text
        assert PLAIN not in late.text


def form_token_of(world: World, regeneration_id: str, generation: int = 1) -> str:
    return world.links.token(Purpose.REVEAL_FORM, regeneration_id, generation)


@pytest.mark.parametrize(
    ("state", "values", "words"),
    [
        (KeyPairState.ACTIVE, {}, "works until 2026-01-02 01:00:00 UTC"),
        (KeyPairState.RETIRING, {"retire_at": utc(START + 7200)}, "works until 2026-01-01 02:00:00 UTC"),
        (KeyPairState.RETIRED, {"retired_at": utc(START)}, "has stopped working. We refuse requests with it."),
    ],
)
def test_keys_page_says_what_happens_to_the_old_key_pair(world, state, values, words):
    old = world.pair(state, **values)
    page = world.browser().press(keys_path(world, world.regeneration(SECRET, old=old)), "reveal", "once").text
    assert f"Your old key pair {old.public_key} {words}" in text_of(page)


def test_keys_page_of_first_keys_mentions_no_old_key_pair(world):
    path, browser = keys_path(world, world.regeneration(SECRET)), world.browser()
    assert "Replaces" not in browser.get(path).text
    assert "old key pair" not in browser.press(path, "reveal", "once").text


def expire(world: World, regeneration_id: str) -> None:
    world.change(SealedSecret, regeneration_id, expires_at=utc(world.now))


def erase(world: World, regeneration_id: str) -> None:
    world.change(SealedSecret, regeneration_id, sealed=None)


def supersede(world: World, regeneration_id: str) -> None:
    erase(world, regeneration_id)
    world.change(Regeneration, regeneration_id, state=RegenerationState.SUPERSEDED, finished_at=utc(world.now))


def abandon(world: World, regeneration_id: str) -> None:
    world.change(Regeneration, regeneration_id, state=RegenerationState.ABANDONED, finished_at=utc(world.now))


def resend(world: World, regeneration_id: str) -> None:
    world.change(SealedSecret, regeneration_id, generation=2)


def leak(world: World, regeneration_id: str) -> None:
    """An attack on the new key pair was answered: its secret is known to others."""
    new_pair = world.rows(Regeneration)[0]["new_pair_id"]
    world.change(KeyPair, new_pair, state=KeyPairState.RETIRED, retired_at=utc(world.now))


@pytest.mark.parametrize(
    ("happen", "title"),
    [
        (leak, "These keys were replaced"),
        (expire, "This link has expired"),
        (erase, "This link has expired"),
        (supersede, "These keys were replaced"),
        (abandon, "These keys were replaced"),
        (resend, "There is a newer link"),
    ],
)
def test_expired_keys_link_says_why_and_whom_to_contact(world, happen, title):
    regeneration_id = world.regeneration(SECRET)
    path, browser = keys_path(world, regeneration_id), world.browser()
    token = form_token(browser.get(path).text)
    happen(world, regeneration_id)
    before = world.dump()
    for response in (browser.get(path), browser.post(path, form=token, reveal="once")):
        assert response.status_code == 410
        assert title in text_of(response.text)
        assert "mailto:support@octy.example" in response.text
        assert PLAIN not in response.text
    assert world.dump() == before


def test_newest_keys_link_works_after_a_resend(world):
    regeneration_id = world.regeneration(SECRET, generation=3)
    browser = world.browser()
    assert browser.get(keys_path(world, regeneration_id, 2)).status_code == 410
    assert PLAIN in browser.press(keys_path(world, regeneration_id, 3), "reveal", "once").text


def test_keys_link_of_a_generation_never_sent_is_404(world):
    regeneration_id, browser = world.regeneration(SECRET), world.browser()
    for generation in (-6, 0, 2, 3):
        assert browser.get(keys_path(world, regeneration_id, generation)).status_code == 404


def test_keys_link_before_the_key_pair_is_issued_is_404(world):
    regeneration_id = world.regeneration(SECRET)
    with world.database.write_session() as session:
        session.delete(session.get_one(SealedSecret, regeneration_id))
    assert world.browser().get(keys_path(world, regeneration_id)).status_code == 404


def test_form_without_its_token_or_button_shows_nothing(world):
    regeneration_id = world.regeneration(SECRET)
    path, browser = keys_path(world, regeneration_id), world.browser()
    before = world.dump()
    default = {"form": form_token_of(world, regeneration_id)}
    for fields in ({}, {"reveal": "twice"}, {"form": ""}, {"form": "A" * 32}, {"reveal": "", "form": ""}):
        response = browser.post(path, **{**default, **({"reveal": "once"} if "form" in fields else {}), **fields})
        assert response.status_code == 400, fields
        assert "Nothing was shown" in response.text, fields
        assert PLAIN not in response.text
        assert world.dump() == before, fields


def test_fifty_concurrent_reveals_show_the_secret_once(world):
    regeneration_id = world.regeneration(SECRET)
    data = {"form": form_token_of(world, regeneration_id), "reveal": "once"}
    path = keys_path(world, regeneration_id)
    with serving(world.pages()) as client, ThreadPoolExecutor(50) as threads:
        clicks = list(threads.map(lambda _: client.post(path, data=data), range(50)))
    assert Counter(response.status_code for response in clicks) == {200: 1, 410: 49}
    assert sum(PLAIN in response.text for response in clicks) == 1
    assert len(world.rows(Outbox)) == 1


def test_secret_is_in_no_log_no_header_and_no_table(world, caplog):
    caplog.set_level(logging.DEBUG)
    path = keys_path(world, world.regeneration(SECRET))
    response = world.browser().press(path, "reveal", "once")
    world.browser().get(path)
    token = path.rpartition("/")[2]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx2")]  # the test's own
    for place in (str(ours), str(response.headers), world.dump()):
        assert PLAIN not in place
        assert token not in place
    assert any("collected" in line for line in ours)


def test_missing_sealing_key_is_an_error_page_that_collects_nothing(world, caplog):
    other = Sealer(Keychain({"k9": b"\x99" * 32}), bytes)
    browser = Browser(build_pages(world.settings, world.database, world.links, other, lambda: world.now))
    path = keys_path(world, world.regeneration(SECRET))
    before = world.dump()
    assert browser.press(path, "reveal", "once").status_code == 500
    assert "OCTY_SEALING_KEYS lacks the key 'k2'" in caplog.text
    assert world.dump() == before
    assert PLAIN in world.browser().press(path, "reveal", "once").text


def test_keys_link_works_until_it_expires(world):
    path, browser = keys_path(world, world.regeneration(SECRET)), world.browser()
    world.now += timedelta(days=1).total_seconds() - 0.001
    assert browser.get(path).status_code == 200
    world.now += 0.001
    assert browser.get(path).status_code == 410


def test_reload_of_the_revealed_keys_page_says_that_it_was_shown(world):
    """A browser's reload sends the POST again; the secret stands in the first one's response only, which none keeps."""
    regeneration_id = world.regeneration(SECRET)
    path, browser = keys_path(world, regeneration_id), world.browser()
    data = {"form": form_token_of(world, regeneration_id), "reveal": "once"}
    first, reloaded = browser.send("POST", path, data=data), browser.send("POST", path, data=data)
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-store")
    assert (PLAIN in first.text, PLAIN in reloaded.text) == (True, False)
    assert reloaded.status_code == 410
    assert "This secret key was already shown" in reloaded.text


def test_stale_form_redirects_to_the_page(world):
    path, browser = keys_path(world, world.regeneration(SECRET)), world.browser()
    response = browser.send("POST", path, data={"form": "", "reveal": "once"})
    assert (response.status_code, response.headers["location"]) == (303, f"./{path.rpartition('/')[2]}?problem=stale")


def test_expired_keys_link_shows_no_personal_data(world):
    old, regeneration_id = world.pair(), world.regeneration(SECRET)
    path, browser = keys_path(world, regeneration_id), world.browser()
    world.now += 400 * 86_400
    page = browser.get(path)
    assert page.status_code == 410
    for personal in (old.public_key, "acme", "2026-", "2027-"):
        assert personal not in page.text
