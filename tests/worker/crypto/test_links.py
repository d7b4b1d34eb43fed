"""Link tokens: made for one purpose, one subject and one generation, by any key of the chain."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octy_middleware.keys.keychain import Keychain
from octy_worker.crypto.links import Links, Purpose

OLD, NEW = b"\x01" * 32, b"\x02" * 32
URL = "https://octy.example/security"
LINKS = Links(Keychain({"k1": OLD, "k2": NEW}), URL)

purposes = st.sampled_from(Purpose)
subjects = st.uuids().map(str)
generations = st.integers(0, 2**31)


@settings(deadline=None)
@given(purposes, subjects, generations)
def test_link_token_verifies_for_its_purpose_and_subject(purpose, subject, generation):
    token = LINKS.token(purpose, subject, generation)
    assert LINKS.check(token, purpose, subject, generation)
    assert len(token) == 32
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")


@settings(deadline=None)
@given(st.tuples(purposes, subjects, generations), st.tuples(purposes, subjects, generations))
def test_link_token_verifies_for_nothing_else(mine, other):
    assert LINKS.check(LINKS.token(*mine), *other) == (mine == other)


@settings(deadline=None)
@given(purposes, subjects, st.data())
def test_changed_link_token_does_not_verify(purpose, subject, data):
    token = LINKS.token(purpose, subject)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters().filter(lambda letter: letter != token[place]))
    for forged in (token[:place] + letter + token[place + 1 :], token[:place], token + letter, letter + token):
        assert not LINKS.check(forged, purpose, subject)


@settings(deadline=None)
@given(st.text(st.characters()))
def test_any_text_as_link_token_is_rejected_without_an_exception(text):
    assert not LINKS.check(text, Purpose.ALERT, "019b76da-b3b8-7000-8000-000000000003")


def test_link_token_separates_its_parts_unambiguously():
    assert LINKS.token(Purpose.REVEAL, "a1", 1) != LINKS.token(Purpose.REVEAL, "a", 11)
    assert len({LINKS.token(purpose, "a") for purpose in Purpose}) == len(Purpose)


def test_link_tokens_of_an_older_key_verify_until_the_key_is_removed():
    older = Links(Keychain({"k1": OLD}), URL).token(Purpose.ALERT, "a")
    newer = Links(Keychain({"k2": NEW}), URL)
    assert LINKS.check(older, Purpose.ALERT, "a")
    assert LINKS.token(Purpose.ALERT, "a") == newer.token(Purpose.ALERT, "a") != older
    assert not newer.check(older, Purpose.ALERT, "a")


def test_link_token_is_deterministic():
    again = Links(Keychain({"k1": OLD, "k2": NEW}), "http://other.example")
    assert LINKS.token(Purpose.ALERT, "a") == again.token(Purpose.ALERT, "a")


def test_link_url_has_purpose_subject_and_token():
    assert LINKS.alert_url("a") == f"{URL}/alert/a/{LINKS.token(Purpose.ALERT, 'a')}"
    assert LINKS.notice_url("a") == f"{URL}/notice/a/{LINKS.token(Purpose.NOTICE, 'a')}"
    assert LINKS.reveal_url("a", 3) == f"{URL}/keys/a/{LINKS.token(Purpose.REVEAL, 'a', 3)}"


@pytest.mark.parametrize("key", [OLD, NEW])
def test_repr_of_links_shows_no_keys(key):
    assert key.hex() not in repr(LINKS)
    assert repr(LINKS) == f"Links({URL})"
