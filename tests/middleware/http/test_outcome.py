"""The table of outcomes: complete, right about what counts, and without a hint at which keys exist."""

import pytest

from octy_middleware.http.outcome import Outcome

STATUS = {
    Outcome.ACCEPTED: 200,
    Outcome.MISSING: 401,
    Outcome.MALFORMED: 401,
    Outcome.AMBIGUOUS: 400,
    Outcome.OVERSIZE: 431,
    Outcome.UNKNOWN_KEY: 401,
    Outcome.WRONG_SECRET: 401,
    Outcome.RETIRED: 401,
    Outcome.RETIRED_WRONG: 401,
    Outcome.PLAIN_HTTP: 403,
    Outcome.RATE_LIMITED: 429,
    Outcome.DATABASE_UNAVAILABLE: 503,
}


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_its_status(outcome):
    assert outcome.status == outcome.spec.status == STATUS[outcome]


def test_only_a_wrong_secret_counts():
    assert [outcome for outcome in Outcome if outcome.counts] == [Outcome.WRONG_SECRET]


def test_unknown_wrong_and_retired_have_one_public_outcome():
    same = (Outcome.UNKNOWN_KEY, Outcome.WRONG_SECRET, Outcome.RETIRED, Outcome.RETIRED_WRONG)
    faces = {(o.status, o.spec.public_text, o.spec.help_text) for o in same}
    assert len(faces) == 1
    assert len({o.spec.internal_text for o in same}) == len(same)


@pytest.mark.parametrize("outcome", Outcome)
def test_texts_are_readable_by_octy_clients(outcome):
    spec = outcome.spec
    for text in (spec.public_text, spec.help_text, spec.internal_text):
        assert "::" not in text
        assert text.isascii()
        assert text == "" or text.isprintable()
    assert spec.public_text
    assert spec.internal_text


@pytest.mark.parametrize("outcome", Outcome)
def test_values_fit_their_column(outcome):
    assert outcome == outcome.name.lower()
    assert len(outcome) <= 32
